"""Index arithmetic of a stage: from a linear task index to the offset of each input.

A walk seeks once (one division per axis) and then only adds. ``steps`` never crosses the end of the
innermost axis, so the loop over elements inside one run is a plain addition and lives with its caller.
"""
from libc.stdlib cimport calloc, free

import numpy as np

from pipefunc_c.exceptions import InvalidValueError, OutOfBoundsError


cdef int odometer_open(Odometer* odometer, tuple shape, list strides) except -1:
    """Allocate an odometer; ``strides`` holds one tuple per input."""
    cdef Py_ssize_t ndim = max(len(shape), 1)
    cdef Py_ssize_t n_inputs = len(strides)
    cdef Py_ssize_t axis, k
    odometer.ndim = ndim
    odometer.n_inputs = n_inputs
    # One block: shape, position, strides, offsets.
    odometer.shape = <Py_ssize_t*>calloc(2 * ndim + n_inputs * ndim + n_inputs + 1, sizeof(Py_ssize_t))
    if odometer.shape == NULL:
        raise MemoryError("no memory for an odometer")
    odometer.position = odometer.shape + ndim
    odometer.strides = odometer.position + ndim
    odometer.offsets = odometer.strides + n_inputs * ndim
    odometer.shape[0] = 1
    for axis in range(len(shape)):
        odometer.shape[axis] = shape[axis]
    for k in range(n_inputs):
        for axis in range(len(shape)):
            odometer.strides[k * ndim + axis] = strides[k][axis]
    return 0


cdef void odometer_close(Odometer* odometer) noexcept nogil:
    free(odometer.shape)
    odometer.shape = NULL


cdef void odometer_seek(Odometer* odometer, Py_ssize_t linear) noexcept nogil:
    cdef Py_ssize_t axis, k
    cdef Py_ssize_t ndim = odometer.ndim
    for axis in range(ndim - 1, -1, -1):
        odometer.position[axis] = linear % odometer.shape[axis]
        linear //= odometer.shape[axis]
    for k in range(odometer.n_inputs):
        odometer.offsets[k] = 0
        for axis in range(ndim):
            odometer.offsets[k] += odometer.position[axis] * odometer.strides[k * ndim + axis]


cdef void odometer_advance(Odometer* odometer, Py_ssize_t steps) noexcept nogil:
    """Move ``steps`` tasks on; at most to the end of the innermost axis."""
    cdef Py_ssize_t ndim = odometer.ndim
    cdef Py_ssize_t axis = ndim - 1
    cdef Py_ssize_t k
    odometer.position[axis] += steps
    for k in range(odometer.n_inputs):
        odometer.offsets[k] += steps * odometer.strides[k * ndim + axis]
    while axis > 0 and odometer.position[axis] == odometer.shape[axis]:
        odometer.position[axis] = 0
        odometer.position[axis - 1] += 1
        for k in range(odometer.n_inputs):
            odometer.offsets[k] += (
                odometer.strides[k * ndim + axis - 1]
                - odometer.shape[axis] * odometer.strides[k * ndim + axis]
            )
        axis -= 1


def axis_strides(strides, axes, ndim):
    """Give the stride of an input along each task axis.

    Parameters
    ----------
    strides : sequence of int
        Stride of each dimension of the input, in any unit.
    axes : sequence of int or None
        Task axis that indexes each dimension; None for a dimension taken whole.
    ndim : int
        Number of task axes.

    Returns
    -------
    tuple of int
        One stride per task axis; 0 where the input does not move with the axis.

    Raises
    ------
    InvalidValueError
        If ``strides`` and ``axes`` differ in length, or an axis is not in ``range(ndim)``.

    Examples
    --------
    >>> axis_strides((24, 8), (1, 0), 3)
    (8, 24, 0)
    """
    strides, axes = tuple(strides), tuple(axes)
    if len(strides) != len(axes):
        raise InvalidValueError(
            f"strides {strides!r} and axes {axes!r} differ in length",
            hint="give one task axis per dimension of the input",
        )
    result = [0] * ndim
    for stride, axis in zip(strides, axes):
        if axis is None:
            continue
        if not 0 <= axis < ndim:
            raise InvalidValueError(f"axis {axis!r} is not in range({ndim})", hint="axes count from 0")
        result[axis] += stride
    return tuple(result)


cdef Py_ssize_t task_count(tuple shape) except -1:
    cdef Py_ssize_t total = 1
    for size in shape:
        if size < 0:
            raise InvalidValueError(f"shape {shape!r} has a negative size")
        total *= size
    return total


def walk(shape, strides, start, stop):
    """List the offset of each input for the tasks ``start`` to ``stop - 1``.

    Parameters
    ----------
    shape : sequence of int
        Sizes of the task axes.
    strides : sequence of sequence of int
        For each input, its stride along each task axis.
    start, stop : int
        Range of linear task indices (C order).

    Returns
    -------
    ndarray of int64, shape (n_inputs, stop - start)

    Raises
    ------
    InvalidValueError
        If an input has not one stride per task axis.
    OutOfBoundsError
        If the range is not inside ``[0, size)``.

    Examples
    --------
    >>> walk((2, 3), [(1, 0), (0, 1)], 1, 5)
    array([[0, 0, 1, 1],
           [1, 2, 0, 1]])
    """
    cdef tuple task_shape = tuple(shape)
    cdef list input_strides = [tuple(each) for each in strides]
    cdef Py_ssize_t size = task_count(task_shape)
    cdef Py_ssize_t first = start, last = stop
    cdef Py_ssize_t done = 0, n, k, step
    cdef Odometer odometer
    cdef long long[:, ::1] out
    for each in input_strides:
        if len(each) != len(task_shape):
            raise InvalidValueError(
                f"strides {each!r} do not fit the task shape {task_shape!r}",
                hint="give one stride per task axis",
            )
    if not 0 <= first <= last <= size:
        raise OutOfBoundsError(f"range [{start}, {stop}) is not inside [0, {size})")
    result = np.empty((len(input_strides), last - first), dtype=np.int64)
    if last == first:
        return result
    out = result.view(np.longlong)
    odometer_open(&odometer, task_shape, input_strides)
    try:
        with nogil:
            odometer_seek(&odometer, first)
            while first < last:
                n = min(odometer_run_length(&odometer), last - first)
                for k in range(odometer.n_inputs):
                    for step in range(n):
                        out[k, done + step] = (
                            odometer.offsets[k] + step * odometer.strides[(k + 1) * odometer.ndim - 1]
                        )
                odometer_advance(&odometer, n)
                first += n
                done += n
    finally:
        odometer_close(&odometer)
    return result


def intersect_runs(runs, start, stop):
    """Clip sorted runs to ``[start, stop)``.

    Parameters
    ----------
    runs : ndarray of int64, shape (n_runs, 2)
        Sorted, disjoint half-open runs.
    start, stop : int
        The range to keep.

    Returns
    -------
    ndarray of int64, shape (n_kept, 2)

    Raises
    ------
    InvalidValueError
        If ``runs`` does not have two columns.

    Examples
    --------
    >>> intersect_runs(np.array([[0, 4], [6, 9]]), 2, 7)
    array([[2, 4],
           [6, 7]])
    """
    array = np.asarray(runs, dtype=np.int64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise InvalidValueError(f"runs have shape {array.shape}, expected (n_runs, 2)")
    first = np.searchsorted(array[:, 1], start, side="right")
    last = max(first, np.searchsorted(array[:, 0], stop, side="left"))
    kept = array[first:last].copy()
    np.clip(kept, start, stop, out=kept)
    return kept[kept[:, 0] < kept[:, 1]]


def runs_of(mask):
    """List the runs of True in a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (size,)
        The mask.

    Returns
    -------
    ndarray of int64, shape (n_runs, 2)
        Sorted, disjoint half-open runs.

    Raises
    ------
    InvalidValueError
        If the mask is not one-dimensional.

    Examples
    --------
    >>> runs_of(np.array([True, True, False, True]))
    array([[0, 2],
           [3, 4]])
    """
    array = np.asarray(mask, dtype=bool)
    if array.ndim != 1:
        raise InvalidValueError(f"the mask has {array.ndim} dimensions, expected 1")
    padded = np.zeros(len(array) + 2, dtype=np.int8)
    padded[1:len(array) + 1] = array
    steps = np.diff(padded)
    return np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)], axis=1).astype(np.int64)
