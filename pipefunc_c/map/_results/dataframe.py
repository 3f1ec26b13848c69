"""Datasets as data frames: one row per point of the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._optional import require
from pipefunc_c._storage.narrowing import narrowed
from pipefunc_c.exceptions import InvalidValueError
from pipefunc_c.map._results.dataset import SEPARATOR
from pipefunc_c.map._results.labelled_values import DimensionlessArray, has_none, single_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import pandas as pd
    import xarray as xr

BACKENDS = ("pandas", "polars")


def check_backend(backend: str) -> None:
    """Refuse what is no library of data frames that we know, and what is not installed.

    Raises
    ------
    InvalidValueError
        If there is no such backend.
    MissingDependencyError
        If it is not installed.

    Examples
    --------
    >>> check_backend("excel")
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.InvalidValueError: backend is 'excel'
    Hint: allowed are 'pandas' and 'polars'
    """
    if backend not in BACKENDS:
        raise InvalidValueError(f"backend is {backend!r}", hint="allowed are 'pandas' and 'polars'")
    require(backend, extra=backend)


def columns_of(dataset: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    """Give the columns of the frame of a dataset.

    Parameters
    ----------
    dataset
        One of ours.

    Returns
    -------
    dict
        Variables in their order, then what coordinates of several inputs consist of; one value per point of
        the grid, the last dimension of the dataset varying fastest.
    """
    columns: dict[str, npt.NDArray[Any]] = {}
    joined = [str(name) for name in dataset.coords if SEPARATOR in str(name)]
    for name in dataset.variables:
        if name not in joined:
            variable = dataset[name].variable
            columns[str(name)] = _spread(_unwrapped(variable.values), variable.dims, dataset)
    for name in joined:
        variable = dataset[name].variable
        for part, values in _parts(name, variable):
            if part not in columns:
                columns[part] = _spread(values.reshape(variable.shape), variable.dims, dataset)
    return columns


def _parts(name: str, variable: xr.Variable) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    names = name.split(SEPARATOR)
    index = variable.to_index() if variable.ndim == 1 and variable.size else None
    if index is not None and index.nlevels > 1 and list(index.names) == names:
        for part in names:
            yield part, narrowed(np.asarray(index.get_level_values(part)))
        return
    values = list(variable.values.ravel())
    for k, part in enumerate(names):
        column = np.empty(len(values), dtype=object)
        for row, each in enumerate(values):
            column[row] = each[k]
        yield part, narrowed(column)


def _spread(values: npt.NDArray[Any], dims: tuple[Any, ...], dataset: xr.Dataset) -> npt.NDArray[Any]:
    """Repeat values along the dimensions that they lack, one after the other."""
    grid = list(dataset.sizes)
    ordered = values.transpose([dims.index(dim) for dim in grid if dim in dims])
    expanded = ordered.reshape([size if dim in dims else 1 for dim, size in dataset.sizes.items()])
    return np.broadcast_to(expanded, tuple(dataset.sizes.values())).reshape(-1)


def _unwrapped(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype == object and values.ndim == 0 and isinstance(values.item(), DimensionlessArray):
        return single_cell(values.item().arr)
    return values


def to_pandas(dataset: xr.Dataset) -> pd.DataFrame:
    """Make a pandas frame of a dataset."""
    pandas = require("pandas", extra="pandas")
    columns: dict[str, Any] = {
        name: pandas.Series(values, dtype=object) if has_none(values) else values
        for name, values in columns_of(dataset).items()
    }
    length = int(np.prod(list(dataset.sizes.values()), dtype=np.int64)) if columns else 0
    frame: pd.DataFrame = pandas.DataFrame(columns, index=pandas.RangeIndex(length))
    return frame


def to_polars(dataset: xr.Dataset) -> Any:
    """Make a polars frame of a dataset; what polars has no type for is a column of objects."""
    polars = require("polars", extra="polars")
    return polars.DataFrame([_series(polars, name, values) for name, values in columns_of(dataset).items()])


def _series(polars: Any, name: str, values: npt.NDArray[Any]) -> Any:
    refused = (TypeError, ValueError, OverflowError, polars.exceptions.PolarsError)
    items = None if values.dtype != object else [_null_if_nan(value) for value in values.tolist()]
    try:
        if items is None:
            return polars.Series(name, np.array(values), nan_to_null=values.dtype.kind == "f")
        kinds = set(map(type, items))
        dtype = polars.Float64 if float in kinds and kinds <= {int, float, type(None)} else None
        return polars.Series(name, items, dtype=dtype, strict=dtype is None)
    except refused:
        return polars.Series(name, values.tolist() if items is None else items, dtype=polars.Object)


def _null_if_nan(value: Any) -> Any:
    is_float = isinstance(value, float | np.floating)
    return None if is_float and np.isnan(value) else value


def to_frame(dataset: xr.Dataset, backend: str) -> Any:
    """Make a frame of a dataset with one of `BACKENDS`."""
    return to_pandas(dataset) if backend == "pandas" else to_polars(dataset)
