"""Elements that are lists of lists: their first axes are those of an array, what is behind may be ragged."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def leading_shape(value: Any, n_axes: int) -> tuple[int, ...]:
    """Give the sizes of the first axes of an array or of nested lists, which may be ragged behind these.

    Examples
    --------
    >>> leading_shape([[1], [2, 3]], 1), leading_shape(np.zeros((2, 3, 4)), 2)
    ((2,), (2, 3))
    """
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return shape[:n_axes]
    if not n_axes or not isinstance(value, list | tuple | range):
        return ()
    inner = {leading_shape(each, n_axes - 1) for each in value}
    common = min(map(len, inner)) if inner else 0
    first = next(iter(inner), ())[:common]
    same = len({each[:common] for each in inner}) <= 1
    return (len(value), *(first if same else ()))


def leading_array(value: Any, n_axes: int) -> npt.NDArray[Any]:
    """Give an element as an array of at least some axes; what is ragged behind them stays as it is.

    Parameters
    ----------
    value
        An array or nested lists.
    n_axes
        How many axes are wanted.

    Examples
    --------
    >>> leading_array([[1], [2, 3]], 1)
    array([list([1]), list([2, 3])], dtype=object)
    """
    try:
        return np.asarray(value)
    except ValueError:  # ragged
        array = np.empty(leading_shape(value, n_axes), dtype=object)
        for position in np.ndindex(array.shape):
            item = value
            for k in position:
                item = item[k]
            array[position] = item
        return array
