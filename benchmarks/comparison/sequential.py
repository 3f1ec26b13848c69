"""What one element of a sequential map costs, in time and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import pipefunc_c
from benchmarks import peak_memory, workloads
from comparison.peer import PEER_ELEMENTS, peer, peer_figure
from comparison.timing import least_seconds
from report import Figure, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from comparison.timing import Work

ELEMENTS = 1_000_000


def compete(
    bare: Callable[[Any], object], pipeline: Callable[[Any], Any], values: Any, outer: int = 0
) -> dict[str, float]:
    """Time a bare loop, this package and its peer over the same values; ``outer`` is a square grid's side."""

    def inputs(count: int) -> dict[str, Any]:
        side = int(count**0.5)
        return {"x": values[:side], "y": values[:side]} if outer else {"x": values[:count]}

    def mapping(api: Any, count: int) -> Work:
        built, given = pipeline(api), inputs(count)
        return lambda: workloads.map_sequentially(built, given), count

    return least_seconds(
        {
            "bare": (lambda: bare(values[:outer] if outer else values), ELEMENTS),
            "ours": mapping(pipefunc_c, ELEMENTS),
            "peer": mapping(peer, PEER_ELEMENTS) if peer else None,
        }
    )


def loop_figures(
    work: str, seconds: dict[str, float], budget: float, times_peer: float | None
) -> Iterator[Figure]:
    """Give the figures of a loop: against the bare one and against the peer."""
    ours, bare = seconds["ours"], seconds["bare"]
    detail = f"{duration(ours)}, bare {duration(bare)}"
    yield Figure(f"{work}: of the bare loop", ours / bare, "x", budget, detail=detail)
    yield peer_figure(work, seconds, times_peer)


def sequential() -> Iterator[Figure]:
    """Map ``2 * x`` over an array and over a list."""
    double = workloads.double

    def pipeline(api: Any) -> Any:
        return workloads.element_wise(api, double)

    array = workloads.numbers(ELEMENTS)
    values = array.tolist()
    seconds = compete(lambda given: [double(x) for x in given], pipeline, array)
    yield from loop_figures("sequential, ndarray", seconds, 0.95, 150)
    seconds = compete(lambda given: [double(x) for x in given], pipeline, values)
    yield from loop_figures("sequential, list", seconds, 1.1, None)


def mixed_types() -> Iterator[Figure]:
    """Map a function that returns two scalar types against the same one when it returns one."""
    mixed = workloads.numbers(ELEMENTS)
    pipeline = workloads.element_wise(pipefunc_c, workloads.clip)
    positive = {"x": np.abs(mixed)}
    zeros_and_more = {"x": mixed}
    seconds = least_seconds(
        {
            "pure": (lambda: workloads.map_sequentially(pipeline, positive), ELEMENTS),
            "mixed": (lambda: workloads.map_sequentially(pipeline, zeros_and_more), ELEMENTS),
            "bare pure": (lambda: [workloads.clip(x) for x in positive["x"]], ELEMENTS),
            "bare mixed": (lambda: [workloads.clip(x) for x in mixed], ELEMENTS),
        }
    )
    detail = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
    yield Figure(
        "mixed scalar types: of the pure case", seconds["mixed"] / seconds["pure"], "x", 1.1, detail=detail
    )


def outer_product() -> Iterator[Figure]:
    """Map over a grid of 1000 x 1000."""
    multiply = workloads.multiply

    def nested(given: Any) -> object:
        return [[multiply(x, y) for y in given] for x in given]

    side = int(ELEMENTS**0.5)
    seconds = compete(nested, workloads.outer_product, workloads.numbers(side), outer=side)
    yield from loop_figures("outer product 1000 x 1000", seconds, 1.2, None)


def chain() -> Iterator[Figure]:
    """Map two stages and sum up."""

    def bare(given: Any) -> object:
        first = [workloads.double(x) for x in given]
        return np.array([workloads.increment(y) for y in first]).sum()

    seconds = compete(bare, workloads.chain_and_sum, workloads.numbers(ELEMENTS))
    detail = f"bare {duration(seconds['bare'])}"
    yield Figure("chain x -> y -> z and a sum: cpu per x", seconds["ours"] * 1e6, "us", 0.25, detail=detail)
    yield peer_figure("chain", seconds, None)


def two_outputs() -> Iterator[Figure]:
    """Map a function with two outputs."""

    def bare(given: Any) -> object:
        return [workloads.double_and_increment(x) for x in given]

    for kind, values in (("ndarray", np.ones(ELEMENTS)), ("list", [1.0] * ELEMENTS)):
        seconds = compete(bare, workloads.two_outputs, values)
        detail = f"bare {duration(seconds['bare'])}"
        yield Figure(f"two outputs, {kind}: cpu", seconds["ours"] * 1e6, "us", 0.12, detail=detail)
    yield peer_figure("two outputs, list", seconds, None)


def peak_figure(work: str, case: str, elements: int, budget: float) -> Figure:
    """Measure the peak of one map in processes of their own."""
    if not peak_memory.can_measure():
        return Figure(work, None, "B", budget, detail="this system does not tell the peak of one call")
    measured = min(peak_memory.bytes_per_element(case, elements) for _ in range(2))
    return Figure(work, measured, "B", budget)


def memory() -> Iterator[Figure]:
    """Measure what one element holds at the peak."""
    yield peak_figure("peak memory, numeric: per element", "numeric", ELEMENTS, 12)
    yield peak_figure("peak memory, objects: per element besides them", "objects", ELEMENTS, 48)


def failing() -> Iterator[Figure]:
    """Map a function that always raises and keep the errors."""
    pipeline = workloads.element_wise(pipefunc_c, workloads.fail)
    values = {"x": np.ones(PEER_ELEMENTS)}

    def collect_errors() -> object:
        return workloads.map_sequentially(pipeline, values, error_handling="continue")

    seconds = least_seconds({"ours": (collect_errors, PEER_ELEMENTS)})
    yield Figure("failing element: cpu", seconds["ours"] * 1e6, "us", 5)
    yield peak_figure("failing element: memory", "failing", 200_000, 300)
