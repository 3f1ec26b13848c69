from __future__ import annotations

import functools
import os
import pickle
import socket
import threading
from concurrent.futures import BrokenExecutor

import cloudpickle
import numpy as np
import pytest

from pipefunc_c import _describe, exceptions
from pipefunc_c.exceptions import (
    ErrorInfo,
    ErrorSnapshot,
    InvalidTypeError,
    PipefuncError,
    PropagatedErrorSnapshot,
)

BUILTINS = {
    "InvalidValueError": ValueError,
    "InvalidTypeError": TypeError,
    "MapSpecError": ValueError,
    "ShapeError": ValueError,
    "GraphError": ValueError,
    "InputError": ValueError,
    "UnusedParametersError": ValueError,
    "RunFolderInUseError": RuntimeError,
    "RunFolderWriteError": OSError,
    "UnknownNameError": KeyError,
    "OperationError": RuntimeError,
    "OutOfBoundsError": IndexError,
    "OutOfMemoryError": MemoryError,
    "MissingDependencyError": ModuleNotFoundError,
    "NotAvailableError": NotImplementedError,
    "RemoteError": Exception,
    "WorkerDiedError": RuntimeError,
    "ElementTimeoutError": TimeoutError,
    "BrokenPoolError": BrokenExecutor,
}


def divide(x, y=1):
    return x / y


def fail(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        return ErrorSnapshot(function, error, args, kwargs)
    raise AssertionError("it did not fail")


def skipped(reason="input_is_error", **error_info):
    return PropagatedErrorSnapshot(error_info, divide, reason, {"x": 1})


def test_every_leaf_is_listed_here():
    classes = {
        name
        for name in exceptions.__all__
        if isinstance(getattr(exceptions, name), type)
        and issubclass(getattr(exceptions, name), PipefuncError)
    }
    assert classes == {*BUILTINS, "PipefuncError"}


@pytest.mark.parametrize("name", BUILTINS)
class TestLeaf:
    def test_inherits_root_and_builtin(self, name):
        leaf = getattr(exceptions, name)
        assert issubclass(leaf, PipefuncError)
        assert issubclass(leaf, BUILTINS[name])

    def test_text_is_message_and_hint(self, name):
        leaf = getattr(exceptions, name)
        assert str(leaf("what was wrong")) == "what was wrong"
        assert str(leaf("what was wrong", hint="Do this.")) == "what was wrong\nHint: Do this."

    @pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
    def test_survives_pickle(self, name, pickler):
        error = getattr(exceptions, name)("what", detail={"x": 1}, hint="Do this.")
        error.add_note("a note")
        copy = pickle.loads(pickler.dumps(error))
        assert type(copy) is type(error)
        assert (str(copy), copy.detail, copy.hint) == (str(error), {"x": 1}, "Do this.")
        assert copy.__notes__ == ["a note"]


def test_root_is_no_builtin_but_exception():
    assert PipefuncError.__bases__ == (Exception,)


class TestErrorSnapshot:
    def test_holds_the_call(self):
        snapshot = fail(divide, 3, y=0)
        assert (snapshot.function, snapshot.args, snapshot.kwargs) == (divide, (3,), {"y": 0})
        assert isinstance(snapshot.exception, ZeroDivisionError)
        assert "return x / y" in snapshot.traceback
        assert snapshot.current_directory == os.getcwd()
        assert snapshot.timestamp
        assert snapshot.user
        assert snapshot.machine

    def test_reproduces_the_error(self):
        with pytest.raises(ZeroDivisionError):
            fail(divide, 3, y=0).reproduce()

    def test_what_is_known_can_be_given(self):
        snapshot = ErrorSnapshot(
            divide,
            ValueError("x"),
            (),
            {},
            traceback="T",
            timestamp="now",
            user="me",
            machine="here",
            ip_address="1.2.3.4",
            current_directory="/there",
        )
        text = str(snapshot)
        assert snapshot.traceback == "T"
        assert all(word in text for word in ("now", "me@here (1.2.3.4) in /there"))

    def test_text_says_what_and_with_what(self):
        text = str(fail(divide, 3, y=0))
        assert f"{__name__}.divide" in text
        assert "ZeroDivisionError: division by zero" in text
        assert "args[0] = 3" in text
        assert "y = 0" in text

    @pytest.mark.parametrize(
        ("function", "name"),
        [
            (functools.partial(divide, y=0), "functools.partial of "),
            (type("Callable", (), {"__call__": lambda self, x: divide(x, 0)})(), "instance of "),
            (lambda x: divide(x, 0), "<lambda>"),
            (int, "builtins.int"),
            ("abc".index, "index"),
        ],
        ids=["partial", "instance", "lambda", "class", "builtin method"],
    )
    def test_text_of_any_callable(self, function, name):
        assert name in str(fail(function, "x")).replace("\n", " ")

    def test_text_in_spite_of_broken_arguments(self):
        class Broken(ValueError):
            def __str__(self):
                raise RuntimeError

            __repr__ = __str__

        text = str(ErrorSnapshot(divide, Broken(), (Broken(),), {"x": Broken()}))
        assert "Broken" in text
        assert "no message" in text

    def test_text_of_long_arguments_is_short(self):
        assert len(str(ErrorSnapshot(divide, ValueError(), ([0] * 100_000,), {"x": "a" * 100_000}))) < 3000

    def test_survives_a_file(self, tmp_path):
        offset = 1
        snapshot = fail(lambda x: divide(x, offset - 1), 3)
        snapshot.save_to_file(tmp_path / "error.pickle")
        copy = ErrorSnapshot.load_from_file(str(tmp_path / "error.pickle"))
        with pytest.raises(ZeroDivisionError):
            copy.reproduce()
        assert str(copy) == str(snapshot)
        assert copy.traceback == snapshot.traceback
        assert os.listdir(tmp_path) == ["error.pickle"]

    def test_file_is_replaced_whole_or_not_at_all(self, tmp_path):
        path = tmp_path / "error.pickle"
        fail(divide, 3, 0).save_to_file(path)
        with pytest.raises(TypeError, match="lock"):
            ErrorSnapshot(divide, ValueError(), (threading.Lock(),), {}).save_to_file(path)
        assert ErrorSnapshot.load_from_file(path).args == (3, 0)
        assert os.listdir(tmp_path) == ["error.pickle"]

    def test_other_file_is_refused(self, tmp_path):
        path = tmp_path / "other.pickle"
        path.write_bytes(pickle.dumps([1]))
        with pytest.raises(InvalidTypeError, match="other.pickle' holds a list, not an ErrorSnapshot"):
            ErrorSnapshot.load_from_file(path)

    def test_exception_that_does_not_unpickle_keeps_its_class(self):
        class Picky(Exception):
            def __init__(self, code, place):
                super().__init__(f"code {code} at {place}")
                self.code = code

        copy = pickle.loads(pickle.dumps(fail(lambda: (_ for _ in ()).throw(Picky(3, "here")))))
        assert type(copy.exception) is Picky
        assert (copy.exception.args, copy.exception.code) == (("code 3 at here",), 3)
        assert "Picky: code 3 at here" in str(copy)

    def test_exception_that_does_not_pickle_leaves_its_text(self):
        error = ValueError("too big")
        error.lock = threading.Lock()
        copy = pickle.loads(pickle.dumps(ErrorSnapshot(divide, error, (), {})))
        assert "ValueError: too big" in str(copy.exception)
        assert copy.exception.detail == "ValueError: too big"

    def test_no_socket_per_error(self, monkeypatch):
        opened = []

        class Probe(socket.socket):
            def __init__(self, *args):
                opened.append(args)
                raise OSError

        monkeypatch.setattr(socket, "socket", Probe)
        _describe.ip_address.cache_clear()
        try:
            snapshots = [fail(divide, 1, 0) for _ in range(3)]
        finally:
            _describe.ip_address.cache_clear()
        assert len(opened) == 1
        assert {snapshot.ip_address for snapshot in snapshots} == {"127.0.0.1"}


class TestPropagatedErrorSnapshot:
    def test_root_causes_are_found_through_full_errors(self):
        first, second = fail(divide, 1, 0), fail(divide, 2, 0)
        middle = skipped(x=ErrorInfo.from_full_error(first))
        last = skipped(x=ErrorInfo.from_full_error(middle), y=ErrorInfo.from_full_error(second))
        assert [id(cause) for cause in last.get_root_causes()] == [id(first), id(second)]

    def test_partial_errors_are_not_followed(self):
        info = ErrorInfo("partial", error=fail(divide, 1, 0), shape=(2,), error_indices=[(0,)], error_count=1)
        assert skipped("array_contains_errors", x=info).get_root_causes() == []

    def test_a_diamond_gives_each_cause_once(self):
        error = fail(divide, 1, 0)
        for _ in range(100):  # 2**100 ways to the same error
            info = ErrorInfo.from_full_error(error)
            error = skipped(x=info, y=info)
        assert len(error.get_root_causes()) == 1

    def test_a_long_chain_does_not_overflow(self):
        error = cause = fail(divide, 1, 0)
        for _ in range(5000):
            error = skipped(x=ErrorInfo.from_full_error(error))
        assert error.get_root_causes() == [cause]

    def test_text_says_why(self):
        partial = ErrorInfo.from_partial_errors((2, 3), [(0, 1)])
        full = ErrorInfo.from_full_error(fail(divide, 1, 0))
        text = str(skipped(x=full, y=partial, z=ErrorInfo.from_full_error(skipped(x=full))))
        assert f"{__name__}.divide" in text
        assert "x is an error: ZeroDivisionError: division by zero" in text
        assert "y of shape (2, 3) contains 1 errors" in text
        assert "z was itself not computed" in text

    def test_survives_pickle_with_a_lambda(self):
        snapshot = PropagatedErrorSnapshot(
            {"x": ErrorInfo.from_full_error(fail(divide, 1, 0))},
            lambda x: x + 1,
            "input_is_error",
            {"y": len},
        )
        copy = pickle.loads(pickle.dumps(snapshot))
        assert copy.skipped_function(1) == 2
        assert copy.attempted_kwargs == {"y": len}
        assert copy.timestamp == snapshot.timestamp
        assert isinstance(copy.get_root_causes()[0].exception, ZeroDivisionError)


def test_error_info_counts_partial_errors():
    info = ErrorInfo.from_partial_errors((4,), [(1,), (3,)])
    assert info == ErrorInfo("partial", shape=(4,), error_indices=(np.array([1, 3]),), error_count=2)
    assert info != ErrorInfo("partial", shape=(4,), error_indices=(np.array([1, 2]),), error_count=2)
    assert info != "partial"
    assert ErrorInfo.from_partial_errors((4, 5), [(1, 2)]).error_indices == (np.array([1]), np.array([2]))
