"""Sizes of axes: their check, and what follows for the outputs of a map."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Literal, TypeAlias

from pipefunc_c.exceptions import InvalidTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipefunc_c._spec.arrayspec import ArraySpec

Dimension: TypeAlias = int | Literal["?"]
Shape: TypeAlias = tuple[Dimension, ...]


def check_dimension(size: object, name: str) -> Dimension:
    """Return a size as an int or ``"?"``.

    Parameters
    ----------
    size
        What was given.
    name
        Name of the array, for the message.

    Returns
    -------
    int or "?"
        The size.

    Raises
    ------
    InvalidTypeError
        If it is neither an integer nor ``"?"``.
    ShapeError
        If it is negative.

    """
    if isinstance(size, str) and size == "?":
        return "?"
    try:
        if isinstance(size, bool):
            raise TypeError
        number = operator.index(size)  # type: ignore[arg-type]  # that is what is tested
    except TypeError:
        message = f"a size in the shape of {name!r} must be an int or '?', got {size!r}"
        raise InvalidTypeError(message, detail=size) from None
    if number < 0:
        raise ShapeError(f"a size in the shape of {name!r} is negative: {number}", detail=number)
    return number


def normalize_shape(shape: object, name: str) -> Shape:
    """Return a shape given as an int, ``"?"`` or a sequence of them as a tuple.

    Parameters
    ----------
    shape
        What was given.
    name
        Name of the array, for the message.

    Returns
    -------
    tuple
        The sizes.

    Raises
    ------
    InvalidTypeError
        If a size is neither an integer nor ``"?"``.
    ShapeError
        If a size is negative.

    Examples
    --------
    >>> normalize_shape(3, "x"), normalize_shape([2, "?"], "x")
    ((3,), (2, '?'))

    """
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    return tuple(check_dimension(size, name) for size in sizes)


def external_sizes(
    inputs: Sequence[ArraySpec], shapes: Mapping[str, Sequence[Dimension]]
) -> dict[str, Dimension]:
    """Find the size of each index from the arrays that have it.

    Parameters
    ----------
    inputs
        The arrays.
    shapes
        Shape per array name; ``"?"`` stands for an unknown size.

    Returns
    -------
    dict
        Size per index, ``"?"`` if no array knows it.

    Raises
    ------
    ShapeError
        If shapes are missing or of unknown arrays, have the wrong number of dimensions, or differ in the
        size of an index.
    InvalidTypeError
        If a size is neither an integer nor ``"?"``.

    Examples
    --------
    >>> from pipefunc_c._spec.arrayspec import ArraySpec
    >>> external_sizes([ArraySpec("x", ("i", "j"))], {"x": (2, "?")})
    {'i': 2, 'j': '?'}

    """
    _check_names({spec.name for spec in inputs}, shapes)
    sizes: dict[str, Dimension] = {}
    owners: dict[str, str] = {}  # who gave the known size, for the message
    for spec in inputs:
        spec.validate(shapes[spec.name])
        for axis, given in zip(spec.axes, shapes[spec.name], strict=True):
            size = check_dimension(given, spec.name)
            if axis is None:
                continue
            known = sizes.get(axis, "?")
            if known == "?":
                sizes[axis] = size
                owners[axis] = spec.name
            elif size not in ("?", known):
                message = (
                    f"the inputs differ in their size along {axis!r}: {owners[axis]!r} has {known}, "
                    f"{spec.name!r} has {size}"
                )
                hint = "Arrays that share an index are zipped and need the same size along it."
                raise ShapeError(message, detail=axis, hint=hint)
    return sizes


def _check_names(names: set[str], shapes: Mapping[str, object]) -> None:
    missing, extra = sorted(names - set(shapes)), sorted(set(shapes) - names)
    if missing:
        message = f"the shapes of the inputs {missing} are missing; got those of {sorted(shapes)}"
        raise ShapeError(message, detail=missing)
    if extra:
        message = f"got shapes of {extra}, which are no inputs; the inputs are {sorted(names)}"
        raise ShapeError(message, detail=extra)


def internal_sizes(
    outputs: Sequence[ArraySpec],
    indices: Sequence[str],
    shapes: Mapping[str, Dimension | Sequence[Dimension]],
) -> dict[str, Dimension]:
    """Find the sizes of the internal axes from what was declared for any of the outputs.

    Parameters
    ----------
    outputs
        The outputs, which all have these internal axes.
    indices
        The internal axes.
    shapes
        Per output name, the sizes of the internal axes; an int is a tuple of one. Sizes behind those are
        those of the elements and are not looked at.

    Returns
    -------
    dict
        Size per index, ``"?"`` if none is declared.

    Raises
    ------
    ShapeError
        If a declared shape is too short, negative, or differs from that of another output.
    InvalidTypeError
        If a size is neither an integer nor ``"?"``.

    Examples
    --------
    >>> from pipefunc_c._spec.arrayspec import ArraySpec
    >>> internal_sizes([ArraySpec("y", ("i", "j"))], ["j"], {"y": 4})
    {'j': 4}

    """
    sizes: dict[str, Dimension] = dict.fromkeys(indices, "?")
    owners: dict[str, str] = {}
    for output in outputs:
        if output.name not in shapes:
            continue
        given = normalize_shape(shapes[output.name], output.name)
        if len(given) < len(indices):
            message = (
                f"the internal shape {given} of {output.name!r} is too short: {str(output)!r} has the "
                f"internal axes {tuple(indices)}"
            )
            raise ShapeError(message, detail=output.name)
        for index, size in zip(indices, given, strict=False):
            known = sizes[index]
            if known == "?":
                sizes[index] = size
                owners[index] = output.name
            elif size not in ("?", known):
                message = (
                    f"the outputs differ in their internal size along {index!r}: {owners[index]!r} has "
                    f"{known}, {output.name!r} has {size}"
                )
                raise ShapeError(message, detail=index)
    return sizes
