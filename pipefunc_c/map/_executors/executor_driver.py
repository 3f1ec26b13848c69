"""The driver of a run in executors that the user brought: threads, process pools, any other."""

from __future__ import annotations

import contextlib
import pickle
import queue
import time
import warnings
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from pipefunc_c._storage.packing import moved, unpack, unpack_bytes
from pipefunc_c.exceptions import WorkerDiedError
from pipefunc_c.map._engine.cancel import CancelToken, RunCancelledError
from pipefunc_c.map._engine.lease_run import LeaseRun
from pipefunc_c.map._engine.scheduler import FinishStage, GrantLease, PrepareStage
from pipefunc_c.map._executors.chunk import ChunkResult
from pipefunc_c.map._executors.chunk_maker import ChunkMaker
from pipefunc_c.map._executors.executor_kinds import slots
from pipefunc_c.map._executors.executor_pool import FIRST_ROUND_TRIP, ExecutorPool
from pipefunc_c.map._executors.lost_work import Job, Part
from pipefunc_c.map._executors.own_threads import executors_here, refuse_own, running_for
from pipefunc_c.map._executors.random_streams import StreamWatch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor, Future

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._engine.scheduler import Action
    from pipefunc_c.map._progress.progress import Progress

GRACE_SECONDS = 0.5
LOOK_SECONDS = 1.0  # how often an executor is looked at that does not tell when it lost its last worker
Event = tuple[ExecutorPool, "Future[Any]", float]


class ExecutorDriver:
    """Run a plan in executors of the user, which are not shut down.

    Threads of this process share its columns. To any other executor go chunks: the function and its sliced
    inputs, pickled; what comes back is stored and committed here.

    Parameters
    ----------
    plan
        What to run.
    progress
        Told of each lease that returns.
    executor_of
        The executor of each function.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Progress,
        executor_of: Mapping[PipeFunc[..., Any], Executor],
    ) -> None:
        self._plan = plan
        self._progress = progress
        executors = list({id(each): each for each in executor_of.values()}.values())
        refuse_own(executors)
        self._waiting = executors_here()
        numbers = {id(each): number for number, each in enumerate(executors)}
        self._pool_of = [numbers[id(executor_of[stage.func])] for stage in plan.stages]
        self._scheduler = plan.make_scheduler()
        self._scheduler.round_trip = FIRST_ROUND_TRIP
        self._scheduler.prefetches = False  # a slot is no process: two leases of it may change places
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._chunks = ChunkMaker(plan)
        self._watch = StreamWatch()
        self._round_trips: dict[int, float] = {}
        self._pools = [self._make_pool(each) for each in executors]
        self._stop_flag = bytearray(1)
        self._failure: BaseException | None = None

    def _make_pool(self, executor: Executor) -> ExecutorPool:
        return ExecutorPool(
            executor,
            run_here=partial(self._run_here, executor),
            pickled=self._pickled,
            ping=self._chunks.ping,
            read_mark=self._chunks.mark,
            name=lambda job: self._plan.stages[job.lease.stage].func.output_name,
            answer=lambda *event: self._events.put(event),
        )

    def run(self, token: CancelToken | None = None) -> None:
        """Run the plan.

        Parameters
        ----------
        token
            Stops the run from another thread.

        Raises
        ------
        Exception
            What the first failing element raised, with a note that names it.
        WorkerDiedError
            If an element kills the worker that computes it.
        OperationError
            If an executor takes no work, or lost all its workers.
        RunCancelledError
            If it was told to stop.
        """
        token = CancelToken() if token is None else token
        try:
            with token.waking(lambda: self._events.put(None)):
                self._loop(token)
        finally:
            self._stop_flag[0] = 1
            for pool in self._pools:
                pool.close()
            self._chunks.close()
            self._pools.clear()  # they refer to this driver
        if self._failure is not None:
            raise self._failure

    def _loop(self, token: CancelToken) -> None:
        actions: deque[Action] = deque(self._scheduler.start())
        for number, pool in enumerate(self._pools):
            for slot in range(slots(pool.given)):
                actions.extend(self._scheduler.add_worker((number, slot), number))
        patience: float | None = None
        while True:
            while actions and not token.is_set:
                actions.extend(self._act(actions.popleft()))
            if token.is_set and self._failure is None:
                self._stop_flag[0] = 1
                self._failure = RunCancelledError()
                self._scheduler.cancel()
                actions.clear()
            if self._failure is not None:
                patience = patience or time.monotonic() + GRACE_SECONDS
                for pool in self._pools:
                    pool.cancel()
                if time.monotonic() > patience:
                    return
            if not any(pool.is_busy for pool in self._pools):
                return
            self._progress.tick()
            try:
                pause = min(self._progress.tick_seconds or LOOK_SECONDS, LOOK_SECONDS)
                event = self._events.get(timeout=pause if patience is None else 0.05)
            except queue.Empty:
                for pool in self._pools if patience is None else ():
                    pool.check()
                continue
            if event is not None:
                actions.extend(self._take(*event))

    def _act(self, action: Action) -> list[Action]:
        if isinstance(action, PrepareStage):
            stage = self._plan.stages[action.stage]
            requested = stage.prepare()
            self._progress.set_total(action.stage, len(requested))
            pool, chunk = self._pool_of[action.stage], stage.chunksize
            return self._scheduler.stage_prepared(action.stage, requested, pool=pool, chunk=chunk)
        if isinstance(action, GrantLease):
            self._progress.granted(action.lease.stage, self._scheduler.running(action.lease.stage))
            self._submit(action)
        elif isinstance(action, FinishStage):
            self._plan.stages[action.stage].finish()
        return []

    # -- out -----------------------------------------------------------------------------------------

    def _submit(self, action: GrantLease) -> None:
        assert isinstance(action.worker, tuple)
        worker, lease = action.worker, action.lease
        start, stop = self._chunks.first_run(self._plan.stages[lease.stage], lease)
        self._pools[worker[0]].give(Job(worker, lease, action.seconds, stop, [Part(start, stop)]))

    def _run_here(self, executor: Executor, job: Job) -> tuple[LeaseRun, BaseException | None, float]:
        started = time.monotonic()
        lease_run = LeaseRun(self._plan.stages[job.lease.stage], job.lease)
        try:
            with running_for((*self._waiting, executor)):
                lease_run.run(started + job.seconds, self._stop_flag, keep=False)
        except BaseException as error:
            return lease_run, error, time.monotonic() - started
        return lease_run, None, time.monotonic() - started

    def _pickled(self, job: Job, seeded: bool) -> bytes:
        stage, part = self._plan.stages[job.lease.stage], job.part
        return self._chunks.chunk(stage, part.start, part.stop, job.seconds, job.worker, seeded=seeded)

    # -- back ----------------------------------------------------------------------------------------

    def _take(self, pool: ExecutorPool, future: Future[Any], sent: float) -> list[Action]:
        job = pool.out.pop(future)
        is_cancelled = future.cancelled()
        error = None if is_cancelled else future.exception()
        if is_cancelled or error is not None:
            if self._failure is None:
                if error is None:
                    pool.cancelled(job)
                pool.failed(job, error)
                return []
            return [] if job is None else self._scheduler.lease_returned(job.worker, job.lease.start, 0.0)
        actions: list[Action] = []
        if job is not None:
            actions += self._take_result(pool, job, sent, future.result())
        for lost, killer in pool.answered(job):
            actions += self._take_killer(pool, lost, killer)
        return actions

    def _take_result(self, pool: ExecutorPool, job: Job, sent: float, result: Any) -> list[Action]:
        stage = self._plan.stages[job.lease.stage]
        error: BaseException | None
        if not pool.is_here:
            chunk = None
            with contextlib.suppress(Exception):  # whatever it may be that the executor gave
                chunk = pickle.loads(result)
            if not isinstance(chunk, ChunkResult):
                pool.bad_result(job, result)
            reached, seconds, error, is_to_blame = self._take_chunk(pool, job, chunk)
        elif not isinstance(result, tuple):
            pool.bad_result(job, result)
        else:
            lease_run, error, seconds = result
            lease_run.keep()
            stage.failed += lease_run.failed
            reached, is_to_blame = lease_run.reached, lease_run.is_to_blame
        self._round_trips[job.worker[0]] = pool.round_trip(sent, seconds)
        self._scheduler.round_trip = min(self._round_trips.values())
        if error is not None:
            return self._fail(job, error, reached, is_to_blame=is_to_blame)
        job.spent += seconds
        if not job.was_lost:
            actions = self._scheduler.lease_returned(job.worker, reached, seconds)
        elif job.done(reached):
            pool.give(job)
            actions = []
        else:
            actions = self._scheduler.lease_returned(job.worker, job.stop, job.spent)
        self._show(job)
        return actions

    def _take_chunk(
        self, pool: ExecutorPool, job: Job, result: ChunkResult
    ) -> tuple[int, float, BaseException | None, bool]:
        stage, start = self._plan.stages[job.lease.stage], job.part.start
        if result.out_of_reach:  # another host: from now on everything goes in the messages
            self._chunks.stop_sharing_files()
            return start, 0.0, None, False
        if result.began is not None and result.process is not None:
            self._warn_of_repeats(pool, self._watch.repeated(result.process, result.began))
        for column, data in zip(stage.columns, result.outputs, strict=False):
            unpack(moved(unpack_bytes(data), start), column)
        stage.failed += result.failed
        reached = start + result.reached
        stage.settle(start, reached)
        self._plan.keep(stage, job.lease_of_part(), reached)
        failure = result.failure
        error = None if failure is None else failure.load()
        return reached, result.seconds, error, failure is not None and failure.is_to_blame

    def _take_killer(self, pool: ExecutorPool, job: Job, index: int) -> list[Action]:
        """Give up an element that kills whoever computes it."""
        stage = self._plan.stages[job.lease.stage]
        outputs = ", ".join(stage.func.output_names)
        error = WorkerDiedError(
            f"{job.describe_death()} while it computed {stage.where(index) or 'the call'} of {outputs}",
            detail=job.exitcode,
            index=index,
            signal=job.signal,
            exitcode=job.exitcode,
            hint="a function that exits, crashes or runs out of memory ends its worker; "
            "run with parallel=False to see where",
        )
        if self._plan.error_handling == "raise":
            return self._fail(job, error, index, is_to_blame=True)
        for column in stage.columns:
            column.store_error(index, error, stage.origins.intern(error))
        stage.failed += 1
        self._plan.keep(stage, job.lease_of(index, index + 1), index + 1)
        if job.parts:
            pool.give(job)
            actions = []
        else:
            actions = self._scheduler.lease_returned(job.worker, job.stop, job.spent)
        self._show(job)
        return actions

    def _fail(self, job: Job, error: BaseException, index: int, *, is_to_blame: bool) -> list[Action]:
        stage = self._plan.stages[job.lease.stage]
        self._stop_flag[0] = 1
        if is_to_blame and isinstance(error, Exception):
            self._progress.raised(job.lease.stage)
        if self._failure is None:
            self._failure = error
            if is_to_blame and isinstance(error, Exception):
                stage.record(error, index)
        # Of a lease that was lost, parts before the element may be missing.
        actions = self._scheduler.lease_failed(job.worker, job.lease.start if job.was_lost else index)
        self._show(job)
        return actions

    def _show(self, job: Job) -> None:
        stage = job.lease.stage
        done, running = self._scheduler.done(stage), self._scheduler.running(stage)
        self._progress.update(stage, done, self._plan.stages[stage].failed, running)

    @staticmethod
    def _warn_of_repeats(pool: ExecutorPool, generator: str | None) -> None:
        if generator is not None and not pool.has_warned:
            pool.has_warned = True
            warnings.warn(
                f"two workers of {pool.given!r} begin with the same state of {generator}, so they repeat "
                "each other's random numbers; seed each differently in its initializer",
                UserWarning,
                stacklevel=2,
            )
