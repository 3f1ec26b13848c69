"""Casts of outputs to the number types that their functions are annotated with."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._describe import short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


def annotated_dtype(annotation: Any) -> np.dtype[Any] | None:
    """Give the dtype of an annotation that is an int, float or bool, of Python or NumPy; None for others.

    Examples
    --------
    >>> annotated_dtype(float), annotated_dtype(np.int8), annotated_dtype(str)
    (dtype('float64'), dtype('int8'), None)
    """
    if annotation in (bool, int, float):
        return np.dtype({bool: np.bool_, int: np.int64, float: np.float64}[annotation])
    is_scalar = isinstance(annotation, type) and issubclass(annotation, np.integer | np.floating | np.bool_)
    if not is_scalar or annotation not in np.sctypeDict.values():  # np.integer and the like are abstract
        return None
    dtype: np.dtype[Any] = np.dtype(annotation)
    return dtype


class CannotCast(Exception):  # noqa: N818  no error: the caller goes on
    """Say why an output keeps its type."""


def cast(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Cast an array; floats may be rounded to fewer digits, nothing else may change.

    Parameters
    ----------
    array
        The values, masked where they are missing.
    dtype
        What to cast to.

    Returns
    -------
    ndarray
        Masked where the values are missing; the array itself if it has the dtype.

    Raises
    ------
    CannotCast
        If a value would become another one, or is no number.

    Examples
    --------
    >>> cast(np.array([1, 2]), np.dtype(float))
    array([1., 2.])
    """
    if array.dtype == dtype:
        return array
    mask = np.ma.getmaskarray(array) if np.ma.is_masked(array) else None
    there = np.ma.getdata(array) if mask is None else np.ma.getdata(array)[~mask]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # infinities are found below
        try:
            _check_types(there)
            values = there.astype(dtype)
            _check_values(there, values)
        except (TypeError, ValueError, OverflowError) as error:
            raise CannotCast(str(error)) from error
    if mask is None:
        return values
    result = np.zeros(mask.shape, dtype=dtype)
    result[~mask] = values
    return np.ma.MaskedArray(result, mask=mask)


def _check_types(given: npt.NDArray[Any]) -> None:
    kinds = set(map(type, given.ravel().tolist())) if given.dtype == object else {given.dtype.type}
    others = [
        kind.__name__
        for kind in kinds
        if not issubclass(kind, bool | int | float | np.bool_ | np.integer | np.floating)
    ]
    if others:
        raise TypeError(f"it holds values of type {', '.join(sorted(others))}")


def _check_values(given: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    if values.dtype.kind == "f" and given.dtype.kind == "f":
        lost = np.isinf(values) & ~np.isinf(given)
    elif values.dtype.kind == "f" and given.dtype == object:
        lost = np.array(
            [_is_lost(before, after) for before, after in zip(given.flat, values.flat, strict=True)],
            dtype=bool,
        ).reshape(given.shape)
    else:
        back = values.astype(given.dtype)
        # Both ways: a sign is lost only in the second comparison, digits only in the first.
        lost = ~((back == given) & (values == given))
    if lost.any():
        raise ValueError(f"{short_repr(given[lost].flat[0])} does not fit into {values.dtype}")


def _is_lost(before: Any, after: Any) -> bool:
    if isinstance(before, float | np.floating):
        return bool(np.isinf(after) and not np.isinf(before))
    return int(before) != (int(after) if np.isfinite(after) else None)


def cast_outputs(
    arrays: Mapping[str, npt.NDArray[Any]], dtypes: Mapping[str, np.dtype[Any]], *, stacklevel: int
) -> dict[str, npt.NDArray[Any]]:
    """Cast outputs, and warn of those that stay as they are.

    Parameters
    ----------
    arrays
        Outputs by name.
    dtypes
        What some of them are cast to.
    stacklevel
        As for `warnings.warn`, counted from the caller.

    Returns
    -------
    dict
        The outputs that were cast, or had their dtype already.
    """
    done = {}
    for name, array in arrays.items():
        if name not in dtypes:
            continue
        try:
            done[name] = cast(array, dtypes[name])
        except CannotCast as error:
            warnings.warn(
                f"output {name!r} is annotated as {dtypes[name].name}, but cannot be cast: {error}",
                UserWarning,
                stacklevel=stacklevel + 1,
            )
    return done
