"""What may be given to compute an output, and along which axes it may be computed in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c._spec.shapes import mapspec_axes

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph, OutputName


def argument_combinations(graph: FunctionGraph, output_name: OutputName) -> set[tuple[str, ...]]:
    """Find all sets of names whose values are just enough to compute an output.

    Parameters
    ----------
    graph
        The functions.
    output_name
        The output.

    Returns
    -------
    set
        Sorted names of root arguments and of outputs of other functions.

    Raises
    ------
    UnknownNameError
        If there is no such output.

    Notes
    -----
    Each function upstream is computed or given. So there may be as many combinations as sets of functions:
    two chains of n functions that meet have n squared.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> graph = FunctionGraph([PipeFunc(lambda x: x, "y"), PipeFunc(lambda y, k: y, "z")])
    >>> sorted(argument_combinations(graph, "z"))
    [('k', 'x'), ('k', 'y')]

    """
    target = graph.find(output_name)
    # A combination is known by the functions that are given: these and the target say which are computed.
    # One step lets one more function be computed; what is computed by then stays so.
    roots = {
        function: set(graph.roots_of([function]))
        for function in graph.reachable([target], graph.dependencies)
    }
    start = (frozenset([target]), frozenset(graph.dependencies[target]))
    pending, found = [start], {start}
    combinations = set()
    while pending:
        computed, given = pending.pop()
        names = {name for function in given for name in function.output_names}
        combinations.add(tuple(sorted(names.union(*(roots[function] for function in computed)))))
        for function in given:
            more = computed | {function}
            state = (more, (given | set(graph.dependencies[function])) - more)
            if state not in found:
                found.add(state)
                pending.append(state)
    return combinations


def independent_axes(graph: FunctionGraph, output_name: OutputName) -> set[str]:
    """Find the axes of an output along which each part can be computed alone.

    Parameters
    ----------
    graph
        The functions.
    output_name
        The output.

    Returns
    -------
    set
        Names of axes of its mapspec that no function upstream makes or takes whole. These are the axes that
        ``fixed_indices`` may hold when the output is mapped.

    Raises
    ------
    UnknownNameError
        If there is no such output.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> graph = FunctionGraph(
    ...     [
    ...         PipeFunc(lambda x, y: x, "z", mapspec="x[i], y[j] -> z[i, j]"),
    ...         PipeFunc(lambda z: z, "row", mapspec="z[i, :] -> row[i]"),
    ...     ]
    ... )
    >>> sorted(independent_axes(graph, "z")), independent_axes(graph, "row")
    (['i', 'j'], {'i'})

    """
    target = graph.find(output_name)
    if target.mapspec is None:
        return set()
    needed = graph.reachable([target], graph.dependencies)
    axes = mapspec_axes(function.mapspec for function in needed if function.mapspec is not None)
    dependent = {axis for function in needed for axis in _made_or_taken_whole(function, axes)}
    return set(target.mapspec.output_indices) - dependent


def _made_or_taken_whole(function: AnyFunc, axes: dict[str, tuple[str | None, ...]]) -> set[str | None]:
    mapspec = function.mapspec
    taken: dict[str, tuple[str | None, ...]] = {}
    found: set[str | None] = set()
    if mapspec is not None:
        taken = {spec.name: spec.axes for spec in mapspec.inputs}
        found.update(mapspec.internal_indices)
    for name in function.binding.parameters:
        if name not in function.binding.bound:
            found |= set(axes.get(name, ())) - set(taken.get(name, ()))
    return found
