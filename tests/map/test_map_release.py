"""What is left of a map when it is over: its results, as long as somebody has them, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
from map.alone import alone, until

from pipefunc_c import ErrorSnapshot, Pipeline, pipefunc
from pipefunc_c.exceptions import PropagatedErrorSnapshot
from pipefunc_c.map import load_outputs
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)


@pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
def inverse(x, scale=1):
    return scale / x


@pipefunc("z", mapspec="y[i] -> z[i]", print_error=False)
def after(y):
    return y + 1


@pipefunc("total")
def total(z):
    return len(z)


PIPELINE = Pipeline([inverse, after, total])
GOOD, BAD = {"x": [1, 2, 4]}, {"x": [1, 0, 4]}


def sequentially(inputs, **options):
    return PIPELINE.map(inputs, parallel=False, **options)


def in_threads(inputs, **options):
    with ThreadPoolExecutor(2) as executor:
        return PIPELINE.map(inputs, executor=executor, **options)


def in_processes(inputs, **options):
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as executor:
        return PIPELINE.map(inputs, executor=executor, **options)


def in_a_pool(inputs, **options):
    with WorkerPool(2, start_method="fork") as pool:
        return PIPELINE.map(inputs, executor=pool, **options)


def in_fresh_workers(inputs, **options):
    return PIPELINE.map(inputs, **options)


def beside_a_loop(inputs, **options):
    async def main():
        return await PIPELINE.map_async(inputs, **options).task

    return asyncio.run(main())


WAYS = [sequentially, in_threads, in_processes, in_a_pool, in_fresh_workers, beside_a_loop]


@pytest.mark.parametrize("way", WAYS)
@alone
def test_results_are_freed_with_their_last_reference(way, tmp_path):
    """Without a turn of the garbage collector, which may be long in coming for a few large objects."""
    gc.disable()
    for inputs in (GOOD, BAD):
        for options in ({}, {"run_folder": tmp_path / "run"}):
            results = way(inputs, error_handling="continue", show_progress=False, **options)
            for name in results:
                str(results[name].output)
            columns = [weakref.ref(results[name].store) for name in results]
            del results
            if way is beside_a_loop:
                gc.collect()  # event loops and tasks refer to themselves
            until(partial(are_gone, columns))  # a thread may be at its last line


def are_gone(references) -> bool:
    return all(reference() is None for reference in references)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
@pytest.mark.parametrize("way", [sequentially, in_fresh_workers, in_a_pool])
@alone
def test_many_maps_need_no_more_descriptors_than_one(way):
    way(GOOD)
    gc.collect()
    gc.disable()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(40):
        way(GOOD)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
@alone
def test_loading_many_times_needs_no_more_descriptors(tmp_path):
    sequentially(GOOD, run_folder=tmp_path / "run")
    load_outputs("y", run_folder=tmp_path / "run")
    gc.collect()
    gc.disable()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(40):
        load_outputs("y", run_folder=tmp_path / "run")
    assert len(os.listdir("/proc/self/fd")) == before


@alone
def test_large_results_are_freed_in_time():
    @pipefunc("y", mapspec="x[i] -> y[i]")
    def large(x):
        return np.full(1 << 20, x, dtype=float)

    pipeline = Pipeline([large])
    gc.disable()
    seen = []
    for _ in range(8):
        results = pipeline.map({"x": range(4)}, parallel=False)
        seen.append(memory_of_this_process())
        del results
    assert max(seen[4:]) < max(seen[:4]) + (32 << 20)


def memory_of_this_process() -> int:
    import psutil

    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("make", [list, np.array], ids=["list", "ndarray"])
@pytest.mark.parametrize("way", [sequentially, in_threads, in_fresh_workers])
@alone
def test_errors_keep_the_arguments_that_failed(way, make, tmp_path):
    """Whatever the user does to the inputs later."""
    for options in ({}, {"run_folder": tmp_path / "run"}):
        check_arguments(way, make([1.0, 0.0, 4.0]), options)


def check_arguments(way, x, options) -> None:
    with np.errstate(all="raise"):
        results = way({"x": x, "scale": 2}, error_handling="continue", show_progress=False, **options)
        x[1] = 99.0
        error = results["y"].output[1]
        assert isinstance(error, ErrorSnapshot)
        assert error.kwargs == {"x": 0.0, "scale": 2}
        with pytest.raises((ZeroDivisionError, FloatingPointError)):
            error.reproduce()
        skipped = results["z"].output[1]
        assert isinstance(skipped, PropagatedErrorSnapshot)
        assert skipped.get_root_causes()[0].kwargs == {"x": 0.0, "scale": 2}
        assert results["total"].output.error_info["z"].error_count == 1
        assert results["total"].output.reason == "array_contains_errors"


def test_the_run_info_of_an_async_map_is_there_when_it_is_over(tmp_path):
    async def main():
        runner = PIPELINE.map_async(GOOD, tmp_path / "run", show_progress=False)
        await runner.task
        return runner.name, runner.run_info

    name, info = asyncio.run(main())
    assert name == "run"
    assert info.run_folder == tmp_path / "run"
    assert set(info.all_output_names) == {"y", "z", "total"}
