"""Workers that die in the middle of a map: who is to blame, what is kept, what runs again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from map.alone import PORTABLE, alone, needs_fork, start, until

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import ErrorSnapshot, PropagatedErrorSnapshot, WorkerDiedError
from pipefunc_c.map import load_outputs
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)
N = 200
# The workers of a map: its own, and those of a pool.
every_crew = pytest.mark.parametrize("crew", ["own", "fork", "forkserver", "spawn"])


def mapped(func: Any, **options: Any) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False, **options)])


@contextlib.contextmanager
def executor(crew: str) -> Any:
    if crew == "own":
        yield None
        return
    with WorkerPool(2, start_method=crew) as pool:
        yield pool


def leave() -> None:
    os._exit(17)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(10)


def crash() -> None:
    ctypes.string_at(0)


def at(indices: Any, action: Any, seconds: float = 0.0, result: Any = float) -> Any:
    def func(x: int) -> Any:
        if x in indices:
            action()
        time.sleep(seconds)
        return result(x)

    return func


def check_continued(output: Any, killers: Any, result: Any = float) -> None:
    for x, value in enumerate(output):
        if x in killers:
            assert isinstance(value, ErrorSnapshot), value
            assert isinstance(value.exception, WorkerDiedError)
            assert value.exception.index == x
            assert value.kwargs == {"x": x}
        else:
            assert type(value) is type(result(x))
            assert value == result(x)


@pytest.mark.parametrize(("how", "said"), [(leave, "17"), (kill, "SIGKILL"), (crash, "SIGSEGV")])
@every_crew
@alone
def test_the_killing_element_is_named(crew, how, said):
    with executor(crew) as pool, pytest.raises(WorkerDiedError) as info:
        mapped(at([13], how, 0.001)).map({"x": range(N)}, executor=pool)
    error = info.value
    assert said in str(error)
    assert error.index == 13
    assert error.arguments == {"x": 13}
    assert error.signal == (said if said.startswith("SIG") else None)
    assert error.exitcode == (17 if said == "17" else -signal.Signals[said])
    assert 1 << 20 < error.peak_memory < 1 << 32
    assert "element 13 of 200 (i=13)" in str(error)
    assert "x=13" in "".join(error.__notes__)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.index, copy.signal, str(copy)) == (error.index, error.signal, str(error))


@alone
def test_the_snapshot_of_the_pipeline_names_the_arguments():
    pipeline = mapped(at([3], leave))
    with pytest.raises(WorkerDiedError):
        pipeline.map({"x": range(20)})
    assert pipeline.error_snapshot.kwargs == {"x": 3}


@pytest.mark.parametrize("result", [float, str, np.float32, complex])
@every_crew
@alone
def test_all_other_elements_are_computed(crew, result):
    killers = [0, 13, 14, 100, 199]
    with executor(crew) as pool:
        results = mapped(at(killers, leave, 0.0, result)).map(
            {"x": range(N)}, executor=pool, error_handling="continue"
        )
    check_continued(results["y"].output, killers, result)


@alone
def test_arrays_and_two_outputs():
    def pair(x):
        if x in (5, 50):
            os._exit(1)
        return np.full(4, float(x)), x

    pipeline = Pipeline([PipeFunc(pair, ("a", "b"), mapspec="x[i] -> a[i], b[i]", print_error=False)])
    results = pipeline.map({"x": range(N)}, error_handling="continue")
    for x in range(N):
        a, b = results["a"].output[x], results["b"].output[x]
        if x in (5, 50):
            assert isinstance(a, ErrorSnapshot)
            assert isinstance(b, ErrorSnapshot)
        else:
            assert a.tolist() == [x] * 4
            assert b == x


@every_crew
@alone
def test_later_functions_see_the_error(crew):
    first = PipeFunc(at([7], leave), "y", mapspec="x[i] -> y[i]", print_error=False)
    second = PipeFunc(lambda y: y + 1, "z", mapspec="y[i] -> z[i]", print_error=False)
    with executor(crew) as pool:
        results = Pipeline([first, second]).map({"x": range(20)}, executor=pool, error_handling="continue")
    check_continued(results["y"].output, [7])
    assert isinstance(results["z"].output[7], PropagatedErrorSnapshot)
    assert [z for k, z in enumerate(results["z"].output) if k != 7] == [x + 1 for x in range(20) if x != 7]


@alone
def test_a_function_without_mapspec_that_kills():
    single = PipeFunc(lambda x: os._exit(4), "y", print_error=False)
    other = PipeFunc(lambda x: x, "z", mapspec="x[i] -> z[i]")
    with pytest.raises(WorkerDiedError, match="exit code 4"):
        Pipeline([single, other]).map({"x": [1, 2]})
    results = Pipeline([single, other]).map({"x": [1, 2]}, error_handling="continue")
    assert isinstance(results["y"].output, ErrorSnapshot)
    assert results["z"].output.tolist() == [1, 2]


@every_crew
@alone
def test_an_element_whose_worker_is_killed_from_outside_runs_again(crew, tmp_path):
    def func(x):
        Path(tmp_path, f"{x}-{os.getpid()}").touch()
        if x == 5 and len(list(tmp_path.glob("5-*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.001)
        return float(x)

    with executor(crew) as pool:
        results = mapped(func).map({"x": range(50)}, executor=pool)
    assert results["y"].output.tolist() == list(range(50))
    assert len(list(tmp_path.glob("5-*"))) == 2


@alone
def test_what_was_finished_is_not_computed_again(tmp_path):
    """Numbers of a lease that was not reported are in shared memory already."""

    def func(x):
        with open(tmp_path / "calls", "a") as file:
            file.write(f"{x}\n")
        if x == 150:
            os._exit(1)
        return float(x)

    mapped(func).map({"x": range(N)}, error_handling="continue")
    calls = [int(line) for line in (tmp_path / "calls").read_text().split()]
    assert sorted(calls) == sorted([*range(N), 150])


class Bomb:
    """Ends the worker when it is pickled, not when it is computed."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bomb) and other.x == self.x

    def __hash__(self) -> int:
        return self.x

    def __reduce__(self) -> Any:
        if self.x == 13:
            os._exit(6)
        return Bomb, (self.x,)


def make_bomb(x: int) -> Bomb:
    return Bomb(x)


@every_crew
@alone
def test_a_result_that_ends_the_worker_when_it_is_pickled_is_found(crew):
    with executor(crew) as pool:
        results = mapped(make_bomb).map({"x": range(40)}, executor=pool, error_handling="continue")
    found = [each if type(each) is ErrorSnapshot else each.x for each in results["y"].output]
    check_continued(found, [13], int)


def close_files() -> None:
    os.closerange(3, 1000)


def close_files_and_go_on() -> None:
    close_files()
    time.sleep(1)


@pytest.mark.parametrize("result", [float, str])
@every_crew
@alone
def test_an_element_that_closes_the_files_of_its_worker_is_found(crew, result):
    func = at([5], close_files, result=result)
    with executor(crew) as pool:
        results = mapped(func).map({"x": range(40)}, executor=pool, error_handling="continue")
        check_continued(results["y"].output, [5], result)
        with pytest.raises(WorkerDiedError) as info:
            mapped(func).map({"x": range(40)}, executor=pool)
        assert info.value.index == 5
        assert "closes files" in str(info.value)


@alone
def test_an_element_that_closes_the_files_of_its_worker_and_goes_on_is_found():
    results = mapped(at([5], close_files_and_go_on)).map({"x": range(40)}, error_handling="continue")
    check_continued(results["y"].output, [5])


@every_crew
def test_the_end_of_a_worker_whose_files_were_closed_prints_nothing(crew):
    with start(close_files_in_an_element, crew) as process:
        assert process.wait() == 0
        assert process.text(0) + process.text(1) == ""


def close_files_in_an_element(crew: str) -> None:
    with executor(crew) as pool:
        results = mapped(at([5], close_files)).map({"x": range(40)}, executor=pool, error_handling="continue")
        check_continued(results["y"].output, [5])
        if pool is not None:
            assert isinstance(pool.submit(close_files).exception(), WorkerDiedError)
            assert pool.submit(abs, -3).result() == 3


@every_crew
@alone
def test_a_run_folder_has_all_but_the_element_that_closes_the_files_of_its_worker(crew, tmp_path):
    with executor(crew) as pool:
        results = mapped(at([5], close_files)).map(
            {"x": range(40)}, tmp_path / "run", executor=pool, error_handling="continue"
        )
    check_continued(results["y"].output, [5])
    loaded = load_outputs("y", run_folder=tmp_path / "run")
    check_continued([each.item() if isinstance(each, np.generic) else each for each in loaded], [5])


@pytest.mark.parametrize("storage", ["file_array", "array", "dict"])
@every_crew
@alone
def test_a_run_folder_keeps_all_but_the_killing_element(crew, storage, tmp_path):
    func = at([13, 150], leave)
    with executor(crew) as pool:
        for resume in (False, True):
            results = mapped(func).map(
                {"x": range(N)},
                tmp_path / "run",
                storage=storage,
                executor=pool,
                error_handling="continue",
                resume=resume,
                resume_validation="skip",
            )
            check_continued(results["y"].output, [13, 150])
    loaded = load_outputs("y", run_folder=tmp_path / "run")
    check_continued([each.item() if isinstance(each, np.generic) else each for each in loaded], [13, 150])


@alone
def test_a_run_that_stopped_at_a_death_resumes(tmp_path):
    with pytest.raises(WorkerDiedError):
        mapped(at([100], leave, 0.001)).map({"x": range(N)}, tmp_path / "run")
    kept = load_outputs("y", run_folder=tmp_path / "run").count()
    assert 50 < kept < N
    calls = tmp_path / "calls"

    def func(x):
        with open(calls, "a") as file:
            file.write("x\n")
        return float(x)

    results = mapped(func).map({"x": range(N)}, tmp_path / "run", resume=True, resume_validation="skip")
    assert results["y"].output.tolist() == list(range(N))
    assert len(calls.read_text().split()) == N - kept


@alone
def test_fixed_indices_and_resumed_elements_are_left_alone(tmp_path):
    func = at([20], leave)
    options = {"error_handling": "continue", "resume_validation": "skip"}
    some = {"i": slice(0, 40, 3)}
    first = mapped(func).map({"x": range(40)}, tmp_path / "run", fixed_indices=some, **options)
    assert np.ma.getmaskarray(first["y"].store.to_array()).sum() == 26
    results = mapped(func).map({"x": range(40)}, tmp_path / "run", resume=True, **options)
    check_continued(results["y"].output, [20])


@alone
def test_recovery_takes_less_than_half_a_second():
    """Beyond the work that was lost."""
    mapped(at([], leave)).map({"x": range(N)})
    began = time.monotonic()
    mapped(at([], leave, 0.002)).map({"x": range(N)})
    without = time.monotonic() - began
    began = time.monotonic()
    mapped(at([100], leave, 0.002)).map({"x": range(N)}, error_handling="continue")
    assert time.monotonic() - began - without < 0.5


@alone
def test_a_death_is_told_at_once_while_the_other_computes_for_long():
    def func(x):
        if x == 0:
            os._exit(3)
        time.sleep(20)

    began = time.monotonic()
    with pytest.raises(WorkerDiedError, match="exit code 3"):
        mapped(func).map({"x": range(2)})
    assert time.monotonic() - began < (4.0 if PORTABLE else 1.5)


@alone
def test_memory_that_runs_out_is_told_with_the_peak():
    """As the kernel does it: SIGKILL when the worker holds too much."""

    def func(x):
        if x == 3:
            held = np.ones(20 << 20)
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(held.sum())
        return x

    with pytest.raises(WorkerDiedError) as info:
        mapped(func).map({"x": range(10)})
    assert info.value.peak_memory > 160 << 20
    assert "MiB" in str(info.value)


def die_at_start(*_: Any) -> None:
    os._exit(9)


@needs_fork
@alone
def test_workers_that_die_before_they_begin_are_not_started_for_ever():
    from pipefunc_c.map._processes import crews as crews_module

    crews_module.serve = die_at_start
    with pytest.raises(WorkerDiedError, match="before it computed anything"):
        mapped(float).map({"x": range(10)})


@alone
def test_random_streams_of_replaced_workers_are_their_own():
    import random

    def draw(x):
        time.sleep(0.001)
        if x % 20 == 7:
            os._exit(1)
        return random.random()

    drawn = mapped(draw).map({"x": range(100)}, error_handling="continue")["y"].output
    numbers = [each for each in drawn if isinstance(each, float)]
    assert len(set(numbers)) == len(numbers) == 95


def start_helper(path: str, x: int) -> None:
    import subprocess
    import sys

    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(path, str(process.pid)).touch()
    if x == 0:
        os._exit(1)


@alone
def test_what_an_element_started_dies_with_its_worker(tmp_path):
    mapped(lambda x: start_helper(str(tmp_path), x)).map({"x": range(3)}, error_handling="continue")
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 4
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def sleep_with_helper(path: str) -> None:
    def func(x):
        start_helper(path, 1)
        time.sleep(60)

    mapped(func).map({"x": range(2)})


def test_what_an_element_started_dies_with_the_parent(tmp_path):
    with start(sleep_with_helper, str(tmp_path)) as process:
        until(lambda: len(list(tmp_path.iterdir())) == 2)
        os.kill(process.pid, signal.SIGKILL)
        pids = [int(path.name) for path in tmp_path.iterdir()]
        until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


# -- many runs with many deaths ----------------------------------------------------------------------


def soak(n_maps: int, crew: str) -> list[tuple[int, int, int]]:
    """Map again and again while workers are killed at random; give what this process holds now and then."""
    import gc
    import random
    import threading

    over = threading.Event()
    randomly = random.Random(3)

    def killer() -> None:
        while not over.wait(randomly.uniform(0.01, 0.08)):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    # Workers are children of a server, since this process has threads.
                    if child.ppid() != os.getpid() and randomly.random() < 0.3:
                        child.kill()

    def func(x):
        time.sleep(0.0005)
        return float(x) if x % 7 else (x, "text")

    expected = [float(x) if x % 7 else (x, "text") for x in range(100)]
    held = []
    with executor(crew) as pool:
        mapped(func).map({"x": range(100)}, executor=pool)
        thread = threading.Thread(target=killer)
        thread.start()
        for number in range(n_maps):
            results = mapped(func).map({"x": range(100)}, executor=pool, error_handling="continue")
            for value, wanted in zip(results["y"].output, expected, strict=True):
                # One that was hit twice cannot be told from one that kills.
                assert value == wanted or isinstance(value.exception, WorkerDiedError)
            if number % (n_maps // 4) == 0:
                del results, value
                gc.collect()
                held.append(
                    (
                        len(os.listdir("/proc/self/fd")),
                        len(os.listdir("/proc/self/task")),
                        psutil.Process().memory_info().rss >> 20,
                    )
                )
        over.set()
        thread.join()
    return held


@pytest.mark.parametrize("crew", ["own", "fork", "forkserver"])
@pytest.mark.timeout(200)
def test_many_maps_with_random_deaths_leak_nothing(crew):
    n_maps = int(os.environ.get("PIPEFUNC_C_SOAK_MAPS", "20"))
    with start(soak, n_maps, crew) as process:
        held = process.value(30 + n_maps)
    assert all(each[1] == held[1][1] for each in held[1:]), held
    assert max(each[0] for each in held[1:]) - min(each[0] for each in held[1:]) <= 4, held
    assert held[-1][2] - held[1][2] < 10, held
