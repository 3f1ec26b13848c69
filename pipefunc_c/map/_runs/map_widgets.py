"""Widgets for maps in the background: the state of one with a button to cancel it, and tabs for several."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import message_of
from pipefunc_c._optional import require
from pipefunc_c.exceptions import InvalidValueError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

_LOOKS = {
    "pending": ("#757575", "waiting"),
    "running": ("#1976d2", "running"),
    "completed": ("#2e7d32", "completed"),
    "failed": ("#c62828", "failed"),
    "cancelled": ("#ef6c00", "cancelled"),
}
_MARKS = {"pending": "…", "running": "▶", "completed": "✔", "failed": "✘", "cancelled": "■"}


def _display(widget: Any) -> None:
    require("IPython.display", package="ipython", extra="notebook").display(widget)


class AsyncTaskStatusWidget:
    """Show the state of a task, with a button that cancels it.

    Parameters
    ----------
    name
        What is written before the state.
    body
        A widget that is shown below, if any: the progress of the map.

    Attributes
    ----------
    widget
        An `ipywidgets.VBox`.
    state : str
        What is shown: ``"pending"``, ``"running"``, ``"completed"``, ``"failed"`` or ``"cancelled"``.

    Raises
    ------
    MissingDependencyError
        If ipywidgets is not installed.

    """

    def __init__(self, name: str = "map", body: Any = None) -> None:
        widgets = require("ipywidgets", extra="notebook")
        self._name = name
        self._task: asyncio.Task[Any] | None = None
        self._label = widgets.HTML()
        self._button = widgets.Button(
            description="Cancel", icon="stop", tooltip="Cancel this map", layout={"width": "auto"}
        )
        self._button.add_class("pipefunc-c-cancel")
        self._button.on_click(self._cancel)
        row = widgets.HBox([self._button, self._label], layout={"align_items": "center"})
        self.widget: Any = widgets.VBox([row] if body is None else [row, body])
        self.state = ""
        self._show("pending")

    def attach_task(self, task: asyncio.Task[Any]) -> None:
        """Follow a task.

        Parameters
        ----------
        task
            The task of a map.

        """
        self._task = task
        self._show("running")
        task.add_done_callback(self._take_end)

    def display(self) -> None:
        """Show it in the cell that runs."""
        _display(self.widget)

    def _take_end(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._show("cancelled")
        elif (error := task.exception()) is not None:
            self._show("failed", f"{type(error).__qualname__}: {message_of(error)}")
        else:
            self._show("completed")

    def _cancel(self, _button: object) -> None:
        if self._task is not None:
            self._task.cancel()

    def _show(self, state: str, reason: str = "") -> None:
        colour, word = _LOOKS[state]
        self.state = state
        why = f": {html.escape(reason)}" if reason else ""
        self._label.value = (
            f'<span class="pipefunc-c-state">{html.escape(self._name)} '
            f'<b style="color:{colour}">{word}</b>{why}</span>'
        )
        self._button.disabled = state not in ("pending", "running")


class MapTabs:
    """Show several maps, one per tab; the title of a tab says how its map stands.

    Parameters
    ----------
    titles
        One per map.
    max_completed_tabs
        How many maps that are over keep their tab; the oldest ones go first. None for all.

    Attributes
    ----------
    widget
        An `ipywidgets.Tab`.

    Raises
    ------
    InvalidValueError
        If `max_completed_tabs` is neither None nor an int of at least 0.
    MissingDependencyError
        If ipywidgets is not installed.

    """

    def __init__(self, titles: Sequence[str], max_completed_tabs: int | None = None) -> None:
        check_max_completed_tabs(max_completed_tabs)
        widgets = require("ipywidgets", extra="notebook")
        self._titles = [
            f"{title} ({number})" if titles.count(title) > 1 else title
            for number, title in enumerate(titles, 1)
        ]
        self._states = ["pending"] * len(self._titles)
        self._boxes = [widgets.VBox() for _ in self._titles]
        self._shown = list(range(len(self._titles)))
        self._ended: list[int] = []
        self._max_completed_tabs = max_completed_tabs
        self.widget: Any = widgets.Tab(children=self._boxes)
        self._write_titles()

    def fill(self, number: int, *contents: Any) -> None:
        """Put widgets into the tab of a map.

        Parameters
        ----------
        number
            Position of the map.
        contents
            The widgets.

        """
        self._boxes[number].children = contents

    def set_status(self, number: int, state: str) -> None:
        """Say how a map stands.

        Parameters
        ----------
        number
            Position of the map.
        state
            ``"pending"``, ``"running"``, ``"completed"``, ``"failed"`` or ``"cancelled"``.

        """
        self._states[number] = state
        if state in ("completed", "failed", "cancelled"):
            self._ended.append(number)
            limit = self._max_completed_tabs
            gone = self._ended[: max(len(self._ended) - limit, 0)] if limit is not None else []
            if set(gone) & set(self._shown):
                self._shown = [each for each in self._shown if each not in gone]
                selected = self._selected()
                self.widget.children = [self._boxes[each] for each in self._shown]
                if self._shown:
                    self.widget.selected_index = self._shown.index(selected) if selected in self._shown else 0
        elif state == "running" and number in self._shown and not self._is_running(self._selected()):
            self.widget.selected_index = self._shown.index(number)
        self._write_titles()

    def _selected(self) -> int | None:
        index = self.widget.selected_index
        return None if index is None or index >= len(self._shown) else self._shown[index]

    def _is_running(self, number: int | None) -> bool:
        return number is not None and self._states[number] == "running"

    def _write_titles(self) -> None:
        self.widget.titles = tuple(f"{_MARKS[self._states[k]]} {self._titles[k]}" for k in self._shown)

    def follow(self, number: int, task: asyncio.Task[Any]) -> None:
        """Keep the title of a tab as its task stands.

        Parameters
        ----------
        number
            Position of the map.
        task
            Its task, which has begun.

        """
        self.set_status(number, "running")
        task.add_done_callback(self._end_of(number))

    def _end_of(self, number: int) -> Callable[[asyncio.Task[Any]], None]:
        def take(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                self.set_status(number, "cancelled")
            else:
                self.set_status(number, "failed" if task.exception() is not None else "completed")

        return take

    def display(self) -> None:
        """Show the tabs in the cell that runs."""
        _display(self.widget)


def check_max_completed_tabs(value: object) -> None:
    """Refuse a number of tabs that cannot be: InvalidValueError."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise InvalidValueError(
            f"max_completed_tabs is {value!r}",
            detail=value,
            hint="allowed are an int of at least 0, and None",
        )
