"""The pool of workers as an executor: calls, deaths, what is refused, how it ends."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import psutil
import pytest
from map.alone import PORTABLE, alone, members, start, until

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import (
    BrokenPoolError,
    InvalidTypeError,
    InvalidValueError,
    OperationError,
    RemoteError,
    WorkerDiedError,
)
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)
METHODS = ["fork", "forkserver", "spawn"]
every_method = pytest.mark.parametrize("method", METHODS)


def pool_of(method: str | None = None, n: int = 2, **options: Any) -> WorkerPool:
    return WorkerPool(n, start_method=method, **options)


def slow_pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def fail(value: Any) -> None:
    raise ValueError(value)


def leave() -> None:
    os._exit(17)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(10)


def crash() -> None:
    ctypes.string_at(0)


# -- calls -------------------------------------------------------------------------------------------


@every_method
@alone
def test_calls_and_map_run_in_workers(method):
    with pool_of(method) as pool:
        assert isinstance(pool, Executor)
        assert pool.start_method == method
        pids = set(pool.map(slow_pid, [0.05] * 8))
        assert len(pids) == 2
        assert os.getpid() not in pids
        assert pids == set(pool.pids)
        assert pool.submit(lambda x, *, y: x - y, 5, y=2).result() == 3
        assert list(pool.map(pow, [2, 3], [5, 2])) == [32, 9]


@every_method
@alone
def test_an_exception_keeps_its_type_and_says_where_it_came_from(method):
    class Local(Exception):
        pass

    def broken():
        raise Local("inner text")

    with pool_of(method) as pool:
        with pytest.raises(ValueError, match="why") as info:
            pool.submit(fail, "why").result()
        assert isinstance(info.value.__cause__, RemoteError)
        assert "in fail" in str(info.value.__cause__)
        error = pool.submit(broken).exception()
        assert type(error).__name__ == "Local"
        assert isinstance(pool.submit(sys.exit, 3).exception(), SystemExit)


@alone
def test_a_call_that_waits_can_be_cancelled():
    with pool_of(n=1) as pool:
        first = pool.submit(time.sleep, 0.2)
        second = pool.submit(time.sleep, 0.2)
        assert second.cancel()
        assert first.result() is None
        with pytest.raises(CancelledError):
            second.result()


@alone
def test_large_arguments_and_results():
    data = os.urandom(5 << 20)
    with pool_of() as pool:
        assert all(each == data for each in pool.map(bytes, [data] * 6))


@alone
def test_idle_workers_use_no_cpu():
    with pool_of() as pool:
        pool.submit(int).result()
        processes = [psutil.Process(), *map(psutil.Process, pool.pids)]
        before = [sum(each.cpu_times()[:2]) for each in processes]
        time.sleep(0.5)
        after = [sum(each.cpu_times()[:2]) for each in processes]
    assert sum(after) - sum(before) <= 0.05


@pytest.mark.parametrize("way", ["script", "-c"])
@every_method
def test_no_guard_is_needed(method, way, tmp_path):
    text = f"""if True:
        from pipefunc_c import Pipeline, pipefunc
        from pipefunc_c.parallel import WorkerPool
        class Mine:
            def __init__(self, x):
                self.x = x
        def make(x):
            return Mine(x)
        @pipefunc("y", mapspec="x[i] -> y[i]")
        def f(x):
            return Mine(x)
        with WorkerPool(2, start_method={method!r}) as pool:
            assert [each.x for each in pool.map(make, range(3))] == [0, 1, 2]
            made = Pipeline([f]).map({{"x": range(4)}}, executor=pool)["y"].output
            assert [each.x for each in made] == [0, 1, 2, 3]
            assert type(made[0]) is Mine
        print("fine")
    """
    path = tmp_path / "script.py"
    path.write_text(text)
    argv = [str(path)] if way == "script" else ["-c", text]
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "fine\n", done.stderr


@every_method
@alone
def test_in_a_process_that_has_threads(method):
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        if method == "fork":
            with pytest.warns(UserWarning, match="has threads"):
                pool = pool_of(method)
        else:
            pool = pool_of(method)
        with pool:
            assert pool.submit(abs, -3).result() == 3
        assert pool_of().start_method == "forkserver"
    finally:
        release.set()
        thread.join()


@pytest.mark.skipif(PORTABLE, reason="nothing is forked from here")
@alone
def test_forked_workers_have_the_objects_of_the_parent():
    sys.modules["only_here"] = sys.modules[__name__]
    with pool_of("fork") as pool:
        assert pool.start_method == "fork"
        assert pool.submit(eval, "'only_here' in __import__('sys').modules").result()
    with pool_of("spawn") as pool:
        assert not pool.submit(eval, "'only_here' in __import__('sys').modules").result()


# -- deaths ------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize(("how", "said"), [(leave, "17"), (kill, "SIGKILL"), (crash, "SIGSEGV")])
@alone
def test_a_worker_that_dies_fails_its_call_alone(method, how, said):
    with pool_of(method) as pool:
        pool.submit(int).result()
        others = [pool.submit(slow_pid, 0.01) for _ in range(20)]
        began = time.monotonic()
        error = pool.submit(how).exception()
        assert isinstance(error, WorkerDiedError)
        assert said in str(error)
        assert error.peak_memory > 1 << 20
        assert error.signal == (said if said.startswith("SIG") else None)
        assert all(each.result() for each in others)
        assert pool.submit(abs, -1).result() == 1
        assert time.monotonic() - began < 3
        until(lambda: len(set(pool.map(slow_pid, [0.05] * 6))) == 2)


@alone
def test_recovery_takes_less_than_half_a_second():
    for method in METHODS[:2]:
        with pool_of(method, n=1) as pool:
            pool.submit(int).result()
            began = time.monotonic()
            assert isinstance(pool.submit(leave).exception(), WorkerDiedError)
            assert pool.submit(abs, -1).result() == 1
            assert time.monotonic() - began < 0.5


def start_program(path: str, how: str) -> None:
    program = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    argv = [sys.executable, "-c", program, path]
    if how == "program":
        subprocess.Popen(argv)
    else:
        executor = ProcessPoolExecutor(1)
        executor.submit(subprocess.run, argv)
    until(lambda: Path(path).exists() and Path(path).read_text())


@pytest.mark.parametrize("how", ["program", "pool"])
@pytest.mark.parametrize("end", ["kill", "exit", "shutdown"])
@alone
def test_what_a_call_started_dies_with_its_worker(how, end, tmp_path):
    path = tmp_path / "pid"
    with pool_of(n=1) as pool:
        pool.submit(start_program, str(path), how).result()
        pid = int(path.read_text())
        assert psutil.pid_exists(pid)
        if end == "kill":
            os.kill(pool.pids[0], signal.SIGKILL)
        elif end == "exit":
            pool.submit(leave).exception()
        if end != "shutdown":
            until(lambda: not running(pid), 3)
    until(lambda: not running(pid), 3)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def use_pool_for_ever(path: str, method: str) -> None:
    pool = pool_of(method)
    pool.submit(start_program, str(Path(path, "program")), "program").result()
    Path(path, "ready").touch()
    pool.submit(time.sleep, 60).result()


@every_method
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_parent_ends(method, number, tmp_path):
    with start(use_pool_for_ever, str(tmp_path), method) as process:
        until((tmp_path / "ready").exists)
        time.sleep(0.1)
        os.kill(process.pid, number)
        process.wait(10)
        until(lambda: not members(process.pid), 3)


# -- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["max_workers", "max_tasks_per_child", "max_rss_per_child", "threads_per_worker"]
)
def test_numbers_are_positive_ints(name):
    for value in (0, -1):
        with pytest.raises(InvalidValueError, match=f"{name} is {value}"):
            WorkerPool(**{name: value})
    for value in (1.5, "2", True):
        with pytest.raises(InvalidTypeError, match=f"{name} is"):
            WorkerPool(**{name: value})


def test_other_bad_arguments():
    with pytest.raises(InvalidValueError, match="'fork', 'forkserver', 'spawn'"):
        WorkerPool(start_method="thread")
    with pytest.raises(InvalidTypeError, match="cannot be called"):
        WorkerPool(initializer=3)
    with pytest.raises(InvalidTypeError, match="initializer cannot be pickled"):
        WorkerPool(initializer=print, initargs=(threading.Lock(),))


@every_method
@alone
def test_an_initializer_that_raises_breaks_the_pool(method):
    pool = pool_of(method, initializer=fail, initargs=("not today",))
    error = pool.submit(abs, -1).exception()
    assert isinstance(error, BrokenPoolError)
    assert isinstance(error, BrokenExecutor)
    assert isinstance(error.__cause__, ValueError)
    assert "not today" in str(error)
    with pytest.raises(BrokenPoolError, match="not today"):
        pool.submit(abs, -1)
    pool.shutdown()
    until(lambda: not left_children())


def fail_by_key(name: str) -> None:
    raise KeyError(name)


@pytest.mark.parametrize(
    ("initializer", "argument", "said"),
    [(fail_by_key, "nope", "KeyError: 'nope'"), (sys.exit, 4, "SystemExit: 4")],
)
@alone
def test_the_error_says_what_the_initializer_raised(initializer, argument, said):
    with pool_of(initializer=initializer, initargs=(argument,)) as pool:
        error = pool.submit(abs, -1).exception(20)
        message = f"the workers of this pool cannot be used: their initializer raised {said}"
        assert error.args[0] == message
        assert isinstance(error.__cause__.__cause__, RemoteError)
        assert initializer is sys.exit or "in fail_by_key" in str(error.__cause__.__cause__)
        with pytest.raises(BrokenPoolError) as caught:
            pool.submit(abs, -1)
        assert caught.value.args[0] == message
        pipeline = Pipeline([PipeFunc(lambda x: x, "y", mapspec="x[i] -> y[i]")])
        with pytest.raises(BrokenPoolError) as caught:
            pipeline.map({"x": [1, 2]}, executor=pool)
        assert caught.value.args[0] == message


@alone
def test_an_initializer_that_ends_its_worker_breaks_the_pool():
    with pool_of(initializer=leave) as pool:
        error = pool.submit(abs, -1).exception(20)
        assert isinstance(error, BrokenPoolError)
        assert "exit code 17" in str(error)


class Stubborn:
    """Can be pickled, but not read back."""

    def __reduce__(self) -> Any:
        return fail, ("cannot be read back",)


@alone
def test_what_cannot_be_pickled():
    with pool_of() as pool:
        with pytest.raises(InvalidTypeError, match="cannot be pickled"):
            pool.submit(abs, threading.Lock())
        assert isinstance(pool.submit(threading.Lock).exception(), TypeError)
        assert "cannot be read back" in str(pool.submit(Stubborn).exception())
        assert "cannot be read back" in str(pool.submit(id, Stubborn()).exception())
        assert pool.submit(abs, -1).result() == 1


@alone
def test_a_result_larger_than_memory_is_an_error_and_the_pool_goes_on():
    from pipefunc_c.parallel import _channel

    original = _channel.available_memory
    with pool_of() as pool:
        pool.submit(int).result()
        _channel.available_memory = lambda: (1 << 20, "the limit of this test")
        error = pool.submit(bytes, 100 << 20).exception()
        assert isinstance(error, MemoryError)
        assert "100.0 MiB" in str(error)
        assert "the limit of this test" in str(error)
        _channel.available_memory = original
        assert len(pool.submit(bytes, 100 << 20).result()) == 100 << 20


@alone
def test_a_pool_that_is_shut_down_takes_no_work():
    pool = pool_of()
    assert pool.submit(abs, -1).result() == 1
    pool.shutdown()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(abs, -1)


shared: dict[str, WorkerPool] = {}


def wait_for_own_pool(given: Any) -> Any:
    return (given or shared["pool"]).submit(abs, -1).result()


@every_method
@alone
def test_waiting_for_ones_own_pool_raises(method):
    shared["pool"] = pool_of(method, n=1)
    with shared["pool"] as pool:
        error = pool.submit(wait_for_own_pool, pool).exception(20)
        assert isinstance(error, OperationError)
        assert "wait for ever" in str(error)
        if method == "fork" and not PORTABLE:
            with pytest.warns(UserWarning, match="has threads"):
                shared["other"] = pool_of(method, n=1)
            error = shared["other"].submit(wait_for_own_pool, None).exception(20)
            assert isinstance(error, OperationError)
            shared["other"].shutdown()


def pool_in_worker(method: str) -> int:
    if PORTABLE:  # one waits for the end of the parent
        warnings.filterwarnings("ignore", "this process has threads")
    with pool_of(method, n=1) as pool:
        return pool.submit(abs, -7).result()


@every_method
@alone
def test_a_pool_in_a_worker(method):
    with pool_of() as pool:
        assert pool.submit(pool_in_worker, method).result() == 7


# -- the end -----------------------------------------------------------------------------------------


def left_children() -> list[int]:
    """List the children of this process but for the server, which stays."""
    return [
        each.pid
        for each in psutil.Process().children(recursive=True)
        if "warm_main" not in " ".join(each.cmdline()) and each.status() != psutil.STATUS_ZOMBIE
    ]


def open_now() -> tuple[int, int, int]:
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(left_children()), len(os.listdir("/proc/self/task"))


@every_method
@alone
def test_nothing_is_left_of_a_pool(method):
    counts = []
    for _ in range(5):
        with pool_of(method) as pool:
            list(pool.map(abs, range(10)))
            pool.submit(leave).exception()
        counts.append(open_now())
    assert counts[-1] == counts[1], counts
    assert counts[-1][1] == 0


@alone
def test_shutdown_waits_for_what_was_submitted():
    pool = pool_of()
    futures = [pool.submit(slow_pid, 0.02) for _ in range(10)]
    pool.shutdown()
    assert all(each.done() and each.result() for each in futures)
    pool = pool_of(n=1)
    futures = [pool.submit(slow_pid, 0.1) for _ in range(10)]
    pool.shutdown(wait=False, cancel_futures=True)
    done, _ = wait(futures, 5)
    assert len(done) == 10
    assert sum(each.cancelled() for each in futures) >= 8


@alone
def test_a_pool_that_is_dropped_ends():
    pool = pool_of()
    pids = [pool.submit(os.getpid).result(), *pool.pids]
    del pool
    gc.collect()
    until(lambda: not any(running(pid) for pid in pids))


def leave_work_behind(path: str) -> None:
    pool = pool_of()
    for number in range(4):
        pool.submit(write_later, str(Path(path, str(number))))


def write_later(path: str) -> None:
    time.sleep(0.1)
    Path(path).touch()


def test_the_end_of_the_program_waits_for_what_was_submitted(tmp_path):
    with start(leave_work_behind, str(tmp_path)) as process:
        assert process.wait() == 0
        assert len(list(tmp_path.iterdir())) == 4
        until(lambda: not members(process.pid), 2)
