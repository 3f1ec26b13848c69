"""What is left of a lease whose worker died: the element that kills is found, all others are run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c.map._engine.scheduler import Lease
from pipefunc_c.map._executors.lost_work import NOT_STARTED, Job, Part


def job(start: int, stop: int) -> Job:
    return Job((0, 0), Lease(0, 0, start, stop, 0), 1.0, stop, [Part(start, stop)])


def play(lost: Job, killers: set[int], *, knows_place: bool) -> tuple[list[int], list[int], int]:
    """Run a job on workers that die of some elements; give what was done, what was found, and the deaths."""
    done: list[int] = []
    found: list[int] = []
    deaths = 0
    while lost.parts:
        part = lost.part
        deadly = [k for k in range(part.start, part.stop) if k in killers]
        if not deadly:
            done += range(part.start, part.stop)
            lost.done(part.stop)
            continue
        deaths += 1
        killer = lost.lost(deadly[0] if knows_place else None)
        if killer is not None:
            found.append(killer)
    return done, found, deaths


@given(size=st.integers(1, 60), killers=st.sets(st.integers(0, 59), max_size=6), knows_place=st.booleans())
def test_killers_are_found_and_all_others_done_once(size, killers, knows_place):
    killers = {k + 5 for k in killers if k < size}
    done, found, _ = play(job(5, 5 + size), killers, knows_place=knows_place)
    assert sorted(found) == sorted(killers)
    assert sorted(done) == sorted(set(range(5, 5 + size)) - killers)


@pytest.mark.parametrize("killer", [0, 17, 1023])
def test_two_deaths_are_enough_where_the_place_is_known_else_their_number_is_logarithmic(killer):
    assert play(job(0, 1024), {killer}, knows_place=True)[2] == 2
    assert play(job(0, 1024), {killer}, knows_place=False)[2] == 12


def test_an_element_is_blamed_only_when_it_died_twice():
    lost = job(3, 4)
    assert lost.lost(3) is None
    assert lost.parts == [Part(3, 4, is_suspect=True)]
    assert lost.lost(3) == 3
    assert lost.parts == []


def test_what_had_not_begun_is_not_suspected():
    lost = job(3, 9)
    assert lost.lost(NOT_STARTED) is None
    assert lost.parts == [Part(3, 9)]


def test_what_died_at_its_end_is_halved_for_it_may_be_the_size_of_all_results():
    lost = job(0, 8)
    lost.lost(7)
    assert lost.parts == [
        Part(3, 7),
        Part(0, 3),
        Part(7, 8, is_suspect=True),
    ]


def test_a_part_that_returns_early_leaves_its_rest():
    lost = job(0, 8)
    assert lost.done(5)
    assert lost.parts == [Part(5, 8)]
    assert not lost.done(8)


def test_the_end_of_a_worker_is_described():
    class Process:
        exitcode = -9

    lost = job(0, 1)
    assert lost.describe_death() == "a worker died"
    lost.process = 12, Process
    assert lost.describe_death() == "a worker (pid 12) was killed by SIGKILL"
    Process.exitcode = 3
    assert lost.describe_death() == "a worker (pid 12) ended with exit code 3"
    lost.process = 12, None
    assert lost.describe_death() == "a worker (pid 12) died"
