"""A range of a column as bytes, and back: what crosses a process boundary or goes to disk."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.tags import ARRAY, COMPLEX, COMPLEX64, ERROR, MISSING, NONE, OBJECT
from pipefunc_c._storage.laying_out import lay_out
from pipefunc_c._storage.object_chunks import KeptError, ObjectChunk, object_chunks, pack_values
from pipefunc_c.exceptions import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pipefunc_c._kernels.column import Column

    Runs = npt.NDArray[np.int64]
    OriginOf = Callable[[int], object]

# Objects per pickle: looking at one element decodes no more than these.
OBJECTS_PER_CHUNK = 16_384

# Bit sets of tags, as Column.tag_set gives them: whose value is in the complex slab, and in the cell.
COMPLEX_BITS = sum(1 << tag for tag in range(COMPLEX, COMPLEX64 + 1))
_OBJECT_BITS = 1 << OBJECT | 1 << ERROR
CELL_BITS = sum(1 << tag for tag in range(MISSING + 1, COMPLEX) if tag != NONE)


@dataclass(slots=True)
class Packed:
    """Hold elements of a column as buffers.

    The elements are those of ``runs`` one after the other, or all of ``[start, stop)``. The buffers may be
    views of the column: use them before its elements are stored again.

    Parameters
    ----------
    start, stop
        The range.
    runs
        ndarray of int64, shape (n_runs, 2): sorted, disjoint runs of elements inside the range, or None.
    count
        Number of elements.
    tags
        ndarray of uint8, shape (count,), or (1,) where all elements have this tag.
    cells
        ndarray of uint64, shape (count,), or None where no element needs its cell.
    complexes
        ndarray of complex128, shape (count,), or None.
    arrays
        ndarray, shape (count, *layout shape), or None.
    objects
        Pickles of the objects and errors.
    """

    start: int
    stop: int
    runs: Runs | None
    count: int
    tags: npt.NDArray[np.uint8]
    cells: npt.NDArray[np.uint64] | None = None
    complexes: npt.NDArray[np.complex128] | None = None
    arrays: npt.NDArray[Any] | None = None
    objects: tuple[ObjectChunk, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        buffers = (self.tags, self.cells, self.complexes, self.arrays)
        return sum(each.nbytes for each in buffers if each is not None) + sum(
            chunk.length for chunk in self.objects
        )


def clip_runs(runs: Runs | None, start: int, stop: int) -> tuple[int, int, Runs | None]:
    """Reduce a range to the runs inside it.

    Parameters
    ----------
    runs
        ndarray of int64, shape (n_runs, 2): sorted, disjoint half-open runs, or None for all.
    start, stop
        The range.

    Returns
    -------
    tuple
        Start, stop, and the runs in between; None where these are all.

    Examples
    --------
    >>> clip_runs(np.array([[0, 4], [6, 9]]), 2, 7)
    (2, 7, array([[2, 4],
           [6, 7]]))
    >>> clip_runs(np.array([[0, 4], [6, 9]]), 5, 7)
    (6, 7, None)
    """
    if runs is None:
        return start, stop, None
    inside = np.clip(np.asarray(runs, dtype=np.int64).reshape(-1, 2), start, stop)
    inside = inside[inside[:, 0] < inside[:, 1]]
    if not len(inside):
        return start, start, None
    first, last = int(inside[0, 0]), int(inside[-1, 1])
    return first, last, None if len(inside) == 1 else inside


def run_indices(runs: Runs) -> npt.NDArray[np.int64]:
    """List the elements of runs.

    Examples
    --------
    >>> run_indices(np.array([[1, 3], [7, 8]]))
    array([1, 2, 7])
    """
    lengths = runs[:, 1] - runs[:, 0]
    before = np.cumsum(lengths) - lengths
    indices = np.repeat(runs[:, 0] - before, lengths)
    indices += np.arange(len(indices))
    return indices


def pack(
    column: Column,
    start: int,
    stop: int,
    runs: Runs | None = None,
    *,
    portable: bool = True,
    origin_of: OriginOf | None = None,
    output: str = "",
    laid_out: bool = False,
) -> Packed:
    """Turn elements of a column into buffers.

    Parameters
    ----------
    column
        The column.
    start, stop
        The range.
    runs
        ndarray of int64, shape (n_runs, 2): only these elements of the range; None packs all.
    portable
        Whether a process may read it that is not forked from this one.
    origin_of
        Gives what is kept of when and where an error happened, by its number.
    output
        Name for messages.
    laid_out
        Whether complex numbers and arrays that the column keeps as objects are packed as what they are.

    Returns
    -------
    Packed
        Views of the column where possible.

    Raises
    ------
    InvalidTypeError
        If an object cannot be pickled.

    Notes
    -----
    Numbers cost no more than a scan of the tags.

    Examples
    --------
    >>> from pipefunc_c._kernels.column import Column
    >>> column = Column(3)
    >>> column.store(0, 1.5)
    >>> column.store(2, "text")
    >>> packed = pack(column, 0, 3)
    >>> other = Column(3)
    >>> unpack(packed, other)
    >>> other.objects()
    array([1.5, None, 'text'], dtype=object)
    """
    start, stop, runs = clip_runs(runs, start, stop)
    chosen: slice | npt.NDArray[np.int64] = slice(start, stop) if runs is None else run_indices(runs)
    count = stop - start if isinstance(chosen, slice) else len(chosen)
    tags = column.tags[chosen]
    seen = column.tag_set(start, stop) if runs is None else _tag_set(tags)
    packed = Packed(start, stop, runs, count, tags)
    if seen & CELL_BITS:
        packed.cells = column.cells[chosen]
        if seen & _OBJECT_BITS:  # what the cell of an object says concerns this process only
            packed.cells = np.where(tags >= OBJECT, np.uint64(0), packed.cells)
    if seen & COMPLEX_BITS and column.complexes is not None:
        packed.complexes = column.complexes[chosen]
    if seen & 1 << ARRAY:
        packed.arrays = _pack_arrays(column, chosen, tags, start)
    if seen & _OBJECT_BITS:
        places = np.flatnonzero(tags >= OBJECT)
        indices = start + places if isinstance(chosen, slice) else chosen[places]
        read = _Reader(column, portable=portable, origin_of=origin_of)
        packed.objects = tuple(
            pack_values(part.tolist(), values, portable=portable, output=output)
            for part, values in _objects(packed, places, indices, read, column if laid_out else None)
        )
        seen = _tag_set(packed.tags) if laid_out else seen
    if count and not seen & (seen - 1):
        packed.tags = packed.tags[:1].copy()
    return packed


def _objects(
    packed: Packed,
    places: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int64],
    read: _Reader,
    laid_out: Column | None,
) -> Iterator[tuple[npt.NDArray[np.int64], list[Any]]]:
    """Give the objects and errors to be pickled together; those of a column to be laid out may be moved."""
    for begin in range(0, len(indices), OBJECTS_PER_CHUNK):
        part = indices[begin : begin + OBJECTS_PER_CHUNK]
        values = read.values(part.tolist())
        moved = None
        if laid_out is not None:
            moved = lay_out(packed, laid_out, places[begin : begin + OBJECTS_PER_CHUNK], values)
        if moved is not None:
            part = part[~moved]
            values = [value for value, is_moved in zip(values, moved.tolist(), strict=True) if not is_moved]
        if values:
            yield part, values


def _tag_set(tags: npt.NDArray[np.uint8]) -> int:
    return int(sum(1 << int(tag) for tag in np.flatnonzero(np.bincount(tags))))


def _parts(indices: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    for begin in range(0, len(indices), OBJECTS_PER_CHUNK):
        yield indices[begin : begin + OBJECTS_PER_CHUNK].tolist()


def _pack_arrays(
    column: Column, chosen: slice | npt.NDArray[np.int64], tags: npt.NDArray[np.uint8], start: int
) -> npt.NDArray[Any]:
    slab = column.slab()
    if slab is not None:
        return slab[chosen]
    layout = column.layout
    assert layout is not None  # an element of it is there
    arrays = np.zeros((len(tags), *layout[1]), dtype=layout[0])
    for place in np.flatnonzero(tags == ARRAY).tolist():
        arrays[place] = column.load(start + place if isinstance(chosen, slice) else int(chosen[place]))
    return arrays


class _Reader:
    """Reads the objects and errors of a column in the form in which they are pickled."""

    def __init__(self, column: Column, *, portable: bool, origin_of: OriginOf | None) -> None:
        self._column = column
        self._portable = portable
        self._origin_of = origin_of

    def values(self, indices: list[int]) -> list[Any]:
        column, first, last = self._column, indices[0], indices[-1] + 1
        if last - first == len(indices) and not column.count(ERROR, first, last):
            return list(column.objects(first, last).tolist())
        return [self._error(index) if column.tag(index) == ERROR else column.load(index) for index in indices]

    def _error(self, index: int) -> KeptError:
        error, number = self._column.load_error(index)
        if isinstance(error, KeptError):
            return error
        origin = None if self._origin_of is None else self._origin_of(number)
        return KeptError.of(error, origin, portable=self._portable)


def unpack(packed: Packed, column: Column) -> None:
    """Put packed elements into a column; what is missing among them leaves the column as it is.

    Numbers and arrays are copied now, objects are decoded when they are looked at. Errors come back as
    KeptError, from ``load_error`` and to ``read_error``.

    Parameters
    ----------
    packed
        The elements.
    column
        The column; a layout for arrays is fixed if there is none.

    Raises
    ------
    OutOfBoundsError
        If the range is not inside the column.
    """
    if not packed.count:
        return
    tags = packed.tags if len(packed.tags) == packed.count else np.full(packed.count, packed.tags[0])
    arrays, objects = packed.arrays, packed.objects
    if arrays is not None and not _fits_layout(column, arrays):
        tags, more = _as_objects(packed, tags, arrays)
        arrays, objects = None, (*objects, *more)
    if objects:
        chunks = object_chunks(column)
        for chunk in objects:
            chunks.add(chunk)
    cells = packed.cells if packed.cells is not None else np.zeros(packed.count, np.uint64)
    complexes = packed.complexes
    if packed.runs is not None:
        places = run_indices(packed.runs) - packed.start
        length = packed.stop - packed.start
        tags, cells = _spread(tags, places, length), _spread(cells, places, length)
        complexes = None if complexes is None else _spread(complexes, places, length)
        arrays = None if arrays is None else _spread(arrays, places, length)
    before = column.tags[packed.start : packed.stop]
    for place in np.flatnonzero((before >= COMPLEX) & (tags != MISSING)).tolist():
        column.clear(packed.start + place)
    column.copy_range(packed.start, tags, cells, complexes, arrays)


def _spread(values: npt.NDArray[Any], places: npt.NDArray[np.int64], length: int) -> npt.NDArray[Any]:
    spread = np.zeros((length, *values.shape[1:]), dtype=values.dtype)
    spread[places] = values
    return spread


def _fits_layout(column: Column, arrays: npt.NDArray[Any]) -> bool:
    if column.layout is None:
        try:
            column.fix_layout(arrays.dtype, arrays.shape[1:])
        except OutOfMemoryError:  # they are kept as objects, then
            return False
    return column.layout == (arrays.dtype, arrays.shape[1:])


def _as_objects(
    packed: Packed, tags: npt.NDArray[np.uint8], arrays: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.uint8], list[ObjectChunk]]:
    places = np.flatnonzero(tags == ARRAY)
    indices = packed.start + places if packed.runs is None else run_indices(packed.runs)[places]
    values = iter(places.tolist())
    chunks = [
        pack_values(part, [np.array(arrays[next(values)]) for _ in part], portable=True)
        for part in _parts(indices)
    ]
    return np.where(tags == ARRAY, np.uint8(OBJECT), tags), chunks


def moved(packed: Packed, by: int) -> Packed:
    """Give packed elements with all places shifted.

    Parameters
    ----------
    packed
        The elements.
    by
        How far.

    Returns
    -------
    Packed
    """
    return replace(
        packed,
        start=packed.start + by,
        stop=packed.stop + by,
        runs=None if packed.runs is None else packed.runs + by,
        objects=tuple(replace(each, first=each.first + by, last=each.last + by) for each in packed.objects),
    )


def pack_to_bytes(packed: Packed) -> bytes:
    """Turn packed elements into one string of bytes, for a message.

    Examples
    --------
    >>> from pipefunc_c._kernels.column import Column
    >>> column = Column(1)
    >>> column.store(0, 2.5)
    >>> unpack_bytes(pack_to_bytes(pack(column, 0, 1))).count
    1
    """
    state = tuple(getattr(packed, name) for name in Packed.__slots__)
    return pickle.dumps(state, 5)


def unpack_bytes(data: bytes) -> Packed:
    """Turn what `pack_to_bytes` gave into packed elements again."""
    return Packed(*pickle.loads(data))
