"""Which progress a map shows: bars, a widget, counts only, or nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pipefunc_c._notebook import in_notebook
from pipefunc_c._optional import is_available
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, MissingDependencyError
from pipefunc_c.map._progress.heartbeat import Heartbeat
from pipefunc_c.map._progress.progress import LiveProgress, Progress
from pipefunc_c.map._progress.progress_bars import RichBars
from pipefunc_c.map._progress.progress_widget import ProgressWidget
from pipefunc_c.parallel._environment import is_worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipefunc_c.map._progress.progress import View

KINDS = ("rich", "ipywidgets", "headless")


def make_progress(
    show: bool | str | None,
    stages: Sequence[tuple[str, int | None]],
    *,
    background: bool = False,
    run_folder: str | Path | None = None,
    display: bool = True,
) -> Progress:
    """Make the progress that a map was asked to show.

    Parameters
    ----------
    show
        True for a widget in a notebook and bars elsewhere; ``"rich"`` for bars, ``"ipywidgets"`` for a
        widget, ``"headless"`` for counts only; False for nothing; None for a widget in a notebook and
        nothing elsewhere.
    stages
        Name and number of requested elements of each stage; None where it is not known yet.
    background
        Whether the map runs beside an event loop. Then counts are kept unless `show` is False.
    run_folder
        Where a map in the background writes its heartbeat.
    display
        Whether a widget is put up at the start; else its maker shows it.

    Returns
    -------
    Progress
        What the driver reports to.

    Raises
    ------
    InvalidValueError
        If `show` is another str.
    InvalidTypeError
        If `show` is neither bool, str nor None.
    MissingDependencyError
        If the package that draws is not installed.

    Examples
    --------
    >>> make_progress("headless", [("y", 10)]).progress_dict
    {'y': Status(n_total=10, n_in_progress=0, n_completed=0, n_failed=0, start_time=None, end_time=None)}
    >>> make_progress("loud", [])
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.InvalidValueError: show_progress is 'loud'; allowed are True, False, None, ...

    """
    check_show_progress(show)
    if show is False:
        return Progress()
    kind = _kind(show, background=background)
    views: list[View] = []
    heartbeat = widget = None
    if kind == "rich":
        views.append(RichBars())
    elif kind == "ipywidgets":
        widget = ProgressWidget(display=display)
        views.append(widget)
    if background and run_folder is not None:
        heartbeat = Heartbeat(run_folder)
        views.append(heartbeat)
    if not views and kind is None and not background:
        return Progress()
    progress = LiveProgress(stages, views, background=background)
    progress.heartbeat = heartbeat
    progress.widget = None if widget is None else widget.widget
    return progress


def check_show_progress(show: object) -> None:
    """Refuse what cannot be asked for.

    Parameters
    ----------
    show
        What was given as ``show_progress``.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If it is another str, or neither bool, str nor None.

    """
    allowed = f"allowed are True, False, None, {', '.join(map(repr, KINDS))}"
    if show is not None and not isinstance(show, bool | str):
        raise InvalidTypeError(f"show_progress is {show!r}; {allowed}", detail=show)
    if isinstance(show, str) and show not in KINDS:
        raise InvalidValueError(f"show_progress is {show!r}; {allowed}", detail=show)


def _kind(show: bool | str | None, *, background: bool) -> str | None:
    """Give what is to be shown here: one of KINDS, or None for nothing."""
    if isinstance(show, str):
        return show
    if show is None:
        # Nobody asked for it, so a map inside of an element, or in a thread, shows nothing.
        is_outermost = background or threading.current_thread() is threading.main_thread()
        wanted = in_notebook() and is_outermost and not is_worker() and is_available("ipywidgets")
        return "ipywidgets" if wanted else None
    if in_notebook() and is_available("ipywidgets"):
        return "ipywidgets"
    if is_available("rich"):
        return "rich"
    raise MissingDependencyError(
        "show_progress=True needs the package 'rich', or 'ipywidgets' in a notebook; neither is installed",
        detail="rich",
        hint='Run: pip install rich, or: pip install "pipefunc_c[notebook]"',
    )
