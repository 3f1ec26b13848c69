from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels.values import identical
from storage.committed import (
    SIZE,
    assert_complete,
    assert_missing_or_right,
    element,
    files,
    fill,
    filled,
    matches,
    new_columns,
    persist_column,
    restored,
    write_run,
)

from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.commits import CommittedRun, Committer, restore
from pipefunc_c._storage.compaction import compact
from pipefunc_c.exceptions import OperationError, RunFolderWriteError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder)


@pytest.fixture(scope="module")
def compacted_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compacted")
    winners = write_run(folder)
    compact(folder)
    return folder, winners


# -- commit and restore --------------------------------------------------------------------------------


def test_everything_comes_back(run_folder):
    assert_complete(*run_folder)


def test_a_second_restore_over_the_first_changes_nothing(run_folder):
    folder, winners = run_folder
    for stage, (columns, _) in restored(folder).items():
        CommittedRun(folder).restore(stage, columns)
        for index, attempt in winners[stage].items():
            for output, column in enumerate(columns):
                assert matches(column, index, element(stage, output, index, attempt))


def test_what_a_run_has(run_folder):
    run = CommittedRun(run_folder[0])
    assert run.stages == [0, 1]
    assert run.next_attempt == 2
    assert len(run.records) == 8


def test_no_run_at_all(tmp_path):
    run = CommittedRun(tmp_path)
    assert (run.stages, run.next_attempt) == ([], 0)
    assert not run.restore(0, [Column(2)]).any()
    compact(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "columns", [[Column(SIZE)] * 3, [Column(SIZE - 5), Column(SIZE - 5)]], ids=["outputs", "size"]
)
def test_records_of_another_pipeline_do_not_count(run_folder, columns):
    present = CommittedRun(run_folder[0]).restore(1, columns)
    assert not present[14:].any()
    if len(columns) == 3:
        assert not present.any()


def test_an_element_counts_when_all_outputs_have_it(tmp_path):
    first, second = filled([1.5, 2.5]), Column(2)
    second.store(1, "a")
    Committer(tmp_path, "w").commit(0, 0, 2, 0, [first, second])
    assert restore(tmp_path, {0: [Column(2), Column(2)]})[0].tolist() == [False, True]


def test_nothing_makes_no_files(tmp_path):
    committer = Committer(tmp_path / "none", "w")
    committer.commit(0, 0, 1, 0, [filled([1.5])], np.empty((0, 2), np.int64))
    committer.close()
    assert not (tmp_path / "none").exists()
    with pytest.raises(OperationError, match="closed"):
        committer.commit(0, 0, 1, 0, [filled([1.5])])


def test_a_result_that_cannot_be_pickled_names_its_output_and_commits_nothing(tmp_path):
    column = filled([1.5, [sys._getframe()]])
    committer = Committer(tmp_path, "w")
    with pytest.raises(TypeError, match=r"'y' at element 1"):
        committer.commit(0, 0, 2, 0, [filled([1, 2]), column], outputs=["x", "y"])
    assert not restore(tmp_path, {0: [Column(2), Column(2)]})[0].any()


@given(
    commits=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 9)), max_size=8
    ),
    compacted=st.booleans(),
)
@settings(deadline=None)
def test_the_winner_is_the_same_whatever_the_order(tmp_path_factory, commits, compacted):
    folder = tmp_path_factory.mktemp("winners")
    committers = {name: Committer(folder, name) for name in "ab"}
    best: dict[int, tuple] = {}
    for number, (attempt, name, one, other) in enumerate(commits):
        start, stop = min(one, other), max(one, other) + 1
        column = Column(10)
        for index in range(start, stop):
            column.store(index, [number + 0.5, [number], number * 1j][index % 3])
        committers[name].commit(0, start, stop, attempt, [column])
        for index in range(start, stop):
            best[index] = max(best.get(index, (-1,)), (attempt, name, number))
    for committer in committers.values():
        committer.close()
    if compacted:
        compact(folder)
    column = Column(10)
    assert np.flatnonzero(restore(folder, {0: [column]})[0]).tolist() == sorted(best)
    for index, (*_, number) in best.items():
        assert identical(column.load(index), [number + 0.5, [number], number * 1j][index % 3])
    shutil.rmtree(folder)


# -- compaction ----------------------------------------------------------------------------------------


def test_compaction_keeps_everything_in_one_pair(tmp_path):
    winners = write_run(tmp_path)
    readers = restored(tmp_path)
    compact(tmp_path, sync=True)
    assert sorted(files(tmp_path)) == ["compacted.data", "compacted.ledger"]
    assert_complete(tmp_path, winners)
    assert [record.stage for record in CommittedRun(tmp_path).records] == [0, 1]
    for stage, (columns, _) in readers.items():  # objects are still read from the files that are gone
        for index, attempt in winners[stage].items():
            assert matches(columns[0], index, element(stage, 0, index, attempt))
    before = files(tmp_path)
    compact(tmp_path)
    assert files(tmp_path) == before


def test_compaction_after_a_resumed_run(tmp_path):
    winners = write_run(tmp_path)
    compact(tmp_path)
    columns = [filled([element(0, 0, index, 2) for index in range(SIZE)])]
    committer = Committer(tmp_path, "third")
    committer.commit(0, 20, 24, CommittedRun(tmp_path).next_attempt, columns)
    committer.close()
    winners[0].update(dict.fromkeys(range(20, 24), 2))
    assert_complete(tmp_path, winners)
    compact(tmp_path)
    assert len(files(tmp_path)) == 2
    assert_complete(tmp_path, winners)


def test_compaction_in_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("pipefunc_c._storage.compaction.BLOCK_BYTES", 24)
    monkeypatch.setattr("pipefunc_c._storage.pieces.BLOCK_BYTES", 24)
    winners = write_run(tmp_path)
    compact(tmp_path)
    assert_complete(tmp_path, winners)


def test_compaction_of_arrays_of_two_layouts(tmp_path):
    for name, shape in (("a", (2,)), ("b", (3,))):
        column = Column(4)
        column.fix_layout(np.float64, shape)
        start = 0 if name == "a" else 2
        for index in (start, start + 1):
            column.store(index, np.full(shape, index + 0.5))
        Committer(tmp_path, name).commit(0, start, start + 2, 0, [column])
    compact(tmp_path)
    assert len(files(tmp_path)) == 2
    assert len(CommittedRun(tmp_path).records) == 1
    column = Column(4)
    assert restore(tmp_path, {0: [column]})[0].all()
    for index in range(4):
        assert identical(column.load(index), np.full((2,) if index < 2 else (3,), index + 0.5))


def test_a_disk_that_is_full_at_the_compaction_changes_nothing(tmp_path, monkeypatch):
    winners = write_run(tmp_path)
    before = files(tmp_path)
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(RunFolderWriteError):
        compact(tmp_path)
    monkeypatch.undo()
    assert files(tmp_path) == before
    assert_complete(tmp_path, winners)


def test_ten_bytes_per_element(tmp_path):
    column = filled([0.5, 1] * 5000)
    committer = Committer(tmp_path, "w")
    for start in range(0, 10_000, 1000):
        committer.commit(0, start, start + 1000, 0, [column])
    committer.close()
    assert sum(map(len, files(tmp_path).values())) <= 10 * 10_000
    compact(tmp_path)
    assert sum(map(len, files(tmp_path).values())) <= 9 * 10_000 + 400


# -- persist -------------------------------------------------------------------------------------------


def test_a_persisted_column(tmp_path):
    for values in ([1.5, "a", None], [2.5, {"b": 1}, 3j]):
        persist_column(tmp_path, filled(values), sync=True)
        column = Column(3)
        assert restore(tmp_path, {0: [column]})[0].all()
        assert all(map(identical, column.objects().tolist(), values))
        assert len(files(tmp_path)) == 2


def test_persisting_what_cannot_be_pickled_keeps_what_was_there(tmp_path):
    persist_column(tmp_path, filled([1.5]))
    before = files(tmp_path)
    with pytest.raises(TypeError, match="element 0"):
        persist_column(tmp_path, filled([sys._getframe()]))
    assert files(tmp_path) == before


# -- damage --------------------------------------------------------------------------------------------

damage = st.tuples(
    st.integers(0, 99),
    st.sampled_from(["truncate", "flip", "garbage", "duplicate", "swap", "remove", "insert"]),
    st.floats(0, 1), st.floats(0, 1), st.integers(1, 300), st.binary(min_size=1, max_size=40),
)  # fmt: skip


def damaged(data: bytes, how: str, one: float, other: float, length: int, garbage: bytes) -> bytes:
    a, b = sorted((int(one * len(data)), int(other * len(data))))
    if how == "truncate":
        return data[:a]
    if how == "flip":
        if not data:
            return data
        at = min(a, len(data) - 1)
        return data[:at] + bytes([data[at] ^ (1 << length % 8)]) + data[at + 1 :]
    if how == "garbage":
        return data[:a] + garbage + data[a + len(garbage) :]
    if how == "insert":
        return data[:a] + garbage + data[a:]
    if how == "duplicate":
        return data[:b] + data[a : a + length] + data[b:]
    if how == "remove":
        return data[:a] + data[a + length :]
    length = min(length, b - a, len(data) - b)
    return data[:a] + data[b : b + length] + data[a + length : b] + data[a : a + length] + data[b + length :]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("which", ["run_folder", "compacted_folder"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wounds=st.lists(damage, min_size=1, max_size=3))
def test_damage_is_missing_or_right(request, tmp_path_factory, which, wounds):
    source, winners = request.getfixturevalue(which)
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(source / "commits", folder / "commits")
    paths = sorted((folder / "commits").iterdir())
    for number, *wound in wounds:
        path = paths[number % len(paths)]
        path.write_bytes(damaged(path.read_bytes(), *wound))
    found = assert_missing_or_right(folder, winners)
    compact(folder)
    assert assert_missing_or_right(folder, winners) == found
    shutil.rmtree(folder)


def test_a_torn_tail_loses_the_last_record_only(tmp_path):
    write_run(tmp_path)
    whole = len(CommittedRun(tmp_path).records)
    path = tmp_path / "commits" / "second.ledger"
    path.write_bytes(path.read_bytes()[:-1])
    assert len(CommittedRun(tmp_path).records) == whole - 1


@pytest.mark.parametrize("ending", ["data", "ledger"])
def test_a_lost_file_loses_its_elements_only(tmp_path, ending):
    winners = write_run(tmp_path)
    (tmp_path / "commits" / f"second.{ending}").unlink()
    assert 0 < assert_missing_or_right(tmp_path, winners) < 2 * len(winners[0])


def test_the_files_of_writers_in_each_others_place(tmp_path):
    winners = write_run(tmp_path)
    commits = tmp_path / "commits"
    for ending in ("data", "ledger"):
        (commits / f"first.{ending}").rename(commits / "x")
        (commits / f"second.{ending}").rename(commits / f"first.{ending}")
        (commits / "x").rename(commits / f"second.{ending}")
    assert assert_missing_or_right(tmp_path, winners) == 0


def test_objects_that_are_damaged_after_they_were_opened(tmp_path):
    column = Column(1)
    Committer(tmp_path, "w").commit(0, 0, 1, 0, [filled([["a"]])])
    restore(tmp_path, {0: [column]})
    path = tmp_path / "commits" / "w.data"
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(OperationError, match=r"w\.data.*damaged"):
        column.load(0)
    path.write_bytes(b"")
    with pytest.raises(OperationError, match=r"w\.data.*damaged"):
        column.load(0)


# -- kills ---------------------------------------------------------------------------------------------

RUNS = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from storage.committed import write_run
from pipefunc_c._storage.compaction import compact
write_run(Path({folder!r}))
compact(Path({folder!r}))
"""

PERSISTS = """
import sys
sys.path[:0] = {path!r}
from pipefunc_c._kernels.column import Column
from storage.committed import persist_column
for value in (["old", 1.5], ["new", 2.5]):
    column = Column(2)
    column.store(0, value[0])
    column.store(1, value[1])
    persist_column({folder!r}, column)
"""


def run_until_killed(program: str, fault: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {**os.environ, "PIPEFUNC_C_FAULT": fault}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def finish(folder: Path) -> None:
    """Commit whatever is missing, as a resumed run does."""
    attempt = CommittedRun(folder).next_attempt
    committer = Committer(folder, "resumed")
    for stage, (_, present) in restored(folder).items():
        for index in np.flatnonzero(~present).tolist():
            columns = new_columns(stage)
            fill(columns, stage, index, index + 1)
            committer.commit(stage, index, index + 1, attempt, columns, origin_of=lambda n: f"text {n}")
    committer.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "fault",
    [
        "before_data", "before_data:4", "after_data", "after_data:8", "mid_record", "mid_record:3",
        "mid_record:8", "mid_record:9", "after_record:2", "before_renames", "between_renames",
        "before_unlink", "mid_unlink",
    ],
)  # fmt: skip
def test_a_kill_loses_what_was_in_flight_only(tmp_path, run_folder, fault):
    winners = run_folder[1]
    run_until_killed(RUNS.format(path=sys.path, folder=str(tmp_path)), fault)
    found = assert_missing_or_right(tmp_path, winners)
    name, _, count = fault.partition(":")
    committing = name in ("before_data", "after_data", "mid_record", "after_record") and int(count or 1) <= 8
    everything = len(winners[0]) + len(winners[1])
    if not committing:
        assert_complete(tmp_path, winners)
    elif int(count or 1) == 1:
        assert found == 0
    else:
        assert 0 < found <= everything
    compact(tmp_path)
    assert assert_missing_or_right(tmp_path, winners) == found
    assert len(files(tmp_path)) <= 2
    finish(tmp_path)
    compact(tmp_path)
    assert all(present.all() for _, present in restored(tmp_path).values())


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param("mid_persist", None, id="first"),
        pytest.param("mid_persist:2", ["old", 1.5], id="before-the-rename"),
        pytest.param("between_renames:2", ["old", 1.5], id="between-the-renames"),
        pytest.param("before_unlink:2", ["new", 2.5], id="both-are-there"),
        pytest.param("mid_unlink", ["new", 2.5], id="half-removed"),
    ],
)
def test_a_kill_while_persisting_leaves_the_old_or_the_new(tmp_path, fault, expected):
    run_until_killed(PERSISTS.format(path=sys.path, folder=str(tmp_path)), fault)
    column = Column(2)
    restore(tmp_path, {0: [column]})
    assert column.objects().tolist() == (expected or [None, None])
    persist_column(tmp_path, filled([7, 8]))
    assert len(files(tmp_path)) == 2


KEEPS_COMMITTING = """
import sys
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.commits import Committer
column, committer = Column(100_000), Committer(sys.argv[1], "w")
for start in range(0, 100_000, 10):
    for index in range(start, start + 10):
        column.store(index, index + 0.5 if index % 7 else {"at": index})
    committer.commit(0, start, start + 10, 0, [column])
    print(start, flush=True)
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("wait", [0.0, 0.013, 0.1])
def test_a_kill_at_any_moment_keeps_what_was_reported(tmp_path, wait):
    command = [sys.executable, "-c", KEEPS_COMMITTING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        reported = max([0, *(int(line) for line in process.stdout.read().split("\n") if line.endswith("0"))])
    column = Column(100_000)
    present = restore(tmp_path, {0: [column]})[0]
    assert present[: min(reported, 10)].all()
    reached = int(present.sum())
    assert present[:reached].all()
    assert reached >= reported
    for index in range(reached):
        assert column.load(index) == (index + 0.5 if index % 7 else {"at": index})
