"""The errors that pipefunc_c raises."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self


class PipefuncError(Exception):
    """Report a mistake that pipefunc_c found; the root of all its error classes.

    Parameters
    ----------
    message
        What was wrong, the value that was given, what is allowed.
    detail
        The offending value or values, for programs that handle the error.
    hint
        What to do about it; printed below the message.

    Examples
    --------
    >>> error = InvalidValueError("Got storage 'disk'.", detail="disk", hint="Use 'array'.")
    >>> print(error)
    Got storage 'disk'.
    Hint: Use 'array'.
    >>> isinstance(error, ValueError), error.detail
    (True, 'disk')

    """

    def __init__(self, message: str, *, detail: object = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail
        self.hint = hint

    # Defined here so that KeyError's quoting of its argument never applies.
    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        return f"{message}\nHint: {self.hint}" if self.hint else message


class InvalidValueError(PipefuncError, ValueError):
    """Report an argument that has a wrong value."""


class InvalidTypeError(PipefuncError, TypeError):
    """Report an argument that has a wrong type."""


class MapSpecError(PipefuncError, ValueError):
    """Report a malformed mapspec, or mapspecs that contradict each other."""


class ShapeError(PipefuncError, ValueError):
    """Report arrays whose shapes do not fit each other or their mapspec."""


class GraphError(PipefuncError, ValueError):
    """Report functions that cannot form a pipeline: duplicate outputs, a cycle."""


class InputError(PipefuncError, ValueError):
    """Report missing, unknown or ambiguous inputs of a call or a map."""


class NotAvailableError(PipefuncError, NotImplementedError):
    """Report an option that does not exist yet."""


class UnusedParametersError(PipefuncError, ValueError):
    """Report parameters that were given but that nothing uses."""


class UnknownNameError(PipefuncError, KeyError):
    """Report a look-up of a name that does not exist."""


class OperationError(PipefuncError, RuntimeError):
    """Report an operation that is not possible in the present state."""


class OutOfBoundsError(PipefuncError, IndexError):
    """Report an index outside an array."""


class OutOfMemoryError(PipefuncError, MemoryError):
    """Report memory that is not there, before it is taken."""

    def __new__(cls, *args: object, **fields: object) -> Self:
        """Make it; that of MemoryError, which would be taken, refuses classes with two bases."""
        return PipefuncError.__new__(cls, *args, **fields)


class WorkerDiedError(PipefuncError, RuntimeError):
    """Report a worker process that ended before its work was done.

    Parameters
    ----------
    message
        How it ended, and what it was at.
    index
        The linear index of the element that ends its workers, if there is one.
    arguments
        The arguments of that element by the names of the callable; None where an ErrorSnapshot has them.
    signal
        The name of the signal that killed it; None if it ended by itself.
    exitcode
        Its exit code, or the negative number of the signal.
    peak_memory
        The most memory that it held, in bytes, if that is known.

    """

    def __init__(  # noqa: PLR0913  what is known of a death
        self,
        message: str,
        *,
        index: int | None = None,
        arguments: dict[str, Any] | None = None,
        signal: str | None = None,
        exitcode: int | None = None,
        peak_memory: int | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.index, self.arguments = index, arguments
        self.signal, self.exitcode, self.peak_memory = signal, exitcode, peak_memory


class ElementTimeoutError(PipefuncError, TimeoutError):
    """Report an element that took longer than the ``timeout`` of its map; its worker was killed."""


class BrokenPoolError(OperationError, BrokenExecutor):
    """Report a pool that takes no more work: shut down, or with workers that cannot start."""


class RemoteError(PipefuncError):
    """Say where an exception of another process was raised; it is the ``__cause__`` of that exception.

    Parameters
    ----------
    message
        Host and process.
    traceback
        The formatted traceback in that process.

    """

    def __init__(self, message: str, traceback: str = "", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.traceback}".rstrip()


class RunFolderInUseError(PipefuncError, RuntimeError):
    """Report a run folder that another run holds."""


class RunFolderWriteError(PipefuncError, OSError):
    """Report a file of a run folder that cannot be written, because the disk is full for instance."""


class MissingDependencyError(PipefuncError, ModuleNotFoundError):
    """Report an optional package that is not installed."""
