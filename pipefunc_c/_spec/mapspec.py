"""MapSpecs: how the arguments of a function index the arrays that it is mapped over."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pipefunc_c._spec.arrayspec import GRAMMAR, ArraySpec, parse_arrays
from pipefunc_c._spec.dimensions import Dimension, Shape, external_sizes, internal_sizes, normalize_shape
from pipefunc_c.exceptions import InvalidTypeError, MapSpecError, OutOfBoundsError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class MapSpec:
    """Say how a function maps over its array arguments.

    The same index in two inputs zips them; different indices give the outer product. An index of the outputs
    that no input has is an *internal* axis: the function itself returns an array along it. The others are
    *external* axes: the function is called once per point of them, in C order of the outputs' axes.

    Parameters
    ----------
    inputs
        The array arguments that are indexed; others are passed whole.
    outputs
        The outputs; all have the same indices.
    generated
        Whether a pipeline made this spec to complete those of the user.

    Raises
    ------
    MapSpecError
        If an output has a ``:`` or repeats an index, if the outputs differ in their indices, if an index of
        an input is not in the outputs, if a name occurs twice, or if there are no outputs.
    InvalidTypeError
        If `inputs` or `outputs` are not sequences of `ArraySpec`.

    Examples
    --------
    >>> spec = MapSpec.from_string("x[i], y[j] -> z[i, j]")
    >>> spec.shape({"x": (2,), "y": (3,)})
    ((2, 3), (True, True))
    >>> spec.input_keys((2, 3), 5)
    {'x': (1,), 'y': (2,)}

    """

    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    generated: bool = field(default=False, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        for side in ("inputs", "outputs"):
            specs = getattr(self, side)
            if not isinstance(specs, tuple | list) or not all(isinstance(spec, ArraySpec) for spec in specs):
                message = f"the {side} of a MapSpec must be a tuple of ArraySpec, got {specs!r}"
                raise InvalidTypeError(message, detail=specs, hint="Or use MapSpec.from_string.")
            object.__setattr__(self, side, tuple(specs))
        self._check_outputs()
        self._check_inputs()

    def _check_outputs(self) -> None:
        if not self.outputs:
            message = "a mapspec needs at least one output on the right of '->'"
            raise MapSpecError(message, hint=GRAMMAR)
        for output in self.outputs:
            if None in output.axes:
                message = f"output {str(output)!r} has a ':'; outputs must name each of their axes"
                raise MapSpecError(message, detail=output.name)
        first = self.outputs[0]
        if len(set(first.axes)) != first.rank:
            message = f"output {str(first)!r} uses an index twice; each axis of an output needs its own"
            raise MapSpecError(message, detail=first.name)
        for output in self.outputs:
            if output.axes != first.axes:
                message = f"outputs {str(first)!r} and {str(output)!r} differ; all need the same indices"
                raise MapSpecError(message, detail=output.name)

    def _check_inputs(self) -> None:
        known = set(self.output_indices)
        for spec in self.inputs:
            for index in spec.indices:
                if index not in known:
                    output = str(self.outputs[0])
                    message = f"index {index!r} of input {str(spec)!r} is not in the output {output!r}"
                    hint = "Use ':' for an axis that the function receives whole."
                    raise MapSpecError(message, detail=index, hint=hint)
        seen: set[str] = set()
        for spec in (*self.inputs, *self.outputs):
            if spec.name in seen:
                message = f"the name {spec.name!r} occurs twice in the mapspec {str(self)!r}"
                raise MapSpecError(message, detail=spec.name)
            seen.add(spec.name)

    @classmethod
    def from_string(cls, text: str) -> MapSpec:
        """Read a mapspec such as ``"x[i], y[j, :] -> z[i, j]"``.

        Parameters
        ----------
        text
            Two sides with ``->`` between them, each a comma-separated list of arrays with their indices in
            brackets; the left one may be ``...``: no array inputs.

        Returns
        -------
        MapSpec
            The spec.

        Raises
        ------
        MapSpecError
            If the text does not have this form, or breaks a rule of `MapSpec`.
        InvalidTypeError
            If `text` is not a str.

        Examples
        --------
        >>> MapSpec.from_string("... -> x[i]").inputs
        ()

        """
        if not isinstance(text, str):
            raise InvalidTypeError(f"a mapspec must be a str, got {text!r}", detail=text, hint=GRAMMAR)
        sides = text.split("->")
        if len(sides) != 2:
            message = f"the mapspec {text!r} has {len(sides) - 1} '->'; it needs exactly one"
            raise MapSpecError(message, detail=text, hint=GRAMMAR)
        if sides[1].strip() == "...":
            message = f"the mapspec {text!r} has '...' on the right; it is allowed on the left only"
            raise MapSpecError(message, detail=text, hint=GRAMMAR)
        inputs = () if sides[0].strip() == "..." else parse_arrays(sides[0], text)
        return cls(inputs, parse_arrays(sides[1], text))

    def to_string(self) -> str:
        """Return the text that `from_string` reads.

        Returns
        -------
        str
            The mapspec with one space behind each comma and around ``->``.

        """
        inputs = ", ".join(map(str, self.inputs)) or "..."
        return f"{inputs} -> {', '.join(map(str, self.outputs))}"

    def __str__(self) -> str:
        return self.to_string()

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(spec.name for spec in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(spec.name for spec in self.outputs)

    @property
    def input_indices(self) -> set[str]:
        """Indices that occur in any input."""
        return {index for spec in self.inputs for index in spec.indices}

    @property
    def output_indices(self) -> tuple[str, ...]:
        """Indices of the outputs."""
        return self.outputs[0].indices

    @cached_property
    def external_indices(self) -> tuple[str, ...]:
        """Indices of the outputs that the map iterates over, in the outputs' order."""
        known = self.input_indices
        return tuple(index for index in self.output_indices if index in known)

    @cached_property
    def internal_indices(self) -> tuple[str, ...]:
        """Indices of the outputs along which the function itself returns an array."""
        known = self.input_indices
        return tuple(index for index in self.output_indices if index not in known)

    @cached_property
    def shape_mask(self) -> tuple[bool, ...]:
        """Per axis of the outputs: True if it is external."""
        known = self.input_indices
        return tuple(index in known for index in self.output_indices)

    @property
    def task_axes(self) -> dict[str, tuple[int | None, ...]]:
        """Per input: for each dimension the position of its index in `external_indices`, None if whole."""
        position = {index: k for k, index in enumerate(self.external_indices)}
        return {
            spec.name: tuple(None if axis is None else position[axis] for axis in spec.axes)
            for spec in self.inputs
        }

    def shape(
        self,
        input_shapes: Mapping[str, Sequence[Dimension]],
        internal_shapes: Mapping[str, Dimension | Sequence[Dimension]] | None = None,
    ) -> tuple[Shape, tuple[bool, ...]]:
        """Infer the shape of the outputs.

        Parameters
        ----------
        input_shapes
            Shape of each input; ``"?"`` stands for an unknown size.
        internal_shapes
            Per output name, the sizes of the internal axes, an int being a tuple of one; sizes behind those
            are those of the elements and are not looked at. Missing ones are unknown.

        Returns
        -------
        tuple
            The shape, with ``"?"`` for unknown sizes, and the mask: True for external axes.

        Raises
        ------
        ShapeError
            If inputs are missing or unknown, have the wrong number of dimensions or sizes that do not
            match; if the internal shapes are too short, negative, or differ between the outputs.
        InvalidTypeError
            If a size is neither an int nor ``"?"``.

        Examples
        --------
        >>> MapSpec.from_string("x[i] -> y[i, j]").shape({"x": (4,)})
        ((4, '?'), (True, False))

        """
        sizes = external_sizes(self.inputs, input_shapes)
        sizes |= internal_sizes(self.outputs, self.internal_indices, internal_shapes or {})
        return tuple(sizes[index] for index in self.output_indices), self.shape_mask

    def output_key(self, shape: Sequence[Dimension], linear_index: int) -> tuple[int, ...]:
        """Return the position of a task along the external axes.

        Parameters
        ----------
        shape
            Sizes of the external axes.
        linear_index
            Number of the task, in C order.

        Returns
        -------
        tuple
            One int per external axis.

        Raises
        ------
        ShapeError
            If `shape` has another length than `external_indices`, or an unknown size.
        OutOfBoundsError
            If there is no such task.

        """
        if len(shape) != len(self.external_indices):
            message = (
                f"the shape {tuple(shape)!r} has {len(shape)} sizes, but the mapspec {str(self)!r} has "
                f"{len(self.external_indices)} external axes {self.external_indices}"
            )
            raise ShapeError(message, detail=tuple(shape))
        dimensions = normalize_shape(tuple(shape), self.output_names[0])
        sizes = [size for size in dimensions if isinstance(size, int)]
        if len(sizes) != len(shape):
            message = (
                f"the shape {tuple(shape)!r} of {str(self)!r} has an unknown size; tasks need known ones"
            )
            raise ShapeError(message, detail=tuple(shape))
        size = math.prod(sizes)
        if not 0 <= linear_index < size:
            message = f"task {linear_index} is outside of the {size} tasks of shape {tuple(shape)!r}"
            raise OutOfBoundsError(message, detail=linear_index)
        key = []
        linear_index = operator.index(linear_index)  # a NumPy integer would put NumPy integers in the key
        for dimension in reversed(sizes):
            linear_index, position = divmod(linear_index, dimension)
            key.append(position)
        return tuple(reversed(key))

    def input_keys(self, shape: Sequence[Dimension], linear_index: int) -> dict[str, tuple[int | slice, ...]]:
        """Return what a task takes of each input.

        Parameters
        ----------
        shape
            Sizes of the external axes.
        linear_index
            Number of the task, in C order over the external axes.

        Returns
        -------
        dict
            Per input name, an index for each dimension; a whole axis is ``slice(None)``.

        Raises
        ------
        ShapeError
            If `shape` has another length than `external_indices`, or an unknown size.
        OutOfBoundsError
            If there is no such task.

        """
        key = self.output_key(shape, linear_index)
        return {
            name: tuple(slice(None) if axis is None else key[axis] for axis in axes)
            for name, axes in self.task_axes.items()
        }

    def add_axes(self, *axes: str | None) -> MapSpec:
        """Return a spec in which all inputs and outputs have more axes behind the present ones.

        Parameters
        ----------
        *axes
            Indices to add.

        Returns
        -------
        MapSpec
            The new spec.

        Raises
        ------
        MapSpecError
            If an index is there already, or is ``:``, which outputs cannot have.

        """
        inputs = tuple(spec.add_axes(*axes) for spec in self.inputs)
        return replace(self, inputs=inputs, outputs=tuple(spec.add_axes(*axes) for spec in self.outputs))

    def rename(self, renames: Mapping[str, str]) -> MapSpec:
        """Return a spec with other array names; names that do not occur are ignored.

        Parameters
        ----------
        renames
            Old name to new name.

        Returns
        -------
        MapSpec
            The new spec.

        Examples
        --------
        >>> str(MapSpec.from_string("x[i] -> y[i]").rename({"x": "scope.x"}))
        'scope.x[i] -> y[i]'

        """
        inputs = tuple(spec.rename(renames) for spec in self.inputs)
        return replace(self, inputs=inputs, outputs=tuple(spec.rename(renames) for spec in self.outputs))

    def rename_axes(self, renames: Mapping[str, str]) -> MapSpec:
        """Return a spec with other indices; indices that do not occur are ignored.

        Parameters
        ----------
        renames
            Old index to new index.

        Returns
        -------
        MapSpec
            The new spec.

        Examples
        --------
        >>> str(MapSpec.from_string("x[i] -> y[i]").rename_axes({"i": "time"}))
        'x[time] -> y[time]'

        """
        inputs = tuple(spec.rename_axes(renames) for spec in self.inputs)
        return replace(self, inputs=inputs, outputs=tuple(spec.rename_axes(renames) for spec in self.outputs))
