"""A map in the background that is cancelled, or whose program ends: its workers stop and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from map.alone import alone, members, start, until

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.map import AsyncMap, load_outputs
from pipefunc_c.map._runs import map_run as map_run_module

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)

# Workers are gone within a second; a busy machine takes longer to see it.
SOON = 1.5


class Slow:
    """An element function that says which process it is in and takes its time."""

    def __init__(self, folder: Path, seconds: float = 60, first: int = 0) -> None:
        self.folder = folder
        self.seconds = seconds
        self.first = first

    def __call__(self, x: int) -> int:
        if x >= self.first:
            (self.folder / f"{x}-{os.getpid()}").touch()
            time.sleep(self.seconds)
        else:
            (self.folder / f"passed{x}").touch()
        return x

    def passed(self) -> int:
        return len(list(self.folder.glob("passed*")))

    def pids(self) -> set[int]:
        return {int(each.name.partition("-")[2]) for each in self.folder.glob("*-*")}


def mapped(func: Any) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False)])


async def cancelled(runner: AsyncMap) -> float:
    """Cancel a map; give the seconds until it is over."""
    began = time.monotonic()
    runner.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await runner.task
    return time.monotonic() - began


async def begun(slow: Slow) -> None:
    await asyncio.to_thread(until, slow.pids)


@pytest.mark.parametrize("durable", [False, True])
async def test_workers_stop_within_a_second(durable, tmp_path):
    slow = Slow(tmp_path)
    runner = mapped(slow).map_async({"x": range(10)}, tmp_path / "run" if durable else None)
    await begun(slow)
    assert await cancelled(runner) < SOON
    assert not any(psutil.pid_exists(pid) for pid in slow.pids())
    assert runner.task.cancelled()
    assert runner.progress is not None
    assert runner.progress.state == "cancelled"
    with pytest.raises(asyncio.CancelledError):
        runner.result()


async def test_what_is_finished_is_kept_and_the_folder_is_free(tmp_path):
    slow = Slow(tmp_path, first=5)
    folder = tmp_path / "run"
    runner = mapped(slow).map_async({"x": range(10)}, folder)
    await begun(slow)
    await asyncio.to_thread(until, lambda: slow.passed() == 5)
    await asyncio.sleep(0.1)
    await cancelled(runner)
    assert load_outputs("y", run_folder=folder).compressed().tolist() == list(range(5))
    slow.seconds = 0
    results = (
        await mapped(slow).map_async({"x": range(10)}, folder, resume=True, resume_validation="skip").task
    )
    assert results["y"].output.tolist() == list(range(10))


async def test_a_function_that_is_called_once_is_stopped_too(tmp_path):
    slow = Slow(tmp_path)
    runner = Pipeline([PipeFunc(slow, "y")]).map_async({"x": 0})
    await begun(slow)
    assert await cancelled(runner) < SOON
    assert not any(psutil.pid_exists(pid) for pid in slow.pids())


async def test_cancelled_before_it_begins(tmp_path):
    slow = Slow(tmp_path)
    runner = mapped(slow).map_async({"x": range(10)})
    assert await cancelled(runner) < SOON
    assert not any(psutil.pid_exists(pid) for pid in slow.pids())
    await asyncio.to_thread(until, no_drivers)
    assert runner.progress is not None
    assert runner.progress.state == "cancelled"


def no_drivers() -> bool:
    return not any(each.name == "pipefunc_c-map" for each in threading.enumerate())


async def test_cancelled_by_a_timeout(tmp_path):
    runner = mapped(Slow(tmp_path)).map_async({"x": range(10)})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(runner.task, 0.5)
    assert runner.task.cancelled()


async def test_the_event_loop_goes_on_while_workers_are_stopped(tmp_path):
    slow = Slow(tmp_path)
    runner = mapped(slow).map_async({"x": range(10)})
    await begun(slow)
    late = []

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - began - 0.01)

    ticker = asyncio.create_task(tick())
    await cancelled(runner)
    ticker.cancel()
    assert max(late) < 0.3, late


async def test_threads_of_an_executor_stop_at_the_next_element():
    running = threading.Event()
    calls = []

    def short(x: int) -> int:
        running.set()
        calls.append(x)
        time.sleep(0.005)
        return x

    with ThreadPoolExecutor(2) as executor:
        runner = mapped(short).map_async({"x": range(100_000)}, executor=executor)
        await asyncio.to_thread(running.wait)
        assert await cancelled(runner) < SOON
        count = len(calls)
        await asyncio.sleep(0.1)
        assert len(calls) == count
        assert executor.submit(int, "5").result() == 5


async def test_without_workers_the_run_stops_at_the_next_element(monkeypatch):
    monkeypatch.setattr(map_run_module, "can_start_workers", lambda: False)
    running = threading.Event()

    def short(x: int) -> int:
        running.set()
        time.sleep(0.005)
        return x

    runner = mapped(short).map_async({"x": range(100_000)})
    await asyncio.to_thread(running.wait)
    assert await cancelled(runner) < SOON
    await asyncio.to_thread(until, no_drivers)


async def test_an_element_that_cannot_be_stopped_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(map_run_module, "can_start_workers", lambda: False)
    monkeypatch.setattr("pipefunc_c.map._runs.async_map.STOP_SECONDS", 0.2)
    running, go_on = threading.Event(), threading.Event()

    def stuck(x: int) -> None:
        running.set()
        go_on.wait(30)

    runner = mapped(stuck).map_async({"x": range(2)})
    await asyncio.to_thread(running.wait)
    assert await cancelled(runner) < 1
    go_on.set()
    await asyncio.to_thread(until, no_drivers)


def open_now() -> tuple[int, int, int]:
    gc.collect()
    tasks = len(os.listdir("/proc/self/task"))
    return len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True)), tasks


@pytest.mark.slow
@alone
def test_nothing_is_left_of_cancelled_maps(tmp_path):
    counts = []

    async def main(number: int) -> None:
        slow = Slow(tmp_path, first=3)
        runner = mapped(slow).map_async({"x": range(10)}, tmp_path / f"run{number}" if number % 2 else None)
        if number % 3:
            await begun(slow)
        runner.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await runner.task
        for each in tmp_path.glob("*-*"):
            each.unlink()

    for number in range(9):
        asyncio.run(main(number))
        until(no_drivers)
        counts.append(open_now())
    assert counts[-1] == counts[2], counts
    assert counts[-1][1] == 1, counts  # the server that starts workers


def fail_for_7(x: int) -> int:
    if x == 7:
        raise ValueError("seven")
    return x


@pytest.mark.slow
@alone
def test_nothing_is_left_of_many_maps_at_once(tmp_path):
    counts = []

    async def main(number: int) -> None:
        runners = [
            mapped(fail_for_7 if k % 3 == 0 else abs).map_async(
                {"x": range(10 + 1000 * (k % 2))}, tmp_path / f"{number}-{k}" if k == 4 else None
            )
            for k in range(8)
        ]
        await asyncio.sleep(0.01 * number)
        for k in (1, 2, 3):
            runners[k].task.cancel()
        results = await asyncio.gather(*(each.task for each in runners), return_exceptions=True)
        assert isinstance(results[0], ValueError)
        assert results[5]["y"].output.tolist() == list(range(1010))

    for number in range(8):
        asyncio.run(main(number))
        until(no_drivers)
        counts.append(open_now())
    assert counts[-1] == counts[2], counts
    assert counts[-1][1] == 1, counts


# -- the end of the program --------------------------------------------------------------------------


def run_and_leave(folder: Path, way: str) -> float:
    """Start a map in a loop that does not wait for it."""
    slow = Slow(folder)

    async def main() -> AsyncMap:
        runner = mapped(slow).map_async({"x": range(4)})
        await begun(slow)
        return runner

    if way == "asyncio.run":  # cancels what is left
        runner = asyncio.run(main())
        assert runner.task.cancelled()
        assert not any(psutil.pid_exists(pid) for pid in slow.pids())
    else:
        asyncio.new_event_loop().run_until_complete(main())
    return time.monotonic()


@pytest.mark.parametrize("way", ["asyncio.run", "an abandoned loop"])
def test_a_program_that_ends_takes_its_maps_with_it(way, tmp_path):
    with start(run_and_leave, tmp_path, way, env={"PYTHONWARNINGS": "ignore::ResourceWarning"}) as process:
        ended = process.value()
        assert time.monotonic() - ended < 5
        until(lambda: not members(process.pid))


def run_until_interrupted(folder: Path) -> str:
    slow = Slow(folder)

    async def main() -> None:
        await mapped(slow).map_async({"x": range(4)}).task

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        return "interrupted"
    return "completed"


def wait_until_interrupted(folder: Path) -> str:
    runner = mapped(Slow(folder)).map_async({"x": range(4)}, start=False)
    try:
        runner.result()
    except KeyboardInterrupt:
        return "interrupted"
    return "completed"


@pytest.mark.parametrize("function", [run_until_interrupted, wait_until_interrupted])
def test_an_interrupt_stops_the_workers(function, tmp_path):
    with start(function, tmp_path) as process:
        until(lambda: list(tmp_path.glob("*-*")), 20)
        time.sleep(0.1)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        assert process.value() == "interrupted"
        assert time.monotonic() - began < 5
        until(lambda: not members(process.pid))
