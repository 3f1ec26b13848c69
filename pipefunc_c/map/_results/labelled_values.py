"""Values as the arrays of a dataset: typed where all have one type, NaN where they are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._storage.base import StorageBase
from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c._storage.narrowing import dtype_of, narrowed

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipefunc_c.map._results.labels import Axes

_EXACT_IN_FLOAT = 2**53


@dataclass(frozen=True, eq=False)
class DimensionlessArray:
    """Wrap an array that has no axes with names, so that it is one value of a dataset.

    Parameters
    ----------
    arr
        The array.

    Examples
    --------
    >>> wrapped = DimensionlessArray(np.array([1, 2]))
    >>> wrapped
    DimensionlessArray(arr=array([1, 2]))
    """

    arr: npt.NDArray[Any]


def filled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Put NaN where elements are missing.

    Integers become float64 for it, unless one has more digits than that holds: then all are objects, as bools
    are.

    Examples
    --------
    >>> filled(np.ma.MaskedArray([1, 2], mask=[False, True]))
    array([ 1., nan])
    """
    if not np.ma.is_masked(array):
        return np.ma.getdata(array)
    data, mask = np.ma.getdata(array), np.ma.getmaskarray(array)
    dtype = data.dtype
    if dtype.kind in "iu":
        there = data[~mask]
        is_exact = not there.size or max(abs(int(there.min())), abs(int(there.max()))) <= _EXACT_IN_FLOAT
        dtype = np.dtype(np.float64 if is_exact else object)
    elif dtype.kind not in "fc":
        dtype = np.dtype(object)
    result = np.empty(data.shape, dtype=dtype)
    result[mask] = np.nan
    result[~mask] = data[~mask]
    return result


def leading_axes(array: npt.NDArray[Any], n_axes: int) -> npt.NDArray[Any]:
    """Keep the first axes; what lies behind them becomes arrays in the cells of an object array.

    Examples
    --------
    >>> leading_axes(np.zeros((2, 3)), 1).shape
    (2,)
    """
    if array.ndim <= n_axes:
        return array
    cells = np.empty(array.shape[:n_axes], dtype=object)
    for position in np.ndindex(cells.shape):
        cells[position] = array[position]
    return cells


def _elements(values: Any) -> npt.NDArray[np.object_]:
    cells = np.empty(len(values), dtype=object)
    for k, value in enumerate(values):
        cells[k] = value
    return cells


def as_array(value: Any, n_axes: int, *, narrow: bool = True) -> npt.NDArray[Any]:
    """Give anything that can be mapped over as an array.

    Parameters
    ----------
    value
        An array, a storage, a list, a range, or what NumPy makes an array of.
    n_axes
        How many axes the array has. What lies deeper are values.
    narrow
        Whether an array of objects becomes typed where all have one type.

    Returns
    -------
    ndarray
        Without a copy where the value is an array; of fewer axes if the value has no more, and none for a
        value that is no array.

    Examples
    --------
    >>> as_array([1.0, 2.0], 1), as_array([[1], [2, 3]], 1)
    (array([1., 2.]), array([list([1]), list([2, 3])], dtype=object))
    """
    if isinstance(value, StorageBase):
        typed = value.typed() if isinstance(value, ColumnArray) else None
        value = value.to_array() if typed is None else typed
    if isinstance(value, range):
        value = list(value)
    if isinstance(value, list | tuple):
        dtype = dtype_of(value) if narrow else None
        try:
            array = np.array(value, dtype=dtype) if dtype is not None else None
        except OverflowError:
            array = None
        if array is None:
            array = _nested(value) if n_axes > 1 else _elements(value)
    else:
        array = value if isinstance(value, np.ndarray) else _converted(value, n_axes)
    array = leading_axes(array, n_axes)
    return narrowed(array) if narrow else array


def _nested(values: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:  # ragged
        return _elements(values)


def _converted(value: Any, n_axes: int) -> npt.NDArray[Any]:
    if hasattr(value, "__array__"):
        return np.asarray(value)
    shape = getattr(value, "shape", ())
    if not shape or len(shape) < n_axes:
        return single_cell(value)
    # Element by element as a map does: what has a shape and indices need not be a sequence.
    cells = np.empty(tuple(shape[:n_axes]), dtype=object)
    for position in np.ndindex(cells.shape):
        cells[position] = value[position[0] if n_axes == 1 else position]
    return cells


def single_cell(value: object) -> npt.NDArray[np.object_]:
    """Give an object array without axes that holds a value, whatever it is."""
    cells = np.empty(1, dtype=object)
    cells[0] = value
    return cells.reshape(())


def has_none(array: npt.NDArray[Any]) -> bool:
    """Tell whether an array has elements that are None: beside strings and times pandas makes NaN of them.

    Examples
    --------
    >>> has_none(np.array(["a", None])), has_none(np.array(["a", "b"]))
    (True, False)
    """
    return array.dtype == object and any(value is None for value in array.flat)


def along(value: Any, axes: Axes) -> npt.NDArray[Any]:
    """Give an array over the axes that have a name; along the others it is taken whole, as the function does.

    Examples
    --------
    >>> along(np.arange(6).reshape(2, 3), ("i", None)).tolist()
    [array([0, 1, 2]), array([3, 4, 5])]
    """
    array = as_array(value, len(axes))
    if None in axes and array.ndim == len(axes):
        named = [k for k, axis in enumerate(axes) if axis is not None]
        whole = [k for k, axis in enumerate(axes) if axis is None]
        array = leading_axes(array.transpose([*named, *whole]), len(named))
    return array


def zero_axes(value: Any, *, narrow: bool = True) -> npt.NDArray[Any]:
    """Give a value as an array without axes; what is an array itself is wrapped.

    Examples
    --------
    >>> zero_axes(3), zero_axes([1, 2]).item()
    (array(3), DimensionlessArray(arr=array([1, 2])))
    """
    if value is np.ma.masked:
        return np.array(np.nan)
    if isinstance(value, list | tuple):
        array = _rectangular(value)
        value = narrowed(array) if narrow else array
    if isinstance(value, np.ndarray):
        return single_cell(DimensionlessArray(value))
    cell = single_cell(value)
    return narrowed(cell) if narrow else cell


def _rectangular(values: Any) -> npt.NDArray[Any]:
    try:
        return np.array(values, dtype=object)
    except ValueError:  # arrays of several shapes
        return _elements(values)
