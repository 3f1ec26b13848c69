"""Workers that fail: exceptions, what cannot be pickled, and workers that die."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from map.alone import PORTABLE, alone, needs_fork, start

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import ErrorSnapshot, OperationError, RemoteError, WorkerDiedError
from pipefunc_c.map import load_outputs

pytestmark = pytest.mark.timeout(60)
N = 20


def mapped(func: Any, **options: Any) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False, **options)])


def caught(kind: type[BaseException], func: Any, inputs: Any = range(N), **options: Any) -> Any:
    """Map in workers and give the exception that comes out, with the seconds that it took."""
    began = time.monotonic()
    with pytest.raises(kind) as info:
        mapped(func).map({"x": inputs}, **options)
    assert info.type is kind
    return info.value, time.monotonic() - began


class TwoArguments(Exception):
    def __init__(self, first: Any, second: Any) -> None:
        super().__init__(f"{first} and {second}")


class Refuses(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("I am not to be pickled")


class Holds(Exception):
    pass


@dataclass(frozen=True)
class FrozenError(Exception):
    text: str


class OwnOSError(OSError):
    def __init__(self, name: str) -> None:
        super().__init__(2, "is not there", f"{name}.txt")
        self.args = (name,)


class OwnGroup(ExceptionGroup):
    def __new__(cls, errors: Any) -> Any:
        return super().__new__(cls, "several", errors)


class Stubborn:
    """Can be pickled, but not read back."""

    def __reduce__(self) -> Any:
        return _refuse_to_load, ()


def _refuse_to_load() -> None:
    raise RuntimeError("cannot be read back")


def at(index: int, action: Any, seconds: float = 0.0) -> Any:
    """Make a function that does something at one element, in a worker."""
    parent = os.getpid()

    def func(x: int) -> Any:
        if x == index:
            assert os.getpid() != parent
            return action()
        time.sleep(seconds)
        return x

    return func


def throw(error: BaseException) -> Any:
    raise error


@alone
def test_an_exception_keeps_its_type_and_names_its_element():
    def broken(x):
        return 1 / (x - 7)

    error, _ = caught(ZeroDivisionError, broken)
    notes = "\n".join(error.__notes__)
    assert "element 7 of 20 (i=7)" in notes, notes
    assert "x=7" in notes, notes
    assert len(error.__notes__) == 1, notes
    assert type(error.__cause__) is RemoteError
    assert "in broken" in str(error.__cause__), str(error.__cause__)
    assert "1 / (x - 7)" in str(error.__cause__), str(error.__cause__)


@alone
def test_the_snapshot_of_the_pipeline_can_be_reproduced():
    def broken(x):
        return 1 / (x - 3)

    pipeline = mapped(broken)
    with pytest.raises(ZeroDivisionError):
        pipeline.map({"x": range(N)})
    snapshot = pipeline.error_snapshot
    assert isinstance(snapshot, ErrorSnapshot)
    assert snapshot.kwargs == {"x": 3}
    assert "in broken" in snapshot.traceback, snapshot.traceback
    with pytest.raises(ZeroDivisionError):
        snapshot.reproduce()


@alone
def test_the_first_failure_stops_all():
    def slow(x):
        if x == 0:
            raise ValueError("first")
        time.sleep(0.2)
        return x

    _, seconds = caught(ValueError, slow)
    assert seconds < 0.6 + 0.3, seconds


@alone
def test_an_exception_in_the_middle_of_a_long_element_of_the_other_worker():
    def slow(x):
        if x == 0:
            raise ValueError("first")
        time.sleep(20)

    _, seconds = caught(ValueError, slow, range(2))
    assert seconds < 1.2, seconds


def local_class() -> Any:
    class Local(Exception):
        def __init__(self, first: Any, second: Any) -> None:
            super().__init__(f"{first} and {second}")

    return Local


@pytest.mark.parametrize("servers", [False, True], ids=["forked", "from-a-server"])
@alone
def test_an_exception_that_does_not_unpickle_keeps_its_class(servers, tmp_path):
    if servers:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    local = local_class()
    makers = {
        TwoArguments: lambda: TwoArguments(1, "b"),
        Refuses: lambda: Refuses("1 and b"),
        FrozenError: lambda: FrozenError("1 and b"),
        OwnOSError: lambda: OwnOSError("1 and b"),
        OwnGroup: lambda: OwnGroup([TwoArguments(1, "b")]),
        local: lambda: local(1, "b"),
    }
    for kind, make in makers.items():
        fail = at(5, lambda make=make: throw(make()))
        error, _ = caught(kind, fail)
        folder = tmp_path / kind.__name__
        pipeline = mapped(fail)
        results = pipeline.map({"x": range(N)}, error_handling="continue", run_folder=folder)
        loaded = load_outputs("y", run_folder=folder)
        resumed = pipeline.map({"x": range(N)}, error_handling="continue", run_folder=folder, resume=True)
        outputs = [results["y"].output, loaded, resumed["y"].output]
        for each in (error, *(output[5].exception for output in outputs)):
            assert type(each) is kind
            assert "1 and b" in f"{each.args}"
            assert [output[4] for output in outputs] == [4] * 3
        if kind is not FrozenError:  # it takes no notes
            assert "Error in func(x=5)" in error.__notes__[0]
        if kind is OwnOSError:
            assert (error.errno, error.filename) == (2, "1 and b.txt")


@pytest.mark.parametrize("servers", [False, True], ids=["forked", "from-a-server"])
@alone
def test_exceptions_that_cannot_be_pickled_leave_their_text_and_the_others_as_they_are(servers):
    if servers:
        threading.Thread(target=threading.Event().wait, daemon=True).start()

    def fail(x):
        raise ValueError(threading.Lock() if x == 1 else Stubborn() if x == 2 else x)

    output = mapped(fail).map({"x": range(4)}, error_handling="continue")["y"].output
    assert [type(each.exception) for each in output] == [
        ValueError,
        OperationError,
        OperationError,
        ValueError,
    ]
    assert "lock" in output[1].exception.detail
    assert "cannot be read back" in str(output[2].exception)
    assert output[3].exception.args == (3,)


@alone
def test_an_exception_of_a_local_class_is_caught_as_that_class():
    class Local(Exception):
        pass

    error, _ = caught(Local, at(2, lambda: throw(Local("here"))))
    assert error.args == ("here",)


@needs_fork
@alone
def test_an_exception_with_state_that_cannot_be_pickled():
    holds = Holds("text", threading.Lock())
    with pytest.raises(Exception, match="text"):
        mapped(at(5, lambda: throw(holds))).map({"x": range(N)})


@alone
def test_cause_and_context_of_the_user_are_in_the_remote_traceback():
    def broken(x):
        try:
            raise KeyError("inner secret")
        except KeyError as error:
            raise ValueError("outer") from error

    error, _ = caught(ValueError, broken)
    assert "inner secret" in str(error.__cause__)


@alone
def test_exit_and_interrupt_of_an_element_stop_the_run_in_both_modes():
    for mode in ("raise", "continue"):
        for kind in (KeyboardInterrupt, SystemExit):
            error, seconds = caught(kind, at(3, lambda kind=kind: throw(kind("why"))), error_handling=mode)
            assert error.args == ("why",)
            assert seconds < 1


@alone
def test_an_exception_group():
    group = ExceptionGroup("two", [ValueError(1), KeyError("a")])
    error, _ = caught(ExceptionGroup, at(1, lambda: throw(group)))
    assert [type(each) for each in error.exceptions] == [ValueError, KeyError]


@alone
def test_recursion_without_end_is_a_recursion_error():
    def deep(x):
        return deep(x) + 1 if x == 2 else x

    caught(RecursionError, deep)


@alone
def test_errors_go_on_with_the_right_arguments_and_texts():
    def broken(x):
        if x % 3 == 0:
            raise TwoArguments(x, "b")
        return float(x)

    results = mapped(broken).map({"x": range(100)}, error_handling="continue")
    for x, value in enumerate(results["y"].output):
        if x % 3:
            assert type(value) is float
            continue
        assert isinstance(value, ErrorSnapshot)
        assert value.kwargs == {"x": x}
        assert f"{x} and b" in str(value.exception)
        assert "in broken" in value.traceback


# -- what cannot be pickled --------------------------------------------------------------------------


@needs_fork
@alone
def test_a_function_and_constants_that_cannot_be_pickled_work():
    lock = threading.Lock()

    def locked(x, constant):
        with lock, constant:
            return x + 0.5

    pipeline = mapped(locked)
    results = pipeline.map({"x": range(N), "constant": threading.Lock()})
    assert results["y"].array.tolist() == [x + 0.5 for x in range(N)]


@needs_fork
@alone
def test_elements_that_cannot_be_pickled_are_passed_by_fork():
    locks = [threading.Lock() for _ in range(N)]
    results = mapped(lambda x: x.acquire(blocking=False)).map({"x": locks})
    assert results["y"].array.tolist() == [True] * N


def count_all(y: Any) -> int:
    return len(y)


def lock_at(x: int) -> Any:
    return threading.Lock() if x == 11 else float(x)


@pytest.mark.parametrize("storage", ["array", "dict", "file_array"])
@alone
def test_a_result_that_cannot_be_pickled_names_its_element(storage, tmp_path):
    folder = tmp_path / "run" if storage == "file_array" else None
    with pytest.raises(TypeError, match="'y' at element 11, of type 'lock' cannot be pickled"):
        mapped(lock_at).map({"x": range(N)}, folder, storage=storage)


@alone
def test_an_intermediate_result_that_cannot_be_pickled_names_its_element():
    make = PipeFunc(lock_at, "y", mapspec="x[i] -> y[i]", print_error=False)
    count = PipeFunc(count_all, "n", print_error=False)
    with pytest.raises(TypeError, match="'y' at element 11, of type 'lock' cannot be pickled"):
        Pipeline([make, count]).map({"x": range(N)})


@alone
def test_a_result_that_cannot_be_read_back_is_an_error_when_it_is_looked_at():
    results = mapped(at(4, Stubborn)).map({"x": range(N)})
    assert results["y"].store.get_from_index(3) == 3
    with pytest.raises(Exception, match="cannot be read back"):
        results["y"].store.get_from_index(4)


# -- workers that die --------------------------------------------------------------------------------


def leave() -> None:
    os._exit(17)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(10)


def crash() -> None:
    ctypes.string_at(0)


@alone
def test_a_worker_that_dies_while_the_other_computes_for_long():
    def func(x):
        if x == 0:
            os._exit(3)
        time.sleep(20)

    error, seconds = caught(WorkerDiedError, func, range(2))
    assert "3" in str(error)
    assert seconds < 1.5


@alone
def test_a_death_is_told_at_once_when_nobody_else_is_busy():
    _, seconds = caught(WorkerDiedError, at(13, leave, 0.002))
    assert seconds < (2.0 if PORTABLE else 0.4), seconds  # the server starts first


def all_die() -> None:
    caught(WorkerDiedError, lambda x: os._exit(x and 1))


def test_all_workers_die_at_once():
    with start(all_die) as process:
        process.value(10)


@alone
def test_a_death_in_a_report_of_many_bytes():
    """The parent reads half a message."""

    def func(x):
        if x == 3:
            threading.Timer(0.05, os._exit, [9]).start()
        time.sleep(0.01)
        return os.urandom(20 << 20) if x >= 3 else x

    error, seconds = caught(WorkerDiedError, func)
    assert "exit code 9" in str(error)
    assert seconds < 10


@alone
def test_a_run_after_a_death_works():
    for _ in range(3):
        caught(WorkerDiedError, at(2, leave))
        results = mapped(lambda x: np.float32(x / 2)).map({"x": range(N)})
        assert results["y"].array.dtype == np.float32
