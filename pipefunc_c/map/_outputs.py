"""What a map gives back: one Result per output."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._storage.column_array import ColumnArray

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipefunc_c._storage.base import StorageBase

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
        self._output, self._is_built = value, True

    def _build(self) -> Any:
        if not self._is_mapped:
            return self.store.get_from_index(0)
        if isinstance(self.store, ColumnArray):
            return self.store.objects()
        array = self.store.to_array()
        return array.filled(None) if np.ma.is_masked(array) else np.ma.getdata(array)

    @property
    def array(self) -> npt.NDArray[Any] | np.ma.MaskedArray[Any, Any]:
        """The values as one typed, read-only ndarray without a copy, where all have one dtype.

        Of the shape of the mapspec; masked where elements are missing. Where types differ, and for a single
        call that did not return an array, the object array.
        """
        if not self._is_mapped:
            return np.asarray(self.output)
        typed = self.store.typed() if isinstance(self.store, ColumnArray) else None
        if typed is not None:
            return typed
        array = self.store.to_array()
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

    def copy(self) -> ResultDict:
        """Give a dict of the same results."""
        return ResultDict(self)

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
