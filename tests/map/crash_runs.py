"""A run of several kinds of results that can be killed, and what is left of it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
from kernels.values import identical
from map.alone import members, until

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._faults import VARIABLE
from pipefunc_c.exceptions import ErrorSnapshot, PropagatedErrorSnapshot
from pipefunc_c.map import load_outputs
from pipefunc_c.map._run_folder.run_info import RunFolderNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pipefunc_c.map import ResultDict

N = 60
# The function that computes each output.
FUNCTION_OF = {"y": "f", "d": "f", "a": "arrays", "z": "join", "rows": "rows", "total": "total"}


class Log:
    """A file of calls: each is there before the element returns, whatever is killed afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def add(self, *call: Any) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, (" ".join(map(str, call)) + "\n").encode())
        os.close(descriptor)

    def n_bytes(self) -> int:
        return self.path.stat().st_size

    def take(self) -> list[str]:
        """Give all calls since the last time."""
        calls = self.path.read_text().splitlines()
        self.path.write_text("")
        return calls


def make_pipeline(log: Log, seconds: float = 0.0) -> Pipeline:
    """Make functions that give numbers, dicts, arrays and complex numbers, and reductions of them."""

    def f(x):
        log.add("f", x)
        time.sleep(seconds)
        return x * 0.5 if x % 2 else x, {"a": x}

    def arrays(x):
        log.add("arrays", x)
        return np.arange(3.0) + x

    def join(y, d, a):
        log.add("join", d["a"])
        return complex(y, a.sum())

    def rows(x, w):
        log.add("rows", x * 2 + w)
        return (x, w)

    def total(z, d, rows):
        log.add("total", 0)
        return complex(sum(z)), [each["a"] for each in d], len(rows)

    functions = [
        PipeFunc(f, ("y", "d"), mapspec="x[i] -> y[i], d[i]"),
        PipeFunc(arrays, "a", mapspec="x[i] -> a[i]"),
        PipeFunc(join, "z", mapspec="y[i], d[i], a[i] -> z[i]"),
        PipeFunc(rows, "rows", mapspec="x[i], w[j] -> rows[i, j]"),
        PipeFunc(total, "total"),
    ]
    return Pipeline(functions)


INPUTS = {"x": range(N), "w": [0, 1]}


def outputs_of(results: ResultDict) -> dict[str, Any]:
    return {name: results[name].output for name in results}


def same_value(one: Any, other: Any, *, loaded: bool = False) -> bool:
    """Compare values strictly; of errors what identifies them.

    In a ``loaded`` array of one type numbers are NumPy's, and errors may have lost what they were of.
    """
    if isinstance(one, ErrorSnapshot) and isinstance(other, ErrorSnapshot):
        same = type(one.exception) is type(other.exception) and one.exception.args == other.exception.args
        return same and (loaded or one.kwargs == other.kwargs)
    if isinstance(one, PropagatedErrorSnapshot) and isinstance(other, PropagatedErrorSnapshot):
        first, second = one.error_info, other.error_info
        return loaded or (
            one.reason == other.reason
            and list(first) == list(second)
            and all(first[name].error_count == second[name].error_count for name in first)
            and all(same_value(first[name].error, second[name].error) for name in first)
        )
    if loaded and isinstance(one, np.generic):
        one = one.item()
    return identical(one, other)


def differing(found: Mapping[str, Any], expected: Mapping[str, Any], *, loaded: bool = False) -> list[Any]:
    """List what differs between the outputs of two runs; in ``loaded`` ones some may be masked."""
    wrong: list[Any] = [] if list(found) == list(expected) else [(list(found), list(expected))]
    for name, value in expected.items():
        other = found[name]
        if not isinstance(value, np.ndarray):
            if not same_value(other, value, loaded=loaded) and not (loaded and other is np.ma.masked):
                wrong.append((name, other, value))
        elif other.shape[: value.ndim] != value.shape:
            wrong.append((name, other.shape, value.shape))
        else:
            for index in np.ndindex(value.shape):
                one = other[index]
                if loaded and (one is np.ma.masked or np.ma.getmaskarray(other)[index].all()):
                    continue
                if not same_value(one, value[index], loaded=loaded):
                    wrong.append((name, index, one, value[index]))
    return wrong


def committed(folder: Path) -> set[str]:
    """Read from a run folder for which calls there are results, as the log names them."""
    found = set()
    try:
        for name, function in FUNCTION_OF.items():
            value = load_outputs(name, run_folder=folder)
            if isinstance(value, np.ma.MaskedArray):
                found |= {f"{function} {k}" for k in np.flatnonzero(~np.ma.getmaskarray(value).ravel())}
            elif value is not np.ma.masked:
                found.add(f"{function} 0")
    except RunFolderNotFoundError:
        return set()
    return found


def all_calls() -> set[str]:
    counts = {"f": N, "arrays": N, "join": N, "rows": 2 * N, "total": 1}
    return {f"{name} {k}" for name, count in counts.items() for k in range(count)}


def in_child(
    function: Callable[[], Any],
    *,
    fault: str | None = None,
    kill_after: float | None = None,
    kill_when: Callable[[], bool] | None = None,
) -> int:
    """Call a function in a fork that leads a session; kill all of it after some seconds, or at a fault.

    With ``kill_when`` it is killed once that is true, unless it has ended.

    Returns
    -------
    int
        Exit code as of `subprocess`; all processes of the session are dead.
    """
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if fault is not None:
            os.environ[VARIABLE] = fault
        try:
            function()
        except BaseException:
            if fault is None:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    if kill_when is not None:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        while not ended and not kill_when():
            time.sleep(0.0005)
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if kill_after is not None:
        time.sleep(kill_after)
    if kill_after is not None or kill_when is not None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)  # before it had a session of its own
    _, status = os.waitpid(pid, 0)
    until(lambda: not members(pid))
    return os.waitstatus_to_exitcode(status)
