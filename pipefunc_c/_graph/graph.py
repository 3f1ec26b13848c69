"""`FunctionGraph`: functions connected by the names of their parameters and outputs, as data."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from pipefunc_c._containers import as_iterable
from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c.exceptions import GraphError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipefunc_c._graph.steps import RunPlan
    from pipefunc_c._spec.mapspec import MapSpec

AnyFunc: TypeAlias = PipeFunc[..., Any]
OutputName: TypeAlias = str | tuple[str, ...]


class UnknownOutputError(UnknownNameError, ValueError):
    """Report a name that is no output: to look it up and to ask for it are mistakes of two kinds."""


class FunctionGraph:
    """Hold how functions depend on each other.

    The functions must not change while the graph is used: after a change a new graph is built, in a time
    linear in the number of functions.

    Parameters
    ----------
    functions
        The functions, in the order in which they were defined.

    Attributes
    ----------
    defined
        The functions in the order in which they were given.
    functions
        The same in topological order, within a generation by output name.
    producers
        The function per output name.
    dependencies
        Per function, those whose outputs it takes.
    dependents
        Per function, those that take its outputs.
    generations
        The functions in groups: each depends on functions of earlier groups only.
    root_args
        Names of the parameters that no function computes, sorted.
    defaults
        Default per root argument that has one.

    Raises
    ------
    GraphError
        If two functions have an output name in common, or functions depend on each other in a cycle.

    Examples
    --------
    >>> y = PipeFunc(lambda x: x + 1, "y")
    >>> z = PipeFunc(lambda y, k=2: k * y, "z")
    >>> graph = FunctionGraph([z, y])
    >>> [f.output_name for f in graph.functions], graph.root_args, graph.defaults
    (['y', 'z'], ('k', 'x'), {'k': 2})

    """

    def __init__(self, functions: Iterable[AnyFunc]) -> None:
        self.defined: tuple[AnyFunc, ...] = tuple(functions)
        self.producers: dict[str, AnyFunc] = {}
        for function in self.defined:
            for name in function.binding.output_names:
                if name in self.producers:
                    first = self.producers[name]
                    message = f"the output name {name!r} is produced twice: by {first} and by {function}"
                    hint = "Rename one of them, or replace a function with pipeline.replace."
                    raise GraphError(message, detail=name, hint=hint)
                self.producers[name] = function
        self.dependencies: dict[AnyFunc, tuple[AnyFunc, ...]] = {}
        self.dependents: dict[AnyFunc, list[AnyFunc]] = {function: [] for function in self.defined}
        self.defaults: dict[str, Any] = {}
        self._connect()
        self.generations = self._sort()
        self.functions: tuple[AnyFunc, ...] = tuple(f for generation in self.generations for f in generation)
        self.plans: dict[object, RunPlan] = {}

    def _connect(self) -> None:
        roots: set[str] = set()
        for function in self.defined:
            binding = function.binding
            upstream = []
            for name in binding.parameters:
                if name in binding.bound:
                    continue
                if name in self.producers:
                    upstream.append(self.producers[name])
                    continue
                roots.add(name)
                if name in binding.defaults:
                    self.defaults.setdefault(name, binding.defaults[name])
            self.dependencies[function] = tuple(dict.fromkeys(upstream))
            for producer in self.dependencies[function]:
                self.dependents[producer].append(function)
        self.root_args = tuple(sorted(roots))

    def _sort(self) -> tuple[tuple[AnyFunc, ...], ...]:
        waiting = {function: len(upstream) for function, upstream in self.dependencies.items()}
        ready = [function for function, count in waiting.items() if not count]
        generations = []
        while ready:
            ready.sort(key=_output_names)
            generations.append(tuple(ready))
            following = []
            for function in ready:
                del waiting[function]
                for consumer in self.dependents[function]:
                    waiting[consumer] -= 1
                    if not waiting[consumer]:
                        following.append(consumer)
            ready = following
        if waiting:
            cycle = self._find_cycle(next(iter(waiting)), waiting)
            message = f"the functions depend on each other in a cycle: {' -> '.join(cycle)}"
            hint = (
                "Each output must be computed from others that do not need it; rename a parameter or output."
            )
            raise GraphError(message, detail=cycle, hint=hint)
        return tuple(generations)

    def _find_cycle(self, start: AnyFunc, unsorted: dict[AnyFunc, int]) -> tuple[str, ...]:
        # Whatever could not be sorted has an upstream function that could not be either.
        position: dict[AnyFunc, int] = {}
        taken: list[str] = []  # what each function on the way takes from the next
        function = start
        while function not in position:
            position[function] = len(taken)
            free = (name for name in function.parameters if name not in function.binding.bound)
            taken.append(next(name for name in free if self.producers.get(name) in unsorted))
            function = self.producers[taken[-1]]
        names = taken[position[function] :]
        return (*reversed(names), names[-1])

    def find(self, output_name: OutputName) -> AnyFunc:
        """Return the function that computes an output.

        Parameters
        ----------
        output_name
            A name, or the tuple of all names of one function.

        Returns
        -------
        PipeFunc
            The function.

        Raises
        ------
        UnknownNameError
            If there is none.

        """
        return find_function(self.producers, output_name)

    @cached_property
    def position(self) -> dict[AnyFunc, int]:
        """Position of each function in `functions`."""
        return {function: k for k, function in enumerate(self.functions)}

    @cached_property
    def leaf_functions(self) -> tuple[AnyFunc, ...]:
        """Functions whose outputs no other function takes, in the order of their definition."""
        return tuple(function for function in self.defined if not self.dependents[function])

    @cached_property
    def scopes(self) -> frozenset[str]:
        """Scopes of parameters and outputs."""
        names = (name for function in self.defined for name in function.binding.names)
        return frozenset(name.partition(".")[0] for name in names if "." in name)

    @property
    def mapspecs(self) -> tuple[MapSpec, ...]:
        """Mapspecs of the functions that have one, in topological order."""
        return tuple(function.mapspec for function in self.functions if function.mapspec is not None)

    def needed(self, output_name: OutputName | Iterable[OutputName]) -> tuple[AnyFunc, ...]:
        """Return the functions needed to compute outputs, themselves included.

        Parameters
        ----------
        output_name
            A name, a tuple of all names of one function, or a list of those.

        Returns
        -------
        tuple
            The functions in topological order.

        Raises
        ------
        UnknownNameError
            If an output does not exist.

        """
        one = isinstance(output_name, str | tuple)
        targets = [output_name] if one else as_iterable(output_name, "output_name", "a name or a list")
        return self.reachable(map(self.find, targets), self.dependencies)

    def reachable(
        self, start: Iterable[AnyFunc], edges: dict[AnyFunc, Sequence[AnyFunc]] | dict[AnyFunc, Any]
    ) -> tuple[AnyFunc, ...]:
        """Return functions and all that are reached from them, in topological order.

        Parameters
        ----------
        start
            Where to begin.
        edges
            `dependencies` or `dependents`.

        Returns
        -------
        tuple
            The functions.

        """
        pending = list(start)
        found = set(pending)
        while pending:
            for function in edges[pending.pop()]:
                if function not in found:
                    found.add(function)
                    pending.append(function)
        return tuple(sorted(found, key=self.position.__getitem__))

    def roots_of(self, functions: Iterable[AnyFunc]) -> tuple[str, ...]:
        """Return the root arguments that some functions take, sorted."""
        names = {name for f in functions for name in f.binding.parameters if name not in f.binding.bound}
        return tuple(sorted(names - self.producers.keys()))

    def subgraph(self, output_names: OutputName | Iterable[OutputName]) -> FunctionGraph:
        """Return the graph of the functions needed to compute outputs.

        Parameters
        ----------
        output_names
            As for `needed`.

        Returns
        -------
        FunctionGraph
            A graph of the same functions.

        """
        needed = set(self.needed(output_names))
        return FunctionGraph(function for function in self.defined if function in needed)


def find_function(producers: Mapping[str, AnyFunc], output_name: OutputName) -> AnyFunc:
    """Return the function that computes an output; as `FunctionGraph.find`.

    Parameters
    ----------
    producers
        The function per output name.
    output_name
        A name, or the tuple of all names of one function.

    Returns
    -------
    PipeFunc
        The function.

    Raises
    ------
    UnknownOutputError
        If there is none; it is an UnknownNameError, and a ValueError as well.

    """
    first = output_name[0] if isinstance(output_name, tuple) and output_name else output_name
    function = producers.get(first) if isinstance(first, str) else None
    if function is None or (isinstance(output_name, tuple) and output_name != function.output_name):
        message = f"there is no output {output_name!r}; the outputs are {sorted(producers)}"
        raise UnknownOutputError(message, detail=output_name)
    return function


def _output_names(function: AnyFunc) -> tuple[str, ...]:
    return function.binding.output_names
