"""What a run in workers sends, pickles and writes: much less than one thing per element."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from map.alone import PORTABLE, alone, start, until

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.map._processes.messages import LEASE
from pipefunc_c.parallel._channel import Channel

pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]
counts_in_workers = pytest.mark.skipif(PORTABLE, reason="only forked workers inherit the means to count")


class Traffic:
    """Counts the messages of this process and the pickles of it and its workers, from now on."""

    def __init__(self, path: Path) -> None:
        self.sent: list[tuple[int, int]] = []
        self._pickles = path / "pickles"
        self._pickles.touch()
        self._send, self._pid = Channel.send, os.getpid()
        Channel.send = lambda channel, *parts: self._count(channel, parts)
        for name in ("dumps", "loads"):
            self._count_pickles(name, getattr(pickle, name))

    def _count(self, channel: Channel, parts: Any) -> None:
        if os.getpid() == self._pid:
            self.sent.append((parts[0][0], sum(memoryview(part).nbytes for part in parts)))
        self._send(channel, *parts)

    def _count_pickles(self, name: str, whole: Any) -> None:
        descriptor = os.open(self._pickles, os.O_WRONLY | os.O_APPEND)

        def counted(*args, **kwargs):
            os.write(descriptor, b"d" if os.getpid() == self._pid else b"w")
            return whole(*args, **kwargs)

        setattr(pickle, name, counted)

    def take(self) -> tuple[list[int], int, int, int]:
        """Give the sizes of the leases, the bytes of all else, and the pickles of driver and workers."""
        leases = [size for kind, size in self.sent if kind == LEASE]
        others = sum(size for kind, size in self.sent if kind != LEASE)
        made = self._pickles.read_text()
        self._pickles.write_text("")
        self.sent.clear()
        return leases, others, made.count("d"), made.count("w")


def double(x: int) -> int:
    return 2 * x


def with_constant(x: int, constant: bytes) -> int:
    return x + len(constant)


def mapped(func: Any, output: Any = "y", mapspec: str = "x[i] -> y[i]") -> Pipeline:
    return Pipeline([PipeFunc(func, output, mapspec=mapspec, print_error=False)])


@alone
def test_a_lease_has_tens_of_bytes_whatever_the_sweep(tmp_path):
    traffic = Traffic(tmp_path)
    sizes = set()
    for n, constant in ((1_000, 1_000), (1_000, 10_000_000), (1_000_000, 1_000), (1_000_000, 10_000_000)):
        results = mapped(with_constant).map({"x": range(n), "constant": bytes(constant)})
        assert results["y"].array[[0, n // 2, n - 1]].tolist() == [k + constant for k in (0, n // 2, n - 1)]
        leases, others, *_ = traffic.take()
        assert len(leases) >= 2
        assert others < 10_000
        sizes.update(leases)
    assert len(sizes) == 1
    assert max(sizes) <= 200


@alone
def test_a_lease_of_a_part_of_many_elements(tmp_path):
    traffic = Traffic(tmp_path)
    sizes = set()
    for n in (1_000, 300_000):
        fixed = {"i": slice(None, None, 3)}
        results = mapped(double).map({"x": range(n)}, fixed_indices=fixed)
        assert results["y"].array.count() == -(-n // 3)
        leases, others, *_ = traffic.take()
        sizes.update(leases)
        assert others < 10_000
    assert len(sizes) == 1
    assert max(sizes) <= 200


@counts_in_workers
@pytest.mark.parametrize("storage", ["array", "file_array"])
@alone
def test_the_number_of_pickles_is_that_of_the_run_not_of_its_elements(storage, tmp_path):
    traffic = Traffic(tmp_path)
    counts = {}
    for n in (1_000, 1_000_000):
        folder = tmp_path / str(n) if storage == "file_array" else None
        mapped(double).map({"x": range(n)}, folder, storage=storage)
        leases, _, in_driver, in_workers = traffic.take()
        counts[n] = in_driver, in_workers
        assert len(leases) < 1_000
    assert counts[1_000_000][0] <= counts[1_000][0] + 2
    assert counts[1_000_000][1] <= counts[1_000][1] + 4
    assert sum(counts[1_000_000]) < 40


@counts_in_workers
@alone
def test_objects_are_pickled_by_the_lease(tmp_path):
    traffic = Traffic(tmp_path)
    results = mapped(lambda x: {"x": x}).map({"x": range(100_000)})
    leases, _, in_driver, in_workers = traffic.take()
    assert in_driver <= 3 * len(leases) + 20
    assert len(leases) <= in_workers <= 6 * len(leases) + 20
    assert len(leases) < 2_000
    assert results["y"].store.get_from_index(99_999) == {"x": 99_999}


# -- files -------------------------------------------------------------------------------------------


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "commits").iterdir()) if folder.exists() else []


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def wait_in_last(folder: str, parallel: bool) -> None:
    def func(x):
        if x >= 198:
            until(Path(folder, "go").exists)
        time.sleep(0.001)
        return float(x), {"x": x}

    mapped(func, ("y", "d"), "x[i] -> y[i], d[i]").map(
        {"x": range(200)}, Path(folder, "run"), parallel=parallel
    )


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
def test_each_writer_has_one_pair_of_files_and_the_end_leaves_one(parallel, tmp_path):
    writers = 2 if parallel else 1
    folder = tmp_path / "run"
    with start(wait_in_last, str(tmp_path), parallel) as process:
        until(lambda: (folder / "commits").exists() and len(files_of(folder)) == 2 * writers)
        time.sleep(0.3)
        names = files_of(folder)
        assert len(names) == 2 * writers
        assert len({Path(name).stem for name in names}) == writers
        (tmp_path / "go").touch()
        process.value()
    assert files_of(folder) == ["compacted.data", "compacted.ledger"]


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@alone
def test_files_and_bytes_per_element(parallel, tmp_path):
    counts = []
    for n in (10, 1_000, 1_000_000):
        folder = tmp_path / str(n)
        mapped(lambda x: x * 0.5).map({"x": range(n)}, folder, parallel=parallel)
        counts.append(sum(path.is_file() for path in folder.rglob("*")))
    assert len(set(counts)) == 1, counts
    assert counts[0] <= 7
    assert bytes_of(folder) <= 10 * n


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@alone
def test_bytes_while_it_runs(parallel, tmp_path):
    """Before all is joined in one pair of files, with a mixture of types."""
    n = 200_000

    def fail_at_end(x):
        if x == n - 1:
            raise ValueError("the last")
        return x * 0.5 if x % 2 else x

    with pytest.raises(ValueError, match="the last"):
        mapped(fail_at_end).map({"x": range(n)}, tmp_path / "run", parallel=parallel)
    assert bytes_of(tmp_path / "run" / "commits") <= 10 * n
    assert len(files_of(tmp_path / "run")) == (4 if parallel else 2)


@pytest.mark.parametrize(("parallel", "overhead"), [(False, 10), (True, 200)], ids=["sequential", "parallel"])
@alone
def test_arrays_take_their_bytes(parallel, overhead, tmp_path):
    # What other workers commit before the first element has told the layout is pickled.
    pipeline = mapped(lambda x: np.full(100, x, dtype=np.float32))
    pipeline.map({"x": range(2_000)}, tmp_path / "run", parallel=parallel)
    assert bytes_of(tmp_path / "run") <= 2_000 * (400 + overhead)
