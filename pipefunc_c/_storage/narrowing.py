"""Arrays of objects that have one numeric type: as arrays of that type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._storage.column_array import ColumnArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from pipefunc_c._storage.base import StorageBase

_OF_PYTHON: dict[type, np.dtype[Any]] = {
    bool: np.dtype(np.bool_),
    int: np.dtype(np.int64),
    float: np.dtype(np.float64),
    complex: np.dtype(np.complex128),
}


def dtype_of(values: Iterable[object]) -> np.dtype[Any] | None:
    """Give the numeric dtype that all values have, or None.

    Examples
    --------
    >>> dtype_of([1.5, np.float64(2)]), dtype_of([1, 2.5])
    (dtype('float64'), None)
    """
    dtypes = {_dtype_of_type(kind) for kind in set(map(type, values))}
    return dtypes.pop() if len(dtypes) == 1 else None


def _dtype_of_type(kind: type) -> np.dtype[Any] | None:
    if kind in _OF_PYTHON:
        return _OF_PYTHON[kind]
    if issubclass(kind, np.number | np.bool_):
        dtype = np.dtype(kind)
        return dtype if dtype.type is kind and dtype.kind in "biufc" else None
    return None


def narrowed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give an object array its numeric dtype, where all values that are there have one.

    Examples
    --------
    >>> narrowed(np.array([1, 2], dtype=object)).dtype, narrowed(np.array([1, 2.5], dtype=object)).dtype
    (dtype('int64'), dtype('O'))
    """
    if array.dtype != object:
        return array
    mask = np.ma.getmaskarray(array) if np.ma.is_masked(array) else None
    data = np.ma.getdata(array)
    dtype = dtype_of((data if mask is None else data[~mask]).ravel().tolist())
    if dtype is None:
        return array
    try:
        if mask is None:
            return data.astype(dtype)
        typed = np.zeros(data.shape, dtype=dtype)
        typed[~mask] = data[~mask]
    except OverflowError:  # a Python int of more than 64 bits
        return array
    return np.ma.MaskedArray(typed, mask=mask)


def typed_array(store: StorageBase) -> npt.NDArray[Any] | np.ma.MaskedArray[Any, Any]:
    """Give what a storage holds as one typed array, where all values have one type; else as objects.

    Parameters
    ----------
    store
        The storage, of a shape that is resolved.

    Returns
    -------
    ndarray or MaskedArray
        Over all axes; masked where elements are missing. A column is shown, read-only and without a copy.

    Examples
    --------
    >>> from pipefunc_c.map import DictArray
    >>> store = DictArray(None, (2,), mapping={(1,): 2.5})
    >>> typed_array(store)
    masked_array(data=[--, 2.5],
                 mask=[ True, False],
           fill_value=1e+20)
    """
    typed = store.typed() if isinstance(store, ColumnArray) else None
    if typed is not None:
        return typed
    array = store.to_array()
    kept = array if np.ma.is_masked(array) else np.ma.getdata(array)
    return kept if isinstance(store, ColumnArray) else narrowed(kept)
