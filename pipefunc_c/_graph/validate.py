"""Checks that need all functions of a graph, each in linear time."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._describe import short_repr
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.mapspecs import generate_mapspecs, given_mapspec
from pipefunc_c._graph.type_checks import check_types
from pipefunc_c.exceptions import GraphError, MapSpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipefunc_c._graph.graph import AnyFunc


def build_graph(functions: Iterable[AnyFunc], *, annotations: bool = False) -> FunctionGraph:
    """Build the graph of functions, check it, and complete the mapspecs.

    Nothing is changed if a check fails; else functions that need one get a generated mapspec, and a line is
    printed for each that is new.

    Parameters
    ----------
    functions
        The functions, in the order in which they were defined.
    annotations
        Whether to check that the annotations of outputs fit those of the parameters that take them.

    Returns
    -------
    FunctionGraph
        The graph.

    Raises
    ------
    GraphError
        If output names are not unique, functions depend on each other in a cycle, a scope is also a name, or
        functions have different defaults for the same input.
    MapSpecError
        If a mapspec does not have the outputs in order, or mapspecs disagree.
    InvalidTypeError
        If annotations do not fit.

    Warns
    -----
    UserWarning
        If two defaults cannot be compared, or an annotation does not resolve.

    """
    graph = FunctionGraph(functions)
    check_scopes(graph)
    check_defaults(graph)
    check_output_order(graph)
    generated = generate_mapspecs(graph)
    if annotations:
        check_types(graph)
    for function in graph.functions:
        mapspec = generated.get(function)
        if given_mapspec(function) is None and function.mapspec != mapspec:
            function.mapspec = mapspec
            if mapspec is not None:
                print(f"{function.__name__} got the mapspec {str(mapspec)!r}, for its output is mapped over.")
    return graph


def check_scopes(graph: FunctionGraph) -> None:
    """Check that no scope is also the name of a parameter or output.

    Parameters
    ----------
    graph
        The functions.

    Raises
    ------
    GraphError
        If one is.

    """
    if not graph.scopes:
        return
    for function in graph.defined:
        for name in function.binding.names:
            if name in graph.scopes:
                message = f"{name!r} is a scope and also a parameter or output name of {function}"
                raise GraphError(message, detail=name, hint="Rename one of them.")


def check_defaults(graph: FunctionGraph) -> None:
    """Check that functions that share an input have the same default for it, if any.

    Parameters
    ----------
    graph
        The functions.

    Raises
    ------
    GraphError
        If they differ.

    Warns
    -----
    UserWarning
        If they cannot be compared.

    """
    for function in graph.defined:
        for name, value in function.binding.defaults.items():
            known = graph.defaults.get(name, value)
            if value is known:
                continue
            try:
                same = same_value(known, value)
            except Exception:  # values of any type, whose == may do anything
                message = (
                    f"cannot tell whether the functions have the same default for {name!r}: comparing "
                    f"{short_repr(known)} and {short_repr(value)} failed; the first is used"
                )
                warnings.warn(message, UserWarning, stacklevel=5)
                continue
            if not same:
                message = (
                    f"the input {name!r} has different defaults: {short_repr(known)}, and "
                    f"{short_repr(value)} in {function}"
                )
                hint = "Set one for all with pipeline.update_defaults, or rename a parameter."
                raise GraphError(message, detail=name, hint=hint)


def same_value(one: Any, other: Any) -> bool:
    """Tell whether two defaults are equal; arrays as a whole, and NaN with itself.

    Parameters
    ----------
    one, other
        The values.

    Returns
    -------
    bool
        Whether they are equal. May raise whatever their ``==`` raises.

    Examples
    --------
    >>> same_value(float("nan"), float("nan")), same_value(np.zeros(2), np.zeros(3))
    (True, False)

    """
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if type(one) is not type(other) or one.shape != other.shape or one.dtype != other.dtype:
            return False
        return bool(np.all((one == other) | (_is_nan(one) & _is_nan(other))))
    return bool(one == other) or bool(_is_nan(one) and _is_nan(other))


def _is_nan(value: Any) -> Any:
    return value != value  # noqa: PLR0124  the one property that NaNs of all types have


def check_output_order(graph: FunctionGraph) -> None:
    """Check that mapspecs have the outputs in the order of the output names.

    Parameters
    ----------
    graph
        The functions.

    Raises
    ------
    MapSpecError
        If one has another order.

    """
    for function in graph.defined:
        mapspec = function.mapspec
        if mapspec is not None and mapspec.output_names != function.output_names:
            message = (
                f"the mapspec {str(mapspec)!r} has the outputs {mapspec.output_names}, but those of "
                f"{function.__name__} are {function.output_names}, in this order"
            )
            raise MapSpecError(message, detail=function.output_name)
