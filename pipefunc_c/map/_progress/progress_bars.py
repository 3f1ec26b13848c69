"""Bars on a terminal: one per function of a map, drawn with rich."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipefunc_c._optional import require
from pipefunc_c.map._progress.progress import View
from pipefunc_c.map._progress.status import rate_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipefunc_c.map._progress.progress import LiveProgress
    from pipefunc_c.map._progress.status import Status

MAX_BARS = 30


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream, which may be None, leads to a terminal."""
    return stream is not None and bool(stream.isatty())


@dataclass
class _Bar:
    """The bar of one stage."""

    task: Any
    final: bool = False  # its last state is on the screen


class Screen:
    """The display that all bars of this process share: two on one terminal would tear each other.

    It is up while any map draws on it.

    Parameters
    ----------
    console
        Where to draw, a `rich.console.Console`; by default standard error.
    clock
        Gives the time in seconds.

    """

    _current: Screen | None = None
    _guard = threading.Lock()

    def __init__(self, console: Any, clock: Callable[[], float]) -> None:
        rich = require("rich.progress", package="rich")
        console = console or require("rich.console", package="rich").Console(stderr=True)
        self.is_on_terminal = bool(console.is_terminal)
        self.threads: list[int] = []  # of the maps that draw on it
        self.display: Any = rich.Progress(
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[rate]}", markup=False),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
            rich.TextColumn("{task.fields[running]}", markup=False),
            rich.TextColumn("{task.fields[status]}", style="red", markup=False),
            console=console,
            auto_refresh=False,
            get_time=clock,
            # Prints are drawn above the bars; those that go elsewhere must go on doing so.
            redirect_stdout=is_terminal(sys.stdout),
            redirect_stderr=is_terminal(sys.stderr),
        )

    @classmethod
    def enter(cls, console: Any, clock: Callable[[], float]) -> Screen | None:
        """Give the screen, put up if need be; None for a map inside of another one in this thread."""
        with cls._guard:
            thread = threading.get_ident()
            if cls._current is None:
                screen = cls(console, clock)
                screen.display.start()
                cls._current = screen
            elif thread in cls._current.threads:
                return None
            cls._current.threads.append(thread)
            return cls._current

    def leave(self, thread: int) -> None:
        """Take it down when the last map is done."""
        with Screen._guard:
            self.threads.remove(thread)
            if not self.threads:
                Screen._current = None
                self.display.stop()

    def make_room(self) -> None:
        """Hide a bar if there are too many: a terminal would show the upper ones only."""
        visible = [task for task in self.display.tasks if task.visible]
        if len(visible) >= MAX_BARS:
            hidden = next((task for task in visible if task.finished), visible[0])
            self.display.update(hidden.id, visible=False)


class RichBars(View):
    """Draw a bar per stage with rich, from the moment the stage begins.

    On a terminal the bars move; into a file or a pipe they are written once, at the end. They go to standard
    error, so that what the program itself prints stays clean.

    Parameters
    ----------
    console
        Where to draw, a `rich.console.Console`; by default standard error.

    Raises
    ------
    MissingDependencyError
        If rich is not installed.

    """

    tick_seconds: float | None = 0.5

    def __init__(self, console: Any = None) -> None:
        require("rich.progress", package="rich")
        self._console = console
        self._screen: Screen | None = None
        self._thread = 0
        self._bars: list[_Bar] = []
        self._progress: LiveProgress | None = None

    @property
    def is_on_terminal(self) -> bool:
        """Whether bars are on a terminal now."""
        return self._screen is not None and self._screen.is_on_terminal

    def open(self, progress: LiveProgress) -> None:
        """Make bars, which are not shown yet."""
        self._progress, self._thread = progress, threading.get_ident()
        self._screen = Screen.enter(self._console, progress.clock)
        if self._screen is not None:
            for name, status in progress.progress_dict.items():
                fields = {"rate": "", "running": "", "status": ""}
                task = self._screen.display.add_task(
                    name, total=status.n_total, start=False, visible=False, **fields
                )
                self._bars.append(_Bar(task))
            if not self._screen.is_on_terminal:
                self.tick_seconds = None

    def draw(self, now: float) -> None:
        """Bring the bars up to date."""
        if self._screen is not None:
            self._write(now)
            self._screen.display.refresh()

    def _write(self, now: float, *, stopped: bool = False) -> None:
        assert self._screen is not None
        assert self._progress is not None
        display = self._screen.display
        for status, bar in zip(self._progress.statuses, self._bars, strict=True):
            if status.start_time is None or bar.final or status.n_total == 0:
                continue
            if not (task := _task(display, bar)).started:
                self._screen.make_room()
                display.start_task(bar.task)
                task.start_time = status.start_time
                display.update(bar.task, visible=True)
            bar.final = status.end_time is not None
            display.update(
                bar.task,
                completed=status.n_attempted,
                total=status.n_total,
                rate=rate_text(status.rate(now)),
                running=f"{status.n_in_progress} running" if status.n_in_progress else "",
                status=_status_text(status, stopped=stopped),
            )

    def close(self, now: float) -> None:
        """Leave the last state of the bars on the screen."""
        assert self._progress is not None
        if self._screen is not None:
            self._write(now, stopped=self._progress.state != "completed")
            for status, bar in zip(self._progress.statuses, self._bars, strict=True):
                if status.start_time is not None:
                    self._screen.display.stop_task(bar.task)
            self._leave()

    def abandon(self) -> None:
        """Take the bars down."""
        self._leave()

    def _leave(self) -> None:
        screen, self._screen = self._screen, None
        if screen is not None:
            screen.leave(self._thread)


def _task(display: Any, bar: _Bar) -> Any:
    return next(task for task in display.tasks if task.id == bar.task)


def _status_text(status: Status, *, stopped: bool) -> str:
    words = [f"{status.n_failed} failed"] if status.n_failed else []
    words += ["stopped"] if stopped and not status.complete else []
    return ", ".join(words)
