"""Arrays as elements: laid out in a slab, as the first of them says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from pipefunc_c._kernels.tags import ERROR, MISSING
from pipefunc_c.exceptions import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipefunc_c._kernels.column import Column


def is_numeric_array(value: object) -> TypeGuard[np.ndarray[Any, Any]]:
    """Tell whether a value is an array that a slab can hold."""
    return type(value) is np.ndarray and value.dtype.kind in "biufc" and value.dtype.isnative


def first_index(column: Column, start: int, stop: int) -> int | None:
    """Find the first element of a range that is there and no error."""
    tags = column.tags[start:stop]
    present = np.flatnonzero((tags != MISSING) & (tags != ERROR))
    return start + int(present[0]) if len(present) else None


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
            except OutOfMemoryError:
                continue
            column.store(index, first)
    return decided
