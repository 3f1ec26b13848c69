from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.drawing import graphviz
from pipefunc_c._graph.drawing.compose import compose
from pipefunc_c._graph.drawing.style import Style, read_style
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, MissingDependencyError

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def needs_graphviz(require):
    require("graphviz", reason="it draws")


@pytest.fixture
def dot(leave_out):
    if shutil.which("dot") is None:
        leave_out("the program dot of Graphviz is missing")


def graph():
    def scale(x: dict[str, float], k: str = "<a> & 'b'") -> float: ...

    inner = [PipeFunc(lambda a: a, "p"), PipeFunc(lambda p: p, "q")]
    return FunctionGraph(
        [
            PipeFunc(scale, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(lambda y, w: (y, w), ("a", "b"), bound={"w": 1}),
            NestedPipeFunc(inner, "q", "both"),
            PipeFunc(lambda q, b: q, "out", renames={"out": "s.out"}),
        ]
    )


def texts(digraph):
    """Return what is written in the drawing, and the class and title of each part of it."""
    root = ET.fromstring(graphviz.render(digraph, "svg"))
    written = [element.text or "" for element in root.iter(f"{SVG}text")]
    parts = [(g.get("class"), g.findtext(f"{SVG}title")) for g in root.iter(f"{SVG}g")]
    return " ".join(" ".join(written).split()), parts


@pytest.mark.parametrize("orient", ["LR", "TB", "RL", "BT"])
def test_everything_is_drawn(dot, orient):
    written, parts = texts(graphviz.to_digraph(compose(graph()), orient=orient))
    nodes = {title for kind, title in parts if kind == "node"}
    assert nodes == {"x", "k", "w of a, b", "y", "a, b", "q", "s.out", "(legend)"}
    assert sum(kind == "edge" for kind, _ in parts) == 7
    assert ("cluster", "cluster_s") in parts
    for text in ("scale", "y [i]", ": dict[str, float]", "= \"<a> & 'b'\"", "both", "y[:]", "input"):
        assert text in written.replace("\xa0", " "), text


def test_an_arrow_begins_at_its_output():
    source = graphviz.to_digraph(compose(graph())).source
    assert '"a, b":v1:e -> "s.out"' in source


def test_the_legend_has_the_kinds_that_occur():
    picture = compose(FunctionGraph([PipeFunc(lambda x: x, "y")]))
    source = graphviz.to_digraph(picture).source
    assert ">function<" in source
    assert "per element" not in source
    assert "legend" not in graphviz.to_digraph(picture, show_legend=False).source


def test_a_mapped_function_has_a_double_frame():
    source = graphviz.to_digraph(compose(graph())).source
    assert [line for line in source.splitlines() if "peripheries=2" in line][0].strip().startswith("y [")


def test_the_attributes_of_the_caller_win():
    options = {"graph_attr": {"rankdir": "BT", "splines": "ortho"}, "name": "mine"}
    source = graphviz.to_digraph(compose(graph()), graphviz_kwargs=options).source
    assert "rankdir=BT" in source
    assert "splines=ortho" in source
    assert "digraph mine" in source
    assert options == {"graph_attr": {"rankdir": "BT", "splines": "ortho"}, "name": "mine"}


@pytest.mark.parametrize(("figsize", "size"), [(5, "5.0,5.0!"), ((4, 3), "4.0,3.0!"), ([4, 3], "4.0,3.0!")])
def test_the_size_in_inches(figsize, size):
    assert f'size="{size}"' in graphviz.to_digraph(compose(graph()), figsize=figsize).source


@pytest.mark.parametrize("figsize", [0, (1, 2, 3), "big", (1, -1), float("nan"), float("inf")], ids=str)
def test_a_wrong_size_is_named(figsize):
    with pytest.raises(InvalidValueError, match="figsize"):
        graphviz.to_digraph(compose(graph()), figsize=figsize)


def test_a_wrong_orientation_is_named():
    with pytest.raises(InvalidValueError, match="'up'"):
        graphviz.to_digraph(compose(graph()), orient="up")


def test_a_style_is_used():
    style = read_style({"function_color": "#123456", "font_name": "Courier"})
    source = graphviz.to_digraph(compose(graph()), style=style).source
    assert "#123456" in source
    assert "fontname=Courier" in source


def test_what_is_no_style():
    assert read_style(None) == Style()
    assert read_style(Style(font_size=3)).font_size == 3
    with pytest.raises(InvalidValueError, match="'colour'.*'font_name'"):
        read_style({"colour": "red"})
    with pytest.raises(InvalidTypeError, match="'red'"):
        read_style("red")


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")]
)
def test_the_suffix_says_the_format(dot, tmp_path, suffix, start):
    path = tmp_path / f"picture{suffix}"
    graphviz.save(graphviz.to_digraph(compose(graph())), path)
    assert path.read_bytes().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".dot", ".gv"])
def test_the_source_can_be_saved_without_dot(tmp_path, suffix, monkeypatch):
    monkeypatch.setenv("PATH", "")
    path = tmp_path / f"picture{suffix}"
    digraph = graphviz.to_digraph(compose(graph()))
    graphviz.save(digraph, str(path))
    assert path.read_text() == digraph.source


@pytest.mark.parametrize("name", ["picture", "picture.docx"])
def test_an_unknown_format_is_named(tmp_path, name):
    with pytest.raises(InvalidValueError, match=name):
        graphviz.save(graphviz.to_digraph(compose(graph())), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_filename_must_be_a_path():
    with pytest.raises(InvalidTypeError, match="filename.*3"):
        graphviz.save(graphviz.to_digraph(compose(graph())), 3)


def test_dot_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="'dot'") as caught:
        graphviz.save(graphviz.to_digraph(compose(graph())), tmp_path / "picture.png")
    assert isinstance(caught.value, ImportError)
    assert not list(tmp_path.iterdir())


def test_scopes_that_are_collapsed_and_take_from_each_other_are_drawn(dot):
    functions = [
        PipeFunc(lambda x: x, "a", scope="s"),
        PipeFunc(lambda a: a, "b", renames={"a": "s.a", "b": "t.b"}),
        PipeFunc(lambda b: b, "c", renames={"b": "t.b", "c": "s.c"}),
    ]
    picture = compose(FunctionGraph(functions), collapse_scopes=True)
    _, parts = texts(graphviz.to_digraph(picture))
    assert {title for kind, title in parts if kind == "node"} == {"s.x", "s", "t", "(legend)"}


@pytest.mark.parametrize("name", ["node", "graph", "edge", "legend", "strict", "subgraph"])
def test_names_that_mean_something_to_graphviz_are_names(dot, name):
    functions = [PipeFunc(lambda x: x, name), PipeFunc(lambda y: y, "out", renames={"y": name})]
    _, parts = texts(graphviz.to_digraph(compose(FunctionGraph(functions))))
    assert {title for kind, title in parts if kind == "node"} == {"x", name, "out", "(legend)"}


def test_any_documentation_and_default_can_be_drawn(dot):
    class Coloured:
        def __repr__(self):
            return "\x1b[31m<b>\x00\ud800&amp;"

    def function(x=Coloured()):  # noqa: B008
        r"""Divide by \alpha, "quoted" or 'not', <b>bold</b> & more."""

    digraph = graphviz.to_digraph(compose(FunctionGraph([PipeFunc(function, "y")])))
    svg = graphviz.render(digraph, "svg").decode()
    tooltip = "Divide by \\alpha, &quot;quoted&quot; or &#39;not&#39;, &lt;b&gt;bold&lt;/b&gt; &amp; more."
    assert tooltip in svg
    written, _ = texts(digraph)
    assert "[31m<b>" in written


def test_an_empty_graph_is_drawn(dot):
    assert graphviz.render(graphviz.to_digraph(compose(FunctionGraph([]))), "svg").startswith(b"<?xml")
