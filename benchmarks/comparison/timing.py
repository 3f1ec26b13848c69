"""Time competitors in turns, in this process and in its children."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from report import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Work = tuple[Callable[[], object], int]

TURNS = 7
PATIENCE = 4  # times as many turns as usual, where the machine is busy
PROBE_SECONDS = 0.02
SPIN_ALONE = "COMPARE_SPIN_ALONE"  # hands what one process found out to those it starts
FREE_SHARE = 0.93  # of what a core does alone, each of two must do at once


def least_seconds(works: Mapping[str, Work | None]) -> dict[str, float]:
    """Run the competitors in turns; return the least processor time of each, per element."""
    least: dict[str, float] = {}
    for _ in range(TURNS):
        for name, work in works.items():
            if work is None:
                continue
            function, elements = work
            gc.collect()
            started = time.process_time()
            function()
            seconds = (time.process_time() - started) / elements
            least[name] = min(seconds, least.get(name, seconds))
    return least


@dataclass
class Cost:
    """The least cost of one competitor per element, in seconds.

    Parameters
    ----------
    cpu
        Processor time of this process and of its children.
    own_cpu
        Processor time of this process alone.
    wall
        Time that passed, of the turns in which two cores were free; of all turns if there was none.
    cores_were_free
        Whether there was such a turn.
    """

    cpu: float = math.inf
    own_cpu: float = math.inf
    wall: float = math.inf
    cores_were_free: bool = False

    def add(self, cpu: float, own_cpu: float, wall: float, *, cores_were_free: bool) -> None:
        """Take in one turn."""
        self.cpu, self.own_cpu = min(self.cpu, cpu), min(self.own_cpu, own_cpu)
        if cores_were_free and not self.cores_were_free:
            self.wall, self.cores_were_free = wall, True
        elif cores_were_free or not self.cores_were_free:
            self.wall = min(self.wall, wall)

    def __str__(self) -> str:
        """Give both times."""
        return f"{duration(self.cpu)} cpu, {duration(self.wall)} wall"


def child_seconds() -> float:
    """Return the processor time of the children that ended and were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def least_costs(works: Mapping[str, Work | None], turns: int = TURNS) -> dict[str, Cost]:
    """Run competitors that use processes in turns; a probe before and after each looks for two free cores.

    More turns are given, within reason, until each has seen two free cores.
    """
    costs = {name: Cost() for name, work in works.items() if work is not None}
    for turn in range(turns * PATIENCE):
        if turn >= turns and all(cost.cores_were_free for cost in costs.values()):
            break
        for name, cost in costs.items():
            function, elements = works[name]
            gc.collect()
            free = two_cores_are_free()
            children, own, wall = child_seconds(), time.process_time(), time.perf_counter()
            function()
            wall, own = time.perf_counter() - wall, time.process_time() - own
            children = child_seconds() - children
            free = two_cores_are_free() and free
            cost.add((own + children) / elements, own / elements, wall / elements, cores_were_free=free)
    return costs


def spin(seconds: float) -> int:
    """Count up for a while; return how far it got."""
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        count += 1
    return count


def least_measured(measure: Callable[[], float], turns: int = TURNS) -> Cost:
    """Measure several times what a function returns in seconds; only turns with two free cores count, if any.

    The first turn is not counted: it may import, and start what stays.
    """
    cost = Cost()
    measure()
    for turn in range(turns * PATIENCE):
        if turn >= turns and cost.cores_were_free:
            break
        gc.collect()
        free = two_cores_are_free()
        seconds = measure()
        free = two_cores_are_free() and free
        cost.add(math.inf, math.inf, seconds, cores_were_free=free)
    return cost


_alone = [int(os.environ.get(SPIN_ALONE, "0"))]


def alone() -> int:
    """Return the farthest that one process got in the time of a probe."""
    _alone[0] = max(_alone[0], spin(PROBE_SECONDS))
    return _alone[0]


def two_cores_are_free() -> bool:
    """Say whether two processes at once each get as far as one alone."""
    reach = alone()
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os.write(writable, spin(PROBE_SECONDS).to_bytes(8, "little"))
        os._exit(0)
    own = spin(PROBE_SECONDS)
    os.waitpid(child, 0)
    other = int.from_bytes(os.read(readable, 8), "little")
    os.close(readable)
    os.close(writable)
    return min(own, other) >= FREE_SHARE * reach


def wait_for_free_cores(seconds: float) -> None:
    """Wait until two cores are free for a while, this long at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(two_cores_are_free() for _ in range(20)):
        time.sleep(1)


@contextlib.contextmanager
def two_cores() -> Iterator[None]:
    """Use two cores only, so that there are two workers."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def can_use_two_cores() -> bool:
    """Say whether this process may use two cores and fork."""
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) >= 2
