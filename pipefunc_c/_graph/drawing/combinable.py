"""Which functions a simplified pipeline would make one of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c._graph.rewrite import simplify
from pipefunc_c.exceptions import GraphError

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import FunctionGraph, OutputName


def combinable(
    graph: FunctionGraph, output_name: OutputName | None, *, conservatively_combine: bool
) -> list[list[str]]:
    """Return the keys of the boxes of functions that would be combined.

    Parameters
    ----------
    graph
        The functions.
    output_name, conservatively_combine
        As for `pipefunc_c._graph.rewrite.simplify`.

    Returns
    -------
    list
        One list of keys per group; empty if nothing can be combined.

    Raises
    ------
    NotAvailableError
        If a function has a mapspec.
    GraphError
        If `output_name` is None and there are several leaves.
    UnknownNameError
        If the output does not exist.

    """
    if output_name is None and len(graph.leaf_functions) != 1:
        leaves = [function.output_name for function in graph.leaf_functions]
        message = f"there are {len(leaves)} leaf functions, not one; their outputs are {leaves}"
        raise GraphError(message, detail=leaves, hint="Say with `output_name` which one you want.")
    try:
        functions = simplify(graph, output_name, conservatively_combine=conservatively_combine)
    except GraphError:  # nothing to combine
        return []
    known = set(graph.defined)
    nested = [f for f in functions if f not in known and isinstance(f, NestedPipeFunc)]
    return [[", ".join(inner.output_names) for inner in function.pipefuncs] for function in nested]
