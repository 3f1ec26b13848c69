"""The driver of a run in worker processes: feeds the scheduler with what the workers report."""

from __future__ import annotations

import pickle
import time
from collections import Counter, defaultdict, deque
from dataclasses import replace
from typing import TYPE_CHECKING

from pipefunc_c._storage.home import SharedHome
from pipefunc_c.exceptions import WorkerDiedError
from pipefunc_c.map._engine.cancel import CancelToken, RunCancelledError
from pipefunc_c.map._engine.scheduler import FinishStage, GiveUpElement, GrantLease, PrepareStage
from pipefunc_c.map._processes.control import Control
from pipefunc_c.map._processes.crews import OwnCrew, Payload, PoolCrew
from pipefunc_c.map._processes.long_wait import LongWait
from pipefunc_c.map._processes.messages import Report, write_lease, write_stage
from pipefunc_c.map._processes.recovery import Recovery
from pipefunc_c.map._processes.refused import refused_recipe
from pipefunc_c.map._processes.timeouts import Timeouts
from pipefunc_c.map._processes.worker import Recipe, take_objects, write_recipe
from pipefunc_c.map._stages.cached_calls import visible_elsewhere
from pipefunc_c.map._stages.layouts import decide_layouts
from pipefunc_c.parallel._pool_run import Answered, Refused

if TYPE_CHECKING:
    from pipefunc_c._remote_failure import RemoteFailure
    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._engine.scheduler import Action, Lease
    from pipefunc_c.map._processes.crews import Crew, Event
    from pipefunc_c.map._progress.progress import Progress
    from pipefunc_c.map._stages.stage import Stage
    from pipefunc_c.parallel._worker_pool import WorkerPool

# Assumed until the first lease has come back; more than 0 lets the scheduler hand out leases ahead.
FIRST_ROUND_TRIP = 1e-4
GRACE_SECONDS, COMMIT_SECONDS = 0.5, 0.2
POLL_SECONDS = 0.002


class PoolDriver:
    """Run a plan in worker processes: fresh ones that end with the run, or those of a `WorkerPool`.

    Parameters
    ----------
    plan
        What to run.
    progress
        Told of each lease that returns.
    workers
        How many fresh ones, or the pool.
    """

    def __init__(self, plan: Plan, progress: Progress, workers: int | WorkerPool) -> None:
        self._plan = plan
        self._progress = progress
        self._crew: Crew
        if isinstance(workers, int):
            self._crew = OwnCrew(plan, workers, redraws=progress.is_drawing)
        else:
            self._crew = PoolCrew(workers)
        self._scheduler = plan.make_scheduler()
        self._scheduler.round_trip = FIRST_ROUND_TRIP
        self._scheduler.prefetches = self._crew.prefetches
        self._home = plan.shared = SharedHome("pipefunc_c-run")
        # Not by worker: one that takes the place of a dead one may be at work before we hear of that.
        size = Control.size(self._crew.n_slots)
        self._control = Control(self._home.allocate(size))
        self._control_place = (self._home.last_offset, size)
        given = plan.options.timeout_of(plan.graph.functions)
        by_stage = ((number, given[stage.func]) for number, stage in enumerate(plan.stages))
        limits = {number: limit for number, limit in by_stage if limit is not None}
        self._timeouts = Timeouts(limits, self._control)
        self._recovery = Recovery(plan, self._scheduler, self._control, limits, self._crew.n_workers)
        self._warning = LongWait()
        # Per slot the leases that are out, each with the moment it was sent to an idle worker, or 0.
        self._out: list[deque[tuple[Lease, float]]] = [deque() for _ in range(self._crew.n_slots)]
        self._failure: BaseException | None = None
        self._given_up: Counter[int] = Counter()  # elements that the scheduler takes for done
        self._first_arrays: defaultdict[int, set[int]] = defaultdict(set)
        self._prepared: list[Stage] = []
        self._is_started = False

    def run(self, token: CancelToken | None = None) -> None:
        """Run the plan.

        Parameters
        ----------
        token
            Stops the run from another thread.

        Raises
        ------
        Exception
            What the first failing element raised, with a note that names it; the origin is its ``__cause__``.
        WorkerDiedError
            If an element ends the workers that run it, and the run is to stop at errors.
        ElementTimeoutError
            If an element takes longer than its limit, and the run is to stop at errors.
        RunCancelledError
            If it was told to stop.
        """
        token = CancelToken() if token is None else token
        try:
            with token.waking(self._crew.wake):
                self._loop(token)
        except BaseException:
            self._let_finish()
            raise
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure

    def _loop(self, token: CancelToken) -> None:
        actions: deque[Action] = deque(self._scheduler.start())
        for worker in range(len(self._out)):
            actions.extend(self._scheduler.add_worker(worker))
        patience: float | None = None
        while True:
            while actions and not token.is_set:
                actions.extend(self._act(actions.popleft()))
            if token.is_set and self._failure is None:
                self._control.stop()
                self._failure = RunCancelledError()
                self._scheduler.cancel()
                actions.clear()
            if not any(self._out):
                return
            if self._failure is not None:
                # What still computes may finish its element and commit; it is not waited for longer.
                patience = patience or time.monotonic() + GRACE_SECONDS
                if time.monotonic() > patience:
                    self._let_commit()
                    return
            self._progress.tick()
            for event in self._crew.wait(self._wait_seconds(patience)):
                actions.extend(self._take_event(event))
            self._end_overdue()
            self._warning.look(self._out, self._plan)

    def _wait_seconds(self, patience: float | None) -> float | None:
        wanted = [self._progress.tick_seconds, self._timeouts.poll_seconds, self._warning.seconds]
        wanted.append(None if patience is None else 0.05)
        return min((each for each in wanted if each is not None), default=None)

    def _take_event(self, event: Event) -> list[Action]:
        if isinstance(event, Answered):
            self._recovery.progressed()
            return self._take(event.slot, Report.read(event.data))
        if isinstance(event, Refused):
            self._out[event.slot].clear()
            raise event.error
        leases = [lease for lease, _ in self._out[event.slot]]
        self._out[event.slot].clear()
        if event.death.error is not None:
            raise event.death.error
        actions = self._recovery.lost(event.slot, event.death, leases)
        if self._failure is None:
            news = (write_stage(stage.news(), self._home) for stage in self._prepared)
            self._crew.renew(event.worker, news)
            actions += self._scheduler.add_worker(event.slot)
        for lease in leases[:1]:
            self._report_progress(lease.stage)
        return actions

    def _end_overdue(self) -> None:
        for slot, at in self._timeouts.overdue(time.monotonic()).items():
            if self._recovery.killed(slot, at):
                self._crew.kill(slot)

    def _give_up(self, action: GiveUpElement) -> list[Action]:
        """Store the error of an element that ends its workers, or stop at it."""
        error = self._recovery.error(action.stage, action.index)
        stage = self._plan.stages[action.stage]
        if self._plan.error_handling == "continue":
            self._recovery.store(action.stage, action.index, error)
            self._report_progress(action.stage)
            return []
        self._control.stop()
        self._given_up[action.stage] += 1
        self._progress.raised(action.stage)
        self._report_progress(action.stage)
        if self._failure is None:
            self._failure = error
            arguments = stage.arguments(action.index)
            if isinstance(error, WorkerDiedError):
                error.arguments = arguments
            stage.record(error, action.index)
        return self._scheduler.cancel()

    def _act(self, action: Action) -> list[Action]:
        if isinstance(action, PrepareStage):
            stage = self._plan.stages[action.stage]
            requested = stage.prepare()
            self._progress.set_total(action.stage, len(requested))
            self._prepared.append(stage)
            if self._is_started:
                self._crew.tell(write_stage(stage.news(), self._home))
            return self._scheduler.stage_prepared(action.stage, requested)
        if isinstance(action, GiveUpElement):
            return self._give_up(action)
        if isinstance(action, GrantLease):
            assert isinstance(action.worker, int)
            if not self._is_started:
                self._start()
            self._progress.granted(action.lease.stage, self._scheduler.running(action.lease.stage))
            out = self._out[action.worker]
            out.append((action.lease, 0.0 if out else time.monotonic()))
            self._crew.grant(action.worker, write_lease(action.lease, action.seconds, action.worker))
        elif isinstance(action, FinishStage):
            self._plan.stages[action.stage].finish()
        return []

    def _start(self) -> None:
        """Start the workers, when there is something for them to do; tell them what is ready so far."""
        for cached in self._plan.cached.values():
            cached.cache.share()
        self._crew.start(self._control, self._payload)
        self._is_started = True
        for stage in self._prepared:
            self._crew.tell(write_stage(stage.news(), self._home))

    def _payload(self) -> Payload:
        """Give what workers need that are not forked from this process."""
        plan, durable = self._plan, self._plan.durable
        recipe = Recipe(
            plan.graph.functions,
            {name: plan.values[name] for name in plan.given},
            replace(plan.options, executor=None, storage=self._storage_in_workers()),
            self._control_place,
            None if durable is None else durable.recipe(),
            visible_elsewhere(plan.cached),
        )
        try:
            payload = write_recipe(recipe, self._home)
        except MemoryError:
            raise
        except Exception as error:
            raise refused_recipe(recipe, error) from error
        descriptors = [self._home.descriptor]
        if durable is not None and durable.descriptor >= 0:
            descriptors.append(durable.descriptor)
        return Payload(payload, descriptors)

    def _storage_in_workers(self) -> dict[str | tuple[str, ...], str]:
        """Tell workers what they must commit; more of storages they need not know: not even their classes."""
        plan = self._plan
        return {
            stage.func.output_name: "file_array" if plan.is_committed(stage) else "array"
            for stage in plan.stages
        }

    def _take(self, worker: int, report: Report) -> list[Action]:
        """Take in a report: objects first, then what is done."""
        lease, sent = self._out[worker].popleft()
        stage = self._plan.stages[lease.stage]
        stage.failed += report.failed
        if sent:
            round_trip = max(time.monotonic() - sent - report.seconds, 1e-6)
            self._scheduler.round_trip = min(self._scheduler.round_trip, round_trip)
        if report.objects:
            added = []
            for column, objects in zip(stage.columns, pickle.loads(report.objects), strict=True):
                if objects.first_array is not None:
                    self._first_arrays[id(column)].add(objects.first_array)
                added.append(take_objects(column, objects))
            if stage.layout_is_open:
                has_slab = decide_layouts(
                    stage.columns,
                    stage.requested.runs,
                    [self._first_arrays[id(column)] for column in stage.columns],
                )
                stage.layout_is_open = has_slab is None
                added.append(bool(has_slab))
            if any(added):
                self._crew.tell(write_stage(stage.news(), self._home))
        stage.fill_sinks(lease.start, report.reached)
        if report.error:
            self._fail(lease, report)
            actions = self._scheduler.lease_failed(worker, report.reached)
        else:
            actions = self._scheduler.lease_returned(worker, report.reached, report.seconds)
        self._report_progress(lease.stage)
        return actions

    def _report_progress(self, number: int) -> None:
        done, running = self._scheduler.done(number), self._scheduler.running(number)
        done -= self._given_up[number]
        self._progress.update(number, done, self._plan.stages[number].failed, running)

    def _fail(self, lease: Lease, report: Report) -> None:
        self._control.stop()
        failure: RemoteFailure = pickle.loads(report.error)
        error = failure.load()
        if failure.is_to_blame and isinstance(error, Exception):
            self._progress.raised(lease.stage)
        if self._failure is None:
            self._failure = error
            if failure.is_to_blame and isinstance(error, Exception):
                self._plan.stages[lease.stage].record(error, report.reached)

    def _let_finish(self) -> None:
        """Let workers finish the element they are at, and commit, but not for long."""
        self._control.stop()
        if self._is_started:
            self._wait_until_idle(GRACE_SECONDS)
            self._let_commit()

    def _let_commit(self) -> None:
        """Let workers that are still in an element give it up and commit those before it."""
        if self._plan.durable is not None and self._control.busy():
            self._crew.interrupt()
            self._wait_until_idle(COMMIT_SECONDS)

    def _wait_until_idle(self, seconds: float) -> None:
        # Shared memory says so: a message may have been cut in two by what interrupted this process.
        until = time.monotonic() + seconds
        while self._control.busy() and time.monotonic() < until:
            self._crew.drain()  # who is stuck in a print cannot finish
            time.sleep(POLL_SECONDS)

    def _end(self) -> None:
        try:
            self._crew.end(is_idle=not any(self._out))
        finally:
            self._home.close()
