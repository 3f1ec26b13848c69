"""A run that is killed at any moment goes on where it stopped, and ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from map.alone import alone, members, start, until
from map.crash_runs import (
    INPUTS,
    Log,
    N,
    all_calls,
    committed,
    differing,
    in_child,
    make_pipeline,
    outputs_of,
)
from storage.committed import persist_column

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.commits import restore
from pipefunc_c.exceptions import RunFolderInUseError, RunFolderWriteError
from pipefunc_c.map import load_outputs
from pipefunc_c.map._run_folder.run_info import RunFolderNotFoundError

pytestmark = [pytest.mark.timeout(100), pytest.mark.slow]


class Crashes:
    """Crash runs in folders of their own, and check what a resumed run makes of what is left."""

    def __init__(self, path: Path, *, parallel: bool, seconds: float = 0.0) -> None:
        self.parallel, self.seconds = parallel, seconds
        self.log = Log(path / "calls")
        self.path = path
        self.pipeline = make_pipeline(self.log, seconds)
        self.expected = outputs_of(self.pipeline.map(INPUTS, parallel=False))
        self.log.take()

    def run(self, folder: Path, **options: Any) -> dict[str, Any]:
        options = {"parallel": self.parallel, "resume": True, **options}
        return outputs_of(self.pipeline.map(INPUTS, folder, **options))

    def crash(self, folder: Path, **how: Any) -> int:
        self.log.take()
        return in_child(lambda: self.run(folder), **how)

    def check(self, folder: Path) -> int:
        """Resume; give the number of elements that were there."""
        called, kept = set(self.log.take()), committed(folder)
        assert kept <= called
        if self.seconds:  # leases last some milliseconds: no more is lost than what was in flight
            assert sum(call.startswith("f ") for call in called - kept) < N / 2
        found = self.run(folder)
        assert not differing(found, self.expected)
        again = self.log.take()
        assert len(again) == len(set(again))
        assert set(again) == all_calls() - kept, (set(again) & kept, all_calls() - kept - set(again))
        assert len(list((folder / "commits").iterdir())) == 2
        assert not differing(self.run(folder), self.expected)
        assert self.log.take() == []
        return len(kept)


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@alone
def test_kills_at_random_moments(parallel, tmp_path):
    crashes = Crashes(tmp_path, parallel=parallel, seconds=0.001)
    crashes.run(tmp_path / "whole")
    whole = crashes.log.n_bytes()
    rng = random.Random(20)
    kept, killed = [], 0
    for number in range(20):
        folder = tmp_path / str(number)
        # Some of them where most happens: at the beginning and at the end.
        moment = rng.choice([0, 1]) if number % 3 == 0 else rng.random()
        at, later = moment * whole, rng.uniform(0, 0.003)
        code = crashes.crash(folder, kill_when=lambda at=at: crashes.log.n_bytes() >= at, kill_after=later)
        killed += code == -signal.SIGKILL
        kept.append(crashes.check(folder))
    assert killed >= 10
    assert sum(0 < each < len(all_calls()) for each in kept) >= 5, kept


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@alone
def test_a_run_that_is_killed_many_times_ends(parallel, tmp_path):
    crashes = Crashes(tmp_path, parallel=parallel, seconds=0.001)
    rng = random.Random(3)
    folder = tmp_path / "run"
    kept: set[str] = set()
    for _ in range(12):
        crashes.crash(folder, kill_after=rng.uniform(0.01, 0.06))
        assert not kept & set(crashes.log.take())
        assert kept <= committed(folder)
        kept = committed(folder)
    assert not differing(crashes.run(folder), crashes.expected)
    assert not kept & set(crashes.log.take())


IN_ALL = ["before_data", "after_data", "mid_record", "after_record"]
IN_DRIVER = ["before_run_info", "before_renames", "between_renames", "before_unlink", "mid_unlink"]


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@pytest.mark.parametrize("point", [*IN_ALL, *IN_DRIVER])
@alone
def test_kills_at_named_points(point, parallel, tmp_path):
    crashes = Crashes(tmp_path, parallel=parallel)
    for count in (1, 2, 3) if point in IN_ALL else (1,):
        folder = tmp_path / f"{count}"
        code = crashes.crash(folder, fault=f"{point}:{count}")
        # The driver outlives a worker, unless it comes to the point itself; the element then names the death.
        assert code in ([1, -signal.SIGKILL] if parallel and point in IN_ALL else [-signal.SIGKILL])
        kept = crashes.check(folder)
        assert kept if point in IN_DRIVER[1:] else kept < len(all_calls())


@alone
def test_a_kill_while_the_last_run_is_cleared(tmp_path):
    crashes = Crashes(tmp_path, parallel=False)
    for count in range(1, 5):
        folder = tmp_path / str(count)
        crashes.pipeline.map({"x": [7] * N, "w": [3, 4]}, folder, parallel=False)
        code = in_child(partial(crashes.run, folder, resume=False), fault=f"mid_clear:{count}")
        assert code == -signal.SIGKILL
        crashes.log.take()
        assert not differing(crashes.run(folder), crashes.expected)
        assert sorted(crashes.log.take()) == sorted(all_calls())


def column_of(values: list[Any]) -> Column:
    column = Column(len(values))
    for index, value in enumerate(values):
        column.store(index, value)
    return column


@pytest.mark.parametrize("point", ["mid_persist", "before_renames", "between_renames", "mid_unlink"])
@pytest.mark.parametrize("has_former", [False, True], ids=["first", "again"])
@alone
def test_a_kill_while_a_column_is_persisted(point, has_former, tmp_path):
    old, new = [1.0, {"a": 1}, None], [2.0, {"b": 2}, 2j]
    if has_former:
        persist_column(tmp_path, column_of(old))
    code = in_child(lambda: persist_column(tmp_path, column_of(new)), fault=point)
    assert code == (0 if point == "mid_unlink" and not has_former else -signal.SIGKILL)
    other = Column(3)
    present = restore(tmp_path, {0: [other]})[0].tolist()
    assert present in ([True] * 3, [has_former] * 3)
    if all(present):
        found = [other.load(index) for index in range(3)]
        assert found in (old, new)
        assert found == new or point in ("mid_persist", "before_renames", "between_renames")
    persist_column(tmp_path, column_of(new))
    other = Column(3)
    restore(tmp_path, {0: [other]})
    assert [other.load(index) for index in range(3)] == new
    assert len(list((tmp_path / "commits").iterdir())) == 2


# -- others in the same folder -----------------------------------------------------------------------


def slow(x: int) -> float:
    time.sleep(0.01)
    return x * 0.5


def slow_pipeline() -> Pipeline:
    return Pipeline([PipeFunc(slow, "y", mapspec="x[i] -> y[i]")])


def run_slowly(folder: str, parallel: bool, n: int) -> None:
    slow_pipeline().map({"x": range(n)}, folder, parallel=parallel)


def seen(folder: Path) -> np.ma.MaskedArray | None:
    try:
        return load_outputs("y", run_folder=folder)
    except RunFolderNotFoundError:
        return None


def count(folder: Path) -> int:
    y = seen(folder)
    return 0 if y is None else y.count()


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
def test_another_process_sees_what_is_committed_so_far(parallel, tmp_path):
    n, counts = 150, []
    with start(run_slowly, str(tmp_path / "run"), parallel, n) as process:
        while not process.is_done():
            y = seen(tmp_path / "run")
            if y is None:
                continue
            there = np.flatnonzero(~np.ma.getmaskarray(y))
            assert y.shape == (n,)
            assert [y[k] for k in there] == [0.5 * k for k in there]
            counts.append(len(there))
            time.sleep(0.01)
        process.value()
    assert counts == sorted(counts)
    assert len(set(counts) - {0, n}) > 4, counts
    assert seen(tmp_path / "run").tolist() == [0.5 * k for k in range(n)]


@pytest.mark.parametrize("resume", [False, True], ids=["start over", "resume"])
@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
def test_a_second_driver_is_refused(parallel, resume, tmp_path):
    folder = tmp_path / "run"
    with start(run_slowly, str(folder), parallel, 200) as process:
        until(lambda: count(folder))
        before = count(folder)
        with pytest.raises(RunFolderInUseError, match=rf"{process.pid}\b") as caught:
            slow_pipeline().map({"x": range(200)}, folder, parallel=False, resume=resume)
        assert str(folder) in str(caught.value)
        assert count(folder) >= before
        assert not process.is_done()
        # Only the driver: its workers notice, and give the folder free as well.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: not members(process.pid), 2)
    kept = count(folder)
    began = time.monotonic()
    y = slow_pipeline().map({"x": range(kept)} if not resume else {"x": range(200)}, folder, resume=resume)[
        "y"
    ]
    assert y.output.tolist() == [0.5 * k for k in range(200 if resume else kept)]
    assert not resume or time.monotonic() - began < 0.01 * (200 - kept) + 1


@alone
def test_files_of_others_stay_as_they_are(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for parallel, resume in itertools.product([False, True], [False, True]):
        with pytest.raises(ValueError, match="thesis"):
            slow_pipeline().map({"x": range(3)}, tmp_path, parallel=parallel, resume=resume)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
            ("thesis.tex", "years of work")
        ]


@alone
def test_a_moved_folder_loads_and_resumes(tmp_path):
    crashes = Crashes(tmp_path, parallel=True, seconds=0.001)
    crashes.crash(tmp_path / "here", fault="after_record:5")
    kept = committed(tmp_path / "here")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "here").rename(tmp_path / "elsewhere" / "there")
    assert committed(moved) == kept
    assert crashes.check(moved) == len(kept) > 0
    assert not (tmp_path / "here").exists()


# -- a full disk -------------------------------------------------------------------------------------

CLONE_NEWNS = 0x20000
MS_PRIVATE_RECURSIVE = 1 << 18 | 1 << 14
MS_REMOUNT = 32


def mount_small_disk(folder: Path, size: str) -> bool:
    """Mount a file system in memory that only this process sees, and that ends with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    return not (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, MS_PRIVATE_RECURSIVE, None)
        or libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={size}".encode())
    )


def run_on_small_disk(parallel: bool, at_end: bool, folder: str) -> bool:
    """Fill a disk while elements run, or when they are rewritten as one pair of files."""
    disk, log = Path(folder, "disk"), Log(Path(folder, "calls"))
    disk.mkdir()
    if not mount_small_disk(disk, "3M" if at_end else "2M"):
        return False

    def big(x):
        log.add(x)
        time.sleep(0.0005)
        return np.full(500, float(x)), bytes([x % 251]) * 1000

    pipeline = Pipeline([PipeFunc(big, ("a", "b"), mapspec="x[i] -> a[i], b[i]")])
    n, run = 400, disk / "run"  # 2 MB
    (disk / "ballast").write_bytes(bytes(600_000))
    for _ in range(3):
        with pytest.raises(RunFolderWriteError, match=r"(?s)No space left on device.*resume=True") as caught:
            pipeline.map({"x": range(n)}, run, parallel=parallel, resume=True)
        assert str(run) in str(caught.value)
    a, b = load_outputs("a", "b", run_folder=run)
    there = [k for k in range(n) if not np.ma.getmaskarray(b)[k]]
    assert len(there) == n if at_end else 100 < len(there) < n
    assert all(a[k].tolist() == [float(k)] * 500 and b[k] == bytes([k % 251]) * 1000 for k in there)
    assert ctypes.CDLL(None).mount(b"none", str(disk).encode(), None, MS_REMOUNT, b"size=16M") == 0
    log.take()
    results = pipeline.map({"x": range(n)}, run, parallel=parallel, resume=True)
    assert sorted(map(int, log.take())) == sorted(set(range(n)) - set(there))
    assert all(each.tolist() == [float(k)] * 500 for k, each in enumerate(results["a"].output))
    assert results["b"].output.tolist() == [bytes([k % 251]) * 1000 for k in range(n)]
    assert len(list((run / "commits").iterdir())) == 2
    return True


@pytest.mark.parametrize("at_end", [False, True], ids=["while it runs", "at the end"])
@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
def test_a_full_disk(parallel, at_end, leave_out, tmp_path):
    with start(run_on_small_disk, parallel, at_end, str(tmp_path)) as process:
        if not process.value(40):
            leave_out("a file system cannot be mounted by this user")


def run_on_a_full_disk(folder: str) -> bool:
    """Write the lock, and a storage of another package, where there is no room."""
    disk = Path(folder, "disk")
    disk.mkdir()
    if not mount_small_disk(disk, "1M"):
        return False
    pipeline = Pipeline([PipeFunc(lambda x: bytes([x]) * 20_000, "a", mapspec="x[i] -> a[i]")])
    inputs, options = {"x": range(100)}, {"parallel": False, "storage": "zarr_file_array"}
    with pytest.raises(
        RunFolderWriteError, match=r"(?s)No space left on device.*free there.*make room"
    ) as caught:
        pipeline.map(inputs, disk / "run", **options)
    assert "of 'a' were written" in caught.value.__notes__[0]
    with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1000))
    with pytest.raises(RunFolderWriteError, match=r"(?s)driver.lock.*No space left on device.*make room"):
        pipeline.map(inputs, disk / "other", **options)
    return True


def test_no_room_for_the_lock_nor_in_a_storage_of_another_package(leave_out, tmp_path):
    with start(run_on_a_full_disk, str(tmp_path)) as process:
        if not process.value(40):
            leave_out("a file system cannot be mounted by this user")
