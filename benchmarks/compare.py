"""Compare this package with pipefunc and with bare loops, each figure beside its budget.

    python benchmarks/compare.py                                  # print the table
    python benchmarks/compare.py --write docs/performance.md      # and put it between the markers of a page
    python benchmarks/compare.py --only chain import              # rows whose name holds one of the words

Everything is measured in one process tree, the competitors in turns, and the least processor time of several
turns counts: absolute times move with the machine, ratios of one run hardly do. The exit status is 1 when a
judged figure misses its budget by more than a quarter.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pipefunc_c
from benchmarks import imports, peak_memory, workloads
from benchmarks.calls import first_element_seconds
from report import Figure, duration, markdown_table, misses, write_between_markers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    peer: Any = importlib.import_module("pipefunc")
except ImportError:
    peer = None

ELEMENTS = 1_000_000
PEER_ELEMENTS = 20_000  # the peer costs the same per element from here on
PEER_FUNCTIONS = 100
TURNS = 7

Work = tuple["Callable[[], object]", int]


def least_seconds(works: dict[str, Work | None]) -> dict[str, float]:
    """Run the competitors in turns; return the least processor time of each, per element."""
    least: dict[str, float] = {}
    for _ in range(TURNS):
        for name, work in works.items():
            if work is None:
                continue
            function, elements = work
            gc.collect()
            started = time.process_time()
            function()
            seconds = (time.process_time() - started) / elements
            least[name] = min(seconds, least.get(name, seconds))
    return least


def compete(
    bare: Callable[[Any], object], pipeline: Callable[[Any], Any], values: Any, outer: int = 0
) -> dict[str, float]:
    """Time a bare loop, this package and its peer over the same values; ``outer`` is a square grid's side."""

    def inputs(count: int) -> dict[str, Any]:
        side = int(count**0.5)
        return {"x": values[:side], "y": values[:side]} if outer else {"x": values[:count]}

    def mapping(api: Any, count: int) -> Work:
        built, given = pipeline(api), inputs(count)
        return lambda: workloads.map_sequentially(built, given), count

    return least_seconds(
        {
            "bare": (lambda: bare(values[:outer] if outer else values), ELEMENTS),
            "ours": mapping(pipefunc_c, ELEMENTS),
            "peer": mapping(peer, PEER_ELEMENTS) if peer else None,
        }
    )


def loop_figures(
    work: str, seconds: dict[str, float], budget: float, times_peer: float | None
) -> Iterator[Figure]:
    """Give the figures of a loop: against the bare one and against the peer."""
    ours, bare = seconds["ours"], seconds["bare"]
    detail = f"{duration(ours)}, bare {duration(bare)}"
    yield Figure(f"{work}: of the bare loop", ours / bare, "x", budget, detail=detail)
    yield peer_figure(work, seconds, times_peer)


def peer_figure(work: str, seconds: dict[str, float], at_least: float | None) -> Figure:
    """Give the figure against the peer."""
    name = f"{work}: times faster than pipefunc"
    if "peer" not in seconds:
        return Figure(
            name, None, "x", at_least, at_least=True, detail="pipefunc is not installed (extra bench)"
        )
    detail = f"pipefunc {duration(seconds['peer'])}"
    return Figure(name, seconds["peer"] / seconds["ours"], "x", at_least, at_least=True, detail=detail)


def sequential() -> Iterator[Figure]:
    """Map ``2 * x`` over an array and over a list."""
    double = workloads.double

    def pipeline(api: Any) -> Any:
        return workloads.element_wise(api, double)

    array = workloads.numbers(ELEMENTS)
    values = array.tolist()
    seconds = compete(lambda given: [double(x) for x in given], pipeline, array)
    yield from loop_figures("sequential, ndarray", seconds, 0.95, 150)
    seconds = compete(lambda given: [double(x) for x in given], pipeline, values)
    yield from loop_figures("sequential, list", seconds, 1.1, None)


def mixed_types() -> Iterator[Figure]:
    """Map a function that returns two scalar types against the same one when it returns one."""
    mixed = workloads.numbers(ELEMENTS)
    pipeline = workloads.element_wise(pipefunc_c, workloads.clip)
    positive = {"x": np.abs(mixed)}
    zeros_and_more = {"x": mixed}
    seconds = least_seconds(
        {
            "pure": (lambda: workloads.map_sequentially(pipeline, positive), ELEMENTS),
            "mixed": (lambda: workloads.map_sequentially(pipeline, zeros_and_more), ELEMENTS),
            "bare pure": (lambda: [workloads.clip(x) for x in positive["x"]], ELEMENTS),
            "bare mixed": (lambda: [workloads.clip(x) for x in mixed], ELEMENTS),
        }
    )
    detail = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
    yield Figure(
        "mixed scalar types: of the pure case", seconds["mixed"] / seconds["pure"], "x", 1.1, detail=detail
    )


def outer_product() -> Iterator[Figure]:
    """Map over a grid of 1000 x 1000."""
    multiply = workloads.multiply

    def nested(given: Any) -> object:
        return [[multiply(x, y) for y in given] for x in given]

    side = int(ELEMENTS**0.5)
    seconds = compete(nested, workloads.outer_product, workloads.numbers(side), outer=side)
    yield from loop_figures("outer product 1000 x 1000", seconds, 1.2, None)


def chain() -> Iterator[Figure]:
    """Map two stages and sum up."""

    def bare(given: Any) -> object:
        first = [workloads.double(x) for x in given]
        return np.array([workloads.increment(y) for y in first]).sum()

    seconds = compete(bare, workloads.chain_and_sum, workloads.numbers(ELEMENTS))
    detail = f"bare {duration(seconds['bare'])}"
    yield Figure("chain x -> y -> z and a sum: cpu per x", seconds["ours"] * 1e6, "us", 0.25, detail=detail)
    yield peer_figure("chain", seconds, None)


def two_outputs() -> Iterator[Figure]:
    """Map a function with two outputs."""

    def bare(given: Any) -> object:
        return [workloads.double_and_increment(x) for x in given]

    for kind, values in (("ndarray", np.ones(ELEMENTS)), ("list", [1.0] * ELEMENTS)):
        seconds = compete(bare, workloads.two_outputs, values)
        detail = f"bare {duration(seconds['bare'])}"
        yield Figure(f"two outputs, {kind}: cpu", seconds["ours"] * 1e6, "us", 0.12, detail=detail)
    yield peer_figure("two outputs, list", seconds, None)


def peak_figure(work: str, case: str, elements: int, budget: float) -> Figure:
    """Measure the peak of one map in processes of their own."""
    if not peak_memory.can_measure():
        return Figure(work, None, "B", budget, detail="this system does not tell the peak of one call")
    measured = min(peak_memory.bytes_per_element(case, elements) for _ in range(2))
    return Figure(work, measured, "B", budget)


def memory() -> Iterator[Figure]:
    """Measure what one element holds at the peak."""
    yield peak_figure("peak memory, numeric: per element", "numeric", ELEMENTS, 12)
    yield peak_figure("peak memory, objects: per element besides them", "objects", ELEMENTS, 48)


def failing() -> Iterator[Figure]:
    """Map a function that always raises and keep the errors."""
    pipeline = workloads.element_wise(pipefunc_c, workloads.fail)
    values = {"x": np.ones(PEER_ELEMENTS)}

    def collect_errors() -> object:
        return workloads.map_sequentially(pipeline, values, error_handling="continue")

    seconds = least_seconds({"ours": (collect_errors, PEER_ELEMENTS)})
    yield Figure("failing element: cpu", seconds["ours"] * 1e6, "us", 5)
    yield peak_figure("failing element: memory", "failing", 200_000, 300)


def construction() -> Iterator[Figure]:
    """Build pipelines of different size; the peer's thousand functions would take half a minute."""

    def work(api: Any, shape: Callable[[Any, int], Any], count: int) -> Work:
        return lambda: shape(api, count), 1

    for shape in (workloads.chain_of, workloads.wide):
        name = shape.__name__.removesuffix("_of")
        seconds = least_seconds(
            {
                "100": work(pipefunc_c, shape, 100),
                "1000": work(pipefunc_c, shape, 1000),
                "peer": work(peer, shape, PEER_FUNCTIONS) if peer else None,
            }
        )
        yield Figure(f"construction of 1,000 functions, {name}: cpu", seconds["1000"] * 1e3, "ms", 200)
        yield Figure(
            f"construction, {name}: 1,000 functions against 100", seconds["1000"] / seconds["100"], "x", 12
        )
        yield peer_figure(
            f"construction of {PEER_FUNCTIONS}, {name}", {**seconds, "ours": seconds["100"]}, None
        )


def calls() -> Iterator[Figure]:
    """Call pipelines without mapping."""
    count = 2000
    for functions, budget in ((1, 2), (10, 8)):

        def work(api: Any, functions: int = functions) -> Work:
            pipeline, output = workloads.chain_of(api, functions), f"y{functions - 1}"
            return lambda: [pipeline(output, x=1) for _ in range(count)], count

        seconds = least_seconds({"ours": work(pipefunc_c), "peer": work(peer) if peer else None})
        yield Figure(f"pipeline(...), {functions} in a chain: cpu", seconds["ours"] * 1e6, "us", budget)
        yield peer_figure(f"pipeline(...), {functions} in a chain", seconds, None)


def first_element() -> Iterator[Figure]:
    """Measure from the call of map to the first call of the function."""
    array = np.ones(ELEMENTS)
    for kind, values, budget in (("ndarray", array, 20), ("list", array.tolist(), None)):
        measured = min(first_element_seconds(pipefunc_c, {"x": values}) for _ in range(TURNS))
        yield Figure(f"first of 1e6 elements, {kind}: cpu", measured * 1e3, "ms", budget)


def importing() -> Iterator[Figure]:
    """Import the package in fresh interpreters."""
    seconds = {
        name: min(imports.import_seconds(name) for _ in range(TURNS)) for name in ("pipefunc_c", "numpy")
    }
    detail = f"of it NumPy {duration(seconds['numpy'])}"
    yield Figure("import pipefunc_c: cpu", seconds["pipefunc_c"], "s", 0.2, detail=detail)
    others = set(imports.imported_third_parties("pipefunc_c")) - {"numpy"}
    detail = ", ".join(sorted(others)) or "NumPy alone"
    yield Figure("import pipefunc_c: third parties beside NumPy", len(others), "", 0, detail=detail)


SECTIONS = {
    "sequential": sequential,
    "mixed": mixed_types,
    "outer": outer_product,
    "chain": chain,
    "outputs": two_outputs,
    "memory": memory,
    "failing": failing,
    "construction": construction,
    "calls": calls,
    "first": first_element,
    "import": importing,
}


def conditions() -> str:
    """Say under which conditions the figures were taken."""
    packages = [
        f"pipefunc_c {pipefunc_c.__version__}",
        f"pipefunc {peer.__version__}" if peer else "no pipefunc",
    ]
    packages += [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    return f"{datetime.date.today()}: {', '.join(packages)}, {platform.machine()}, {os.cpu_count()} cores."


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description="Compare this package with pipefunc and with bare loops.")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="the sections to measure"
    )
    parser.add_argument(
        "--write", type=Path, help="a Markdown page whose table is replaced, between its markers"
    )
    options = parser.parse_args()
    figures: list[Figure] = []
    for name in options.only:
        for figure in SECTIONS[name]():
            figures.append(figure)
            print(figure.line(), flush=True)
    if options.write:
        write_between_markers(options.write, f"{conditions()}\n\n{markdown_table(figures)}")
    missed = misses(figures)
    for figure in missed:
        print(f"missed by more than a quarter: {figure.line()}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
