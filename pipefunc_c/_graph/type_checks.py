"""Whether what functions return fits what those that take it ask for, by their annotations."""

from __future__ import annotations

import sys
import typing
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.typing import Array, NoAnnotation, is_type_compatible, type_as_string

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph
    from pipefunc_c._spec.mapspec import MapSpec


def check_types(graph: FunctionGraph) -> None:
    """Check that each output has a type that the functions that take it accept.

    An output that is mapped over and taken whole, or sliced, is an array: a ``T`` per element makes it
    ``Array[T]``. Nothing is said about functions whose mapspec was generated, nor about outputs with axes
    that the function makes itself, for what it returns may be of any type that has axes.

    Parameters
    ----------
    graph
        The functions. Their mapspecs may be complete or still without those that are generated.

    Raises
    ------
    InvalidTypeError
        If a type does not fit; the first is named, in the order of definition.

    Warns
    -----
    UserWarning
        If both sides are annotated and one of the hints does not resolve.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> def count(text: str) -> int: ...
    >>> def shout(n: str) -> str: ...
    >>> check_types(FunctionGraph([PipeFunc(count, "n"), PipeFunc(shout, "s")]))
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.InvalidTypeError: 'count' returns 'n' as int, but 'shout' takes it as str
    Hint: Change one of the annotations, or switch the check off with validate_type_annotations=False.

    """
    returned: dict[AnyFunc, dict[str, Any]] = {}
    for consumer in graph.defined:
        if not graph.dependencies[consumer]:
            continue
        accepted = consumer.parameter_annotations
        for name, required in accepted.items():
            producer = graph.producers.get(name)
            if producer is None or _is_unknown(required) or name in consumer.binding.bound:
                continue
            if producer not in returned:
                returned[producer] = _output_types(graph, producer)
            if name in returned[producer]:
                _check_edge(name, producer, returned[producer][name], consumer, required)


def _is_unknown(annotation: Any) -> bool:
    return annotation is Any or annotation is NoAnnotation


def _output_types(graph: FunctionGraph, producer: AnyFunc) -> dict[str, Any]:
    """Return the types of the outputs of a function that can be compared with anything."""
    mapspec = producer.mapspec
    if mapspec is not None and mapspec.inputs and (mapspec.generated or mapspec.internal_indices):
        return {}
    if (mapspec is None or not mapspec.inputs) and _is_mapped(graph, producer):
        return {}
    return {name: hint for name, hint in producer.output_annotation.items() if not _is_unknown(hint)}


def _is_mapped(graph: FunctionGraph, producer: AnyFunc) -> bool:
    """Tell whether a function that is called once returns something that has axes."""
    mapspec = producer.mapspec
    if mapspec is not None and not mapspec.generated:
        return True
    # A generated ``... -> y[i]`` may be out of date, or not there yet: what counts is who maps over it.
    names = {*producer.output_names}
    specs = (consumer.mapspec for consumer in graph.dependents[producer])
    return any(not names.isdisjoint(spec.input_names) for spec in specs if spec is not None)


def _check_edge(name: str, producer: AnyFunc, returned: Any, consumer: AnyFunc, required: Any) -> None:
    if _is_computed(consumer.mapspec):
        return
    incoming, wanted, made_of = returned, required, ""
    if producer.requires_mapping and not _takes_elements(consumer.mapspec, name):
        incoming, wanted = Array[returned], _unmasked(required)
        made_of = f" of all elements that its mapspec {str(producer.mapspec)!r} makes"
    if is_type_compatible(incoming, wanted) or _becomes_lazy(incoming, wanted):
        return
    message = (
        f"{producer.__name__!r} returns {name!r} as {type_as_string(incoming)}{made_of}, but "
        f"{consumer.__name__!r} takes it as {type_as_string(required)}"
    )
    hint = "Change one of the annotations, or switch the check off with validate_type_annotations=False."
    raise InvalidTypeError(message, detail=name, hint=hint)


def _becomes_lazy(incoming: Any, required: Any) -> bool:
    """Tell whether this is a frame of polars that a map hands over lazily, because a function asks for it."""
    polars = sys.modules.get("polars")
    if polars is None or incoming is not polars.DataFrame:
        return False
    return any(each is polars.LazyFrame for each in (required, *typing.get_args(required)))


def _is_computed(mapspec: MapSpec | None) -> bool:
    """Tell whether a mapspec with inputs was not written by the user."""
    return mapspec is not None and mapspec.generated and bool(mapspec.inputs)


def _takes_elements(mapspec: MapSpec | None, name: str) -> bool:
    """Tell whether a function with this mapspec is given single elements of an array."""
    specs = () if mapspec is None else mapspec.inputs
    return any(spec.name == name and None not in spec.axes for spec in specs)


def _unmasked(required: Any) -> Any:
    """Return the array type for a masked one: a reduction that asks for a masked array receives it."""
    if np.ma.MaskedArray not in (required, typing.get_origin(required)):
        return required
    arguments = typing.get_args(required)
    return np.ndarray[arguments] if arguments else np.ndarray  # type: ignore[valid-type]  # of a value
