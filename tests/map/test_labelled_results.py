"""Results with named axes, from a map and from its run folder: both ways give the same dataset and frame."""

from __future__ import annotations

import itertools
from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from map.labelled import FUNCTIONS, INPUTS, double, mapped

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import ShapeError
from pipefunc_c.map import load_dataframe, load_xarray_dataset, storage_registry
from pipefunc_c.map.xarray import (
    DimensionlessArray,
    xarray_dataset_to_dataframe,
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["map", "folder"])
def source(request):
    return request.param


@pytest.fixture
def datasets(source, tmp_path):
    """Return a function that maps and gives (dataset, frame) the one way or the other."""

    def make(functions, inputs, *names, load_intermediate=True, backend="pandas", **options):
        results = Pipeline(functions).map(inputs, tmp_path / "run", parallel=False, **options)
        if source == "map":
            arguments = {"load_intermediate": load_intermediate, "type_cast": True}
            return results.to_xarray(**arguments), results.to_dataframe(**arguments, backend=backend)
        arguments = {"load_intermediate": load_intermediate, "run_folder": tmp_path / "run"}
        return load_xarray_dataset(*names, **arguments), load_dataframe(*names, backend=backend, **arguments)

    return make


class TestDatasets:
    def test_axes_coordinates_and_values(self, datasets):
        dataset, _ = datasets(FUNCTIONS, INPUTS)
        assert dict(dataset.sizes) == {"i": 3, "j": 2}
        assert set(dataset.data_vars) == {"y", "z", "row", "total"}
        assert {name: dataset[name].dims for name in dataset.variables} == {
            "x": ("i",),
            "y": ("i",),
            "b:x": ("i",),
            "c": ("j",),
            "z": ("i", "j"),
            "row": ("i",),
            "total": (),
        }
        assert dataset["z"].values.tolist() == [[3.5, 4.5], [6.5, 7.5], [9.5, 10.5]]
        assert dataset["b:x"].values.tolist() == [("p", 1), ("qq", 2), ("rrr", 3)]
        assert dataset["total"].item() == 42.0

    def test_arrays_are_typed_where_all_elements_have_one_type(self, datasets):
        dataset, _ = datasets(FUNCTIONS, INPUTS)
        assert {name: dataset[name].dtype.str[1:] for name in ("x", "y", "z", "total", "c")} == {
            "x": "i8",
            "y": "i8",
            "z": "f8",
            "total": "f8",
            "c": "f8",
        }

    def test_mixed_types_are_objects(self, datasets):
        values = [1, 2.5, None, "a"]
        dataset, _ = datasets([mapped(lambda k: values[k], "v", "k[i] -> v[i]")], {"k": range(4)})
        assert dataset["v"].dtype == object
        assert dataset["v"].values.tolist() == values

    @pytest.mark.parametrize("other", ["text", datetime(2020, 2, 2), 2.5, True], ids=repr)
    def test_none_stays_none_whatever_is_beside_it(self, datasets, other):
        function = mapped(lambda k, m: k, "v", "k[i], m[i] -> v[i]")
        dataset, frame = datasets([function], {"k": [None, other], "m": [other, None]})
        assert dataset["v"].values.tolist() == frame["v"].tolist() == [None, other]
        assert dataset["k:m"].values.tolist() == [(None, other), (other, None)]
        assert (frame["k"].tolist(), frame["m"].tolist()) == ([None, other], [other, None])

    def test_strings_and_times_are_those_of_pandas(self, datasets):
        names, times = ["a", "b"], [datetime(2020, 2, 2), datetime(2020, 2, 3)]
        functions = [
            mapped(lambda k: names[k], "name", "k[i] -> name[i]"),
            mapped(lambda k: times[k], "time", "k[i] -> time[i]"),
        ]
        dataset, frame = datasets(functions, {"k": range(2)})
        assert dataset["time"].dtype.kind == "M"
        assert frame["time"].dtype.kind == "M"
        assert frame["name"].tolist() == ["a", "b"]

    def test_several_inputs_of_an_axis_are_one_index(self, datasets):
        dataset, _ = datasets(
            [mapped(lambda x, b: x, "y", "x[i], b[i] -> y[i]")], {"x": [1, 2], "b": ["p", "q"]}
        )
        index = dataset["b:x"].to_index()
        assert isinstance(index, pd.MultiIndex)
        assert list(index.names) == ["b", "x"]

    def test_several_inputs_of_several_axes_are_tuples(self, datasets):
        inputs = {"x": np.arange(4.0).reshape(2, 2), "w": np.arange(4).reshape(2, 2)}
        dataset, frame = datasets([mapped(lambda x, w: x + w, "y", "x[i, j], w[i, j] -> y[i, j]")], inputs)
        assert dataset["w:x"].values.tolist() == [[(0, 0.0), (1, 1.0)], [(2, 2.0), (3, 3.0)]]
        assert frame["w"].tolist() == [0, 1, 2, 3]
        assert frame["x"].tolist() == [0.0, 1.0, 2.0, 3.0]

    def test_equal_objects_of_several_types_stay_apart(self, datasets):
        inputs = {"x": [1, True, 1.0], "b": ["p", "q", "r"]}
        dataset, frame = datasets([mapped(lambda x, b: x, "y", "x[i], b[i] -> y[i]")], inputs)
        assert [type(x) for _, x in dataset["b:x"].values] == [int, bool, float]
        assert [type(x) for x in frame["x"]] == [int, bool, float]
        assert frame["b"].tolist() == ["p", "q", "r"]

    def test_values_without_a_hash(self, datasets):
        inputs = {"x": [1, 2], "b": [[1], [2, 3]]}
        dataset, frame = datasets([mapped(lambda x, b: x, "y", "x[i], b[i] -> y[i]")], inputs)
        assert dataset["b:x"].values.tolist() == [([1], 1), ([2, 3], 2)]
        assert frame["b"].tolist() == [[1], [2, 3]]

    def test_permuted_outputs(self, datasets):
        inputs = {"x": np.arange(6.0).reshape(2, 3), "w": np.array([10, 20])}
        dataset, frame = datasets([mapped(lambda x, w: x + w, "y", "x[i, j], w[i] -> y[j, i]")], inputs)
        assert dataset["y"].dims == ("j", "i")
        assert dict(dataset.sizes) == {"i": 2, "j": 3}
        assert dataset["y"].values.tolist() == (inputs["x"] + inputs["w"][:, None]).T.tolist()
        assert (frame["x"] + frame["w"] == frame["y"]).all()

    def test_rows_of_an_input(self, datasets):
        inputs = {"x": np.arange(6.0).reshape(2, 3)}
        dataset, _ = datasets([mapped(lambda x: x.sum(), "y", "x[i, :] -> y[i]")], inputs)
        assert dataset["x"].dims == ("i",)
        assert [row.tolist() for row in dataset["x"].values] == [[0, 1, 2], [3, 4, 5]]

    def test_axes_of_the_function(self, datasets):
        functions = [mapped(lambda x: np.array([x, x + 1.0]), "m", "x[i] -> m[i, j]", internal_shape=2)]
        dataset, _ = datasets(functions, {"x": [1, 2]})
        assert dataset["m"].dims == ("i", "j")
        assert dataset["m"].dtype == np.float64
        assert dataset["m"].values.tolist() == [[1, 2], [2, 3]]

    def test_lists_along_axes_of_the_function(self, datasets):
        functions = [mapped(lambda x: [x, x + 1], "m", "x[i] -> m[i, j]", internal_shape="?")]
        dataset, _ = datasets(functions, {"x": [1, 2]})
        assert dataset["m"].values.tolist() == [[1, 2], [2, 3]]

    def test_an_output_that_makes_an_axis_labels_it(self, datasets):
        make = mapped(lambda n: list(range(n)), "a", "... -> a[i]", internal_shape="?")
        functions = [make, mapped(lambda a: a + 0.5, "b", "a[i] -> b[i]")]
        dataset, frame = datasets(functions, {"n": 3})
        assert list(dataset.coords) == ["a"]
        assert list(dataset.data_vars) == ["b"]
        assert frame.to_dict("list") == {"a": [0, 1, 2], "b": [0.5, 1.5, 2.5]}

    def test_an_output_that_makes_an_axis_is_a_variable_if_asked(self, datasets):
        make = mapped(lambda n: list(range(n)), "a", "... -> a[i]", internal_shape="?")
        functions = [make, mapped(lambda a, x: a + x, "b", "a[i], x[j] -> b[i, j]")]
        dataset, frame = datasets(functions, {"n": 2, "x": [5, 7]}, load_intermediate=False)
        assert list(dataset.coords) == ["x"]
        assert set(dataset.data_vars) == {"a", "b"}
        assert sorted(frame["b"]) == [5, 6, 7, 8]

    def test_a_frame_without_coordinates_has_one_row_per_point(self, datasets):
        make = mapped(lambda n: list(range(n)), "a", "... -> a[i]", internal_shape="?")
        _, frame = datasets([make], {"n": 3})
        assert frame.to_dict("list") == {"a": [0, 1, 2]}

    def test_arrays_as_elements(self, datasets):
        dataset, frame = datasets([mapped(lambda x: np.full(x, 1.5), "v", "x[i] -> v[i]")], {"x": [1, 2]})
        assert [each.tolist() for each in dataset["v"].values] == [[1.5], [1.5, 1.5]]
        assert [each.tolist() for each in frame["v"]] == [[1.5], [1.5, 1.5]]

    def test_arrays_of_one_shape_as_elements(self, datasets):
        dataset, _ = datasets([mapped(lambda x: np.arange(3.0) + x, "v", "x[i] -> v[i]")], {"x": [1, 2]})
        assert dataset["v"].dims == ("i",)
        assert [each.tolist() for each in dataset["v"].values] == [[1, 2, 3], [2, 3, 4]]

    @pytest.mark.parametrize(
        "value", [np.arange(3), [1, 2], (1, 2), np.zeros((2, 2))], ids=["a", "l", "t", "aa"]
    )
    def test_arrays_of_single_calls_have_no_axes(self, datasets, value):
        dataset, frame = datasets([mapped(lambda x: value, "v")], {"x": 1})
        assert dataset["v"].dims == ()
        assert isinstance(dataset["v"].item(), DimensionlessArray)
        assert frame["v"][0].tolist() == np.asarray(value).tolist()

    @pytest.mark.parametrize("value", [1, "text", None, {"a": 1}, {1, 2}], ids=str)
    def test_values_of_single_calls(self, datasets, value):
        dataset, frame = datasets([mapped(lambda x: value, "v"), double], {"x": [1, 2]})
        assert dataset["v"].item() == value
        assert len(frame) == 2
        assert frame["v"].tolist() == [value, value]

    def test_empty_inputs(self, datasets):
        dataset, frame = datasets([double], {"x": []})
        assert dict(dataset.sizes) == {"i": 0}
        assert list(frame.columns) == ["x", "y"]
        assert len(frame) == 0

    def test_scopes(self, datasets):
        functions = Pipeline([double], scope="foo").functions
        dataset, frame = datasets(functions, {"foo": {"x": [1, 2]}})
        assert dataset["foo.y"].values.tolist() == [2, 4]
        assert list(frame.columns) == ["foo.x", "foo.y"]

    def test_a_default_labels_an_axis(self, datasets):
        function = mapped(lambda x: 2 * x, "y", "x[i] -> y[i]", defaults={"x": np.array([1.0, 2.0])})
        dataset, _ = datasets([function], {})
        assert dataset["x"].values.tolist() == [1.0, 2.0]

    def test_a_name_that_is_also_that_of_an_axis(self, datasets):
        dataset, frame = datasets([mapped(lambda x: 2 * x, "y", "x[x] -> y[x]")], {"x": [1, 2]})
        assert dataset["y"].sel(x=2).item() == 4
        assert frame.to_dict("list") == {"x": [1, 2], "y": [2, 4]}

    def test_axes_of_one_name_and_two_sizes_are_refused(self, datasets):
        functions = [mapped(lambda a: a, "p", "a[i] -> p[i]"), mapped(lambda b: b, "q", "b[i] -> q[i]")]
        with pytest.raises(ShapeError, match=r"axis 'i' has size 2 in 'p' and 3 in 'q'"):
            datasets(functions, {"a": [1, 2], "b": [1, 2, 3]})

    def test_missing_elements_are_nan(self, datasets):
        dataset, frame = datasets([double], {"x": [1, 2, 3]}, fixed_indices={"i": slice(0, 2)})
        np.testing.assert_array_equal(dataset["y"].values, [2, 4, np.nan])
        np.testing.assert_array_equal(frame["y"], [2, 4, np.nan])

    def test_errors_are_elements(self, datasets):
        def fail(x):
            return 1 // x

        dataset, frame = datasets(
            [mapped(fail, "y", "x[i] -> y[i]")], {"x": [1, 0]}, error_handling="continue"
        )
        assert [type(each).__name__ for each in dataset["y"].values] == ["int", "ErrorSnapshot"]
        assert frame["y"][1].kwargs == {"x": 0}

    def test_an_error_in_the_place_of_an_array(self, datasets):
        def fail(n):
            raise ValueError(n)

        functions = [
            mapped(fail, "a", "... -> a[i]", internal_shape="?"),
            mapped(lambda a: a, "b", "a[i] -> b[i]"),
        ]
        dataset, _ = datasets(functions, {"n": 3}, error_handling="continue")
        assert type(dataset["a"].item()).__name__ == "ErrorSnapshot"

    @pytest.mark.parametrize("storage", sorted(storage_registry))
    @pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
    def test_every_storage_gives_the_same(self, tmp_path, storage, parallel):
        expected = Pipeline(FUNCTIONS).map(INPUTS, parallel=False).to_xarray()
        results = Pipeline(FUNCTIONS).map(INPUTS, tmp_path / "run", parallel=parallel, storage=storage)
        for dataset in (results.to_xarray(), load_xarray_dataset(run_folder=tmp_path / "run")):
            xr.testing.assert_identical(dataset, expected)
            assert {name: dataset[name].dtype for name in dataset.variables} == {
                name: expected[name].dtype for name in expected.variables
            }


class TestFrames:
    def test_one_row_per_point(self, datasets):
        _, frame = datasets(FUNCTIONS, INPUTS)
        rows = []
        for (x, b), c in itertools.product(zip(INPUTS["x"], INPUTS["b"], strict=True), INPUTS["c"]):
            zs = [2 * x + len(b) + each for each in INPUTS["c"]]
            rows.append(
                {"x": x, "y": 2 * x, "c": c, "z": 2 * x + len(b) + c, "row": sum(zs), "total": 42.0, "b": b}
            )
        assert frame.to_dict("records") == rows
        assert list(frame.columns) == list(rows[0])

    def test_columns_are_typed(self, datasets):
        _, frame = datasets(FUNCTIONS, INPUTS)
        assert frame["z"].dtype == np.float64
        assert frame["x"].dtype == np.int64

    def test_polars(self, datasets):
        _, frame = datasets(FUNCTIONS, INPUTS, backend="polars")
        assert isinstance(frame, pl.DataFrame)
        assert frame.schema["z"] == pl.Float64
        assert frame.schema["b"] == pl.String
        assert frame["z"].to_list() == [3.5, 4.5, 6.5, 7.5, 9.5, 10.5]

    def test_what_is_missing_is_null_in_polars(self, datasets):
        _, frame = datasets([double], {"x": [1.5, 2.5]}, backend="polars", fixed_indices={"i": 0})
        assert frame["y"].to_list() == [3.0, None]

    @pytest.mark.parametrize(
        "values", [[1, None], [1, 2.5], ["a", None], [1, "a"], [{1}, {2}], [1j, 2j], [[1], [2, 3]]], ids=str
    )
    def test_any_values_in_polars(self, datasets, values):
        functions = [mapped(lambda k: values[k], "v", "k[i] -> v[i]")]
        _, frame = datasets(functions, {"k": range(2)}, backend="polars")
        assert frame["v"].to_list() == values

    def test_arrays_and_errors_in_polars(self, datasets):
        functions = [
            mapped(lambda x: np.full(2, 1.0) / int(x > 0), "v", "x[i] -> v[i]"),
            mapped(lambda x: 1 // x, "w", "x[i] -> w[i]"),
        ]
        with np.errstate(all="ignore"):
            _, frame = datasets(functions, {"x": [1, 0]}, backend="polars", error_handling="continue")
        assert frame["w"][0] == 1
        assert type(frame["w"][1]).__name__ == "ErrorSnapshot"
        assert np.asarray(frame["v"][0]).tolist() == [1, 1]

    @pytest.mark.parametrize("backend", ["excel", "", None])
    def test_unknown_backends_are_refused(self, backend, tmp_path):
        results = Pipeline([double]).map({"x": [1]}, tmp_path / "run", parallel=False)
        with pytest.raises(ValueError, match="allowed are 'pandas' and 'polars'"):
            results.to_dataframe(backend=backend)
        with pytest.raises(ValueError, match="allowed are 'pandas' and 'polars'"):
            load_dataframe("y", run_folder=tmp_path / "run", backend=backend)

    def test_any_dataset(self):
        dataset = xr.Dataset({"p": (("i", "j"), [[1, 2]]), "q": ("j", [3.0, 4.0])}, coords={"j": [7, 8]})
        assert xarray_dataset_to_dataframe(dataset).to_dict("list") == {
            "p": [1, 2],
            "q": [3.0, 4.0],
            "j": [7, 8],
        }
        assert xarray_dataset_to_dataframe(xr.Dataset()).shape == (0, 0)


VALUES = st.sampled_from([0, -1, 2.5, True, None, "text", 2**70, 1j, np.float32(0.5)])


@st.composite
def grids(draw):
    """Draw (values by (i, j), order of the output axes, which elements run)."""
    n_i, n_j = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    values = {(i, j): draw(VALUES) for i in range(n_i) for j in range(n_j)}
    return (
        n_i,
        n_j,
        values,
        draw(st.sampled_from(["i, j", "j, i"])),
        draw(st.sampled_from([None, 0, slice(1, 3)])),
    )


@settings(max_examples=60, deadline=None)
@given(grids())
@example((1, 2, {(0, 0): None, (0, 1): "text"}, "i, j", None))
def test_frames_hold_what_nested_loops_give(grid):
    n_i, n_j, values, axes, fixed = grid
    if fixed == 0 and n_i == 0:
        fixed = None
    function = PipeFunc(lambda p, q, r: values[p, r], "v", mapspec=f"p[i], q[i], r[j] -> v[{axes}]")
    inputs = {"p": list(range(n_i)), "q": [f"q{i}" for i in range(n_i)], "r": np.arange(n_j)}
    options = {} if fixed is None else {"fixed_indices": {"i": fixed}}
    results = Pipeline([function]).map(inputs, parallel=False, **options)
    chosen = range(n_i) if fixed is None else np.atleast_1d(np.arange(n_i)[fixed]).tolist()
    for type_cast in (True, False):
        frame = results.to_dataframe(type_cast=type_cast)
        assert len(frame) == n_i * n_j
        found = {(p, r): (q, v) for p, q, r, v in zip(frame.p, frame.q, frame.r, frame.v, strict=True)}
        for (p, r), value in values.items():
            q, v = found[p, r]
            assert q == f"q{p}"
            assert v == value if p in chosen else v != v  # noqa: PLR0124  NaN where nothing was computed


class TestTypeCast:
    @pytest.fixture
    def results(self):
        def mixed(x) -> float:
            return x if x > 1 else x + 0.5

        def whole(x) -> np.float32:
            return x

        functions = [mapped(mixed, "m", "x[i] -> m[i]"), mapped(whole, "w", "x[i] -> w[i]")]
        return Pipeline(functions).map({"x": [1, 2]}, parallel=False)

    def test_annotated_outputs_are_cast(self, results):
        dataset = results.to_xarray()
        assert (dataset["m"].dtype, dataset["w"].dtype) == (np.float64, np.float32)
        assert results.to_dataframe()["m"].dtype == np.float64
        assert results["m"].output.dtype == object

    def test_without_a_cast_the_elements_are_those_of_the_function(self, results):
        dataset = results.to_xarray(type_cast=False)
        assert [type(each) for each in dataset["m"].values] == [float, int]
        assert [type(each) for each in dataset["w"].values] == [int, int]
        assert results.to_dataframe(type_cast=False)["w"].dtype == object

    def test_what_cannot_be_cast_warns(self):
        def wrong(x) -> int:
            return str(x)

        results = Pipeline([mapped(wrong, "y", "x[i] -> y[i]")]).map({"x": [1]}, parallel=False)
        with pytest.warns(UserWarning, match="'y' is annotated as int64") as caught:
            assert results.to_xarray()["y"].values.tolist() == ["1"]
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match="'y' is annotated as int64") as caught:
            results.to_dataframe()
        assert caught[0].filename == __file__

    def test_missing_elements_are_nan_after_a_cast(self):
        def count(x) -> int:
            return x

        function = mapped(count, "y", "x[i] -> y[i]")
        results = Pipeline([function]).map({"x": [1, 2]}, parallel=False, fixed_indices={"i": 0})
        np.testing.assert_array_equal(results.to_xarray()["y"].values, [1, np.nan])

    def test_an_output_that_was_replaced_is_taken(self, results):
        results["w"].output = np.array([7, 8])
        assert results.to_xarray(type_cast=False)["w"].values.tolist() == [7, 8]
