"""Progress of a map: counts per stage, and bars drawn from them.

The driver reports once per chunk, never per element, and drawing is limited both in rate and in cost, so a
map with a million elements pays nothing for it. There is no thread: a process that draws can still fork.
"""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import message_of
from pipefunc_c._optional import require
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KINDS = ("rich", "ipywidgets", "headless")

MIN_SECONDS_BETWEEN_DRAWS = 0.1
MAX_SHARE_OF_TIME = 0.02
MAX_BARS = 30


@dataclass
class StageProgress:
    """Count the elements of one stage.

    Parameters
    ----------
    name
        What is shown: the names of the outputs.
    total
        Number of requested elements; None while it is not known.
    done
        Number of elements that are over, failed ones among them.
    failed
        Number of elements that failed.

    """

    name: str
    total: int | None
    done: int = 0
    failed: int = 0


class Progress:
    """Show nothing and keep nothing: the progress of a map that was not asked to show any.

    Examples
    --------
    >>> progress = Progress()
    >>> progress.start(), progress.update(0, 5, 0), progress.finish(error=False)
    (None, None, None)

    """

    def start(self) -> None:
        """Begin the run."""

    def update(self, stage_index: int, done: int, failed: int) -> None:
        """Take in how far a stage is, after a chunk.

        Parameters
        ----------
        stage_index
            Position of the stage.
        done
            How many of its elements are over by now, failed ones among them.
        failed
            How many of its elements have failed by now.

        """

    def set_total(self, stage_index: int, total: int) -> None:
        """Take in how many elements a stage has.

        Parameters
        ----------
        stage_index
            Position of the stage.
        total
            Number of requested elements.

        """

    def finish(self, error: bool) -> None:
        """End the run. May be called again, and without `start`.

        Parameters
        ----------
        error
            Whether the run ended before everything was done.

        """


class HeadlessProgress(Progress):
    """Keep the counts, for programs that show them in their own way.

    Parameters
    ----------
    stages
        Name and total of each stage.

    Examples
    --------
    >>> progress = HeadlessProgress([("y", 10)])
    >>> progress.update(0, 5, 1)
    >>> progress.stages
    [StageProgress(name='y', total=10, done=5, failed=1)]

    """

    def __init__(self, stages: Sequence[tuple[str, int | None]]) -> None:
        self.stages = [StageProgress(name, total) for name, total in stages]

    def update(self, stage_index: int, done: int, failed: int) -> None:
        """Keep how far a stage is."""
        stage = self.stages[stage_index]
        stage.done, stage.failed = done, failed

    def set_total(self, stage_index: int, total: int) -> None:
        """Keep how many elements a stage has."""
        self.stages[stage_index].total = total


@dataclass
class _Bar:
    """What is known of the bar of one stage; times in seconds of the display's clock."""

    task: Any
    began: float | None = None
    ended: float | None = None
    final: bool = False  # its last state is on the screen


class RichProgress(HeadlessProgress):
    """Draw a bar per stage with rich, from the moment the stage begins.

    On a terminal the bars move; into a file or a pipe they are written once, at the end. They go to standard
    error, so that what the program itself prints stays clean. An error while drawing ends the drawing, not
    the run.

    Parameters
    ----------
    stages
        Name and total of each stage.
    console
        Where to draw, a `rich.console.Console`; by default standard error.
    clock
        Gives the time in seconds.

    Raises
    ------
    MissingDependencyError
        If rich is not installed.

    """

    # Two displays on one terminal would tear each other, for instance those of a map inside of a map.
    _drawing: RichProgress | None = None

    def __init__(
        self,
        stages: Sequence[tuple[str, int | None]],
        *,
        console: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stages)
        self._rich = require("rich.progress", package="rich")
        self._console = console
        self._clock = clock
        self._display: Any = None
        self._bars: list[_Bar] = []
        self._last_event = 0.0
        self._next_draw = 0.0

    def start(self) -> None:
        """Begin the run and put the display up, unless another one is up."""
        if RichProgress._drawing is None and self._display is None:
            RichProgress._drawing = self
            with self._harmless():
                self._open()

    def update(self, stage_index: int, done: int, failed: int) -> None:
        """Keep how far a stage is, and draw it if it is time."""
        super().update(stage_index, done, failed)
        if self._display is None:
            return
        now = self._clock()
        bar, stage = self._bars[stage_index], self.stages[stage_index]
        if bar.began is None:
            with self._harmless():
                self._begin(stage_index)
        if bar.ended is None and stage.total is not None and stage.done >= stage.total:
            bar.ended = now
        self._last_event = now
        if self._display is not None and now >= self._next_draw:
            with self._harmless():
                self._draw(now)

    def finish(self, error: bool) -> None:
        """End the run and leave the last state of the bars on the screen."""
        if self._display is None:
            return
        with self._harmless():
            self._write_bars(self._clock(), stopped=error)
        self._close()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever goes wrong in a display, the run goes on
            self._close()
            text = f"the progress display failed and is off: {type(error).__qualname__}: {message_of(error)}"
            with contextlib.suppress(Warning):  # where warnings are errors
                warnings.warn(text, RuntimeWarning, stacklevel=4)

    def _open(self) -> None:
        rich = self._rich
        display = rich.Progress(
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[rate]}", markup=False),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
            rich.TextColumn("{task.fields[status]}", style="red", markup=False),
            console=self._console or require("rich.console", package="rich").Console(stderr=True),
            auto_refresh=False,
            get_time=self._clock,
            # Prints are drawn above the bars; those that go elsewhere must go on doing so.
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        for stage in self.stages:
            options = {"start": False, "visible": False, "rate": "", "status": ""}
            self._bars.append(_Bar(display.add_task(stage.name, total=stage.total, **options)))
        self._display = display
        display.start()
        self._last_event = self._clock()

    def _begin(self, stage_index: int) -> None:
        bar = self._bars[stage_index]
        # Its first chunk is over by now; that began, at the earliest, when the one before it was over.
        bar.began = self._last_event
        self._display.start_task(bar.task)
        tasks = self._display.tasks
        tasks[stage_index].start_time = bar.began
        visible = [task for task in tasks if task.visible]
        if len(visible) >= MAX_BARS:  # a terminal would show the upper ones only
            hidden = next((task for task in visible if task.finished), visible[0])
            self._display.update(hidden.id, visible=False)
        self._display.update(bar.task, visible=True)

    def _draw(self, now: float) -> None:
        self._write_bars(now)
        self._display.refresh()
        cost = self._clock() - now
        self._next_draw = now + max(MIN_SECONDS_BETWEEN_DRAWS, cost / MAX_SHARE_OF_TIME)

    def _write_bars(self, now: float, *, stopped: bool = False) -> None:
        for stage, bar in zip(self.stages, self._bars, strict=True):
            if bar.began is None or bar.final:
                continue
            bar.final = bar.ended is not None
            words = [f"{stage.failed} failed"] if stage.failed else []
            words += ["stopped"] if stopped and (stage.total is None or stage.done < stage.total) else []
            rate = _rate_text(stage.done, (bar.ended or now) - bar.began)
            self._display.update(
                bar.task, completed=stage.done, total=stage.total, rate=rate, status=", ".join(words)
            )

    def _close(self) -> None:
        display, self._display = self._display, None
        if RichProgress._drawing is self:
            RichProgress._drawing = None
        if display is not None:
            with contextlib.suppress(Exception):  # it may be what failed
                display.stop()


def _is_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())


def _rate_text(count: int, seconds: float) -> str:
    if seconds <= 0 or count <= 1:  # the rate of a single call says nothing
        return ""
    rate = count / seconds
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= size:
            return f"{rate / size:.1f}{unit}/s"
    return f"{rate:.1f}/s"


def make_progress(show: bool | str | None, stages: Sequence[tuple[str, int | None]]) -> Progress:
    """Make the progress that a map was asked to show.

    Parameters
    ----------
    show
        True or ``"rich"`` for bars, which ``"ipywidgets"`` gives too at present; ``"headless"`` for counts
        only; False or None for nothing.
    stages
        Name and number of requested elements of each stage; None where it is not known yet.

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
        If bars are asked for and rich is not installed.

    Examples
    --------
    >>> make_progress("headless", [("y", 10)]).stages
    [StageProgress(name='y', total=10, done=0, failed=0)]
    >>> make_progress("loud", [])
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.InvalidValueError: show_progress is 'loud'; allowed are True, False, None, ...

    """
    if show is None or show is False:
        return Progress()
    allowed = f"allowed are True, False, None, {', '.join(map(repr, KINDS))}"
    if show is not True and not isinstance(show, str):
        raise InvalidTypeError(f"show_progress is {show!r}; {allowed}", detail=show)
    if show is not True and show not in KINDS:
        raise InvalidValueError(f"show_progress is {show!r}; {allowed}", detail=show)
    if show == "headless":
        return HeadlessProgress(stages)
    return RichProgress(stages)
