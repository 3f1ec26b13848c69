"""What worker processes cost and bring: pools of two, beside our sequential map and beside other pools."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import json
import multiprocessing
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

import pipefunc_c
from benchmarks import tree_memory, workloads
from benchmarks.child import run_child
from benchmarks.messages import bytes_per_lease, traffic_of
from comparison.timing import TURNS, Cost, can_use_two_cores, least_costs, two_cores, two_cores_are_free
from report import Figure, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from comparison.timing import Work

ELEMENTS = 1_000_000
CHUNK = 10_000  # what suits the other pools


def unless_possible(work: str, unit: str, budget: float | None) -> Iterator[Figure]:
    """Give a figure that says that nothing can be measured here; nothing where it can."""
    if not can_use_two_cores():
        yield Figure(work, None, unit, budget, detail="needs two cores")


def wall_ratio(work: str, first: Cost, second: Cost, budget: float, *, at_least: bool = False) -> Figure:
    """Give the ratio of the time that passed, judged if two cores were free for both."""
    judged = first.cores_were_free and second.cores_were_free
    detail = f"{duration(first.wall)} of {duration(second.wall)}"
    if not judged:
        detail += ", two cores were never free"
    measured = second.wall / first.wall if at_least else first.wall / second.wall
    return Figure(work, measured, "x", budget, at_least=at_least, detail=detail, judged=judged)


def sequential_and_workers(function: Callable[..., Any], values: Any, turns: int = TURNS) -> dict[str, Cost]:
    """Map in this process and in two workers."""
    pipeline, inputs = workloads.element_wise(pipefunc_c, function), {"x": values}

    def sequential() -> object:
        return workloads.map_sequentially(pipeline, inputs)

    def workers() -> object:
        return workloads.map_in_workers(pipeline, inputs)

    with two_cores():
        return least_costs(
            {"sequential": (sequential, len(values)), "workers": (workers, len(values))}, turns
        )


def small_tasks() -> Iterator[Figure]:
    """Map ``2 * x`` in two workers, their start included."""
    yield from (impossible := list(unless_possible("2 workers, 50 ns tasks: wall", "x", 0.75)))
    if impossible:
        return
    for elements, name, budget in ((ELEMENTS, "1e6", 0.75), (10 * ELEMENTS, "1e7", 0.6)):
        costs = sequential_and_workers(workloads.double, workloads.numbers(elements))
        workers, sequential = costs["workers"], costs["sequential"]
        work = f"2 workers, 50 ns tasks, {name}"
        yield wall_ratio(f"{work}: wall of the sequential map", workers, sequential, budget)
        detail = f"{duration(workers.cpu)} of {duration(sequential.cpu)}"
        yield Figure(
            f"{work}: cpu of the sequential map", workers.cpu / sequential.cpu, "x", 1.2, detail=detail
        )
        if elements == ELEMENTS:
            yield from other_pools(workers)


def other_pools(ours: Cost) -> Iterator[Figure]:
    """Map the same with what else there is, chunked by hand."""
    values = workloads.numbers(ELEMENTS).tolist()
    fork = multiprocessing.get_context("fork")

    def pool() -> object:
        with fork.Pool(2) as workers:
            return workers.map(workloads.double, values, chunksize=CHUNK)

    def executor() -> object:
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as workers:
            return list(workers.map(workloads.double, values, chunksize=CHUNK))

    peers: dict[str, Work] = {
        "multiprocessing.Pool.map": (pool, ELEMENTS),
        "ProcessPoolExecutor.map": (executor, ELEMENTS),
    }
    with two_cores():
        costs = least_costs(peers, turns=3)
        for package, (name, elements, setup, work) in PACKAGES.items():
            if importlib.util.find_spec(package):
                costs[name] = package_cost(elements, setup, work)
    for name, cost in costs.items():
        yield Figure(
            f"2 workers, 1e6: times less cpu than {name}", cost.cpu / ours.cpu, "x", None, detail=str(cost)
        )


# Per package for how many elements it is worth waiting, what it starts once and what maps all values: as
# source, for they leave threads and workers behind. Of these, dask takes elements one by one.
PACKAGES = {
    "joblib": (
        "joblib.Parallel",
        ELEMENTS // 10,
        "import joblib; parallel = joblib.Parallel(n_jobs=2, batch_size=chunk)",
        "parallel(joblib.delayed(workloads.double)(x) for x in values)",
    ),
    "loky": (
        "loky",
        ELEMENTS // 10,
        "import loky; executor = loky.get_reusable_executor(max_workers=2)",
        "list(executor.map(workloads.double, values, chunksize=chunk))",
    ),
    "mpire": (
        "mpire.WorkerPool.map",
        ELEMENTS // 10,
        "import mpire; pool = mpire.WorkerPool(n_jobs=2, keep_alive=True)",
        "pool.map(workloads.double, values, chunk_size=chunk)",
    ),
    "distributed": (
        "dask.distributed",
        ELEMENTS // 500,
        "import distributed; client = distributed.Client(n_workers=2, threads_per_worker=1, "
        "dashboard_address=None)",
        "client.gather(client.map(workloads.double, values, batch_size=chunk, pure=False))",
    ),
}

PACKAGE = """
import json, sys, time
import psutil
from benchmarks import workloads

def cpu():
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:4]) for process in processes)

if __name__ == "__main__":
    elements = int(sys.argv[1])
    values = workloads.numbers(elements).tolist()
    chunk = elements // 20
    exec(sys.argv[2])
    costs = []
    for _ in range(4):
        before, started = cpu(), time.perf_counter()
        exec(sys.argv[3])
        costs.append(((cpu() - before) / elements, (time.perf_counter() - started) / elements))
    print(json.dumps([min(cost) for cost in zip(*costs[1:])]))  # its workers stay: the first turn starts them
"""


def package_cost(elements: int, setup: str, work: str) -> Cost:
    """Measure a package in a process of its own."""
    printed = run_child("-c", PACKAGE, str(elements), setup, work).stdout.strip()
    cpu, wall = json.loads(printed.splitlines()[-1])
    return Cost(cpu=cpu, own_cpu=cpu, wall=wall)


def longer_tasks() -> Iterator[Figure]:
    """Map tasks of ten microseconds."""
    work = "2 workers, 10 us tasks: times faster than sequential"
    yield from (impossible := list(unless_possible(work, "x", 1.9)))
    if not impossible:
        costs = sequential_and_workers(workloads.ten_microseconds, np.ones(100_000), turns=5)
        yield wall_ratio(work, costs["workers"], costs["sequential"], 1.9, at_least=True)
        yield first_element()


def first_element() -> Figure:
    """Measure from the call of map to the first call of the function in a worker."""
    pipeline = workloads.element_wise(pipefunc_c, workloads.now)
    inputs = {"x": np.ones(ELEMENTS)}
    least, judged = float("inf"), False
    with two_cores():
        for _ in range(TURNS):
            free = two_cores_are_free()
            seconds = workloads.first_in_workers(pipeline, inputs)
            judged = judged or free
            least = min(least, seconds)
    return Figure("2 workers: first of 1e6 elements, ndarray", least * 1e3, "ms", 20, judged=judged)


def dict_results() -> Iterator[Figure]:
    """Map to small dicts, which the parent keeps pickled."""
    work = "2 workers, small dicts"
    yield from (impossible := list(unless_possible(f"{work}: cpu", "us", 0.35)))
    if impossible:
        return
    values = workloads.numbers(ELEMENTS).tolist()
    pipeline = workloads.element_wise(pipefunc_c, workloads.as_dict)
    with two_cores():
        costs = least_costs(
            {
                "workers": (lambda: workloads.map_in_workers(pipeline, {"x": values}), ELEMENTS),
                "bare": (lambda: [workloads.as_dict(x) for x in values], ELEMENTS),
            }
        )
    cost, bare = costs["workers"], costs["bare"]
    detail = f"bare loop {duration(bare.cpu)}"
    yield Figure(f"{work}: cpu of all processes", cost.cpu * 1e6, "us", 0.35, detail=detail)
    yield Figure(f"{work}: cpu of the parent", cost.own_cpu * 1e6, "us", 0.05)


def messages() -> Iterator[Figure]:
    """Count what goes between the parent and two workers."""
    yield from (impossible := list(unless_possible("2 workers: bytes per lease", "B", 200)))
    if impossible:
        return
    with two_cores():
        short, long = traffic_of(ELEMENTS // 10), traffic_of(10 * ELEMENTS)
        constant = traffic_of(ELEMENTS // 10, constant_bytes=8 << 20)
    detail = f"{len(long.leases)} leases for 1e7 elements, report included"
    yield Figure("2 workers: bytes per lease", bytes_per_lease(long), "B", 200, detail=detail)
    growth = bytes_per_lease(long) / bytes_per_lease(short)
    yield Figure("2 workers: bytes per lease, 1e7 elements against 1e5", growth, "x", 1)
    growth = bytes_per_lease(constant) / bytes_per_lease(short)
    yield Figure("2 workers: bytes per lease, with a constant of 8 MiB", growth, "x", 1)
    detail = f"and {sum(long.stages)} bytes to announce the stage to both"
    yield Figure("2 workers: pickles per run of 1e7 numbers", long.pickles, "", 10, detail=detail)


def memory() -> Iterator[Figure]:
    """Look at all processes at the peak; pages that they share count once."""
    rows = (
        ("numeric", 10 * ELEMENTS, 12, "numeric, 1e7: per element"),
        ("numeric", ELEMENTS, None, "numeric, 1e6, the workers themselves included: per element"),
        ("dicts", 10 * ELEMENTS, 48, "small dicts, kept pickled, 1e7: per element"),
        ("dicts", ELEMENTS, 48, "small dicts, 1e6, the workers themselves included: per element"),
    )
    for case, elements, budget, name in rows:
        work = f"2 workers, peak memory, {name}"
        if not (can_use_two_cores() and tree_memory.can_measure()):
            yield Figure(work, None, "B", budget, detail="this system does not tell it")
            continue
        with two_cores():
            measured = statistics.median(tree_memory.bytes_per_element(case, elements) for _ in range(3))
        yield Figure(work, measured, "B", budget)
