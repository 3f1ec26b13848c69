"""ArraySpecs: which index runs over each dimension of one array."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipefunc_c.exceptions import InvalidTypeError, MapSpecError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRAMMAR = "Write for example 'x[i], y[j, :] -> z[i, j]', or '... -> x[i]' if no array is indexed."
# The name and the indices are checked afterwards, so that the message can say what is wrong with them.
_ARRAY = re.compile(r"\s*([^\s,\[\]]+)\s*\[([^\[\]]*)\]\s*")


@dataclass(frozen=True)
class ArraySpec:
    """Say which index runs over each dimension of an array.

    Parameters
    ----------
    name
        Name of the array, an identifier, or two with a dot between them if it has a scope.
    axes
        One entry per dimension: the name of the index, or None where the whole axis is taken (``:``).

    Raises
    ------
    MapSpecError
        If the name or an index is no identifier, or if there are no axes.
    InvalidTypeError
        If `name` is not a str or `axes` is not a sequence of str and None.

    Examples
    --------
    >>> str(ArraySpec("x", ("i", None)))
    'x[i, :]'

    """

    name: str
    axes: tuple[str | None, ...]

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str):
            raise InvalidTypeError(f"the name of an array must be a str, got {name!r}", detail=name)
        parts = self.name.split(".")
        if len(parts) > 2 or not all(part.isidentifier() for part in parts):
            message = (
                f"the array name {self.name!r} is not an identifier, nor two with a dot between (scope.name)"
            )
            raise MapSpecError(message, detail=self.name, hint=GRAMMAR)
        axes: object = self.axes
        if not isinstance(axes, tuple | list):
            message = f"the axes of array {self.name!r} must be a tuple, got {axes!r}"
            raise InvalidTypeError(message, detail=axes, hint="Pass for example ('i', None).")
        for axis in axes:
            self._check_axis(axis)
        if not axes:
            message = f"array {self.name!r} has no axes; it needs at least one index or ':'"
            raise MapSpecError(message, detail=self.name, hint="Leave scalars out of the mapspec.")
        object.__setattr__(self, "axes", tuple(axes))

    def _check_axis(self, axis: object) -> None:
        if axis is None:
            return
        if not isinstance(axis, str):
            message = f"index {axis!r} of array {self.name!r} must be a str, or None for a whole axis"
            raise InvalidTypeError(message, detail=axis)
        if not axis.isidentifier():
            message = f"index {axis!r} of array {self.name!r} is neither an identifier nor ':'"
            raise MapSpecError(message, detail=axis, hint=GRAMMAR)

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(':' if axis is None else axis for axis in self.axes)}]"

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.axes)

    @property
    def indices(self) -> tuple[str, ...]:
        """Names of the indices, without the whole axes."""
        return tuple(axis for axis in self.axes if axis is not None)

    def validate(self, shape: Sequence[object]) -> None:
        """Check that an array of this shape fits.

        Parameters
        ----------
        shape
            Size of each dimension.

        Raises
        ------
        ShapeError
            If the number of dimensions differs.

        """
        if len(shape) != self.rank:
            message = (
                f"array {self.name!r} has shape {tuple(shape)!r} with {len(shape)} dimensions, "
                f"but its mapspec {str(self)!r} needs {self.rank}"
            )
            hint = (
                "A nested list has one dimension: convert it with numpy.asarray." if len(shape) == 1 else None
            )
            raise ShapeError(message, detail=self.name, hint=hint)

    def add_axes(self, *axes: str | None) -> ArraySpec:
        """Return a spec with more axes behind the present ones.

        Parameters
        ----------
        *axes
            Indices, or None for whole axes.

        Returns
        -------
        ArraySpec
            The new spec.

        Raises
        ------
        MapSpecError
            If an index is there already.

        """
        present = set(self.indices)
        for axis in axes:
            if axis in present:
                message = f"index {axis!r} is already an axis of {str(self)!r}; axes to add must be new"
                raise MapSpecError(message, detail=axis)
            if axis is not None:
                present.add(axis)
        return ArraySpec(self.name, self.axes + axes)

    def rename(self, renames: Mapping[str, str]) -> ArraySpec:
        """Return a spec with another name, if the present one is to be renamed.

        Parameters
        ----------
        renames
            Old name to new name.

        Returns
        -------
        ArraySpec
            The new spec.

        """
        return ArraySpec(renames.get(self.name, self.name), self.axes)

    def rename_axes(self, renames: Mapping[str, str]) -> ArraySpec:
        """Return a spec with other indices; indices that do not occur are ignored.

        Parameters
        ----------
        renames
            Old index to new index.

        Returns
        -------
        ArraySpec
            The new spec.

        """
        axes = (axis if axis is None else renames.get(axis, axis) for axis in self.axes)
        return ArraySpec(self.name, tuple(axes))


def parse_arrays(side: str, mapspec: str) -> tuple[ArraySpec, ...]:
    """Read a comma-separated list of arrays with their indices in brackets.

    Parameters
    ----------
    side
        The list.
    mapspec
        The mapspec that it is a side of, for the messages.

    Returns
    -------
    tuple
        The specs in their order.

    Raises
    ------
    MapSpecError
        If the text does not have this form.

    Examples
    --------
    >>> parse_arrays("x[i, :]", "x[i, :] -> y[i]")
    (ArraySpec(name='x', axes=('i', None)),)

    """
    specs: list[ArraySpec] = []
    position = 0
    while True:
        match = _ARRAY.match(side, position)
        if match is None:
            rest = side[position:].strip()
            message = (
                f"cannot read {rest!r} in the mapspec {mapspec!r}; each array needs a name with [indices]"
            )
            raise MapSpecError(message, detail=mapspec, hint=GRAMMAR)
        indices = [index.strip() for index in match[2].split(",")]
        specs.append(ArraySpec(match[1], tuple(None if index == ":" else index for index in indices)))
        position = match.end()
        if position == len(side):
            return tuple(specs)
        if side[position] != ",":
            message = f"expected ',' before {side[position:].strip()!r} in the mapspec {mapspec!r}"
            raise MapSpecError(message, detail=mapspec, hint=GRAMMAR)
        position += 1
