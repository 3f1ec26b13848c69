"""Outputs of a run folder with named axes: as a dataset or a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c.map._results.dataframe import check_backend, to_frame
from pipefunc_c.map._results.dataset import LabelledValues, build_dataset
from pipefunc_c.map._results.labels import Labels
from pipefunc_c.map._run_folder.load import OutputReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pandas as pd
    import xarray as xr

    from pipefunc_c._spec.mapspec import MapSpec


def load_xarray_dataset(
    *output_names: str, run_folder: str | Path, load_intermediate: bool = True
) -> xr.Dataset:
    """Load outputs of a run with named axes and coordinates.

    Parameters
    ----------
    *output_names
        Names of outputs; without any, all.
    run_folder
        The folder of the run, which may still go on.
    load_intermediate
        Whether outputs are coordinates too, where they make an axis that no input has.

    Returns
    -------
    xarray.Dataset
        A variable per output: typed where all elements have one type, NaN where they are missing. Typed
        arrays are views of the results, not to be written to.

    Raises
    ------
    RunFolderNotFoundError
        If there is no run; it is a FileNotFoundError as well.
    DamagedFileError
        If run_info.json, or an input that is a coordinate, is damaged. Damaged results are missing.
    UnknownNameError
        If there is no such output.
    ShapeError
        If an axis has different sizes in outputs that have nothing to do with each other.
    MissingDependencyError
        If xarray is not installed.

    Notes
    -----
    Only what is asked for is read. Like any pickle, results must be trusted.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from pipefunc_c import Pipeline, pipefunc
    >>> @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
    ... def product(x, y):
    ...     return x * y
    >>> with TemporaryDirectory() as folder:
    ...     _ = Pipeline([product]).map({"x": [1, 2], "y": [3, 4]}, run_folder=folder)
    ...     dataset = load_xarray_dataset("z", run_folder=folder)
    >>> dataset["z"].dims, dataset["z"].values.tolist(), dataset.coords["y"].values.tolist()
    (('i', 'j'), [[3, 4], [6, 8]], [3, 4])
    """
    return dataset_of_run(run_folder, output_names or None, load_intermediate=load_intermediate)


def load_dataframe(
    *output_names: str,
    run_folder: str | Path,
    load_intermediate: bool = True,
    backend: Literal["pandas", "polars"] = "pandas",
) -> pd.DataFrame | Any:
    """Load outputs of a run as a data frame with one row per point of the grid.

    Parameters
    ----------
    *output_names
        Names of outputs; without any, all.
    run_folder
        The folder of the run, which may still go on.
    load_intermediate
        Whether outputs are read as coordinates too, where they make an axis that no input has.
    backend
        "pandas" or "polars".

    Returns
    -------
    pandas.DataFrame or polars.DataFrame
        A column per input that labels an axis, and per output.

    Raises
    ------
    InvalidValueError
        If there is no such backend.
    MissingDependencyError
        If xarray or the backend is not installed.
    RunFolderNotFoundError, DamagedFileError, UnknownNameError, ShapeError
        As `load_xarray_dataset` does.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from pipefunc_c import Pipeline, pipefunc
    >>> @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
    ... def product(x, y):
    ...     return x * y
    >>> with TemporaryDirectory() as folder:
    ...     _ = Pipeline([product]).map({"x": [1, 2], "y": [3, 4]}, run_folder=folder)
    ...     load_dataframe("z", run_folder=folder)
       x  y  z
    0  1  3  3
    1  1  4  4
    2  2  3  6
    3  2  4  8
    """
    check_backend(backend)
    dataset = dataset_of_run(run_folder, output_names or None, load_intermediate=load_intermediate)
    return to_frame(dataset, backend)


def dataset_of_run(
    run_folder: str | Path,
    output_names: Iterable[str] | None,
    *,
    mapspecs: Iterable[MapSpec] | None = None,
    inputs: Mapping[str, Any] | None = None,
    load_intermediate: bool = True,
) -> xr.Dataset:
    """Make a dataset of a run folder.

    Parameters
    ----------
    run_folder
        The folder.
    output_names
        The outputs; None for all.
    mapspecs, inputs
        What to use in the place of what the run had.
    load_intermediate
        As for `load_xarray_dataset`.

    Returns
    -------
    xarray.Dataset
    """
    reader = OutputReader(run_folder)
    info = reader.info
    names = sorted(info.all_output_names) if output_names is None else list(output_names)
    reader.check_names(names)

    def read_input(name: str) -> Any:
        return info.inputs[name] if name in info.inputs else info.defaults[name]

    known = {*info.inputs, *info.defaults} if inputs is None else set(inputs)
    return build_dataset(
        names,
        Labels(info.mapspecs if mapspecs is None else mapspecs),
        LabelledValues(
            reader.read,
            read_input if inputs is None else inputs.__getitem__,
            known | info.all_output_names,
        ),
        load_intermediate=load_intermediate,
    )
