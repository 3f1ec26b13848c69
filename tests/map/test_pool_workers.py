"""Worker processes: who works, what they have of their own, and what is printed."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from map.alone import PORTABLE, alone, start, until

from pipefunc_c import PipeFunc, Pipeline

pytestmark = pytest.mark.timeout(60)


def mapped(func: Any, **options: Any) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False, **options)])


def values(func: Any, n: int, **options: Any) -> list[Any]:
    return list(mapped(func).map({"x": range(n)}, **options)["y"].output)


def pid_after(seconds: float, _x: int) -> int:
    time.sleep(seconds)
    return os.getpid()


def slow_pid(x: int) -> int:
    return pid_after(0.005, x)


def square(x: int) -> int:
    return x * x


# -- who works ---------------------------------------------------------------------------------------


@alone
def test_two_workers_share_a_long_stage():
    pids = values(slow_pid, 60)
    assert os.getpid() not in pids
    assert len(set(pids)) == 2
    assert min(pids.count(pid) for pid in set(pids)) > 10


@pytest.mark.parametrize("progress", ["headless", "rich", True])
@alone
def test_progress_does_not_take_the_workers_away(progress):
    assert len(set(values(slow_pid, 60, show_progress=progress))) == 2


@alone
def test_functions_of_one_generation_run_at_once_without_a_mapspec():
    functions = [PipeFunc(partial(pid_after, 1.0), name, renames={"_x": "x"}) for name in "ab"]
    began = time.monotonic()
    results = Pipeline(functions).map({"x": 1})
    assert len({results["a"].output, results["b"].output, os.getpid()}) == 3
    assert time.monotonic() - began < (3.0 if PORTABLE else 1.9)  # one after the other: 2


@alone
def test_a_nested_map_runs_in_its_worker():
    def outer(x):
        return [os.getpid(), *values(slow_pid, 4)]

    for row in values(outer, 6):
        assert len(set(row)) == 1


@alone
def test_an_element_may_open_a_pool_or_a_program():
    def outer(x):
        with ProcessPoolExecutor(1) as pool:
            inner = pool.submit(square, x).result()
        text = subprocess.run(["echo", str(x)], capture_output=True, text=True, check=True).stdout
        return inner, int(text)

    assert values(outer, 4) == [(x * x, x) for x in range(4)]


@alone
def test_an_element_may_fork():
    def outer(x):
        pid = os.fork()
        if pid == 0:
            os._exit(x)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert values(outer, 20) == list(range(20))


def map_in_daemon(queue: Any) -> None:
    queue.put(values(square, 5))


@alone
def test_a_map_in_a_daemon_process_of_multiprocessing():
    """Such a process may have no children by the rules of multiprocessing."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    daemon = context.Process(target=map_in_daemon, args=(queue,), daemon=True)
    daemon.start()
    until(lambda: not queue.empty() or not daemon.is_alive())
    assert not queue.empty()
    assert queue.get() == [0, 1, 4, 9, 16]
    daemon.join()


@alone
def test_a_map_in_a_worker_of_a_process_pool():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert pool.submit(values, square, 5).result(10) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("way", ["script", "-c", "stdin"])
def test_no_guard_is_needed(way, tmp_path):
    text = """if True:
        import os, sys
        from pipefunc_c import Pipeline, pipefunc
        class Mine(Exception):
            pass
        class Value:
            pass
        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def f(x):
            if x == 5:
                raise Mine(x)
            return Value(), os.getpid()
        pids = {pid for value, pid in Pipeline([f]).map({"x": range(3)})["y"].output if type(value) is Value}
        assert pids and os.getpid() not in pids
        try:
            Pipeline([f]).map({"x": range(9)})
        except Mine as error:
            assert error.args == (5,)
            print("fine")
    """
    path = tmp_path / "script.py"
    path.write_text(text)
    argv = {"script": [str(path)], "-c": ["-c", text], "stdin": ["-"]}[way]
    done = subprocess.run(
        [sys.executable, *argv], input=text, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout == "fine\n", done.stderr


# -- what a worker has of its own --------------------------------------------------------------------


def draw(x: int) -> tuple[int, float, float, float]:
    time.sleep(0.002)
    return os.getpid(), time.monotonic(), random.random(), float(np.random.random())


def streams(n: int = 100) -> list[list[tuple[float, float]]]:
    """Give what each worker drew, in order."""
    rows = sorted(values(draw, n))  # in time, which is not always in the order of the elements
    return [[(a, b) for each, _, a, b in rows if each == pid] for pid in sorted({row[0] for row in rows})]


@alone
def test_random_streams_never_repeat():
    drawn = [pair for _ in range(3) for stream in streams() for pair in stream]
    assert len({a for a, _ in drawn}) == len({b for _, b in drawn}) == len(drawn) == 300


@alone
def test_a_seeded_parent_repeats_all_streams():
    runs = []
    for _ in range(2):
        random.seed(3)
        np.random.seed(4)
        runs.append([streams(), streams()])
    for first, second in zip(*runs, strict=True):
        assert len(first) == len(second) == 2
        for one, other in zip(sorted(first), sorted(second), strict=True):
            common = min(len(one), len(other))  # who computes how many depends on the machine
            assert common
            assert one[:common] == other[:common]
    np.random.seed(5)
    random.seed(5)
    assert streams()[0][0] not in [stream[0] for stream in [*runs[0][0], *runs[0][1]]]


@alone
def test_blas_threads_are_capped():
    import threadpoolctl

    def count(x):
        np.ones((300, 300)) @ np.ones((300, 300))
        threads = len(os.listdir("/proc/self/task"))
        return threads, [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]

    before = threadpoolctl.threadpool_info()
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    for threads, pools in values(count, 10):
        assert threads <= share + PORTABLE  # one waits for the end of the parent
        assert pools
        assert all(each <= share for each in pools)
    assert threadpoolctl.threadpool_info() == before


@alone
def test_arrays_of_the_parent_are_not_changed_by_a_worker():
    whole = np.arange(5.0)

    def change(x, whole):
        whole[0] += 1
        return x

    pipeline = mapped(change)
    pipeline.map({"x": range(10), "whole": whole})
    assert whole.tolist() == [0, 1, 2, 3, 4]


def read_whole(x: int, whole: Any) -> tuple[float, int]:
    """Read all of an input, change a little of it, and tell how many bytes are this process's own."""
    total = float(whole.sum())
    whole[0] += 1
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    time.sleep(0.01)
    return total, own << 10


def read_in_served_workers(n: int) -> list[Any]:
    threading.Thread(
        target=time.sleep, args=(30,), daemon=True
    ).start()  # so that nothing is forked from here
    whole = np.ones(n)
    result = mapped(read_whole).map({"x": range(20), "whole": whole}, show_progress=False)
    assert whole[0] == 1
    return list(result["y"].output)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_share_the_pages_of_a_large_input():
    n = 8_000_000
    with start(read_in_served_workers, n) as process:
        seen = process.value()
    assert all(n <= total <= n + 20 for total, _ in seen)
    # Beside the interpreter with NumPy there is no copy of 64 MB.
    assert max(own for _, own in seen) < 40 << 20, [own >> 20 for _, own in seen]


# -- what is printed ---------------------------------------------------------------------------------


def print_lines(fails: bool) -> None:
    print("before", end=" ")  # stays in the buffer of this process

    def say(x):
        print(f"line {x}")
        time.sleep(0.01)
        if x == 60 and fails:
            time.sleep(0.1)
            raise ValueError
        if x > 60 and fails:
            time.sleep(5)
        return x

    try:
        values(say, 100)
    except ValueError:
        print("after")
        return
    print("after")


@pytest.mark.parametrize("fails", [False, True])
def test_each_line_arrives_once(fails):
    with start(print_lines, fails) as process:
        process.value()
        text = process.text(0)
    assert text.count("before") == text.count("after") == 1
    lines = sorted(int(line.split()[-1]) for line in text.splitlines() if "line" in line)
    assert lines[:61] == list(range(61))
    assert len(set(lines)) == len(lines)
    assert fails or len(lines) == 100
