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

import heapq
import math
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Sequence

    from pipefunc_c.map._stages.requested import Requested

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
class GiveUpElement:
    """An element ends the workers that run it: it is done, as an error."""

    stage: int
    index: int


@dataclass(frozen=True)
class FinishRun:
    """Nothing is left to do, or nothing more is to be done."""

    completed: bool


Action = PrepareStage | GrantLease | FinishStage | GiveUpElement | FinishRun


@dataclass
class _Gate:
    """Stages that become ready together, when the last of those before them is done."""

    waits_for: int
    opens: Sequence[int]


@dataclass
class _Stage:
    gates: list[_Gate] = field(default_factory=list)  # that wait for this stage
    requested: Requested | None = None
    pending: deque[tuple[int, int, int]] = field(default_factory=deque)  # start, stop, attempt
    left: int = 0  # requested elements that are not done
    unleased: int = 0  # of these, not handed out
    pool: Hashable = None
    chunk: int | None = None
    seconds_per_element: float | None = None
    seen_by: set[Hashable] = field(default_factory=set)
    suspects: set[int] = field(default_factory=set)  # that a worker died at


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
    >>> from pipefunc_c.map._stages.requested import Requested
    >>> scheduler = Scheduler([[]])
    >>> scheduler.add_worker("w"), scheduler.start()
    ([], [PrepareStage(stage=0)])
    >>> scheduler.stage_prepared(0, Requested(3))
    [GrantLease(worker='w', lease=Lease(run=0, stage=0, start=0, stop=1, attempt=0), seconds=0.01)]
    """

    def __init__(self, waits_for: Sequence[Sequence[int]], *, run: int = 0, round_trip: float = 0.0) -> None:
        self._run = run
        self.round_trip = round_trip
        self.prefetches = True
        self._stages = [_Stage() for _ in waits_for]
        self._open: list[int] = []
        for stage, before in enumerate(waits_for):
            self._add_gate(set(before), [stage])
        # Per pool of workers a heap of stages with elements to hand out, and the workers without a lease.
        self._offering: defaultdict[Hashable, list[int]] = defaultdict(list)
        self._idle: defaultdict[Hashable, OrderedDict[Hashable, None]] = defaultdict(OrderedDict)
        self._pool_of: dict[Hashable, Hashable] = {}
        # Elements that run alone in a fresh worker: stage, index, attempt. Workers that had no lease yet.
        self._alone: defaultdict[Hashable, deque[tuple[int, int, int]]] = defaultdict(deque)
        self._fresh: set[Hashable] = set()
        self._workers: dict[Hashable, deque[Lease]] = {}
        self._leases_out = 0
        self._unfinished = len(self._stages)
        self._stopping = False
        self._finished = False
        self.leases_granted = 0

    @classmethod
    def by_generation(
        cls, generations: Sequence[Sequence[int]], *, run: int = 0, round_trip: float = 0.0
    ) -> Scheduler:
        """Make a scheduler in which each generation waits for the whole one before it."""
        scheduler = cls([], run=run, round_trip=round_trip)
        scheduler._stages = [_Stage() for _ in range(sum(map(len, generations)))]
        scheduler._unfinished = len(scheduler._stages)
        before: Sequence[int] = ()
        for generation in generations:
            scheduler._add_gate(before, generation)
            before = generation
        return scheduler

    def _add_gate(self, before: Collection[int], opens: Sequence[int]) -> None:
        gate = _Gate(len(before), opens)
        for stage in before:
            self._stages[stage].gates.append(gate)
        if not before:
            self._open.extend(opens)

    # -- events --------------------------------------------------------------------------------------

    def start(self) -> list[Action]:
        """Begin the run: stages that wait for nothing are to be prepared."""
        if self._stopping:
            return self._finish_if_done()
        actions: list[Action] = [PrepareStage(stage) for stage in self._open]
        return actions + self._finish_if_done()

    def stage_prepared(
        self, stage: int, requested: Requested, *, pool: Hashable = None, chunk: int | None = None
    ) -> list[Action]:
        """Take in what of a stage is to run, known since it is ready.

        ``pool`` names the workers that may run it; ``chunk`` fixes the number of elements of its leases.
        """
        state = self._stages[stage]
        state.requested, state.pool, state.chunk = requested, pool, chunk
        state.left = state.unleased = len(requested)
        if self._stopping:
            return []
        if state.left == 0:
            return self._stage_done(stage) + self._finish_if_done()
        state.pending.append((0, requested.size, 0))
        heapq.heappush(self._offering[pool], stage)
        return self._dispatch()

    def add_worker(self, worker: Hashable, pool: Hashable = None) -> list[Action]:
        """Take in a worker that is ready for leases."""
        self._workers[worker] = deque()
        self._fresh.add(worker)
        self._pool_of[worker] = pool
        self._idle[pool][worker] = None
        return self._dispatch()

    def lease_returned(self, worker: Hashable, reached: int, seconds: float) -> list[Action]:
        """Take in the oldest lease of a worker, done up to ``reached`` in ``seconds``."""
        lease = self._workers[worker].popleft()
        self._leases_out -= 1
        if not self._workers[worker]:
            self._idle[self._pool_of[worker]][worker] = None
        state = self._stages[lease.stage]
        assert state.requested is not None
        done = state.requested.count(lease.start, reached)
        if done:
            self._learn(state, seconds / done)
        state.left -= done
        self._requeue(lease, reached, lease.attempt)
        actions = self._stage_done(lease.stage) if not state.left and not self._stopping else []
        return actions + self._dispatch() + self._prefetch(worker) + self._finish_if_done()

    def lease_failed(self, worker: Hashable, reached: int) -> list[Action]:
        """Take in that the element ``reached`` raised: nothing more is handed out."""
        self._stopping = True
        return self.lease_returned(worker, reached, 0.0)

    def worker_lost(
        self,
        worker: Hashable,
        reached: int | None = None,
        *,
        suspect: int | None = None,
        is_guilty: bool = False,
        halve: bool = False,
    ) -> list[Action]:
        """Take in that a worker is gone: what it had not done goes back to the queue.

        Parameters
        ----------
        worker
            The worker; one that takes its place is a new one.
        reached
            The first index of its oldest lease that is not done; None if nothing is.
        suspect
            The element that it was at. It runs once more, alone and in a fresh worker, and is given up if
            that one is lost too.
        is_guilty
            Whether the suspect is given up at once.
        halve
            Whether all elements of the oldest lease are suspect, since it is not known at which it was: they
            go out again in two halves, until one is alone.
        """
        lost = self._workers.pop(worker)
        self._fresh.discard(worker)
        self._idle[self._pool_of.pop(worker)].pop(worker, None)
        self._leases_out -= len(lost)
        actions: list[Action] = []
        for position, lease in enumerate(lost):
            begin = lease.start if position or reached is None else reached
            state = self._stages[lease.stage]
            assert state.requested is not None
            state.left -= state.requested.count(lease.start, begin)
            if position:
                self._requeue(lease, begin, lease.attempt + 1)
                continue
            if halve and state.requested.count(begin, lease.stop) == 1:
                suspect = state.requested.advance(begin, 1) - 1
                while not state.requested.count(suspect, suspect + 1):  # the last run ends before the size
                    suspect -= 1
            if suspect is not None:
                actions += self._suspect(lease, begin, suspect, is_guilty=is_guilty)
            elif halve:
                middle = state.requested.advance(begin, state.requested.count(begin, lease.stop) // 2)
                self._requeue(lease, middle, lease.attempt + 1)
                self._requeue(lease, begin, lease.attempt + 1, stop=middle)
            else:
                self._requeue(lease, begin, lease.attempt + 1)
            if not state.left and not self._stopping:
                actions += self._stage_done(lease.stage)
        return actions + self._dispatch() + self._finish_if_done()

    def _suspect(self, lease: Lease, begin: int, suspect: int, *, is_guilty: bool) -> list[Action]:
        state = self._stages[lease.stage]
        self._requeue(lease, suspect + 1, lease.attempt + 1)
        self._requeue(lease, begin, lease.attempt + 1, stop=suspect)
        if is_guilty or suspect in state.suspects:
            state.left -= 1
            return [GiveUpElement(lease.stage, suspect)]
        state.suspects.add(suspect)
        self._alone[state.pool].append((lease.stage, suspect, lease.attempt + 1))
        state.unleased += 1
        return []

    def cancel(self) -> list[Action]:
        """Hand out nothing more; the run is finished when the leases that are out have returned."""
        self._stopping = True
        return self._finish_if_done()

    # -- what is known -------------------------------------------------------------------------------

    def done(self, stage: int) -> int:
        """Count the requested elements of a stage that are done."""
        state = self._stages[stage]
        return 0 if state.requested is None else len(state.requested) - state.left

    def running(self, stage: int) -> int:
        """Count the requested elements of a stage that were handed out and are not known to be done."""
        state = self._stages[stage]
        return state.left - state.unleased

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
        # A lease that was cut too long ends at its deadline, so what was measured last can be believed.
        known = state.seconds_per_element
        steady = known is not None and known / 4 < seconds < known * 4
        state.seconds_per_element = (known + seconds) / 2 if steady and known is not None else seconds

    def _requeue(self, lease: Lease, begin: int, attempt: int, *, stop: int | None = None) -> None:
        """Put what is left of a lease back to the front of the queue."""
        state = self._stages[lease.stage]
        stop = lease.stop if stop is None else stop
        assert state.requested is not None
        count = state.requested.count(begin, stop) if begin < stop else 0
        if count:
            if not state.pending:
                heapq.heappush(self._offering[state.pool], lease.stage)
            state.pending.appendleft((begin, stop, attempt))
            state.unleased += count

    def _stage_done(self, stage: int) -> list[Action]:
        self._unfinished -= 1
        actions: list[Action] = [FinishStage(stage)]
        for gate in self._stages[stage].gates:
            gate.waits_for -= 1
            if not gate.waits_for:
                actions += [PrepareStage(each) for each in gate.opens]
        return actions

    def _finish_if_done(self) -> list[Action]:
        if self._finished or self._leases_out or (self._unfinished and not self._stopping):
            return []
        self._finished = True
        return [FinishRun(completed=not self._unfinished)]

    def _dispatch(self) -> list[Action]:
        """Hand a lease to each idle worker, as long as there is something to do."""
        actions: list[Action] = []
        for pool, alone in self._alone.items():
            idle = self._idle[pool]
            for worker in [each for each in idle if each in self._fresh] if alone else ():
                if alone and not self._stopping:
                    del idle[worker]
                    actions.append(self._grant_alone(worker, *alone.popleft()))
        for pool, offering in self._offering.items():
            idle = self._idle[pool]
            while idle and offering and not self._stopping:
                worker, _ = idle.popitem(last=False)
                actions.append(self._grant(worker))
        return actions

    def _prefetch(self, worker: Hashable) -> list[Action]:
        """Hand a worker one lease ahead, if the one it has will be over soon and a round trip costs time."""
        leases = self._workers[worker]
        offering = self._offering[self._pool_of[worker]]
        if len(leases) != 1 or not offering or self._stopping or not self.round_trip or not self.prefetches:
            return []
        state = self._stages[leases[0].stage]
        seconds = state.seconds_per_element
        assert state.requested is not None
        if (
            seconds is None
            or state.requested.count(leases[0].start, leases[0].stop) * seconds >= PREFETCH_BELOW
        ):
            return []
        return [self._grant(worker)]

    def _grant(self, worker: Hashable) -> GrantLease:
        """Cut a lease from the first stage that offers elements."""
        offering = self._offering[self._pool_of[worker]]
        stage = offering[0]
        state = self._stages[stage]
        assert state.requested is not None
        start, stop, attempt = state.pending.popleft()
        end = min(state.requested.advance(start, self._lease_size(state, worker)), stop)
        if state.requested.count(end, stop):
            state.pending.appendleft((end, stop, attempt))
        else:
            end = stop
        if not state.pending:
            heapq.heappop(offering)
        state.seen_by.add(worker)
        return self._hand_out(worker, Lease(self._run, stage, start, end, attempt))

    def _grant_alone(self, worker: Hashable, stage: int, index: int, attempt: int) -> GrantLease:
        return self._hand_out(worker, Lease(self._run, stage, index, index + 1, attempt))

    def _hand_out(self, worker: Hashable, lease: Lease) -> GrantLease:
        state = self._stages[lease.stage]
        assert state.requested is not None
        state.unleased -= state.requested.count(lease.start, lease.stop)
        self._fresh.discard(worker)
        self._workers[worker].append(lease)
        self._leases_out += 1
        self.leases_granted += 1
        seconds = DEADLINE_FACTOR * self.target if state.chunk is None else math.inf
        return GrantLease(worker, lease, seconds)

    def _lease_size(self, state: _Stage, worker: Hashable) -> int:
        """Give the number of requested elements of the next lease."""
        if state.chunk is not None:
            return state.chunk
        if state.seconds_per_element is None or worker not in state.seen_by:
            return 1
        per_element = max(state.seconds_per_element, 1e-9)
        size = self.target / per_element
        if len(self._workers) > 1:
            # Halves of a fair share near the end, but nothing shorter than a round trip.
            share = state.unleased / (2 * len(self._workers))
            size = min(size, max(share, self.round_trip / per_element))
        return max(1, int(size))
