from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from map.alone import start, until

from pipefunc_c import Pipeline, pipefunc
from pipefunc_c._storage.run_lock import RunLock, holder_of, is_held
from pipefunc_c.exceptions import InvalidValueError
from pipefunc_c.map._progress.run_status import list_runs, read_status

STATUS_FILE = "pipefunc_status.json"


@pipefunc(("y", "half"), mapspec="x[i] -> y[i], half[i]", print_error=False)
def double(x):
    if x < 0:
        raise ValueError("negative")
    return 2 * x, x / 2


@pipefunc("total")
def total(y):
    return len(y)


def run(folder, xs=range(10), functions=(double, total), **options):
    return Pipeline(functions).map({"x": xs}, run_folder=folder, parallel=False, **options)


def run_in_background(folder, xs=range(10), functions=(double, total), **options):
    async def main():
        return await Pipeline(functions).map_async({"x": xs}, run_folder=folder, **options).task

    return asyncio.run(main())


def counts(status, name):
    output = status["outputs"][name]
    return output["n_total"], output["n_completed"], output["n_failed"], output["complete"]


class TestLedgers:
    def test_a_run_that_is_done(self, tmp_path):
        run(tmp_path / "run")
        status = read_status(tmp_path / "run")
        assert (status["status"], status["status_source"]) == ("completed", "ledger")
        assert counts(status, "y") == counts(status, "half") == (10, 10, 0, True)
        assert counts(status, "total") == (1, 1, 0, True)
        assert (status["all_complete"], status["progress_fraction"]) == (True, 1.0)
        assert "error" not in status

    def test_the_same_fields_as_a_heartbeat(self, tmp_path):
        run_in_background(tmp_path / "run")
        beat = read_status(tmp_path / "run")
        (tmp_path / "run" / STATUS_FILE).unlink()
        counted = read_status(tmp_path / "run")
        assert beat["status_source"] == "heartbeat"
        assert counted.keys() == beat.keys() - {"pid"}
        assert counted["outputs"]["y"].keys() == beat["outputs"]["y"].keys()
        for name in ("y", "half", "total"):
            assert counts(counted, name) == counts(beat, name)
            assert counted["outputs"][name]["function_name"] == beat["outputs"][name]["function_name"]

    def test_one_that_failed(self, tmp_path):
        with pytest.raises(ValueError, match="negative"):
            run(tmp_path / "run", [1, 2, -1, 4])
        status = read_status(tmp_path / "run")
        assert status["status"] == "failed"
        assert "resume=True" in status["error"]
        assert counts(status, "y") == (4, 2, 0, False)
        assert status["progress_fraction"] == 0.25  # half of one function, nothing of the other
        assert status["active_outputs"] == []

    def test_errors_that_are_kept(self, tmp_path):
        run(tmp_path / "run", [1, -1, 2], error_handling="continue")
        assert counts(read_status(tmp_path / "run"), "y") == (3, 2, 1, True)

    def test_fixed_indices_ask_for_a_part(self, tmp_path):
        fixed = {"fixed_indices": {"i": slice(1, None, 3)}}
        run_in_background(tmp_path / "run", functions=[double], **fixed)
        beat = read_status(tmp_path / "run")
        (tmp_path / "run" / STATUS_FILE).unlink()
        status = read_status(tmp_path / "run")
        assert (beat["status_source"], status["status_source"]) == ("heartbeat", "ledger")
        for each in (beat, status):
            assert (each["status"], each["all_complete"]) == ("completed", True)
            assert (each["progress_fraction"], each["n_outputs_completed"]) == (1.0, 2)
            assert counts(each, "y") == (3, 3, 0, True)

    def test_another_map_asks_for_another_part(self, tmp_path):
        def counted(xs=range(10), **options):
            Pipeline([double]).map({"x": xs}, run_folder=tmp_path / "run", parallel=False, **options)
            return counts(read_status(tmp_path / "run"), "y")

        assert counted(fixed_indices={"i": 2}) == (1, 1, 0, True)
        assert counted(fixed_indices={"i": slice(1, 4)}, resume=True) == (3, 3, 0, True)
        assert counted(resume=True) == (10, 10, 0, True)
        assert counted(fixed_indices={"i": np.int64(-1)}, resume=True) == (1, 1, 0, True)

    def test_a_part_that_failed(self, tmp_path):
        with pytest.raises(ValueError, match="negative"):
            run(tmp_path / "run", [1, 2, -1, 4, 5], functions=[double], fixed_indices={"i": slice(1, 4)})
        status = read_status(tmp_path / "run")
        assert (status["status"], status["all_complete"]) == ("failed", False)
        assert counts(status, "y") == (3, 1, 0, False)

    def test_no_elements(self, tmp_path):
        Pipeline([double]).map({"x": []}, run_folder=tmp_path / "run")
        status = read_status(tmp_path / "run")
        assert (status["status"], counts(status, "y")) == ("completed", (0, 0, 0, True))

    def test_a_size_that_is_not_known_yet(self, tmp_path):
        @pipefunc("n", mapspec="... -> n[i]", internal_shape=("?",), print_error=False)
        def numbers():
            raise LookupError

        pipeline = Pipeline([numbers, pipefunc("y", mapspec="n[i] -> y[i]")(lambda n: n)])
        with pytest.raises(LookupError):
            pipeline.map({}, run_folder=tmp_path / "run", parallel=False)
        assert counts(read_status(tmp_path / "run"), "y") == (None, 0, 0, False)

    def test_large_runs_are_counted_fast(self, tmp_path):
        pipeline = Pipeline([pipefunc("y", mapspec="x[i] -> y[i]")(abs)])
        pipeline.map({"x": np.arange(1_000_000)}, run_folder=tmp_path / "run", parallel=False)
        began = time.thread_time()
        assert counts(read_status(tmp_path / "run"), "y") == (1_000_000, 1_000_000, 0, True)
        assert time.thread_time() - began < 0.5

    def test_damaged_ledgers_count_for_nothing(self, tmp_path):
        run(tmp_path / "run")
        for path in (tmp_path / "run" / "commits").iterdir():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert read_status(tmp_path / "run")["status"] in ("completed", "failed")
        shutil.rmtree(tmp_path / "run" / "commits")
        status = read_status(tmp_path / "run")
        assert (status["status"], counts(status, "y")) == ("failed", (10, 0, 0, False))


def run_slowly(folder):
    @pipefunc("y", mapspec="x[i] -> y[i]")
    def slow(x):
        time.sleep(0.01)
        return x

    Pipeline([slow]).map({"x": range(100_000)}, run_folder=folder)


def run_slowly_in_background(folder):
    @pipefunc("y", mapspec="x[i] -> y[i]")
    def slow(x):
        time.sleep(0.01)
        return x

    async def main():
        await Pipeline([slow]).map_async({"x": range(100_000)}, run_folder=folder).task

    asyncio.run(main())


@pytest.mark.slow
class TestRunning:
    def test_while_it_runs_and_after_a_kill(self, tmp_path):
        folder = tmp_path / "run"
        with start(run_slowly, folder) as process:
            until((folder / "run_info.json").exists)
            status = until(lambda: (s := read_status(folder))["outputs"]["y"]["n_completed"] > 0 and s)
            assert (status["status"], status["status_source"]) == ("running", "ledger")
            assert 0 < status["progress_fraction"] < 1
            assert status["active_outputs"] == ["y"]
            assert status["outputs"]["y"]["elapsed_time"] > 0
            assert status["outputs"]["y"]["remaining_time"] > 0
            process.kill_all()
        status = until(lambda: (s := read_status(folder))["status"] != "running" and s)
        assert (status["status"], status["active_outputs"]) == ("failed", [])

    def test_with_a_heartbeat(self, tmp_path):
        folder = tmp_path / "run"
        with start(run_slowly_in_background, folder) as process:
            until((folder / STATUS_FILE).exists)
            status = read_status(folder)
            assert (status["status"], status["status_source"]) == ("running", "heartbeat")
            assert status["outputs"]["y"]["n_in_progress"] > 0

            # Cut in half, it is no reason to know nothing, and the run writes it anew.
            text = (folder / STATUS_FILE).read_text()
            (folder / STATUS_FILE).write_text(text[: len(text) // 2])
            status = read_status(folder)
            assert (status["status"], status["status_source"]) == ("running", "ledger")
            until(lambda: read_status(folder)["status_source"] == "heartbeat")
            json.loads((folder / STATUS_FILE).read_text())

            process.kill_all()
        status = until(lambda: (s := read_status(folder))["status"] != "running" and s)
        assert (status["status"], status["status_source"]) == ("failed", "ledger")

    def test_an_interrupted_run(self, tmp_path):
        folder = tmp_path / "run"
        with start(run_slowly_in_background, folder) as process:
            until((folder / STATUS_FILE).exists)
            os.kill(process.pid, signal.SIGINT)
            process.wait()
        assert read_status(folder)["status"] == "cancelled"


class TestHeartbeat:
    @pytest.fixture
    def folder(self, tmp_path):
        run_in_background(tmp_path / "run")
        return tmp_path / "run"

    def change(self, folder, **fields):
        path = folder / STATUS_FILE
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def source(self, folder):
        return read_status(folder)["status_source"]

    def test_it_is_believed(self, folder):
        assert self.source(folder) == "heartbeat"

    @pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
    def test_a_status_file_cut_in_half_is_rebuilt(self, folder, keep):
        text = (folder / STATUS_FILE).read_text()
        (folder / STATUS_FILE).write_text(text[: int(keep * len(text))])
        status = read_status(folder)
        assert (status["status"], status["status_source"]) == ("completed", "ledger")
        assert counts(status, "y") == (10, 10, 0, True)

    @pytest.mark.parametrize(
        "text",
        [
            "[]",
            "null",
            "{}",
            '{"status": "fine"}',
            '{"status": "completed", "outputs": [1]}',
            "\x00\xff",
            "[" * 9999,
        ],
        ids=["list", "null", "empty", "state", "outputs", "bytes", "deep"],
    )
    def test_other_content_is_not_believed(self, folder, text):
        (folder / STATUS_FILE).write_text(text)
        assert self.source(folder) == "ledger"

    def test_of_a_driver_that_is_gone(self, folder):
        self.change(folder, status="running", updated_at=datetime.now(UTC).isoformat())
        status = read_status(folder)
        assert (status["status"], status["status_source"]) == ("completed", "ledger")

    def test_of_a_driver_that_runs(self, folder):
        self.change(folder, status="running", updated_at=datetime.now(UTC).isoformat(), pid=os.getpid())
        with RunLock(folder):
            assert read_status(folder)["status_source"] == "heartbeat"

    def test_a_stale_one(self, folder):
        old = (datetime.now(UTC) - timedelta(seconds=61)).isoformat()
        self.change(folder, status="running", updated_at=old, pid=os.getpid())
        with RunLock(folder):
            status = read_status(folder)
        assert (status["status"], status["status_source"]) == ("running", "ledger")

    def test_of_another_driver(self, folder):
        self.change(folder, status="running", updated_at=datetime.now(UTC).isoformat(), pid=1)
        with RunLock(folder):
            assert self.source(folder) == "ledger"

    def test_a_later_map_without_one(self, folder):
        os.utime(folder / STATUS_FILE, (1, 1))
        run(folder, resume=True)
        assert self.source(folder) == "ledger"

    def test_of_a_folder_that_was_moved(self, folder):
        folder.rename(folder.parent / "moved")
        status = read_status(folder.parent / "moved")
        assert status["run_folder"] == str(folder.parent / "moved")


def test_run_info_is_added(tmp_path):
    run(tmp_path / "run")
    status = read_status(tmp_path / "run", include_run_info=True)
    assert status["run_info"]["all_output_names"] == ["half", "total", "y"]
    json.dumps(status)


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run"):
        read_status(tmp_path)


class TestListRuns:
    def test_the_last_that_changed_comes_first(self, tmp_path):
        for k, name in enumerate(["b", "a", "c"]):
            run(tmp_path / name)
            for path in (tmp_path / name).rglob("*"):
                os.utime(path, (1e9 + k, 1e9 + k))
        (tmp_path / "other").mkdir()
        (tmp_path / "file").write_text("")
        assert [os.path.basename(each["run_folder"]) for each in list_runs(tmp_path)] == ["c", "a", "b"]
        assert [os.path.basename(each["run_folder"]) for each in list_runs(tmp_path, 2)] == ["c", "a"]
        assert list_runs(tmp_path, 0) == []

    def test_one_that_cannot_be_read_does_not_hide_the_others(self, tmp_path):
        run(tmp_path / "good")
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "run_info.json").write_text("{")
        found = {os.path.basename(each["run_folder"]): each["status"] for each in list_runs(tmp_path)}
        assert found == {"good": "completed", "bad": "unreadable"}

    def test_no_folder(self, tmp_path):
        with pytest.raises(InvalidValueError, match="is no folder"):
            list_runs(tmp_path / "nothing")
        with pytest.raises(InvalidValueError, match="-1"):
            list_runs(tmp_path, -1)


class TestLock:
    def test_held_or_not(self, tmp_path):
        assert not is_held(tmp_path)
        for portable in (False, True):
            with RunLock(tmp_path, portable=portable):
                assert is_held(tmp_path)
                assert is_held(tmp_path)
                assert holder_of(tmp_path)["pid"] == os.getpid()
            assert not is_held(tmp_path)
            assert holder_of(tmp_path)["pid"] == os.getpid()

    def test_to_look_changes_nothing(self, tmp_path):
        RunLock(tmp_path).acquire().release()
        before = [(each.name, each.stat().st_mtime_ns) for each in tmp_path.iterdir()]
        is_held(tmp_path)
        assert [(each.name, each.stat().st_mtime_ns) for each in tmp_path.iterdir()] == before
