"""Outputs with their axes and coordinates as an xarray dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipefunc_c._optional import require
from pipefunc_c.exceptions import ShapeError
from pipefunc_c.map._results.labelled_values import along, as_array, filled, has_none, zero_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    import numpy.typing as npt
    import xarray as xr

    from pipefunc_c.map._results.labels import Label, Labels

SEPARATOR = ":"
"""Stands between the names of inputs that label the same axes; no name has it."""


class LabelledValues(NamedTuple):
    """Say where the values of a dataset come from.

    Parameters
    ----------
    outputs
        Gives the array of a mapped output, or the value of a single call.
    inputs
        Gives an input.
    known
        The names for which one of the two gives something.
    """

    outputs: Callable[[str], Any]
    inputs: Callable[[str], Any]
    known: Container[str]


class DatasetBuilder:
    """Put outputs into a dataset one by one.

    Parameters
    ----------
    labels
        What labels the axes.
    values
        The values.
    narrow
        Whether outputs become typed where all elements have one type.
    load_intermediate
        Whether outputs label axes too, where no input leads to them.
    """

    def __init__(
        self,
        labels: Labels,
        values: LabelledValues,
        *,
        narrow: bool = True,
        load_intermediate: bool = True,
    ) -> None:
        self._labels = labels
        self._values = values
        self._narrow = narrow
        self._load_intermediate = load_intermediate
        self._variables: dict[str, tuple[tuple[str, ...], Any]] = {}
        self._coordinates: list[str] = []
        self._sizes: dict[str, tuple[int, str]] = {}
        self._arrays: dict[Label, npt.NDArray[Any]] = {}

    def add(self, name: str) -> None:
        """Put an output into the dataset, with its coordinates.

        Parameters
        ----------
        name
            The output.

        Raises
        ------
        ShapeError
            If an axis has another size than in an output that is there.
        """
        value = self._values.outputs(name)
        axes = self._labels.axes.get(name, ())
        array = self._along(value, axes)
        if array.ndim < len(axes):  # internal sizes that are not known yet; or an error instead of the array
            axes = self._labels.external_axes(name)
        if array.ndim != len(axes):
            axes, array = (), zero_axes(value, narrow=self._narrow)
        self._check_sizes(name, axes, array.shape)
        if axes:
            self._add_coordinates(name, axes)
        if name not in self._coordinates:
            self._variables[name] = axes, filled(array)

    def _along(self, value: Any, axes: tuple[str, ...]) -> npt.NDArray[Any]:
        if not axes:
            return zero_axes(value, narrow=self._narrow)
        return as_array(value, len(axes), narrow=self._narrow)

    def _check_sizes(self, name: str, axes: tuple[str, ...], shape: tuple[int, ...]) -> None:
        for axis, size in zip(axes, shape, strict=True):
            known, other = self._sizes.setdefault(axis, (size, name))
            if known != size:
                raise ShapeError(
                    f"axis {axis!r} has size {known} in {other!r} and {size} in {name!r}: "
                    "one dataset cannot hold both",
                    detail=axis,
                    hint="name the outputs that you want, or give unrelated axes different names",
                )

    def _add_coordinates(self, name: str, axes: tuple[str, ...]) -> None:
        groups: dict[tuple[str, ...], list[Label]] = {}
        for label in self._labels.of(name, load_intermediate=self._load_intermediate):
            if label.name in self._values.known and set(label.dims) <= set(axes):
                groups.setdefault(label.dims, []).append(label)
        for dims, group in groups.items():
            group.sort()
            combined = SEPARATOR.join(label.name for label in group)
            if combined in self._coordinates and len(self._variables[combined][0]) >= len(dims):
                continue
            arrays = [self._array(label) for label in group]
            if any(array.ndim != len(dims) for array in arrays):
                continue  # the array that labels the axes failed
            for array in arrays:
                self._check_sizes(combined, dims, array.shape)
            joined = arrays[0] if len(arrays) == 1 else _joined([label.name for label in group], arrays)
            self._variables[combined] = dims, joined
            if combined not in self._coordinates:
                self._coordinates.append(combined)

    def _array(self, label: Label) -> npt.NDArray[Any]:
        if label not in self._arrays:
            is_output = self._labels.is_output(label.name)
            value = (self._values.outputs if is_output else self._values.inputs)(label.name)
            self._arrays[label] = filled(along(value, label.axes))
        return self._arrays[label]

    def dataset(self) -> xr.Dataset:
        """Give the dataset; an output that labels an axis is a coordinate only."""
        xarray = require("xarray", extra="xarray")
        # All in the order in which they came: it is that of the dimensions, and of the columns of a frame.
        variables = {name: _variable(xarray, *variable) for name, variable in self._variables.items()}
        dataset: xr.Dataset = xarray.Dataset(variables)
        return dataset.set_coords(self._coordinates)


def _variable(xarray: Any, dims: tuple[str, ...], values: Any) -> Any:
    """Keep each None: a variable that is made of objects has gone through pandas."""
    if not isinstance(values, np.ndarray) or not has_none(values):
        return dims, values
    variable = xarray.Variable(dims, np.empty(values.shape, dtype=object))
    variable.values[...] = values
    return variable


def _joined(names: list[str], arrays: list[npt.NDArray[Any]]) -> Any:
    """Join arrays that label the same axes: a MultiIndex of one axis, tuples where that cannot be."""
    if arrays[0].ndim == 1 and all(map(_can_be_level, arrays)):
        return require("pandas", extra="pandas").MultiIndex.from_arrays(arrays, names=names)
    cells = np.empty(arrays[0].shape, dtype=object)
    for position in np.ndindex(cells.shape):
        cells[position] = tuple(array[position] for array in arrays)
    return cells


def _can_be_level(array: npt.NDArray[Any]) -> bool:
    """Tell whether an index keeps the values apart: of objects it makes one of 1 and True."""
    return array.dtype != object or set(map(type, array.tolist())) == {str}


def build_dataset(
    names: Iterable[str],
    labels: Labels,
    values: LabelledValues,
    *,
    narrow: bool = True,
    load_intermediate: bool = True,
) -> xr.Dataset:
    """Make a dataset of outputs.

    Parameters
    ----------
    names
        The outputs.
    labels, values, narrow, load_intermediate
        As for `DatasetBuilder`.

    Returns
    -------
    xarray.Dataset
        Outputs with axes first, in the order of the mapspecs, then the others as they were named.

    Raises
    ------
    ShapeError
        If an axis has two sizes.
    MissingDependencyError
        If xarray is not installed.
    """
    require("xarray", extra="xarray")  # before anything is read
    builder = DatasetBuilder(labels, values, narrow=narrow, load_intermediate=load_intermediate)
    wanted = list(dict.fromkeys(names))
    for name in labels.axes:
        if name in wanted:
            builder.add(name)
    for name in wanted:
        if name not in labels.axes:
            builder.add(name)
    return builder.dataset()
