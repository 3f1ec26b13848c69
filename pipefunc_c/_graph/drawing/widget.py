"""Drawing a picture in a notebook, to be zoomed and searched there."""

from __future__ import annotations

from typing import Any

from pipefunc_c import _optional


def to_widget(digraph: Any) -> Any:
    """Return a widget that lays out and draws in the browser.

    Parameters
    ----------
    digraph
        What `pipefunc_c._graph.drawing.graphviz.to_digraph` returned.

    Returns
    -------
    ipywidgets.VBox
        The widget.

    Raises
    ------
    MissingDependencyError
        If the package graphviz-anywidget is not installed.

    """
    package = _optional.require("graphviz_anywidget", package="graphviz-anywidget", extra="notebook")
    return package.graphviz_widget(digraph.source)


def to_html(svg: bytes) -> Any:
    """Return a drawing as HTML that a notebook shows no wider than its cell.

    Parameters
    ----------
    svg
        The drawing.

    Returns
    -------
    IPython.display.HTML
        What a notebook shows.

    Raises
    ------
    MissingDependencyError
        If the package ipython is not installed.

    """
    display = _optional.require("IPython.display", package="ipython", extra="notebook")
    text = svg.decode()
    # What stands before the tag is for files of their own.
    drawing = text[text.index("<svg") :]
    style = "<style>.pipefunc-c-graph svg {max-width: 100%; height: auto}</style>"
    return display.HTML(f'<div class="pipefunc-c-graph">{style}{drawing}</div>')
