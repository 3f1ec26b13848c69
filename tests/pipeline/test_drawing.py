from __future__ import annotations

import sys
import types

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.drawing import graphviz
from pipefunc_c._pipeline import drawing
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import InvalidValueError, MissingDependencyError, NotAvailableError


@pytest.fixture
def pipeline(require):
    require("graphviz", reason="it draws")
    require("matplotlib", reason="it draws")
    return Pipeline(
        [
            PipeFunc(lambda x, k=2: x, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(lambda a, b: a, "u", scope="s"),
            PipeFunc(lambda y, u: y, "z", renames={"u": "s.u"}),
        ]
    )


@pytest.fixture
def notebook(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})()
    fake = types.SimpleNamespace(get_ipython=lambda: shell, __spec__=None)
    monkeypatch.setitem(sys.modules, "IPython", fake)


def without(monkeypatch, *modules):
    available = drawing._optional.is_available
    monkeypatch.setattr(
        drawing._optional, "is_available", lambda name: name not in modules and available(name)
    )


@pytest.mark.parametrize(
    ("backend", "kind"),
    [("graphviz", "Digraph"), ("matplotlib", "Figure"), ("graphviz_widget", "VBox")],
)
def test_visualize_by_a_backend(pipeline, require, backend, kind):
    if backend == "graphviz_widget":
        require("graphviz_anywidget", reason="it draws in notebooks")
    assert type(pipeline.visualize(backend=backend)).__name__ == kind


def test_the_options_go_to_the_backend(pipeline):
    assert "rankdir=TB" in pipeline.visualize(backend="graphviz", orient="TB").source
    with pytest.raises(TypeError, match="orient"):
        pipeline.visualize(backend="matplotlib", orient="TB")


def test_an_unknown_backend_is_named(pipeline):
    with pytest.raises(InvalidValueError, match="'crayon'.*'graphviz'"):
        pipeline.visualize(backend="crayon")


def test_holoviews_is_not_available(pipeline):
    with pytest.raises(NotAvailableError, match="holoviews"):
        pipeline.visualize(backend="holoviews")


def test_graphviz_is_the_first_choice(pipeline, monkeypatch):
    monkeypatch.setattr(graphviz, "dot_is_installed", lambda: True)
    assert type(pipeline.visualize()).__name__ == "Digraph"


def test_matplotlib_is_the_choice_without_dot(pipeline, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert type(pipeline.visualize()).__name__ == "Figure"


def test_matplotlib_is_the_choice_without_the_package_graphviz(pipeline, monkeypatch):
    without(monkeypatch, "graphviz")
    assert type(pipeline.visualize()).__name__ == "Figure"


def test_a_widget_is_the_choice_in_a_notebook(pipeline, require, notebook):
    require("graphviz_anywidget", reason="it draws in notebooks")
    assert type(pipeline.visualize()).__name__ == "VBox"


def test_options_that_the_widget_lacks_choose_another_backend(pipeline, monkeypatch, notebook):
    monkeypatch.setenv("PATH", "")
    assert type(pipeline.visualize(figsize=(4, 3))).__name__ == "Figure"


def test_with_nothing_installed_the_error_says_what_to_install(pipeline, monkeypatch):
    without(monkeypatch, "graphviz", "matplotlib")
    with pytest.raises(ImportError, match="matplotlib") as caught:
        pipeline.visualize()
    assert isinstance(caught.value, MissingDependencyError)
    assert "pipefunc_c[plot]" in str(caught.value)


@pytest.mark.parametrize(
    ("method", "module", "package"),
    [
        ("visualize_graphviz", "graphviz", "graphviz"),
        ("visualize_graphviz_widget", "graphviz_anywidget", "graphviz-anywidget"),
        ("visualize_matplotlib", "matplotlib.figure", "matplotlib"),
    ],
)
def test_a_missing_package_is_named(pipeline, monkeypatch, method, module, package):
    for name in {module, module.partition(".")[0]}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError) as caught:
        getattr(pipeline, method)()
    assert caught.value.detail == package


def test_the_options_of_graphviz(pipeline):
    source = pipeline.visualize_graphviz(
        collapse_scopes=True,
        min_arg_group_size=2,
        hide_default_args=True,
        include_full_mapspec=True,
        show_legend=False,
        style={"input_color": "#abcdef"},
        figsize=3,
        graphviz_kwargs={"name": "mine"},
    ).source
    for part in (
        "2 functions",
        "1 function",
        "s.a, s.b",
        "x[i] -&gt; y[i]",
        "#abcdef",
        "3.0,3.0!",
        "digraph mine",
    ):
        assert (part in source) == (part != "2 functions"), part
    assert "legend" not in source
    assert "= 2" not in source


def test_a_file_is_written_and_the_picture_returned(pipeline, tmp_path):
    pipeline.visualize_matplotlib(filename=tmp_path / "picture.png")
    digraph = pipeline.visualize_graphviz(filename=tmp_path / "picture.dot")
    assert (tmp_path / "picture.dot").read_text() == digraph.source
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_html(pipeline, require, leave_out):
    require("IPython", reason="notebooks show its HTML")
    if not graphviz.dot_is_installed():
        leave_out("the program dot of Graphviz is missing")
    html = pipeline.visualize_graphviz(return_type="html").data
    assert html.startswith("<div")
    assert "<?xml" not in html
    assert html.count("</svg>") == 1


def test_a_digraph_outside_of_notebooks(pipeline):
    assert type(pipeline.visualize_graphviz()).__name__ == "Digraph"
    assert type(pipeline.visualize_graphviz(return_type="graphviz")).__name__ == "Digraph"


def test_html_by_default_in_a_notebook(pipeline, monkeypatch):
    monkeypatch.setattr(drawing, "in_notebook", lambda: True)
    monkeypatch.setattr(drawing.graphviz, "render", lambda digraph, file_format: file_format.encode())
    monkeypatch.setattr(drawing.widget, "to_html", lambda svg: svg)
    assert pipeline.visualize_graphviz() == b"svg"
    assert type(pipeline.visualize_graphviz(return_type="graphviz")).__name__ == "Digraph"


def test_an_unknown_return_type_is_named(pipeline):
    with pytest.raises(InvalidValueError, match="return_type.*'text'"):
        pipeline.visualize_graphviz(return_type="text")


def test_the_picture_follows_the_pipeline(pipeline):
    assert "s.u" in pipeline.visualize_graphviz().source
    pipeline.update_renames({"s.u": "t.u"})
    source = pipeline.visualize_graphviz().source
    assert "t.u" in source
    assert "s.u" not in source


def test_combinable_functions_are_coloured():
    pytest.importorskip("matplotlib")
    functions = [PipeFunc(lambda x: x, "y"), PipeFunc(lambda y: y, "z"), PipeFunc(lambda z, k: z, "w")]
    pipeline = Pipeline(functions)

    def colors(**options):
        return {p.get_facecolor() for p in pipeline.visualize_matplotlib(**options).axes[0].patches}

    assert len(colors(color_combinable=True)) == len(colors()) + 1
    assert colors(color_combinable=True, output_name="y") == colors()
