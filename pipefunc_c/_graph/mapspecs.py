"""The mapspecs of a graph that the user may leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c._spec.arrayspec import ArraySpec
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c._spec.shapes import mapspec_axes
from pipefunc_c.exceptions import MapSpecError

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph


def given_mapspec(function: AnyFunc) -> MapSpec | None:
    """Return the mapspec of a function unless it was generated for an output that is mapped over.

    Those of `add_axis` and of nested functions, which have inputs, are generated too, but stay.
    """
    mapspec = function.mapspec
    return None if mapspec is None or (mapspec.generated and not mapspec.inputs) else mapspec


def generate_mapspecs(graph: FunctionGraph) -> dict[AnyFunc, MapSpec]:
    """Make the mapspecs of functions without one whose output another function maps over.

    Parameters
    ----------
    graph
        The functions. Mapspecs that were generated before are not looked at.

    Returns
    -------
    dict
        ``... -> y[i]`` per function; axes that no mapspec names are called ``unnamed_0`` and so on.

    Raises
    ------
    MapSpecError
        If the mapspecs disagree.

    """
    given = {f: mapspec for f in graph.functions if (mapspec := given_mapspec(f)) is not None}
    axes = mapspec_axes(given.values())
    names = {axis for array in axes.values() for axis in array}
    wanted: dict[AnyFunc, list[ArraySpec]] = {}
    for name, array in axes.items():
        producer = graph.producers.get(name)
        if producer is not None and producer not in given:
            wanted.setdefault(producer, []).append(ArraySpec(name, array))
    generated = {}
    unnamed = 0
    for producer in sorted(wanted, key=graph.position.__getitem__):
        first, *others = wanted[producer]
        merged = list(first.axes)
        for spec in others:
            if spec.rank != first.rank:
                message = (
                    f"{producer} has no mapspec, and its outputs are mapped over with different numbers of "
                    f"axes: {str(first)!r} and {str(spec)!r}"
                )
                raise MapSpecError(message, detail=spec.name, hint="Let two functions return them.")
            merged = [old or new for old, new in zip(merged, spec.axes, strict=True)]
        for position, axis in enumerate(merged):
            if axis is None:
                while f"unnamed_{unnamed}" in names:
                    unnamed += 1
                merged[position] = f"unnamed_{unnamed}"
                names.add(merged[position])
        outputs = tuple(ArraySpec(name, tuple(merged)) for name in producer.output_names)
        generated[producer] = MapSpec((), outputs, generated=True)
    mapspec_axes([*given.values(), *generated.values()])
    return generated
