"""What a map in worker processes costs, sends and holds; two cores or more."""

from __future__ import annotations

import os

import pipefunc_c
from benchmarks import tree_memory, workloads
from benchmarks.messages import bytes_per_lease, traffic_of

ELEMENTS = 1_000_000


def needs_two_cores():
    """Leave the benchmark out where a map runs in one process."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        raise NotImplementedError("a single core runs everything in one process")


class ParallelMap:
    """Starting workers, running, and ending them."""

    params = ("nothing_to_do", "numbers", "small_dicts", "ten_microseconds")
    param_names = ("case",)

    def setup(self, case):
        needs_two_cores()
        values = workloads.numbers(ELEMENTS)
        function, given = {
            "nothing_to_do": (workloads.double, values[:2]),
            "numbers": (workloads.double, values),
            "small_dicts": (workloads.as_dict, values.tolist()),
            "ten_microseconds": (workloads.ten_microseconds, values[:50_000]),
        }[case]
        self.pipeline, self.inputs = workloads.element_wise(pipefunc_c, function), {"x": given}

    def time_map(self, case):
        workloads.map_in_workers(self.pipeline, self.inputs)


class Messages:
    """What goes between the processes."""

    params = (0, 8 << 20)
    param_names = ("constant_bytes",)

    def setup(self, constant_bytes):
        needs_two_cores()

    def track_bytes_per_lease(self, constant_bytes):
        return bytes_per_lease(traffic_of(ELEMENTS, constant_bytes))

    track_bytes_per_lease.unit = "bytes"

    def track_pickles_per_run(self, constant_bytes):
        return traffic_of(ELEMENTS, constant_bytes).pickles

    track_pickles_per_run.unit = "pickles"


class TreeMemory:
    """What all processes together hold at the peak."""

    params = tree_memory.CASES
    param_names = ("case",)

    def setup(self, case):
        needs_two_cores()
        if not tree_memory.can_measure():
            raise NotImplementedError("the memory of a process without shared pages is read from /proc")

    def track_bytes_per_element(self, case):
        return tree_memory.bytes_per_element(case, ELEMENTS)

    track_bytes_per_element.unit = "bytes"
