"""Many maps in the background, a limited number at once."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.helpers import gather_maps, launch_maps

if TYPE_CHECKING:
    from pipefunc_c.map import AsyncMap

pytestmark = pytest.mark.timeout(60)


def mapped(func: Any = lambda x: 2 * x) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False)])


def runners(count: int, func: Any = lambda x: 2 * x, **options: Any) -> list[AsyncMap]:
    return [mapped(func).map_async({"x": [k, k + 1]}, start=False, **options) for k in range(count)]


def outputs(results: Any) -> list[Any]:
    return [each["y"].output.tolist() for each in results]


class Intervals:
    """An element function that notes when it began and ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, x: int) -> int:
        began = time.monotonic()
        time.sleep(0.4)
        (self.folder / str(x)).write_text(f"{began} {time.monotonic()}")
        return x

    def most_at_once(self) -> int:
        times = [tuple(map(float, each.read_text().split())) for each in self.folder.iterdir()]
        return max(sum(begin <= moment < end for begin, end in times) for moment, _ in times)


async def test_results_come_in_the_order_of_the_maps():
    assert outputs(await gather_maps(*runners(5), max_concurrent=3)) == [[2 * k, 2 * k + 2] for k in range(5)]
    assert outputs(await gather_maps(*runners(1))) == [[0, 2]]


async def test_launch_gives_a_task_at_once():
    task = launch_maps(*runners(3), max_concurrent=2)
    assert isinstance(task, asyncio.Task)
    assert not task.done()
    assert outputs(await task) == [[0, 2], [2, 4], [4, 6]]


@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_no_more_maps_run_at_once_than_allowed(limit, tmp_path):
    intervals = Intervals(tmp_path)
    maps = [mapped(intervals).map_async({"x": [k]}, start=False) for k in range(4)]
    await gather_maps(*maps, max_concurrent=limit)
    assert intervals.most_at_once() <= limit
    assert limit == 1 or intervals.most_at_once() > 1


def fail_for_2(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    time.sleep(0.3)
    return x


async def test_an_error_comes_at_once_and_the_others_go_on():
    maps = [mapped(fail_for_2).map_async({"x": [k]}, start=False) for k in (0, 2, 4, 6)]
    with pytest.raises(ValueError, match="two"):
        await gather_maps(*maps, max_concurrent=2)
    assert not maps[0].task.done()
    while "pending" in repr(maps[3]):
        await asyncio.sleep(0.01)
    results = await asyncio.gather(*(maps[k].task for k in (0, 2, 3)))
    assert outputs(results) == [[0], [4], [6]]


async def test_cancelling_the_task_cancels_the_maps(tmp_path):
    def slow(x: int) -> None:
        (tmp_path / str(x)).touch()
        time.sleep(30)

    maps = [mapped(slow).map_async({"x": [k]}, start=False) for k in range(3)]
    task = launch_maps(*maps, max_concurrent=2)
    while len(list(tmp_path.iterdir())) < 2:
        await asyncio.sleep(0.01)
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 2
    assert maps[0].task.cancelled()
    assert maps[1].task.cancelled()


# -- bad input ---------------------------------------------------------------------------------------


def test_without_a_running_loop_no_coroutine_is_left():
    maps = runners(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match="event loop"):
            launch_maps(*maps)
        gc.collect()
    assert not caught
    # They were not claimed.
    assert outputs(asyncio.run(gather_maps(*maps))) == [[0, 2], [2, 4]]


BAD: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "none": (lambda: [], {}, InvalidValueError, "no maps"),
    "one list": (lambda: [runners(2)], {}, InvalidValueError, "star"),
    "one tuple": (lambda: [tuple(runners(2))], {}, InvalidValueError, "star"),
    "something else": (lambda: [1], {}, InvalidTypeError, "no map"),
    "a pipeline": (lambda: [*runners(1), mapped()], {}, InvalidTypeError, "no map"),
    "no place": (lambda: runners(1), {"max_concurrent": 0}, InvalidValueError, "max_concurrent"),
    "a part of a place": (lambda: runners(1), {"max_concurrent": 1.5}, InvalidValueError, "max_concurrent"),
    "a bool": (lambda: runners(1), {"max_concurrent": True}, InvalidValueError, "max_concurrent"),
    "negative tabs": (lambda: runners(1), {"max_completed_tabs": -1}, InvalidValueError, "completed"),
    "twice the same": (lambda: runners(1) * 2, {}, InvalidValueError, "twice"),
}


@pytest.mark.parametrize("launch", [gather_maps, launch_maps])
@pytest.mark.parametrize("case", BAD)
async def test_bad_input(launch, case):
    make, options, error, text = BAD[case]
    with pytest.raises(error) as caught:
        await launch(*make(), **options)
    assert text in str(caught.value)


@pytest.mark.parametrize("launch", [gather_maps, launch_maps])
async def test_equal_run_folders(launch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / "run", Path("run")]
    maps = [mapped().map_async({"x": [1]}, folder, start=False) for folder in folders]
    with pytest.raises(ValueError, match="run_folder"):
        await launch(*maps)
    assert not (tmp_path / "run").exists()
    assert outputs(await launch(maps[0])) == [[2]]  # refused ones are not claimed


@pytest.mark.parametrize("launch", [gather_maps, launch_maps])
async def test_maps_that_were_started(launch):
    fresh, started = runners(2)
    started.start()
    with pytest.raises(RuntimeError, match="started before"):
        await launch(fresh, started)
    await started.task
    assert outputs(await launch(fresh)) == [[0, 2]]
    with pytest.raises(RuntimeError, match="started before"):
        await launch(fresh)


async def test_maps_that_were_launched_but_did_not_begin_yet():
    maps = runners(2)
    task = launch_maps(*maps)
    with pytest.raises(RuntimeError, match="started before"):
        launch_maps(maps[1])
    assert outputs(await task) == [[0, 2], [2, 4]]


def test_outside_of_a_loop_gather_is_run_by_asyncio():
    assert outputs(asyncio.run(gather_maps(*runners(2), max_concurrent=2))) == [[0, 2], [2, 4]]


async def test_a_map_that_is_cancelled_alone_ends_the_wait():
    maps = [mapped(fail_for_2).map_async({"x": [k]}, start=False) for k in range(2)]
    task = launch_maps(*maps, max_concurrent=2)
    await asyncio.sleep(0.05)
    maps[0].task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outputs([await maps[1].task]) == [[1]]
