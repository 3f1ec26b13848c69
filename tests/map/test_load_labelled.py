"""Datasets and frames of parts of results, of run folders, and without the packages that they need."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import xarray as xr
from map.labelled import FUNCTIONS, INPUTS, double, mapped

from pipefunc_c import Pipeline
from pipefunc_c.exceptions import MissingDependencyError, UnknownNameError
from pipefunc_c.map import FileArray, load_dataframe, load_xarray_dataset
from pipefunc_c.map.xarray import load_xarray, xarray_dataset_from_results
from pipefunc_c.map.xarray import load_xarray_dataset as load_with_inputs

pytestmark = pytest.mark.timeout(60)


class TestResults:
    def test_pickled_and_copied_results(self):
        results = Pipeline(FUNCTIONS).map(INPUTS, parallel=False)
        expected = results.to_xarray()
        for other in (results.copy(), pickle.loads(pickle.dumps(results))):
            xr.testing.assert_identical(other.to_xarray(), expected)

    def test_only_some_outputs(self):
        results = Pipeline(FUNCTIONS).map(INPUTS, parallel=False, output_names={"row"})
        assert "total" not in results.to_xarray()

    def test_outputs_as_inputs(self):
        inputs = {"y": np.array([1, 2, 3]), "b": INPUTS["b"], "c": INPUTS["c"]}
        dataset = Pipeline(FUNCTIONS).map(inputs, parallel=False, auto_subpipeline=True).to_xarray()
        assert dataset["b:y"].values.tolist() == [("p", 1), ("qq", 2), ("rrr", 3)]

    def test_no_results_know_of_no_map(self):
        results = Pipeline([double]).map({"x": [1]}, parallel=False, return_results=False)
        with pytest.raises(ValueError, match="return_results=True"):
            results.to_xarray()

    def test_a_part_of_the_results(self):
        pipeline = Pipeline(FUNCTIONS)
        results = pipeline.map(INPUTS, parallel=False)
        dataset = xarray_dataset_from_results(INPUTS, {"row": results["row"]}, pipeline)
        assert set(dataset.variables) == {"row", "b:x"}

    def test_results_of_scoped_inputs(self):
        pipeline = Pipeline([double], scope="foo")
        inputs = {"foo": {"x": [1, 2]}}
        dataset = xarray_dataset_from_results(inputs, pipeline.map(inputs, parallel=False), pipeline)
        assert dataset["foo.x"].values.tolist() == [1, 2]

    def test_typed_arrays_are_views(self):
        results = Pipeline([double]).map({"x": np.arange(3.0)}, parallel=False)
        dataset = results.to_xarray()
        assert np.shares_memory(dataset["y"].values, results["y"].array)
        with pytest.raises(ValueError, match="read-only"):
            dataset["y"].values[0] = 1


class TestFolders:
    @pytest.fixture
    def folder(self, tmp_path):
        Pipeline(FUNCTIONS).map(INPUTS, tmp_path / "run", parallel=False)
        return tmp_path / "run"

    def test_some_outputs(self, folder):
        dataset = load_xarray_dataset("total", "row", run_folder=folder)
        assert list(dataset.data_vars) == ["row", "total"]
        assert list(dataset.coords) == ["b:x"]
        assert list(load_dataframe("row", run_folder=str(folder)).columns) == ["row", "b", "x"]

    def test_only_inputs_that_are_coordinates_are_read(self, folder):
        (folder / "inputs/c.cloudpickle").write_bytes(b"garbage")
        assert "row" in load_xarray_dataset("row", run_folder=folder)
        with pytest.raises(ValueError, match=r"c\.cloudpickle.* is damaged"):
            load_xarray_dataset("z", run_folder=folder)

    def test_a_moved_folder(self, folder, tmp_path):
        shutil.move(folder, tmp_path / "moved")
        assert load_xarray_dataset(run_folder=tmp_path / "moved")["total"].item() == 42.0

    def test_unknown_outputs_are_refused(self, folder):
        with pytest.raises(UnknownNameError, match="no output 'x'"):
            load_xarray_dataset("x", run_folder=folder)
        with pytest.raises(KeyError):
            load_dataframe("nope", run_folder=folder)

    def test_no_run(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            load_xarray_dataset(run_folder=tmp_path)

    def test_a_run_that_stopped(self, tmp_path):
        def fail(x):
            if x == 2:
                raise ValueError(x)
            return x

        functions = [mapped(fail, "y", "x[i] -> y[i]"), mapped(len, "n", renames={"obj": "y"})]
        with pytest.raises(ValueError, match="2"):
            Pipeline(functions).map({"x": [1, 2, 3]}, tmp_path, parallel=False)
        dataset = load_xarray_dataset(run_folder=tmp_path)
        assert dataset["y"].values[0] == 1
        assert np.isnan(dataset["y"].values[1:]).all()
        assert np.isnan(dataset["n"].item())

    def test_an_input_in_files(self, tmp_path):
        x = FileArray.from_data(np.arange(3.0), tmp_path / "x")
        results = Pipeline([double]).map({"x": x}, tmp_path / "run", parallel=False)
        for dataset in (results.to_xarray(), load_xarray_dataset(run_folder=tmp_path / "run")):
            assert dataset["x"].dtype == np.float64
            assert dataset["x"].values.tolist() == [0, 1, 2]
            assert dataset["y"].values.tolist() == [0, 2, 4]

    def test_inputs_at_hand(self, folder):
        mapspecs = Pipeline(FUNCTIONS).mapspecs()
        dataset = load_with_inputs(mapspecs, INPUTS, run_folder=folder, output_names=["y"])
        assert list(dataset.variables) == ["x", "y"]
        assert set(load_with_inputs(mapspecs, {}, run_folder=folder).variables) == {"y", "z", "row", "total"}
        array = load_xarray("z", mapspecs, INPUTS, folder)
        assert isinstance(array, xr.DataArray)
        assert (array.name, array.dims) == ("z", ("i", "j"))
        assert set(array.coords) == {"b:x", "c"}

    def test_nothing_heavy_is_imported_before(self):
        program = textwrap.dedent(
            """
            import sys
            import pipefunc_c.map.xarray
            assert not {"xarray", "pandas", "polars", "pyarrow"} & sys.modules.keys()
            """
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("package", ["xarray", "pandas", "polars"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package):
    results = Pipeline([double]).map({"x": [1]}, parallel=False)
    monkeypatch.setitem(sys.modules, package, None)
    backend = "polars" if package == "polars" else "pandas"
    with pytest.raises(MissingDependencyError, match=rf"pipefunc_c\[{package}\]") as caught:
        results.to_dataframe(backend=backend)
    assert isinstance(caught.value, ImportError)
