"""Arrays as elements: laid out in a slab, as the first of them says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from pipefunc_c._kernels.index import intersect_runs
from pipefunc_c._kernels.tags import ARRAY, ERROR, MISSING, OBJECT
from pipefunc_c._storage.nested import leading_shape
from pipefunc_c._storage.object_chunks import object_chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    from pipefunc_c._kernels.column import Column
    from pipefunc_c._storage.base import Size


def is_numeric_array(value: object) -> TypeGuard[np.ndarray[Any, Any]]:
    """Tell whether a value is an array that a slab can hold."""
    return type(value) is np.ndarray and value.dtype.kind in "biufc" and value.dtype.isnative


def first_index(
    column: Column, start: int, stop: int, runs: npt.NDArray[np.int64] | None = None
) -> int | None:
    """Find the first element of a range, or of the runs in it, that is there and no error."""
    spans = [(start, stop)] if runs is None else intersect_runs(runs, start, stop).tolist()
    for begin, end in spans:
        tags = column.tags[begin:end]
        present = np.flatnonzero((tags != MISSING) & (tags != ERROR))
        if len(present):
            return int(begin + present[0])
    return None


def first_shape(column: Column, internal: tuple[Size, ...]) -> tuple[Size, ...]:
    """Resolve internal sizes as the first element says; they stay "?" where there is none but errors."""
    index = first_index(column, 0, column.size)
    if index is None:
        return internal
    if column.layout is not None and column.tag(index) == ARRAY:
        found = column.layout[1]
    else:
        found = leading_shape(column.load(index), len(internal))
    sizes = [*found[: len(internal)], *[1] * (len(internal) - len(found))]
    return tuple(new if old == "?" else old for old, new in zip(internal, sizes, strict=True))


def fix_layouts(columns: Sequence[Column], start: int, stop: int) -> bool:
    """Lay arrays out in a slab; what does not fit stays an object.

    Parameters
    ----------
    columns
        The columns of a stage.
    start, stop
        The elements that were computed first.

    Returns
    -------
    bool
        Whether there was an element to decide by.
    """
    decided = False
    for column in columns:
        index = first_index(column, start, stop)
        if index is None:
            continue
        decided = True
        first: Any = column.load(index)
        if column.layout is None and is_numeric_array(first):
            try:
                column.fix_layout(first.dtype, first.shape)
            except MemoryError:
                continue
            column.store(index, first)
    return decided


# Values that may belong into memory of their own.
_KINDS: tuple[type, ...] = (np.ndarray, complex, np.complexfloating)


def store_in_regions(column: Column, start: int, stop: int) -> None:
    """Move arrays and complex numbers that were kept as objects to where they belong, if there is room."""
    for index in np.flatnonzero(column.tags[start:stop] == OBJECT).tolist():
        value = column.load(start + index)
        if isinstance(value, _KINDS):
            column.store(start + index, value)


def decide_layouts(
    columns: Sequence[Column], runs: npt.NDArray[np.int64] | None, first_arrays: Sequence[Collection[int]]
) -> bool | None:
    """Lay arrays out as the first of all requested elements says, once it is there.

    So the layout is the same whichever worker is first. Elements before it that are errors do not count.

    Parameters
    ----------
    columns
        The columns of a stage, of which any elements may have been computed.
    runs
        The requested elements; None for all.
    first_arrays
        Per column the first elements of leases that are arrays; others need not be looked at.

    Returns
    -------
    bool or None
        Whether a column got a slab; None if that cannot be decided yet.
    """
    size = columns[0].size
    index = first_index(columns[0], 0, size, runs)
    if index is None:
        return None
    before = [(0, index)] if runs is None else intersect_runs(runs, 0, index).tolist()
    if any(columns[0].count(MISSING, begin, end) for begin, end in before):
        return None
    # The tags of a lease that is still out are seen already, its objects have not come yet.
    if any(each.tag(index) == OBJECT and not object_chunks(each).reaches(index) for each in columns):
        return None
    layouts = [column.layout for column in columns]
    hopeful = [each for each, firsts in zip(columns, first_arrays, strict=True) if index in firsts]
    fix_layouts(hopeful, index, index + 1)
    for column, layout in zip(columns, layouts, strict=True):
        if column.layout != layout:
            for chunk in object_chunks(column).chunks():
                store_in_regions(column, chunk.first, chunk.last)
    return layouts != [column.layout for column in columns]
