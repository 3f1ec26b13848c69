"""The driver of a run in worker processes: feeds the scheduler with what the workers report."""

from __future__ import annotations

import contextlib
import pickle
import time
from collections import defaultdict, deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pipefunc_c._describe import message_of
from pipefunc_c._storage.home import SharedHome
from pipefunc_c.exceptions import InvalidTypeError, WorkerDiedError
from pipefunc_c.map._cached_calls import visible_elsewhere
from pipefunc_c.map._cancel import CancelToken, RunCancelledError
from pipefunc_c.map._layouts import decide_layouts
from pipefunc_c.map._messages import END, Report, write_lease, write_stage
from pipefunc_c.map._scheduler import FinishStage, GrantLease, PrepareStage
from pipefunc_c.map._worker import BUSY, STOP, Failure, Recipe, serve, take_objects, write_recipe
from pipefunc_c.parallel._environment import may_fork
from pipefunc_c.parallel._workers import Boot, Death, WorkerGroup

if TYPE_CHECKING:
    from pipefunc_c.map._plan import Plan
    from pipefunc_c.map._progress import Progress
    from pipefunc_c.map._scheduler import Action, Lease
    from pipefunc_c.map._stage import Stage

# Assumed until the first lease has come back; more than 0 lets the scheduler hand out leases ahead.
FIRST_ROUND_TRIP = 1e-4
GRACE_SECONDS, COMMIT_SECONDS = 0.5, 0.2
POLL_SECONDS = 0.002


class PoolDriver:
    """Run a plan in worker processes that live as long as the run.

    Parameters
    ----------
    plan
        What to run.
    progress
        Told of each lease that returns.
    n_workers
        How many processes.
    """

    def __init__(self, plan: Plan, progress: Progress, n_workers: int) -> None:
        self._plan = plan
        self._progress = progress
        self._scheduler = plan.make_scheduler()
        self._scheduler.round_trip = FIRST_ROUND_TRIP
        self._home = plan.shared = SharedHome("pipefunc_c-run")
        self._control = self._home.allocate(BUSY + n_workers)
        self._control_place = (self._home.last_offset, BUSY + n_workers)
        self._group = WorkerGroup(partial(serve, plan, self._control), n_workers)
        # Per worker the leases that are out, each with the moment it was sent to an idle worker, or 0.
        self._out: list[deque[tuple[Lease, float]]] = [deque() for _ in range(n_workers)]
        self._failure: BaseException | None = None
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
            If a worker process ended before its work was done.
        RunCancelledError
            If it was told to stop.
        """
        token = CancelToken() if token is None else token
        try:
            with token.waking(self._group.wake):
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
                self._control[STOP] = 1
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
            for event in self._group.wait(None if patience is None else 0.05):
                if isinstance(event, Death):
                    self._control[BUSY + event.worker] = 0
                    raise self._death_error(event)
                actions.extend(self._take(event.worker, Report.read(event.data)))

    def _act(self, action: Action) -> list[Action]:
        if isinstance(action, PrepareStage):
            stage = self._plan.stages[action.stage]
            requested = stage.prepare()
            self._progress.set_total(action.stage, len(requested))
            self._prepared.append(stage)
            if self._is_started:
                self._tell_all(write_stage(stage.news(), self._home))
            return self._scheduler.stage_prepared(action.stage, requested)
        if isinstance(action, GrantLease):
            assert isinstance(action.worker, int)
            if not self._is_started:
                self._start()
            self._progress.granted(action.lease.stage, self._scheduler.running(action.lease.stage))
            out = self._out[action.worker]
            out.append((action.lease, 0.0 if out else time.monotonic()))
            self._group.send(action.worker, write_lease(action.lease, action.seconds))
        elif isinstance(action, FinishStage):
            self._plan.stages[action.stage].finish()
        return []

    def _start(self) -> None:
        """Start the workers, when there is something for them to do; tell them what is ready so far."""
        durable = self._plan.durable
        for cached in self._plan.cached.values():
            cached.cache.share()
        if not may_fork():
            self._group.boot = self._boot()
        with durable.inherited() if durable is not None else contextlib.nullcontext():
            self._group.start()
        self._is_started = True
        for stage in self._prepared:
            self._tell_all(write_stage(stage.news(), self._home))

    def _boot(self) -> Boot:
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
        except Exception as error:
            raise InvalidTypeError(
                f"a function or an input cannot be pickled: {message_of(error)}",
                hint="this process has threads, so its workers are not forked from it: pass what cloudpickle "
                "takes, or run with parallel=False",
            ) from error
        descriptors = [self._home.descriptor]
        if durable is not None and durable.descriptor >= 0:
            descriptors.append(durable.descriptor)
        return Boot(("pipefunc_c.map._worker", "serve_recipe"), payload, descriptors)

    def _storage_in_workers(self) -> dict[str | tuple[str, ...], str]:
        """Tell workers what they must commit; more of storages they need not know: not even their classes."""
        plan = self._plan
        return {
            stage.func.output_name: "file_array" if plan.is_committed(stage) else "array"
            for stage in plan.stages
        }

    def _tell_all(self, message: bytes) -> None:
        for worker in range(len(self._out)):
            self._group.send(worker, message)

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
                self._tell_all(write_stage(stage.news(), self._home))
        stage.fill_sinks(lease.start, report.reached)
        if report.error:
            self._fail(lease, report)
            actions = self._scheduler.lease_failed(worker, report.reached)
        else:
            actions = self._scheduler.lease_returned(worker, report.reached, report.seconds)
        done, running = self._scheduler.done(lease.stage), self._scheduler.running(lease.stage)
        self._progress.update(lease.stage, done, stage.failed, running)
        return actions

    def _fail(self, lease: Lease, report: Report) -> None:
        self._control[STOP] = 1
        failure: Failure = pickle.loads(report.error)
        error = failure.load()
        if self._failure is None:
            self._failure = error
            if failure.is_to_blame and isinstance(error, Exception):
                self._plan.stages[lease.stage].record(error, report.reached)

    def _death_error(self, death: Death) -> WorkerDiedError:
        leases = [lease for lease, _ in self._out[death.worker]]
        self._out[death.worker].clear()
        where = "while it was idle"
        if leases:
            outputs = ", ".join(self._plan.stages[leases[0].stage].func.output_names)
            where = f"while it computed elements {leases[0].start} to {leases[0].stop - 1} of {outputs}"
        return WorkerDiedError(
            f"{death} {where}",
            detail=death.exitcode,
            hint="a function that exits, crashes or runs out of memory ends its worker; "
            "run with parallel=False to see where",
        )

    def _let_finish(self) -> None:
        """Let workers finish the element they are at, and commit, but not for long."""
        self._control[STOP] = 1
        if self._is_started:
            self._wait_until_idle(GRACE_SECONDS)
            self._let_commit()

    def _let_commit(self) -> None:
        """Let workers that are still in an element give it up and commit those before it."""
        if self._plan.durable is not None and self._control[BUSY:].any():
            self._group.interrupt()
            self._wait_until_idle(COMMIT_SECONDS)

    def _wait_until_idle(self, seconds: float) -> None:
        # Shared memory says so: a message may have been cut in two by what interrupted this process.
        until = time.monotonic() + seconds
        while self._control[BUSY:].any() and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    def _end(self) -> None:
        if self._is_started:
            if not any(self._out):
                self._tell_all(bytes([END]))
                self._group.close()
            self._group.kill()
        self._home.close()
