"""What one element of a sequential map costs."""

from __future__ import annotations

import time

import pipefunc_c
from benchmarks import peak_memory, workloads

ELEMENTS = 200_000
SIDE = 450


class SequentialMap:
    """One function over one input or an outer product."""

    params = ("ndarray", "list", "mixed_types", "outer_product", "two_outputs")
    param_names = ("case",)

    def setup(self, case):
        values = workloads.numbers(ELEMENTS)
        element_wise = workloads.element_wise
        self.pipeline, self.inputs = {
            "ndarray": lambda: (element_wise(pipefunc_c, workloads.double), {"x": values}),
            "list": lambda: (element_wise(pipefunc_c, workloads.double), {"x": values.tolist()}),
            "mixed_types": lambda: (element_wise(pipefunc_c, workloads.clip), {"x": values}),
            "outer_product": lambda: (
                workloads.outer_product(pipefunc_c),
                {"x": values[:SIDE], "y": values[:SIDE]},
            ),
            "two_outputs": lambda: (workloads.two_outputs(pipefunc_c), {"x": values}),
        }[case]()

    def time_map(self, case):
        workloads.map_sequentially(self.pipeline, self.inputs)


class Chain:
    """Two element-wise stages and a reduction."""

    def setup(self):
        self.pipeline = workloads.chain_and_sum(pipefunc_c)
        self.inputs = {"x": workloads.numbers(ELEMENTS)}

    def time_chain_and_sum(self):
        workloads.map_sequentially(self.pipeline, self.inputs)


class FailingElements:
    """Every element raises and is kept as an error."""

    def setup(self):
        self.pipeline = workloads.element_wise(pipefunc_c, workloads.fail)
        self.inputs = {"x": workloads.numbers(10_000)}

    def time_all_elements_fail(self):
        workloads.map_sequentially(self.pipeline, self.inputs, error_handling="continue")


class Memory:
    """What one element holds at the peak."""

    params = peak_memory.CASES
    param_names = ("case",)

    def setup(self, case):
        if not peak_memory.can_measure():
            raise NotImplementedError("the peak of one call is read from /proc")

    def track_bytes_per_element(self, case):
        return peak_memory.bytes_per_element(case, 50_000 if case == "failing" else 1_000_000)

    track_bytes_per_element.unit = "bytes"


class Growth:
    """One element of a map that is ten times as long: nothing may grow with the map."""

    params = (1_000_000, 10_000_000)
    param_names = ("elements",)

    def setup(self, elements):
        if not peak_memory.can_measure():
            raise NotImplementedError("the peak of one call is read from /proc")

    def track_bytes_per_element(self, elements):
        return peak_memory.bytes_per_element("numeric", elements)

    track_bytes_per_element.unit = "bytes"

    def track_nanoseconds_per_element(self, elements):
        pipeline = workloads.element_wise(pipefunc_c, workloads.double)
        inputs = {"x": workloads.numbers(elements)}
        taken = []
        for _ in range(3):
            begin = time.process_time_ns()
            workloads.map_sequentially(pipeline, inputs)
            taken.append(time.process_time_ns() - begin)
        return min(taken) / elements

    track_nanoseconds_per_element.unit = "nanoseconds"


class WholeProcess:
    """The peak of a whole process that maps a million numbers."""

    def setup(self):
        self.pipeline = workloads.element_wise(pipefunc_c, workloads.double)
        self.inputs = {"x": workloads.numbers(1_000_000)}

    def peakmem_map(self):
        return workloads.map_sequentially(self.pipeline, self.inputs)
