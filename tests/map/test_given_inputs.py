"""Inputs that stand for data elsewhere: they are read where they are needed."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import pytest

from pipefunc_c import PipeFunc, Pipeline, pipefunc
from pipefunc_c.exceptions import ErrorSnapshot
from pipefunc_c.helpers import FileValue
from pipefunc_c.map import FileArray, MemoryArray, ZarrFileArray, load_outputs

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]


@pytest.fixture(params=["sequential", "parallel", "threads", "processes"])
def run(request):
    """Give a function that maps in one of the ways there are."""

    def run_map(pipeline, inputs, **options):
        if request.param in ("sequential", "parallel"):
            return pipeline.map(inputs, parallel=request.param == "parallel", show_progress=False, **options)
        if request.param == "threads":
            pool = ThreadPoolExecutor(2)
        else:
            pool = ProcessPoolExecutor(2, mp_context=get_context("fork"))
        with pool:
            return pipeline.map(inputs, executor=pool, chunksizes=3, show_progress=False, **options)

    return run_map


@pipefunc("y", mapspec="x[i], t[j] -> y[i, j]")
def scale(x, t, table):
    return type(x).__name__, float(x) * t + table["offset"]


def test_elements_of_files_and_values_of_files(run, tmp_path):
    x = np.arange(5, dtype="f4")
    inputs = {
        "x": FileArray.from_data(x, tmp_path / "x"),
        "t": [1, 2],
        "table": FileValue.from_data({"offset": 100}, tmp_path / "table"),
    }
    results = run(Pipeline([scale]), inputs)
    expected = [[("float32", float(a) * t + 100) for t in (1, 2)] for a in x]
    assert results["y"].output.tolist() == expected
    assert results["y"].kwargs == inputs


def test_two_axes_in_another_order(run, tmp_path):
    @pipefunc("z", mapspec="x[i, j] -> z[j, i]")
    def negative(x):
        return -x

    x = np.arange(6).reshape(2, 3)
    results = run(Pipeline([negative]), {"x": FileArray.from_data(x, tmp_path)})
    assert results["z"].output.tolist() == (-x.T).tolist()


def test_slices_and_wholes_of_files(run, tmp_path):
    @pipefunc("row", mapspec="x[i, :] -> row[i]")
    def row(x):
        x[0] = 0  # a copy
        return type(x).__name__, x.tolist()

    @pipefunc("whole")
    def whole(x):
        return type(x).__name__, x.dtype, x.tolist()

    x = np.arange(1, 7).reshape(2, 3)
    results = run(Pipeline([row, whole]), {"x": FileArray.from_data(x, tmp_path)})
    assert results["row"].output.tolist() == [("ndarray", [0, 2, 3]), ("ndarray", [0, 5, 6])]
    assert results["whole"].output == ("ndarray", np.dtype(object), x.tolist())


def test_an_annotation_decides_the_kind_of_array(tmp_path):
    @pipefunc("typed")
    def typed(x: npt.NDArray[np.int64]):
        return x.dtype, x.sum()

    x = FileArray.from_data(np.arange(1, 7), tmp_path)
    assert Pipeline([typed]).map({"x": x}, parallel=False)["typed"].output == (np.dtype("i8"), 21)


@pytest.mark.parametrize("kind", ["zarr", "memory"])
def test_any_storage_is_an_input(run, tmp_path, kind):
    @pipefunc("z", mapspec="x[i] -> z[i]")
    def double(x):
        return 2 * x

    x = ZarrFileArray(tmp_path, (3,)) if kind == "zarr" else MemoryArray(None, (3,))
    x.dump(slice(None), "ab")
    assert run(Pipeline([double]), {"x": x})["z"].output.tolist() == ["abab"] * 3


def test_missing_elements_arrive_masked(run, tmp_path):
    @pipefunc("z", mapspec="x[i] -> z[i]")
    def is_missing(x):
        return x is np.ma.masked or bool(np.ma.is_masked(x))

    @pipefunc("mask")
    def mask(x):
        return np.ma.getmaskarray(x).tolist()

    x = FileArray(tmp_path, (3,))
    x.dump(1, 5)
    results = run(Pipeline([is_missing, mask]), {"x": x})
    assert results["z"].output.tolist() == [True, False, True]
    assert results["mask"].output == [True, False, True]


class Counted:
    """Leaves a file for each time it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __setstate__(self, state):
        self.__dict__ = state
        with open(f"{self.folder}/read by {os.getpid()}", "a") as file:
            file.write("x")


@pipefunc("z", mapspec="x[i] -> z[i]")
def use(x, counted):
    return os.getpid()


def test_a_value_is_read_once_per_process_that_needs_it(run, tmp_path):
    counted = FileValue.from_data(Counted(tmp_path), tmp_path / "value")
    results = run(Pipeline([use]), {"x": range(100), "counted": counted})
    found = {path.name: path.read_text() for path in tmp_path.glob("read by *")}
    assert set(found) == {f"read by {pid}" for pid in results["z"].output}
    assert set(found.values()) == {"x"}


def test_a_file_that_changed_between_two_runs_is_read_again(run, tmp_path):
    @pipefunc("z", mapspec="x[i] -> z[i]")
    def add(x, v):
        return x + v

    for number in (10, 20):
        x = FileArray.from_data([number, number + 1], tmp_path / "x")
        v = FileValue.from_data(number, tmp_path / "v")
        assert run(Pipeline([add]), {"x": x, "v": v})["z"].output.tolist() == [2 * number, 2 * number + 1]


def test_failures_show_what_was_received(run, tmp_path):
    @pipefunc("z", mapspec="x[i] -> z[i]", print_error=False)
    def fail(x, v):
        raise ValueError(x)

    inputs = {
        "x": FileArray.from_data([5, 6], tmp_path / "x"),
        "v": FileValue.from_data("value", tmp_path / "v"),
    }
    folder = tmp_path / "run"
    results = run(Pipeline([fail]), inputs, error_handling="continue", run_folder=folder)
    for snapshot in (results["z"].output[1], load_outputs("z", run_folder=folder)[1]):
        assert isinstance(snapshot, ErrorSnapshot)
        assert snapshot.kwargs == {"x": 6, "v": "value"}


def test_a_file_that_is_gone_is_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing") as caught:
        run(Pipeline([use]), {"x": [1, 2], "counted": FileValue(tmp_path / "nothing")})
    assert any("inputs of use" in note for note in caught.value.__notes__)


def test_a_run_with_files_is_resumed(tmp_path, recwarn):
    x = FileArray.from_data([1, 2, 3], tmp_path / "x")
    counted = FileValue.from_data(1, tmp_path / "value")
    options = {"run_folder": tmp_path / "run", "parallel": False}
    Pipeline([use]).map({"x": x, "counted": counted}, **options)
    same = {"x": FileArray(tmp_path / "x", (3,)), "counted": FileValue(tmp_path / "value")}
    assert same["x"][0] == 1
    Pipeline([use]).map(same, resume=True, **options)
    assert not recwarn.list
    other = {**same, "counted": FileValue.from_data(1, tmp_path / "other")}
    with pytest.raises(ValueError, match="counted"):
        Pipeline([use]).map(other, resume=True, **options)
    saved = (tmp_path / "run" / "inputs" / "x.cloudpickle").stat().st_size
    assert saved <= 1000


@pytest.mark.parametrize("kind", ["value", "array"])
def test_data_in_files_that_changed_are_other_inputs(tmp_path, kind):
    @pipefunc("y", mapspec="x[i] -> y[i]")
    def add(x, t):
        return x + np.sum(t)

    def given(number):
        if kind == "value":
            return FileValue.from_data(number, tmp_path / "t.pickle")
        return FileArray.from_data([number, number], tmp_path / "t")

    pipeline, options = Pipeline([add]), {"run_folder": tmp_path / "run", "parallel": False, "resume": True}
    first = pipeline.map({"x": [1], "t": given(1)}, **options)["y"].output.tolist()
    assert pipeline.map({"x": [1], "t": given(1)}, **options)["y"].output.tolist() == first
    with pytest.raises(ValueError, match="inputs differ: 't'"):
        pipeline.map({"x": [1], "t": given(2)}, **options)
    skipping = {**options, "resume_validation": "skip"}
    assert pipeline.map({"x": [1], "t": given(2)}, **skipping)["y"].output.tolist() == first
    assert pipeline.map({"x": [1], "t": given(2)}, **options)["y"].output.tolist() == first


def test_files_that_are_gone_do_not_matter_to_a_finished_run(tmp_path):
    pipeline = Pipeline([PipeFunc(lambda x: x + 1, "y")])
    value = FileValue.from_data(1, tmp_path / "x.pickle")
    pipeline.map({"x": value}, run_folder=tmp_path / "run", parallel=False)
    value.path.unlink()
    results = pipeline.map({"x": value}, run_folder=tmp_path / "run", parallel=False, resume=True)
    assert results["y"].output == 2
