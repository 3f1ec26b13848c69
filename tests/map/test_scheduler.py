"""The scheduler drives a simulated cluster: no clock, no processes, every answer is checked as it comes."""

from __future__ import annotations

import heapq
import itertools
import sys
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from map.simulated_cluster import Cluster, Work, runs_of

from pipefunc_c.map._engine import scheduler as scheduler_module
from pipefunc_c.map._engine.scheduler import FinishRun, GrantLease, PrepareStage, Scheduler
from pipefunc_c.map._stages import requested as requested_module
from pipefunc_c.map._stages.requested import Requested

pytestmark = pytest.mark.timeout(60)


def simulate(seconds, n_workers, *, round_trip=0.0, partial=0.0, **options):
    """Run one stage on equal workers."""
    scheduler = Scheduler([[]], run=7, round_trip=round_trip)
    cluster = Cluster(scheduler, [Work(seconds, **options)], [[]], round_trip=round_trip, partial=partial)
    for worker in range(n_workers):
        cluster.join(worker)
    makespan = cluster.run()
    assert cluster.ends == [True]
    return cluster, makespan


def greedy(seconds, n_workers):
    """Time when each worker takes the next element as soon as it is free, at no cost."""
    busy = [0.0] * n_workers
    for each in seconds:
        heapq.heapreplace(busy, busy[0] + each)
    return max(busy)


@st.composite
def clusters(draw):
    """Draw a graph of stages, workers and what goes wrong."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32), label="seed"))
    n_stages = draw(st.integers(1, 6), label="stages")
    pools = [None, "gpu"][: draw(st.integers(1, 2), label="pools")]
    works = []
    for _ in range(n_stages):
        size = draw(st.sampled_from([1, 0, 2, 17, 300]), label="size")
        scale = draw(st.sampled_from([1e-6, 1e-3, 0.3]), label="seconds")
        mask = rng.random(size) < rng.random() if draw(st.booleans(), label="some only") else None
        chunk = draw(st.sampled_from([None, None, 1, 5, 1000]), label="chunk")
        works.append(Work(rng.exponential(scale, size), mask, pools[rng.integers(len(pools))], chunk))
    round_trip = draw(st.sampled_from([0.0, 1e-4, 0.1]), label="round trip")
    if draw(st.booleans(), label="by generation"):
        cuts = sorted(rng.integers(0, n_stages, 2).tolist())
        bounds = sorted({0, *cuts, n_stages})
        generations = [list(range(a, b)) for a, b in itertools.pairwise(bounds)]
        waits_for = [list(range(generation[0])) for generation in generations for _ in generation]
        scheduler = Scheduler.by_generation(generations, run=7, round_trip=round_trip)
    else:
        waits_for = [[k for k in range(stage) if rng.random() < 0.4] for stage in range(n_stages)]
        scheduler = Scheduler(waits_for, run=7, round_trip=round_trip)
    n_workers = draw(st.sampled_from([1, 2, 3, 20, 1000]), label="workers")
    cluster = Cluster(
        scheduler,
        works,
        waits_for,
        round_trip=round_trip,
        seed=int(rng.integers(2**32)),
        partial=draw(st.sampled_from([0.0, 0.3, 1.0]), label="partial"),
        losses=draw(st.sampled_from([0, 0, 1, 20]), label="losses"),
        late=draw(st.sampled_from([0.0, 0.1]), label="late"),
    )
    for number in range(max(n_workers, len(pools))):
        joining = (f"w{number}", pools[number % len(pools)], float(rng.uniform(0.1, 3)))
        if rng.random() < 0.7:
            cluster.join(*joining)
        else:
            cluster.at(rng.random(), "join", *joining)
    return cluster


SIMULATIONS = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


class TestAnyCluster:
    @SIMULATIONS
    @given(clusters())
    def test_every_requested_element_is_done_once(self, cluster):
        cluster.run()
        assert cluster.ends == [True]
        for stage, work in enumerate(cluster.works):
            assert work.times_done.tolist() == work.mask.astype(int).tolist()
            assert cluster.prepares[stage] == cluster.finished_stages[stage] == 1

    @SIMULATIONS
    @given(clusters(), st.integers(0, 40), st.sampled_from(["cancel", "failure"]))
    def test_nothing_is_handed_out_after_a_stop(self, cluster, stop_after, stops_by):
        cluster.stop_after, cluster.stops_by = stop_after, stops_by
        cluster.run()
        assert cluster.ends == [not cluster.stopped]
        assert all(work.times_done.max(initial=0) <= 1 for work in cluster.works)


class TestStops:
    def test_before_the_start(self):
        scheduler = Scheduler([[]])
        assert scheduler.add_worker("w") == []
        assert scheduler.cancel() == [FinishRun(completed=False)]
        assert scheduler.start() == []

    def test_while_a_stage_is_prepared(self):
        scheduler = Scheduler([[]])
        scheduler.add_worker("w")
        scheduler.start()
        assert scheduler.cancel() == [FinishRun(completed=False)]
        assert scheduler.stage_prepared(0, Requested(5)) == []

    def test_twice(self):
        scheduler = Scheduler([[]])
        assert scheduler.cancel() == [FinishRun(completed=False)]
        assert scheduler.cancel() == []

    def test_no_stages(self):
        assert Scheduler([]).start() == [FinishRun(completed=True)]

    def test_all_workers_lost_after_a_stop(self):
        scheduler = Scheduler([[]])
        for worker in "ab":
            scheduler.add_worker(worker)
        scheduler.start()
        scheduler.stage_prepared(0, Requested(5))
        assert scheduler.cancel() == []
        assert scheduler.worker_lost("a") == []
        assert scheduler.worker_lost("b", 2) == [FinishRun(completed=False)]


class TestLeaseSizes:
    @pytest.mark.parametrize(
        ("n_workers", "round_trip", "target"),
        [(1, 0.0, 0.005), (4, 1e-5, 0.005), (100, 0.0, 0.02), (2, 0.01, 0.2), (2, 5.0, 2.0)],
        ids=["least", "short trips", "many workers", "long trips", "most"],
    )
    @pytest.mark.parametrize("seconds", [1e-4, 3e-4])
    def test_they_follow_the_time_target(self, n_workers, round_trip, target, seconds):
        n = int(40 * n_workers * target / seconds)
        cluster, _ = simulate(np.full(n, seconds), n_workers, round_trip=round_trip)
        assert cluster.scheduler.target == pytest.approx(target)
        sizes = [size for _, _, size in cluster.grants]
        done = np.cumsum(sizes)
        middle = [size * seconds for size, d in zip(sizes, done, strict=True) if n * 0.2 < d < n * 0.7]
        assert len(middle) > 5 * n_workers
        assert min(middle) >= 0.5 * target
        assert max(middle) <= 1.5 * target

    @pytest.mark.parametrize("round_trip", [0.0, 1e-4])
    def test_the_last_ones_shrink(self, round_trip):
        seconds, n_workers = 1e-6, 4
        cluster, _ = simulate(np.full(200_000, seconds), n_workers, round_trip=round_trip)
        sizes = [size * seconds for _, _, size in cluster.grants]
        assert max(sizes) > 10 * sizes[-1]
        left = 200_000
        for _, _, size in cluster.grants:
            assert size <= max(left / n_workers, round_trip / seconds, 1)
            left -= size
        assert min(sizes[n_workers * 2 : -1]) >= round_trip - 1.5 * seconds
        last = {worker: moment for moment, worker in cluster.returned_at}
        assert max(last.values()) - min(last.values()) <= max(2.5 * round_trip, 0.0005)

    def test_what_comes_back_counts_as_left(self):
        cluster, _ = simulate(np.full(100_000, 1e-6), 2, partial=1.0)
        assert len(cluster.grants) < 400

    def test_what_comes_back_goes_first(self):
        scheduler = Scheduler([[]])
        scheduler.add_worker("w")
        scheduler.start()
        scheduler.stage_prepared(0, Requested(100_000))
        [grant] = scheduler.lease_returned("w", 1, 1e-6)
        assert grant.lease.stop > 1000
        [grant] = scheduler.lease_returned("w", 500, 499e-6)
        assert grant.lease.start == 500

    def test_fixed_chunks(self):
        cluster, _ = simulate(np.full(23, 1.0), 2, chunk=5)
        assert [size for _, _, size in cluster.grants] == [5, 5, 5, 5, 3]

    def test_a_lease_that_takes_longer_than_it_may_comes_back(self):
        cluster, _ = simulate([1e-6] * 20_000 + [1.0] * 4, 2)
        last = [size for _, _, size in cluster.grants][-2:]
        assert last == [1, 1]


class TestUnevenWork:
    @pytest.mark.parametrize("n_workers", [2, 3, 8])
    @pytest.mark.parametrize("round_trip", [0.0, 5e-5])
    def test_short_elements_that_turn_into_long_ones(self, n_workers, round_trip):
        seconds = [1e-6] * 100_000 + [0.01] * 200
        _, makespan = simulate(seconds, n_workers, round_trip=round_trip)
        assert makespan <= 1.1 * greedy(seconds, n_workers)

    @pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])
    @pytest.mark.parametrize("round_trip", [0.0, 5e-5])
    def test_a_few_long_elements(self, order, round_trip):
        seconds = np.linspace(0.1, 2.0, 8)[::order]
        _, makespan = simulate(seconds, 2, round_trip=round_trip)
        assert makespan <= 1.1 * greedy(seconds, 2)

    def test_a_few_long_elements_in_any_order(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            seconds = rng.uniform(0.1, 2.0, 8)
            _, makespan = simulate(seconds, 2, round_trip=5e-5)
            assert makespan <= 1.1 * greedy(seconds, 2)


def work_per_lease(n_workers):
    """Count calls and lines of the scheduler per lease."""
    files = {scheduler_module.__file__, requested_module.__file__}
    counted = Counter()

    def trace(frame, event, arg):
        if frame.f_code.co_filename not in files:
            return None
        counted["work"] += 1
        return trace

    def profile(frame, event, arg):
        if event == "c_call" and frame.f_code.co_filename in files:
            counted["work"] += 1

    scheduler = Scheduler([[], [0]], round_trip=1e-4)
    leases = deque()

    def act(actions):
        for action in actions:
            if isinstance(action, PrepareStage):
                act(scheduler.stage_prepared(action.stage, Requested(2 * n_workers + 1000)))
            elif isinstance(action, GrantLease):
                leases.append((action.worker, action.lease.stop))

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        for worker in range(n_workers):
            scheduler.add_worker(worker)
        act(scheduler.start())
        while leases:
            worker, stop = leases.popleft()
            act(scheduler.lease_returned(worker, stop, 0.02))
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    assert scheduler.done(1) == 2 * n_workers + 1000
    return counted["work"] / scheduler.leases_granted


@pytest.mark.slow
def test_a_lease_costs_the_same_among_ten_and_ten_thousand_workers():
    few, many = work_per_lease(10), work_per_lease(10_000)
    assert few <= 200
    assert many <= 1.3 * few


class TestRequested:
    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.booleans(), max_size=30), st.booleans())
    def test_against_a_set(self, mask, everything):
        if everything:
            mask = [True] * len(mask)
        size = len(mask)
        requested = Requested(size, None if everything else runs_of(mask))
        chosen = {k for k, is_in in enumerate(mask) if is_in}
        assert len(requested) == len(chosen)
        for start in range(size + 1):
            for stop in range(start, size + 1):
                assert requested.count(start, stop) == len(chosen & set(range(start, stop)))
            rest = sorted(k for k in chosen if k >= start)
            for n in range(1, len(rest) + 2):
                expected = rest[n - 1] + 1 if n < len(rest) else size
                assert requested.advance(start, n) == expected, (start, n)
