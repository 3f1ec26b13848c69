"""What is paid once per call, per pipeline or per process."""

from __future__ import annotations

import statistics
import time

import numpy as np

import pipefunc_c
from benchmarks import workloads
from benchmarks.imports import import_seconds


class Call:
    """Calling a pipeline without mapping."""

    params = (1, 10)
    param_names = ("functions",)

    def setup(self, functions):
        self.pipeline = workloads.chain_of(pipefunc_c, functions)
        self.output = f"y{functions - 1}"

    def time_call(self, functions):
        self.pipeline(self.output, x=1)


class Construction:
    """Building a pipeline, its functions included."""

    params = ((10, 100, 1000), ("chain_of", "wide", "annotated"))
    param_names = ("functions", "shape")

    def setup(self, functions, shape):
        self.build = getattr(workloads, shape)

    def time_construction(self, functions, shape):
        self.build(pipefunc_c, functions)


class Update:
    """Changing a pipeline of a thousand functions, which is checked as a whole each time."""

    params = (tuple(workloads.UPDATES), ("chain_of", "wide"))
    param_names = ("update", "shape")
    number = 1  # a name changes once
    warmup_time = 0

    def setup(self, update, shape):
        self.pipeline = getattr(workloads, shape)(pipefunc_c, 1000)

    def time_update(self, update, shape):
        workloads.UPDATES[update](self.pipeline)


class OneByOne:
    """Putting functions into a pipeline, replacing and dropping each in a call of its own."""

    params = ((100, 1000), ("chain_of", "wide"))
    param_names = ("functions", "shape")

    def setup(self, functions, shape):
        self.functions = getattr(workloads, shape)(pipefunc_c, functions).functions

    def time_one_by_one(self, functions, shape):
        workloads.one_by_one(pipefunc_c, self.functions)


class CacheHit:
    """Calling a pipeline whose functions are all cached."""

    params = (1, 10)
    param_names = ("functions",)

    def setup(self, functions):
        self.pipeline, self.output = workloads.cached_chain(pipefunc_c, functions)

    def time_hit(self, functions):
        self.pipeline(self.output, x=1)


class FirstElement:
    """The time from the call of map to the call of the function with its first element."""

    params = ("ndarray", "list")
    param_names = ("inputs",)

    def setup(self, inputs):
        values = np.ones(1_000_000)
        self.inputs = {"x": values if inputs == "ndarray" else values.tolist()}

    def track_first_element(self, inputs):
        return statistics.median(first_element_seconds(pipefunc_c, self.inputs) for _ in range(5))

    track_first_element.unit = "seconds"


class Import:
    """The processor time of importing the package, NumPy included."""

    def track_import(self):
        return min(import_seconds("pipefunc_c") for _ in range(3))

    track_import.unit = "seconds"


def first_element_seconds(api, inputs):
    """Return the processor time between the call of map and the first element."""

    def stop(x):
        raise StopAsyncIteration(time.process_time())  # an exception that nobody else raises

    pipeline = api.Pipeline([api.PipeFunc(stop, "y", mapspec="x[i] -> y[i]", print_error=False)])
    started = time.process_time()
    try:
        workloads.map_sequentially(pipeline, inputs)
    except StopAsyncIteration as reached:
        return reached.args[0] - started
    raise AssertionError("the function was never called")
