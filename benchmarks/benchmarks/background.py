"""Maps in the background of an event loop, measured: how late they make it, and what their status costs."""

from __future__ import annotations

import asyncio
import functools
import time
from unittest import mock

import numpy as np

import pipefunc_c
from benchmarks import workloads
from pipefunc_c.helpers import gather_maps
from pipefunc_c.map._progress.progress import LiveProgress

TICK = 0.01
REPORTS = ("start", "set_total", "granted", "update", "tick", "finish")


def first_of(x, table):
    """Use a large constant."""
    return x + float(table[0])


def loop_cases(elements, constant_bytes):
    """Return pipelines and inputs that a driver could block an event loop with."""
    element_wise, values = workloads.element_wise, np.arange(elements)
    return {
        "constant": (
            element_wise(pipefunc_c, first_of),
            {"x": range(20), "table": np.zeros(constant_bytes // 8)},
        ),
        "elements": (element_wise(pipefunc_c, workloads.double), {"x": values}),
        "builtin": (element_wise(pipefunc_c, float), {"x": values}),
        "reduction": (workloads.chain_and_sum(pipefunc_c), {"x": values}),
    }


async def lateness(pipeline, inputs, **options):
    """Map while something in the same loop wants to run every ten milliseconds; return its longest delay."""
    loop, late = asyncio.get_running_loop(), [0.0]

    async def tick():
        while True:
            began = loop.time()
            await asyncio.sleep(TICK)
            late.append(loop.time() - began - TICK)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(2 * TICK)
    await pipeline.map_async(inputs, **options).task
    await asyncio.sleep(2 * TICK)
    ticker.cancel()
    return max(late)


async def start_seconds(pipeline, inputs, turns, **options):
    """Map in the background again and again; return the seconds of each call, and those until all is done.

    The first map is left out: it imports, and may start a server for workers.
    """
    calls, wholes = [], []
    for _ in range(turns + 1):
        began = time.perf_counter()
        runner = pipeline.map_async(inputs, **options)
        calls.append(time.perf_counter() - began)
        await runner.task
        wholes.append(time.perf_counter() - began)
    return calls[1:], wholes[1:]


async def map_many(pool, count, elements, max_concurrent):
    """Map several times on the workers of a pool, some of the maps at once."""
    pipeline = workloads.element_wise(pipefunc_c, workloads.double)
    inputs = {"x": workloads.numbers(elements)}
    runners = [pipeline.map_async(inputs, executor=pool, start=False) for _ in range(count)]
    await gather_maps(*runners, max_concurrent=max_concurrent)


async def map_in_background(pipeline, inputs, **options):
    """Map and wait."""
    return await pipeline.map_async(inputs, **options).task


def status_share(pipeline, inputs, **options):
    """Map in the background; return the share of its time that the driver spends with its status."""
    spent = 0.0

    def timed(function):
        @functools.wraps(function)
        def call(*arguments, **named):
            nonlocal spent
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent += time.perf_counter() - began

        return call

    replaced = {name: timed(getattr(LiveProgress, name)) for name in REPORTS}
    with mock.patch.multiple(LiveProgress, **replaced):
        began = time.perf_counter()
        asyncio.run(map_in_background(pipeline, inputs, **options))
        return spent / (time.perf_counter() - began)
