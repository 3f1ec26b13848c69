"""Making the `Picture` of a graph."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from pipefunc_c._graph.drawing.picture import Arrow, Box, Kind, Picture
from pipefunc_c._graph.entries import Entries, Entry, printable
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph


def compose(
    graph: FunctionGraph,
    *,
    collapse_scopes: bool | Collection[str] = False,
    min_arg_group_size: int | None = None,
    hide_default_args: bool = False,
    include_full_mapspec: bool = False,
) -> Picture:
    """Say what is to be drawn of a graph.

    Parameters
    ----------
    graph
        The functions.
    collapse_scopes
        Whether the functions of a scope become one box: of all scopes, of those named, or of none.
    min_arg_group_size
        Inputs that only one function takes share a box if there are at least so many; None: never.
    hide_default_args
        Whether to leave out inputs that have a default.
    include_full_mapspec
        Whether to write the mapspec into the box of each function.

    Returns
    -------
    Picture
        Boxes and arrows.

    Raises
    ------
    InvalidTypeError
        If an option has a wrong type.
    InvalidValueError
        If a scope does not exist, or `min_arg_group_size` is not positive.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> picture = compose(FunctionGraph([PipeFunc(lambda x, k=2: k * x, "y", mapspec="x[i] -> y[i]")]))
    >>> [str(entry) for box in picture.boxes for entry in box.entries]
    ['k = 2', 'x[i]', 'y[i]']

    """
    composer = _Composer(graph, _chosen_scopes(graph, collapse_scopes), include_full_mapspec)
    composer.add_functions()
    composer.add_inputs(_group_size(min_arg_group_size), hide_default_args)
    return Picture((*composer.inputs, *composer.functions), tuple(composer.arrows))


class _Composer:
    def __init__(self, graph: FunctionGraph, collapsed: frozenset[str], full_mapspec: bool) -> None:
        self.graph = graph
        self.collapsed = collapsed
        self.full_mapspec = full_mapspec
        self.entries = Entries(graph)
        self.boxes_of = {function: self._key(function) for function in graph.functions}
        self.members: dict[str, list[AnyFunc]] = {}  # the functions in one box
        for function, key in self.boxes_of.items():
            self.members.setdefault(key, []).append(function)
        self.inputs: list[Box] = []
        self.functions: list[Box] = []
        self.arrows: list[Arrow] = []

    def _key(self, function: AnyFunc) -> str:
        scope = _scope_of(function.output_names)
        # A scope is never the name of an input or output, so the keys stay unique.
        return scope if scope in self.collapsed else ", ".join(function.output_names)

    def add_functions(self) -> None:
        for key, members in self.members.items():
            box = self._collapsed(key, members) if key in self.collapsed else self._function(key, members[0])
            self.functions.append(box)
            for function in members:
                self._connect(key, function)
        positions = {
            (box.key, entry.name): k for box in self.functions for k, entry in enumerate(box.entries)
        }
        arrows = dict.fromkeys(self.arrows)  # functions of one box may take the same value
        self.arrows = [
            Arrow(a.source, a.target, a.name, positions.get((a.source, a.name), 0), a.label) for a in arrows
        ]

    def _connect(self, key: str, function: AnyFunc) -> None:
        for name in function.parameters:
            if name in function.bound:
                self._bound(key, function, name)
            elif name in self.graph.producers:
                source = self.boxes_of[self.graph.producers[name]]
                if source != key:
                    self.arrows.append(Arrow(source, key, name, label=self._label(function, name)))
        variable = function.resources_variable
        if variable is not None and key not in self.collapsed:
            source = f"{variable} of {key}"
            self.inputs.append(Box(source, Kind.RESOURCES, (Entry(variable),), tooltip="resources"))
            self.arrows.append(Arrow(source, key, variable))

    def _bound(self, key: str, function: AnyFunc, name: str) -> None:
        if key in self.collapsed:
            return
        source = f"{name} of {key}"
        entry = self.entries.bound(function, name)
        scope = _scope_of(function.output_names)
        box = Box(source, Kind.BOUND, (entry,), scope=scope, tooltip=f"bound: {entry}")
        self.inputs.append(box)
        self.arrows.append(Arrow(source, key, name))

    def _function(self, key: str, function: AnyFunc) -> Box:
        entries = self.entries.outputs(function)
        inner = function.pipefuncs if isinstance(function, NestedPipeFunc) else ()
        notes = tuple(f"{f.__name__} → {', '.join(f.output_names)}" for f in inner)
        if self.full_mapspec and function.mapspec is not None:
            notes += (str(function.mapspec),)
        kind = Kind.NESTED if inner else Kind.MAPPED if function.requires_mapping else Kind.FUNCTION
        final = not self.graph.dependents[function]
        title = str(function.__name__)
        scope = _scope_of(function.output_names)
        return Box(key, kind, entries, title, notes, scope, final, _tooltip(function))

    def _collapsed(self, scope: str, members: list[AnyFunc]) -> Box:
        inside = set(members)
        outputs = [
            name
            for function in members
            for name in function.output_names
            if not self.graph.dependents[function] or self._taken_outside(name, function, inside)
        ]
        entries = tuple(Entry(name, self.entries.axes_text(name)) for name in outputs)
        final = not any(set(self.graph.dependents[function]) - inside for function in members)
        noun = "function" if len(members) == 1 else "functions"
        tooltip = ", ".join(str(function.__name__) for function in members)
        return Box(scope, Kind.SCOPE, entries, scope, (f"{len(members)} {noun}",), scope, final, tooltip)

    def _taken_outside(self, name: str, function: AnyFunc, inside: set[AnyFunc]) -> bool:
        takers = set(self.graph.dependents[function]) - inside
        return any(name in taker.parameters and name not in taker.bound for taker in takers)

    def add_inputs(self, group_size: float, hide_default_args: bool) -> None:
        takers = self.entries.takers
        alone: dict[str, list[str]] = {}  # per box the inputs that it alone takes
        for name in self.graph.root_args:
            if hide_default_args and name in self.graph.defaults:
                continue
            keys = list(dict.fromkeys(self.boxes_of[function] for function in takers[name]))
            if len(keys) == 1:
                alone.setdefault(keys[0], []).append(name)
            else:
                self._input((name,))
        for names in alone.values():
            groups = [tuple(names)] if len(names) >= group_size else [(name,) for name in names]
            for group in groups:
                self._input(group)
        self.inputs.sort(key=lambda box: box.key)

    def _input(self, names: tuple[str, ...]) -> None:
        key = ", ".join(names)
        entries = tuple(map(self.entries.input, names))
        for position, name in enumerate(names):
            takers = self.entries.takers[name]
            labels = {(self.boxes_of[function], self._label(function, name)) for function in takers}
            self.arrows += [Arrow(key, box, name, position, label) for box, label in sorted(labels)]
        tooltip = "\n".join(map(str, entries))
        self.inputs.append(Box(key, Kind.INPUT, entries, scope=_scope_of(names), tooltip=tooltip))

    def _label(self, function: AnyFunc, name: str) -> str:
        """Say how a function takes an array, unless it is element by element along all axes."""
        if self.boxes_of[function] in self.collapsed:
            return ""
        axes = self.entries.taken(function, name)
        return f"{name}{axes}" if ":" in axes else ""


def _scope_of(names: Iterable[str]) -> str:
    scopes = {name.rpartition(".")[0] for name in names}
    return scopes.pop() if len(scopes) == 1 else ""


def _tooltip(function: AnyFunc) -> str:
    lines = [f"{function.__name__}({', '.join(function.parameters)}) → {', '.join(function.output_names)}"]
    if function.mapspec is not None:
        lines.append(str(function.mapspec))
    documentation = inspect.cleandoc(function.__doc__ or "").partition("\n")[0]
    return "\n".join(map(printable, [*lines, documentation] if documentation else lines))


def _chosen_scopes(graph: FunctionGraph, collapse_scopes: bool | Collection[str]) -> frozenset[str]:
    scopes = {_scope_of(function.output_names) for function in graph.functions} - {""}
    if isinstance(collapse_scopes, bool):
        return frozenset(scopes if collapse_scopes else ())
    chosen = [collapse_scopes] if isinstance(collapse_scopes, str) else list(collapse_scopes)
    for scope in chosen:
        if scope not in scopes:
            message = (
                f"no function computes outputs of the scope {scope!r} only; such scopes are {sorted(scopes)}"
            )
            raise InvalidValueError(message, detail=scope, hint="collapse_scopes=True collapses all of them.")
    return frozenset(chosen)


def _group_size(size: int | None) -> float:
    if size is None:
        return float("inf")
    if isinstance(size, bool) or not isinstance(size, int):
        raise InvalidTypeError(f"min_arg_group_size must be an int or None, got {size!r}", detail=size)
    if size < 1:
        raise InvalidValueError(f"min_arg_group_size must be at least 1, got {size}", detail=size)
    return size
