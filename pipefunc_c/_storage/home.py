"""Homes: where the memory of a column lives, private to this process or shared with others."""

from __future__ import annotations

import mmap
import operator
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from pipefunc_c._describe import bytes_text
from pipefunc_c._platform import available_memory, create_shared_file, reserve
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError, OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable

Buffer: TypeAlias = npt.NDArray[np.uint8]

# Where Python allows it, a mapping holds no descriptor of its own (Python 3.13).
_MAP_OPTIONS: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class Home(Protocol):
    """Give memory to a column."""

    def allocate(self, nbytes: int) -> Buffer:
        """Return new, zeroed, writable memory that lives until its last view is collected."""

    def close(self) -> None:
        """Give no more memory; what was given stays. May be called again."""


class PrivateHome:
    """Give memory that belongs to this process.

    Examples
    --------
    >>> home = PrivateHome()
    >>> home.allocate(4)
    array([0, 0, 0, 0], dtype=uint8)
    >>> home.close()

    """

    def __init__(self) -> None:
        self._closed = False

    def allocate(self, nbytes: int) -> Buffer:
        """Return new, zeroed, writable memory.

        Parameters
        ----------
        nbytes
            How much, in bytes.

        Returns
        -------
        numpy.ndarray
            uint8 of shape (nbytes,).

        Raises
        ------
        OperationError
            If the home is closed.
        OutOfMemoryError
            If the system refuses.
        InvalidTypeError, InvalidValueError
            If `nbytes` is no integer, or negative.

        """
        nbytes = _check_size(nbytes)
        if self._closed:
            raise _closed_error()
        try:
            return np.zeros(nbytes, np.uint8)
        except MemoryError as error:
            message = f"cannot take {bytes_text(nbytes)}: the system refuses"
            raise OutOfMemoryError(message, detail=nbytes) from error

    def close(self) -> None:
        """Give no more memory; what was given stays. May be called again."""
        self._closed = True


class SharedHome:
    """Give memory that this process shares with those forked from it afterwards.

    All regions lie one behind the other in one file without a name (on Linux in memory), so nothing is left
    behind, whatever is killed. Only the process that made the home appends regions.

    Parameters
    ----------
    name
        Shown by tools that list open files.
    portable
        True for an unnamed temporary file instead of memory; by default decided by the platform and the
        environment variable ``PIPEFUNC_C_PORTABLE``.
    available
        Says how many bytes may be taken and what limits them.

    Notes
    -----
    Before Python 3.13 each living region holds one file descriptor beside that of the home. Not made for
    calls of `allocate` from several threads at once.

    Examples
    --------
    >>> home = SharedHome("example")
    >>> region = home.allocate(3)
    >>> region[0] = 7
    >>> home.close()
    >>> region  # a view outlives its home
    array([7, 0, 0], dtype=uint8)

    """

    def __init__(
        self,
        name: str = "pipefunc_c",
        *,
        portable: bool | None = None,
        available: Callable[[], tuple[int, str]] = available_memory,
    ) -> None:
        self._descriptor = -1  # for __del__, if there can be no file
        self._portable = portable
        self._available = available
        self._owner = os.getpid()
        self._size = 0
        self._descriptor = create_shared_file(name, portable=portable)

    def allocate(self, nbytes: int) -> Buffer:
        """Append a region of zeroed, writable memory.

        The room is taken now, so that writing to it cannot fail later.

        Parameters
        ----------
        nbytes
            How much, in bytes; whole pages are taken.

        Returns
        -------
        numpy.ndarray
            uint8 of shape (nbytes,), page-aligned.

        Raises
        ------
        OutOfMemoryError
            If this is more than there is room for; nothing was taken then.
        OperationError
            If the home is closed, or was made by another process.
        InvalidTypeError, InvalidValueError
            If `nbytes` is no integer, or negative.

        """
        nbytes = _check_size(nbytes)
        if self._descriptor < 0:
            raise _closed_error()
        if os.getpid() != self._owner:
            message = (
                f"process {os.getpid()} asks for memory of a shared home that process {self._owner} made"
            )
            raise OperationError(message, hint="Allocate before the fork, or send the result in a message.")
        if nbytes == 0:
            return np.zeros(0, np.uint8)  # there is no empty mapping
        pages = -(-nbytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        free, limit = self._available()
        if pages > free:
            message = (
                f"need {bytes_text(pages)} of shared memory, but only {bytes_text(free)} are free: {limit}"
            )
            raise OutOfMemoryError(
                message, detail=(pages, free), hint="Run with fewer elements or more memory."
            )
        reserve(self._descriptor, self._size, pages, portable=self._portable)
        try:
            region = mmap.mmap(self._descriptor, pages, offset=self._size, **_MAP_OPTIONS)
        except OSError as error:
            os.ftruncate(self._descriptor, self._size)
            message = f"cannot map {bytes_text(pages)} of shared memory: {error.strerror}"
            raise OutOfMemoryError(message, detail=pages) from error
        self._size += pages
        return np.frombuffer(region, np.uint8, nbytes)

    def close(self) -> None:
        """Close the file in this process; regions stay valid until their last view is collected.

        May be called again, and in a forked process without effect on the others.
        """
        # A descriptor is a process's own number, so a fork needs no care; only never close one twice.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _check_size(nbytes: object) -> int:
    try:
        size = operator.index(nbytes)  # type: ignore[arg-type]  # that is what is tested
    except TypeError:
        message = f"the number of bytes must be an int, got {nbytes!r}"
        raise InvalidTypeError(message, detail=nbytes) from None
    if size < 0:
        raise InvalidValueError(f"the number of bytes must not be negative, got {size}", detail=size)
    return size


def _closed_error() -> OperationError:
    return OperationError("cannot allocate: this home is closed", hint="Allocate before close().")
