"""What is recorded when the callable of a function raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import message_of, short_repr
from pipefunc_c.exceptions import ErrorSnapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipefunc_c._function.calling import CallableFunction


def record_failure(
    func: CallableFunction, exception: Exception, kwargs: Mapping[str, Any], *, where: str = ""
) -> ErrorSnapshot:
    """Keep an error that the callable of a function raised; never raises itself.

    Sets ``func.error_snapshot``, adds a note that names the call to the exception and prints the same if
    ``func.print_error``. Note and print are made once, also if the error passes through here again.

    Parameters
    ----------
    func
        The function whose callable raised.
    exception
        What it raised; the caller raises it again.
    kwargs
        The arguments of the call by native names; defaults that the callable filled in may be missing.
    where
        Which part of a map it was, for example ``"element (3, 4)"``.

    Returns
    -------
    ErrorSnapshot
        The snapshot.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> inverse = PipeFunc(lambda x: 1 / x, "y", print_error=False)
    >>> error = ZeroDivisionError("division by zero")
    >>> snapshot = record_failure(inverse, error, {"x": 0}, where="element (3,)")
    >>> error.__notes__
    ["Error in <lambda>(x=0), which computes 'y', at element (3,)."]

    """
    arguments = func.filled_in(func.received(kwargs))
    call = f"{func.__name__}({', '.join(f'{name}={short_repr(value)}' for name, value in arguments.items())})"
    note = f"Error in {call}, which computes {func.output_name!r}{where and f', at {where}'}."
    previous = func.error_snapshot
    positional = [name for name in func.positional_only if name in arguments]
    args = tuple(arguments.pop(name) for name in positional)
    snapshot = _snapshot(func, exception, args, arguments)
    func.error_snapshot = snapshot
    if _has_note(exception, note):
        return snapshot
    noted = _add_note(exception, note)
    # An exception that takes no notes is recognised by the snapshot of its first pass.
    seen = not noted and previous is not None and previous.exception is exception
    if func.print_error and not seen:
        error = f"{type(exception).__qualname__}: {message_of(exception)}"
        print(f"An error occurred while calling {call}: {error}")
    return snapshot


def _snapshot(
    func: CallableFunction, exception: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ErrorSnapshot:
    try:
        return ErrorSnapshot(func.func, exception, args, kwargs)
    except Exception as error:  # formatting the traceback runs code of the user's exception
        text = f"{type(exception).__qualname__}: {message_of(exception)}\n(no traceback: {message_of(error)})"
        return ErrorSnapshot(func.func, exception, args, kwargs, traceback=text)


def _has_note(exception: Exception, note: str) -> bool:
    try:
        return note in getattr(exception, "__notes__", ())
    except Exception:  # any attribute of a user's exception may fail
        return False


def _add_note(exception: Exception, note: str) -> bool:
    try:
        exception.add_note(note)
    except Exception:  # a frozen exception, or one with an add_note of its own
        return False
    return _has_note(exception, note)
