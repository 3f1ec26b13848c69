"""What is kept of failures while a map goes on: tracebacks, each with its own text, and little else."""

from __future__ import annotations

import gc
import getpass
import os
import pickle
import platform
import sys
import time
import tracemalloc
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipefunc_c import ErrorSnapshot, PipeFunc, Pipeline, pipefunc
from pipefunc_c._failure_origin import FailureOrigin
from pipefunc_c.map import load_outputs
from pipefunc_c.map._stages.failures import PROPAGATED, OriginTable, snapshot
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)


@pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
def odd_fails(x, k=7):
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x * 10


@pipefunc("z", mapspec="y[i] -> z[i]", print_error=False)
def after(y):
    return y + 1


def run(functions, inputs, **options):
    return Pipeline(functions).map(inputs, parallel=False, error_handling="continue", **options)


class TestTracebacks:
    def test_only_the_users_frames(self):
        text = run([odd_fails], {"x": [1]})["y"].output[0].traceback
        assert text.startswith("Traceback (most recent call last):\n")
        assert "in odd_fails" in text
        assert 'raise ValueError(f"odd: {x}")' in text
        assert text.rstrip().endswith("ValueError: odd: 1")
        assert ".pyx" not in text
        assert "pipefunc_c" not in text.replace("tests", "")

    def test_each_has_its_own_message(self):
        output = run([odd_fails], {"x": [1, 3, 5]})["y"].output
        assert [f"odd: {x}" in error.traceback for x, error in zip([1, 3, 5], output, strict=True)] == [
            True
        ] * 3
        assert "odd: 1" not in output[2].traceback

    @pytest.mark.parametrize("explicit", [True, False], ids=["cause", "context"])
    def test_each_has_its_own_cause(self, explicit):
        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def chained(x):
            try:
                raise KeyError(f"inner {x}")
            except KeyError as error:
                if explicit:
                    raise ValueError("outer") from error
                raise ValueError("outer")  # noqa: B904  the context is what is tested

        output = run([chained], {"x": [1, 2, 3]})["y"].output
        assert [f"inner {x}" in error.traceback for x, error in zip([1, 2, 3], output, strict=True)] == [
            True
        ] * 3

    def test_different_lines_are_told_apart(self):
        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def two_ways(x):
            if x:
                raise ValueError("same")
            raise ValueError("same")

        first, second = run([two_ways], {"x": [0, 1]})["y"].output
        assert first.traceback != second.traceback

    def test_what_names_the_error_is_there_once(self):
        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def many_lines(x):
            if x == 1:
                return mispelled_nam  # noqa: F821  the guess at what was meant is what is tested
            mispelled_name = SyntaxError("wrong", ("file", 1, 2, "text"))
            mispelled_name.add_note("first note")
            mispelled_name.add_note("second note")
            raise mispelled_name

        named, noted = run([many_lines], {"x": [1, 2]})["y"].output
        assert named.traceback.count("NameError: ") == 1
        for text in ('File "file", line 1', "SyntaxError: wrong", "first note", "second note"):
            assert noted.traceback.count(f"{text}\n") == 1

    def test_groups_show_their_own_members(self):
        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def several(x):
            errors = []
            try:
                raise ValueError(f"inner {x}")
            except ValueError as error:
                errors.append(error)
            raise ExceptionGroup("several", errors)

        for x, error in enumerate(run([several], {"x": range(3)})["y"].output):
            assert error.traceback.count(f"ValueError: inner {x}\n") == 1
            assert error.traceback.count("ExceptionGroup: several (1 sub-exception)\n") == 1
            assert "raise ExceptionGroup(" in error.traceback
            assert "raise ValueError(" in error.traceback

    def test_a_frozen_exception_does_not_stop_the_run(self):
        @dataclass(frozen=True)
        class Frozen(Exception):
            code: int

        def fail(x):
            raise Frozen(x)

        output = run([PipeFunc(fail, "y", mapspec="x[i] -> y[i]", print_error=False)], {"x": [1, 2]})[
            "y"
        ].output
        assert [error.exception for error in output] == [Frozen(1), Frozen(2)]
        assert "in fail" in output[1].traceback

    def test_deep_recursion(self):
        def dive(x):
            return dive(x + 1)

        error = run([PipeFunc(dive, "y", mapspec="x[i] -> y[i]", print_error=False)], {"x": [0]})["y"].output[
            0
        ]
        assert type(error.exception) is RecursionError
        assert "repeated" in error.traceback


def moved_away(x, folder):
    """Fail in a folder of one's own, as a program does that was started elsewhere."""
    Path(folder, str(x)).mkdir()
    os.chdir(Path(folder, str(x)))
    time.sleep(1.1)
    raise ValueError(f"no {x}")


class TestOrigins:
    """When and where an element failed, not when and where somebody looks at it."""

    def test_when_it_failed(self):
        before = datetime.now().astimezone().replace(microsecond=0)
        results = run([odd_fails, after], {"x": [0, 1, 3]})
        ended = datetime.now().astimezone()
        time.sleep(1.1)
        for name in "yz":
            for error in results[name].output[1:]:
                assert before <= datetime.fromisoformat(error.timestamp) <= ended
        assert results["y"].output[1].timestamp == results["y"].store.to_array()[1].timestamp

    @pytest.mark.parametrize("storage", [None, "dict", "zarr_file_array"])
    def test_a_run_folder_keeps_it(self, storage, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "run"
        errors = run([odd_fails, after], {"x": [1, 3]}, run_folder=folder, storage=storage)
        kept = [(each.timestamp, each.machine) for each in errors["y"].output]
        skipped = [each.timestamp for each in errors["z"].output]
        monkeypatch.chdir("/")
        time.sleep(1.1)
        loaded = load_outputs("y", run_folder=folder)
        resumed = run([odd_fails, after], {"x": [1, 3]}, run_folder=folder, storage=storage, resume=True)
        for found in (loaded, resumed["y"].output):
            assert [(each.timestamp, each.machine) for each in found] == kept
            assert [each.current_directory for each in found] == [str(tmp_path)] * 2
            assert all(each.user == getpass.getuser() for each in found)
        assert [each.timestamp for each in load_outputs("z", run_folder=folder)] == skipped
        assert [each.timestamp for each in resumed["z"].output] == skipped

    @pytest.mark.parametrize("executor", [None, ThreadPoolExecutor, ProcessPoolExecutor])
    def test_workers_say_when_and_where(self, executor, tmp_path, monkeypatch):
        if executor is ThreadPoolExecutor:
            monkeypatch.chdir(tmp_path)  # back again at the end
        pipeline = Pipeline([PipeFunc(moved_away, "y", mapspec="x[i] -> y[i]", print_error=False)])
        with (executor or WorkerPool)(2) as pool:
            began = datetime.now().astimezone()
            results = pipeline.map(
                {"x": [0, 1], "folder": str(tmp_path)},
                executor=pool,
                error_handling="continue",
                show_progress=False,
            )
        ended = datetime.now().astimezone()
        time.sleep(1.1)
        for error in results["y"].output:
            assert Path(error.current_directory).parent == tmp_path
            assert began + timedelta(seconds=1) <= datetime.fromisoformat(error.timestamp) <= ended
            assert error.machine == platform.node()
            assert error.traceback.endswith(f"ValueError: {error.exception}\n")

    def test_threads_that_fail_at_once_get_their_own(self):
        table, wrong = OriginTable(), []

        def fail_often(name):
            for k in range(100):
                code = compile(f"def {name}_{k}():\n    raise ValueError", "code", "exec")
                exec(code, scope := {})
                try:
                    scope[f"{name}_{k}"]()
                except ValueError as error:
                    number = table.intern(error)
                    wrong.extend([f"{name}_{k}"] * (f"in {name}_{k}\n" not in table[number].traceback))

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(fail_often, "abcd"))
        finally:
            sys.setswitchinterval(interval)
        assert not wrong

    def test_the_origins_of_a_long_run_are_few(self):
        table = OriginTable()
        numbers = set()
        for _ in range(10_000):
            try:
                raise ValueError("no")
            except ValueError as error:
                numbers.add(table.intern(error))
        assert len(numbers) < 10
        assert len({id(table[number].traceback) for number in numbers}) == 1


def test_results_with_errors_can_be_pickled():
    results = run([odd_fails, after], {"x": [0, 1]})
    copied = pickle.loads(pickle.dumps(results))
    assert str(copied["y"].output[1].exception) == "odd: 1"
    assert copied["z"].output[1].reason == "input_is_error"


@pytest.mark.parametrize("kind", ["plain", "chained", "grouped"])
def test_what_failed_calls_held_is_given_free(kind):
    held = []

    class Large:
        pass

    @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
    def hold(x):
        large = Large()
        held.append(weakref.ref(large))
        try:
            raise KeyError(x)
        except KeyError as error:
            if kind == "chained":
                raise ValueError(x) from error
            if kind == "grouped":
                raise ExceptionGroup("group", [error]) from None
        raise ValueError(x)

    results = run([hold], {"x": range(10)})
    gc.collect()
    assert [reference() for reference in held] == [None] * 10
    assert type(results["y"].output[3]) is ErrorSnapshot


def test_a_failure_costs_at_most_300_bytes():
    n = 20_000
    values = np.arange(1, 2 * n, 2)
    run([odd_fails], {"x": values[:100]})
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        results = run([odd_fails], {"x": values})
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert results["y"].store.mask_linear().count(False) == n
    assert type(results["y"].store[n - 1]) is ErrorSnapshot
    assert used / n <= 300


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.ma.masked, "input_is_error"),
        (np.ma.MaskedArray([1, 2], mask=[True, False]), "array_contains_errors"),
    ],
    ids=["element", "array"],
)
def test_an_error_that_was_lost_since_is_still_the_reason(value, reason):
    # Its file was damaged, so it is missing now; what it caused is still known.
    seen = snapshot(after, PROPAGATED, FailureOrigin(), {"y": value}, dict)
    assert seen.reason == reason
    assert seen.error_info == {}


@pytest.mark.parametrize("spec", ["b[:], a[i] -> c[i]", "b[q], a[i] -> c[i, q]", "a[i] -> c[i]"])
@pytest.mark.parametrize("shape", [None, (1,)])
def test_an_array_of_a_single_call_that_failed_is_an_error_in_each_of_its_parts(spec, shape):
    def fail(a):
        raise ValueError("bad")

    pipeline = Pipeline(
        [
            PipeFunc(lambda x: x, "a", mapspec="x[i] -> a[i]"),
            PipeFunc(fail, "b", mapspec="... -> b[q]", internal_shape=shape, print_error=False),
            PipeFunc(lambda b, a: 1, "c", mapspec=spec),
        ]
    )
    results = pipeline.map({"x": [0, 1]}, error_handling="continue", parallel=False, show_progress=False)
    for each in results["c"].output.ravel():
        assert each.reason == "input_is_error"
        assert each.get_root_causes()[0].exception.args == ("bad",)
