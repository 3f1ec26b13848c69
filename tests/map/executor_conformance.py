"""What every executor must do, and how each kind of them is started.

Run as a script in a process of its own, for executors leave threads and children behind:
``python executor_conformance.py KIND RESULT [deaths]``.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import sys
import time
import traceback
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from map.test_pool_results import BODIES, of_x, same

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import ErrorSnapshot, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stranger(Executor):
    """An executor that tells nothing about itself."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@contextlib.contextmanager
def _dask() -> Iterator[Executor]:
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client.get_executor()


@contextlib.contextmanager
def _ipyparallel() -> Iterator[Executor]:
    import ipyparallel

    with ipyparallel.Cluster(n=3, log_level=50) as client:
        yield client.executor()


def _loky() -> Executor:
    from loky import get_reusable_executor

    return get_reusable_executor(max_workers=2)


def _executorlib(**options: Any) -> Executor:
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_workers=2, **options)


def _mpi(*workers: int) -> Executor:
    from mpi4py.futures import MPIPoolExecutor

    return MPIPoolExecutor(*workers)


def _processes(method: str) -> Executor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))


KINDS: dict[str, Any] = {
    "threads": lambda: ThreadPoolExecutor(2),
    "stranger": Stranger,
    "fork": lambda: _processes("fork"),
    "forkserver": lambda: _processes("forkserver"),
    "spawn": lambda: _processes("spawn"),
    "loky": _loky,
    "dask": _dask,
    "ipyparallel": _ipyparallel,
    "mpi": _mpi,
    "mpi-spawned": lambda: _mpi(2),
    "executorlib": lambda: _executorlib(block_allocation=True),
    "executorlib-per-call": _executorlib,
}
# Where a worker that dies does not take the driver along.
SURVIVORS = [kind for kind in KINDS if kind not in ("threads", "stranger", "mpi", "mpi-spawned")]
# A process per call takes a quarter of a second each time; engines that died do not come back.
LEFT_OUT = {
    "executorlib-per-call": (
        "check_a_hundred_thousand_elements",
        "check_several_outputs_and_reductions",
        "check_a_large_constant",
        "check_hooks_and_pickers",
        "check_a_dict_of_executors",
        "check_random_streams_are_not_repeated",
        "check_elements_that_kill_become_errors_and_all_others_are_computed",
    ),
    "ipyparallel": ("check_an_element_that_kills_is_raised",),
}


def func(body: Any, output: Any = "y", mapspec: str | None = "x[i] -> y[i]", **options: Any) -> PipeFunc:
    return PipeFunc(body, output, mapspec=mapspec, print_error=False, **options)


def fails_at_3(x: int) -> float:
    if x % 5 == 3:
        raise KeyError(x)
    return x * 0.5


def draw(x: int) -> tuple[float, float, int]:
    time.sleep(0.002)
    return random.random(), float(np.random.random()), os.getpid()


def total(y: Any) -> float:
    return float(sum(y))


def seven() -> int:
    return 7


def deadly(x: int) -> float:
    if x in (7, 41):
        os._exit(3)
    return x * 0.5


class ExecutorConformance:
    """The checks; each gets the same executor."""

    def __init__(self, kind: str, executor: Executor) -> None:
        self.kind = kind
        self.executor = executor

    def agree(self, functions: list[PipeFunc], inputs: dict[str, Any], **options: Any) -> None:
        pipeline = Pipeline(functions)
        same(pipeline.map(inputs, executor=self.executor, **options), pipeline.map(inputs, parallel=False))

    def check_numeric_and_object_outputs(self) -> None:
        names = ("float", "objects") if self.kind == "executorlib-per-call" else BODIES
        for name in names:
            try:
                self.agree([func(of_x(BODIES[name]))], {"x": range(40)}, chunksizes=20)
            except AssertionError as error:
                raise AssertionError(name) from error

    def check_a_hundred_thousand_elements(self) -> None:
        count = 100_000
        functions = [func(lambda x: x * 0.5), func(total, "total", None)]
        self.agree(functions, {"x": np.arange(count)})
        self.agree([func(lambda x: {"x": x})], {"x": range(count)})

    def check_several_outputs_and_reductions(self) -> None:
        functions = [
            func(lambda x, y: (x * y, np.arange(2.0) + x), ("p", "q"), "x[i], y[j] -> p[i, j], q[i, j]"),
            func(lambda p, q: (float(sum(p)), len(q)), "row", "p[i, :], q[i, :] -> row[i]"),
            func(lambda row: (list(row),), "all", None),
        ]
        self.agree(functions, {"x": range(4), "y": np.arange(5.0)}, scheduling_strategy="eager")

    def check_a_large_constant(self) -> None:
        constant = np.arange(1e6)
        self.agree([func(lambda x, c: float(c[x]) + x)], {"x": range(4), "c": constant})

    def check_errors(self) -> None:
        pipeline = Pipeline([func(fails_at_3), func(lambda y: {"y": y}, "z", "y[i] -> z[i]")])
        with pytest.raises(KeyError) as caught:
            pipeline.map({"x": range(20)}, executor=self.executor)
        x = caught.value.args[0]
        assert any("fails_at_3" in note and f"x={x}" in note for note in caught.value.__notes__)
        assert pipeline.error_snapshot.kwargs == {"x": x}
        results = pipeline.map({"x": range(20)}, executor=self.executor, error_handling="continue")
        for x, (y, z) in enumerate(zip(results["y"].output, results["z"].output, strict=True)):
            if x % 5 == 3:
                assert (type(y.exception), y.exception.args, y.kwargs) == (KeyError, (x,), {"x": x})
                assert z.reason == "input_is_error"
            else:
                assert (y, z) == (x * 0.5, {"y": x * 0.5})

    def check_hooks_and_pickers(self) -> None:
        def hook(function: PipeFunc, value: Any, kwargs: dict[str, Any]) -> None:
            if value["total"] != 3 * kwargs["value"] + 1:
                raise AssertionError(value)

        function = func(
            lambda value, factor=3, offset=0: {"total": value * factor + offset, "rest": [value]},
            ("total", "rest"),
            "x[i] -> total[i], rest[i]",
            renames={"value": "x"},
            bound={"offset": 1},
            output_picker=lambda value, name: value[name],
            post_execution_hook=hook,
        )
        self.agree([function], {"x": range(10)})

    def check_a_dict_of_executors(self) -> None:
        functions = [
            func(lambda x: os.getpid(), "here", "x[i] -> here[i]"),
            func(lambda x: os.getpid(), "there", "x[i] -> there[i]"),
        ]
        with ThreadPoolExecutor(1) as threads:
            results = Pipeline(functions).map({"x": range(10)}, executor={"here": threads, "": self.executor})
        assert set(results["here"].output) == {os.getpid()}
        assert (os.getpid() in results["there"].output) == (self.kind in ("threads", "stranger"))

    def check_random_streams_are_not_repeated(self) -> None:
        random.seed(1)
        np.random.seed(1)
        results = Pipeline([func(draw)]).map({"x": range(30)}, executor=self.executor, chunksizes=3)
        draws = list(results["y"].output)
        assert len({each[0] for each in draws}) == len(draws)
        assert len({each[1] for each in draws}) == len(draws)

    def check_the_executor_is_not_shut_down(self) -> None:
        assert self.executor.submit(seven).result(timeout=60) == 7


class ExecutorDeaths:
    """The checks of elements that end their worker."""

    def __init__(self, kind: str, executor: Executor) -> None:
        self.kind = kind
        self.executor = executor

    def check_elements_that_kill_become_errors_and_all_others_are_computed(self) -> None:
        killers = (41,) if self.kind == "ipyparallel" else (7, 41)  # its engines do not come back
        inputs = {"x": [x for x in range(60) if x not in (7, 41) or x in killers]}
        results = Pipeline([func(deadly)]).map(
            inputs, executor=self.executor, chunksizes=20, error_handling="continue"
        )
        for x, y in zip(inputs["x"], results["y"].output, strict=True):
            if x in killers:
                assert isinstance(y, ErrorSnapshot)
                assert isinstance(y.exception, WorkerDiedError)
                assert y.kwargs == {"x": x}
            else:
                assert y == x * 0.5

    def check_an_element_that_kills_is_raised(self) -> None:
        with pytest.raises(WorkerDiedError, match=r"element 7 of 20 \(i=7\) of y") as caught:
            Pipeline([func(deadly)]).map({"x": range(20)}, executor=self.executor)
        assert "x=7" in "".join(caught.value.__notes__)


def run(kind: str, path: str, *which: str) -> None:
    """Make the checks; write the traceback of each, or the seconds that it took."""
    suite = ExecutorDeaths if which else ExecutorConformance
    left_out = LEFT_OUT.get(kind, ())
    names = [each for each in vars(suite) if each.startswith("check_") and each not in left_out]
    outcomes: dict[str, Any] = {}
    for group in [[name] for name in names] if which else [names]:  # some break of a death
        with KINDS[kind]() as executor:
            for name in group:
                started = time.monotonic()
                try:
                    getattr(suite(kind, executor), name)()
                    outcomes[name] = time.monotonic() - started
                except BaseException:
                    outcomes[name] = traceback.format_exc()
                Path(path).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    run(*sys.argv[1:])
