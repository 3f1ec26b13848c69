"""Colours and fonts of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real

from pipefunc_c._graph.drawing.picture import Kind
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError


@dataclass(frozen=True)
class Style:
    """Say how a picture looks; colours are names or ``"#rrggbb"``.

    Parameters
    ----------
    font_name
        Font family.
    font_size, note_font_size
        Points; the second one is for types, notes and labels.
    text_color, note_color
        Of names; of types, notes and labels.
    background_color
        Behind everything.
    border_color
        Around boxes.
    input_color, bound_color, resources_color, function_color, nested_color, scope_color
        Of boxes.
    cluster_color
        Behind the boxes of one scope, and of the legend.
    input_arrow_color, function_arrow_color
        Of arrows from inputs; of those from functions.

    Examples
    --------
    >>> read_style({"font_size": 9}).font_size
    9

    """

    font_name: str = "Helvetica"
    font_size: float = 12
    note_font_size: float = 10
    text_color: str = "#1f2328"
    note_color: str = "#57606a"
    background_color: str = "#ffffff"
    border_color: str = "#6e7781"
    input_color: str = "#d8f0d3"
    bound_color: str = "#f6ecc4"
    resources_color: str = "#fbdcc8"
    function_color: str = "#d3e5f8"
    nested_color: str = "#e3d9f5"
    scope_color: str = "#e3d9f5"
    cluster_color: str = "#f4f6f8"
    input_arrow_color: str = "#8cb383"
    function_arrow_color: str = "#3b6ea5"

    def fill(self, kind: Kind) -> str:
        """Return the colour of boxes of a kind."""
        return {
            Kind.INPUT: self.input_color,
            Kind.BOUND: self.bound_color,
            Kind.RESOURCES: self.resources_color,
            Kind.FUNCTION: self.function_color,
            Kind.MAPPED: self.function_color,
            Kind.NESTED: self.nested_color,
            Kind.SCOPE: self.scope_color,
        }[kind]


def read_style(style: object) -> Style:
    """Return a style from what a user gave.

    Parameters
    ----------
    style
        A style, some of its fields by name, or None for the standard.

    Returns
    -------
    Style
        The style.

    Raises
    ------
    InvalidValueError
        If a style has no such field.
    InvalidTypeError
        If it is something else.

    """
    if style is None:
        return Style()
    if isinstance(style, Style):
        return style
    known = [field.name for field in fields(Style)]
    if not isinstance(style, Mapping):
        message = f"style must be a dict of some of {known}, or None; got {style!r}"
        raise InvalidTypeError(message, detail=style)
    unknown = sorted(map(str, style.keys() - set(known)))
    if unknown:
        raise InvalidValueError(f"a style has no {unknown}; it has {known}", detail=unknown)
    return Style(**style)


def read_size(figsize: object, *, square: bool = False) -> tuple[float, float]:
    """Return width and height from what a user gave.

    Parameters
    ----------
    figsize
        Two numbers of inches.
    square
        Whether one number may stand for both.

    Returns
    -------
    tuple
        Width and height.

    Raises
    ------
    InvalidValueError
        If it is something else, or not positive.

    """
    lengths = (figsize, figsize) if square and isinstance(figsize, Real) else figsize
    if (
        isinstance(lengths, tuple | list)
        and len(lengths) == 2
        and all(isinstance(length, Real) and 0 < float(length) < float("inf") for length in lengths)
    ):
        return float(lengths[0]), float(lengths[1])
    what = "one or two positive numbers" if square else "two positive numbers"
    raise InvalidValueError(f"figsize must be {what} of inches, got {figsize!r}", detail=figsize)
