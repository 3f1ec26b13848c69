"""Maps in a `WorkerPool`: one after the other, several at once, what is shared, how they end."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from map.alone import alone, members, start, until

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import BrokenPoolError, InvalidTypeError, RunFolderInUseError
from pipefunc_c.map import load_outputs
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)
every_method = pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])


def mapped(func: Any, **options: Any) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False, **options)])


def values(func: Any, n: int, **options: Any) -> list[Any]:
    return list(mapped(func).map({"x": range(n)}, **options)["y"].output)


def pid_after(seconds: float) -> Any:
    def func(x):
        time.sleep(seconds)
        return os.getpid()

    return func


@every_method
@alone
def test_maps_run_in_the_same_workers(method):
    with WorkerPool(2, start_method=method) as pool:
        first, second = (set(values(pid_after(0.005), 40, executor=pool)) for _ in range(2))
        assert first == second == set(pool.pids)
        assert os.getpid() not in first


@every_method
@alone
def test_a_pipeline_with_all_kinds_of_outputs(method):
    def pair(x):
        return np.full(3, float(x)), {"x": x}

    functions = [
        PipeFunc(pair, ("a", "b"), mapspec="x[i] -> a[i], b[i]"),
        PipeFunc(lambda a, c: complex(a.sum(), c), "z", mapspec="a[i], c[j] -> z[i, j]"),
        PipeFunc(lambda z: z.sum(), "total"),
    ]
    inputs = {"x": range(30), "c": np.arange(4)}
    expected = Pipeline(functions).map(inputs, parallel=False)
    with WorkerPool(2, start_method=method) as pool:
        found = Pipeline(functions).map(inputs, executor=pool)
    assert found["total"].output == expected["total"].output
    assert found["z"].output.tolist() == expected["z"].output.tolist()
    assert found["b"].output.tolist() == expected["b"].output.tolist()
    assert np.array_equal(np.stack(list(found["a"].output)), np.stack(list(expected["a"].output)))


@alone
def test_a_second_map_starts_at_once():
    with WorkerPool(2) as pool:
        values(abs_of, 10, executor=pool)
        times = []
        for _ in range(20):
            began = time.monotonic()
            started = mapped(lambda x: time.monotonic()).map({"x": range(2)}, executor=pool)["y"].output
            times.append(min(started) - began)
        assert sorted(times)[len(times) // 2] < 0.005, times


def add(number: int, x: int) -> float:
    return float(x + number)


def make_lock(x: int) -> Any:
    return threading.Lock()


def abs_of(x: int) -> int:
    return abs(x)


@alone
def test_a_large_constant_is_not_copied_per_element():
    constant = np.ones(10_000_000)

    def func(x, constant):
        time.sleep(0.01)
        return float(constant[x])

    pipeline = mapped(func)
    inputs = {"x": range(60), "constant": constant}
    began = time.monotonic()
    pipeline.map(inputs, parallel=False)
    serial = time.monotonic() - began
    with WorkerPool(2) as pool:
        pipeline.map(inputs, executor=pool)
        began = time.monotonic()
        pipeline.map(inputs, executor=pool)
        assert time.monotonic() - began < 1.5 * serial + 0.3


@alone
def test_several_maps_at_once_share_the_workers_fairly():
    ends = {}

    def run(name, n):
        assert values(pid_after(0.002), n, executor=pool)
        ends[name] = time.monotonic()

    with WorkerPool(2) as pool:
        values(abs_of, 10, executor=pool)
        long = threading.Thread(target=run, args=("long", 1500))
        long.start()
        time.sleep(0.3)
        began = time.monotonic()
        short = threading.Thread(target=run, args=("short", 150))
        short.start()
        calls = [pool.submit(abs, -1) for _ in range(10)]
        assert all(each.result() == 1 for each in calls)
        assert time.monotonic() - began < 0.5
        short.join()
        long.join()
    assert ends["short"] - began < 1.0  # alone it takes 0.15 s, and half of the workers 0.3 s
    assert ends["long"] > ends["short"]


@alone
def test_ten_maps_at_once_are_right():
    def run(number):
        def func(x):
            if x == 20 and number == 3:
                os._exit(1)
            return x * number if x % 2 else {"x": x * number}

        found = values(func, 200, executor=pool, error_handling="continue")
        wanted = [x * number if x % 2 else {"x": x * number} for x in range(200)]
        return sum(a != b for a, b in zip(found, wanted, strict=True))

    with WorkerPool(2) as pool, ThreadPoolExecutor(10) as threads:
        assert list(threads.map(run, range(10))) == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


@every_method
@alone
def test_a_run_folder_is_free_after_the_map(method, tmp_path):
    with WorkerPool(2, start_method=method) as pool:
        for number in range(4):
            results = values(partial(add, number), 50, run_folder=tmp_path / "run", executor=pool)
            assert results == [float(x + number) for x in range(50)]
        assert load_outputs("y", run_folder=tmp_path / "run").tolist() == results


@alone
def test_a_run_folder_in_use_is_refused(tmp_path):
    def slow(x):
        time.sleep(0.02)
        return x

    with WorkerPool(2) as pool, ThreadPoolExecutor(1) as threads:
        first = threads.submit(values, slow, 50, run_folder=tmp_path / "run", executor=pool)
        until((tmp_path / "run" / "commits").exists)
        with pytest.raises(RunFolderInUseError):
            values(slow, 5, run_folder=tmp_path / "run", executor=pool)
        assert first.result() == list(range(50))


@alone
def test_a_pool_beside_other_executors():
    first = PipeFunc(lambda x: os.getpid(), "y", mapspec="x[i] -> y[i]")
    second = PipeFunc(lambda x: threading.current_thread().name, "z", mapspec="x[i] -> z[i]")
    with WorkerPool(2) as pool, ThreadPoolExecutor(1, "mine") as threads:
        results = Pipeline([first, second]).map({"x": range(4)}, executor={"y": pool, "z": threads})
        assert set(results["y"].output) <= set(pool.pids)
        assert set(results["z"].output) == {"mine_0"}
        results = Pipeline([first, second]).map({"x": range(4)}, executor={"": pool})
        assert set(results["y"].output) <= set(pool.pids)


@alone
def test_bad_pools_and_functions(tmp_path):
    pool = WorkerPool(2)
    lock = threading.Lock()
    with pytest.raises(InvalidTypeError, match="cannot be pickled"):
        values(lambda x: lock, 3, executor=pool)
    with pytest.raises(TypeError, match="'y' at element [012], of type 'lock'"):
        values(make_lock, 3, executor=pool)
    assert values(abs_of, 3, executor=pool) == [0, 1, 2]
    pool.shutdown()
    with pytest.raises(BrokenPoolError, match="shut down"):
        values(abs_of, 3, executor=pool)
    broken = WorkerPool(2, initializer=lambda: 1 / 0)
    with pytest.raises(BrokenPoolError, match="division by zero"):
        values(abs_of, 3, executor=broken)
    broken.shutdown()


class NotHere:
    """Cannot be read back in a worker."""

    def __reduce__(self) -> Any:
        return not_here, (os.getpid(),)


def not_here(pid: int) -> None:
    if os.getpid() != pid:
        raise RuntimeError("cannot be read back there")


@every_method
@alone
def test_an_input_that_cannot_be_read_back(method):
    with WorkerPool(2, start_method=method) as pool:
        with pytest.raises(RuntimeError, match="cannot be read back there"):
            mapped(lambda x, c: x).map({"x": range(3), "c": NotHere()}, executor=pool)
        assert values(abs_of, 3, executor=pool) == [0, 1, 2]


@alone
def test_waiting_for_ones_own_pool_raises():
    with WorkerPool(2) as pool:
        with pytest.raises(RuntimeError, match="wait for ever"):
            mapped(lambda x: pool.submit(abs, x).result()).map({"x": range(3)}, executor=pool)
        with pytest.raises(RuntimeError, match="wait for ever"):
            mapped(lambda x: values(abs_of, 3, executor=pool)).map({"x": range(3)}, executor=pool)


@alone
def test_an_error_stops_the_map_and_leaves_the_pool():
    def func(x):
        if x == 0:
            raise ValueError("first")
        time.sleep(20)

    with WorkerPool(2) as pool:
        began = time.monotonic()
        with pytest.raises(ValueError, match="first"):
            values(func, 2, executor=pool)
        assert time.monotonic() - began < 1.5
        assert values(abs_of, 3, executor=pool) == [0, 1, 2]


@alone
def test_limits_of_tasks_and_memory_hold_for_maps():
    with WorkerPool(2, max_tasks_per_child=2) as pool:
        assert len(set(values(pid_after(0.02), 40, executor=pool))) > 4
    with WorkerPool(1, max_rss_per_child=1 << 20) as pool:
        assert len(set(values(pid_after(0.02), 5, executor=pool))) > 2


@alone
def test_nothing_is_left_of_maps_in_a_pool(tmp_path):
    counts = []
    with WorkerPool(2) as pool:
        for number in range(12):
            folder = tmp_path / "run" if number % 2 else None
            values(lambda x: (x, "text"), 50, executor=pool, run_folder=folder)
            gc.collect()
            in_workers = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pool.pids]
            counts.append((len(os.listdir("/proc/self/fd")), max(in_workers)))
    assert max(counts[6:]) <= max(counts[2:6]), counts


def run_in_pool(path: str, method: str) -> None:
    def func(x):
        if x < 4:
            return x
        Path(path, f"{x}-{os.getpid()}").touch()
        time.sleep(40)
        return x

    with WorkerPool(2, start_method=method) as pool:
        try:
            values(func, 1000, run_folder=Path(path, "run"), executor=pool)
        except KeyboardInterrupt:
            assert values(abs_of, 3, executor=pool) == [0, 1, 2]
            Path(path, "usable").touch()
            raise


@every_method
def test_an_interrupt_ends_the_map_and_leaves_the_pool(method, tmp_path):
    with start(run_in_pool, str(tmp_path), method) as process:
        until(lambda: len(list(tmp_path.glob("[0-9]*"))) == 2)
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(10)
        assert (tmp_path / "usable").exists(), process.text()
        until(lambda: not members(process.pid), 2)
    assert load_outputs("y", run_folder=tmp_path / "run")[:4].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("where", ["own", "pool"])
def test_a_second_interrupt_ends_all_at_once(where, tmp_path):
    with start(ignore_first, str(tmp_path), where) as process:
        until(lambda: len(list(tmp_path.glob("[0-9]*"))) == 2)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        process.wait(10)
        assert time.monotonic() - began < 0.5 + 0.3
        until(lambda: not members(process.pid), 1)


def ignore_first(path: str, where: str) -> None:
    def func(x):
        Path(path, f"{x}-{os.getpid()}").touch()
        time.sleep(40)

    pool = WorkerPool(2) if where == "pool" else None
    values(func, 2, executor=pool)
