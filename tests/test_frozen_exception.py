"""Exceptions that cross a boundary come back as what they were, whatever their classes do."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._frozen_exception import FrozenException
from pipefunc_c.exceptions import OperationError, OutOfMemoryError, UnknownNameError, WorkerDiedError


class Custom(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Guesses(Exception):
    """Unpickles, but to something else: its ``__init__`` makes other ``args`` of them."""

    def __init__(self, code, message="nothing"):
        super().__init__(f"{code}: {message}")


class Refuses(Exception):
    def __reduce__(self):
        raise TypeError("I am not to be pickled")


class ReadsBadly(Exception):
    def __reduce__(self):
        return Custom, self.args


class BecomesAnother(Exception):
    def __reduce__(self):
        return ValueError, self.args


class DropsItsLock(Exception):
    def __init__(self, name):
        super().__init__(name)
        self.lock = threading.Lock()

    def __reduce__(self):
        return DropsItsLock, (self.args[0],)


class Slotted(Exception):
    __slots__ = ("__private", "code", "empty")

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.__private = code + 1

    def private(self):
        return self.__private


@dataclass(frozen=True)
class Frozen(Exception):
    code: int
    message: str


class KeywordsOnly(Exception):
    def __init__(self, *, code):
        super().__init__()
        self.code = code


class OwnOSError(OSError):
    def __init__(self, path):
        super().__init__(2, "it is not there", path)


class OSErrorWithOtherArguments(OSError):
    def __init__(self, path):
        super().__init__(2, "it is not there", path)
        self.args = (3,)


class OwnDecodeError(UnicodeDecodeError):
    def __init__(self, data):
        super().__init__("utf-8", data, 0, 1, "it is odd")


class OwnImportError(ImportError):
    def __init__(self, name, hint):
        super().__init__(f"no {name}", name=name)
        self.hint = hint


class MadeOddly(Exception):
    def __new__(cls, code, message):
        return super().__new__(cls, f"{code}: {message}")

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")


class OwnGroup(ExceptionGroup):
    def __new__(cls, errors):
        return super().__new__(cls, "several", errors)

    def __init__(self, errors):
        self.count = len(errors)

    def derive(self, excs):
        return OwnGroup(excs)


class TwoBases(UnknownNameError, LookupError):
    def __init__(self, name, *, detail):
        super().__init__(f"no {name}", detail=detail, hint="look elsewhere")


class Silent(Exception):
    """Refuses to be made a second time."""

    made = 0

    def __init__(self):
        type(self).made += 1


def noted(error):
    error.add_note("a note")
    return error


def twice(error):
    return FrozenException.of(FrozenException.of(error).load()).load()


ERRORS = [
    Custom(3, "no"),
    Guesses(3),
    Refuses("so it is"),
    ReadsBadly("badly"),
    BecomesAnother("another"),
    Slotted(3, "no"),
    Frozen(3, "no"),
    KeywordsOnly(code=3),
    OwnOSError("file"),
    OSErrorWithOtherArguments("file"),
    OwnDecodeError(b"x"),
    OwnImportError("module", "install it"),
    MadeOddly(3, "no"),
    TwoBases("name", detail=3),
    OutOfMemoryError("too much", detail=3),
    WorkerDiedError("it died", index=3, signal="SIGKILL"),
    np.exceptions.AxisError(3, 2),
    subprocess.CalledProcessError(3, "command", output=b"text"),
    OSError(2, "text", "file", None, "other"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "it is odd"),
    SyntaxError("wrong", ("file", 1, 2, "text")),
    SystemExit(3),
    KeyboardInterrupt(),
    StopIteration(3),
    KeyError((1, "a")),
    noted(KeyError("a")),
    noted(Custom(3, "no")),
]
KNOWN = ["errno", "strerror", "filename", "filename2", "encoding", "object", "start", "reason", "name"]
KNOWN += ["value", "lineno", "text", "code", "axis", "cmd", "output", "index", "signal", "detail", "hint"]


@pytest.mark.parametrize("portable", [True, False], ids=["portable", "forked"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_comes_back_as_it_was(error, portable):
    frozen = FrozenException.of(error, portable=portable)
    for copy in (frozen.load(), FrozenException(*frozen).load(), twice(error)):
        assert type(copy) is type(error)
        assert copy.args == error.args
        assert vars(copy) == vars(error)
        assert str(copy) == str(error)
        missing = object()
        for name in KNOWN:
            assert getattr(copy, name, missing) in (getattr(error, name, missing), missing), name
            assert hasattr(copy, name) == hasattr(error, name)


@given(st.lists(st.one_of(st.integers(), st.text(), st.tuples(st.integers())), max_size=3), st.text())
def test_any_arguments_and_notes(arguments, note):
    error = Custom(1, "made")
    error.args = tuple(arguments)
    error.add_note(note)
    copy = FrozenException.of(error).load()
    assert (type(copy), copy.args, vars(copy)) == (Custom, error.args, {"code": 1, "__notes__": [note]})


def test_slots_come_back():
    copy = FrozenException.of(Slotted(3, "no")).load()
    assert (copy.code, copy.private()) == (3, 4)
    assert not hasattr(copy, "empty")


def test_a_frozen_one_stays_frozen():
    copy = FrozenException.of(Frozen(3, "no")).load()
    assert copy == Frozen(3, "no")
    with pytest.raises(AttributeError):
        copy.code = 4


def test_it_is_not_called_again():
    error = Silent()
    before = Silent.made
    assert type(FrozenException.of(error).load()) is Silent
    assert Silent.made == before


def test_a_way_of_its_own_that_works_is_used():
    copy = FrozenException.of(DropsItsLock("lock")).load()
    assert type(copy) is DropsItsLock
    assert copy.args == ("lock",)


def test_exceptions_inside_of_others():
    group = OwnGroup([Custom(1, "a"), ExceptionGroup("inner", [Custom(2, "b"), ValueError("c")])])
    outer = ValueError(Custom(3, "d"))
    outer.group = group
    copy = FrozenException.of(outer).load()
    assert (copy.args[0].code, copy.args[0].args) == (3, ("3: d",))
    assert type(copy.group) is OwnGroup
    assert (copy.group.message, copy.group.count) == ("several", 2)
    first, (second, third) = copy.group.exceptions[0], copy.group.exceptions[1].exceptions
    assert [first.code, second.code, third.args] == [1, 2, ("c",)]


def test_a_property_in_the_place_of_what_an_os_error_knows():
    class Fixed(OSError):
        errno = property(lambda self: 5)

    copy = FrozenException.of(Fixed(2, "it is not there", "file")).load()
    assert (type(copy), copy.args, copy.errno) == (Fixed, (2, "it is not there"), 5)


def test_one_that_refers_to_itself():
    error = Custom(1, "a")
    error.itself = error
    copy = FrozenException.of(error).load()
    assert copy.itself is copy


def test_a_local_class_is_the_very_same_again():
    class Local(Exception):
        def __init__(self, code, message):
            super().__init__(code)

    class Derived(Local):
        pass

    for kind in (Local, Derived):
        assert type(FrozenException.of(kind(1, "a"), portable=False).load()) is kind


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(ValueError(threading.Lock()), "lock", id="arguments"),
        pytest.param(Custom(threading.Lock(), "held"), "lock", id="attributes"),
    ],
)
def test_only_the_text_of_one_that_cannot_be_pickled(error, reason):
    copy = FrozenException.of(error).load()
    assert type(copy) is OperationError
    assert copy.detail == f"{type(error).__name__}: {error}"
    assert str(copy).startswith(f"{copy.detail} (only this text could be kept: ")
    assert reason in str(copy)


def test_one_that_contains_itself_leaves_its_text():
    error = Custom(1, "a")
    error.args = (error,)
    assert type(FrozenException.of(error).load()) is OperationError


def test_only_the_text_where_it_cannot_be_read_back():
    data = FrozenException.of(Custom(1, "a")).data.replace(b"test_frozen_exception", b"none_frozen_exception")
    copy = FrozenException(data, "Custom: 1: a").load()
    assert type(copy) is OperationError
    assert "Custom: 1: a (only this text could be kept: No module named" in str(copy)
    copy = FrozenException(pickle.dumps([1]), "Custom: 1: a").load()
    assert str(copy) == "Custom: 1: a (only this text could be kept: it did not unpickle to an exception)"


WRITES = """
import sys
from pipefunc_c._frozen_exception import FrozenException
class OfMain(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
def local():
    class Local(OfMain):
        pass
    return Local
def errors():
    return [OfMain(1, "a"), local()(2, "b"), ExceptionGroup("group", [local()(3, "c")])]
for error in errors():
    print(*(part if isinstance(part, str) else part.hex() for part in FrozenException.of(error)), sep="|")
"""


def test_classes_that_another_process_cannot_import():
    command = [sys.executable, "-c", WRITES]
    written = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    frozen = [line.partition("|") for line in written.stdout.splitlines()]
    first, second, group = (FrozenException(bytes.fromhex(data), text).load() for data, _, text in frozen)
    for copy, code, name in ((first, 1, "OfMain"), (second, 2, "Local"), (group.exceptions[0], 3, "Local")):
        assert (type(copy).__name__, copy.code, copy.args) == (name, code, (chr(96 + code),))


def test_classes_of_an_extension_module():
    pydantic = pytest.importorskip("pydantic")  # its errors are made by a function of their own
    with pytest.raises(pydantic.ValidationError) as caught:
        pydantic.TypeAdapter(int).validate_python("a")
    copy = FrozenException.of(caught.value).load()
    assert type(copy) is pydantic.ValidationError
    assert str(copy) == str(caught.value)
