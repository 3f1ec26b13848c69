"""What a map gives back: one Result per output."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c._storage.narrowing import typed_array
from pipefunc_c.exceptions import InvalidValueError
from pipefunc_c.map._results.dataframe import check_backend, to_frame
from pipefunc_c.map._results.dataset import LabelledValues, build_dataset
from pipefunc_c.map._results.labels import Labels
from pipefunc_c.map._results.type_cast import cast_outputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt
    import pandas as pd
    import xarray as xr

    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c._storage.base import StorageBase
    from pipefunc_c.map._results.origin import MapOrigin

MAX_REPR = 10_000


class Result:
    """Hold one output of a map.

    Attributes
    ----------
    function : str
        Name of the function that computed it.
    kwargs : dict
        The whole inputs of the function; for earlier outputs their stores.
    output_name : str
        Name of the output.
    store : StorageBase
        Where the values are.
    """

    def __init__(
        self, function: str, kwargs: dict[str, Any], output_name: str, store: StorageBase, *, is_mapped: bool
    ) -> None:
        self.function = function
        self.kwargs = kwargs
        self.output_name = output_name
        self.store = store
        self._is_mapped = is_mapped
        self._output: Any = None
        self._is_built = False
        self._is_replaced = False

    @property
    def output(self) -> Any:
        """Exactly what the function returned.

        For a mapped output an ndarray of object of the full shape, None where nothing was computed; else the
        value. Built when first asked for.
        """
        if not self._is_built:
            self._output = self._build()
            self._is_built = True
        return self._output

    @output.setter
    def output(self, value: Any) -> None:
        self._output, self._is_built, self._is_replaced = value, True, True

    def _build(self) -> Any:
        if not self._is_mapped:
            return self.store.get_from_index(0)
        if isinstance(self.store, ColumnArray):
            return self.store.objects()
        array = self.store.to_array()
        values = np.ma.getdata(array)
        values[np.ma.getmaskarray(array)] = None
        return values

    @property
    def array(self) -> npt.NDArray[Any] | np.ma.MaskedArray[Any, Any]:
        """The values as one typed ndarray, where all have one dtype.

        Of the shape of the mapspec; masked where elements are missing. Read-only and without a copy, except
        from storages that keep pickles. Where types differ, and for a single call that did not return an
        array, the object array.
        """
        if not self._is_mapped:
            return np.asarray(self.output)
        return typed_array(self.store)

    def _labelled(self, *, as_returned: bool = False) -> Any:
        """Give what goes into a dataset: the output if it was replaced, else the array or the single value.

        Parameters
        ----------
        as_returned
            Whether elements are the objects that the function returned, rather than one typed array.

        Returns
        -------
        object
            For a mapped output an array, masked where elements are missing.
        """
        if self._is_replaced or not self._is_mapped:
            return self.output
        if not as_returned:
            return self.array
        array = self.store.to_array(splat_internal=False if "?" in self.store.internal_shape else None)
        return array if np.ma.is_masked(array) else np.ma.getdata(array)

    def __repr__(self) -> str:
        """Name the output and show it."""
        return f"Result(function={self.function!r}, output_name={self.output_name!r}, output={self.output!r})"


class ResultDict(dict[str, Result]):
    """Hold the results of a map by output name.

    Examples
    --------
    >>> from pipefunc_c import Pipeline, pipefunc
    >>> @pipefunc("y", mapspec="x[i] -> y[i]")
    ... def double(x):
    ...     return 2 * x
    >>> results = Pipeline([double]).map({"x": [1, 2]})
    >>> results["y"].output
    array([2, 4], dtype=object)
    >>> results["y"].array
    array([2, 4])
    """

    origin: MapOrigin | None = None
    """The map that gave the results; None for a dict that no map made."""

    def copy(self) -> ResultDict:
        """Give a dict of the same results."""
        copied = ResultDict(self)
        copied.origin = self.origin
        return copied

    def type_cast(self, *, inplace: bool = True) -> ResultDict:
        """Cast mapped outputs whose function is annotated as an int, float or bool to arrays of that type.

        Parameters
        ----------
        inplace
            Whether the results themselves change, or copies of them.

        Returns
        -------
        ResultDict
            These results or the copies; ``output`` is a typed array where it was cast.

        Raises
        ------
        InvalidValueError
            If the results do not come from a map.

        Warns
        -----
        UserWarning
            If an output cannot be cast: it stays as it is. Floats may be rounded to those of the annotation;
            all other values must stay the same.

        Examples
        --------
        >>> from pipefunc_c import Pipeline, pipefunc
        >>> @pipefunc("y", mapspec="x[i] -> y[i]")
        ... def half(x: int) -> float:
        ...     return x // 2 if x % 2 == 0 else x / 2
        >>> results = Pipeline([half]).map({"x": [1, 2]})
        >>> results["y"].output
        array([0.5, 1], dtype=object)
        >>> results.type_cast()["y"].output
        array([0.5, 1. ])
        """
        dtypes = self._needed_origin("type_cast").dtypes
        results = self if inplace else self._of_copies()
        for name, array in cast_outputs(self._arrays(dtypes), dtypes, stacklevel=2).items():
            if np.ma.is_masked(array):
                continue  # there is no number for what is missing
            data = np.ma.getdata(array)
            results[name].output = data if data.flags.writeable else data.copy()
        return results

    def to_xarray(self, *, load_intermediate: bool = True, type_cast: bool = True) -> xr.Dataset:
        """Give the outputs with named axes and coordinates.

        Parameters
        ----------
        load_intermediate
            Whether outputs are coordinates too, where they make an axis that no input has.
        type_cast
            Whether arrays are typed: where all elements have one type, and as functions are annotated. Else
            they hold the objects that the functions returned.

        Returns
        -------
        xarray.Dataset
            A variable per output; NaN where elements are missing. Typed arrays are views, not to be written
            to.

        Raises
        ------
        InvalidValueError
            If the results do not come from a map.
        ShapeError
            If an axis has different sizes in outputs that have nothing to do with each other.
        MissingDependencyError
            If xarray is not installed.

        Warns
        -----
        UserWarning
            As `type_cast` does.

        Examples
        --------
        >>> from pipefunc_c import Pipeline, pipefunc
        >>> @pipefunc("y", mapspec="x[i] -> y[i]")
        ... def double(x):
        ...     return 2 * x
        >>> dataset = Pipeline([double]).map({"x": [1, 2]}).to_xarray()
        >>> dataset["y"].dims, dataset["y"].values, dataset.coords["x"].values
        (('i',), array([2, 4]), array([1, 2]))
        """
        return self._dataset("to_xarray", load_intermediate=load_intermediate, type_cast=type_cast)

    def to_dataframe(
        self,
        *,
        load_intermediate: bool = True,
        type_cast: bool = True,
        backend: Literal["pandas", "polars"] = "pandas",
    ) -> pd.DataFrame | Any:
        """Give the outputs as a data frame with one row per point of the grid.

        Parameters
        ----------
        load_intermediate, type_cast
            As for `to_xarray`.
        backend
            "pandas" or "polars".

        Returns
        -------
        pandas.DataFrame or polars.DataFrame
            A column per input that labels an axis, and per output.

        Raises
        ------
        InvalidValueError
            If there is no such backend, or the results do not come from a map.
        ShapeError
            As for `to_xarray`.
        MissingDependencyError
            If xarray or the backend is not installed.

        Warns
        -----
        UserWarning
            As `type_cast` does.

        Examples
        --------
        >>> from pipefunc_c import Pipeline, pipefunc
        >>> @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
        ... def product(x, y):
        ...     return x * y
        >>> Pipeline([product]).map({"x": [1, 2], "y": [3, 4]}).to_dataframe()
           x  y  z
        0  1  3  3
        1  1  4  4
        2  2  3  6
        3  2  4  8
        """
        check_backend(backend)
        dataset = self._dataset("to_dataframe", load_intermediate=load_intermediate, type_cast=type_cast)
        return to_frame(dataset, backend)

    def _dataset(self, method: str, *, load_intermediate: bool, type_cast: bool) -> xr.Dataset:
        origin = self._needed_origin(method)
        dtypes = origin.dtypes if type_cast else {}
        casts = cast_outputs(self._arrays(dtypes), dtypes, stacklevel=3)
        return dataset_of_results(
            self,
            origin.mapspecs,
            origin.inputs,
            casts=casts,
            as_returned=not type_cast,
            load_intermediate=load_intermediate,
        )

    def _arrays(self, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        return {name: self[name]._labelled() for name in names if name in self and self[name]._is_mapped}

    def _of_copies(self) -> ResultDict:
        copies = self.copy()
        for name, result in self.items():
            copies[name] = copy.copy(result)
        return copies

    def _needed_origin(self, method: str) -> MapOrigin:
        if self.origin is None:
            raise InvalidValueError(
                f"{method} was called for results that do not come from a map",
                hint="call it for what Pipeline.map returns, with return_results=True",
            )
        return self.origin

    def __repr__(self) -> str:
        """Show the results; the text is cut where it is long."""
        text = f"ResultDict({super().__repr__()})"
        if len(text) <= MAX_REPR:
            return text
        warnings.warn(
            f"the text of the results has {len(text)} characters and is cut at {MAX_REPR}",
            UserWarning,
            stacklevel=2,
        )
        return text[:MAX_REPR] + "..."


def dataset_of_results(
    results: Mapping[str, Result],
    mapspecs: Iterable[MapSpec],
    inputs: Mapping[str, Any],
    *,
    casts: Mapping[str, npt.NDArray[Any]] | None = None,
    as_returned: bool = False,
    load_intermediate: bool = True,
) -> xr.Dataset:
    """Make a dataset of results.

    Parameters
    ----------
    results
        The results by output name.
    mapspecs
        The mapspecs of the pipeline, in topological order.
    inputs
        The inputs of the map.
    casts
        Arrays that take the place of outputs.
    as_returned
        Whether arrays hold the objects that functions returned.
    load_intermediate
        Whether outputs are coordinates too, where they make an axis that no input has.

    Returns
    -------
    xarray.Dataset
    """
    labels = Labels(mapspecs)
    cast = casts or {}

    def output(name: str) -> Any:
        return cast[name] if name in cast else results[name]._labelled(as_returned=as_returned)

    return build_dataset(
        sorted(results),
        labels,
        LabelledValues(output, inputs.__getitem__, results.keys() | inputs.keys()),
        narrow=not as_returned,
        load_intermediate=load_intermediate,
    )
