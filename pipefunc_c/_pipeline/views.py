"""What a pipeline tells about itself, read from its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c._graph.describe import as_text, print_summary, summary, to_networkx
from pipefunc_c._spec.shapes import mapspec_axes, mapspec_dimensions
from pipefunc_c.exceptions import GraphError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph, OutputName
    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c.exceptions import ErrorSnapshot


class Generations(NamedTuple):
    """The root arguments, and the functions in groups that depend on earlier groups only."""

    root_args: list[str]
    function_lists: list[list[AnyFunc]]


class PipelineViews:
    """Answer questions about the graph of a pipeline; the first base of `Pipeline`."""

    @property
    def function_graph(self) -> FunctionGraph:
        """The graph of the functions as they are now."""
        raise NotImplementedError

    def __getitem__(self, output_name: OutputName) -> AnyFunc:
        """Return the function that computes an output.

        Parameters
        ----------
        output_name
            A name, or the tuple of all names of one function.

        Returns
        -------
        PipeFunc
            The function that the pipeline holds.

        Raises
        ------
        UnknownNameError
            If there is none.

        """
        return self.function_graph.find(output_name)

    def __contains__(self, output_name: object) -> bool:
        try:
            self.function_graph.find(output_name)  # type: ignore[arg-type]  # anything may be asked for
        except UnknownNameError:
            return False
        return True

    @property
    def functions(self) -> list[AnyFunc]:
        """The functions, in the order of their definition."""
        return list(self.function_graph.defined)

    @property
    def sorted_functions(self) -> list[AnyFunc]:
        """The functions in topological order."""
        return list(self.function_graph.functions)

    @property
    def output_to_func(self) -> dict[OutputName, AnyFunc]:
        """The function per output name, and per tuple of names."""
        graph = self.function_graph
        functions: dict[OutputName, AnyFunc] = {f.output_name: f for f in graph.defined}
        functions.update(graph.producers)
        return functions

    @property
    def all_output_names(self) -> set[str]:
        """Names of all outputs."""
        return set(self.function_graph.producers)

    @property
    def topological_generations(self) -> Generations:
        """The root arguments, and the functions in groups that depend on earlier groups only."""
        graph = self.function_graph
        return Generations(list(graph.root_args), [list(functions) for functions in graph.generations])

    @property
    def leaf_nodes(self) -> list[AnyFunc]:
        """The functions whose outputs no other function takes."""
        return list(self.function_graph.leaf_functions)

    @property
    def unique_leaf_node(self) -> AnyFunc:
        """The only function whose outputs no other function takes; GraphError if there is not just one."""
        leaves = self.leaf_nodes
        if len(leaves) != 1:
            names = [leaf.output_name for leaf in leaves]
            message = f"the pipeline has {len(leaves)} leaf functions, not one; their outputs are {names}"
            raise GraphError(message, detail=names, hint="Name the output that you want.")
        return leaves[0]

    def root_args(self, output_name: OutputName | Iterable[OutputName] | None = None) -> tuple[str, ...]:
        """Return the names of the parameters that no function computes.

        Parameters
        ----------
        output_name
            Only those that this output needs; None: all.

        Returns
        -------
        tuple
            The names, sorted.

        Raises
        ------
        UnknownNameError
            If there is no such output.

        """
        graph = self.function_graph
        return graph.root_args if output_name is None else graph.roots_of(graph.needed(output_name))

    def func_dependencies(self, output_name: OutputName) -> list[OutputName]:
        """Return the outputs that an output needs, directly or not.

        Parameters
        ----------
        output_name
            The output.

        Returns
        -------
        list
            Output names, sorted; a tuple for a function with several.

        Raises
        ------
        UnknownNameError
            If there is no such output.

        """
        graph = self.function_graph
        return _outputs_of(graph.reachable([graph.find(output_name)], graph.dependencies)[:-1])

    def func_dependents(self, output_name: OutputName) -> list[OutputName]:
        """Return the outputs that need an output, directly or not.

        Parameters
        ----------
        output_name
            The output.

        Returns
        -------
        list
            Output names, sorted; a tuple for a function with several.

        Raises
        ------
        UnknownNameError
            If there is no such output.

        """
        graph = self.function_graph
        return _outputs_of(graph.reachable([graph.find(output_name)], graph.dependents)[1:])

    @property
    def defaults(self) -> dict[str, Any]:
        """Default per root argument that has one."""
        return dict(self.function_graph.defaults)

    @property
    def scopes(self) -> set[str]:
        """Scopes of parameters and outputs."""
        return set(self.function_graph.scopes)

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

    @property
    def graph(self) -> Any:
        """The pipeline as a ``networkx.DiGraph``, made anew each time.

        Nodes are the functions, the names of root arguments, and a marker per bound parameter. The attribute
        ``arg`` of an edge is the parameter that it leads to, or a tuple of several.
        """
        return to_networkx(self.function_graph)

    def info(self, *, print_table: bool = False) -> dict[str, tuple[str, ...]] | None:
        """Sort the names by what they are.

        Parameters
        ----------
        print_table
            Whether to print a table in the place of returning a dict.

        Returns
        -------
        dict or None
            Sorted names under ``required_inputs``, ``optional_inputs``, ``inputs``,
            ``intermediate_outputs`` and ``outputs``.

        """
        if not print_table:
            return summary(self.function_graph)
        print_summary(self.function_graph)
        return None

    @property
    def error_snapshot(self) -> ErrorSnapshot | None:
        """The error snapshot of the first function that has one."""
        snapshots = (function.error_snapshot for function in self.function_graph.defined)
        return next((snapshot for snapshot in snapshots if snapshot is not None), None)

    def __str__(self) -> str:
        return f"Pipeline:\n{as_text(self.function_graph)}"


def _outputs_of(functions: Iterable[AnyFunc]) -> list[OutputName]:
    return [f.output_name for f in sorted(functions, key=lambda function: function.output_names)]
