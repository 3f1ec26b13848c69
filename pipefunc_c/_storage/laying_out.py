"""Objects among packed elements that have a place of their own: complex numbers, and arrays of one layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.tags import ARRAY, COMPLEX, COMPLEX64, COMPLEX128
from pipefunc_c._platform import available_memory

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipefunc_c._kernels.column import Column
    from pipefunc_c._storage.packing import Packed

_TAGS: dict[type, int] = {complex: COMPLEX, np.complex128: COMPLEX128, np.complex64: COMPLEX64}
_KINDS = {*_TAGS, np.ndarray}


def lay_out(
    packed: Packed, column: Column, places: npt.NDArray[np.int64], values: list[Any]
) -> npt.NDArray[np.bool_] | None:
    """Put what has a place of its own among packed elements there.

    A worker keeps complex numbers and arrays as objects until memory for them was announced to it. What it
    commits meanwhile would have another type when it is read back.

    Parameters
    ----------
    packed
        The elements, with a tag each; changed in place, its buffers are replaced.
    column
        Where they come from.
    places
        ndarray of int64, shape (n,): which of them are objects or errors.
    values
        One for each place; never an array where an error stands.

    Returns
    -------
    ndarray of bool, shape (n,), or None
        True for each value that was moved; None if there is none.
    """
    moved = np.zeros(len(values), dtype=np.bool_)
    for kind in set(map(type, values)) & _KINDS:
        chosen = np.array([number for number, value in enumerate(values) if type(value) is kind])
        ones = [values[number] for number in chosen.tolist()]
        if kind is np.ndarray:
            if not _take_arrays(packed, column, places[chosen], ones):
                continue
        else:
            _take_complex(packed, places[chosen], np.array(ones, dtype=kind))
        if not packed.tags.flags.writeable:  # a view of the column
            packed.tags = packed.tags.copy()
        packed.tags[places[chosen]] = _TAGS.get(kind, ARRAY)
        moved[chosen] = True
    return moved if moved.any() else None


def _take_complex(packed: Packed, places: npt.NDArray[np.int64], numbers: npt.NDArray[Any]) -> None:
    if packed.complexes is None:
        packed.complexes = np.zeros(packed.count, dtype=np.complex128)
    elif not packed.complexes.flags.writeable:
        packed.complexes = packed.complexes.copy()
    # The bits of a complex64 are the first half of its place.
    rows = packed.complexes.view(np.uint8).reshape(packed.count, -1)
    rows[places, : numbers.itemsize] = numbers.view(np.uint8).reshape(len(numbers), -1)


def _take_arrays(
    packed: Packed, column: Column, places: npt.NDArray[np.int64], arrays: list[npt.NDArray[Any]]
) -> bool:
    layout = _common_layout(arrays)
    if layout is None or column.layout not in (None, layout):
        return False
    if packed.arrays is None:
        # Room is taken for all elements: here, and in the columns that they are read into one day.
        nbytes = column.size * arrays[0].nbytes
        if 2 * len(arrays) < packed.count or nbytes > available_memory()[0]:
            return False
        packed.arrays = np.zeros((packed.count, *layout[1]), dtype=layout[0])
    elif (packed.arrays.dtype, packed.arrays.shape[1:]) != layout:
        return False
    elif not packed.arrays.flags.writeable:
        packed.arrays = packed.arrays.copy()
    for place, array in zip(places.tolist(), arrays, strict=True):
        packed.arrays[place] = array
    return True


def _common_layout(arrays: list[npt.NDArray[Any]]) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
    """Give dtype and shape of arrays that a slab can hold; None where they differ."""
    dtype, shape = arrays[0].dtype, arrays[0].shape
    # What is read back has the type that the name of the dtype says, and nothing beside it.
    if dtype.kind not in "biufc" or not dtype.isnative or np.dtype(dtype.str).num != dtype.num:
        return None
    is_common = all(
        each.dtype.num == dtype.num
        and each.dtype.isnative
        and each.dtype.metadata is None
        and each.shape == shape
        for each in arrays
    )
    return (dtype, shape) if is_common else None
