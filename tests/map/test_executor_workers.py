"""Workers of executors that users bring: deaths, random streams, executors that are gone."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from map.alone import alone
from map.test_executors import Stranger, func, make

from pipefunc_c import Pipeline
from pipefunc_c.exceptions import ErrorSnapshot, OperationError, WorkerDiedError
from pipefunc_c.map._executors import chunk_maker as chunk_maker_module

pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]
PROCESSES = pytest.mark.parametrize("kind", ["fork", "forkserver", "spawn"])


class Hidden:
    """Stand for a value that ends whoever unpickles it."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __reduce__(self) -> Any:
        return (_unpickle, (self.x,))


def _unpickle(x: int) -> Any:
    if x == 13:
        os._exit(4)
    return x


@PROCESSES
@alone
def test_an_element_that_kills_before_anything_runs_is_found_by_halves(kind):
    inputs = [Hidden(x) for x in range(16)]
    with make(kind) as executor:
        results = Pipeline([func(lambda x: x * 2)]).map(
            {"x": inputs}, executor=executor, chunksizes=8, error_handling="continue"
        )
    for x, y in enumerate(results["y"].output):
        if x == 13:
            assert isinstance(y, ErrorSnapshot)
            assert isinstance(y.exception, WorkerDiedError)
        else:
            assert y == 2 * x


@alone
def test_without_shared_files_the_element_is_found_by_halves():
    chunk_maker_module.ChunkMaker.mark = lambda *_: None  # as if workers were on another host
    with make("fork") as executor:
        results = Pipeline([func(lambda x: os._exit(3) if x == 21 else x)]).map(
            {"x": range(40)}, executor=executor, chunksizes=40, error_handling="continue"
        )
    assert [k for k, y in enumerate(results["y"].output) if isinstance(y, ErrorSnapshot)] == [21]


@alone
def test_a_worker_that_is_killed_from_outside_costs_nothing_but_time(tmp_path):
    marker = tmp_path / "killed"

    def killed_once(x):
        if x == 30 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x * 0.5

    with make("fork") as executor:
        results = Pipeline([func(killed_once)]).map({"x": range(60)}, tmp_path / "run", executor=executor)
    assert results["y"].output.tolist() == [x * 0.5 for x in range(60)]


@alone
def test_the_signal_is_named(tmp_path):
    with (
        make("fork") as executor,
        pytest.raises(WorkerDiedError, match="was killed by SIGKILL while") as caught,
    ):
        Pipeline([func(lambda x: os.kill(os.getpid(), signal.SIGKILL))]).map({"x": [1]}, executor=executor)
    assert (caught.value.index, caught.value.signal, caught.value.exitcode) == (0, "SIGKILL", -9)


@alone
def test_recovery_takes_less_than_half_a_second(tmp_path):
    started = time.monotonic()
    with make("fork") as executor:
        Pipeline([func(lambda x: os._exit(3) if x == 21 else x)]).map(
            {"x": range(40)}, executor=executor, error_handling="continue"
        )
    assert time.monotonic() - started < 1.0


@alone
def test_a_replacement_is_shut_down_and_leaves_nothing(tmp_path):
    tempfile.tempdir = str(tmp_path)
    with make("fork") as executor:
        for _ in range(3):
            with pytest.raises(RuntimeError):
                Pipeline([func(lambda x: os._exit(3))]).map({"x": range(3)}, executor=executor)
    assert not list(tmp_path.iterdir())  # where temporary folders are made
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, 0)


@alone
def test_an_executor_that_loses_all_it_is_given_is_an_error_at_once(tmp_path):
    class Lossy(Stranger):
        calls = 0

        def submit(self, fn, /, *args, **kwargs):
            self.calls += 1
            future = Future()
            future.set_exception(OSError("the cluster is gone"))
            return future

    executor = Lossy()
    with pytest.raises(OperationError, match=r"lost elements 0 to 0 of 'y': OSError: the cluster is gone"):
        Pipeline([func(lambda x: x)]).map({"x": range(1000)}, executor=executor, error_handling="continue")
    assert executor.calls < 20


@alone
def test_an_executor_that_is_shut_down_while_it_runs_is_an_error(tmp_path):
    for executor in (ThreadPoolExecutor(1), make("fork", 1)):

        def slow(x):
            time.sleep(0.05)
            return x

        timer = threading.Timer(0.3, executor.shutdown, kwargs={"wait": False, "cancel_futures": True})
        timer.start()
        with pytest.raises(RuntimeError, match="takes no more work|lost elements"):
            Pipeline([func(slow)]).map({"x": range(30)}, executor=executor, chunksizes=1)


# -- random streams ----------------------------------------------------------------------------------


def draws(x: int) -> tuple[float, float]:
    time.sleep(0.002)
    return random.random(), float(np.random.random())


def drawn(executor: Any, **options: Any) -> list[tuple[float, float]]:
    results = Pipeline([func(draws)]).map({"x": range(40)}, executor=executor, chunksizes=4, **options)
    return list(results["y"].output)


@PROCESSES
@alone
def test_no_two_chunks_repeat_a_stream_and_a_seeded_script_repeats_all(kind):
    runs = []
    for _ in range(2):
        random.seed(5)
        np.random.seed(5)
        with make(kind) as executor:
            runs += [drawn(executor), drawn(executor)]
    for position in (0, 1):
        assert len({each[position] for run in runs[:2] for each in run}) == 80
    assert runs[:2] == runs[2:]  # whoever computed what


def seed_all_alike() -> None:
    np.random.seed(0)


def seed_by_process() -> None:
    np.random.seed(os.getpid())


@alone
def test_an_initializer_of_the_user_is_respected_and_one_that_repeats_streams_is_told(tmp_path):
    np.random.seed(1)
    with ProcessPoolExecutor(2, initializer=seed_by_process) as executor, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len({y for _, y in drawn(executor)}) == 40
    with (
        ProcessPoolExecutor(2, initializer=seed_all_alike) as executor,
        pytest.warns(
            UserWarning, match=r"two workers of .* begin with the same state of np\.random"
        ) as caught,
    ):
        assert len({y for _, y in drawn(executor)}) < 40
    assert len(caught) == 1


@alone
def test_the_random_states_of_this_process_are_left_alone(tmp_path):
    for executor in (ThreadPoolExecutor(2), Stranger()):
        random.seed(3)
        first = drawn(executor)
        random.seed(3)
        expected = [random.random() for _ in range(40)]
        if isinstance(executor, Stranger):
            continue  # one draw of its state seeds workers that might be elsewhere
        assert sorted(each[0] for each in first) == sorted(expected)


generator = np.random.default_rng(1)


def uses_generator(x: int) -> float:
    return x + float(generator.normal())


def seed_from_the_system() -> None:
    random.seed()
    np.random.seed()  # noqa: NPY002  what initializers do


@alone
def test_a_generator_that_all_workers_copy_is_told_where_an_initializer_sees_to_random_numbers(tmp_path):
    with ProcessPoolExecutor(
        2, mp_context=multiprocessing.get_context("fork"), initializer=seed_from_the_system
    ) as executor:
        for function, inputs in (
            (uses_generator, {}),
            (lambda x, rng: rng.random(), {"rng": random.Random(2)}),
            (lambda x, rng=generator: rng.normal(), {}),
        ):
            with pytest.warns(UserWarning, match="random generator '(generator|rng)'") as caught:
                Pipeline([func(function)]).map({"x": range(4), **inputs}, executor=executor)
            assert len(caught) == 1
    with ThreadPoolExecutor(2) as threads, warnings.catch_warnings():
        warnings.simplefilter("error")
        Pipeline([func(uses_generator)]).map({"x": range(4)}, executor=threads)


# -- the packages ------------------------------------------------------------------------------------


@alone
def test_no_package_of_an_executor_is_imported_for_it(tmp_path):
    Pipeline([func(lambda x: x)]).map({"x": range(4)}, executor=Stranger())
    assert not {"distributed", "loky", "joblib", "ipyparallel", "executorlib", "mpi4py"} & set(sys.modules)
