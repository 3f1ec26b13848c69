"""What results know of the map that gave them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipefunc_c.map._results.type_cast import annotated_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._spec.mapspec import MapSpec


class MapOrigin:
    """Hold the mapspecs, inputs and annotations of a map.

    Parameters
    ----------
    functions
        The functions in topological order.
    inputs
        The values of all root arguments, defaults included.
    """

    def __init__(self, functions: Iterable[PipeFunc[..., Any]], inputs: Mapping[str, Any]) -> None:
        self._functions = tuple(functions)
        self.mapspecs: tuple[MapSpec, ...] = tuple(
            func.mapspec for func in self._functions if func.mapspec is not None
        )
        self.inputs = dict(inputs)

    @cached_property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """The number types that outputs are annotated with; type hints are read when first asked for."""
        found = {
            name: annotated_dtype(annotation)
            for func in self._functions
            for name, annotation in func.output_annotation.items()
        }
        return {name: dtype for name, dtype in found.items() if dtype is not None}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the functions out of a pickle: only their annotations are needed."""
        return {
            "_functions": (),
            "mapspecs": self.mapspecs,
            "inputs": self.inputs,
            "dtypes": self.dtypes,
        }
