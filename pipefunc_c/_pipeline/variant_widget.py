"""Menus that select variants above the picture of the pipeline that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c import _optional
from pipefunc_c._pipeline.variant_selection import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def variant_widget(
    variants: Mapping[str | None, set[str]],
    selected: Mapping[str | None, str],
    pipeline_of: Callable[[dict[str | None, str]], Any],
    **kwargs: Any,
) -> Any:
    """Make a widget with a menu per group of variants.

    Parameters
    ----------
    variants
        Names per group.
    selected
        What is selected at first; of other groups the first name.
    pipeline_of
        Called with a name per group, returns the pipeline to be shown.
    **kwargs
        Given to its method `visualize`.

    Returns
    -------
    ipywidgets.VBox
        The menus, and below them the picture, drawn anew when a menu changes.

    Raises
    ------
    MissingDependencyError
        If ipywidgets is not installed.

    """
    widgets = _optional.require("ipywidgets", extra="notebook")
    display = _optional.require("IPython.display", package="ipython", extra="notebook").display
    menus = {}
    for group in in_order(variants):
        names = sorted(variants[group])
        description = "variant" if group is None else group
        value = selected.get(group, names[0])
        menus[group] = widgets.Dropdown(options=names, value=value, description=description)
    picture = widgets.Output()

    def draw(_change: object = None) -> None:
        picture.clear_output(wait=True)
        with picture:
            drawing = pipeline_of({group: menu.value for group, menu in menus.items()}).visualize(**kwargs)
            if drawing is not None:
                display(drawing)

    for menu in menus.values():
        menu.observe(draw, names="value")
    draw()
    return widgets.VBox([*menus.values(), picture])
