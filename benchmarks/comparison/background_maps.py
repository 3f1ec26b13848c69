"""Maps in the background: their start, their status, many at once, and how free they leave the event loop."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import pipefunc_c
from benchmarks import background, workloads
from comparison.processes import unless_possible, wall_ratio
from comparison.timing import TURNS, least_costs, least_measured, two_cores
from pipefunc_c.parallel import WorkerPool
from report import Figure, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

ELEMENTS = 1_000_000
LONG = 60_000  # of ten microseconds each
CONSTANT_BYTES = 80_000_000


def starting() -> Iterator[Figure]:
    """Start maps in a loop that runs, from the second one on."""
    budget = 5
    nothing = workloads.element_wise(pipefunc_c, workloads.double), {"x": []}
    once = workloads.mapped(pipefunc_c, workloads.double, "y", None), {"x": 1}
    calls, wholes = asyncio.run(background.start_seconds(*nothing, 10 * TURNS))
    work = "map_async of no elements"
    yield milliseconds(f"{work}: the call", calls, budget)
    yield milliseconds(f"{work}: until it is done", wholes, budget)
    with WorkerPool(2) as pool:
        calls, wholes = asyncio.run(background.start_seconds(*once, 10 * TURNS, executor=pool))
    work = "map_async of one call, live WorkerPool"
    yield milliseconds(f"{work}: the call", calls, budget)
    yield milliseconds(f"{work}: until it is done", wholes, budget)
    calls, wholes = asyncio.run(background.start_seconds(*once, 2 * TURNS))
    work = "map_async of one call, fresh worker"
    yield milliseconds(f"{work}: the call", calls, budget)
    yield milliseconds(f"{work}: until it is done", wholes, None)


def milliseconds(work: str, seconds: list[float], budget: float | None) -> Figure:
    """Give the least of several times that passed, and what was usual."""
    detail = f"median {duration(statistics.median(seconds))}"
    return Figure(work, min(seconds) * 1e3, "ms", budget, detail=detail)


def status() -> Iterator[Figure]:
    """Map with a run folder, with the status in it and without."""
    yield from (impossible := list(unless_possible("status of a map: wall of the map without", "x", 1.01)))
    if impossible:
        return
    pipeline = workloads.element_wise(pipefunc_c, workloads.ten_microseconds)
    inputs = {"x": np.ones(LONG)}
    with tempfile.TemporaryDirectory() as folder, two_cores():
        options = {"run_folder": Path(folder, "run")}

        def mapping(show: bool | None) -> tuple[object, int]:
            run = background.map_in_background
            return lambda: asyncio.run(run(pipeline, inputs, show_progress=show, **options)), LONG

        costs = least_costs({"with": mapping(None), "without": mapping(False)}, turns=5)
        shares = [background.status_share(pipeline, inputs, **options) for _ in range(3)]
    yield wall_ratio("status of a map: wall of the map without", costs["with"], costs["without"], 1.01)
    detail = "of a map of a third of a second; what the driver waits for it"
    yield Figure("status of a map: share of its time", min(shares) * 100, "%", 1, detail=detail)


def at_once() -> Iterator[Figure]:
    """Run ten maps on the same workers, at once and one after the other."""
    work = "ten maps of 1e5 at once: wall of one after the other"
    yield from (impossible := list(unless_possible(work, "x", 1.1)))
    if impossible:
        return

    def mapping(max_concurrent: int) -> tuple[object, int]:
        many = background.map_many
        return lambda: asyncio.run(many(pool, 10, ELEMENTS // 10, max_concurrent)), 1

    with two_cores(), WorkerPool(2) as pool:
        asyncio.run(background.map_many(pool, 2, 1000, 2))
        costs = least_costs({"at once": mapping(10), "in turn": mapping(1)})
    yield wall_ratio(work, costs["at once"], costs["in turn"], 1.1)


def event_loop() -> Iterator[Figure]:
    """Let something run in the loop every ten milliseconds, and see how late it is at most."""
    budget = 100
    for case, (pipeline, inputs) in background.loop_cases(ELEMENTS, CONSTANT_BYTES).items():
        with two_cores():
            late = least_measured(lambda p=pipeline, i=inputs: asyncio.run(background.lateness(p, i)), 3)
        name = "80 MB constant" if case == "constant" else f"1e6, {case}"
        yield Figure(
            f"event loop late by at most, {name}", late.wall * 1e3, "ms", budget, judged=late.cores_were_free
        )
