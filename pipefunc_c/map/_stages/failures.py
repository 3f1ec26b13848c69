"""Errors of elements while they are kept: the exception and the number of its origin, nothing else.

The snapshots that users see are built when they are looked at, from the inputs of the element.
"""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._describe import message_of
from pipefunc_c._failure_origin import FailureOrigin
from pipefunc_c._function.resource_use import by_present_names
from pipefunc_c.exceptions import ErrorInfo, ErrorSnapshot, PropagatedErrorSnapshot
from pipefunc_c.map._stages.resources_error import ResourcesError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from types import CodeType, TracebackType

    from pipefunc_c._function.pipefunc import PipeFunc


def user_frames(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of the compiled loop and those above it: they say nothing about the error."""
    inner = frames
    while inner is not None and not inner.tb_frame.f_code.co_filename.endswith(".pyx"):
        inner = inner.tb_next
    if inner is None:  # it went through no loop
        return frames
    while inner is not None and inner.tb_frame.f_code.co_filename.endswith(".pyx"):
        inner = inner.tb_next
    return inner


def _related(error: BaseException) -> list[BaseException]:
    """List an error, what it was raised from or during, and the members of groups."""
    if error.__cause__ is None and error.__context__ is None and not isinstance(error, BaseExceptionGroup):
        return [error]
    related: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and not any(each is other for other in related):
            related.append(each)
            pending += (each.__cause__, each.__context__)
            if isinstance(each, BaseExceptionGroup):
                pending += each.exceptions
    return related


def drop_tracebacks(error: BaseException) -> None:
    """Let go of the frames of an error and of what is related to it: they hold the arguments."""
    for each in _related(error):
        BaseException.with_traceback(each, None)  # an assignment fails where the class is frozen


def traceback_text(error: BaseException) -> str:
    """Format a traceback without the lines that name the exception; that of a group has them inside."""
    lines = traceback.format_exception(error)
    named = 0 if isinstance(error, BaseExceptionGroup) else len(traceback.format_exception_only(error))
    return "".join(lines[: len(lines) - named])


def _whole_text(text: str, error: BaseException) -> str:
    """Add to what `traceback_text` gave what names the exception."""
    if isinstance(error, BaseExceptionGroup) and text:
        return text
    return text + "".join(traceback.format_exception_only(error))


class OriginTable:
    """Keep each different traceback once, as text, with when and where it happened, to the second.

    Examples
    --------
    >>> table = OriginTable()
    >>> def fail():
    ...     raise ValueError("no")
    >>> numbers = set()
    >>> for _ in range(3):
    ...     try:
    ...         fail()
    ...     except ValueError as error:
    ...         numbers.add(table.intern(error))
    >>> numbers
    {0}
    >>> "in fail" in table[0].traceback
    True
    """

    def __init__(self) -> None:
        self._origins: list[FailureOrigin] = []
        self._second = 0
        self._numbers: dict[tuple[Hashable, ...], int] = {}  # of this second
        self._texts: dict[tuple[Hashable, ...], str] = {(): ""}
        self._codes: list[CodeType] = []  # kept alive: their ids are keys

    def intern(self, error: object) -> int:
        """Give the number of the origin of an error that happened just now.

        Parameters
        ----------
        error
            The exception, whose traceback is dropped; a mark, which has none. That of a ResourcesError is
            what the function of the user raised.

        Returns
        -------
        int
        """
        origin: FailureOrigin | None = None
        if isinstance(error, ResourcesError):
            origin, error.origin = error.origin, None
            error = error.with_traceback(None).error
        key: tuple[Hashable, ...] = ()
        if origin is not None:
            key = origin
        elif isinstance(error, BaseException):
            key = self._traceback_key(error)
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._numbers.clear()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._add(origin or FailureOrigin.here(self._texts[key]))
        return number

    def _add(self, origin: FailureOrigin) -> int:
        # Threads may add at once: the number is known when the origin is there, and never before.
        self._origins.append(origin)
        return next(k for k in reversed(range(len(self._origins))) if self._origins[k] is origin)

    def _traceback_key(self, error: BaseException) -> tuple[Hashable, ...]:
        """Identify a traceback; one with causes is formatted with them."""
        BaseException.with_traceback(error, user_frames(error.__traceback__))
        related = _related(error)
        key: list[Any] = []
        for each in related:
            frame = each.__traceback__
            while frame is not None:
                key += (id(frame.tb_frame.f_code), frame.tb_lasti)
                frame = frame.tb_next
            if each is not error or isinstance(error, BaseExceptionGroup):  # its text is part of what is kept
                key += [type(each), message_of(each)]
        identity = tuple(key)
        if identity not in self._texts:
            self._texts[identity] = traceback_text(error)
            for each in related:
                self._codes += [entry[0].f_code for entry in traceback.walk_tb(each.__traceback__)]
        for each in related:
            BaseException.with_traceback(each, None)
        return identity

    def __getitem__(self, number: int) -> FailureOrigin:
        """Give an origin by its number."""
        return self._origins[number]


class Propagated:
    """Mark an element that was not computed because an input of it is an error."""

    __slots__ = ()


PROPAGATED = Propagated()


def is_error(value: object) -> bool:
    """Tell whether a value stands for an error."""
    return isinstance(value, (ErrorSnapshot, PropagatedErrorSnapshot))


def error_info(value: object) -> ErrorInfo | None:
    """Describe the errors in an argument: itself, or elements of an object array; None if there are none."""
    if isinstance(value, (ErrorSnapshot, PropagatedErrorSnapshot)):
        return ErrorInfo.from_full_error(value)
    if isinstance(value, np.ndarray) and value.dtype == object:
        indices = [index for index, each in np.ndenumerate(np.ma.getdata(value)) if is_error(each)]
        if indices:
            return ErrorInfo.from_partial_errors(value.shape, indices)
    return None


def _resources_of(func: PipeFunc[..., Any]) -> Callable[..., Any]:
    assert callable(func.resources)
    return func.resources


def snapshot(
    func: PipeFunc[..., Any],
    stored: object,
    origin: FailureOrigin,
    kwargs: Mapping[str, Any],
    whole_inputs: Callable[[], Mapping[str, Any]],
) -> ErrorSnapshot | PropagatedErrorSnapshot:
    """Build what users see of an error element.

    Parameters
    ----------
    func
        The function of the stage.
    stored
        The exception, or the mark of a propagated error.
    origin
        When and where it failed, and its traceback.
    kwargs
        Arguments of the element, by native names.
    whole_inputs
        Gives what resources for the whole map are worked out from, by present names.

    Returns
    -------
    ErrorSnapshot or PropagatedErrorSnapshot
    """
    arguments = func.filled_in(kwargs)
    if isinstance(stored, BaseException) and not isinstance(stored, ResourcesError):
        arguments = func.filled_in(func.received(kwargs))
        args = tuple(arguments.pop(name) for name in func.positional_only if name in arguments)
        text = _whole_text(origin.traceback, stored)
        return ErrorSnapshot(func.func, stored, args, arguments, text, *origin[1:])
    present = {native: name for name, native in func.native_names.items()}
    infos = {
        present[name]: info for name, value in arguments.items() if (info := error_info(value)) is not None
    }
    if isinstance(stored, ResourcesError):
        is_whole = func.resources_scope == "map"
        values = whole_inputs() if is_whole else by_present_names(func.binding, kwargs)
        text = _whole_text(origin.traceback, stored.error)
        received = func.arguments_of_resources(values)
        cause = ErrorSnapshot(_resources_of(func), stored.error, (received,), {}, text, *origin[1:])
        infos[str(func.resources_variable)] = ErrorInfo.from_full_error(cause)
    # An error that was lost since, in a damaged file, is missing now.
    full = any(info.type == "full" for info in infos.values()) or any(
        value is np.ma.masked for value in arguments.values()
    )
    return PropagatedErrorSnapshot(
        error_info=infos,
        skipped_function=func,
        reason="input_is_error" if full else "array_contains_errors",
        attempted_kwargs={
            present[name]: value for name, value in arguments.items() if present[name] not in infos
        },
        timestamp=origin.timestamp,
    )
