"""What workers of a pool have of their own: random streams, what an initializer set, limits, cores."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import numpy as np
import pytest
from map.alone import alone

from pipefunc_c import _platform
from pipefunc_c.parallel import WorkerPool
from pipefunc_c.parallel._environment import available_cores

pytestmark = pytest.mark.timeout(60)
METHODS = ["fork", "forkserver", "spawn"]
every_method = pytest.mark.parametrize("method", METHODS)


def pool_of(method: str | None = None, n: int = 2, **options: Any) -> WorkerPool:
    return WorkerPool(n, start_method=method, **options)


def draw(_: int) -> tuple[int, float, float]:
    time.sleep(0.002)
    return os.getpid(), random.random(), float(np.random.random())


@every_method
@alone
def test_random_streams_never_repeat(method):
    drawn = []
    for _ in range(2):
        with pool_of(method, max_tasks_per_child=20) as pool:
            drawn += pool.map(draw, range(60))
    assert len({pid for pid, _, _ in drawn}) > 4
    assert len({a for _, a, _ in drawn}) == len({b for _, _, b in drawn}) == len(drawn) == 120


def remember(value: int) -> None:
    random.seed(value)
    os.environ["REMEMBERED"] = str(value)


@every_method
@alone
def test_the_initializer_runs_in_each_worker_and_may_seed(method):
    with pool_of(method, initializer=remember, initargs=(5,)) as pool:
        assert pool.submit(os.getenv, "REMEMBERED").result() == "5"
        pool.submit(os._exit, 17).exception()
        assert set(pool.map(os.getenv, ["REMEMBERED"] * 8)) == {"5"}
    with pool_of(method, n=1, initializer=remember, initargs=(5,)) as pool:
        assert pool.submit(draw, 0).result()[1] == random.Random(5).random()


@alone
def test_max_tasks_per_child():
    with pool_of(n=1, max_tasks_per_child=3) as pool:
        pids = [pool.submit(os.getpid).result() for _ in range(9)]
    assert [pids.count(each) for each in dict.fromkeys(pids)] == [3, 3, 3]


def hold(nbytes: int) -> int:
    kept.append(bytearray(os.urandom(1)) * nbytes)
    return os.getpid()


kept: list[bytearray] = []


@alone
def test_max_rss_per_child():
    with pool_of(n=1, max_rss_per_child=200 << 20) as pool:
        first = pool.submit(hold, 1 << 20).result()
        assert pool.submit(hold, 1 << 20).result() == first
        assert pool.submit(hold, 300 << 20).result() == first
        assert pool.submit(hold, 1 << 20).result() != first


def library_threads() -> list[int]:
    import threadpoolctl

    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]


@every_method
@alone
def test_threads_of_libraries_are_capped(method):
    with pool_of(method, threads_per_worker=1) as pool:
        found = pool.submit(library_threads).result()
        assert found
        assert set(found) == {1}


def test_cores_by_affinity_cgroup_and_slurm(monkeypatch, tmp_path):
    monkeypatch.setattr("pipefunc_c.parallel._environment.granted_cores", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert available_cores() == 32
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "5")
    assert available_cores() == 5
    monkeypatch.setattr("pipefunc_c.parallel._environment.granted_cores", lambda: 3)
    assert available_cores() == 3


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        (
            "0::/a/b\n",
            {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "250000 100000"},
            3,
        ),
        ("0::/a\n", {"sys/fs/cgroup/a/cpu.max": "max 100000"}, _platform.UNLIMITED),
        ("0::/a\n", {"sys/fs/cgroup/a/cpu.max": "10000 100000"}, 1),
        (
            "3:cpu,cpuacct:/job\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (
            "3:cpu,cpuacct:/job\n",
            {"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "-1"},
            _platform.UNLIMITED,
        ),
        ("", {}, _platform.UNLIMITED),
    ],
    ids=["parent", "none", "part", "version-1", "version-1-none", "no-cgroup"],
)
def test_cores_that_cgroups_grant(cgroup, files, expected, tmp_path):
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert _platform.granted_cores(tmp_path) == expected
