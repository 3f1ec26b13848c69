"""More axes for an input and for all that depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._spec.arrayspec import ArraySpec
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c._spec.shapes import mapspec_axes
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph

Specs = dict["AnyFunc", "MapSpec | None"]


def add_axis(graph: FunctionGraph, parameters: Iterable[str], axis: str) -> dict[AnyFunc, MapSpec]:
    """Let functions map over one more axis of some parameters.

    The axis goes to each output that depends on them, and from there on. A parameter that a function takes
    whole it goes on taking whole, but for the new axis.

    Parameters
    ----------
    graph
        The functions.
    parameters
        Names of inputs or outputs. Several of them are zipped, if they have the axis in common.
    axis
        Name of the axis, or several with commas between them.

    Returns
    -------
    dict
        The new mapspec per function whose mapspec changes, marked as generated.

    Raises
    ------
    InvalidValueError
        If no function takes a parameter.
    InvalidTypeError
        If `axis` is no str.
    MapSpecError
        If an axis is no identifier.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> y = PipeFunc(lambda x, k: k * x, "y", mapspec="x[i] -> y[i]")
    >>> total = PipeFunc(lambda y: sum(y), "total")
    >>> [str(spec) for spec in add_axis(FunctionGraph([y, total]), ["k"], "j").values()]
    ['x[i], k[j] -> y[i, j]', 'y[:, j] -> total[j]']

    """
    given: object = axis
    if not isinstance(given, str):
        message = f"an axis must be a str, several of them with commas between, got {given!r}"
        raise InvalidTypeError(message, detail=given)
    names: list[Any] = [parameters] if isinstance(parameters, str) else list(parameters)
    known = {n for f in graph.defined for n in f.parameters if n not in f.bound}
    for name in names:
        if not isinstance(name, str) or name not in known:
            message = f"no function takes {name!r}; an axis can be added to {sorted(known)}"
            raise InvalidValueError(message, detail=name)
    before: Specs = {function: function.mapspec for function in graph.functions}
    specs = dict(before)
    for name in names:
        for each in axis.split(","):
            specs = _with_axis(graph, specs, name, each.strip())
    return {f: spec for f, spec in specs.items() if spec is not None and spec != before[f]}


def _with_axis(graph: FunctionGraph, specs: Specs, parameter: str, axis: str) -> Specs:
    axes = mapspec_axes(spec for spec in specs.values() if spec is not None)
    grown = {parameter}
    new: Specs = {}
    for function in graph.functions:
        spec = specs[function]
        free = [name for name in function.parameters if name not in function.bound]
        added = [name for name in free if name in grown]
        if added:
            spec, has_grown = _grown(spec, function.output_names, added, axis, axes)
            grown.update(function.output_names if has_grown else ())
        new[function] = spec
    return new


def _grown(
    spec: MapSpec | None,
    output_names: Sequence[str],
    added: Iterable[str],
    axis: str,
    axes: dict[str, tuple[str | None, ...]],
) -> tuple[MapSpec, bool]:
    """Return a mapspec in which parameters have one more axis, and whether the outputs got it too."""
    inputs = {each.name: each for each in spec.inputs} if spec is not None else {}
    for name in added:
        if name not in inputs:
            whole = (None,) * len(axes.get(name, ()))
            inputs[name] = ArraySpec(name, (*whole, axis))
        elif axis not in inputs[name].axes:
            inputs[name] = inputs[name].add_axes(axis)
    if spec is None:
        outputs = tuple(ArraySpec(name, (axis,)) for name in output_names)
        return MapSpec(tuple(inputs.values()), outputs, generated=True), True
    has_grown = axis not in spec.output_indices
    outputs = tuple(each.add_axes(axis) for each in spec.outputs) if has_grown else spec.outputs
    return MapSpec(tuple(inputs.values()), outputs, generated=True), has_grown
