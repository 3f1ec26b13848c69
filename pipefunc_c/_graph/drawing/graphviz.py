"""Drawing a picture through Graphviz."""

from __future__ import annotations

import html
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pipefunc_c import _optional
from pipefunc_c._graph.drawing.picture import Kind
from pipefunc_c._graph.drawing.style import Style, read_size
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipefunc_c._graph.drawing.picture import Arrow, Box, Picture
    from pipefunc_c._graph.entries import Entry

Orientation: TypeAlias = Literal["TB", "LR", "BT", "RL"]
LEAVES_AT = {"LR": "e", "RL": "w", "TB": "s", "BT": "n"}  # side of a box where its arrows begin
SOURCE_SUFFIXES = (".dot", ".gv")


def to_digraph(
    picture: Picture,
    *,
    style: Style | None = None,
    orient: Orientation = "LR",
    figsize: float | tuple[float, float] | None = None,
    show_legend: bool = True,
    graphviz_kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Return a picture for Graphviz.

    Parameters
    ----------
    picture
        What to draw.
    style
        How it looks; None: the standard.
    orient
        Where the arrows go: ``"LR"`` from left to right, ``"TB"`` from top to bottom, ``"RL"``, ``"BT"``.
    figsize
        Width and height in inches; the picture is scaled to fit. One number: a square.
    show_legend
        Whether to explain the kinds of boxes.
    graphviz_kwargs
        Keywords of ``graphviz.Digraph``; attributes given here win.

    Returns
    -------
    graphviz.Digraph
        The source; nothing is laid out yet.

    Raises
    ------
    MissingDependencyError
        If the package graphviz is not installed.
    InvalidValueError
        If `orient` or `figsize` is none of the above.

    """
    if orient not in LEAVES_AT:
        raise InvalidValueError(f"orient must be one of {list(LEAVES_AT)}, got {orient!r}", detail=orient)
    painter = _Painter(style or Style(), orient)
    options = dict(graphviz_kwargs or {})
    attributes = painter.attributes(_size(figsize))
    for name, values in attributes.items():
        options[name] = {**values, **(options.get(name) or {})}
    digraph = _optional.require("graphviz", extra="plot").Digraph(**options)
    scopes = picture.scopes
    for box in picture.boxes:
        if box.scope not in scopes:
            digraph.node(box.key, **painter.box(box))
    for scope, boxes in scopes.items():
        with digraph.subgraph(name=f"cluster_{scope}") as cluster:
            cluster.attr(**painter.cluster(scope))
            for box in boxes:
                cluster.node(box.key, **painter.box(box))
    sources = {box.key: box for box in picture.boxes}
    for arrow in picture.arrows:
        source = sources[arrow.source]
        port = f":v{arrow.entry}:{LEAVES_AT[orient]}" if len(source.entries) > 1 else ""
        digraph.edge(f"{arrow.source}{port}", arrow.target, **painter.arrow(arrow, source))
    if show_legend and picture.boxes:
        # No input or output can have this name.
        digraph.node("(legend)", label=painter.legend(picture), shape="plain", tooltip="legend")
    return digraph


class _Painter:
    """Attributes of everything in a style."""

    def __init__(self, style: Style, orient: Orientation) -> None:
        self.style = style
        self.upright = orient in ("TB", "BT")
        self.orient = orient
        # A text such as "<lambda>" would be taken for HTML, and a backslash in it for an escape.
        self.plain = _optional.require("graphviz", extra="plot").escape

    def attributes(self, size: str | None) -> dict[str, dict[str, str]]:
        """Return the attributes of the whole graph, and those that boxes and arrows begin with."""
        style = self.style
        font = {"fontname": style.font_name, "fontcolor": style.text_color}
        graph = {
            **font,
            "rankdir": self.orient,
            "bgcolor": style.background_color,
            "nodesep": "0.18",
            "ranksep": "0.55",
            "pad": "0.2",
            "fontsize": f"{style.font_size}",
        }
        if size is not None:
            graph["size"] = size
        node = {**font, "fontsize": f"{style.font_size}", "shape": "box", "color": style.border_color}
        edge = {"fontname": style.font_name, "fontsize": f"{style.note_font_size}", "arrowsize": "0.7"}
        return {
            "graph_attr": graph,
            "node_attr": {**node, "height": "0.3", "margin": "0.1,0.05"},
            "edge_attr": {**edge, "fontcolor": style.note_color},
        }

    def box(self, box: Box) -> dict[str, str]:
        """Return the attributes of a box."""
        computed = bool(box.title)
        return {
            "label": self._function_label(box) if computed else self._input_label(box),
            "fillcolor": self.style.fill(box.kind),
            "style": "filled,rounded" if computed else "filled",
            "peripheries": "2" if box.kind is Kind.MAPPED else "1",
            "penwidth": "2" if box.final else "1",
            "tooltip": self.plain(box.tooltip),
        }

    def cluster(self, scope: str) -> dict[str, str]:
        """Return the attributes of the frame around a scope."""
        style = self.style
        return {
            "label": self.plain(scope),
            "style": "filled,rounded",
            "color": style.border_color,
            "fillcolor": style.cluster_color,
            "fontcolor": style.note_color,
            "labeljust": "l",
            "tooltip": f"scope {scope}",
        }

    def arrow(self, arrow: Arrow, source: Box) -> dict[str, str]:
        """Return the attributes of an arrow."""
        color = self.style.function_arrow_color if source.title else self.style.input_arrow_color
        attributes = {"color": color, "tooltip": arrow.label or arrow.name}
        if arrow.label:  # an array that is gathered
            attributes |= {"label": f" {arrow.label} ", "penwidth": "2", "labeltooltip": arrow.label}
        return attributes

    def _entry(self, entry: Entry) -> str:
        parts = [f"<b>{html.escape(entry.name)}</b>{html.escape(entry.axes)}"]
        if entry.type:
            parts.append(self._small(f": {entry.type}"))
        if entry.value:
            parts.append(self._small(f"= {entry.value}"))
        return " ".join(parts)

    def _small(self, text: str) -> str:
        style = self.style
        return (
            f'<font point-size="{style.note_font_size}" color="{style.note_color}">{html.escape(text)}</font>'
        )

    def _cells(self, entries: tuple[Entry, ...]) -> str:
        cells = [f'<td port="v{k}" align="left">{self._entry(entry)}</td>' for k, entry in enumerate(entries)]
        return f"<tr>{''.join(cells)}</tr>" if self.upright else "".join(f"<tr>{cell}</tr>" for cell in cells)

    def _input_label(self, box: Box) -> str:
        if len(box.entries) == 1:
            return f"<{self._entry(box.entries[0])}>"
        return f"<{self._table(self._cells(box.entries))}>"

    def _function_label(self, box: Box) -> str:
        columns = len(box.entries) if self.upright else 1
        span = f'<td colspan="{max(columns, 1)}">'
        rows = [f"<tr>{span}{html.escape(box.title)}</td></tr>"]
        rows += [f"<tr>{span}{self._small(note)}</td></tr>" for note in box.notes]
        rows += ["<hr/>", self._cells(box.entries)] if box.entries else []
        return f"<{self._table(''.join(rows))}>"

    def _table(self, rows: str) -> str:
        gap = 6 if self.upright else 0  # between values that stand side by side
        return f'<table border="0" cellborder="0" cellspacing="{gap}" cellpadding="2">{rows}</table>'

    def legend(self, picture: Picture) -> str:
        """Return the label of the legend: a table of the kinds that occur."""
        style = self.style
        rows = [(self._swatch(style.fill(kind), kind is Kind.MAPPED), kind.value) for kind in picture.kinds]
        if any(box.final for box in picture.boxes):
            rows.append((self._swatch(style.background_color, border=3), "last output"))
        if any(arrow.label for arrow in picture.arrows):
            rows.append((f"<td>{self._small('x[:]')}</td>", "takes the whole axis"))
        lines = (f'<tr>{sample}<td align="left">{self._small(text)}</td></tr>' for sample, text in rows)
        color = f'color="{style.border_color}" bgcolor="{style.cluster_color}"'
        table = f'<table border="1" cellborder="0" cellspacing="2" cellpadding="2" {color}>'
        return f"<{table}{''.join(lines)}</table>>"

    def _swatch(self, fill: str, double: bool = False, border: int = 1) -> str:
        color = f'color="{self.style.border_color}"'
        width, height = (14, 6) if double else (20, 10)
        size = f'<td width="{width}" height="{height}" fixedsize="true"></td>'
        inner = f'<table border="{border}" cellborder="0" {color} bgcolor="{fill}"><tr>{{}}</tr></table>'
        if double:
            outer = f'<table border="1" cellborder="0" cellspacing="2" cellpadding="0" {color}><tr><td>'
            return f"<td>{outer}{inner.format(size)}</td></tr></table></td>"
        return f"<td>{inner.format(size)}</td>"


def _size(figsize: float | tuple[float, float] | None) -> str | None:
    if figsize is None:
        return None
    width, height = read_size(figsize, square=True)
    return f"{width},{height}!"


def dot_is_installed() -> bool:
    """Say whether Graphviz's program ``dot`` is found."""
    return shutil.which("dot") is not None


def render(digraph: Any, file_format: str) -> bytes:
    """Lay out and draw.

    Parameters
    ----------
    digraph
        What `to_digraph` returned.
    file_format
        Such as ``"svg"`` or ``"png"``.

    Returns
    -------
    bytes
        Contents of a file.

    Raises
    ------
    MissingDependencyError
        If the program ``dot`` is not installed.

    """
    if not dot_is_installed():
        message = "drawing through Graphviz needs its program 'dot', which is not on the PATH"
        hint = "Install Graphviz, with apt-get install graphviz or the like; or use visualize_matplotlib."
        raise MissingDependencyError(message, detail="dot", hint=hint)
    return bytes(digraph.pipe(format=file_format, quiet=True))


def save(digraph: Any, filename: str | Path) -> None:
    """Write a picture to a file whose suffix says the format.

    Parameters
    ----------
    digraph
        What `to_digraph` returned.
    filename
        Path; ``.dot`` and ``.gv`` write the source.

    Raises
    ------
    InvalidTypeError
        If it is no path.
    InvalidValueError
        If Graphviz does not know the format.
    MissingDependencyError
        If the program ``dot`` is not installed.

    """
    if not isinstance(filename, str | Path):
        raise InvalidTypeError(f"filename must be a str or Path, got {filename!r}", detail=filename)
    path = Path(filename)
    if path.suffix.lower() in SOURCE_SUFFIXES:
        path.write_text(digraph.source, encoding="utf-8")
        return
    file_format = path.suffix[1:].lower()
    if file_format not in _optional.require("graphviz", extra="plot").FORMATS:
        message = f"the filename {str(path)!r} does not end in a format that Graphviz can write"
        raise InvalidValueError(message, detail=str(path), hint="Use .svg, .png, .pdf or .dot, for example.")
    path.write_bytes(render(digraph, file_format))
