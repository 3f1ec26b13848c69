"""Pools that outlive maps, the death of a worker, a large constant; and other pools beside them."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import pipefunc_c
from benchmarks import background, deadly, workloads
from benchmarks.child import run_child
from comparison.processes import unless_possible
from comparison.timing import least_measured, two_cores
from pipefunc_c.parallel import WorkerPool
from report import Figure, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from comparison.timing import Cost

ELEMENTS = 1_000_000
DEADLY = 20_000  # elements of ten microseconds, one of which kills
CONSTANT_BYTES = 80_000_000
TABLES = 60  # elements that use the constant
START_SECONDS = 0.3


def passed(work: str, cost: Cost, unit: str, budget: float | None, detail: str = "") -> Figure:
    """Give a time that passed, judged if two cores were free."""
    factor = {"ms": 1e3, "s": 1.0}[unit]
    return Figure(work, cost.wall * factor, unit, budget, detail=detail, judged=cost.cores_were_free)


def pools() -> Iterator[Figure]:
    """Measure from the call of map to the first call of the function, on workers that ran one before."""
    yield from (impossible := list(unless_possible("second map on a WorkerPool: first element", "ms", 5)))
    if impossible:
        return
    pipeline = workloads.element_wise(pipefunc_c, workloads.now)
    for elements, name, budget in ((100, "100", 5), (ELEMENTS, "1e6", 20)):
        inputs = {"x": np.ones(elements)}
        with two_cores(), WorkerPool(2) as pool:
            cost = least_measured(partial(workloads.first_in_workers, pipeline, inputs, executor=pool))
        yield passed(f"second map on a WorkerPool: first of {name} elements", cost, "ms", budget)


def deaths() -> Iterator[Figure]:
    """Kill a worker in the middle of a map."""
    yield from (impossible := list(unless_possible("a worker dies: the map takes longer by", "s", 0.5)))
    if impossible:
        return
    cases = {"a worker dies": deadly.once, "an element always kills": deadly.always}
    with tempfile.TemporaryDirectory() as folder, two_cores(), WorkerPool(2) as pool:
        ways: dict[str, dict[str, Any]] = {"fresh workers": {}, "WorkerPool": {"executor": pool}}
        for case, function in cases.items():
            for way, options in ways.items():
                measure = partial(deadly.map_seconds, function, DEADLY, folder, **options)
                costs = {dies: least_measured(partial(measure, dies=dies), 3) for dies in (True, False)}
                longer = costs[True].wall - costs[False].wall
                yield Figure(
                    f"{case}, {way}: the map takes longer by",
                    longer,
                    "s",
                    0.5,
                    detail=f"{duration(costs[True].wall)} instead of {duration(costs[False].wall)}",
                    judged=all(cost.cores_were_free for cost in costs.values()),
                )


def constant() -> Iterator[Figure]:
    """Hand a large constant to workers that start for it."""
    yield from (impossible := list(unless_possible("80 MB constant, 60 elements", "x", 1)))
    if impossible:
        return
    inputs = {"x": np.arange(TABLES), "table": np.ones(CONSTANT_BYTES // 8)}

    def in_new_pool(pipeline: Any, inputs: Any, **options: Any) -> object:
        with WorkerPool(2, start_method=options["start_method"]) as pool:
            return workloads.map_in_workers(pipeline, inputs, executor=pool)

    for kind, function in (("read", background.first_of), ("summed up", add_to_sum)):
        pipeline = workloads.element_wise(pipefunc_c, function)
        serial = least_measured(timed(workloads.map_sequentially, pipeline, inputs), 3)
        allowed = 1.5 * serial.wall + START_SECONDS
        ways = {
            "fresh workers": timed(workloads.map_in_workers, pipeline, inputs),
            "new WorkerPool": timed(in_new_pool, pipeline, inputs, start_method=None),
            "new WorkerPool, spawn": timed(in_new_pool, pipeline, inputs, start_method="spawn"),
        }
        for way, measure in ways.items():
            with two_cores():
                cost = least_measured(measure, 3)
            yield Figure(
                f"80 MB constant, 60 elements, {kind}, {way}: of 1.5 x serial + 0.3 s",
                cost.wall / allowed,
                "x",
                1,
                detail=f"{duration(cost.wall)}, serial {duration(serial.wall)}",
                judged=cost.cores_were_free and serial.cores_were_free,
            )


def add_to_sum(x: float, table: Any) -> float:
    """Use the whole of a large constant."""
    return x + float(table.sum())


def timed(run: Callable[..., object], *arguments: Any, **options: Any) -> Callable[[], float]:
    """Return a function that runs something and returns the seconds that pass."""

    def measure() -> float:
        started = time.perf_counter()
        run(*arguments, **options)
        return time.perf_counter() - started

    return measure


# What starts a pool of two and what maps `use` over `values`, as source, for they leave threads and workers
# behind. Each gets the constant in the way that its manual recommends.
POOLS = {
    "pipefunc_c": (
        "WorkerPool",
        "import pipefunc_c; from pipefunc_c.parallel import WorkerPool; pool = WorkerPool(2); "
        "pipeline = workloads.element_wise(pipefunc_c, use)",
        "workloads.map_in_workers(pipeline, {'x': values, 'table': table}, executor=pool)",
    ),
    "concurrent": (
        "ProcessPoolExecutor",
        "from concurrent.futures import ProcessPoolExecutor; from itertools import repeat; "
        "pool = ProcessPoolExecutor(2)",
        "list(pool.map(use, values, repeat(table)))",
    ),
    "joblib": (
        "joblib.Parallel",
        "import joblib",
        "joblib.Parallel(n_jobs=2)(joblib.delayed(use)(x, table) for x in values)",
    ),
    "loky": (
        "loky",
        "import loky; from itertools import repeat; pool = loky.get_reusable_executor(2, timeout=60)",
        "list(pool.map(use, values, repeat(table)))",
    ),
    "mpire": (
        "mpire.WorkerPool, which has the constant from its start",
        "import mpire; pool = mpire.WorkerPool(n_jobs=2, shared_objects=table, keep_alive=True)",
        "pool.map(swapped, values)",
    ),
    "distributed": (
        "dask.distributed",
        "import distributed; client = distributed.Client(n_workers=2, threads_per_worker=1, "
        "dashboard_address=None)",
        "client.gather(client.map(use, values, table=client.scatter(table, broadcast=True, hash=False), "
        "pure=False))",
    ),
}

POOL = """
import json, sys, time
import numpy as np
from benchmarks import workloads
from benchmarks.background import first_of as use

def swapped(table, x):
    return use(x, table)

if __name__ == "__main__":
    values, table = list(range(int(sys.argv[1]))), np.ones(int(sys.argv[2]) // 8)
    exec(sys.argv[3])
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        exec(sys.argv[4])
        seconds.append(time.perf_counter() - started)
    print(json.dumps(min(seconds[1:])))  # its workers stay: the first turn starts them
"""


def other_pools() -> Iterator[Figure]:
    """Map few elements, and a large constant, on two workers that are there, here and in other pools."""
    yield from (impossible := list(unless_possible("pools of two that stay", "x", None)))
    if impossible:
        return
    cases = {
        "2 elements": (2, 8),
        "8 elements with a constant of 80 MB": (8, CONSTANT_BYTES),  # some send it along with each
    }
    for case, sizes in cases.items():
        seconds = {
            name: pool_seconds(*sizes, setup, work)
            for package, (name, setup, work) in POOLS.items()
            if importlib.util.find_spec(package)
        }
        ours = seconds.pop("WorkerPool")
        for name, theirs in seconds.items():
            yield Figure(
                f"2 live workers, {case}: times less wall than {name}",
                theirs / ours,
                "x",
                None,
                detail=f"{duration(theirs)}, ours {duration(ours)}",
            )


def pool_seconds(elements: int, constant_bytes: int, setup: str, work: str) -> float:
    """Measure a pool in a process of its own."""
    printed = run_child("-c", POOL, str(elements), str(constant_bytes), setup, work).stdout.strip()
    return float(json.loads(printed.splitlines()[-1]))
