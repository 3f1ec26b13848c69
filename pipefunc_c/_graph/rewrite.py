"""Rewrites of a graph: each says what the new functions or mapspecs would be and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c import _optional
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c.exceptions import GraphError, NotAvailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph, OutputName


def nest(
    graph: FunctionGraph,
    output_names: Iterable[OutputName],
    new_output_name: OutputName | None = None,
    function_name: str | None = None,
) -> tuple[list[AnyFunc], NestedPipeFunc]:
    """Make one function of several.

    Parameters
    ----------
    graph
        The functions.
    output_names
        Outputs of the functions to nest; one of several outputs of a function is enough.
    new_output_name
        Which outputs the nested function has; None: all.
    function_name
        Its name; None: one is made of the outputs.

    Returns
    -------
    tuple
        The other functions, in the order of their definition, and the nested one.

    Raises
    ------
    UnknownNameError
        If an output does not exist.
    GraphError
        If a function that stays takes an output that the nested one would not have.
    InvalidTypeError, InvalidValueError, MapSpecError
        As for `NestedPipeFunc`.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> y, z, w = (PipeFunc(lambda x: x, "y"), PipeFunc(lambda y: y, "z"), PipeFunc(lambda z: z, "w"))
    >>> others, nested = nest(FunctionGraph([y, z, w]), ["y", "z"], "z")
    >>> others == [w], str(nested)
    (True, 'NestedPipeFunc_z(...) → z')

    """
    chosen = {graph.find(name) for name in output_names}
    functions = [function for function in graph.defined if function in chosen]
    nested = NestedPipeFunc(functions, new_output_name, function_name)
    others = [function for function in graph.defined if function not in chosen]
    inner = {name for function in functions for name in function.output_names} - {*nested.output_names}
    for function in others:
        for name in function.parameters:
            if name in inner and name not in function.bound:
                message = (
                    f"{function} takes {name!r}, which would be no output of the nested function any more"
                )
                hint = (
                    f"Give it the outputs {sorted({*nested.output_names, name})}, or nest that function too."
                )
                raise GraphError(message, detail=name, hint=hint)
    return others, nested


def split(graph: FunctionGraph) -> list[list[AnyFunc]]:
    """Divide functions into parts that have neither functions nor inputs in common.

    Parameters
    ----------
    graph
        The functions.

    Returns
    -------
    list
        The parts and their functions, both in the order of their definition.

    Raises
    ------
    GraphError
        If there is only one part.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> graph = FunctionGraph([PipeFunc(lambda x: x, "y"), PipeFunc(lambda u: u, "v")])
    >>> [[function.output_name for function in part] for part in split(graph)]
    [['y'], ['v']]

    """
    network = _optional.require("networkx").Graph()
    for function in graph.defined:
        network.add_node(function)
        for name in function.parameters:
            if name not in function.bound:
                network.add_edge(graph.producers.get(name, name), function)
    components = list(_optional.require("networkx").connected_components(network))
    if len(components) == 1:
        message = (
            "the functions are all connected, by outputs or by inputs that they share; there are no parts"
        )
        raise GraphError(message, hint="Use pipeline.subpipeline for the part that leads to some outputs.")
    number = {function: k for k, component in enumerate(components) for function in component}
    parts: dict[int, list[AnyFunc]] = {}
    for function in graph.defined:
        parts.setdefault(number[function], []).append(function)
    return list(parts.values())


def simplify(
    graph: FunctionGraph, output_name: OutputName | None = None, *, conservatively_combine: bool = False
) -> list[AnyFunc]:
    """Nest functions that hand results on to each other and depend on the same root arguments.

    Parameters
    ----------
    graph
        The functions.
    output_name
        The output that is wanted; only functions that it needs are nested. None: the only leaf.
    conservatively_combine
        Whether a function is joined with those before it only if all of them, not just some, depend on the
        same root arguments as itself.

    Returns
    -------
    list
        The functions that stay, in the order of their definition, and then the nested ones.

    Raises
    ------
    NotAvailableError
        If a function has a mapspec.
    GraphError
        If `output_name` is None and there are several leaves, or if nothing can be nested.
    UnknownNameError
        If the output does not exist.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> functions = [PipeFunc(lambda x: x, "y"), PipeFunc(lambda y: y, "z"), PipeFunc(lambda z, k: z, "w")]
    >>> [str(function) for function in simplify(FunctionGraph(functions))]
    ['<lambda>(...) → w', 'NestedPipeFunc_z(...) → z']

    """
    if output_name is None:
        leaves = [function.output_name for function in graph.leaf_functions]
        if len(leaves) != 1:
            message = f"there are {len(leaves)} leaf functions, not one; their outputs are {leaves}"
            raise GraphError(message, detail=leaves, hint="Say with `output_name` which one you want.")
        output_name = leaves[0]
    target = graph.find(output_name)
    for function in graph.defined:
        if function.mapspec is not None:
            message = (
                f"{function} has the mapspec {str(function.mapspec)!r}; such pipelines cannot be simplified"
            )
            raise NotAvailableError(message, detail=function.output_name, hint="Use pipeline.nest_funcs.")
    groups = _groups(graph, graph.needed(output_name), conservatively_combine)
    if not groups:
        message = (
            f"no functions that {output_name!r} needs depend on the same root arguments; nothing to nest"
        )
        raise GraphError(message, detail=output_name)
    nested: list[AnyFunc] = [NestedPipeFunc(group, _kept_outputs(graph, group, target)) for group in groups]
    inside = {function for group in groups for function in group}
    return [function for function in graph.defined if function not in inside] + nested


def _groups(graph: FunctionGraph, needed: tuple[AnyFunc, ...], conservatively: bool) -> list[list[AnyFunc]]:
    networkx = _optional.require("networkx")
    roots = _root_args(graph, needed)
    joined = networkx.Graph()
    joined.add_nodes_from(needed)
    for function in needed:
        before = graph.dependencies[function]
        same = [each for each in before if roots[each] == roots[function]]
        if not conservatively or len(same) == len(before):
            joined.add_edges_from((each, function) for each in same)
    # A way from a group through another function and back would be a cycle: what is on it belongs to it.
    number = {f: k for k, group in enumerate(networkx.connected_components(joined)) for f in group}
    quotient = networkx.DiGraph()
    quotient.add_nodes_from(number.values())
    quotient.add_edges_from((number[b], number[f]) for f in needed for b in graph.dependencies[f])
    merged = networkx.strongly_connected_components(quotient)
    whole = {k: min(numbers) for numbers in merged for k in numbers}
    groups: dict[int, list[AnyFunc]] = {}
    for function in needed:
        groups.setdefault(whole[number[function]], []).append(function)
    return [group for group in groups.values() if len(group) > 1]


def _root_args(graph: FunctionGraph, needed: tuple[AnyFunc, ...]) -> dict[AnyFunc, frozenset[str]]:
    roots: dict[AnyFunc, frozenset[str]] = {}
    for function in needed:  # in topological order
        own = {n for n in function.parameters if n not in function.bound and n not in graph.producers}
        roots[function] = frozenset(own).union(*[roots[each] for each in graph.dependencies[function]])
    return roots


def _kept_outputs(graph: FunctionGraph, group: Collection[AnyFunc], target: AnyFunc) -> OutputName:
    """Return the outputs of a group that others take, and all of the functions that nothing in it takes."""
    takers = {each for function in group for each in graph.dependents[function]} - {*group}
    taken = {name for each in takers for name in each.parameters if name not in each.bound}
    ends = {f for f in group if f is target or not any(each in group for each in graph.dependents[f])}
    names = tuple(n for f in group for n in f.output_names if n in taken or f in ends)
    return names[0] if len(names) == 1 else names
