from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import json
import os
import time

import pytest

from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.exceptions import WorkerDiedError
from pipefunc_c.map._progress.heartbeat import HEARTBEAT_SECONDS, STALE_SECONDS, Heartbeat
from pipefunc_c.map._progress.progress import LiveProgress
from pipefunc_c.map._runs.map_run import MapRun, make_plan


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run_info.json").write_text("{}")
    return tmp_path


def read(folder):
    return json.loads((folder / "pipefunc_status.json").read_text())


# Each field of the file, by name.
FIELDS = {
    "run_folder",
    "status",
    "status_source",
    "all_complete",
    "progress_fraction",
    "n_outputs",
    "n_outputs_completed",
    "outputs",
    "functions",
    "active_outputs",
    "active_functions",
    "updated_at",
    "last_modified",
    "heartbeat_interval_seconds",
    "stale_after_seconds",
    "pipefunc_version",
}
OUTPUT_FIELDS = {
    "function_name",
    "progress",
    "complete",
    "n_total",
    "n_in_progress",
    "n_completed",
    "n_failed",
    "elapsed_time",
    "remaining_time",
}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_what_it_says(folder):
    clock = Clock()
    progress = LiveProgress([("y, z", 10), ("s", None)], [Heartbeat(folder)], clock=clock)
    progress.start()
    clock.now += 2
    progress.update(0, 4, 1, 2)
    status = read(folder)
    assert set(status) == FIELDS | {"pid"}
    assert status["run_folder"] == str(folder)
    assert (status["status"], status["status_source"], status["all_complete"]) == (
        "running",
        "heartbeat",
        False,
    )
    assert (status["n_outputs"], status["n_outputs_completed"]) == (3, 0)
    assert status["progress_fraction"] == 0.2  # two functions, 0.4 and nothing
    assert (status["heartbeat_interval_seconds"], status["stale_after_seconds"]) == (30, 60)
    assert status["outputs"]["y"] == status["outputs"]["z"]
    assert set(status["outputs"]["y"]) == OUTPUT_FIELDS
    expected = {"n_total": 10, "n_in_progress": 2, "n_completed": 3, "n_failed": 1, "elapsed_time": 2}
    assert status["outputs"]["y"].items() >= {**expected, "progress": 0.4, "remaining_time": 3}.items()
    assert status["outputs"]["s"].items() >= {"n_total": None, "progress": 0.0}.items()
    assert status["active_outputs"] == ["y", "z"]
    assert status["functions"] == ["s", "y, z"]
    progress.finish(error=False)


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"error": False}, "completed"),
        ({"error": True, "reason": ValueError("x is bad")}, "failed"),
        ({"error": True, "cancelled": True}, "cancelled"),
    ],
    ids=["completed", "failed", "cancelled"],
)
def test_the_last_state_is_written_at_once(folder, options, state):
    progress = LiveProgress([("y", 2)], [Heartbeat(folder)])
    progress.start()
    progress.update(0, 1, 0)
    progress.finish(**options)
    assert read(folder)["status"] == state
    assert read(folder).get("error") == ("ValueError: x is bad" if state == "failed" else None)
    assert [each.name for each in folder.iterdir() if "status" in each.name] == ["pipefunc_status.json"]


def test_a_folder_that_is_not_ours_is_not_written_to(tmp_path):
    progress = LiveProgress([("y", 2)], [Heartbeat(tmp_path)])
    progress.start()
    progress.update(0, 2, 0)
    progress.finish(error=True)
    assert list(tmp_path.iterdir()) == []


def test_it_is_written_once_a_second_at_most(folder):
    heartbeat = Heartbeat(folder)
    written = []
    draw = heartbeat.draw

    def counted(now):
        written.append(time.monotonic())
        draw(now)

    heartbeat.draw = counted
    progress = LiveProgress([(f"y{k}", 10**6) for k in range(50)], [heartbeat])
    progress.start()
    began, n = time.monotonic(), 0
    while time.monotonic() - began < 1.5:
        n += 1
        progress.update(n % 50, n // 50 + 1, 0)
    assert len(written) >= 2
    assert all(later - earlier > 0.99 for earlier, later in itertools.pairwise(written))
    progress.finish(error=False)


def test_it_beats_while_nothing_happens(folder, monkeypatch):
    assert (HEARTBEAT_SECONDS, STALE_SECONDS) == (30, 60)
    heartbeat = Heartbeat(folder)
    heartbeat.tick_seconds, heartbeat.interval = 0.02, 0.0
    progress = LiveProgress([("y", 10)], [heartbeat], background=True)
    progress.start()
    deadline, seen = time.monotonic() + 20, set()
    while len(seen) < 3 and time.monotonic() < deadline:
        if heartbeat.path.exists():
            seen.add(read(folder)["updated_at"])
    progress.finish(error=False)
    assert len(seen) >= 3


def test_a_disk_that_is_full_does_not_stop_the_run(folder, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipefunc_c.map._progress.heartbeat.replaced_file", full)
    progress = LiveProgress([("y", 10)], [Heartbeat(folder)])
    progress.start()
    with pytest.warns(RuntimeWarning, match="No space left"):
        progress.update(0, 1, 0)
    progress.update(0, 2, 0)
    progress.finish(error=False)


# -- in maps -----------------------------------------------------------------------------------------


@pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
def double(x):
    if x < 0:
        raise ValueError("negative")
    return 2 * x


async def mapped(folder, xs, **options):
    runner = Pipeline([double]).map_async({"x": xs}, run_folder=folder, **options)
    return await runner.task


def test_a_map_in_the_background_writes_it(tmp_path):
    asyncio.run(mapped(tmp_path / "run", range(10)))
    status = read(tmp_path / "run")
    assert (status["status"], status["all_complete"], status["progress_fraction"]) == ("completed", True, 1.0)
    assert status["outputs"]["y"].items() >= {"n_total": 10, "n_completed": 10, "n_failed": 0}.items()


def test_one_that_fails(tmp_path):
    with pytest.raises(ValueError, match="negative"):
        asyncio.run(mapped(tmp_path / "run", [1, -1, 2]))
    status = read(tmp_path / "run")
    assert status["status"] == "failed"
    assert "negative" in status["error"]


def crash(x):
    if x < 0:
        os._exit(3)
    return 2 * x


@pytest.mark.parametrize("xs", [[1, -1, 2], [1, 2, -1], [-1]], ids=["amidst", "last", "only"])
@pytest.mark.parametrize("where", ["workers", "executor"])
def test_the_element_at_which_a_map_stops_is_counted(tmp_path, where, xs):
    options = {} if where == "workers" else {"executor": concurrent.futures.ThreadPoolExecutor(1)}
    with pytest.raises(ValueError, match="negative"):
        asyncio.run(mapped(tmp_path / "run", xs, **options))
    status = read(tmp_path / "run")
    assert status["outputs"]["y"].items() >= {"n_total": len(xs), "n_failed": 1, "complete": False}.items()
    assert (status["status"], status["all_complete"], status["n_outputs_completed"]) == ("failed", False, 0)


def test_an_element_that_ends_its_workers_is_counted(tmp_path):
    async def main():
        pipeline = Pipeline([pipefunc("y", mapspec="x[i] -> y[i]")(crash)])
        await pipeline.map_async({"x": [-1]}, run_folder=tmp_path / "run").task

    with pytest.raises(WorkerDiedError):
        asyncio.run(main())
    assert read(tmp_path / "run")["outputs"]["y"].items() >= {"n_failed": 1, "complete": False}.items()


def test_without_workers_it_is_counted_too():
    plan = make_plan(Pipeline([double]), {"x": [1, -1, 2]}, parallel=False, show_progress="headless")
    run = MapRun(plan)
    with pytest.raises(ValueError, match="negative"):
        run.run()
    status = run.progress.progress_dict["y"]
    assert (status.n_completed, status.n_failed, status.n_raised, status.n_left) == (1, 1, 1, 1)


def test_errors_that_are_kept_are_counted(tmp_path):
    asyncio.run(mapped(tmp_path / "run", [1, -1, 2], error_handling="continue"))
    assert read(tmp_path / "run")["outputs"]["y"].items() >= {"n_completed": 2, "n_failed": 1}.items()


def test_one_that_is_cancelled(tmp_path):
    async def cancel():
        @pipefunc("y", mapspec="x[i] -> y[i]")
        def slow(x):
            time.sleep(0.05)
            return x

        runner = Pipeline([slow]).map_async({"x": range(1000)}, run_folder=tmp_path / "run")
        while not (tmp_path / "run" / "pipefunc_status.json").exists():
            await asyncio.sleep(0.01)
        runner.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await runner.task

    asyncio.run(cancel())
    assert read(tmp_path / "run")["status"] == "cancelled"


def test_none_is_written_if_no_progress_is_wanted(tmp_path):
    asyncio.run(mapped(tmp_path / "run", range(3), show_progress=False))
    assert not (tmp_path / "run" / "pipefunc_status.json").exists()


def test_an_exception_in_a_progress_callback_never_stops_a_run(tmp_path):
    async def main():
        runner = Pipeline([double]).map_async({"x": range(10)}, start=False)
        runner.progress.on_update(lambda progress: 1 / 0)
        return await runner.start().task

    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        results = asyncio.run(main())
    assert results["y"].output.tolist() == list(range(0, 20, 2))
