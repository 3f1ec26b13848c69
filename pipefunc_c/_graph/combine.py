"""What several functions have in common when they run as one: their mapspec and their resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c._spec.arrayspec import ArraySpec
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c.exceptions import InvalidValueError, MapSpecError
from pipefunc_c.resources import Resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipefunc_c._graph.graph import AnyFunc

_HINT = "Nest functions that map over the same axes, or say with `mapspec` how the nested one maps."


def combined_mapspec(functions: Iterable[AnyFunc], output_names: Sequence[str]) -> MapSpec | None:
    """Combine the mapspecs of functions that are to run together, once per element.

    Parameters
    ----------
    functions
        The functions.
    output_names
        Which of their outputs come out.

    Returns
    -------
    MapSpec or None
        What of it comes from outside to these outputs, sorted by name; None if no function has a mapspec.

    Raises
    ------
    MapSpecError
        If only some functions have a mapspec, if they do not all run over the same indices in the same
        order and no others, or if an array is taken by element here and whole or otherwise there.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> y = PipeFunc(lambda x: x, "y", mapspec="x[i] -> y[i]")
    >>> z = PipeFunc(lambda y, k: y, "z", mapspec="y[i], k[i] -> z[i]")
    >>> str(combined_mapspec([y, z], ["z"]))
    'k[i], x[i] -> z[i]'

    """
    functions = list(functions)
    mapped = [(function, function.mapspec) for function in functions if function.mapspec is not None]
    if not mapped:
        return None
    if len(mapped) != len(functions):
        whole = next(function for function in functions if function.mapspec is None)
        message = (
            f"{whole} has no mapspec, but {mapped[0][0]} has {str(mapped[0][1])!r}; they cannot be nested"
        )
        raise MapSpecError(message, detail=whole.output_name, hint=_HINT)
    first_function, first = mapped[0]
    for function, mapspec in mapped:
        if mapspec.internal_indices:
            message = (
                f"{function} with {str(mapspec)!r} returns arrays along {mapspec.internal_indices}"
                ", so that others cannot run once per element together with it"
            )
            raise MapSpecError(message, detail=function.output_name, hint=_HINT)
        if mapspec.output_indices != first.output_indices:
            message = (
                f"{function} maps over {mapspec.output_indices} with {str(mapspec)!r}, but {first_function} "
                f"over {first.output_indices} with {str(first)!r}"
            )
            raise MapSpecError(message, detail=function.output_name, hint=_HINT)
    specs = _array_specs(mapped)
    produced = {name for function in functions for name in function.output_names}
    inputs = tuple(specs[name] for name in sorted(specs.keys() - produced))
    outputs = tuple(ArraySpec(name, first.output_indices) for name in output_names)
    return MapSpec(inputs, outputs, generated=True)


def _array_specs(mapped: Sequence[tuple[AnyFunc, MapSpec]]) -> dict[str, ArraySpec]:
    """Return how each array is indexed; refuse one that is not indexed alike everywhere."""
    specs: dict[str, ArraySpec] = {}
    for _, mapspec in mapped:
        for spec in (*mapspec.outputs, *mapspec.inputs):
            known = specs.setdefault(spec.name, spec)
            if known != spec:
                message = f"functions that take {str(known)!r} and {str(spec)!r} cannot be nested"
                raise MapSpecError(message, detail=spec.name, hint=_HINT)
    for function, mapspec in mapped:
        for name in function.parameters:
            if name in specs and name not in mapspec.input_names and name not in function.bound:
                message = f"{function} takes {name!r} whole, but others have {str(specs[name])!r}"
                raise MapSpecError(message, detail=name, hint=_HINT)
    return specs


def combined_resources(functions: Iterable[AnyFunc]) -> Resources | None:
    """Return what functions need together, one running after the other.

    Parameters
    ----------
    functions
        The functions.

    Returns
    -------
    Resources or None
        The largest of each that one asks for; None if none asks for anything.

    Raises
    ------
    InvalidValueError
        If those of a function are callable.

    """
    found = []
    for function in functions:
        resources = function.resources
        if callable(resources):
            message = (
                f"the resources of {function} are callable, so what the nested function needs is unknown"
            )
            raise InvalidValueError(message, detail=function.output_name, hint="Give `resources`.")
        if resources is not None:
            found.append(resources)
    return found[0] if len(found) == 1 else Resources.combine_max(found) if found else None
