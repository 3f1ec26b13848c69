"""Maps in the background of an event loop."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import numpy as np

import pipefunc_c
from benchmarks import background, workloads
from benchmarks.parallel_map import needs_two_cores
from pipefunc_c.parallel import WorkerPool


class AsyncStart:
    """Starting a map in a loop that runs, and waiting for it."""

    params = ("no_elements", "one_call")
    param_names = ("case",)

    def setup(self, case):
        self.pipeline, self.inputs = {
            "no_elements": (workloads.element_wise(pipefunc_c, workloads.double), {"x": []}),
            "one_call": (workloads.mapped(pipefunc_c, workloads.double, "y", None), {"x": 1}),
        }[case]

    def track_call(self, case):
        return min(seconds_on_a_live_pool(self.pipeline, self.inputs)[0])

    track_call.unit = "seconds"

    def track_until_done(self, case):
        return min(seconds_on_a_live_pool(self.pipeline, self.inputs)[1])

    track_until_done.unit = "seconds"


class ManyMaps:
    """Ten maps on the same workers."""

    params = (1, 10)
    param_names = ("max_concurrent",)

    def setup(self, max_concurrent):
        needs_two_cores()
        self.pool = WorkerPool(2)
        asyncio.run(background.map_many(self.pool, 1, 1000, 1))

    def teardown(self, max_concurrent):
        if hasattr(self, "pool"):
            self.pool.shutdown()

    def time_ten_maps(self, max_concurrent):
        asyncio.run(background.map_many(self.pool, 10, 100_000, max_concurrent))


class EventLoop:
    """How late something else in the loop is at most while a map runs."""

    params = ("constant", "elements", "builtin", "reduction")
    param_names = ("case",)

    def setup(self, case):
        self.pipeline, self.inputs = background.loop_cases(1_000_000, 80_000_000)[case]

    def track_lateness(self, case):
        return min(asyncio.run(background.lateness(self.pipeline, self.inputs)) for _ in range(3))

    track_lateness.unit = "seconds"


class Status:
    """What a driver spends with the status of its map."""

    def setup(self):
        self.pipeline = workloads.element_wise(pipefunc_c, workloads.ten_microseconds)
        self.inputs = {"x": np.ones(100_000)}

    def track_share(self):
        with tempfile.TemporaryDirectory() as folder:
            run_folder = Path(folder, "run")
            return background.status_share(self.pipeline, self.inputs, run_folder=run_folder)

    track_share.unit = "of the time"


def seconds_on_a_live_pool(pipeline, inputs):
    """Return the seconds of calls of map_async, and those until all is done."""
    with WorkerPool(1) as pool:
        return asyncio.run(background.start_seconds(pipeline, inputs, 20, executor=pool))
