"""What differs from pipefunc on purpose; docs/differences.md has a row for each test."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import numpy.typing as npt
import pytest

from pipefunc_c import PipeFunc, Pipeline, pipefunc
from pipefunc_c.map import load_outputs


@pipefunc("y", mapspec="x[i] -> y[i]")
def double(x):
    return 2 * x


def test_results_are_stored_under_the_id_array():
    assert Pipeline([double]).map({"x": [1.0]})["y"].store.storage_id == "array"


def test_array_is_the_typed_result_without_a_copy():
    result = Pipeline([double]).map({"x": [1.0, 2.0]})["y"]
    assert result.output.dtype == object
    assert result.array.dtype == np.float64
    assert result.array.tolist() == [2.0, 4.0]
    assert np.shares_memory(result.array, result.store.typed())


def test_array_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        Pipeline([double]).map({"x": [1.0]})["y"].array[0] = 3.0


def test_a_complete_reduction_receives_a_plain_array():
    received = []

    @pipefunc("total")
    def total(y):
        received.append(y)
        return sum(y)

    Pipeline([double, total]).map({"x": [1.0, 2.0]}, parallel=False)
    assert type(received[0]) is np.ndarray
    assert received[0].dtype == object
    assert received[0].flags.writeable


def test_a_reduction_annotated_as_masked_receives_a_masked_array():
    received = []

    @pipefunc("total")
    def total(y: np.ma.MaskedArray) -> float:
        received.append(y)
        return y.sum()

    Pipeline([double, total]).map({"x": [1.0, 2.0]}, parallel=False)
    assert isinstance(received[0], np.ma.MaskedArray)


def test_a_reduction_annotated_as_numeric_receives_a_typed_array():
    received = []

    @pipefunc("total")
    def total(y: npt.NDArray[np.float64]) -> float:
        received.append(y)
        return float(y.sum())

    results = Pipeline([double, total]).map({"x": [1.0, 2.0]}, parallel=False)
    assert received[0].dtype == np.float64
    assert np.shares_memory(received[0], results["y"].array)
    assert not received[0].flags.writeable


def test_an_element_that_does_not_fit_the_annotation_is_named():
    @pipefunc("total")
    def total(y: npt.NDArray[np.int64]) -> int:
        return int(y.sum())

    with pytest.raises(TypeError, match=r"element \(1,\) of 'y' is np\.float64\(2\.5\)"):
        Pipeline([double, total]).map({"x": [1.0, 1.25]}, parallel=False)


@pytest.mark.parametrize("storage", ["shared_memory_dict", "shared_array"])
def test_shared_memory_needs_no_folder(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = Pipeline([double]).map({"x": [1.0, 2.0]}, storage=storage)
    assert results["y"].output.tolist() == [2.0, 4.0]
    assert not list(tmp_path.iterdir())


def test_at_most_one_socket_is_opened_for_any_number_of_errors(monkeypatch):
    opened = []
    real_socket = socket.socket

    def counting_socket(*arguments):
        opened.append(arguments)
        return real_socket(*arguments)

    monkeypatch.setattr(socket, "socket", counting_socket)

    @pipefunc("y", mapspec="x[i] -> y[i]")
    def fail(x):
        raise ValueError(x)

    results = Pipeline([fail]).map({"x": [1.0, 2.0, 3.0]}, parallel=False, error_handling="continue")
    assert [str(snapshot.exception) for snapshot in results["y"].output] == ["1.0", "2.0", "3.0"]
    assert len({snapshot.ip_address for snapshot in results["y"].output}) == 1
    assert len(opened) <= 1


def test_an_error_in_a_map_has_one_note():
    @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
    def fail(x):
        raise ValueError(x)

    with pytest.raises(ValueError, match="1.0") as caught:
        Pipeline([fail]).map({"x": [1.0]}, parallel=False)
    assert len(caught.value.__notes__) == 1


def test_objects_keep_their_identity_from_stage_to_stage():
    lock = threading.Lock()

    @pipefunc("held", mapspec="x[i] -> held[i]")
    def hold(x):
        return lock

    @pipefunc("same", mapspec="held[i] -> same[i]")
    def same(held):
        return held is lock

    assert Pipeline([hold, same]).map({"x": [0]}, parallel=False)["same"].array.tolist() == [True]


def test_parameters_that_take_any_number_are_none():
    def call(x, *args, **kwargs):
        return x, args, kwargs

    function = PipeFunc(call, "y")
    assert function.parameters == ("x",)
    assert Pipeline([function])("y", x=1) == (1, (), {})


def test_positional_only_parameters_are_given_by_name():
    def power(base, exponent, /):
        return base**exponent

    function = PipeFunc(power, "y", mapspec="base[i] -> y[i]")
    assert function(base=3, exponent=2) == 9
    assert Pipeline([function]).map({"base": [1, 2], "exponent": 3})["y"].output.tolist() == [1, 8]


def test_a_mapped_function_is_not_run_with_whole_arrays():
    with pytest.raises(RuntimeError, match="map"):
        Pipeline([double])("y", x=[1, 2])


@dataclasses.dataclass
class Basket:
    items: list[int] = dataclasses.field(default_factory=list)


def test_a_default_factory_makes_a_value_for_each_call():
    pipeline = Pipeline([PipeFunc(Basket, "basket")])
    assert pipeline().items is not pipeline().items


def test_an_unknown_name_is_never_put_into_a_scope():
    pipeline = Pipeline([double])
    with pytest.raises(ValueError, match="nothing"):
        pipeline.update_scope("s", inputs={"x", "nothing"})
    assert pipeline["y"].parameters == ("x",)


# -- run folders and worker processes ----------------------------------------------------------------


def test_the_files_of_a_run_folder_do_not_grow_in_number_with_its_elements(tmp_path):
    Pipeline([double]).map({"x": range(100)}, run_folder=tmp_path / "run")
    committed = [path.suffix for path in (tmp_path / "run" / "commits").iterdir()]
    assert sorted(committed) == [".data", ".ledger"]


def test_a_run_reads_its_working_copy_in_memory(tmp_path):
    results = Pipeline([double]).map({"x": [1.0, 2.0]}, run_folder=tmp_path / "run")
    for path in (tmp_path / "run" / "commits").iterdir():
        path.unlink()
    assert results["y"].output.tolist() == [2.0, 4.0]
    assert load_outputs("y", run_folder=tmp_path / "run").mask.all()


def test_a_folder_of_others_is_not_cleared(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="thesis.tex"):
        Pipeline([double]).map({"x": [1.0]}, run_folder=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def run_script(tmp_path, text: str) -> str:
    """Run a script in a process of its own, where a map may fork; give what it prints."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(text))
    result = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


needs_two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="a single core runs everything in one process",
)


@needs_two_cores
def test_a_map_runs_in_workers_of_its_own(tmp_path):
    printed = run_script(
        tmp_path,
        """
        import multiprocessing
        import time

        from pipefunc_c import Pipeline, pipefunc

        @pipefunc("name", mapspec="x[i] -> name[i]")
        def name(x):
            time.sleep(0.001)
            return multiprocessing.current_process().name

        print(*sorted(set(Pipeline([name]).map({"x": range(100)})["name"].output)))
        """,
    )
    assert printed.split()[:2] == ["pipefunc_c-worker-0", "pipefunc_c-worker-1"]


@needs_two_cores
def test_an_error_in_a_worker_has_the_remote_traceback_as_its_cause(tmp_path):
    printed = run_script(
        tmp_path,
        """
        from pipefunc_c import Pipeline, pipefunc

        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def fail(x):
            raise ValueError(x)

        try:
            Pipeline([fail]).map({"x": [1, 2]})
        except ValueError as error:
            print(type(error.__cause__).__name__, "in fail" in str(error.__cause__))
        """,
    )
    assert printed.split() == ["RemoteError", "True"]


@needs_two_cores
def test_a_map_in_a_worker_runs_in_this_worker(tmp_path):
    printed = run_script(
        tmp_path,
        """
        import os

        from pipefunc_c import Pipeline, pipefunc

        @pipefunc("inner", mapspec="x[i] -> inner[i]")
        def inner(x):
            return os.getpid()

        @pipefunc("same", mapspec="n[i] -> same[i]")
        def outer(n):
            return set(Pipeline([inner]).map({"x": range(n)})["inner"].output) == {os.getpid()}

        print(*Pipeline([outer]).map({"n": [10, 20]})["same"].output)
        """,
    )
    assert printed.split() == ["True", "True"]


def test_an_axis_of_unknown_size_can_be_fixed():
    @pipefunc("x", internal_shape="?", mapspec="... -> x[i]")
    def some():
        return [1, 2, 3]

    @pipefunc("y", mapspec="x[i] -> y[i]")
    def double(x):
        return 2 * x

    pipeline = Pipeline([some, double])
    found = pipeline.map({}, fixed_indices={"i": 1}, parallel=False)
    assert found["y"].output.tolist() == [None, 4, None]
    with pytest.raises(IndexError, match="i=3 is out of bounds for an axis of size 3"):
        pipeline.map({}, fixed_indices={"i": 3}, parallel=False)
