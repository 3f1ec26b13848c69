"""What a pipeline tells about its arrays, read from its mapspecs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c._graph.combinations import independent_axes
from pipefunc_c._spec.shapes import mapspec_axes, mapspec_dimensions

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import FunctionGraph, OutputName
    from pipefunc_c._spec.mapspec import MapSpec


class ArrayViews:
    """Answer questions about the arrays of a pipeline; the lowest base of `Pipeline`."""

    @property
    def function_graph(self) -> FunctionGraph:
        """The graph of the functions as they are now."""
        raise NotImplementedError

    def mapspecs(self, *, ordered: bool = True) -> list[MapSpec]:
        """Return the mapspecs of the functions that have one.

        Parameters
        ----------
        ordered
            Whether in topological order; else in that of the definition.

        Returns
        -------
        list
            The mapspecs.

        """
        graph = self.function_graph
        functions = graph.functions if ordered else graph.defined
        return [function.mapspec for function in functions if function.mapspec is not None]

    @property
    def mapspecs_as_strings(self) -> list[str]:
        """The mapspecs as text, in topological order."""
        return [str(mapspec) for mapspec in self.mapspecs()]

    @property
    def mapspec_names(self) -> set[str]:
        """Names of the arrays in mapspecs."""
        return set(self.mapspec_axes)

    @property
    def mapspec_dimensions(self) -> dict[str, int]:
        """Number of dimensions per array in a mapspec."""
        return mapspec_dimensions(self.mapspecs())

    @property
    def mapspec_axes(self) -> dict[str, tuple[str | None, ...]]:
        """Names of the axes per array in a mapspec; None where each mapspec takes the axis whole."""
        return mapspec_axes(self.mapspecs())

    def independent_axes_in_mapspecs(self, output_name: OutputName) -> set[str]:
        """Return the axes of an output along which each part of it can be computed alone.

        Parameters
        ----------
        output_name
            The output.

        Returns
        -------
        set
            Names of axes of its mapspec that no function on the way makes, or takes whole. Just these may be
            in the ``fixed_indices`` of `map`.

        Raises
        ------
        UnknownNameError
            If there is no such output.

        """
        return independent_axes(self.function_graph, output_name)
