"""Exceptions as bytes: what is read back is of the same class, whatever that class does when it is called."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
from types import BuiltinFunctionType
from typing import Any, NamedTuple

from pipefunc_c._by_value import by_value_pickler
from pipefunc_c._describe import message_of
from pipefunc_c._errors import OperationError
from pipefunc_c._optional import require

# Processes that were forked from one another have the same, and with it the same classes at the same ids.
_LINEAGE = os.urandom(8)
_MADE_BY_CLASS_STATEMENT = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_OF_OS_ERROR = ("errno", "strerror", "filename", "filename2")
_args: Any = vars(BaseException)["args"]


class FrozenException(NamedTuple):
    """Hold an exception, without its traceback, as it crosses a process or disk boundary.

    Many classes of users do not unpickle, because their ``__init__`` takes other arguments than ``args``, or
    because they are local to a function. Here an exception is made without a call of ``__init__``: of its
    own class, with its ``args``, attributes and notes.

    Parameters
    ----------
    data
        The pickle.
    summary
        Class and message: all that is left where the class is not to be had.

    Examples
    --------
    >>> frozen = FrozenException.of(UnicodeDecodeError("utf-8", b"x", 0, 1, "it is odd"))
    >>> frozen.load()
    UnicodeDecodeError('utf-8', b'x', 0, 1, 'it is odd')
    >>> FrozenException(b"damaged", "CustomError: no").load().detail
    'CustomError: no'

    """

    data: bytes
    summary: str

    @classmethod
    def of(cls, error: BaseException, *, portable: bool = True) -> FrozenException:
        """Freeze an exception; never fails: one that cannot be pickled is replaced by its text.

        Parameters
        ----------
        error
            The exception.
        portable
            Whether a process may read it that does not have this ``__main__``.

        Returns
        -------
        FrozenException

        """
        summary = f"{type(error).__qualname__}: {message_of(error)}"
        try:
            return cls(_dumps(error, portable=portable), summary)
        except Exception as reason:  # what an exception of a user holds may refuse in any way
            return cls(pickle.dumps(_stand_in(summary, message_of(reason))), summary)

    def load(self) -> BaseException:
        """Give the exception; an OperationError with its text where it cannot be read back."""
        try:
            error = pickle.loads(self.data)
        except Exception as reason:  # typically its module is not to be had here
            return _stand_in(self.summary, message_of(reason))
        if not isinstance(error, BaseException):
            return _stand_in(self.summary, "it did not unpickle to an exception")
        return error


def _stand_in(summary: str, reason: str) -> OperationError:
    return OperationError(f"{summary} (only this text could be kept: {reason})", detail=summary)


def _dumps(error: BaseException, *, portable: bool) -> bytes:
    with contextlib.suppress(Exception):
        data = _dumps_with(_ByReference, error)
        if not (portable and b"_main__" in data):
            return data
    return _dumps_with(_by_value(), error)


def _dumps_with(pickler: Any, error: BaseException) -> bytes:
    file = io.BytesIO()
    pickler(file, 5).dump(error)
    return file.getvalue()


class _ByReference(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        return _reduced(value) if issubclass(type(value), BaseException) else NotImplemented


@functools.cache
def _by_value() -> Any:
    base = by_value_pickler()

    def reducer_override(self: Any, value: Any) -> Any:
        if issubclass(type(value), BaseException):
            return _reduced(value)
        reduced = base.reducer_override(self, value)
        is_exception_class = issubclass(type(value), type) and issubclass(value, BaseException)
        if reduced is NotImplemented or not is_exception_class:
            return reduced
        # Where it is the very same class, `except` finds the exception.
        return _find_class, (_LINEAGE, id(value), value.__qualname__, require("cloudpickle").dumps(value))

    return type("ByValue", (base,), {"reducer_override": reducer_override})


def _find_class(lineage: bytes, class_id: int, name: str, data: bytes) -> Any:
    """Find an exception class that existed when one process was forked from the other; else make it anew."""
    pending: list[type[Any]] = [BaseException] if lineage == _LINEAGE else []
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if id(each) == class_id and each.__qualname__ == name:
            return each
        if id(each) not in seen:
            seen.add(id(each))
            pending += type.__subclasses__(each)
    return pickle.loads(data)


def _native(kind: type[Any]) -> type[Any]:
    """Give the class of the interpreter that a class of exceptions is built on."""
    while kind.__flags__ & _MADE_BY_CLASS_STATEMENT and kind.__base__ is not None:
        kind = kind.__base__
    return kind


def _reduced(error: BaseException) -> Any:
    """Say how to make an exception; for `pickle.Pickler.reducer_override`."""
    kind: Any = type(error)
    native: Any = _native(kind)
    has_own_way = (
        kind.__reduce_ex__ is not object.__reduce_ex__
        or kind.__reduce__ is not native.__reduce__
        or (isinstance(kind.__new__, BuiltinFunctionType) and kind.__new__ is not native.__new__)
    )
    if has_own_way and _comes_back(error):
        return NotImplemented
    # What it was made with, and for an ImportError what else it knows.
    _, args, *more = native.__reduce__(error)
    if isinstance(error, BaseExceptionGroup):  # its own __new__ may be called with anything
        args = (error.message, error.exceptions)
    own = vars(error)
    fields = {name: value for name, value in more[0].items() if name not in own} if more else {}
    if isinstance(error, OSError):  # what it knows need not be in its `args`
        known = {name: getattr(error, name, None) for name in _OF_OS_ERROR}
        fields.update((name, value) for name, value in known.items() if value is not None)
    state = None if kind is native else object.__getstate__(error)
    if isinstance(state, tuple):
        fields.update(state[1])  # its __slots__
    return _make, (kind, args), (_args.__get__(error), own, fields), None, None, _fill


def _comes_back(error: BaseException) -> bool:
    """Tell whether an exception with a way of its own to be pickled is then read back."""
    try:
        return type(pickle.loads(require("cloudpickle").dumps(error))) is type(error)
    except Exception:  # the user's code may fail in any way
        return False


def _make(kind: type[Any], args: tuple[Any, ...]) -> Any:
    native = _native(kind)
    error = native.__new__(kind, *args)
    # It may know more than `args`, for instance the `errno` of an OSError.
    with contextlib.suppress(Exception):
        native.__init__(error, *args)
    return error


def _fill(error: BaseException, state: tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]) -> None:
    # Past the __setattr__ of the class: it may be frozen.
    args, own, fields = state
    _args.__set__(error, args)
    vars(error).update(own)
    for name, value in fields.items():
        with contextlib.suppress(AttributeError):  # a property of the class may stand in front of it
            object.__setattr__(error, name, value)
