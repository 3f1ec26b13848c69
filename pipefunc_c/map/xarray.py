"""Outputs of a map as xarray datasets, and datasets as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._function.names import flatten_scopes
from pipefunc_c.map._results.dataframe import check_backend, to_pandas
from pipefunc_c.map._results.labelled_values import DimensionlessArray
from pipefunc_c.map._results.load_labelled import dataset_of_run
from pipefunc_c.map._results.outputs import dataset_of_results

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pandas as pd
    import xarray as xr

    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c.map._results.outputs import Result
    from pipefunc_c.map._runs.map_run import Mappable

__all__ = [
    "DimensionlessArray",
    "load_xarray",
    "load_xarray_dataset",
    "xarray_dataset_from_results",
    "xarray_dataset_to_dataframe",
]


def load_xarray(
    output_name: str,
    mapspecs: Iterable[MapSpec],
    inputs: Mapping[str, Any],
    run_folder: str | Path,
    *,
    load_intermediate: bool = True,
) -> xr.DataArray:
    """Load one output of a run, with coordinates from inputs that are at hand.

    Parameters
    ----------
    output_name
        The output.
    mapspecs
        The mapspecs of the pipeline, in topological order.
    inputs
        The inputs of the run, by full names.
    run_folder
        The folder of the run, which may still go on.
    load_intermediate
        Whether outputs are coordinates too, where they make an axis that no input has.

    Returns
    -------
    xarray.DataArray
        Typed where all elements have one type, NaN where they are missing.

    Raises
    ------
    RunFolderNotFoundError, DamagedFileError, UnknownNameError, MissingDependencyError
        As `pipefunc_c.map.load_xarray_dataset` does.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from pipefunc_c import Pipeline, pipefunc
    >>> @pipefunc("y", mapspec="x[i] -> y[i]")
    ... def double(x):
    ...     return 2 * x
    >>> pipeline = Pipeline([double])
    >>> with TemporaryDirectory() as folder:
    ...     _ = pipeline.map({"x": [1, 2]}, run_folder=folder)
    ...     array = load_xarray("y", pipeline.mapspecs(), {"x": [1, 2]}, folder)
    >>> array.dims, array.values.tolist()
    (('i',), [2, 4])
    """
    dataset = dataset_of_run(
        run_folder, [output_name], mapspecs=mapspecs, inputs=inputs, load_intermediate=load_intermediate
    )
    return dataset[output_name]


def load_xarray_dataset(
    mapspecs: Iterable[MapSpec],
    inputs: Mapping[str, Any],
    *,
    run_folder: str | Path,
    output_names: Iterable[str] | None = None,
    load_intermediate: bool = True,
) -> xr.Dataset:
    """Load outputs of a run, with coordinates from inputs that are at hand.

    `pipefunc_c.map.load_xarray_dataset` takes the inputs from the run folder.

    Parameters
    ----------
    mapspecs
        The mapspecs of the pipeline, in topological order.
    inputs
        The inputs of the run, by full names.
    run_folder
        The folder of the run, which may still go on.
    output_names
        The outputs; by default all.
    load_intermediate
        Whether outputs are coordinates too, where they make an axis that no input has.

    Returns
    -------
    xarray.Dataset
        A variable per output.

    Raises
    ------
    RunFolderNotFoundError, DamagedFileError, UnknownNameError, ShapeError, MissingDependencyError
        As `pipefunc_c.map.load_xarray_dataset` does.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from pipefunc_c import Pipeline, pipefunc
    >>> @pipefunc("y", mapspec="x[i] -> y[i]")
    ... def double(x):
    ...     return 2 * x
    >>> pipeline = Pipeline([double])
    >>> with TemporaryDirectory() as folder:
    ...     _ = pipeline.map({"x": [1, 2]}, run_folder=folder)
    ...     dataset = load_xarray_dataset(pipeline.mapspecs(), {"x": [1, 2]}, run_folder=folder)
    >>> sorted(dataset.variables)
    ['x', 'y']
    """
    return dataset_of_run(
        run_folder, output_names, mapspecs=mapspecs, inputs=inputs, load_intermediate=load_intermediate
    )


def xarray_dataset_from_results(
    inputs: Mapping[str, Any],
    results: Mapping[str, Result],
    pipeline: Mappable,
    *,
    load_intermediate: bool = True,
) -> xr.Dataset:
    """Make a dataset of the results of a map.

    Parameters
    ----------
    inputs
        The inputs of the map; arguments in a scope may be nested.
    results
        What the map returned, or a part of it.
    pipeline
        The pipeline that was mapped.
    load_intermediate
        Whether outputs are coordinates too, where they make an axis that no input has.

    Returns
    -------
    xarray.Dataset
        A variable per result.

    Raises
    ------
    ShapeError
        If an axis has different sizes in outputs that have nothing to do with each other.
    MissingDependencyError
        If xarray is not installed.

    Examples
    --------
    >>> from pipefunc_c import Pipeline, pipefunc
    >>> @pipefunc("y", mapspec="x[i] -> y[i]")
    ... def double(x):
    ...     return 2 * x
    >>> pipeline, inputs = Pipeline([double]), {"x": [1, 2]}
    >>> dataset = xarray_dataset_from_results(inputs, pipeline.map(inputs), pipeline)
    >>> dataset["y"].values
    array([2, 4])
    """
    graph = pipeline.function_graph
    mapspecs = [func.mapspec for func in graph.functions if func.mapspec is not None]
    known = {**graph.defaults, **flatten_scopes(inputs, pipeline.scopes)}
    return dataset_of_results(results, mapspecs, known, load_intermediate=load_intermediate)


def xarray_dataset_to_dataframe(ds: xr.Dataset) -> pd.DataFrame:
    """Make a data frame with one row per point of the grid.

    Parameters
    ----------
    ds
        A dataset of this module.

    Returns
    -------
    pandas.DataFrame
        A column per coordinate and variable; a coordinate ``a:b`` becomes the columns ``a`` and ``b``, and
        what has no axes is repeated.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed.

    Examples
    --------
    >>> import xarray
    >>> xarray_dataset_to_dataframe(xarray.Dataset({"y": ("i", [1, 2]), "total": ((), 3)}))
       y  total
    0  1      3
    1  2      3
    """
    check_backend("pandas")
    return to_pandas(ds)
