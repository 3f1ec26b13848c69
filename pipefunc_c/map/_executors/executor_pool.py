"""One executor of the user in a run: what is out, what was lost with a worker, and whether it still works."""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from pipefunc_c._describe import message_of, short_repr
from pipefunc_c.exceptions import InvalidTypeError, OperationError
from pipefunc_c.map._executors.chunk import run_pickled
from pipefunc_c.map._executors.executor_kinds import (
    can_cancel,
    has_initializer,
    has_lost_all,
    processes_of,
    renewed,
    worker_count,
)
from pipefunc_c.map._executors.lost_work import NOT_STARTED, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

FIRST_ROUND_TRIP = 5e-4


class ExecutorPool:
    """Hand jobs to an executor, and find out which element kills its workers.

    A future that fails says that a worker died: what runs in it catches all that a function raises. A chunk
    of no elements then tells whether the executor goes on. If it does not, all that is out fails soon; the
    rest runs in another executor like it, and suspects run there one at a time.

    Parameters
    ----------
    executor
        The executor. It is not shut down, also when it breaks.
    run_here
        Runs a job in a thread of this process.
    pickled
        Pickles what a job is to run next.
    ping
        Pickles a chunk of no elements.
    read_mark
        Gives where the last chunk of a slot is, from its start, and in which process; None if not known.
    name
        Gives the name of what a job computes.
    answer
        Called with the pool, a future and the moment it was sent, in any thread, when it is done.

    Attributes
    ----------
    out : dict
        The job of each future; None where the executor was only asked whether it is there.
    has_initializer : bool
        Whether the user prepares the workers.
    has_warned : bool
        Whether a warning of their random numbers was given.
    """

    def __init__(  # noqa: PLR0913  the ends of all wires
        self,
        executor: Executor,
        *,
        run_here: Callable[[Job], Any],
        pickled: Callable[[Job, bool], bytes],
        ping: Callable[[], bytes],
        read_mark: Callable[[tuple[int, int]], tuple[int, int] | None],
        name: Callable[[Job], str | tuple[str, ...]],
        answer: Callable[[ExecutorPool, Future[Any], float], object],
    ) -> None:
        self.given = self.executor = executor
        self.out: dict[Future[Any], Job | None] = {}
        self.has_initializer = has_initializer(executor)
        self.has_warned = False
        self._run_here = run_here
        self._pickled = pickled
        self._ping = ping
        self._read_mark = read_mark
        self._name = name
        self._answer = answer
        self._ready: deque[Job] = deque()
        self._lost: list[tuple[Job, int | None]] = []
        self._reason: BaseException | None = None
        self._replacement: Executor | None = None
        self._has_answered = self._is_asked = self._is_down = self._is_fresh = self._shares_fate = False
        self._processes: dict[int, Any] = {}
        self._workers = worker_count(executor)
        self._least, self._since, self._busy, self._returned = math.inf, 0.0, 0.0, 0

    @property
    def is_here(self) -> bool:
        """Whether its threads are of this process, and share its memory."""
        return isinstance(self.executor, ThreadPoolExecutor)

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self.executor).__qualname__

    @property
    def is_busy(self) -> bool:
        """Whether anything is out or waits to go out."""
        return bool(self.out or self._ready or self._lost)

    def give(self, job: Job) -> None:
        """Run a job, now or when nothing forbids it."""
        self._ready.append(job)
        self._send_ready()

    def cancel(self) -> None:
        """Ask for nothing more; what runs goes on."""
        self._ready.clear()
        self._lost.clear()
        if can_cancel(self.executor):
            for future in list(self.out):
                future.cancel()

    def close(self) -> None:
        """Shut down what was started here."""
        self.cancel()
        if self.executor is not self.given:
            self.executor.shutdown(wait=not self.out)

    def round_trip(self, sent: float, seconds: float) -> float:
        """Learn from a chunk when it was sent and how long it ran; give what a chunk costs beyond that.

        In seconds: what workers lose between two chunks. A chunk that waited for another tells nothing of
        that, nor do those for which workers were started.
        """
        now = time.monotonic()
        self._least = min(self._least, now - sent - seconds)
        if self._since == 0:
            self._since = now
            return FIRST_ROUND_TRIP
        self._returned += 1
        self._busy += seconds
        if self._returned < 2 * self._workers:
            return FIRST_ROUND_TRIP
        lost = ((now - self._since) * self._workers - self._busy) / self._returned
        return max(min(lost, self._least), 1e-6)

    # -- out -----------------------------------------------------------------------------------------

    def _send_ready(self) -> None:
        while self._ready and not (self._is_asked or self._is_down):
            if self._shares_fate:
                suspects = [job for job in self._ready if job.part.is_suspect]
                if self.out and (suspects or any(job and job.part.is_suspect for job in self.out.values())):
                    return
                if suspects:
                    self._ready.remove(suspects[0])
                    self._ready.appendleft(suspects[0])
            self._send(self._ready.popleft())

    def _send(self, job: Job) -> None:
        try:
            if self.is_here:
                self._submit(job, self._run_here, job)
            else:
                self._submit(job, run_pickled, self._pickled(job, not self.has_initializer))
        except _RefusedError as refused:
            error = refused.__cause__
            if not (isinstance(error, BrokenExecutor) and (self._has_answered or self.out or self._lost)):
                raise OperationError(
                    f"the executor {self.executor!r} takes no more work: {message_of(refused)}",
                    hint="pass one that is neither shut down nor broken",
                ) from error
            self._reason, self._is_down = error, True  # it broke just now
            self._lost.append((job, NOT_STARTED))
            self._recover()

    def _submit(self, job: Job | None, function: Callable[[Any], Any], argument: Any) -> None:
        sent = time.monotonic()
        try:
            future = self.executor.submit(function, argument)
        except Exception as error:
            raise _RefusedError(message_of(error)) from error
        if not callable(getattr(future, "add_done_callback", None)):
            raise InvalidTypeError(
                f"submit of the executor {self.kind} gave {short_repr(future)}, which is no Future",
                detail=future,
                hint="an executor gives a concurrent.futures.Future for each call",
            )
        self.out[future] = job
        self._processes.update(processes_of(self.executor))
        future.add_done_callback(lambda done: self._answer(self, done, sent))

    # -- back ----------------------------------------------------------------------------------------

    def answered(self, job: Job | None) -> list[tuple[Job, int]]:
        """Take in that a future gave a result; give elements that are found to kill, with their jobs."""
        self._has_answered = True
        killers = []
        if job is None:
            self._is_asked = self._is_fresh = False
            killers = self._judge()
        self._send_ready()
        return killers

    def failed(self, job: Job | None, error: BaseException) -> None:
        """Take in that a future failed.

        Raises
        ------
        OperationError
            If the executor is of no use any more and cannot be replaced.
        """
        self._reason = error
        if job is None:
            self._is_asked, self._is_down = False, True
        else:
            self._lost.append((job, self._place(job)))
        self._recover()

    def cancelled(self, job: Job | None) -> NoReturn:
        """Take in that the executor cancelled a future, which nobody here asked for.

        Raises
        ------
        OperationError
            Always.
        """
        what = "a task" if job is None else self._describe(job)
        raise OperationError(
            f"the executor {self.kind} cancelled {what}",
            detail=self.executor,
            hint="it was shut down meanwhile, or something else cancelled its tasks",
        )

    def bad_result(self, job: Job, result: object) -> NoReturn:
        """Refuse a result that is not that of the function that was submitted.

        Raises
        ------
        InvalidTypeError
            Always.
        """
        raise InvalidTypeError(
            f"the executor {self.kind} gave {short_repr(result)} for {self._describe(job)}",
            detail=result,
            hint="the Future that submit gives must hold what the submitted function returns",
        )

    def check(self) -> None:
        """Raise OperationError if the executor is known to have no worker left."""
        if self.out and has_lost_all(self.executor):
            raise self._error(next((job for job in self.out.values() if job is not None), None))

    def _place(self, job: Job) -> int | None:
        """Give the element of a job that its worker was at."""
        job.process = None
        mark = self._read_mark(job.worker)
        if mark is None:
            return None
        at, pid = mark
        if at == NOT_STARTED:
            return NOT_STARTED
        job.process = pid, self._processes.get(pid)
        return job.part.start + at

    def _recover(self) -> None:
        """Ask the executor whether it goes on; if it does not, replace it once nothing of it is out."""
        if not self._is_down and not self._is_asked:
            try:
                self._submit(None, run_pickled, self._ping())
                self._is_asked = True
            except _RefusedError as refused:
                self._reason, self._is_down = refused.__cause__, True
        if self._is_down:
            self._replace()

    def _replace(self) -> None:
        if self._is_fresh:  # not even a new one works
            raise self._error(self._lost[0][0] if self._lost else None)
        if self._replacement is None:
            self._replacement = renewed(self.given)
            if self._replacement is None:
                raise self._error(self._lost[0][0] if self._lost else None)
        if self.out:
            return
        if self.executor is not self.given:
            self.executor.shutdown(wait=False)
        self.executor, self._replacement = self._replacement, None
        self._is_down, self._is_fresh, self._shares_fate = False, True, True
        self._recover()

    def _judge(self) -> list[tuple[Job, int]]:
        lost, self._lost = self._lost, []
        # Where one takes all others along, those that had not begun are innocent, unless there are no others.
        some_began = self._shares_fate and any(at != NOT_STARTED for _, at in lost)
        killers = []
        for job, at in lost:
            killer = job.lost(None if at == NOT_STARTED and not some_began else at)
            if killer is None:
                self._ready.append(job)
            else:
                killers.append((job, killer))
        return killers

    def _describe(self, job: Job) -> str:
        return f"elements {job.part.start} to {job.part.stop - 1} of {self._name(job)!r}"

    def _error(self, job: Job | None) -> OperationError:
        lost = "all its workers" if job is None else self._describe(job)
        reason = self._reason
        why = "no worker is left" if reason is None else f"{type(reason).__name__}: {message_of(reason)}"
        error = OperationError(
            f"{self.executor!r} lost {lost}: {why}", hint="its workers died, and it starts no others"
        )
        error.__cause__ = reason
        return error


class _RefusedError(Exception):
    """Raised where an executor takes no work."""
