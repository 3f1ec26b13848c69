"""Objects that processes share: pickles in a file, found by element."""

from __future__ import annotations

import os
import pickle
import struct
from typing import Any

from pipefunc_c._optional import require
from pipefunc_c._platform import create_shared_file
from pipefunc_c.exceptions import InvalidTypeError, OperationError

_ENTRY = struct.Struct("<QQ")  # offset and length, in bytes; zeros where there is nothing


class ObjectHeap:
    """Keep one pickled object per element in a file that forked processes inherit.

    The file begins with a table of places; the pickles follow, the newest of an element counts.

    Parameters
    ----------
    size
        Number of elements.

    Examples
    --------
    >>> heap = ObjectHeap(3)
    >>> heap.put(1, {"a": 1})
    >>> heap.get(1)
    {'a': 1}
    """

    def __init__(self, size: int) -> None:
        self._descriptor = -1
        self._owner = os.getpid()
        self._descriptor = create_shared_file("pipefunc_c-objects")
        os.ftruncate(self._descriptor, size * _ENTRY.size)

    def put(self, index: int, value: object) -> None:
        """Keep a pickle of an object.

        Raises
        ------
        InvalidTypeError
            If the object cannot be pickled, and another process made the heap: it could never see it.
        """
        try:
            data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception:
            try:
                data = require("cloudpickle").dumps(value)
            except Exception as error:
                if os.getpid() == self._owner:
                    return
                raise InvalidTypeError(
                    f"element {index} of type {type(value).__name__} cannot be shared: {error}",
                    hint="store what can be pickled, or use storage 'array'",
                ) from error
        fcntl = require("fcntl")
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)  # one process at a time appends
        try:
            offset = os.fstat(self._descriptor).st_size
            _write(self._descriptor, data, offset)
            _write(self._descriptor, _ENTRY.pack(offset, len(data)), index * _ENTRY.size)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def get(self, index: int) -> Any:
        """Give an object back.

        Raises
        ------
        OperationError
            If none was put for this element.
        """
        offset, length = _ENTRY.unpack(os.pread(self._descriptor, _ENTRY.size, index * _ENTRY.size))
        if not length:
            raise OperationError(f"element {index} is an object that another process kept for itself")
        return pickle.loads(os.pread(self._descriptor, length, offset))

    def __del__(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
