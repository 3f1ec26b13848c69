"""What the options of a map cost, how a map grows, and how uneven work is shared."""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Any

import pipefunc_c
from benchmarks import peak_memory, workloads
from comparison.processes import unless_possible
from comparison.timing import least_costs, least_seconds, two_cores
from report import Figure, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ELEMENTS = 1_000_000


def options() -> Iterator[Figure]:
    """Map with the options that must cost nothing while nothing fails."""
    values = {"x": workloads.numbers(ELEMENTS)}
    chain = workloads.chain_and_sum(pipefunc_c)

    def mapping(**given: Any) -> tuple[Callable[[], object], int]:
        return lambda: workloads.map_sequentially(chain, values, **given), ELEMENTS

    seconds = least_seconds(
        {
            "plain": mapping(),
            "continue": mapping(error_handling="continue"),
            "eager": mapping(scheduling_strategy="eager"),
        }
    )
    for option, budget in (("continue", 1.1), ("eager", 1.05)):
        detail = f"{duration(seconds[option])} of {duration(seconds['plain'])}"
        ratio = seconds[option] / seconds["plain"]
        yield Figure(f"chain, {option!r}: of the default", ratio, "x", budget, detail=detail)


def growth() -> Iterator[Figure]:
    """Map ten times as many elements: time and memory per element stay as they are."""
    pipeline = workloads.element_wise(pipefunc_c, workloads.double)
    few, many = workloads.numbers(ELEMENTS), workloads.numbers(10 * ELEMENTS)
    seconds = least_seconds(
        {
            "1e6": (lambda: workloads.map_sequentially(pipeline, {"x": few}), ELEMENTS),
            "1e7": (lambda: workloads.map_sequentially(pipeline, {"x": many}), 10 * ELEMENTS),
        }
    )
    detail = f"{duration(seconds['1e7'])} of {duration(seconds['1e6'])}"
    ratio = seconds["1e7"] / seconds["1e6"]
    yield Figure("1e7 elements: cpu per element, of 1e6", ratio, "x", 1.1, detail=detail)
    if not peak_memory.can_measure():
        yield Figure("1e7 elements: peak memory per element", None, "B", 12, detail="needs /proc")
        return
    measured = peak_memory.bytes_per_element("numeric", 10 * ELEMENTS)
    yield Figure("1e7 elements: peak memory per element", measured, "B", 12)


def sleep_for(x: float) -> float:
    """Take some time that costs no core; none for 0, where `time.sleep` would take some."""
    if x:
        time.sleep(x)
    return x


def greedy(seconds: list[float], n_workers: int) -> float:
    """Return when the last of some workers ends if each free one takes the next task."""
    ends = [0.0] * n_workers
    for each in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + each)
    return max(ends)


def uneven() -> Iterator[Figure]:
    """Share work whose elements take very different times."""
    yield from (impossible := list(unless_possible("2 workers, uneven work", "x", 1.1)))
    if impossible:
        return
    cases = {
        "8 elements of 0.1 to 2 s": [2.0, 0.1, 0.4, 1.2, 0.2, 0.8, 1.6, 0.3],
        "1 us elements that turn into 10 ms ones": [0.0] * 20_000 + [0.01] * 150,
    }
    for case, times in cases.items():
        pipeline = workloads.element_wise(pipefunc_c, sleep_for)
        with two_cores():
            costs = least_costs(
                {"ours": (lambda p=pipeline, t=times: workloads.map_in_workers(p, {"x": t}), 1)}, 1
            )
        best = greedy(times, 2)
        wall = costs["ours"].wall
        detail = f"{duration(wall)} of {duration(best)}"
        yield Figure(f"2 workers, {case}: wall of greedy sharing", wall / best, "x", 1.1, detail=detail)
