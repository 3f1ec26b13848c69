"""Sizes that only results tell, where there are none: all elements failed, or nothing was to be run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipefunc_c import ErrorSnapshot, PipeFunc, Pipeline
from pipefunc_c.exceptions import PropagatedErrorSnapshot, ShapeError
from pipefunc_c.map import load_all_outputs, load_outputs, load_xarray_dataset

pytestmark = pytest.mark.timeout(60)

STORAGES = [
    "file_array",
    "dict",
    "shared_memory_dict",
    "zarr_file_array",
    "zarr_memory",
    "zarr_shared_memory",
]


def func(body, output, mapspec=None):
    return PipeFunc(body, output, mapspec=mapspec, print_error=False)


def split(n):
    if n < 0:
        raise ValueError(n)
    return [n] * 3


def n_rows(z):
    return len(z)


def n_items(a):
    return len(a)


SPLIT = func(split, "y", "n[i] -> y[i, j]")


def kinds(array):
    return [type(value).__name__ for value in np.ma.getdata(array).ravel().tolist()]


@pytest.fixture(params=[False, True], ids=["sequential", "workers"])
def options(request):
    return {"parallel": request.param, "error_handling": "continue", "show_progress": False}


class TestZippedWithAKnownSize:
    functions = (
        SPLIT,
        func(lambda y, w: y * w, "z", "y[i, j], w[j] -> z[i, j]"),
        func(n_rows, "s", "z[:, j] -> s[j]"),
        func(lambda z: z.shape, "q"),
    )

    def run(self, n, options, **more):
        return Pipeline(list(self.functions)).map({"n": n, "w": [1, 2, 3]}, **options, **more)

    def test_all_failed(self, options):
        results = self.run([-1, -2], options)
        assert kinds(results["y"].output) == ["ErrorSnapshot"] * 2
        assert results["z"].output.shape == (2, 3)
        assert kinds(results["z"].output) == ["PropagatedErrorSnapshot"] * 6
        assert [z.get_root_causes()[0].kwargs["n"] for z in results["z"].output[:, 1]] == [-1, -2]
        assert kinds(results["s"].output) == ["PropagatedErrorSnapshot"] * 3
        assert isinstance(results["q"].output, PropagatedErrorSnapshot)

    def test_nothing_to_run(self, options):
        results = self.run([], options)
        assert [results[name].output.shape for name in "yz"] == [(0, 1), (0, 3)]
        assert results["s"].output.tolist() == [0, 0, 0]
        assert results["q"].output == (0, 3)

    def test_one_of_two_failed(self, options):
        results = self.run([2, -1], options)
        assert results["z"].output[0].tolist() == [2, 4, 6]
        assert kinds(results["z"].output[1]) == ["PropagatedErrorSnapshot"] * 3

    def test_a_single_call_that_failed(self, options):
        functions = [func(split, "y", "... -> y[j]"), func(lambda y, w: y * w, "z", "y[j], w[j] -> z[j]")]
        results = Pipeline(functions).map({"n": -1, "w": [1, 2, 3]}, **options)
        assert isinstance(results["y"].output, ErrorSnapshot)
        assert kinds(results["z"].output) == ["PropagatedErrorSnapshot"] * 3


class TestNobodyKnows:
    functions = (
        SPLIT,
        func(lambda y: 2 * y, "z", "y[i, j] -> z[j, i]"),
        func(lambda z: z + 1, "u", "z[j, i] -> u[i, j]"),
    )

    def run(self, n, options, **more):
        return Pipeline(list(self.functions)).map({"n": n}, **options, **more)

    def test_one_error_stands_for_all_along_the_axis(self, options):
        results = self.run([-1, -2], options)
        assert [results[name].output.shape for name in "yzu"] == [(2, 1), (1, 2), (2, 1)]
        assert kinds(results["u"].output) == ["PropagatedErrorSnapshot"] * 2
        assert [u.get_root_causes()[0].kwargs["n"] for u in results["u"].output[:, 0]] == [-1, -2]

    def test_nothing_to_run(self, options):
        results = self.run([], options)
        assert [results[name].output.size for name in "yzu"] == [0, 0, 0]

    @pytest.mark.parametrize("j", [0, 2, slice(1, 3)], ids=repr)
    def test_an_index_of_an_axis_whose_size_nobody_knows(self, options, j):
        results = self.run([-1, -2], options, fixed_indices={"j": j})
        assert kinds(results["z"].output) == ["PropagatedErrorSnapshot"] * 2

    def test_fixed_indices_that_leave_nothing(self, options):
        results = self.run([1, 2], options, fixed_indices={"i": slice(0, 0), "j": 1})
        assert np.ma.getmaskarray(results["y"].store.to_array()).all()
        assert results["z"].output.shape == (0, 2)

    def test_an_index_that_is_on_no_axis_is_refused_where_the_size_is_known(self, options):
        with pytest.raises(IndexError, match="3"):
            self.run([1, 2], options, fixed_indices={"j": 3})


class TestRunFolders:
    @pytest.fixture
    def fetch(self, tmp_path):
        def fetch(x, up=tmp_path / "up"):
            if not Path(up).exists():
                raise OSError("the network is down")
            return [x] * 3

        return fetch

    @pytest.mark.parametrize("storage", STORAGES)
    def test_a_run_in_which_all_failed_goes_on(self, storage, fetch, options, tmp_path):
        functions = [func(fetch, "y", "x[i] -> y[i, j]"), func(lambda y: 2 * y, "z", "y[i, j] -> z[j, i]")]
        folder = tmp_path / "run"

        def run(**more):
            return Pipeline(functions).map({"x": [1, 2]}, folder, storage=storage, **options, **more)

        run()
        described = json.loads((folder / "run_info.json").read_text())
        assert "?" in described["resolved_shapes"]["y"]
        assert kinds(load_outputs("y", run_folder=folder)) == ["ErrorSnapshot"] * 2
        assert load_outputs("z", run_folder=folder).shape == (0, 2)
        assert set(load_all_outputs(run_folder=folder)) == {"y", "z"}
        assert load_xarray_dataset(run_folder=folder).sizes["i"] == 2
        assert kinds(run(resume=True)["z"].output) == ["PropagatedErrorSnapshot"] * 2
        (tmp_path / "up").touch()
        results = run(resume=True, retry_errors=True)
        assert results["y"].output.tolist() == [[1, 1, 1], [2, 2, 2]]
        assert results["z"].output.tolist() == [[2, 4]] * 3
        assert load_outputs("z", run_folder=folder).tolist() == [[2, 4]] * 3

    @pytest.mark.parametrize("storage", STORAGES)
    def test_errors_of_the_first_run_are_not_taken_for_those_of_others(self, storage, options, tmp_path):
        """What stood in for a row is no element of it."""
        pipeline = Pipeline(list(TestNobodyKnows.functions))
        inputs = {"n": [1, 2, -3]}
        pipeline.map(inputs, tmp_path / "run", storage=storage, fixed_indices={"i": 2}, **options)
        results = pipeline.map(inputs, tmp_path / "run", storage=storage, resume=True, **options)
        for j in range(3):
            assert results["z"].output[j, :2].tolist() == [2, 4]
            assert kinds(results["z"].output[j, 2:]) == ["PropagatedErrorSnapshot"]
        loaded = load_outputs("u", run_folder=tmp_path / "run")
        assert loaded[:2].tolist() == [[3, 3, 3], [5, 5, 5]]
        assert kinds(loaded[2]) == ["PropagatedErrorSnapshot"] * 3


class TestShapesOfElements:
    def test_what_is_ragged_behind_the_internal_axes_stays_as_it_is(self, options):
        functions = [
            func(lambda x: [[x], [1, 2]], "a", "x[i] -> a[i, j]"),
            func(n_items, "b", "a[i, j] -> b[i, j]"),
        ]
        results = Pipeline(functions).map({"x": [1, 2]}, **options)
        assert results["a"].output.tolist() == [[[1], [1, 2]], [[2], [1, 2]]]
        assert results["b"].output.tolist() == [[1, 2], [1, 2]]

    def test_a_size_that_differs_names_both_elements(self):
        pipeline = Pipeline([func(lambda x: [0] * x, "a", "x[i] -> a[i, j]")])
        results = pipeline.map({"x": [1, 1, 2]}, parallel=False)
        with pytest.raises(ShapeError, match=r"element 2 of 'a' has shape \(2,\).*as that of element 0"):
            _ = results["a"].output

    @pytest.mark.parametrize("declared", [4, (4,), (2,)], ids=repr)
    def test_a_single_call_that_is_not_as_declared_is_refused(self, declared):
        functions = [
            func(lambda n: list(range(n)), "x", "... -> x[i]"),
            func(lambda x: x, "y", "x[i] -> y[i]"),
        ]
        with pytest.raises(ShapeError, match=r"'x' has shape \(3,\), its internal shape was said to be"):
            Pipeline(functions).map({"n": 3}, internal_shapes={"x": declared}, parallel=False)

    @pytest.mark.parametrize("declared", [3, (3,), "?", ("?",)], ids=repr)
    def test_a_single_call_that_is_as_declared(self, declared):
        functions = [
            func(lambda n: list(range(n)), "x", "... -> x[i]"),
            func(lambda x: x, "y", "x[i] -> y[i]"),
        ]
        results = Pipeline(functions).map({"n": 3}, internal_shapes={"x": declared}, parallel=False)
        assert results["y"].output.tolist() == [0, 1, 2]
