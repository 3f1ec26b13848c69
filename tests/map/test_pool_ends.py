"""How a run in workers ends: nothing is left, no message is misread, no memory is overdrawn."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from map.alone import SERVERS, alone, members, start, until

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import WorkerDiedError
from pipefunc_c.map import load_outputs
from pipefunc_c.map._processes import pool_driver as pool_driver_module

pytestmark = pytest.mark.timeout(60)


def mapped(func: Any, **options: Any) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False, **options)])


def values(func: Any, n: int, **options: Any) -> list[Any]:
    return list(mapped(func).map({"x": range(n)}, **options)["y"].output)


def pid_after(seconds: float, _x: int) -> int:
    time.sleep(seconds)
    return os.getpid()


def slow_pid(x: int) -> int:
    return pid_after(0.005, x)


def square(x: int) -> int:
    return x * x


def open_now() -> tuple[int, int, int]:
    """Count open files, children and threads of this process."""
    gc.collect()
    tasks = len(os.listdir("/proc/self/task"))
    return len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True)), tasks


def fail_at_the_end(x: int) -> int:
    if x == 9:
        raise ValueError
    return x


def vanish_at_the_end(x: int) -> int:
    if x == 9:
        os._exit(1)
    return x


@pytest.mark.parametrize("func", [square, fail_at_the_end, vanish_at_the_end, str, np.float32, complex])
@pytest.mark.parametrize("durable", [False, True])
@alone
def test_no_files_children_or_threads_are_left(func, durable, tmp_path):
    counts = []
    for number in range(8):
        with contextlib.suppress(ValueError, WorkerDiedError):
            values(lambda x: func(x + 0), 10, run_folder=tmp_path / str(number % 2) if durable else None)
        counts.append(open_now())
    assert counts[-1] == counts[2], counts
    assert counts[-1][1] == SERVERS, counts


@alone
def test_results_are_readable_long_after_their_workers():
    kept = [mapped(lambda x: (x, "text")).map({"x": range(100)})["y"] for _ in range(20)]
    assert all(result.output[99] == (99, "text") for result in kept)
    before = open_now()[0]
    del kept
    assert open_now()[0] <= before


def shared_names(maps: Path) -> set[str]:
    """List what a process has mapped of /dev/shm."""
    with contextlib.suppress(OSError):
        return set(re.findall(r"/dev/shm/(\S+)", maps.read_text()))
    return set()


@alone
def test_nothing_appears_in_shared_memory_folders():
    def of_this_process(x: int = 0) -> list[str]:
        return sorted(shared_names(Path("/proc/self/maps")))

    assert of_this_process() == []
    assert values(of_this_process, 4) == [[]] * 4


def sleep_forever(path: str, with_program: bool) -> None:
    def func(x):
        if x < 4:
            return x
        Path(path, f"{x}-{os.getpid()}").touch()
        if with_program:
            subprocess.run(["sleep", "40"], check=False)
        else:
            time.sleep(40)
        return x

    values(func, 1000, run_folder=Path(path, "run"))


def waiting(folder: Path) -> bool:
    return len(list(folder.glob("[0-9]*"))) == 2


@pytest.mark.parametrize("with_program", [False, True])
def test_an_interrupt_ends_all_at_once(with_program, tmp_path):
    """As by Ctrl-C: the signal goes to the whole group. Programs that elements started get it as well."""
    with start(sleep_forever, str(tmp_path), with_program) as process:
        until(lambda: waiting(tmp_path))
        time.sleep(0.2)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) in (1, -signal.SIGINT, 130)
        assert time.monotonic() - began < 1.0 + 0.3
        until(lambda: not members(process.pid), 2)
        assert process.text().count("KeyboardInterrupt") == 1, process.text()
        assert f"run_folder='{tmp_path / 'run'}', resume=True" in process.text()
    kept = load_outputs("y", run_folder=tmp_path / "run")
    assert kept[:4].tolist() == [0, 1, 2, 3]
    assert kept.count() == 4 or with_program  # an element goes on when its program ends


def test_an_interrupt_of_the_parent_alone(tmp_path):
    with start(sleep_forever, str(tmp_path), False) as process:
        until(lambda: waiting(tmp_path))
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        process.wait(10)
        assert time.monotonic() - began < 1.0 + 0.3
        until(lambda: not members(process.pid), 2)


def shared_by_the_living() -> set[str]:
    """List what processes have mapped of /dev/shm now: other tests run beside this one."""
    return set().union(*map(shared_names, Path("/proc").glob("[0-9]*/maps")))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_killed_parent_takes_its_workers_along(number, tmp_path):
    before = set(os.listdir("/dev/shm"))
    with start(sleep_forever, str(tmp_path), False) as process:
        until(lambda: waiting(tmp_path))
        os.kill(process.pid, number)
        assert process.wait(5) == -number
        until(lambda: not members(process.pid), 2)
        until(lambda: not set(os.listdir("/dev/shm")) - before - shared_by_the_living())


def interrupted_while_it_receives(word: bytes) -> int:
    """Interrupt the parent at many moments; big results make it likely that it reads a message just then."""
    count = 0
    for number in range(12):
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.03 + 0.007 * number)
        try:
            values(lambda x: word * (4 << 20), 400)
        except KeyboardInterrupt:
            count += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert open_now()[1] in (0, SERVERS)
    return count


@pytest.mark.parametrize("place", range(0, 8, 3))
def test_an_interrupt_within_a_message(place):
    """What follows an interrupted message must not be taken for the length of another one."""
    word = bytes(place) + b"\x01" + bytes(7 - place)
    with start(interrupted_while_it_receives, word) as process:
        assert process.value(20) >= 10


# -- memory ------------------------------------------------------------------------------------------


def limit_memory() -> None:
    limited = partial(pool_driver_module.SharedHome, available=lambda: (1 << 20, "the limit of this test"))
    pool_driver_module.SharedHome = limited


@alone
def test_a_memory_limit_is_an_error_that_names_size_and_limit():
    limit_memory()
    before = open_now()
    with pytest.raises(MemoryError, match=r"7\.6 MiB.*the limit of this test"):
        values(square, 1_000_000)
    assert open_now()[1:] == before[1:]


@alone
def test_arrays_that_do_not_fit_stay_objects():
    limit_memory()
    found = values(lambda x: np.full(100_000, float(x)), 10)
    assert [array[-1] for array in found] == list(range(10))


# -- no deadlock -------------------------------------------------------------------------------------


def has_much_to_say() -> None:
    def func(x):
        if x == 0:
            time.sleep(0.03)
            return 1j  # makes a region that all workers are told of
        return os.urandom(300_000) if x < 600 else complex(x)

    n = 200_000
    results = mapped(func).map({"x": range(n)}, fixed_indices={"i": slice(None, None, 2)})
    assert results["y"].store.get_from_index(n - 2) == complex(n - 2)


def test_long_news_while_a_worker_sends_a_long_report():
    """Both sides have more to say than a socket holds, at the same time."""
    with start(has_much_to_say) as process:
        process.value(10)
