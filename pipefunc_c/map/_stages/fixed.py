"""``fixed_indices``: the part of a map that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.index import runs_of
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OutOfBoundsError
from pipefunc_c.map._stages.requested import Requested

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._spec.mapspec import MapSpec


def check_bounds(mapspec: MapSpec, shape: Sequence[int | str], fixed: Mapping[str, int | slice]) -> None:
    """Check fixed indices against sizes of the external axes; sizes that are not known fit all.

    Raises
    ------
    OutOfBoundsError
        If an index is not on its axis.
    """
    for axis, length in zip(mapspec.external_indices, shape, strict=True):
        index = fixed.get(axis)
        if index is None or isinstance(index, slice) or isinstance(length, str):
            continue
        if not -length <= index < length:
            raise OutOfBoundsError(
                f"fixed index {axis}={index!r} is out of bounds for an axis of size {length}"
            )


def requested_elements(
    mapspec: MapSpec | None, shape: tuple[int, ...], fixed: Mapping[str, int | slice] | None
) -> Requested:
    """Find the elements of a stage that match the fixed indices.

    Parameters
    ----------
    mapspec
        That of the function; None for a single call.
    shape
        Sizes of the external axes.
    fixed
        Index or slice per axis name; other axes run whole.

    Returns
    -------
    Requested

    Raises
    ------
    OutOfBoundsError
        If an index is not on its axis.
    """
    size = int(np.prod(shape, dtype=np.int64))
    axes = () if mapspec is None else mapspec.external_indices
    if not fixed or not set(axes) & set(fixed):
        return Requested(size)
    mask = np.zeros(shape, dtype=bool)
    if mapspec is not None:
        check_bounds(mapspec, shape, fixed)
    mask[tuple(fixed.get(axis, slice(None)) for axis in axes)] = True
    return Requested(size, runs_of(mask.ravel()))


def _is_index(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def check_fixed_indices(fixed: Mapping[str, Any], functions: Iterable[PipeFunc[..., Any]]) -> None:
    """Check that the fixed axes exist and that no function needs one of them whole.

    Parameters
    ----------
    fixed
        Index or slice per axis name.
    functions
        The functions of the run.

    Raises
    ------
    InvalidValueError
        If an axis does not exist, or a function takes it whole.
    InvalidTypeError
        If an index is neither an int nor a slice.
    """
    axes_of: dict[str, tuple[str | None, ...]] = {}
    functions = list(functions)
    for func in functions:
        for spec in (*func.mapspec.inputs, *func.mapspec.outputs) if func.mapspec is not None else ():
            known = axes_of.setdefault(spec.name, spec.axes)
            axes_of[spec.name] = tuple(a or b for a, b in zip(known, spec.axes, strict=True))
    known_axes = {axis for axes in axes_of.values() for axis in axes if axis is not None}
    for axis, index in fixed.items():
        if axis not in known_axes:
            raise InvalidValueError(
                f"fixed_indices names the axis {axis!r}", hint=f"the axes are {sorted(known_axes)}"
            )
        parts = (index.start, index.stop, index.step) if isinstance(index, slice) else (index,)
        optional = isinstance(index, slice)
        if any(not _is_index(part) and not (optional and part is None) for part in parts):
            raise InvalidTypeError(f"fixed_indices[{axis!r}] is {index!r}, expected an int or a slice")
    for func in functions:
        iterated = {} if func.mapspec is None else {spec.name: spec.axes for spec in func.mapspec.inputs}
        for name in func.parameters:
            whole = set(axes_of.get(name, ())) - set(iterated.get(name, ()))
            reduced = sorted(axis for axis in whole if axis is not None and axis in fixed)
            if reduced and name not in func.bound:
                raise InvalidValueError(
                    f"the axis {reduced[0]!r} cannot be fixed: {func.__name__} takes {name!r} whole along it",
                    hint="leave the reduction out with output_names, or do not fix this axis",
                )
