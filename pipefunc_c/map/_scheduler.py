"""The scheduler: a pure state machine, the only authority over what runs.

Events come in through methods, actions go out as their results. There is no clock, thread or executor in
here: every event carries the moment at which it happened. The drivers, and a simulated cluster in the tests,
feed the same machine.

A stage is ready when all stages that it waits for are done. Its elements are handed out as leases: runs of
the linear index, cut by time. The first lease of a stage on a worker has one element; after that a lease is
meant to take ``target`` seconds, less near the end so that workers finish together. A worker returns a lease
early at its deadline, and the rest goes back to the front of the queue.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pipefunc_c.map._requested import Requested

MIN_TARGET = 0.005
MAX_TARGET = 2.0
TARGET_PER_WORKER = 0.0002
TARGET_PER_ROUND_TRIP = 20
PREFETCH_BELOW = 0.05
DEADLINE_FACTOR = 2.0


@dataclass(frozen=True)
class Lease:
    """A run of elements of one stage, handed to one worker."""

    run: int
    stage: int
    start: int
    stop: int
    attempt: int


@dataclass(frozen=True)
class PrepareStage:
    """Make a stage ready: resolve its shapes, make its columns, publish its inputs."""

    stage: int


@dataclass(frozen=True)
class GrantLease:
    """Run a lease on a worker, for ``seconds`` at most."""

    worker: Hashable
    lease: Lease
    seconds: float


@dataclass(frozen=True)
class FinishStage:
    """All requested elements of a stage are done."""

    stage: int


@dataclass(frozen=True)
class FinishRun:
    """Nothing is left to do, or nothing more is to be done."""

    completed: bool


Action = PrepareStage | GrantLease | FinishStage | FinishRun


@dataclass
class _Stage:
    waits_for: int
    dependents: list[int] = field(default_factory=list)
    requested: Requested | None = None
    pending: deque[tuple[int, int, int]] = field(default_factory=deque)   # start, stop, attempt
    left: int = 0                 # requested elements that are not done
    unleased: int = 0             # of these, not handed out
    seconds_per_element: float | None = None
    seen_by: set[Hashable] = field(default_factory=set)


@dataclass
class _Worker:
    leases: deque[Lease] = field(default_factory=deque)


class Scheduler:
    """Decide what runs where.

    Parameters
    ----------
    waits_for
        For each stage, the stages that must be done before it is ready; they come before it.
    run
        Number of the run, carried by its leases.
    round_trip
        Measured seconds between handing out a lease and its earliest return.

    Examples
    --------
    >>> from pipefunc_c.map._requested import Requested
    >>> scheduler = Scheduler([[]])
    >>> scheduler.add_worker("w"), scheduler.start()
    ([], [PrepareStage(stage=0)])
    >>> scheduler.stage_prepared(0, Requested(3))
    [GrantLease(worker='w', lease=Lease(run=0, stage=0, start=0, stop=1, attempt=0), seconds=0.01)]
    """

    def __init__(self, waits_for: Sequence[Sequence[int]], *, run: int = 0, round_trip: float = 0.0) -> None:
        self._run = run
        self.round_trip = round_trip
        self._stages = [_Stage(len(set(before))) for before in waits_for]
        for stage, before in enumerate(waits_for):
            for earlier in set(before):
                self._stages[earlier].dependents.append(stage)
        self._ready: list[int] = []
        self._workers: dict[Hashable, _Worker] = {}
        self._unfinished = len(self._stages)
        self._stopping = False
        self._finished = False
        self.leases_granted = 0

    # -- events --------------------------------------------------------------------------------------

    def start(self) -> list[Action]:
        """Begin the run: stages that wait for nothing are to be prepared."""
        actions: list[Action] = [PrepareStage(k) for k, stage in enumerate(self._stages) if not stage.waits_for]
        return actions + self._finish_if_done()

    def stage_prepared(self, stage: int, requested: Requested, done: int = 0) -> list[Action]:
        """Take in a stage's size, known since it is ready; ``done`` elements need not run."""
        state = self._stages[stage]
        state.requested = requested
        state.left = state.unleased = len(requested) - done
        if self._stopping:
            return []
        if state.left == 0:
            return self._stage_done(stage)
        state.pending.append((0, requested.size, 0))
        self._ready.append(stage)
        self._ready.sort()
        return self._dispatch()

    def add_worker(self, worker: Hashable) -> list[Action]:
        """Take in a worker that is ready for leases."""
        self._workers[worker] = _Worker()
        return self._dispatch()

    def lease_returned(self, worker: Hashable, reached: int, seconds: float) -> list[Action]:
        """Take in the oldest lease of a worker, done up to ``reached`` in ``seconds``."""
        lease = self._workers[worker].leases.popleft()
        state = self._stages[lease.stage]
        assert state.requested is not None
        done = state.requested.count(lease.start, reached)
        if done:
            self._learn(state, seconds / done)
        state.left -= done
        if reached < lease.stop:
            self._requeue(lease, reached)
        if state.left == 0 and not self._stopping:
            return self._stage_done(lease.stage)
        return self._dispatch() + self._finish_if_done()

    def lease_failed(self, worker: Hashable, reached: int) -> list[Action]:
        """Take in that an element raised: nothing more is handed out."""
        self._stopping = True
        return self.lease_returned(worker, reached, 0.0)

    def worker_lost(self, worker: Hashable, reached: int | None = None) -> list[Action]:
        """Take in that a worker is gone: what it had not done up to ``reached`` goes back to the queue."""
        lost = self._workers.pop(worker)
        for position, lease in enumerate(lost.leases):
            begin = lease.start if position or reached is None else reached
            state = self._stages[lease.stage]
            assert state.requested is not None
            state.left -= state.requested.count(lease.start, begin)
            self._requeue(lease, begin, attempt=lease.attempt + 1)
        done = [k for k in self._ready if not self._stages[k].left]
        actions = [action for stage in done for action in self._stage_done(stage)]
        return actions + self._dispatch() + self._finish_if_done()

    def cancel(self) -> list[Action]:
        """Hand out nothing more; the run is finished when the leases that are out have returned."""
        self._stopping = True
        return self._finish_if_done()

    # -- what is known -------------------------------------------------------------------------------

    def done(self, stage: int) -> int:
        """Count the requested elements of a stage that are done."""
        state = self._stages[stage]
        return 0 if state.requested is None else len(state.requested) - state.left

    @property
    def target(self) -> float:
        """Seconds that a lease should take."""
        wanted = max(
            MIN_TARGET, TARGET_PER_WORKER * len(self._workers), TARGET_PER_ROUND_TRIP * self.round_trip
        )
        return min(wanted, MAX_TARGET)

    # -- decisions -----------------------------------------------------------------------------------

    @staticmethod
    def _learn(state: _Stage, seconds: float) -> None:
        # Elements that suddenly become slow count at once, ones that become fast by halves.
        known = state.seconds_per_element
        state.seconds_per_element = seconds if known is None or seconds > known else (known + seconds) / 2

    def _requeue(self, lease: Lease, begin: int, attempt: int | None = None) -> None:
        state = self._stages[lease.stage]
        assert state.requested is not None
        count = state.requested.count(begin, lease.stop)
        if count:
            state.pending.appendleft((begin, lease.stop, lease.attempt if attempt is None else attempt))
            state.unleased += count

    def _stage_done(self, stage: int) -> list[Action]:
        state = self._stages[stage]
        self._unfinished -= 1
        if stage in self._ready:
            self._ready.remove(stage)
        actions: list[Action] = [FinishStage(stage)]
        for dependent in state.dependents:
            self._stages[dependent].waits_for -= 1
            if not self._stages[dependent].waits_for:
                actions.append(PrepareStage(dependent))
        return actions + self._dispatch() + self._finish_if_done()

    def _finish_if_done(self) -> list[Action]:
        busy = any(worker.leases for worker in self._workers.values())
        if self._finished or busy or (self._unfinished and not self._stopping):
            return []
        self._finished = True
        return [FinishRun(completed=not self._unfinished)]

    def _dispatch(self) -> list[Action]:
        """Hand a lease to each idle worker, then one ahead where leases are short."""
        actions: list[Action] = []
        if self._stopping or not self._ready:
            return actions
        for depth in (0, 1):
            for name, worker in self._workers.items():
                if len(worker.leases) == depth and (depth == 0 or self._may_prefetch(worker)):
                    granted = self._grant(name, worker)
                    if granted is None:
                        return actions
                    actions.append(granted)
        return actions

    def _may_prefetch(self, worker: _Worker) -> bool:
        """Tell whether a second lease pays: where the first will be over soon and the round trip is seen."""
        lease = worker.leases[0]
        state = self._stages[lease.stage]
        if not self.round_trip or state.seconds_per_element is None:
            return False
        return (lease.stop - lease.start) * state.seconds_per_element < PREFETCH_BELOW

    def _grant(self, name: Hashable, worker: _Worker) -> GrantLease | None:
        for stage in self._ready:
            state = self._stages[stage]
            if not state.pending:
                continue
            assert state.requested is not None
            start, stop, attempt = state.pending.popleft()
            end = min(state.requested.advance(start, self._lease_size(state, name)), stop)
            if state.requested.count(end, stop):
                state.pending.appendleft((end, stop, attempt))
            else:
                end = stop
            state.unleased -= state.requested.count(start, end)
            state.seen_by.add(name)
            lease = Lease(self._run, stage, start, end, attempt)
            worker.leases.append(lease)
            self.leases_granted += 1
            return GrantLease(name, lease, DEADLINE_FACTOR * self.target)
        return None

    def _lease_size(self, state: _Stage, worker: Hashable) -> int:
        """Give the number of requested elements of the next lease."""
        if state.seconds_per_element is None or worker not in state.seen_by:
            return 1
        per_element = max(state.seconds_per_element, 1e-9)
        size = self.target / per_element
        if len(self._workers) > 1:
            # Halves of a fair share near the end, but nothing shorter than a round trip.
            share = state.unleased / (2 * len(self._workers))
            size = min(size, max(share, self.round_trip / per_element))
        return max(1, int(size))
