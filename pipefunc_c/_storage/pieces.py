"""What a committed record holds of one output, read from its data file."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.tags import ARRAY, MISSING, OBJECT
from pipefunc_c._storage.object_chunks import ObjectChunk, pack_values
from pipefunc_c._storage.packing import Packed, run_indices, unpack
from pipefunc_c._storage.records import ARRAYS, CELLS, COMPLEXES, OBJECTS, RUNS, TAGS, UNIFORM_TAG
from pipefunc_c.exceptions import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from pipefunc_c._kernels.column import Column
    from pipefunc_c._storage.packing import Runs
    from pipefunc_c._storage.records import Output, Part, Record

# What is read or copied at a time, in bytes.
BLOCK_BYTES = 1 << 20

_DTYPES: dict[int, npt.DTypeLike] = {TAGS: "u1", CELLS: "<u8", COMPLEXES: "<c16", RUNS: "<i8"}


class DataFile:
    """A data file, open for reading: what is read stays readable when the file is removed.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1  # for __del__, if there is no file
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, offset: int, nbytes: int) -> npt.NDArray[np.uint8]:
        """Read bytes.

        Raises
        ------
        OperationError
            If the file ends before.
        """
        # Never through a mapping: a file that is cut meanwhile would kill the process.
        if offset + nbytes > os.fstat(self._descriptor).st_size:
            raise self.damage()
        buffer = np.empty(nbytes, np.uint8)
        done = 0
        while done < nbytes:
            got = os.preadv(self._descriptor, [buffer[done : done + (1 << 30)].data], offset + done)
            if got == 0:
                raise self.damage()
            done += got
        return buffer

    def is_whole(self, part: Part) -> bool:
        """Tell whether the data of a part are what they were."""
        crc, offset, end = 0, part.offset, part.offset + part.length
        try:
            while offset < end:
                block = self.read(offset, min(BLOCK_BYTES, end - offset))
                crc = zlib.crc32(block.data, crc)
                offset += len(block)
        except (OperationError, OSError):  # cut off, or a bad disk
            return False
        return part.kind == UNIFORM_TAG or crc == part.crc

    def damage(self) -> OperationError:
        """Give the error that says that the file is not what it was."""
        return OperationError(
            f"the data file {str(self._path)!r} was damaged since it was opened",
            hint="open the run folder again: what is damaged counts as missing then",
        )

    def __del__(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Extent:
    """Bytes of a data file that are read when they are needed."""

    __slots__ = ("_crc", "_file", "_offset", "length")

    def __init__(self, file: DataFile, part: Part) -> None:
        self._file, self._offset, self.length, self._crc = file, part.offset, part.length, part.crc

    def read(self) -> bytes:
        data = self._file.read(self._offset, self.length).tobytes()
        if zlib.crc32(data) != self._crc:
            raise self._file.damage()
        return data


class Piece:
    """Hold the part of a valid record that concerns one output.

    Parameters
    ----------
    record, output
        The record and what it says of the output.
    file
        The data file of its writer.
    """

    def __init__(self, record: Record, output: Output, file: DataFile) -> None:
        self.record, self.output = record, output
        self.parts = output.parts
        self.file = file
        self.by_kind = {part.kind: part for part in output.parts if part.kind != OBJECTS}
        self.start, self.stop = record.start, record.stop
        self.layout = (np.dtype(output.dtype), output.shape) if output.dtype else None
        self._runs: Runs | None = None
        self._indices: npt.NDArray[np.int64] | None = None
        self.count = self.stop - self.start
        if RUNS in self.by_kind:
            self._runs = self._numbers(RUNS, 0, 2 * self.by_kind[RUNS].n).reshape(-1, 2)
            self._indices = run_indices(self._runs)
            self.count = len(self._indices)

    def _numbers(self, kind: int, first: int, n: int) -> npt.NDArray[Any]:
        dtype, part = np.dtype(_DTYPES[kind]), self.by_kind[kind]
        return self.file.read(part.offset + first * dtype.itemsize, n * dtype.itemsize).view(dtype)

    def read(self, kind: int, first: int, n: int) -> npt.NDArray[Any] | None:
        """Read what a part holds of ``n`` elements from the ``first`` on; None without this part.

        Equal tags are given as one.
        """
        if kind == TAGS and UNIFORM_TAG in self.by_kind:
            return np.array([self.by_kind[UNIFORM_TAG].crc], np.uint8)
        if kind not in self.by_kind:
            return None
        if kind != ARRAYS:
            return self._numbers(kind, first, n)
        dtype, shape = self._array_layout()
        nbytes = self.array_bytes
        data = self.file.read(self.by_kind[kind].offset + first * nbytes, n * nbytes)
        return data.view(dtype).reshape(n, *shape)

    def _array_layout(self) -> tuple[np.dtype[Any], tuple[int, ...]]:
        assert self.layout is not None  # it has arrays
        return self.layout

    @property
    def array_bytes(self) -> int:
        """Bytes of an array element; 0 without arrays."""
        if self.layout is None:
            return 0
        dtype, shape = self.layout
        return dtype.itemsize * int(np.prod(shape, dtype=np.int64))

    def chunks(self) -> Iterator[ObjectChunk]:
        """Give the pickles, still in the file."""
        for part in self.parts:
            if part.kind == OBJECTS:
                yield ObjectChunk(part.first, part.last, part.n, _Extent(self.file, part))

    def array_chunks(self) -> Iterator[ObjectChunk]:
        """Give pickles of the arrays, if these are shown as objects."""
        yield from ()

    def unpack(self, column: Column) -> None:
        """Put the elements into a column, block by block."""
        block = max(BLOCK_BYTES // max(self.array_bytes, 16), 1)
        if self._runs is not None:
            block = max(self.count, 1)
        for first in range(0, self.count, block):
            n = min(block, self.count - first)
            tags = self.read(TAGS, first, n)
            assert tags is not None  # each record has them
            packed = Packed(self.start + first, self.start + first + n, None, n, tags)
            if self._runs is not None:
                packed.start, packed.stop, packed.runs = self.start, self.stop, self._runs
            packed.cells = self.read(CELLS, first, n)
            packed.complexes = self.read(COMPLEXES, first, n)
            packed.arrays = self.read(ARRAYS, first, n)
            packed.objects = tuple(self.chunks()) if first == 0 else ()
            unpack(packed, column)

    def lay_over(self, kind: int, low: int, high: int, values: npt.NDArray[Any]) -> None:
        """Write what the piece holds of ``[low, high)`` over values; where an element is missing, they stay.

        Parameters
        ----------
        kind
            The kind of part.
        low, high
            The elements of ``values``.
        values
            ndarray, shape (high - low, ...): changed in place.
        """
        low_here, high_here = max(low, self.start), min(high, self.stop)
        if low_here >= high_here:
            return
        first, last = low_here - self.start, high_here - self.start
        places: npt.NDArray[np.int64] | slice = slice(low_here - low, high_here - low)
        if self._indices is not None:
            first, last = (int(np.searchsorted(self._indices, each)) for each in (low_here, high_here))
            places = self._indices[first:last] - low
        tags, read = self.read(TAGS, first, last - first), self.read(kind, first, last - first)
        given: Any = 0 if read is None else read
        assert tags is not None  # each record has them
        if (tags != MISSING).all():
            values[places] = given
            return
        present = tags != MISSING
        if isinstance(places, slice):
            places = np.arange(places.start, places.stop)
        values[places[present]] = given if read is None else given[present]


class PieceOfObjects(Piece):
    """Show a piece whose arrays have not the layout of those beside it: they are objects, then."""

    def read(self, kind: int, first: int, n: int) -> npt.NDArray[Any] | None:
        """Read what a part holds, as `Piece` does; there is none of arrays."""
        if kind == ARRAYS:
            return None
        values = super().read(kind, first, n)
        if kind == TAGS and values is not None:
            values[values == ARRAY] = OBJECT
        return values

    def array_chunks(self) -> Iterator[ObjectChunk]:
        """Give pickles of the arrays, some at a time."""
        block = max(BLOCK_BYTES // max(self.array_bytes, 16), 1)
        for first in range(0, self.count, block):
            n = min(block, self.count - first)
            tags, arrays = super().read(TAGS, first, n), super().read(ARRAYS, first, n)
            assert tags is not None  # each record has them
            assert arrays is not None  # it has a layout
            places = np.flatnonzero(np.broadcast_to(tags, n) == ARRAY)
            indices = first + places
            indices = self.start + indices if self._indices is None else self._indices[indices]
            if len(places):
                yield pack_values(indices.tolist(), [np.array(arrays[k]) for k in places], portable=True)
