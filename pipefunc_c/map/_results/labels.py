"""Which inputs label which axes of an output: the algebra behind coordinates, without any data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipefunc_c._spec.mapspec import MapSpec

Axes = tuple[str | None, ...]


class Label(NamedTuple):
    """Name an array whose values tell the points of axes apart.

    Parameters
    ----------
    name
        The array: an input, or an output that no input leads to.
    axes
        The axis along each of its dimensions; None for one that belongs to the values.
    """

    name: str
    axes: Axes

    @property
    def dims(self) -> tuple[str, ...]:
        """The axes that it labels."""
        return tuple(axis for axis in self.axes if axis is not None)


class Labels:
    """Find the axes of outputs and what labels them.

    Parameters
    ----------
    mapspecs
        The mapspecs of all functions, in topological order.

    Examples
    --------
    >>> from pipefunc_c.map import MapSpec
    >>> labels = Labels(map(MapSpec.from_string, ["x[i], b[i], c[j] -> y[i, j]", "y[i, :] -> z[i]"]))
    >>> labels.axes["z"]
    ('i',)
    >>> [label.name for label in labels.of("z")]
    ['x', 'b']
    """

    def __init__(self, mapspecs: Iterable[MapSpec]) -> None:
        self.axes: dict[str, tuple[str, ...]] = {}
        self._producer: dict[str, MapSpec] = {}
        self._all_axes: dict[str, Axes] = {}  # None only for what no mapspec gives a name
        for mapspec in mapspecs:
            for spec in (*mapspec.inputs, *mapspec.outputs):
                known = self._all_axes.get(spec.name, spec.axes)
                self._all_axes[spec.name] = tuple(a or b for a, b in zip(known, spec.axes, strict=True))
            for spec in mapspec.outputs:
                self.axes[spec.name] = spec.indices
                self._producer[spec.name] = mapspec

    def external_axes(self, name: str) -> tuple[str, ...]:
        """Give the axes of an output over which its function is called."""
        return self._producer[name].external_indices

    def is_output(self, name: str) -> bool:
        """Tell whether an array comes from a function."""
        return name in self._producer

    def of(self, name: str, *, load_intermediate: bool = True) -> list[Label]:
        """Give what labels the axes of an output.

        Parameters
        ----------
        name
            The output.
        load_intermediate
            Whether outputs label axes too, where no input leads to them.

        Returns
        -------
        list of Label
            Each array once, in the order of the mapspecs.
        """
        found: dict[str, Label] = {}
        for label in self._trace(name, frozenset(self.axes[name])):
            is_wanted = load_intermediate or not self.is_output(label.name)
            if is_wanted and (label.name not in found or len(label.dims) > len(found[label.name].dims)):
                found[label.name] = label
        return list(found.values())

    def _trace(self, name: str, wanted: frozenset[str]) -> Iterator[Label]:
        """Follow axes up to where they come from; those that a function took whole end there."""
        # One path per array and set of axes, however many lead there.
        seen, pending = {(name, wanted)}, [(name, wanted)]
        while pending:
            current, axes = pending.pop(0)
            for spec in self._producer[current].inputs:
                kept = axes & set(spec.indices)
                is_root = spec.name not in self._producer or not self._producer[spec.name].inputs
                # An array of two axes of which a function takes one whole does not label the other one.
                label = Label(spec.name, self._all_axes[spec.name])
                if is_root and kept and set(label.dims) <= set(self.axes[name]):
                    yield label
                elif not is_root and kept and (spec.name, kept) not in seen:
                    seen.add((spec.name, kept))
                    pending.append((spec.name, kept))
