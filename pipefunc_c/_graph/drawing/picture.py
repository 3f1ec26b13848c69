"""`Picture`: what is to be drawn of a graph, as data that knows nothing of colours or places."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipefunc_c._graph.entries import Entry


class Kind(enum.StrEnum):
    """What a box stands for; the value is its name in a legend."""

    INPUT = "input"
    BOUND = "bound value"
    RESOURCES = "resources"
    FUNCTION = "function"
    MAPPED = "function, called per element"
    NESTED = "nested functions"
    SCOPE = "collapsed scope"


@dataclass(frozen=True)
class Box:
    """One box of a picture.

    Parameters
    ----------
    key
        What edges call it; unique in the picture.
    kind
        What it stands for.
    entries
        The inputs that it stands for, or the outputs that it computes.
    title
        Name of the function; empty for inputs.
    notes
        Lines in small print under the title.
    scope
        The scope that it belongs to; empty if none.
    final
        Whether no other function takes any of its outputs.
    tooltip
        What a mouse over it brings up.

    """

    key: str
    kind: Kind
    entries: tuple[Entry, ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    scope: str = ""
    final: bool = False
    tooltip: str = ""


@dataclass(frozen=True)
class Arrow:
    """A value that goes from one box to another.

    Parameters
    ----------
    source, target
        Keys of the boxes.
    name
        Name of the value.
    entry
        Position of the value among the entries of the source.
    label
        How the target takes the array, if not element by element; else empty.

    """

    source: str
    target: str
    name: str
    entry: int = 0
    label: str = ""


@dataclass(frozen=True)
class Picture:
    """Boxes and the arrows between them.

    Parameters
    ----------
    boxes
        The boxes; those of inputs first, then functions in topological order.
    arrows
        The arrows, by target.

    """

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of boxes that occur."""
        present = {box.kind for box in self.boxes}
        return tuple(kind for kind in Kind if kind in present)

    @property
    def scopes(self) -> dict[str, tuple[Box, ...]]:
        """The boxes per scope that is not collapsed."""
        collapsed = {box.scope for box in self.boxes if box.kind is Kind.SCOPE}
        scopes: dict[str, list[Box]] = {}
        for box in self.boxes:
            if box.scope and box.scope not in collapsed:
                scopes.setdefault(box.scope, []).append(box)
        return {scope: tuple(boxes) for scope, boxes in scopes.items()}
