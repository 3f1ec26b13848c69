"""Progress in a notebook: a table with a bar per function."""

from __future__ import annotations

import html
import threading
from typing import TYPE_CHECKING, Any

from pipefunc_c._optional import require
from pipefunc_c.map._progress.progress import View
from pipefunc_c.map._progress.status import Status, duration_text, rate_text

if TYPE_CHECKING:
    from pipefunc_c.map._progress.progress import LiveProgress

MAX_ROWS = 40

# Colours of bars; text says the same, for those who see no colours.
_COLOURS = {"running": "#1976d2", "completed": "#2e7d32", "failed": "#c62828"}
_CELL = "padding:1px 12px 1px 0;text-align:left;white-space:nowrap"


def progress_table(progress: LiveProgress, now: float) -> str:
    """Write the counts of a map as HTML.

    Parameters
    ----------
    progress
        The counts.
    now
        The time of the progress, in seconds.

    Returns
    -------
    str
        A table with a row per function that has begun; of many the last ones.

    """
    begun = [(name, status) for name, status in progress.progress_dict.items() if _has_begun(status)]
    waiting = len(progress.progress_dict) - len(begun)
    hidden = max(len(begun) - MAX_ROWS, 0)
    if hidden:  # those that are over go first
        order = sorted(range(len(begun)), key=lambda k: (not begun[k][1].complete, k))
        begun = [begun[k] for k in sorted(order[hidden:])]
    rows = "".join(_row(name, status, now, progress.state) for name, status in begun)
    notes = [f"{hidden} more are done"] if hidden else []
    notes += [f"{waiting} not begun"] if waiting else []
    state = html.escape(progress.state + (f": {progress.reason}" if progress.reason else ""))
    notes += [] if progress.state in ("running", "completed") else [f"<b>{state}</b>"]
    below = f'<div style="color:#757575">{"; ".join(notes)}</div>' if notes else ""
    return f'<table class="pipefunc-c-progress" style="border-collapse:collapse">{rows}</table>{below}'


def _has_begun(status: Status) -> bool:
    return status.start_time is not None


def _row(name: str, status: Status, now: float, state: str) -> str:
    done = "failed" if status.n_failed else "completed" if status.complete else "running"
    percent = 100 * status.progress
    total = "?" if status.n_total is None else f"{status.n_total:,}"
    words = []
    if status.n_failed:
        words.append(f'<span style="color:{_COLOURS["failed"]}">{status.n_failed:,} failed</span>')
    if status.n_in_progress:
        words.append(f"{status.n_in_progress:,} running")
    if state in ("failed", "cancelled") and not status.complete:
        words.append("stopped")
    times = duration_text(status.elapsed_time(now))
    if not status.complete and state == "running":
        times += f", {duration_text(status.remaining_time(now))} left"
    bar = (
        f'<div role="progressbar" aria-valuenow="{percent:.0f}" aria-valuemin="0" aria-valuemax="100" '
        'style="width:16em;height:0.8em;background:#e0e0e0;border-radius:0.4em;overflow:hidden">'
        f'<div style="width:{percent:.1f}%;height:100%;background:{_COLOURS[done]}"></div></div>'
    )
    cells = [
        f"<b>{html.escape(name)}</b>",
        bar,
        f"{status.n_attempted:,}/{total}",
        rate_text(status.rate(now)),
        times,
        ", ".join(words),
    ]
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


class ProgressWidget(View):
    """Show a table in a notebook that follows the counts.

    Parameters
    ----------
    display
        Whether to put the widget up at the start.

    Attributes
    ----------
    widget
        An `ipywidgets.HTML`.

    Raises
    ------
    MissingDependencyError
        If ipywidgets is not installed.

    """

    interval = 0.2
    tick_seconds = 1.0

    _threads: set[int] = set()  # noqa: RUF012  of maps that show a widget, in this process

    def __init__(self, *, display: bool = True) -> None:
        self.widget: Any = require("ipywidgets", extra="notebook").HTML()
        self._display = display
        self._progress: LiveProgress | None = None
        self._thread = 0

    def open(self, progress: LiveProgress) -> None:
        """Put it up, unless this is a map inside of another one in this thread."""
        self._progress = progress
        thread = threading.get_ident()
        if self._display and thread not in self._threads:
            self._thread = thread
            self._threads.add(thread)
            require("IPython.display", package="ipython", extra="notebook").display(self.widget)

    def draw(self, now: float) -> None:
        """Bring the table up to date."""
        assert self._progress is not None
        # One message, whatever the number of functions.
        self.widget.value = progress_table(self._progress, now)

    def close(self, now: float) -> None:
        """Leave the last counts in the notebook."""
        self._threads.discard(self._thread)
        self.draw(now)

    def abandon(self) -> None:
        """Forget the widget."""
        self._threads.discard(self._thread)
