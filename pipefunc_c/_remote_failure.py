"""Exceptions of users on their way between processes: of the same class again on the other side."""

from __future__ import annotations

import os
import pickle
import platform
import traceback
from dataclasses import dataclass
from typing import Any

from pipefunc_c._describe import message_of
from pipefunc_c._errors import RemoteError
from pipefunc_c._snapshots import dump_exception, load_exception


@dataclass(frozen=True)
class KeptException:
    """Hold an exception.

    Many classes cannot be unpickled, because their ``__init__`` takes other arguments than ``args``, or
    because they are local to a function. In a process that this one was forked from, the class is found again
    by its identity, and the exception is made without calling ``__init__``.

    Parameters
    ----------
    data
        A pickle that reads back to the same class, or "" if there is none.
    class_id, class_name
        Identity and name of the class.
    content
        Pickle of ``args`` and ``__dict__``.
    stand_in
        Pickle of what takes its place if nothing else works.
    summary
        Its type and text.
    """

    data: bytes
    class_id: int
    class_name: str
    content: bytes
    stand_in: bytes
    summary: str

    @classmethod
    def of(cls, error: BaseException) -> KeptException:
        """Keep an exception; never fails."""
        summary = f"{type(error).__qualname__}: {message_of(error)}"
        data = content = stand_in = b""
        try:
            data = pickle.dumps(error)
            if type(pickle.loads(data)) is not type(error):
                data = b""
        except Exception:  # a user's class may refuse in any way
            data = b""
        if not data:
            stand_in = dump_exception(error)
            try:
                content = pickle.dumps((error.args, vars(error)))
            except Exception:
                content = b""
        return cls(data, id(type(error)), type(error).__qualname__, content, stand_in, summary)

    def load(self) -> BaseException:
        """Give the exception; an OperationError with its text where it cannot be had."""
        if self.data:
            return load_exception(self.data, self.summary)
        found = _find_class(self.class_id, self.class_name)
        if found is not None and self.content:
            try:
                args, state = pickle.loads(self.content)
                error: BaseException = found.__new__(found, *args)
                error.args = args
                vars(error).update(state)
            except Exception:  # a user's __new__ may fail in any way
                pass
            else:
                return error
        return load_exception(self.stand_in, self.summary)


def _find_class(class_id: int, name: str) -> type[Any] | None:
    """Find an exception class that existed when the other process was forked."""
    pending: list[type[Any]] = [BaseException]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if id(each) == class_id and each.__qualname__ == name:
            return each
        if id(each) not in seen:
            seen.add(id(each))
            pending += type.__subclasses__(each)
    return None


@dataclass(frozen=True)
class RemoteFailure:
    """What stopped a piece of work, in a form that crosses processes.

    Parameters
    ----------
    exception
        The exception.
    traceback
        The formatted traceback.
    process
        Host and pid.
    is_to_blame
        Whether the function of a stage raised it itself: not a hook, nor the handling of inputs and results.
    """

    exception: KeptException
    traceback: str
    process: str
    is_to_blame: bool = False

    @classmethod
    def of(cls, error: BaseException, *, is_to_blame: bool = False) -> RemoteFailure:
        """Describe an exception of this process."""
        text = "".join(traceback.format_exception(error))
        return cls(KeptException.of(error), text, f"{platform.node()}, pid {os.getpid()}", is_to_blame)

    def load(self) -> BaseException:
        """Give the exception, with its origin as ``__cause__``."""
        error = self.exception.load()
        error.__cause__ = RemoteError(f"raised in a worker process ({self.process})", self.traceback)
        return error
