"""Pictures of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pipefunc_c import _optional
from pipefunc_c._graph.drawing import graphviz, matplotlib, widget
from pipefunc_c._graph.drawing.combinable import combinable
from pipefunc_c._graph.drawing.compose import compose
from pipefunc_c._graph.drawing.style import read_style
from pipefunc_c._notebook import in_notebook
from pipefunc_c._pipeline.views import PipelineViews
from pipefunc_c.exceptions import InvalidValueError, MissingDependencyError, NotAvailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pipefunc_c._graph.drawing.graphviz import Orientation
    from pipefunc_c._graph.graph import OutputName

Backend: TypeAlias = Literal["graphviz_widget", "graphviz", "matplotlib", "holoviews"]
BACKENDS = ("graphviz_widget", "graphviz", "matplotlib", "holoviews")
RETURN_TYPES = (None, "graphviz", "html")


class DrawingMethods(PipelineViews):
    """Draw a pipeline; a base of `Pipeline`."""

    def visualize(self, *, backend: Backend | None = None, **kwargs: Any) -> Any:
        """Draw the pipeline by the best means that are installed.

        Parameters
        ----------
        backend
            ``"graphviz_widget"``, ``"graphviz"`` or ``"matplotlib"``. By default the first of them that can
            be used, the widget in notebooks only.
        **kwargs
            Keywords of `visualize_graphviz_widget`, `visualize_graphviz` or `visualize_matplotlib`.

        Returns
        -------
        Any
            What that method returns.

        Raises
        ------
        InvalidValueError
            If there is no such backend.
        NotAvailableError
            If it is ``"holoviews"``.
        MissingDependencyError
            If what it needs is not installed.

        Examples
        --------
        >>> from pipefunc_c._function.pipefunc import PipeFunc
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> pipeline = Pipeline([PipeFunc(lambda x: x, "y")])
        >>> pipeline.visualize(backend="matplotlib", figsize=(4, 3)).get_size_inches().tolist()
        [4.0, 3.0]

        """
        if backend is None:
            backend = _best_backend(kwargs)
        if backend not in BACKENDS:
            message = f"there is no backend {backend!r}; choose one of {list(BACKENDS[:-1])}"
            raise InvalidValueError(message, detail=backend)
        if backend == "holoviews":
            message = "drawing through holoviews is not available"
            raise NotAvailableError(message, detail=backend, hint="Use the backend 'graphviz_widget'.")
        return getattr(self, f"visualize_{backend}")(**kwargs)

    def visualize_graphviz(  # noqa: PLR0913  each is an option of the picture
        self,
        *,
        figsize: float | tuple[float, float] | None = None,
        collapse_scopes: bool | Collection[str] = False,
        min_arg_group_size: int | None = None,
        hide_default_args: bool = False,
        filename: str | Path | None = None,
        style: Mapping[str, Any] | None = None,
        orient: Orientation = "LR",
        graphviz_kwargs: Mapping[str, Any] | None = None,
        show_legend: bool = True,
        include_full_mapspec: bool = False,
        return_type: Literal["graphviz", "html"] | None = None,
    ) -> Any:
        """Draw the pipeline through Graphviz: types, defaults, axes, scopes and nested functions.

        Inputs are square boxes, functions round ones with their outputs below the line; a double frame means
        that a function is called per element. A thick arrow takes an array whole along the axes that have
        ``:`` at it.

        Parameters
        ----------
        figsize
            Width and height in inches into which the picture is scaled; one number: a square.
        collapse_scopes
            Whether each scope is drawn as one box; or the scopes for which that is so.
        min_arg_group_size
            Inputs that one function alone takes share a box if there are at least so many; None: never.
        hide_default_args
            Whether to leave out inputs that have a default.
        filename
            File to write; its suffix says the format, such as ``.svg``, ``.png``, ``.pdf`` or ``.dot``.
        style
            Colours and fonts in the place of the standard ones: ``font_name``, ``font_size``,
            ``note_font_size``, ``text_color``, ``note_color``, ``background_color``, ``border_color``,
            ``input_color``, ``bound_color``, ``resources_color``, ``function_color``, ``nested_color``,
            ``scope_color``, ``cluster_color``, ``input_arrow_color``, ``function_arrow_color``.
        orient
            Where the arrows go: ``"LR"`` from left to right, ``"TB"`` from top to bottom, ``"RL"``, ``"BT"``.
        graphviz_kwargs
            Keywords of ``graphviz.Digraph``.
        show_legend
            Whether to explain the kinds of boxes.
        include_full_mapspec
            Whether to write the mapspec into the box of each function.
        return_type
            ``"graphviz"`` or ``"html"``; by default HTML in a notebook, else the former.

        Returns
        -------
        graphviz.Digraph or IPython.display.HTML
            The picture.

        Raises
        ------
        MissingDependencyError
            If the package graphviz is not installed, or to write a file or HTML the program ``dot``.
        InvalidValueError
            If an option has a value that is none of the above.
        InvalidTypeError
            If an option has a wrong type.

        Examples
        --------
        >>> from pipefunc_c._function.pipefunc import PipeFunc
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> digraph = Pipeline([PipeFunc(lambda x: x, "y")]).visualize_graphviz(orient="TB")
        >>> "rankdir=TB" in digraph.source
        True

        """
        if return_type not in RETURN_TYPES:
            message = f"return_type must be 'graphviz', 'html' or None, got {return_type!r}"
            raise InvalidValueError(message, detail=return_type)
        picture = compose(
            self.function_graph,
            collapse_scopes=collapse_scopes,
            min_arg_group_size=min_arg_group_size,
            hide_default_args=hide_default_args,
            include_full_mapspec=include_full_mapspec,
        )
        digraph = graphviz.to_digraph(
            picture,
            style=read_style(style),
            orient=orient,
            figsize=figsize,
            show_legend=show_legend,
            graphviz_kwargs=graphviz_kwargs,
        )
        if filename is not None:
            graphviz.save(digraph, filename)
        if return_type == "html" or (return_type is None and in_notebook()):
            return widget.to_html(graphviz.render(digraph, "svg"))
        return digraph

    def visualize_graphviz_widget(
        self, *, orient: Orientation = "TB", graphviz_kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Draw the pipeline in a notebook, to be zoomed and searched there.

        Parameters
        ----------
        orient, graphviz_kwargs
            As for `visualize_graphviz`.

        Returns
        -------
        ipywidgets.VBox
            The widget. The browser draws; the program ``dot`` is not needed.

        Raises
        ------
        MissingDependencyError
            If the packages graphviz and graphviz-anywidget are not installed.
        InvalidValueError
            If `orient` is none of those.

        """
        picture = compose(self.function_graph)
        digraph = graphviz.to_digraph(picture, orient=orient, graphviz_kwargs=graphviz_kwargs)
        return widget.to_widget(digraph)

    def visualize_matplotlib(
        self,
        figsize: tuple[float, float] = (10, 10),
        filename: str | Path | None = None,
        *,
        color_combinable: bool = False,
        conservatively_combine: bool = False,
        output_name: OutputName | None = None,
    ) -> Any:
        """Draw the pipeline through matplotlib, for which no other program is needed.

        Parameters
        ----------
        figsize
            Width and height of the figure in inches. Everything is scaled to fit, to the right or downwards.
        filename
            File to write; its suffix says the format.
        color_combinable
            Whether functions that `simplified_pipeline` would combine get a common colour.
        conservatively_combine, output_name
            As for `simplified_pipeline`; used with `color_combinable` only.

        Returns
        -------
        matplotlib.figure.Figure
            The figure. A notebook shows it; pyplot does not know of it.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        InvalidValueError
            If `figsize` is not two positive numbers.
        NotAvailableError, GraphError, UnknownNameError
            With `color_combinable`, if a function has a mapspec, if `output_name` is needed and not given,
            or if it does not exist.

        Examples
        --------
        >>> from pipefunc_c._function.pipefunc import PipeFunc
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> figure = Pipeline([PipeFunc(lambda x: x, "y")]).visualize_matplotlib()
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['x', '<lambda>', 'y']

        """
        graph = self.function_graph
        groups: list[list[str]] = []
        if color_combinable:
            groups = combinable(graph, output_name, conservatively_combine=conservatively_combine)
        figure = matplotlib.to_figure(compose(graph), figsize=figsize, groups=groups)
        if filename is not None:
            figure.savefig(filename)
        return figure


def _best_backend(kwargs: Mapping[str, Any]) -> Backend:
    drawable = _optional.is_available("graphviz")
    fits_widget = kwargs.keys() <= {"orient", "graphviz_kwargs"}
    if drawable and fits_widget and in_notebook() and _optional.is_available("graphviz_anywidget"):
        return "graphviz_widget"
    if drawable and graphviz.dot_is_installed():
        return "graphviz"
    if _optional.is_available("matplotlib"):
        return "matplotlib"
    message = "drawing needs the package graphviz and its program 'dot', or matplotlib; neither is installed"
    raise MissingDependencyError(message, detail="matplotlib", hint='Run: pip install "pipefunc_c[plot]"')
