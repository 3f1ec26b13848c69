"""Executors that cannot do what they are given for: each says so, and what it is."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from map.alone import alone
from map.test_executors import Stranger, func

from pipefunc_c import Pipeline
from pipefunc_c.exceptions import InvalidTypeError, OperationError
from pipefunc_c.map._executors.own_threads import executors_here
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)


def mapped(executor: Any, body: Any = lambda x: x, **options: Any) -> Any:
    return Pipeline([func(body)]).map({"x": range(50)}, executor=executor, **options)


# -- no executors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, WorkerPool, Stranger])
@pytest.mark.parametrize("by_output", [False, True], ids=["alone", "in a dict"])
def test_a_class_that_was_not_called(kind, by_output):
    with pytest.raises(TypeError) as info:
        mapped({"": kind} if by_output else kind)
    assert isinstance(info.value, InvalidTypeError)
    assert f"executor is the class {kind.__name__}" in str(info.value)
    assert f"call it: executor={kind.__name__}()" in str(info.value)


# -- what they give ----------------------------------------------------------------------------------


class Cancels(Executor):
    """Cancels what it is given, after so many tasks that it does."""

    def __init__(self, after: int = 0) -> None:
        self._left = after

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._left -= 1
        if self._left >= 0:
            return Stranger().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("error_handling", ["raise", "continue"])
def test_tasks_that_it_cancels(after, error_handling):
    with pytest.raises(OperationError) as info:
        mapped(Cancels(after), chunksizes=5, error_handling=error_handling)
    assert "the executor Cancels cancelled elements" in str(info.value)
    assert "died" not in str(info.value)


@alone
def test_an_executor_that_is_shut_down_meanwhile():
    started, go_on = threading.Event(), threading.Event()

    def wait(x):
        started.set()
        go_on.wait(20)
        return x

    with ThreadPoolExecutor(1) as threads:

        def shut_down():
            started.wait(20)
            threads.shutdown(wait=False, cancel_futures=True)
            go_on.set()

        ender = threading.Thread(target=shut_down)
        ender.start()
        with pytest.raises(OperationError, match="takes no more work|cancelled elements"):
            mapped(threads, wait, chunksizes=5)
        ender.join()


class Gives(Executor):
    """Gives something else than a Future, or one that holds something else than a result."""

    def __init__(self, given: Any, *, in_future: bool) -> None:
        self._given = given
        self._in_future = in_future

    def submit(self, *_args: Any, **_kwargs: Any) -> Any:
        if not self._in_future:
            return self._given
        future: Future[Any] = Future()
        future.set_result(self._given)
        return future


@pytest.mark.parametrize("given", [None, 5, b"bytes"])
def test_what_is_no_future(given):
    with pytest.raises(InvalidTypeError) as info:
        mapped(Gives(given, in_future=False))
    assert f"submit of the executor Gives gave {given!r}, which is no Future" in str(info.value)


@pytest.mark.parametrize("given", [None, 5, b"bytes", b"\x80\x05N.", (1, 2)])
def test_a_future_of_something_else(given):
    with pytest.raises(InvalidTypeError) as info:
        mapped(Gives(given, in_future=True), chunksizes=5)
    assert f"the executor Gives gave {given!r} for elements 0 to" in str(info.value)


class ThreadsThatForget(ThreadPoolExecutor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(lambda: fn(*args, **kwargs) and None)


def test_threads_that_give_something_else():
    with (
        ThreadsThatForget(2) as threads,
        pytest.raises(InvalidTypeError, match="ThreadsThatForget gave None"),
    ):
        mapped(threads, chunksizes=5)


# -- maps in elements of maps ------------------------------------------------------------------------


def total(executor: Any) -> Any:
    return lambda x: sum(mapped(executor)["y"].output) + x


@alone
def test_an_element_cannot_wait_for_the_threads_that_run_it():
    with ThreadPoolExecutor(2) as threads:
        with pytest.raises(OperationError, match="threads that wait for their own executor") as info:
            mapped(threads, total(threads))
        assert "ThreadPoolExecutor" in str(info.value)
        results = mapped(threads, total(threads), error_handling="continue")
        assert all(isinstance(each.exception, OperationError) for each in results["y"].output)


@alone
def test_nor_for_threads_that_wait_for_others():
    with (
        ThreadPoolExecutor(1) as first,
        ThreadPoolExecutor(1) as second,
        pytest.raises(OperationError, match="threads that wait for their own executor"),
    ):
        mapped(first, lambda x: mapped(second, total(first)) and x)


@alone
def test_an_element_may_wait_for_other_threads_and_for_none():
    with ThreadPoolExecutor(2) as first, ThreadPoolExecutor(2) as second:
        for inner in (total(second), lambda x: sum(mapped(None, parallel=False)["y"].output) + x):
            assert mapped(first, inner)["y"].output.tolist() == [sum(range(50)) + x for x in range(50)]


@alone
def test_a_thread_that_is_done_with_an_element_may_map_with_its_executor():
    with ThreadPoolExecutor(2) as threads:
        mapped(threads)
        result = threads.submit(mapped, threads).result(20)
        assert sum(result["y"].output) == sum(range(50))
        assert threads.submit(executors_here).result() == ()
