"""Bytes by name in memory that processes share: all may write, nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import weakref
from typing import TYPE_CHECKING, Any

from pipefunc_c._optional import require
from pipefunc_c._platform import create_shared_file
from pipefunc_c.exceptions import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a record begins with: the lengths of the name and of the value; a value that was deleted has none.
_RECORD = struct.Struct("<IQ")
_DELETED = 2**64 - 1
_MARK_BYTES = 16
_known: weakref.WeakValueDictionary[bytes, SharedLog] = weakref.WeakValueDictionary()


class SharedLog:
    """Keep bytes by name in an unnamed shared file to which all its users append.

    Children that are forked share it, and so does every process of this host that gets a pickled copy while
    its maker lives.

    Notes
    -----
    What is overwritten or deleted stays in memory until the last user is gone.

    Examples
    --------
    >>> log = SharedLog()
    >>> log["a"] = b"1"
    >>> log["b"] = b"2"
    >>> log["b"], log.names(), "c" in log
    (b'2', ['a', 'b'], False)
    """

    def __init__(self) -> None:
        self._open(create_shared_file("pipefunc_c-log"))
        self._mark = os.urandom(_MARK_BYTES)
        self._maker = (os.getpid(), self._descriptor)
        _write(self._descriptor, self._mark, 0)
        _known[self._mark] = self

    def _open(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._places: dict[str, tuple[int, int]] = {}
        self._end = _MARK_BYTES
        self._lock, self._lock_owner = threading.Lock(), os.getpid()

    @classmethod
    def of_other_process(cls, process: int, descriptor: int, mark: bytes) -> SharedLog:
        """Open the log that another process made; OperationError if that is out of reach."""
        # A second descriptor of one file would give the locks of the first free when it is closed.
        known = _known.get(mark)
        if known is not None:
            return known
        log = cls.__new__(cls)
        log._descriptor = -1  # for __del__
        log._mark, log._maker = mark, (process, descriptor)
        opened = -1
        with contextlib.suppress(OSError):
            opened = os.open(f"/proc/{process}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
        if opened >= 0:
            log._open(opened)
        if opened < 0 or os.pread(opened, _MARK_BYTES, 0) != mark:
            raise OperationError(
                f"the shared memory of process {process} is out of reach: it has ended, or this system keeps "
                "processes apart",
                hint="use a storage in a folder, such as 'zarr_file_array'",
            )
        _known[mark] = log
        return log

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (*self._maker, self._mark)

    def __del__(self) -> None:
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)

    # -- names ---------------------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        with self._thread_lock():
            self._catch_up()
            return name in self._places

    def __getitem__(self, name: str) -> bytes:
        with self._thread_lock():
            self._catch_up()
            offset, length = self._places[name]
        return os.pread(self._descriptor, length, offset)

    def names(self) -> list[str]:
        """List the names."""
        with self._thread_lock():
            self._catch_up()
            return list(self._places)

    def __setitem__(self, name: str, value: bytes) -> None:
        self._append(name, len(value), value)

    def __delitem__(self, name: str) -> None:
        if name in self:
            self._append(name, _DELETED, b"")

    # -- the file ------------------------------------------------------------------------------------

    def _append(self, name: str, length: int, value: bytes) -> None:
        encoded = name.encode()
        record = _RECORD.pack(len(encoded), length) + encoded + value
        with self._thread_lock(), self._process_lock(exclusive=True):
            self._read_records()
            os.ftruncate(self._descriptor, self._end)  # what a writer left that was killed
            _write(self._descriptor, record, self._end)
            self._read_records()

    def _catch_up(self) -> None:
        """Read the records that were added since the last look."""
        if os.fstat(self._descriptor).st_size != self._end:
            with self._process_lock(exclusive=False):
                self._read_records()

    def _read_records(self) -> None:
        size = os.fstat(self._descriptor).st_size
        while self._end + _RECORD.size <= size:
            n_name, length = _RECORD.unpack(os.pread(self._descriptor, _RECORD.size, self._end))
            offset = self._end + _RECORD.size + n_name
            end = offset if length == _DELETED else offset + length
            if end > size:  # its writer was killed
                return
            name = os.pread(self._descriptor, n_name, self._end + _RECORD.size).decode()
            self._places.pop(name, None)
            if length != _DELETED:
                self._places[name] = (offset, length)
            self._end = end

    def _thread_lock(self) -> threading.Lock:
        if self._lock_owner != os.getpid():  # a thread of the parent may hold the old one for ever
            self._lock, self._lock_owner = threading.Lock(), os.getpid()
        return self._lock

    @contextlib.contextmanager
    def _process_lock(self, *, exclusive: bool) -> Iterator[None]:
        fcntl = require("fcntl")
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _opened(process: int, descriptor: int, mark: bytes) -> SharedLog:
    # A function, as cloudpickle takes methods apart: it would copy what is known here.
    return SharedLog.of_other_process(process, descriptor, mark)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done
