"""What a pipeline tells about itself, read from its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.combinations import argument_combinations
from pipefunc_c._graph.describe import print_summary, summary
from pipefunc_c._graph.networkx_graph import to_networkx
from pipefunc_c._graph.profile_table import print_profile, profile
from pipefunc_c._pipeline.array_views import ArrayViews
from pipefunc_c.exceptions import GraphError, InvalidValueError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipefunc_c._function.profiling import ProfilingStats
    from pipefunc_c._graph.graph import AnyFunc, OutputName
    from pipefunc_c.exceptions import ErrorSnapshot


class Generations(NamedTuple):
    """The root arguments, and the functions in groups that depend on earlier groups only."""

    root_args: list[str]
    function_lists: list[list[AnyFunc]]


class PipelineViews(ArrayViews):
    """Answer questions about the graph of a pipeline; a base of `Pipeline`."""

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
        return self._find(output_name)

    def _find(self, output_name: OutputName) -> AnyFunc:
        return self.function_graph.find(output_name)

    def __contains__(self, output_name: object) -> bool:
        try:
            self._find(output_name)  # type: ignore[arg-type]  # anything may be asked for
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
    def node_mapping(self) -> dict[OutputName, AnyFunc | str]:
        """The node of `graph` per output name, per tuple of them, and per root argument."""
        return {**self.output_to_func, **{name: name for name in self.function_graph.root_args}}

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
    def root_nodes(self) -> list[Any]:
        """The nodes of `graph` that nothing leads to.

        These are the root arguments, the markers, and the functions that take nothing.
        """
        graph = self.graph
        return [node for node in graph.nodes if not graph.in_degree(node)]

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

    @property
    def all_root_args(self) -> dict[OutputName, tuple[str, ...]]:
        """The root arguments that each output needs, sorted; a tuple for a function with several outputs."""
        return {function.output_name: self.root_args(function.output_name) for function in self.functions}

    def arg_combinations(self, output_name: OutputName) -> set[tuple[str, ...]]:
        """Return all sets of names whose values are just enough to compute an output.

        Parameters
        ----------
        output_name
            The output.

        Returns
        -------
        set
            Sorted names of root arguments and intermediate outputs. There may be very many: each function on
            the way is either computed or given.

        Raises
        ------
        UnknownNameError
            If there is no such output.

        """
        return argument_combinations(self.function_graph, output_name)

    @property
    def all_arg_combinations(self) -> dict[OutputName, set[tuple[str, ...]]]:
        """What `arg_combinations` returns, per output; a tuple for a function with several."""
        return {f.output_name: self.arg_combinations(f.output_name) for f in self.functions}

    def func_dependencies(self, output_name: OutputName | AnyFunc) -> list[OutputName]:
        """Return the outputs that an output needs, directly or not.

        Parameters
        ----------
        output_name
            The output, or the function that computes it. A root argument needs nothing.

        Returns
        -------
        list
            Output names, sorted; a tuple for a function with several.

        Raises
        ------
        UnknownNameError
            If there is no such output or root argument.

        """
        graph = self.function_graph
        if output_name in graph.root_args:
            return []
        return _outputs_of(graph.reachable([graph.find(_output_of(output_name))], graph.dependencies)[:-1])

    def func_dependents(self, name: OutputName | AnyFunc) -> list[OutputName]:
        """Return the outputs that need an output or a root argument, directly or not.

        Parameters
        ----------
        name
            The output, the function that computes it, or the root argument.

        Returns
        -------
        list
            Output names, sorted; a tuple for a function with several.

        Raises
        ------
        UnknownNameError
            If there is no such output or root argument.

        """
        graph = self.function_graph
        if name in graph.root_args:
            takers = [f for f in graph.defined if name in f.parameters and name not in f.binding.bound]
            return _outputs_of(graph.reachable(takers, graph.dependents))
        return _outputs_of(graph.reachable([graph.find(_output_of(name))], graph.dependents)[1:])

    @property
    def defaults(self) -> dict[str, Any]:
        """Default per root argument that has one."""
        return dict(self.function_graph.defaults)

    @property
    def scopes(self) -> set[str]:
        """Scopes of parameters and outputs."""
        return set(self.function_graph.scopes)

    @property
    def parameter_annotations(self) -> dict[str, Any]:
        """Type per annotated parameter; that of the first function that has one, and does not bind it."""
        free: dict[str, Any] = {}
        bound: dict[str, Any] = {}
        for function in self.function_graph.functions:
            for name, annotation in function.parameter_annotations.items():
                (bound if name in function.binding.bound else free).setdefault(name, annotation)
        return {**bound, **free}

    @property
    def output_annotations(self) -> dict[str, Any]:
        """Type per output; `NoAnnotation` if it is not known."""
        functions = self.function_graph.functions
        return {name: hint for f in functions for name, hint in f.output_annotation.items()}

    @property
    def graph(self) -> Any:
        """The pipeline as a ``networkx.DiGraph``, made anew each time.

        Nodes are the functions, the names of root arguments, a marker per bound parameter, and one per
        function that receives its resources. The attribute ``arg`` of an edge is the parameter that it leads
        to, or a tuple of several.
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

    @property
    def profiling_stats(self) -> dict[str, ProfilingStats]:
        """What the calls of each function cost, by its name; of those that are profiled.

        Functions of the same name have their output names with them.
        """
        return profile(self.function_graph.defined)

    def print_profiling_stats(self) -> None:
        """Print what the calls of each function cost, as a table.

        Raises
        ------
        InvalidValueError
            If no function is profiled.

        """
        stats = self.profiling_stats
        if not stats:
            message = "no function of the pipeline is profiled"
            raise InvalidValueError(message, hint="Set pipeline.profile = True and run it.")
        print_profile(stats)


def _output_of(name: OutputName | AnyFunc) -> OutputName:
    return name.output_name if isinstance(name, PipeFunc) else name


def _outputs_of(functions: Iterable[AnyFunc]) -> list[OutputName]:
    return [f.output_name for f in sorted(functions, key=lambda function: function.output_names)]
