"""Choosing the part of a graph that leads from some inputs to some outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c.exceptions import GraphError, InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph, OutputName


def functions_between(
    graph: FunctionGraph,
    inputs: Collection[str] | None,
    output_names: Iterable[OutputName] | None,
) -> list[AnyFunc]:
    """Return the functions needed to get from inputs to outputs.

    Parameters
    ----------
    graph
        The functions.
    inputs
        Names of root arguments and of intermediate outputs that are known; None: all root arguments.
    output_names
        What is wanted; None: the outputs that no other function takes and that depend on `inputs`.

    Returns
    -------
    list
        The functions, in the order of their definition.

    Raises
    ------
    InputError
        If neither is given, if an input does not exist, or if the inputs are not enough.
    UnknownNameError
        If an output does not exist.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> graph = FunctionGraph([PipeFunc(lambda x: x, "y"), PipeFunc(lambda y, k: y, "z")])
    >>> [f.output_name for f in functions_between(graph, {"y", "k"}, None)]
    ['z']

    """
    if inputs is None and output_names is None:
        message = "neither `inputs` nor `output_names` is given, so there is no part to choose"
        raise InputError(message, hint="Give at least one of them; use pipeline.copy() for the whole.")
    given = set(inputs or ())
    _check_inputs(graph, given)
    if output_names is None:
        targets = _leaves_behind(graph, given)
    else:
        targets = [graph.find(name) for name in output_names]
    kept = _upstream(graph, targets, given)
    if inputs is not None:
        missing = [name for name in graph.roots_of(kept) if name not in given and name not in graph.defaults]
        if missing:
            wanted = sorted(name for function in targets for name in function.output_names)
            message = f"the inputs {sorted(given)} are not enough for {wanted}, which needs {missing} too"
            raise InputError(message, detail=missing, hint="Add them, or ask for fewer outputs.")
    return [function for function in graph.defined if function in kept]


def _check_inputs(graph: FunctionGraph, given: set[str]) -> None:
    known = graph.producers.keys() | set(graph.root_args)
    unknown = sorted(given - known)
    if unknown:
        message = f"the inputs {unknown} are neither root arguments nor outputs, which are {sorted(known)}"
        raise InputError(message, detail=unknown)


def _leaves_behind(graph: FunctionGraph, given: set[str]) -> list[AnyFunc]:
    takers = [function for function in graph.defined if given.intersection(function.binding.parameters)]
    reached = set(graph.reachable(takers, graph.dependents))
    leaves = [function for function in graph.leaf_functions if function in reached]
    if not leaves:
        message = f"no function takes any of the inputs {sorted(given)}"
        raise GraphError(message, detail=sorted(given), hint="Give other inputs, or `output_names`.")
    return leaves


def _upstream(graph: FunctionGraph, targets: Iterable[AnyFunc], given: set[str]) -> set[AnyFunc]:
    pending = list(targets)
    found = set(pending)
    while pending:
        binding = pending.pop().binding
        for name in binding.parameters:
            producer = graph.producers.get(name)
            if producer is None or name in given or name in binding.bound or producer in found:
                continue
            found.add(producer)
            pending.append(producer)
    return found
