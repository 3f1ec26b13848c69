"""Pools whose workers outlive maps, and workers that die."""

from __future__ import annotations

import tempfile

import numpy as np

import pipefunc_c
from benchmarks import background, deadly, workloads
from benchmarks.parallel_map import needs_two_cores
from pipefunc_c.parallel import WorkerPool


class LivePool:
    """Maps on workers that have run one before."""

    params = (100, 1_000_000)
    param_names = ("elements",)

    def setup(self, elements):
        needs_two_cores()
        self.pool = WorkerPool(2)
        self.pipeline = workloads.element_wise(pipefunc_c, workloads.now)
        self.inputs = {"x": np.ones(elements)}
        self.options = {"executor": self.pool}
        workloads.map_in_workers(self.pipeline, self.inputs, **self.options)

    def teardown(self, elements):
        if hasattr(self, "pool"):
            self.pool.shutdown()

    def time_map(self, elements):
        workloads.map_in_workers(self.pipeline, self.inputs, **self.options)

    def track_first_element(self, elements):
        return min(workloads.first_in_workers(self.pipeline, self.inputs, **self.options) for _ in range(10))

    track_first_element.unit = "seconds"


class NewPool:
    """A pool that starts for a map, and hands a large constant to its workers."""

    params = ("fork", "forkserver", "spawn")
    param_names = ("start_method",)
    timeout = 120

    def setup(self, start_method):
        needs_two_cores()
        self.pipeline = workloads.element_wise(pipefunc_c, background.first_of)
        self.inputs = {"x": np.arange(60), "table": np.ones(10_000_000)}

    def time_constant_of_80_megabytes(self, start_method):
        with WorkerPool(2, start_method=start_method) as pool:
            workloads.map_in_workers(self.pipeline, self.inputs, executor=pool)


class Death:
    """How much longer a map takes in which a worker dies."""

    params = ("once", "always")
    param_names = ("dies",)

    def setup(self, dies):
        needs_two_cores()
        self.function = getattr(deadly, dies)

    def track_recovery(self, dies):
        with tempfile.TemporaryDirectory() as folder, WorkerPool(2) as pool:
            deadly.recovery_seconds(self.function, 1000, folder, executor=pool)
            return min(
                deadly.recovery_seconds(self.function, 50_000, folder, executor=pool) for _ in range(3)
            )

    track_recovery.unit = "seconds"
