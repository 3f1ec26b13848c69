"""What a function receives of an earlier output: the whole array, slices of it, or elements."""

from __future__ import annotations

import typing
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pipefunc_c._describe import short_repr
from pipefunc_c._kernels.tags import ERROR
from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.map._stages.polars import as_annotated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._storage.base import StorageBase


def _numeric_dtype(annotation: Any) -> np.dtype[Any] | None:
    """Give the dtype of an annotation such as ``NDArray[np.float64]``; None for any other."""
    if typing.get_origin(annotation) is not np.ndarray:
        return None
    arguments = typing.get_args(typing.get_args(annotation)[-1])
    scalar = arguments[0] if arguments else None
    if not (isinstance(scalar, type) and issubclass(scalar, np.number | np.bool_)):
        return None
    try:
        return np.dtype(scalar)
    except TypeError:  # an abstract type such as np.floating
        return None


def _converted(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> tuple[np.ndarray[Any, Any], Any]:
    """Convert to a dtype; give the result and a mask of what does not come back the same."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # lost imaginary parts are found below
        result = array.astype(dtype)
        back = result.astype(array.dtype)
    # Both ways: a sign is lost only in the first comparison, digits only in the second.
    same = ((result == array) & (back == array)) | ((back != back) & (array != array))  # noqa: PLR0124  NaNs
    return result, ~same


def _typed(
    store: StorageBase, func: PipeFunc[..., Any], name: str, dtype: np.dtype[Any]
) -> np.ndarray[Any, Any]:
    """Give an output as an array of a dtype: without a copy if it has it, converted where nothing is lost."""
    array = store.typed() if isinstance(store, ColumnArray) else None
    if array is not None and array.dtype == dtype:
        return array
    if array is not None:
        data = np.ma.getdata(array)
        mask = np.ma.getmaskarray(array)
        result, lost = _converted(data, dtype)
        lost &= ~mask
        if lost.any():
            _refuse(data, tuple(int(k) for k in np.argwhere(lost)[0]), func, name, dtype)
    else:
        objects: Any = store.to_array()
        data, mask = np.ma.getdata(objects), np.ma.getmaskarray(objects)
        result = np.zeros(data.shape, dtype=dtype)
        for index in np.ndindex(data.shape):
            if mask[index]:
                continue
            value: Any = data[index]
            scalar = np.asarray(value) if isinstance(value, (bool, int, float, complex, np.generic)) else None
            if scalar is None or scalar.dtype.kind not in "biufc":
                _refuse(data, index, func, name, dtype)
            else:
                result[index], is_lost = _converted(scalar, dtype)
                if is_lost:
                    _refuse(data, index, func, name, dtype)
    return np.ma.MaskedArray(result, mask=mask) if mask.any() else result


def _refuse(
    data: np.ndarray[Any, Any],
    index: tuple[int, ...],
    func: PipeFunc[..., Any],
    name: str,
    dtype: np.dtype[Any],
) -> NoReturn:
    value = data[index]
    raise InvalidTypeError(
        f"element {index} of {name!r} is {short_repr(value)} ({type(value).__name__}), which does not fit "
        f"the dtype {dtype} that {func.__name__} asks for",
        detail=index,
        hint=f"annotate {name!r} with another dtype, or as an object array",
    )


def _wants_masked(func: PipeFunc[..., Any], name: str) -> bool:
    annotation = func.parameter_annotations.get(name)
    return np.ma.MaskedArray in (annotation, typing.get_origin(annotation))


def whole_array(store: StorageBase, func: PipeFunc[..., Any], name: str) -> Any:
    """Give a whole output: the value of a single call, or the array of a map.

    Parameters
    ----------
    store
        Where the output is.
    func
        The function that receives it.
    name
        Its parameter; its annotation decides the kind of array.

    Returns
    -------
    object
        A fresh object array, masked where elements are missing or the parameter is annotated as
        ``np.ma.MaskedArray``; a typed read-only view for a numeric annotation.

    Raises
    ------
    InvalidTypeError
        If an element does not fit a numeric annotation; the first is named.
    """
    if store.rank == 0 and not store.internal_shape:
        return as_annotated(store.get_from_index(0), func, name)
    if isinstance(store, ColumnArray) and store.column.count(ERROR):
        return store.objects()  # the errors in it are found there; the function is not called
    annotation = func.parameter_annotations.get(name)
    dtype = _numeric_dtype(annotation)
    if dtype is not None:
        return _typed(store, func, name, dtype)
    masked = _wants_masked(func, name)
    if isinstance(store, ColumnArray) and not masked and store.is_complete():
        return store.objects()
    array = store.to_array()
    return array if masked or np.ma.is_masked(array) else np.ma.getdata(array)


def stretched(array: Any, sizes: Sequence[int | None]) -> Any:
    """Give an array along axes some of whose sizes stood in for unknown ones, where each is known now.

    Parameters
    ----------
    array
        The array.
    sizes
        One per dimension; None for a dimension that is taken whole.

    Examples
    --------
    >>> stretched(np.zeros((2, 1, 4)), (2, 3, None)).shape
    (2, 3, 4)
    """
    shape = getattr(array, "shape", None)
    if shape is None or len(shape) < len(sizes):
        return array
    wanted = tuple(has if size is None else size for has, size in zip(shape, sizes, strict=False))
    if wanted == shape[: len(sizes)]:
        return array
    return np.broadcast_to(array, (*wanted, *shape[len(sizes) :]), subok=True)


class _MaskedSlices:
    """Give slices of an array that has missing elements; a slice without any is a plain array."""

    def __init__(self, array: np.ma.MaskedArray[Any, Any]) -> None:
        self._array = array

    def __getitem__(self, key: Any) -> Any:
        item = self._array[key].copy()
        return item if np.ma.is_masked(item) else np.ma.getdata(item)


def sliced_array(store: StorageBase, func: PipeFunc[..., Any], name: str) -> tuple[Any, bool]:
    """Give what ``:`` slices are taken of, and whether each must be copied so that it may be written to."""
    array = whole_array(store, func, name)
    if np.ma.is_masked(array) and not _wants_masked(func, name):
        return _MaskedSlices(array), False
    return array, bool(isinstance(array, np.ndarray) and array.flags.writeable)


def element_array(store: StorageBase) -> Any:
    """Give an array whose elements are those of an output with internal axes, or of a foreign storage."""
    if isinstance(store, ColumnArray):
        typed = store.typed()
        return store.objects() if typed is None or np.ma.isMaskedArray(typed) else typed
    return np.ma.getdata(store.to_array())
