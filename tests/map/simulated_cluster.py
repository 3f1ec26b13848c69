"""A simulated cluster: workers and a clock that feed a scheduler, and check each of its answers."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict, deque

import numpy as np

from pipefunc_c.map._engine.scheduler import FinishRun, FinishStage, GiveUpElement, GrantLease, PrepareStage
from pipefunc_c.map._stages.requested import Requested

FREE, OUT, DONE = 0, 1, 2


class Work:
    """One stage: the seconds that each element takes, which are requested, where they may run."""

    def __init__(self, seconds, mask=None, pool=None, chunk=None):
        seconds = np.asarray(seconds, dtype=float)
        size = len(seconds)
        self.mask = np.ones(size, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
        self.requested = Requested(size, None if mask is None else runs_of(self.mask))
        self.spent = np.concatenate([[0.0], np.cumsum(np.where(self.mask, seconds, 0.0))])
        self.pool, self.chunk = pool, chunk
        self.state = np.full(size, FREE)
        self.attempt = np.zeros(size, dtype=int)
        self.times_done = np.zeros(size, dtype=int)
        self.n_done = 0
        self.is_prepared = False

    def elements(self, start, stop):
        return start + np.flatnonzero(self.mask[start:stop])


def runs_of(mask):
    return np.flatnonzero(np.diff(np.pad(np.asarray(mask, dtype=np.int8), 1))).reshape(-1, 2)


class Cluster:
    """Simulated workers and the clock; whatever the scheduler says is checked before it is done."""

    def __init__(
        self, scheduler, works, waits_for, *, round_trip=0.0, seed=0, partial=0.0, losses=0, late=0.0
    ):
        self.scheduler, self.works, self.waits_for = scheduler, works, waits_for
        self.round_trip, self.partial, self.losses, self.late = round_trip, partial, losses, late
        self.rng = np.random.default_rng(seed)
        self.now, self.numbers, self.events = 0.0, itertools.count(), []
        self.queues, self.pools, self.speeds = {}, {}, {}
        self.idle, self.running = defaultdict(set), set()
        self.free = Counter()
        self.seen, self.prepares, self.finished_stages = set(), Counter(), Counter()
        self.ends, self.grants, self.returned_at = [], [], []
        self.stopped, self.stop_after, self.stops_by = False, None, "cancel"
        # Elements that a worker died at; those of them that wait to run alone; those to be given up.
        self.suspected, self.alone, self.guilty, self.given_up = set(), set(), set(), set()
        self.had_lease = set()

    # ---- what the scheduler says -----------------------------------------------------------------

    def act(self, actions):
        for action in actions:
            assert not self.ends, f"{action} after the end of the run"
            if isinstance(action, GrantLease):
                self.check_grant(action)
            elif isinstance(action, PrepareStage):
                assert not self.stopped
                assert all(self.finished_stages[before] for before in self.waits_for[action.stage])
                self.prepares[action.stage] += 1
                self.at(self.rng.random() * self.late, "prepared", action.stage)
            elif isinstance(action, GiveUpElement):
                self.guilty.remove((action.stage, action.index))
                self.given_up.add((action.stage, action.index))
            elif isinstance(action, FinishStage):
                assert not self.guilty
                work = self.works[action.stage]
                assert (work.state[work.mask] == DONE).all()
                self.finished_stages[action.stage] += 1
            else:
                assert isinstance(action, FinishRun)
                assert not any(self.queues.values())
                self.ends.append(action.completed)
        if not self.stopped:
            for pool, workers in self.idle.items():
                assert not (workers and self.free[pool]), "workers idle while there is work for them"

    def check_grant(self, grant):
        worker, lease = grant.worker, grant.lease
        work = self.works[lease.stage]
        assert not self.stopped, "a lease after the run was stopped"
        assert work.is_prepared
        assert work.pool == self.pools[worker]
        assert lease.run == 7
        assert 0 <= lease.start < lease.stop <= len(work.mask)
        assert len(self.queues[worker]) < (2 if self.round_trip else 1), "more than one lease ahead"
        elements = work.elements(lease.start, lease.stop)
        assert len(elements)
        assert (work.state[elements] == FREE).all(), "an element is handed out twice"
        assert (work.attempt[elements] == lease.attempt).all()
        if work.chunk is not None:
            assert len(elements) <= work.chunk
        elif (worker, lease.stage) not in self.seen:
            assert len(elements) == 1, "the first lease on a worker has one element"
        self.seen.add((worker, lease.stage))
        work.state[elements] = OUT
        waiting = self.alone & {(lease.stage, index) for index in elements.tolist()}
        if waiting:
            assert len(elements) == 1, "a suspect runs alone"
            assert worker not in self.had_lease, "a suspect runs in a fresh worker"
            self.alone -= waiting
        else:
            self.free[work.pool] -= len(elements)
        self.had_lease.add(worker)
        self.idle[work.pool].discard(worker)
        self.queues[worker].append(grant)
        self.grants.append((worker, lease, len(elements)))
        if worker not in self.running:
            self.begin(worker, self.round_trip)

    # ---- what the workers do ---------------------------------------------------------------------

    def at(self, seconds, *event):
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), event))

    def join(self, worker, pool=None, speed=1.0):
        self.queues[worker], self.pools[worker], self.speeds[worker] = deque(), pool, speed
        self.idle[pool].add(worker)
        self.act(self.scheduler.add_worker(worker, pool))

    def begin(self, worker, delay):
        """Run the oldest lease until it is done, its time is over, or some other limit ends it."""
        grant = self.queues[worker][0]
        lease, work, speed = grant.lease, self.works[grant.lease.stage], self.speeds[worker]
        limit = work.spent[lease.start] + grant.seconds * speed
        first = int(work.elements(lease.start, lease.stop)[0])
        reached = min(max(int(np.searchsorted(work.spent, limit)), first + 1), lease.stop)
        if self.rng.random() < self.partial:
            reached = int(self.rng.integers(first + 1, reached + 1))
        seconds = (work.spent[reached] - work.spent[lease.start]) / speed
        self.running.add(worker)
        self.at(delay + seconds, "returned", worker, reached, seconds)

    def settle(self, worker, lease, reached, attempts):
        """Note what is done of a lease, and that the rest is not handed out any more."""
        work = self.works[lease.stage]
        done, rest = work.elements(lease.start, reached), work.elements(reached, lease.stop)
        work.state[done], work.state[rest] = DONE, FREE
        work.times_done[done] += 1
        work.n_done += len(done)
        work.attempt[rest] += attempts
        self.free[work.pool] += len(rest)

    def returned(self, worker, reached, seconds):
        if self.losses and self.rng.random() < 0.2:
            return self.lose(worker, reached)
        self.running.discard(worker)
        lease = self.queues[worker].popleft().lease
        self.settle(worker, lease, reached, 0)
        self.returned_at.append((self.now, worker))
        if self.queues[worker]:
            self.begin(worker, 0.0)
        else:
            self.idle[self.pools[worker]].add(worker)
        if (
            self.stop_after is not None
            and self.stops_by == "failure"
            and len(self.returned_at) > self.stop_after
        ):
            self.stopped = True
            return self.scheduler.lease_failed(worker, reached)
        return self.scheduler.lease_returned(worker, reached, seconds)

    def lose(self, worker, reached):
        """Let a worker die, with more or less being known of what it was at."""
        self.losses -= 1
        lease = self.queues[worker][0].lease
        known = [None, lease.start, reached][self.rng.integers(3)]
        for position, grant in enumerate(self.queues.pop(worker)):
            start = grant.lease.start
            self.settle(worker, grant.lease, start if position or known is None else known, 1)
        self.running.discard(worker)
        self.idle[self.pools[worker]].discard(worker)
        self.at(self.rng.random() * self.late, "join", f"{worker}'", self.pools[worker], 1.0)
        begin = lease.start if known is None else known
        left = self.works[lease.stage].elements(begin, lease.stop).tolist()
        how = ["", "suspect", "guilty", "halve"][self.rng.integers(4)] if left else ""
        if not how:
            return self.scheduler.worker_lost(worker, known)
        if how != "halve" or len(left) == 1:
            index = left[self.rng.integers(len(left))]
            self.suspect(lease.stage, index, is_guilty=how == "guilty")
        if how == "halve":
            return self.scheduler.worker_lost(worker, known, halve=True)
        return self.scheduler.worker_lost(worker, known, suspect=index, is_guilty=how == "guilty")

    def suspect(self, stage, index, *, is_guilty):
        work = self.works[stage]
        self.free[work.pool] -= 1
        if is_guilty or (stage, index) in self.suspected:
            self.guilty.add((stage, index))
            work.state[index] = DONE
            work.times_done[index] += 1
            work.n_done += 1
        else:
            self.suspected.add((stage, index))
            self.alone.add((stage, index))

    def prepared(self, stage):
        work = self.works[stage]
        work.is_prepared = True
        self.free[work.pool] += len(work.requested)
        return self.scheduler.stage_prepared(stage, work.requested, pool=work.pool, chunk=work.chunk)

    def run(self):
        """Go on until nothing more happens; give the time that it took."""
        self.act(self.scheduler.start())
        while self.events:
            self.now, _, (kind, *details) = heapq.heappop(self.events)
            if kind == "join":
                self.join(*details)
            else:
                self.act({"returned": self.returned, "prepared": self.prepared}[kind](*details))
            if (
                self.stop_after is not None
                and self.stops_by == "cancel"
                and not self.stopped
                and not self.ends
            ):
                self.stop_after -= 1
                if self.stop_after < 0:
                    self.stopped = True
                    self.act(self.scheduler.cancel())
            for stage, work in enumerate(self.works):
                assert self.scheduler.done(stage) == work.n_done
            assert len(self.grants) == self.scheduler.leases_granted
        assert len(self.ends) == 1, "the run never ended"
        return max((moment for moment, _ in self.returned_at), default=0.0)
