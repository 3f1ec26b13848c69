"""Progress of a map: counts per function, and the views that show them.

The driver reports once per chunk, never per element. Views are limited both in rate and in cost, so a map
with a million elements pays nothing for them; whatever goes wrong in one of them, the run goes on. There is
no thread unless the process has others anyway: one without can still fork.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import message_of
from pipefunc_c.map._progress.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipefunc_c.map._progress.heartbeat import Heartbeat


class Progress:
    """Show nothing and keep nothing: the progress of a map that was not asked to show any.

    Attributes
    ----------
    is_drawing : bool
        Whether something is drawn on the terminal that other output would tear.
    tick_seconds : float or None
        How often `tick` wants to be called while nothing else happens; None for never.

    Examples
    --------
    >>> progress = Progress()
    >>> progress.start(), progress.update(0, 5, 0), progress.finish(error=False)
    (None, None, None)

    """

    is_drawing = False
    tick_seconds: float | None = None
    heartbeat: Heartbeat | None = None
    widget: Any = None

    def start(self) -> None:
        """Begin the run."""

    def set_total(self, stage_index: int, total: int) -> None:
        """Take in how many elements a stage has.

        Parameters
        ----------
        stage_index
            Position of the stage.
        total
            Number of requested elements.

        """

    def granted(self, stage_index: int, running: int) -> None:
        """Take in that a chunk was handed to a worker.

        Parameters
        ----------
        stage_index
            Position of the stage.
        running
            How many of its elements are with workers by now.

        """

    def update(self, stage_index: int, done: int, failed: int, running: int = 0) -> None:
        """Take in how far a stage is, after a chunk.

        Parameters
        ----------
        stage_index
            Position of the stage.
        done
            How many of its elements are over by now, failed ones among them.
        failed
            How many of its elements have failed by now.
        running
            How many of its elements are with workers by now.

        """

    def raised(self, stage_index: int) -> None:
        """Take in that an element raised and the run stops: it is not among those of `update`.

        Parameters
        ----------
        stage_index
            Position of the stage.

        """

    def tick(self) -> None:
        """Let time pass for the views: nothing else happened."""

    def finish(
        self, error: bool, *, cancelled: bool = False, reason: BaseException | str | None = None
    ) -> None:
        """End the run. May be called again, and without `start`.

        Parameters
        ----------
        error
            Whether the run ended before everything was done.
        cancelled
            Whether that was asked for.
        reason
            Why it ended.

        """


class View:
    """Show the progress of a map in some way.

    Attributes
    ----------
    interval
        Seconds between two drawings at least.
    share
        Part of the time that drawing may cost.
    tick_seconds
        How often to draw while nothing happens; None for never.

    """

    interval = 0.1
    share = 0.01
    tick_seconds: float | None = None

    def open(self, progress: LiveProgress) -> None:
        """Begin; the progress is the one to be shown."""

    def draw(self, now: float) -> None:
        """Show the counts; `now` is the time of the progress, in seconds."""

    def close(self, now: float) -> None:
        """Show the last counts and end."""

    def abandon(self) -> None:
        """Clean up after an exception in one of the others."""


class CallbackView(View):
    """Call a function of the user.

    Parameters
    ----------
    callback
        The function; it gets the progress.

    """

    def __init__(self, callback: Callable[[LiveProgress], object]) -> None:
        self._callback = callback
        self._progress: LiveProgress | None = None

    def open(self, progress: LiveProgress) -> None:
        """Keep the progress."""
        self._progress = progress

    def draw(self, now: float) -> None:
        """Call the function."""
        assert self._progress is not None
        self._callback(self._progress)

    close = draw


class LiveProgress(Progress):
    """Keep the counts of each function, and let views show them.

    Parameters
    ----------
    stages
        Name and total of each stage; None for a total that is not known.
    views
        Who shows the counts.
    clock
        Gives the time in seconds.
    background
        Whether a thread may call the views while nothing happens, for the process has threads anyway.

    Attributes
    ----------
    progress_dict : dict
        A `Status` per name.
    state : str
        ``"pending"``, ``"running"``, ``"completed"``, ``"failed"`` or ``"cancelled"``.
    reason : str
        Why the run failed or was cancelled, as far as is known.

    Examples
    --------
    >>> progress = LiveProgress([("y", 10)])
    >>> progress.start()
    >>> progress.update(0, 5, 1)
    >>> progress.progress_dict["y"].n_completed, progress.progress_dict["y"].n_failed
    (4, 1)
    >>> progress.state
    'running'

    """

    def __init__(
        self,
        stages: Sequence[tuple[str, int | None]],
        views: Sequence[View] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        background: bool = False,
    ) -> None:
        self.statuses = [Status(total) for _, total in stages]
        self.progress_dict = dict(zip([name for name, _ in stages], self.statuses, strict=True))
        self.state = "pending"
        self.reason = ""
        self.clock = clock
        self._background = background
        self._views: list[View] = list(views)
        self._next: dict[View, float] = {}
        self._soonest = float("inf")
        self._last_event = 0.0
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None

    # -- views ---------------------------------------------------------------------------------------

    def add_view(self, view: View) -> None:
        """Show the counts in one more way, from now on."""
        with self._lock:
            self._views.append(view)
            if self.state == "running":
                self._open(view, self.clock())
                self._start_ticker()

    def on_update(self, callback: Callable[[LiveProgress], object]) -> None:
        """Call a function with this progress after updates, ten times a second at most, and at the end.

        Parameters
        ----------
        callback
            The function. What it raises is turned into a warning, and it is not called again.

        """
        self.add_view(CallbackView(callback))

    @property
    def is_drawing(self) -> bool:  # type: ignore[override]
        """Whether bars are on the terminal that other output would tear."""
        return any(getattr(view, "is_on_terminal", False) for view in self._views)

    @property
    def tick_seconds(self) -> float | None:  # type: ignore[override]
        """How often `tick` wants to be called by the driver; None where a thread does so, or nobody cares."""
        return None if self._background else self._shortest_tick()

    def _shortest_tick(self) -> float | None:
        wanted = [view.tick_seconds for view in self._views if view.tick_seconds is not None]
        return min(wanted, default=None)

    def _open(self, view: View, now: float) -> None:
        self._guarded(view, view.open, self)
        if view in self._views:
            self._next[view] = now
            self._soonest = now

    def _guarded(self, view: View, action: Callable[..., None], *args: Any) -> None:
        """Do something with a view; one that fails is left out from then on."""
        try:
            action(*args)
        except Exception as error:  # whatever goes wrong in a view, the run goes on
            self._views.remove(view)
            self._next.pop(view, None)
            with contextlib.suppress(Exception):
                view.abandon()
            what = f"{type(error).__qualname__}: {message_of(error)}"
            with contextlib.suppress(Warning):  # where warnings are errors
                warnings.warn(f"the progress display failed and is off: {what}", RuntimeWarning, stacklevel=4)

    def _draw(self, now: float, *, forced: bool = False) -> None:
        """Let the views show the counts that are due; skipped if another thread is at it."""
        if not self._lock.acquire(blocking=forced):
            return
        try:
            for view in list(self._views):
                if forced or now >= self._next.get(view, 0.0):
                    began = self.clock()
                    self._guarded(view, view.draw, now)
                    ended = self.clock()
                    self._next[view] = ended + max(view.interval, (ended - began) / view.share)
            self._soonest = min((self._next.get(view, 0.0) for view in self._views), default=float("inf"))
        finally:
            self._lock.release()

    def update_progress(self, *, force: bool = False) -> None:
        """Let the views show the counts.

        Parameters
        ----------
        force
            Whether to do so although they did a moment ago.

        """
        now = self.clock()
        if self.state == "running" and (force or now >= self._soonest):
            self._draw(now, forced=force)

    # -- events --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the run, and open the views."""
        with self._lock:
            if self.state != "pending":
                return
            self.state = "running"
            self._last_event = now = self.clock()
            for view in list(self._views):
                self._open(view, now)
            self._start_ticker()

    def _start_ticker(self) -> None:
        if self._background and self._ticker is None and self._shortest_tick() is not None:
            self._ticker = threading.Thread(target=self._tick_on, name="pipefunc_c-progress", daemon=True)
            self._ticker.start()

    def _tick_on(self) -> None:
        while not self._ended.wait(self._shortest_tick()):
            self.tick()

    def set_total(self, stage_index: int, total: int) -> None:
        """Keep how many elements a stage has."""
        self.statuses[stage_index].n_total = total
        if not total:
            self.statuses[stage_index].start_time = self.statuses[stage_index].end_time = self.clock()

    def granted(self, stage_index: int, running: int) -> None:
        """Keep how many elements are with workers."""
        status = self.statuses[stage_index]
        status.n_in_progress = running
        if status.start_time is None:
            now = self.clock()
            status.start_time = self._last_event = now
            if now >= self._soonest:
                self._draw(now)

    def update(self, stage_index: int, done: int, failed: int, running: int = 0) -> None:
        """Keep how far a stage is, and show it if it is time."""
        now = self.clock()
        status = self.statuses[stage_index]
        status.n_completed, status.n_in_progress = done - failed, running
        status.n_failed = failed + status.n_raised
        if status.start_time is None:
            # Its first chunk is over by now; that began, at the earliest, when the one before it was over.
            status.start_time = self._last_event or now
        if status.end_time is None and status.complete:
            status.end_time = now
        self._last_event = now
        if now >= self._soonest:
            self._draw(now)

    def raised(self, stage_index: int) -> None:
        """Count an element at which the run stops."""
        status = self.statuses[stage_index]
        status.n_failed, status.n_raised = status.n_failed + 1, status.n_raised + 1

    def tick(self) -> None:
        """Show the time that passed."""
        self.update_progress()

    def finish(
        self, error: bool, *, cancelled: bool = False, reason: BaseException | str | None = None
    ) -> None:
        """End the run and let the views show its last state."""
        self._ended.set()
        if self._ticker is not None and self._ticker is not threading.current_thread():
            self._ticker.join()
        with self._lock:
            if self.state not in ("pending", "running"):
                return
            was_running = self.state == "running"
            self.state = "cancelled" if cancelled else "failed" if error else "completed"
            if isinstance(reason, BaseException):
                text = message_of(reason)
                reason = type(reason).__qualname__ + (f": {text}" if text else "")
            self.reason = reason or ""
            now = self.clock()
            for status in self.statuses:
                status.n_in_progress = 0
                if status.start_time is not None and status.end_time is None:
                    status.end_time = now
            self._soonest = float("inf")
            for view in list(self._views) if was_running else ():
                self._guarded(view, view.close, now)
