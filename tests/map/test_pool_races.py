"""Maps whose workers die, or are told much, at the wrong moment: none of them waits for ever."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from map.alone import alone, needs_fork, until

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.map._engine.scheduler import Lease
from pipefunc_c.map._processes.control import Control
from pipefunc_c.map._processes.messages import read_lease, write_lease
from pipefunc_c.map._processes.pool_driver import PoolDriver
from pipefunc_c.parallel import WorkerPool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)


def wait_and_tell_much(_a: int) -> list[str]:
    time.sleep(2)
    return ["text" * 3] * 200_000


def next_of(x: int) -> int:
    return x + 1


@needs_fork
@alone
def test_news_of_many_stages_for_a_worker_that_does_not_read():
    """It is at a long element, and then has more to say than a socket holds."""
    n_stages = 600
    functions = [PipeFunc(wait_and_tell_much, "long", renames={"_a": "a"}, mapspec="a[j] -> long[j]")]
    for number in range(n_stages):
        before, after = f"y{number}", f"y{number + 1}"
        renames = {"x": before}
        functions.append(PipeFunc(next_of, after, renames=renames, mapspec=f"{before}[i] -> {after}[i]"))
    results = Pipeline(functions).map(
        {"a": [1], "y0": [1, 2]}, parallel=True, executor=None, scheduling_strategy="eager"
    )
    assert results[f"y{n_stages}"].output.tolist() == [1 + n_stages, 2 + n_stages]
    assert len(results["long"].output[0]) == 200_000


def test_a_lease_says_where_its_worker_writes_what_it_is_at():
    lease = Lease(0, 3, 10, 20, 1)
    assert read_lease(write_lease(lease, 0.5, 7)) == (lease, 0.5, 7)


def slow_once(at: Path, x: int) -> int:
    """Take long at one element, once, and say so."""
    time.sleep(0.02)
    if x == 30 and not at.exists():
        at.touch()
        time.sleep(5)
    return x


@alone
def test_a_worker_that_replaced_a_dead_one_is_at_work_before_the_driver_looks(tmp_path):
    """What the dead one was at is known, and that the new one is at work."""
    seen: list[int] = []
    take = PoolDriver._take_event

    def take_late(driver: PoolDriver, event: object) -> object:
        if hasattr(event, "death"):
            time.sleep(0.3)  # the other lease that is out goes to the new worker
            lease = driver._out[event.slot][0][0]
            seen.append(driver._control.whereabouts(event.slot).lease == lease)
        return take(driver, event)

    PoolDriver._take_event = take_late
    with WorkerPool(1) as pool:
        pipeline = Pipeline([PipeFunc(partial(slow_once, tmp_path / "at"), "y", mapspec="x[i] -> y[i]")])

        def run(numbers: range) -> list[int]:
            results = pipeline.map({"x": numbers}, executor=pool, error_handling="continue")
            return results["y"].output.tolist()

        assert run(range(1, 20)) == list(range(1, 20))
        pid = pool.pids[0]
        if os.fork() == 0:  # no thread: that would change how workers are made
            while not (tmp_path / "at").exists():
                time.sleep(0.005)
            os.kill(pid, signal.SIGKILL)
            os._exit(0)
        assert run(range(1, 60)) == list(range(1, 60))
        os.wait()
    assert seen
    assert all(seen)


def test_cells_are_as_many_as_leases_may_be_out():
    control = Control(np.zeros(Control.size(4), dtype=np.uint8))
    control.cell(3).begin(Lease(0, 0, 0, 1, 0))
    assert control.busy() == [3]


def sleep_long(x: int) -> int:
    time.sleep(30)
    return x


@pytest.mark.parametrize("method", ["fork", "forkserver"])
@alone
def test_many_elements_that_take_too_long_in_workers_that_are_renewed(method):
    pipeline = Pipeline([PipeFunc(sleep_long, "y", mapspec="x[i] -> y[i]")])
    with WorkerPool(2, start_method=method, max_tasks_per_child=3) as pool:
        results = pipeline.map({"x": range(12)}, executor=pool, error_handling="continue", timeout=0.1)
        assert all("timeout" in str(each.exception) for each in results["y"].output)
        assert until(lambda: pool.submit(abs, -3).result(10) == 3)
