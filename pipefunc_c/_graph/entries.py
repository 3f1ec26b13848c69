"""Names with their axes, types and values as text: what a listing or a picture says of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import short_repr
from pipefunc_c._spec.shapes import mapspec_axes
from pipefunc_c.typing import NoAnnotation, type_as_string

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph

MAXIMUM_VALUE = 24  # characters; what is longer is cut in its middle
MAXIMUM_TYPE = 32


@dataclass(frozen=True)
class Entry:
    """One named value.

    Parameters
    ----------
    name
        Name of the parameter or output.
    axes
        Its axes in brackets, such as ``"[i, j]"``; empty if it is no mapped array.
    type
        Its type as text; empty if unknown.
    value
        Its default or bound value as text; empty if it has none.

    Examples
    --------
    >>> print(Entry("x", "[i]", "float", "1.5"))
    x[i]: float = 1.5

    """

    name: str
    axes: str = ""
    type: str = ""
    value: str = ""

    def __str__(self) -> str:
        """Write it as in a signature."""
        hint = f": {self.type}" if self.type else ""
        value = f" = {self.value}" if self.value else ""
        return f"{self.name}{self.axes}{hint}{value}"


class Entries:
    """Make the entries of a graph.

    Parameters
    ----------
    graph
        The functions.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> function = PipeFunc(lambda x, k=2: k * x, "y", mapspec="x[i] -> y[i]")
    >>> entries = Entries(FunctionGraph([function]))
    >>> [str(entries.input(name)) for name in ("k", "x")], str(entries.outputs(function)[0])
    (['k = 2', 'x[i]'], 'y[i]')

    """

    def __init__(self, graph: FunctionGraph) -> None:
        self.graph = graph
        self.axes = mapspec_axes(graph.mapspecs)

    @cached_property
    def takers(self) -> dict[str, list[AnyFunc]]:
        """The functions that take each root argument."""
        takers: dict[str, list[AnyFunc]] = {name: [] for name in self.graph.root_args}
        for function in self.graph.functions:
            for name in function.binding.parameters:
                if name in takers and name not in function.binding.bound:
                    takers[name].append(function)
        return takers

    def input(self, name: str) -> Entry:
        """Return the entry of a root argument."""
        hints = (type_text(function.parameter_annotations, name) for function in self.takers[name])
        hint = next((hint for hint in hints if hint), "")
        defaults = self.graph.defaults
        return Entry(name, self.axes_text(name), hint, value_text(defaults[name]) if name in defaults else "")

    def bound(self, function: AnyFunc, name: str) -> Entry:
        """Return the entry of a bound parameter."""
        hint = type_text(function.parameter_annotations, name)
        return Entry(name, type=hint, value=value_text(function.bound[name]))

    def outputs(self, function: AnyFunc) -> tuple[Entry, ...]:
        """Return the entries of what a function computes."""
        types = function.output_annotation
        return tuple(
            Entry(name, self.axes_text(name), type_text(types, name)) for name in function.output_names
        )

    def axes_text(self, name: str) -> str:
        """Return the axes of an array in brackets."""
        return _brackets(self.axes.get(name, ()))

    def taken(self, function: AnyFunc, name: str) -> str:
        """Return how a function takes an array: its axes in brackets, ``:`` where it takes one whole."""
        axes = self.axes.get(name, ())
        specs = () if function.mapspec is None else function.mapspec.inputs
        whole: tuple[str | None, ...] = (None,) * len(axes)
        return _brackets(next((spec.axes for spec in specs if spec.name == name), whole))


def _brackets(axes: tuple[str | None, ...]) -> str:
    return f"[{', '.join(axis or ':' for axis in axes)}]" if axes else ""


def type_text(hints: dict[str, Any], name: str) -> str:
    """Return the type of a name, or nothing if it is unknown."""
    hint = hints.get(name, NoAnnotation)
    return "" if hint is NoAnnotation else shortened(printable(type_as_string(hint)), MAXIMUM_TYPE)


def value_text(value: Any) -> str:
    """Return a value in a few characters.

    Examples
    --------
    >>> value_text(70e9), value_text(1.0), value_text("a" * 50)
    ('7e+10', '1.0', "'aaaaaaaaaaaaaaa…aaaaaa'")

    """
    if type(value) is float and len(repr(value)) > 8:
        compact = f"{value:.6g}"
        return compact if float(compact) == value else repr(value)
    return shortened(printable(" ".join(short_repr(value).split())), MAXIMUM_VALUE)


def printable(text: str) -> str:
    r"""Replace what neither a terminal nor a drawing can show, such as the colour codes of a terminal.

    Examples
    --------
    >>> printable("a\x1b[1mb")
    'a�[1mb'

    """
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def shortened(text: str, length: int) -> str:
    """Cut a text in its middle if it is too long.

    Examples
    --------
    >>> shortened("abcdefghij", 5), shortened("abc", 5)
    ('abc…j', 'abc')

    """
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"
