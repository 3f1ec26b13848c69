"""Drawing a picture through matplotlib, which needs no program besides Python."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

from pipefunc_c import _optional
from pipefunc_c._graph.drawing.layout import Layout, lay_out
from pipefunc_c._graph.drawing.picture import Kind
from pipefunc_c._graph.drawing.style import Style, read_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipefunc_c._graph.drawing.layout import Point
    from pipefunc_c._graph.drawing.picture import Arrow, Box, Picture
    from pipefunc_c._graph.entries import Entry

POINTS_PER_INCH = 72
LARGEST_SCALE = 1.5  # of the fonts, in a figure with much room
COLUMN_GAP, ROW_GAP = 44, 12  # points, as all lengths here
PADDING = 6
FRAME = 3  # between the two borders of a function that is called per element
LEGEND_LINE = 18
HINTED = 0.035  # letters are fitted to pixels: by this part, the smaller the more, a text may be wider
LINE = 1.35  # distance of lines in units of the font's size
COMBINED = ("#f7c9c4", "#cfe3b4", "#f6deb0", "#c5dff0", "#decdee", "#b9e4d8", "#f3cbe2", "#dcd2b8")


def to_figure(
    picture: Picture,
    *,
    style: Style | None = None,
    figsize: tuple[float, float] = (10, 10),
    groups: Sequence[Sequence[str]] = (),
) -> Any:
    """Draw a picture in a figure.

    Parameters
    ----------
    picture
        What to draw; its arrows must not lead in a circle.
    style
        How it looks; None: the standard.
    figsize
        Width and height of the figure in inches; everything in it is scaled to fit.
    groups
        Keys of boxes that get a colour of their own, in groups.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; pyplot does not know of it.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    InvalidValueError
        If `figsize` is not two positive numbers.

    """
    figsize = read_size(figsize)
    style = style or Style()
    figure = _optional.require("matplotlib.figure", extra="plot").Figure(figsize=figsize)
    figure.set_facecolor(style.background_color)
    if not picture.boxes:
        return figure
    legend = _Legend(picture, style, figsize[0] * POINTS_PER_INCH)
    bottom = min(legend.height / (figsize[1] * POINTS_PER_INCH), 0.5)
    axes = figure.add_axes((0, bottom, 1, 1 - bottom))
    axes.set_axis_off()
    room = (figsize[0] * POINTS_PER_INCH, (1 - bottom) * figsize[1] * POINTS_PER_INCH)
    drawing = _Drawing(picture, style, groups, room)
    width, height, scale = drawing.layout.width, drawing.layout.height, drawing.scale
    axes.set_xlim(width / 2 - room[0] / scale / 2, width / 2 + room[0] / scale / 2)
    axes.set_ylim(height / 2 - room[1] / scale / 2, height / 2 + room[1] / scale / 2)
    drawing.draw(axes)
    legend.draw(figure)
    return figure


Piece: TypeAlias = tuple[str, float, bool, str]  # text, size, whether bold, colour
Pair: TypeAlias = tuple[str, str]  # keys of two boxes


class _Drawing:
    """A picture with the sizes of its boxes, laid out to the right or downwards, whichever is larger."""

    def __init__(
        self, picture: Picture, style: Style, groups: Sequence[Sequence[str]], room: tuple[float, float]
    ) -> None:
        self.picture = picture
        self.style = style
        self.fills = {key: COMBINED[k % len(COMBINED)] for k, keys in enumerate(groups) for key in keys}
        self.boxes = {box.key: box for box in picture.boxes}
        self.arrows: dict[Pair, list[Arrow]] = {}  # several values between the same two are one arrow
        for arrow in picture.arrows:
            self.arrows.setdefault((arrow.source, arrow.target), []).append(arrow)
        self.sizes: dict[str, tuple[float, float]] = {}
        self.scale = 1.0
        self.choose(room)
        if self.scale < 1:
            self.choose(room)  # now with the room that small letters need

    def choose(self, room: tuple[float, float]) -> None:
        """Lay out to the right and downwards, and take what becomes larger."""
        self.spread = 1 + HINTED / min(self.scale, 1)
        layouts = {downwards: self.lay_out(downwards) for downwards in (False, True)}
        scales = {
            downwards: min(
                LARGEST_SCALE,
                room[0] / (layout.width + 4 * PADDING),
                room[1] / (layout.height + 4 * PADDING),
            )
            for downwards, layout in layouts.items()
        }
        self.downwards = scales[True] > 1.1 * scales[False]
        self.scale = scales[self.downwards]
        self.layout = layouts[self.downwards]
        self.sizes = self.measure(self.downwards)

    def lay_out(self, downwards: bool) -> Layout:
        """Find places for the boxes."""
        sizes = self.measure(downwards)
        if downwards:
            turned = {key: (height, width) for key, (width, height) in sizes.items()}
            layout = lay_out(turned, self.arrows, column_gap=COLUMN_GAP * 0.8, row_gap=1.5 * ROW_GAP)
            return turn(layout)
        labels = {pair: self.label(arrows) for pair, arrows in self.arrows.items()}
        size = self.style.note_font_size
        rooms = {
            pair: text_width(label, size, False) * self.spread + 24 for pair, label in labels.items() if label
        }
        return lay_out(sizes, self.arrows, column_gap=COLUMN_GAP, row_gap=ROW_GAP, rooms=rooms)

    def label(self, arrows: list[Arrow]) -> str:
        """Return what is written at an arrow: what its begin and end do not show."""
        several = len(arrows) > 1 and len(self.boxes[arrows[0].source].entries) > 1
        if several or any(arrow.label for arrow in arrows):
            return ", ".join(arrow.label or arrow.name for arrow in arrows)
        return ""

    def line_width(self, line: list[Piece]) -> float:
        """Return the width of a line in points."""
        return sum(text_width(text, size, bold) for text, size, bold, _ in line) * self.spread

    def measure(self, downwards: bool) -> dict[str, tuple[float, float]]:
        """Return width and height that each box needs for its text."""
        sizes = {}
        for key, box in self.boxes.items():
            lines = self.lines(box, downwards)
            frame = 2 * FRAME if box.kind is Kind.MAPPED else 0
            height = sum(map(line_height, lines)) + PADDING + frame
            sizes[key] = (max(map(self.line_width, lines)) + 2 * PADDING + frame, height)
        return sizes

    def lines(self, box: Box, downwards: bool) -> list[list[Piece]]:
        """Return the lines of a box; arrows begin at the values, which so stand side by side or in rows."""
        style = self.style
        lines = [[(box.title, style.font_size, False, style.text_color)]] if box.title else []
        lines += [[(note, style.note_font_size, False, style.note_color)] for note in box.notes]
        entries = [self.entry(entry) for entry in box.entries]
        if downwards and entries:
            gap = ("   ", style.font_size, False, style.text_color)
            side_by_side = entries[0]
            for entry in entries[1:]:
                side_by_side = [*side_by_side, gap, *entry]
            return [*lines, side_by_side]
        return [*lines, *entries]

    def entry(self, entry: Entry) -> list[Piece]:
        """Return a named value as pieces of text."""
        style = self.style
        pieces = [(entry.name, style.font_size, True, style.text_color)]
        if entry.axes:
            pieces.append((entry.axes, style.font_size, False, style.text_color))
        if entry.type:
            pieces.append((f"  : {entry.type}", style.note_font_size, False, style.note_color))
        if entry.value:
            pieces.append((f" = {entry.value}", style.note_font_size, False, style.note_color))
        return pieces

    def draw(self, axes: Any) -> None:
        """Draw everything."""
        for pair in self.arrows:
            self.draw_arrow(axes, pair)
        for box in self.boxes.values():
            self.draw_box(axes, box)

    def draw_box(self, axes: Any, box: Box) -> None:
        """Draw a box and what is written in it."""
        (x, y), (width, height) = self.layout.centers[box.key], self.sizes[box.key]
        style, scale = self.style, self.scale
        fill = self.fills.get(box.key, style.fill(box.kind))
        insets = {0.0: style.background_color, FRAME: fill} if box.kind is Kind.MAPPED else {0.0: fill}
        for inset, color in insets.items():
            patch = _patches().FancyBboxPatch(
                (x - width / 2 + inset, y - height / 2 + inset),
                width - 2 * inset,
                height - 2 * inset,
                boxstyle=f"round,pad=0,rounding_size={PADDING}" if box.title else "square,pad=0",
                facecolor=color,
                edgecolor=style.border_color,
                linewidth=(2 if box.final else 1) * scale,
                zorder=3,
            )
            axes.add_patch(patch)
        lines = self.lines(box, self.downwards)
        top = y + sum(map(line_height, lines)) / 2
        for line in lines:
            left = x - self.line_width(line) / 2
            baseline = top - max(piece[1] for piece in line)
            for text, size, bold, color in line:
                weight = "bold" if bold else "normal"
                self.write(axes, (left, baseline), text, size, color=color, weight=weight, zorder=4)
                left += text_width(text, size, bold) * self.spread
            top -= line_height(line)

    def write(self, axes: Any, place: Point, text: str, size: float, **options: Any) -> None:
        """Write a text as it is: a ``$`` in it means nothing."""
        axes.text(*place, text, fontsize=size * self.scale, parse_math=False, **options)

    def draw_arrow(self, axes: Any, pair: Pair) -> None:
        """Draw what leads from one box to another."""
        style, scale = self.style, self.scale
        arrows = self.arrows[pair]
        source = self.boxes[pair[0]]
        gathered = any(arrow.label for arrow in arrows)
        route = list(self.layout.routes[pair])
        if len(source.entries) > 1:
            places = [self.place_of(source, arrow.entry) for arrow in arrows]
            middle = sum(places) / len(places)
            route[0] = (middle, route[0][1]) if self.downwards else (route[0][0], middle)
        head = f"-|>,head_length={4 * scale},head_width={2 * scale}"
        patch = _patches().FancyArrowPatch(
            path=curve(route, self.downwards),
            arrowstyle=head,
            mutation_scale=1,
            color=style.function_arrow_color if source.title else style.input_arrow_color,
            linewidth=(2 if gathered else 1) * scale,
            zorder=2,
        )
        axes.add_patch(patch)
        label = self.label(arrows)
        if label:
            # Where several arrows with labels leave one box, the labels would meet near it.
            crowded = sum(bool(self.label(a)) for p, a in self.arrows.items() if p[0] == pair[0]) > 1
            (x0, y0), (x1, y1) = (route[-2], route[-1]) if crowded else (route[0], route[1])
            part = 0.65 if crowded and self.downwards else 0.5
            self.write(
                axes,
                (x0 + part * (x1 - x0), y0 + part * (y1 - y0)),
                label,
                style.note_font_size,
                color=style.note_color,
                zorder=5,
                horizontalalignment="center",
                verticalalignment="center",
                bbox={"facecolor": style.background_color, "edgecolor": "none", "alpha": 0.85, "pad": 0.5},
            )

    def place_of(self, box: Box, entry: int) -> float:
        """Return where along its side a value stands in a box."""
        x, y = self.layout.centers[box.key]
        lines = self.lines(box, self.downwards)
        if self.downwards:
            widths = [self.line_width(self.entry(value)) for value in box.entries]
            gap = (self.line_width(lines[-1]) - sum(widths)) / max(len(widths) - 1, 1)
            return x - self.line_width(lines[-1]) / 2 + sum(widths[:entry]) + entry * gap + widths[entry] / 2
        row = len(lines) - len(box.entries) + entry
        above = sum(map(line_height, lines[:row])) + line_height(lines[row]) / 2
        return y + sum(map(line_height, lines)) / 2 - above


class _Legend:
    """What the kinds of boxes are, in as many lines below everything as the width asks for."""

    def __init__(self, picture: Picture, style: Style, room: float) -> None:
        self.style = style
        self.names: list[tuple[str, Kind | None]] = [(kind.value, kind) for kind in picture.kinds]
        if any(box.final for box in picture.boxes):
            self.names.append(("last output", None))
        self.size = style.note_font_size * 0.9 * min(1.0, max(0.65, room / 576))  # smaller below 8 inches
        widest = max(text_width(name, self.size, False) for name, _ in self.names) + 4 * self.size
        self.columns = min(max(int(room / widest), 1), len(self.names))
        self.height = LEGEND_LINE * -(-len(self.names) // self.columns)

    def draw(self, figure: Any) -> None:
        """Draw it at the foot of a figure."""
        figure.legend(
            handles=[self.sample(name, kind) for name, kind in self.names],
            loc="lower center",
            ncols=self.columns,
            fontsize=self.size,
            labelcolor=self.style.note_color,
            frameon=False,
            borderaxespad=0.2,
            columnspacing=1.2,
            handlelength=1.4,
        )

    def sample(self, name: str, kind: Kind | None) -> Any:
        """Return a small box as those of the picture."""
        style = self.style
        if kind is None:
            look: dict[str, Any] = {"facecolor": style.background_color, "linewidth": 2}
        else:
            look = {"facecolor": style.fill(kind)}
        if kind is Kind.MAPPED:
            effects = _optional.require("matplotlib.patheffects", extra="plot")
            outer = effects.Stroke(linewidth=5, foreground=style.border_color)
            gap = effects.Stroke(linewidth=3.5, foreground=style.background_color)
            look["path_effects"] = [outer, gap, effects.Normal()]
        return _patches().Patch(edgecolor=style.border_color, label=name, **look)


def turn(layout: Layout) -> Layout:
    """Turn a layout that goes to the right so that it goes downwards.

    Examples
    --------
    >>> turn(Layout({"x": (5.0, 2.0)}, {}, 50.0, 4.0))
    Layout(centers={'x': (2.0, 45.0)}, routes={}, width=4.0, height=50.0)

    """

    def moved(point: Point) -> Point:
        return (layout.height - point[1], layout.width - point[0])

    centers = {key: (layout.height - y, layout.width - x) for key, (x, y) in layout.centers.items()}
    routes = {pair: [moved(point) for point in route] for pair, route in layout.routes.items()}
    return Layout(centers, routes, layout.height, layout.width)


def curve(route: Sequence[Point], downwards: bool) -> Any:
    """Return a smooth path that passes each point in the direction of the layout."""
    path = _optional.require("matplotlib.path", extra="plot").Path
    vertices, codes = [route[0]], [path.MOVETO]
    for (x0, y0), (x1, y1) in zip(route, route[1:], strict=False):
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        vertices += [(x0, y), (x1, y), (x1, y1)] if downwards else [(x, y0), (x, y1), (x1, y1)]
        codes += [path.CURVE4] * 3
    return path(vertices, codes)


def line_height(line: list[Piece]) -> float:
    """Return the distance of a line to the next."""
    return max(size for _, size, _, _ in line) * LINE


def _patches() -> Any:
    return _optional.require("matplotlib.patches", extra="plot")


@functools.lru_cache(maxsize=10_000)
def text_width(text: str, size: float, bold: bool) -> float:
    """Return the width of a text in points."""
    paths = _optional.require("matplotlib.textpath", extra="plot")
    fonts = _optional.require("matplotlib.font_manager", extra="plot")
    font = fonts.FontProperties(weight="bold" if bold else "normal", size=size)
    # Outer spaces have a width too, which the extent of the drawn letters lacks.
    width, _, _ = paths.text_to_path.get_text_width_height_descent(f".{text}.", font, ismath=False)
    dots, _, _ = paths.text_to_path.get_text_width_height_descent("..", font, ismath=False)
    return float(width - dots)
