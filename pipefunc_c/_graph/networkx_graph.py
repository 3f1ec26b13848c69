"""A graph of functions for networkx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c import _optional

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import FunctionGraph, OutputName


class BoundValue(NamedTuple):
    """Node that stands for a bound parameter.

    Parameters
    ----------
    name
        The parameter.
    output_name
        Output name of the function that has it.

    """

    name: str
    output_name: OutputName


class ResourcesValue(NamedTuple):
    """Node that stands for the resources that a function receives as an argument.

    Parameters
    ----------
    name
        The parameter.
    output_name
        Output name of the function that has it.

    """

    name: str
    output_name: OutputName


def to_networkx(graph: FunctionGraph) -> Any:
    """Return the graph for networkx.

    Parameters
    ----------
    graph
        The functions.

    Returns
    -------
    networkx.DiGraph
        Nodes are the functions, the names of root arguments, a `BoundValue` per bound parameter, and a
        `ResourcesValue` per function that receives its resources. The attribute ``arg`` of an edge is the
        parameter that it leads to, or a tuple of several.

    """
    result = _optional.require("networkx").DiGraph()
    for function in graph.defined:
        result.add_node(function)
        for name in function.parameters:
            if name in function.binding.bound:
                result.add_edge(BoundValue(name, function.output_name), function, arg=name)
                continue
            source = graph.producers.get(name, name)
            if result.has_edge(source, function):
                edge = result.edges[source, function]
                known = edge["arg"]
                edge["arg"] = (*(known if isinstance(known, tuple) else (known,)), name)
            else:
                result.add_edge(source, function, arg=name)
        variable = function.resources_variable
        if variable is not None:
            result.add_edge(ResourcesValue(variable, function.output_name), function, arg=variable)
    return result
