"""A map that runs beside an event loop: one thread drives it, a task stands for it in the loop."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import threading
import warnings
from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import message_of
from pipefunc_c._notebook import in_notebook
from pipefunc_c._optional import Later, is_available
from pipefunc_c.exceptions import OperationError
from pipefunc_c.map._engine.cancel import CancelToken, RunCancelledError
from pipefunc_c.map._progress.progress import LiveProgress
from pipefunc_c.map._runs.map_widgets import AsyncTaskStatusWidget

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from pipefunc_c.map._progress.heartbeat import Heartbeat
    from pipefunc_c.map._results.outputs import ResultDict
    from pipefunc_c.map._run_folder.run_info import RunInfo
    from pipefunc_c.map._runs.map_run import MapRun
else:
    asyncio = Later("asyncio")

# How long a task that was cancelled waits for its workers to be gone.
STOP_SECONDS = 2.0


class AsyncMap:
    """Hold a map that runs in the background; made by `pipefunc_c.map.run_map_async`.

    Attributes
    ----------
    progress : LiveProgress or None
        The counts of each function; None if the map was told to keep none.
    status_widget : AsyncTaskStatusWidget or None
        In a notebook, the widget that shows the state of the map.
    heartbeat : Heartbeat or None
        With a run folder, what writes ``pipefunc_status.json``.
    multi_run_manager : None
        For maps on a cluster.

    Examples
    --------
    >>> import asyncio
    >>> from pipefunc_c import PipeFunc, Pipeline
    >>> pipeline = Pipeline([PipeFunc(lambda x: 2 * x, "y", mapspec="x[i] -> y[i]")])
    >>> async def main():
    ...     runner = pipeline.map_async({"x": [1, 2, 3]})
    ...     results = await runner.task
    ...     return results["y"].output.tolist()
    >>> asyncio.run(main())
    [2, 4, 6]
    """

    multi_run_manager: Any = None

    def __init__(self, run: MapRun, *, display_widgets: bool = True) -> None:
        self._run = run
        self._token = CancelToken()
        self._task: asyncio.Task[ResultDict] | None = None
        self._thread: threading.Thread | None = None
        self._results: ResultDict | None = None
        self._error: BaseException | None = None
        self._is_taken = False
        self._is_shown = not display_widgets
        progress = run.progress
        self.progress: LiveProgress | None = progress if isinstance(progress, LiveProgress) else None
        self.heartbeat: Heartbeat | None = progress.heartbeat
        self.status_widget: AsyncTaskStatusWidget | None = None
        if self.progress is not None and in_notebook() and is_available("ipywidgets"):
            self.status_widget = AsyncTaskStatusWidget(self.name, progress.widget)

    # -- what is known -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """A short name for titles: that of the run folder, else those of the last outputs."""
        if self.run_folder is not None:
            return self.run_folder.name
        return self._run.name

    @property
    def run_info(self) -> RunInfo:
        """What is known of the run; without digests of its files before it has started."""
        return self._run.info

    @property
    def run_folder(self) -> Path | None:
        """The absolute path of the run folder."""
        return self._run.folder

    @property
    def task(self) -> asyncio.Task[ResultDict]:
        """The task to wait for with ``await``, and to cancel; OperationError before the start.

        When it is cancelled, the workers are stopped; what they finished is kept in the run folder.
        """
        if self._task is None:
            raise OperationError(
                "the map was not started, so it has no task",
                hint="call start() where an event loop runs, or result() where none does",
            )
        return self._task

    def __repr__(self) -> str:
        """Name the map and say how it stands."""
        return f"AsyncMap({self.name!r}, {self._run.state})"

    # -- start and end -------------------------------------------------------------------------------

    def start(self) -> AsyncMap:
        """Start the map in the background of the event loop that runs.

        Returns
        -------
        AsyncMap
            This one.

        Warns
        -----
        UserWarning
            If it was started before, or no event loop runs; nothing happens then.
        """
        if self._task is not None:
            warnings.warn("the map was started before", UserWarning, stacklevel=2)
            return self
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            warnings.warn(
                "no event loop runs, so the map was not started: call start() where one does, or result()",
                UserWarning,
                stacklevel=2,
            )
            return self
        self._start(loop)
        return self

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        ended: asyncio.Future[None] = loop.create_future()
        context = contextvars.copy_context()  # a notebook tells by it to which cell output belongs
        self._thread = threading.Thread(
            target=context.run, args=(self._work, loop, ended), name="pipefunc_c-map", daemon=True
        )
        # It begins here, not in the task: a loop that is busy for a while does not hold it up.
        self._thread.start()
        following = self._follow(ended)
        following.send(None)  # to its first pause, so that it also sees a cancel that comes before its turn
        self._task = loop.create_task(following, name=f"map {self.name}")
        if self.status_widget is not None:
            self.status_widget.attach_task(self._task)
            if not self._is_shown:
                self.display()

    def _work(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        """Drive the run, in its thread."""
        try:
            self._run.warm_up()
            # After the server of the workers, so that at the end of the program this comes first.
            atexit.register(self._stop)
            self._results = self._run.run(self._token)
        except BaseException as error:
            self._error = error
        finally:
            atexit.unregister(self._stop)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_settle, ended)

    def _stop(self) -> None:
        """Stop, at the end of the program, a map that nobody waits for any more."""
        assert self._thread is not None
        self._token.cancel()
        self._thread.join(STOP_SECONDS)

    async def _follow(self, ended: asyncio.Future[None]) -> ResultDict:
        """Wait for the thread; told to stop, stop the run and wait until its workers are gone."""
        try:
            await asyncio.sleep(0)
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            self._token.cancel()
            await asyncio.wait([ended], timeout=STOP_SECONDS)
            raise
        return self._outcome()

    def _outcome(self) -> ResultDict:
        error = self._error
        if error is None:
            assert self._results is not None
            return self._results
        if isinstance(error, RunCancelledError):
            raise asyncio.CancelledError("the map was cancelled") from error
        if isinstance(error, Exception):
            raise error
        # Such an exception would end the event loop, and with it the kernel of a notebook.
        raise OperationError(f"the map was stopped by {type(error).__name__}: {message_of(error)}") from error

    def result(self) -> ResultDict:
        """Wait for the results, where no event loop runs; a map that was not started is run.

        Returns
        -------
        ResultDict
            The same as ``await runner.task`` gives.

        Raises
        ------
        OperationError
            If an event loop runs in this thread, as in a notebook, and the map has not ended.
        asyncio.CancelledError
            If the map was cancelled.
        Exception
            What the map raised.

        Examples
        --------
        >>> from pipefunc_c import PipeFunc, Pipeline
        >>> pipeline = Pipeline([PipeFunc(lambda x: 2 * x, "y", mapspec="x[i] -> y[i]")])
        >>> runner = pipeline.map_async({"x": [1, 2, 3]}, start=False)
        >>> runner.result()["y"].output.tolist()
        [2, 4, 6]
        """
        if self._task is not None and self._task.done():
            return self._task.result()
        if in_notebook() or _loop_runs_here():
            raise OperationError(
                "result() would block the event loop that runs in this thread",
                hint="await runner.task instead",
            )
        if self._task is None:
            return asyncio.run(self._run_here())
        return self._wait()

    async def _run_here(self) -> ResultDict:
        self._start(asyncio.get_running_loop())
        return await self.task

    def _wait(self) -> ResultDict:
        """Wait for the thread itself: the loop may run in another one, or never again."""
        assert self._thread is not None
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._stop()
            raise
        return self._outcome()

    # -- shown ---------------------------------------------------------------------------------------

    def display(self) -> None:
        """Show the state and the progress of the map in the cell of a notebook; elsewhere print a hint."""
        if self.status_widget is not None:
            self._is_shown = True
            self.status_widget.display()
        elif in_notebook():
            print("There is nothing to show: the map keeps no progress, or ipywidgets is not installed.")
        else:
            print("A map can be displayed in a notebook; here, pass show_progress='rich' for bars.")

    def check_not_started(self) -> None:
        """Refuse a map that was started, or that somebody else will start: OperationError."""
        if self._task is not None or self._is_taken:
            raise OperationError(
                f"{self!r} was started before", detail=self, hint="make maps for this with start=False"
            )

    def take(self, *, is_shown: bool) -> None:
        """Claim a map that is not started, for one that starts it later.

        Parameters
        ----------
        is_shown
            Whether it is shown elsewhere, so that it is not displayed when it starts.

        Raises
        ------
        OperationError
            If it was started, or somebody else claimed it.
        """
        self.check_not_started()
        self._is_taken = True
        self._is_shown = self._is_shown or is_shown


def _settle(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
