"""Shapes of all arrays of a pipeline, and whether its mapspecs agree on their axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipefunc_c._describe import short_repr
from pipefunc_c._spec.dimensions import Dimension, Shape, normalize_shape
from pipefunc_c.exceptions import InvalidTypeError, MapSpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipefunc_c._spec.mapspec import MapSpec


class MapShapes(NamedTuple):
    """Shape and mask per array name.

    Parameters
    ----------
    shapes
        Size of each axis, ``"?"`` where it is not known yet.
    masks
        Per axis: True if it is external (iterated over), False if it is internal. All True for inputs.

    """

    shapes: dict[str, Shape]
    masks: dict[str, tuple[bool, ...]]


def mapspec_axes(mapspecs: Iterable[MapSpec]) -> dict[str, tuple[str | None, ...]]:
    """Collect the names of the axes of each array, and check that all mapspecs agree on them.

    Parameters
    ----------
    mapspecs
        The mapspecs of a pipeline.

    Returns
    -------
    dict
        Per array name, the index that runs over each dimension; None where every mapspec has a ``:``.

    Raises
    ------
    MapSpecError
        If two mapspecs give an array another number of dimensions, or another index at one position.

    Examples
    --------
    >>> from pipefunc_c._spec.mapspec import MapSpec
    >>> mapspec_axes([MapSpec.from_string("x[i, :] -> y[i]"), MapSpec.from_string("x[:, j] -> z[j]")])
    {'x': ('i', 'j'), 'y': ('i',), 'z': ('j',)}

    """
    axes: dict[str, list[str | None]] = {}
    sources: dict[str, list[MapSpec]] = {}  # per axis of an array: who named it, for the message
    for mapspec in mapspecs:
        for spec in (*mapspec.inputs, *mapspec.outputs):
            known = axes.setdefault(spec.name, list(spec.axes))
            source = sources.setdefault(spec.name, [mapspec] * spec.rank)
            if len(known) != spec.rank:
                message = (
                    f"array {spec.name!r} has {len(known)} dimensions in {str(source[0])!r}, "
                    f"but {spec.rank} in {str(mapspec)!r}"
                )
                raise MapSpecError(message, detail=spec.name, hint="Use ':' for an axis that is taken whole.")
            for position, axis in enumerate(spec.axes):
                if known[position] is None and axis is not None:
                    known[position], source[position] = axis, mapspec
                elif axis not in (None, known[position]):
                    message = (
                        f"axis {position} of array {spec.name!r} is {known[position]!r} in "
                        f"{str(source[position])!r}, but {axis!r} in {str(mapspec)!r}"
                    )
                    hint = "Use one name for one axis; rename it with update_mapspec_axes."
                    raise MapSpecError(message, detail=spec.name, hint=hint)
    return {name: tuple(names) for name, names in axes.items()}


def mapspec_dimensions(mapspecs: Iterable[MapSpec]) -> dict[str, int]:
    """Find the number of dimensions of each array.

    Parameters
    ----------
    mapspecs
        The mapspecs of a pipeline.

    Returns
    -------
    dict
        Number of dimensions per array name.

    Raises
    ------
    MapSpecError
        If the mapspecs contradict each other.

    Examples
    --------
    >>> from pipefunc_c._spec.mapspec import MapSpec
    >>> mapspec_dimensions([MapSpec.from_string("x[i], y[j] -> z[i, j]")])
    {'x': 1, 'y': 1, 'z': 2}

    """
    return {name: len(axes) for name, axes in mapspec_axes(mapspecs).items()}


def map_shapes(
    mapspecs: Iterable[MapSpec],
    input_shapes: Mapping[str, Sequence[Dimension]],
    internal_shapes: Mapping[str, Dimension | Sequence[Dimension]] | None = None,
    declared_shapes: Mapping[str, Dimension | Sequence[Dimension]] | None = None,
) -> MapShapes:
    """Infer the shape of each array of a pipeline from those of its inputs.

    Parameters
    ----------
    mapspecs
        In an order in which every array is an output before it is an input.
    input_shapes
        Shape of each array that no mapspec has as output; names that occur nowhere are ignored.
    internal_shapes
        Sizes of internal axes per output name; one of the outputs of a mapspec is enough. Names that occur
        nowhere are ignored. Call again with what became known to resolve every shape that follows from it.
    declared_shapes
        The same, used for a mapspec of which `internal_shapes` has no output.

    Returns
    -------
    MapShapes
        Shape and mask per array name.

    Raises
    ------
    ShapeError
        If a shape is missing, has the wrong number of dimensions, or sizes do not match.
    InvalidTypeError
        If a size is neither an integer nor ``"?"``.

    Examples
    --------
    >>> from pipefunc_c._spec.mapspec import MapSpec
    >>> specs = [MapSpec.from_string("x[i] -> y[i, j]"), MapSpec.from_string("y[i, j] -> z[j, i]")]
    >>> map_shapes(specs, {"x": (2,)}).shapes
    {'x': (2,), 'y': (2, '?'), 'z': ('?', 2)}
    >>> map_shapes(specs, {"x": (2,)}, {"y": 3}).shapes["z"]
    (3, 2)

    """
    internal_shapes, declared_shapes = internal_shapes or {}, declared_shapes or {}
    shapes: dict[str, Shape] = {}
    masks: dict[str, tuple[bool, ...]] = {}
    for mapspec in mapspecs:
        for name in mapspec.input_names:
            if name not in shapes and name in input_shapes:
                shapes[name] = normalize_shape(tuple(input_shapes[name]), name)
                masks[name] = (True,) * len(shapes[name])
        known = {name: shapes[name] for name in mapspec.input_names if name in shapes}
        overridden = any(name in internal_shapes for name in mapspec.output_names)
        shape, mask = mapspec.shape(known, internal_shapes if overridden else declared_shapes)
        for name in mapspec.output_names:
            shapes[name], masks[name] = shape, mask
    return MapShapes(shapes, masks)


def array_shape(value: object, name: str, *, is_output: bool = False) -> tuple[int, ...]:
    """Return the shape of an input or output that is to be mapped over.

    Parameters
    ----------
    value
        A list, a range, or anything with a ``shape``. A list has one dimension, whatever is in it.
    name
        Its name, for the message.
    is_output
        Whether a function returned it. It may be a tuple, then.

    Returns
    -------
    tuple
        Size of each dimension.

    Raises
    ------
    InvalidTypeError
        If it is something else: a tuple that is an input, a str, a number.

    Examples
    --------
    >>> array_shape(range(3), "x"), array_shape(np.zeros((2, 5)), "x")
    ((3,), (2, 5))

    """
    if isinstance(value, list | range) or (is_output and type(value) is tuple):
        return (len(value),)
    shape = getattr(value, "shape", None)
    # NumPy scalars have the shape (), but nobody means them as arrays.
    if isinstance(shape, tuple) and not isinstance(value, np.generic):
        sizes = tuple(size for size in normalize_shape(shape, name) if isinstance(size, int))
        if len(sizes) == len(shape):
            return sizes
    kind, allowed = ("output", "a list, a tuple, a range") if is_output else ("input", "a list, a range")
    message = (
        f"No array shape for the {kind} {name!r}, which is mapped over: got {short_repr(value)} of type "
        f"{type(value).__qualname__}; allowed are {allowed}, or anything with a shape"
    )
    hint = "Use list(...) for what can be iterated over, [value] for a single value, a FileArray for files."
    raise InvalidTypeError(message, detail=name, hint=hint)
