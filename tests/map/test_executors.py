"""Executors that users bring: the values of a run in this process, whatever the executor."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from map.alone import alone
from map.crash_runs import INPUTS, Log, all_calls, differing, make_pipeline, outputs_of
from map.test_pool_results import BODIES, N, of_x, same

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import WorkerDiedError
from pipefunc_c.map import load_all_outputs

pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]


class Stranger(Executor):
    """An executor that tells nothing about itself."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def make(kind: str, workers: int = 2) -> Executor:
    if kind == "threads":
        return ThreadPoolExecutor(workers)
    if kind == "stranger":
        return Stranger()
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(kind))


KINDS = ["threads", "fork", "forkserver", "spawn", "stranger"]
ALL = pytest.mark.parametrize("kind", KINDS)


def func(body: Any, output: Any = "y", mapspec: str | None = "x[i] -> y[i]", **options: Any) -> PipeFunc:
    return PipeFunc(body, output, mapspec=mapspec, print_error=False, **options)


def check(executor: Any, functions: list[PipeFunc], inputs: dict[str, Any], **options: Any) -> None:
    pipeline = Pipeline(functions)
    expected = pipeline.map(inputs, parallel=False, **{k: v for k, v in options.items() if k != "chunksizes"})
    same(pipeline.map(inputs, executor=executor, **options), expected)


# -- values ------------------------------------------------------------------------------------------


@ALL
@alone
def test_values_of_all_kinds(kind):
    with make(kind) as executor:
        for name, body in BODIES.items():
            try:
                check(executor, [func(of_x(body))], {"x": range(N)})
            except AssertionError as error:
                raise AssertionError(name) from error
        assert executor.submit(int, "7").result() == 7


@ALL
@alone
def test_pipelines_with_several_outputs_and_reductions(kind):
    functions = [
        func(lambda x, y: (x * y, np.arange(2.0) + x), ("p", "q"), "x[i], y[j] -> p[i, j], q[i, j]"),
        func(lambda p, q: (float(sum(p)), len(q)), "row", "p[i, :], q[i, :] -> row[i]"),
        func(lambda p: p + 0.5, "turned", "p[i, j] -> turned[j, i]"),
        func(lambda turned: turned.shape, "shape", None),
        func(lambda row, shape: (list(row), shape), "all", None),
        func(lambda x: {"x": x}, "d", "x[i] -> d[i]"),
        func(lambda d: d["x"], "e", "d[i] -> e[i]"),
        func(lambda n: list(range(n)), "k", "... -> k[m]"),
        func(lambda k: k * 1j, "w", "k[m] -> w[m]"),
    ]
    with make(kind) as executor:
        for strategy in ("generation", "eager"):
            inputs = {"x": range(7), "y": np.arange(5.0), "n": 4}
            check(executor, functions, inputs, scheduling_strategy=strategy)
        check(executor, functions, {"x": [], "y": np.arange(5.0), "n": 0})
        fixed = {"i": slice(None, None, 3), "j": 2}
        check(
            executor, functions[2:1:-1] + functions[:1], {"x": range(7), "y": range(5)}, fixed_indices=fixed
        )


@ALL
@alone
def test_chunk_sizes_of_all_forms(kind):
    functions = [
        func(lambda x: x * 0.5, "y", "x[i] -> y[i]"),
        func(lambda x: {"x": x}, "d", "x[i] -> d[i]"),
        func(lambda y, d: (y, d["x"]), "z", "y[i], d[i] -> z[i]"),
    ]
    asked = []

    def eighth(n):
        asked.append(n)
        return max(n // 8, 1)

    with make(kind) as executor:
        for chunks in (
            None,
            1,
            7,
            1000,
            eighth,
            {"y": 3, "": 50},
            {"z": eighth, "y": None, "": 2},
            lambda n: None,
        ):
            check(executor, functions, {"x": range(100)}, chunksizes=chunks)
    assert set(asked) == {100}


@alone
def test_chunks_have_the_wanted_size(tmp_path):
    class Counting(Stranger):
        count = 0

        def submit(self, fn, /, *args, **kwargs):
            self.count += 1
            return super().submit(fn, *args, **kwargs)

    for size, tasks in ((1, 60), (7, 9), (60, 1), (100, 1)):
        executor = Counting()
        Pipeline([func(of_x(float))]).map({"x": range(60)}, executor=executor, chunksizes=size)
        assert executor.count == tasks, size


def where(x: int) -> tuple[int, str]:
    time.sleep(0.02)
    return os.getpid(), threading.current_thread().name


@alone
def test_a_dict_of_executors_and_one_of_storages(tmp_path):
    names = {"y": "x[i] -> y[i]", "z": "x[i] -> z[i]", "w": "x[i] -> w[i]"}
    pipeline = Pipeline([func(where, name, mapspec) for name, mapspec in names.items()])
    with ThreadPoolExecutor(2, "mine") as threads, make("fork") as processes, make("spawn", 1) as other:
        executors = {"y": threads, "z": other, "": processes}
        options = {"storage": {"z": "file_array", "": "dict"}, "run_folder": tmp_path}
        results = pipeline.map({"x": range(10)}, executor=executors, **options)
        pids, names = ({name: {each[k] for each in results[name].output} for name in "yzw"} for k in (0, 1))
        assert pids["y"] == {os.getpid()}
        assert names["y"] == {"mine_0", "mine_1"}
        assert len(pids["w"]) == 2
        assert len(pids["z"]) == 1
        assert len(set.union(*pids.values())) == 4
        assert [results[name].store.storage_id for name in "yzw"] == ["dict", "file_array", "dict"]
        with pytest.raises(ValueError, match=r"executor.*'w'"):
            pipeline.map({"x": range(3)}, executor={"y": threads, "z": processes})


# -- errors ------------------------------------------------------------------------------------------


def broken(x: int) -> float:
    if x % 5 == 3:
        raise KeyError(x)
    return x * 0.5


def count_all(z: Any) -> int:
    return len(z)


@ALL
@alone
def test_errors_in_both_modes(kind):
    functions = [
        func(broken, "y", "x[i] -> y[i]"),
        func(lambda y: {"y": y}, "z", "y[i] -> z[i]"),
        func(count_all, "n", None),
    ]
    with make(kind) as executor:
        for chunks in (None, 1, 4):
            pipeline = Pipeline(functions)
            options = {"executor": executor, "chunksizes": chunks}
            with pytest.raises(KeyError) as caught:
                pipeline.map({"x": range(40)}, **options)
            assert caught.value.args[0] % 5 == 3
            assert any(
                "broken" in note and f"x={caught.value.args[0]}" in note for note in caught.value.__notes__
            )
            snapshot = pipeline.error_snapshot
            assert snapshot.kwargs == {"x": caught.value.args[0]}
            results = pipeline.map({"x": range(40)}, error_handling="continue", **options)
            for x, (y, z) in enumerate(zip(results["y"].output, results["z"].output, strict=True)):
                if x % 5 != 3:
                    assert (y, z) == (x * 0.5, {"y": x * 0.5})
                    continue
                assert (type(y.exception), y.exception.args, y.kwargs) == (KeyError, (x,), {"x": x})
                assert "in broken" in y.traceback
                assert z.reason == "input_is_error"
                assert z.error_info["y"].error.exception.args == (x,)
            assert results["n"].output.reason == "array_contains_errors"


@ALL
@alone
def test_hooks_pickers_defaults_and_bound_values(kind, tmp_path):
    log = Log(tmp_path / "calls")

    def hook(function, value, kwargs):
        log.add(function.output_name[0], value["total"], kwargs["value"])

    functions = [
        func(
            lambda value, factor=3, offset=0: {"total": value * factor + offset, "rest": [value]},
            ("total", "rest"),
            "x[i] -> total[i], rest[i]",
            renames={"value": "x"},
            bound={"offset": 1},
            output_picker=lambda value, name: value[name],
            post_execution_hook=hook,
        )
    ]
    with make(kind) as executor:
        check(executor, functions, {"x": range(20)})
        assert sorted(log.take()) == sorted(f"total {3 * x + 1} {x}" for x in range(20) for _ in range(2))
        check(executor, functions, {"x": range(20), "factor": 2.5})
        assert len(log.take()) == 40


@functools.cache
def lock() -> Any:
    return threading.Lock()


@pytest.mark.parametrize("kind", ["fork", "forkserver", "spawn"])
@alone
def test_what_cannot_be_pickled_is_an_error_that_names_it(kind):
    with make(kind, 1) as executor:
        held = threading.Lock()
        for chunks in (None, 1):
            options = {"executor": executor, "chunksizes": chunks}
            with pytest.raises(TypeError, match=r"(?s)lambda.*cannot be pickled"):
                Pipeline([func(lambda x: held)]).map({"x": range(4)}, **options)
            with pytest.raises(TypeError, match="inputs of elements .* of 'y' cannot be pickled"):
                Pipeline([func(of_x(id))]).map({"x": [held] * 4}, **options)
            with pytest.raises(TypeError, match="constant arguments cannot be pickled"):
                Pipeline([func(lambda x, c: x)]).map({"x": range(4), "c": held}, **options)
            with pytest.raises(TypeError, match="cannot pickle.*lock"):
                Pipeline([func(lambda x: lock() if x == 2 else x)]).map({"x": range(4)}, **options)
        assert executor.submit(int, "7").result() == 7


@pytest.mark.parametrize("kind", ["fork", "forkserver", "spawn"])
@alone
def test_an_executor_that_is_broken_already_is_an_error(kind, tmp_path):
    functions = [func(lambda x: os._exit(3) if x == 5 else x)]
    with make(kind) as executor:
        with pytest.raises(
            WorkerDiedError, match=r"exit code 3 while it computed element 5 of 20 \(i=5\) of y"
        ):
            Pipeline(functions).map({"x": range(20)}, executor=executor)
        with pytest.raises(RuntimeError, match=r"takes no more work.*terminated abruptly"):
            Pipeline(functions).map({"x": range(4)}, tmp_path, executor=executor)
    assert Pipeline(functions).map({"x": range(4)}, tmp_path, resume=True)["y"].output.tolist() == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("kind", KINDS[:4])
@alone
def test_an_executor_that_is_shut_down_is_an_error(kind):
    executor = make(kind)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="takes no more work: cannot schedule new futures after shutdown"):
        Pipeline([func(of_x(float))]).map({"x": range(4)}, executor=executor)


# -- the run folder ----------------------------------------------------------------------------------


@ALL
@alone
def test_a_run_folder_with_an_executor(kind, tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = make_pipeline(log)
    expected = outputs_of(pipeline.map(INPUTS, parallel=False))
    log.take()
    with make(kind) as executor:
        found = pipeline.map(INPUTS, tmp_path / "run", executor=executor)
        assert not differing(outputs_of(found), expected)
        assert sorted(log.take()) == sorted(all_calls())
        assert not differing(load_all_outputs(tmp_path / "run"), expected, loaded=True)
        again = pipeline.map(INPUTS, tmp_path / "run", executor=executor, resume=True)
        assert not differing(outputs_of(again), expected)
        assert log.take() == []
    assert len(list(Path(tmp_path, "run", "commits").iterdir())) == 2


@ALL
@alone
def test_an_error_leaves_what_can_be_resumed(kind, tmp_path):
    log, is_fixed = Log(tmp_path / "calls"), tmp_path / "fixed"

    def f(x):
        if x == 40 and not is_fixed.exists():
            raise ValueError(x)
        log.add(x)
        return {"x": x}

    pipeline = Pipeline([func(f)])
    with make(kind) as executor:
        options = {"executor": executor, "chunksizes": 5, "run_folder": tmp_path / "run"}
        with pytest.raises(ValueError, match="40"):
            pipeline.map({"x": range(100)}, **options)
        y = load_all_outputs(tmp_path / "run")["y"]
        kept = set(np.flatnonzero(~np.ma.getmaskarray(y)).tolist())
        assert set(range(36)) - kept <= set(range(20, 36))  # leases that were out may be lost
        assert 40 not in kept
        is_fixed.touch()
        log.take()
        results = pipeline.map({"x": range(100)}, resume=True, **options)
    assert results["y"].output.tolist() == [{"x": k} for k in range(100)]
    assert set(map(int, log.take())) == set(range(100)) - kept
