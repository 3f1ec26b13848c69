"""What the calls of functions cost, side by side."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pipefunc_c import _optional

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipefunc_c._function.profiling import ProfilingStats
    from pipefunc_c._graph.graph import AnyFunc

MEGABYTE = 1e6


def profile(functions: Iterable[AnyFunc]) -> dict[str, ProfilingStats]:
    """Collect the statistics of functions.

    Parameters
    ----------
    functions
        The functions; those without statistics are left out.

    Returns
    -------
    dict
        Statistics per function name; functions of the same name have their output names with them.

    """
    profiled = [function for function in functions if function.profiling_stats is not None]
    count = Counter(function.__name__ for function in profiled)
    return {
        function.__name__ if count[function.__name__] == 1 else str(function): function.profiling_stats
        for function in profiled
        if function.profiling_stats is not None
    }


def print_profile(stats: Mapping[str, ProfilingStats]) -> None:
    """Print statistics as a table: per function the calls, their time, their CPU use and memory.

    Parameters
    ----------
    stats
        Statistics per function name.

    """
    box = _optional.require("rich.box").SIMPLE_HEAD
    table = _optional.require("rich.table").Table("function", box=box, pad_edge=False)
    for column in ("calls", "seconds per call", "% of time", "% CPU", "peak memory (MB)"):
        table.add_column(column, justify="right", no_wrap=True)
    text = _optional.require("rich.text").Text  # or [i] in a name would be taken for a style
    seconds = {name: each.time.average * each.time.num_executions for name, each in stats.items()}
    total = sum(seconds.values()) or 1.0
    for name, each in stats.items():
        table.add_row(
            text(name),
            str(each.time.num_executions),
            f"{each.time.average:.3g}",
            f"{100 * seconds[name] / total:.1f}",
            f"{each.cpu.average:.0f}",
            f"{each.memory.max / MEGABYTE:.1f}",
        )
    _optional.require("rich.console").Console().print(table)
