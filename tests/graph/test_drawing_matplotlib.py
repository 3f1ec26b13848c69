from __future__ import annotations

import itertools

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.drawing.compose import compose
from pipefunc_c._graph.drawing.matplotlib import COMBINED, to_figure
from pipefunc_c._graph.drawing.picture import Picture
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c.exceptions import InvalidValueError, MissingDependencyError


@pytest.fixture(autouse=True)
def needs_matplotlib(require):
    require("matplotlib", reason="it draws")


def graph():
    def scale(x: float, price: str = "$x^2$") -> float: ...

    return FunctionGraph(
        [
            PipeFunc(scale, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(lambda y, w: (y, w), ("a", "b"), bound={"w": 1}),
            PipeFunc(lambda a, b: a, "c"),
            PipeFunc(lambda b, y: a, "d"),  # noqa: F821  never called
        ]
    )


def chain(n):
    functions = [PipeFunc(lambda v: v, "v0", renames={"v": "start"})]
    functions += [PipeFunc(lambda v: v, f"v{k}", renames={"v": f"v{k - 1}"}) for k in range(1, n)]
    return FunctionGraph(functions)


def drawn(figure):
    """Return renderer and axes of a figure that was drawn."""
    canvas = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer(), figure.axes[0]


SHAPES = pytest.mark.parametrize("figsize", [(10, 4), (4, 10)], ids=["wide", "tall"])


@SHAPES
def test_everything_is_written(figsize):
    figure = to_figure(compose(graph()), figsize=figsize)
    written = [text.get_text().strip() for text in figure.axes[0].texts]
    for text in ("x", "[i]", ": float", "= '$x^2$'", "scale", "y", "a", "b", "w", "= 1", "y[:]", "a, b"):
        assert text in written
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["input", "bound value", "function", "function, called per element", "last output"]


@SHAPES
def test_nothing_leaves_the_figure(figsize):
    figure = to_figure(compose(graph()), figsize=figsize)
    renderer, axes = drawn(figure)
    for artist in (*axes.texts, *axes.patches, *figure.legends):
        box = artist.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("figsize", [(10, 4), (4, 10), (4, 3)], ids=["wide", "tall", "small"])
def test_text_stays_in_its_box(figsize):
    figure = to_figure(compose(graph()), figsize=figsize)
    renderer, axes = drawn(figure)
    boxes = [p.get_window_extent(renderer) for p in axes.patches if type(p).__name__ == "FancyBboxPatch"]
    for text in axes.texts:
        if text.get_bbox_patch() is None:  # else the label of an arrow
            extent = text.get_window_extent(renderer)
            inside = [
                b
                for b in boxes
                if b.x0 <= extent.x0 and extent.x1 <= b.x1 and b.y0 <= extent.y0 and extent.y1 <= b.y1
            ]
            assert inside, text.get_text()


@SHAPES
def test_pieces_of_a_line_do_not_overlap(figsize):
    figure = to_figure(compose(graph()), figsize=figsize)
    renderer, axes = drawn(figure)
    extents = [t.get_window_extent(renderer) for t in axes.texts if t.get_bbox_patch() is None]
    for a, b in itertools.combinations(extents, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert width < 2 or height < 8  # lines are closer than the tallest letters are high


def places(figure):
    return {text.get_text(): text.get_position() for text in figure.axes[0].texts}


def test_a_wide_figure_goes_to_the_right_and_a_tall_one_downwards():
    wide = places(to_figure(compose(chain(8)), figsize=(10, 4)))
    tall = places(to_figure(compose(chain(8)), figsize=(4, 10)))
    assert wide["v0"][0] < wide["v7"][0]
    assert wide["v0"][1] == wide["v7"][1]
    assert tall["v0"][1] > tall["v7"][1]
    assert tall["v0"][0] == tall["v7"][0]


def test_functions_of_a_group_have_a_colour_of_their_own():
    figure = to_figure(compose(chain(3)), groups=[["v0", "v1"]])
    to_hex = pytest.importorskip("matplotlib.colors").to_hex
    colors = [to_hex(p.get_facecolor()) for p in figure.axes[0].patches]
    assert colors.count(COMBINED[0]) == 2


@pytest.mark.parametrize("figsize", [(0, 1), (1,), 5, "ab", (1, float("nan"))], ids=str)
def test_a_wrong_size_is_named(figsize):
    with pytest.raises(InvalidValueError, match="figsize"):
        to_figure(compose(graph()), figsize=figsize)


def test_an_empty_picture_is_an_empty_figure():
    assert to_figure(Picture((), ())).axes == []


def test_pyplot_does_not_know_of_the_figure(require):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    to_figure(compose(graph()))
    assert pyplot.get_fignums() == before


def test_matplotlib_is_named_where_it_is_missing(monkeypatch):
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingDependencyError, match="matplotlib") as caught:
        to_figure(compose(graph()))
    assert "pipefunc_c[plot]" in str(caught.value)
