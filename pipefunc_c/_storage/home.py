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

_SMALL, _SEGMENT, _ALIGNMENT = 64 << 10, 1 << 20, 64  # bytes
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
    Small regions share a segment, so that thousands of them need few mappings: before Python 3.13 each
    living mapping holds a file descriptor. Not made for calls of `allocate` from several threads at once.

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
        self._segment: mmap.mmap | None = None  # of small regions, with its place and how much is taken
        self._segment_offset = self._segment_used = 0
        self._attached: dict[int, mmap.mmap] = {}
        self.last_offset = 0
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
            uint8 of shape (nbytes,), aligned to 64 bytes; ``last_offset`` is then its place in the file.

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
        if nbytes <= _SMALL:
            return self._allocate_small(nbytes)
        pages = -(-nbytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._check_free(pages)
        reserve(self._descriptor, self._size, pages, portable=self._portable)
        region = self._map(self._size, pages)
        self.last_offset = self._size
        self._size += pages
        return np.frombuffer(region, np.uint8, nbytes)

    def _allocate_small(self, nbytes: int) -> Buffer:
        room = -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        if self._segment is None or self._segment_used + room > _SEGMENT:
            if self._size:  # once for all that it will hold: to look costs more than to take
                self._check_free(_SEGMENT)
            # At a multiple of its size, so that whoever attaches a region finds its segment.
            begin = -(-self._size // _SEGMENT) * _SEGMENT
            os.ftruncate(self._descriptor, begin + _SEGMENT)
            self._segment = self._map(begin, _SEGMENT)
            self._segment_offset, self._segment_used = begin, 0
            self._size = begin + _SEGMENT
        self.last_offset = self._segment_offset + self._segment_used
        reserve(self._descriptor, self.last_offset, room, portable=self._portable)
        self._segment_used += room
        return np.frombuffer(self._segment, np.uint8, nbytes, self.last_offset - self._segment_offset)

    def _check_free(self, nbytes: int) -> None:
        free, limit = self._available()
        if nbytes > free:
            message = (
                f"need {bytes_text(nbytes)} of shared memory, but only {bytes_text(free)} are free: {limit}"
            )
            raise OutOfMemoryError(
                message, detail=(nbytes, free), hint="Run with fewer elements or more memory."
            )

    def _map(self, offset: int, nbytes: int, access: int = mmap.ACCESS_WRITE) -> mmap.mmap:
        try:
            return mmap.mmap(self._descriptor, nbytes, offset=offset, access=access, **_MAP_OPTIONS)
        except OSError as error:
            if self._owner == os.getpid():  # what was just reserved
                os.ftruncate(self._descriptor, self._size)
            message = f"cannot map {bytes_text(nbytes)} of shared memory: {error.strerror}"
            raise OutOfMemoryError(message, detail=nbytes) from error

    @classmethod
    def adopt(cls, descriptor: int) -> SharedHome:
        """Give the home of a shared file that another process made; regions can only be attached.

        Parameters
        ----------
        descriptor
            The file, open in this process; the home closes it.
        """
        home = cls.__new__(cls)
        home._descriptor, home._portable, home._available = descriptor, None, available_memory
        home._owner, home._size, home._segment, home._attached = -1, 0, None, {}
        home._segment_offset = home._segment_used = home.last_offset = 0
        return home

    def attach(self, offset: int, nbytes: int) -> Buffer:
        """Give a region that another process allocated; this one must have inherited the file.

        Parameters
        ----------
        offset
            The ``last_offset`` of the region.
        nbytes
            Its size, in bytes.

        Returns
        -------
        numpy.ndarray
            uint8 of shape (nbytes,): the same memory.

        Raises
        ------
        OperationError
            If the home is closed.

        """
        if self._descriptor < 0:
            raise _closed_error()
        if nbytes == 0:
            return np.zeros(0, np.uint8)
        step = _SEGMENT if nbytes <= _SMALL else mmap.ALLOCATIONGRANULARITY
        begin = offset - offset % step
        end = begin + _SEGMENT if nbytes <= _SMALL else offset + nbytes
        mapping = self._attached.get(begin)
        if mapping is None or len(mapping) < end - begin:
            mapping = self._attached[begin] = self._map(begin, end - begin)
        return np.frombuffer(mapping, np.uint8, nbytes, offset - begin)

    def attach_private(self, offset: int, nbytes: int) -> Buffer:
        """Give a region as `attach` does, but writes to it stay in this process.

        Parameters
        ----------
        offset, nbytes
            As for `attach`.

        Returns
        -------
        numpy.ndarray
            uint8 of shape (nbytes,): a copy of a small region; of a large one its pages, copied when they
            are written to.

        Raises
        ------
        OperationError
            If the home is closed.

        """
        if nbytes <= _SMALL:
            return self.attach(offset, nbytes).copy()
        if self._descriptor < 0:
            raise _closed_error()
        return np.frombuffer(self._map(offset, nbytes, access=mmap.ACCESS_COPY), np.uint8, nbytes)

    @property
    def descriptor(self) -> int:
        """The file descriptor of the shared file; negative once closed."""
        return self._descriptor

    def close(self) -> None:
        """Close the file in this process; regions stay valid until their last view is collected.

        May be called again, and in a forked process without effect on the others.
        """
        # A descriptor is a process's own number, so a fork needs no care; only never close one twice.
        descriptor, self._descriptor = self._descriptor, -1
        self._segment = None
        self._attached = {}
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
