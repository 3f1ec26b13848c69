"""Descriptions of a graph: as a dict, as text, as a table, as a networkx graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c import _optional
from pipefunc_c._describe import short_repr

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import FunctionGraph, OutputName


class BoundValue(NamedTuple):
    """Node of the networkx graph that stands for a bound parameter."""

    name: str
    output_name: OutputName


def summary(graph: FunctionGraph) -> dict[str, tuple[str, ...]]:
    """Sort the names of a graph by what they are.

    Parameters
    ----------
    graph
        The functions.

    Returns
    -------
    dict
        Sorted names under ``required_inputs``, ``optional_inputs``, ``inputs``, ``intermediate_outputs``
        and ``outputs``.

    """
    optional = graph.defaults.keys()
    outputs = {name for function in graph.leaf_functions for name in function.output_names}
    return {
        "inputs": graph.root_args,
        "required_inputs": tuple(name for name in graph.root_args if name not in optional),
        "optional_inputs": tuple(name for name in graph.root_args if name in optional),
        "intermediate_outputs": tuple(sorted(graph.producers.keys() - outputs)),
        "outputs": tuple(sorted(outputs)),
    }


def print_summary(graph: FunctionGraph) -> None:
    """Print what `summary` returns as a table.

    Parameters
    ----------
    graph
        The functions.

    """
    table = _optional.require("rich.table").Table("category", "names")
    for category, names in summary(graph).items():
        table.add_row(category.replace("_", " "), ", ".join(names))
    _optional.require("rich.console").Console().print(table)


def as_text(graph: FunctionGraph) -> str:
    r"""List the functions with their mapspecs and what each needs from outside.

    Parameters
    ----------
    graph
        The functions.

    Returns
    -------
    str
        One line per function, in topological order.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> as_text(FunctionGraph([PipeFunc(lambda x, k=2: k * x, "y", mapspec="x[i] -> y[i]")]))
    '  y = <lambda>(x, k) | x[i] -> y[i]\n    needs: k=2, x'

    """
    lines = []
    for function in graph.functions:
        mapspec = f" | {function.mapspec}" if function.mapspec is not None else ""
        outputs = ", ".join(function.output_names)
        lines.append(f"  {outputs} = {function.__name__}({', '.join(function.parameters)}){mapspec}")
        roots = graph.roots_of(graph.needed(function.output_name))
        needs = [f"{n}={short_repr(graph.defaults[n])}" if n in graph.defaults else n for n in roots]
        lines.append(f"    needs: {', '.join(needs) or 'nothing'}")
    return "\n".join(lines)


def to_networkx(graph: FunctionGraph) -> Any:
    """Return the graph for networkx.

    Parameters
    ----------
    graph
        The functions.

    Returns
    -------
    networkx.DiGraph
        Nodes are the functions, the names of root arguments, and a `BoundValue` per bound parameter. The
        attribute ``arg`` of an edge is the parameter that it leads to, or a tuple of several.

    """
    result = _optional.require("networkx").DiGraph()
    for function in graph.defined:
        result.add_node(function)
        for name in function.parameters:
            if name in function.bound:
                result.add_edge(BoundValue(name, function.output_name), function, arg=name)
                continue
            source = graph.producers.get(name, name)
            if result.has_edge(source, function):
                edge = result.edges[source, function]
                known = edge["arg"]
                edge["arg"] = (*(known if isinstance(known, tuple) else (known,)), name)
            else:
                result.add_edge(source, function, arg=name)
    return result
