"""A run folder with every kind of result, and what must come back of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from kernels.values import identical

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.tags import MISSING
from pipefunc_c._storage.commits import CommittedRun, Committer
from pipefunc_c._storage.compaction import PERSISTED, replace_records
from pipefunc_c._storage.object_chunks import KeptError
from pipefunc_c._storage.packing import pack

if TYPE_CHECKING:
    from pathlib import Path

# Per stage its elements, one list per output. Errors are stored as exceptions in an "err" pair.
SIZE = 24


def element(stage: int, output: int, index: int, attempt: int = 0):
    """Give the value of an element; it depends on all that names it."""
    number = stage * 1000 + output * 100 + index + attempt / 2
    if (stage, output) == (0, 0):
        return number
    kinds = [
        lambda: number,
        lambda: {"at": number},
        lambda: complex(number, -1),
        lambda: np.array([number, 2.0]),
        lambda: None,
        lambda: int(number),
        lambda: np.float32(number),
        lambda: ("error", ValueError(str(number))),
    ]
    return kinds[index % len(kinds)]()


def is_error(value) -> bool:
    return isinstance(value, tuple) and value[0] == "error"


def new_columns(stage: int) -> list[Column]:
    return [Column(SIZE) for _ in range(1 + stage)]


def fill(columns: list[Column], stage: int, start: int, stop: int, attempt: int = 0) -> None:
    for output, column in enumerate(columns):
        if output == 1 and column.layout is None:
            column.fix_layout(np.float64, (2,))
        for index in range(start, stop):
            value = element(stage, output, index, attempt)
            if is_error(value):
                column.store_error(index, value[1], 3)
            else:
                column.store(index, value)


def write_run(folder: Path) -> dict[int, dict[int, int]]:
    """Commit two stages with two writers and a second attempt; give stage -> index -> attempt that wins."""
    winners: dict[int, dict[int, int]] = {0: {}, 1: {}}
    first, second = Committer(folder, "first"), Committer(folder, "second")
    sparse = np.array([[16, 17], [19, 21]])
    for stage, won in winners.items():
        columns = new_columns(stage)
        for committer, start, stop, runs, attempt in (
            (first, 0, 5, None, 0),
            (second, 5, 12, None, 0),
            (first, 14, 22, sparse, 0),
            (second, 3, 7, None, 1),
        ):
            fill(columns, stage, start, stop, attempt)
            committer.commit(stage, start, stop, attempt, columns, runs, origin_of=lambda n: f"text {n}")
            chosen = range(start, stop) if runs is None else [i for a, b in runs for i in range(a, b)]
            won.update(dict.fromkeys(chosen, attempt))
    first.close()
    second.close()
    return winners


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "commits").iterdir())}


def filled(values) -> Column:
    column = Column(len(values))
    for index, value in enumerate(values):
        column.store(index, value)
    return column


def persist_column(folder: Path | str, column: Column, *, sync: bool = False) -> None:
    """Write a column as the only stage of a folder, in place of what is there."""
    replace_records(folder, PERSISTED, [pack(column, 0, column.size)], sync=sync)


def restored(folder: Path) -> dict[int, tuple[list[Column], np.ndarray]]:
    run = CommittedRun(folder)
    found = {}
    for stage in (0, 1):
        columns = new_columns(stage)
        found[stage] = (columns, run.restore(stage, columns))
    return found


def matches(column: Column, index: int, value) -> bool:
    if is_error(value):
        kept = column.load_error(index)[0]
        assert isinstance(kept, KeptError)
        return (type(kept.error), str(kept.error), kept.origin) == (ValueError, str(value[1]), "text 3")
    return identical(column.load(index), value)


def assert_complete(folder: Path, winners: dict[int, dict[int, int]]) -> None:
    """Everything that was committed is there and right, and nothing else."""
    for stage, (columns, present) in restored(folder).items():
        assert np.flatnonzero(present).tolist() == sorted(winners[stage])
        for index, attempt in winners[stage].items():
            for output, column in enumerate(columns):
                assert matches(column, index, element(stage, output, index, attempt))


def assert_missing_or_right(folder: Path, winners: dict[int, dict[int, int]]) -> int:
    """Each element is missing or right, of an earlier attempt at worst; give how many are there."""
    found = 0
    for stage, (columns, present) in restored(folder).items():
        for index in range(SIZE):
            if not present[index]:
                continue
            found += 1
            attempts = range(winners[stage][index] + 1)
            assert any(
                all(
                    matches(column, index, element(stage, output, index, attempt))
                    for output, column in enumerate(columns)
                )
                for attempt in attempts
            )
        for column in columns:
            assert set(np.flatnonzero(column.tags != MISSING).tolist()) == set(
                np.flatnonzero(present).tolist()
            )
    return found
