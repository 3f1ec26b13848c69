"""What functions receive: elements, slices and whole arrays, of the user's inputs and of earlier outputs."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from kernels.values import SCALARS, identical
from map.record import MEMORY_IDS, Recorder, producer, reduce

from pipefunc_c import PipeFunc, Pipeline, pipefunc

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(params=MEMORY_IDS)
def storage(request):
    return request.param


# ---- the user's inputs -------------------------------------------------------------------------

ARRAYS = {
    "float64": np.array([1.5, -0.0, np.nan]),
    "int8": np.array([1, -2], dtype=np.int8),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "str": np.array(["a", "bc"]),
    "bytes": np.array([b"a"]),
    "datetime": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "big endian": np.array([1.5, 2.5], dtype=">f8"),
    "structured": np.array([(1, 2.5)], dtype=[("n", "i4"), ("x", "f8")]),
    "longdouble": np.array([1.5], dtype=np.longdouble),
    "float16": np.array([1.5], dtype=np.float16),
    "read-only": np.broadcast_to(np.float64(2.5), (3,)),
    "reversed": np.arange(3.0)[::-1],
    "record": np.rec.array([(1, 2.5)], dtype=[("n", "i4"), ("x", "f8")]),
}


class TestInputs:
    @pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
    def test_elements_are_those_of_indexing(self, array):
        received = Recorder("x[i] -> recorded[i]").map(array)
        assert len(received) == len(array)
        for got, element in zip(received, array, strict=True):
            assert type(got) is type(element)
            assert got.dtype == element.dtype
            assert got.tobytes() == element.tobytes()

    def test_elements_of_lists_are_the_objects_themselves(self):
        values = [[1], {}, 3.5, 10**30, "text", None, np.arange(2), lambda: 1, (1,)]
        received = Recorder("x[i] -> recorded[i]").map(values)
        assert [got is value for got, value in zip(received, values, strict=True)] == [True] * len(values)

    def test_elements_of_object_arrays_are_the_objects_themselves(self):
        values = np.empty((2, 2), dtype=object)
        values[0, 0], values[0, 1], values[1, 0], values[1, 1] = [1], np.arange(3), "a", 5
        received = Recorder("x[i, j] -> recorded[i, j]").map(values)
        assert [got is value for got, value in zip(received, values.flat, strict=True)] == [True] * 4

    def test_elements_of_a_range(self):
        received = Recorder("x[i] -> recorded[i]").map(range(5, 0, -2))
        assert received == [5, 3, 1]
        assert {type(value) for value in received} == {int}

    def test_elements_of_a_masked_array(self):
        received = Recorder("x[i] -> recorded[i]").map(np.ma.MaskedArray([1.0, 2.0], mask=[False, True]))
        assert received[0] == 1.0
        assert received[1] is np.ma.masked

    @pytest.mark.parametrize(
        "value",
        [[1, 2], (1, 2), np.arange(4.0), range(3), {"a": 1}, "text", None, np.float64(2), iter([1])],
        ids=lambda value: type(value).__name__,
    )
    def test_what_is_not_mapped_over_is_passed_as_it_is(self, value):
        recorder = Recorder(None)
        assert recorder.map(value)[0] is value

    def test_an_array_beside_a_mapped_one_is_passed_as_it_is(self):
        whole, seen = np.arange(3), []

        @pipefunc("z", mapspec="x[i] -> z[i]")
        def take(x, whole):
            seen.append(whole)
            return x

        Pipeline([take]).map({"x": [1, 2], "whole": whole}, parallel=False)
        assert [value is whole for value in seen] == [True, True]

    def test_a_mapped_input_is_whole_for_who_does_not_map_it(self):
        values, recorder = [3, 4], Recorder(None)

        @pipefunc("z", mapspec="x[i] -> z[i]")
        def take(x):
            return x

        Pipeline([take, recorder.function]).map({"x": values}, parallel=False)
        assert recorder.received[0] is values

    def test_slices_of_an_input_are_its_views(self):
        array = np.arange(6.0).reshape(2, 3)
        rows = Recorder("x[i, :] -> recorded[i]").map(array)
        assert [row.tolist() for row in rows] == [[0, 1, 2], [3, 4, 5]]
        assert all(np.shares_memory(row, array) and row.dtype == np.float64 for row in rows)
        columns = Recorder("x[:, j] -> recorded[j]").map(array)
        assert [column.tolist() for column in columns] == [[0, 3], [1, 4], [2, 5]]

    def test_slices_of_a_typed_input_are_not_made_objects_by_an_annotation(self):
        rows = Recorder("x[i, :] -> recorded[i]", npt.NDArray[np.int64]).map(np.arange(4.0).reshape(2, 2))
        assert {row.dtype for row in rows} == {np.dtype(np.float64)}

    def test_what_the_function_writes_into_an_input_is_there_afterwards(self):
        array = np.zeros((3, 2))

        @pipefunc("z", mapspec="x[i, :] -> z[i]")
        def fill(x):
            x[:] = 7
            return 0

        Pipeline([fill]).map({"x": array}, parallel=False)
        assert array.tolist() == [[7, 7]] * 3

    def test_kept_elements_do_not_change(self):
        array = np.arange(1000) * 1.5
        received = Recorder("x[i] -> recorded[i]").map(array)
        assert received == (np.arange(1000) * 1.5).tolist()
        assert len({id(value) for value in received}) == 1000


# ---- earlier outputs ---------------------------------------------------------------------------


class TestElements:
    @pytest.mark.parametrize("value", SCALARS.values(), ids=SCALARS)
    def test_scalars_come_back_as_they_were(self, value):
        recorder = Recorder("x[i] -> recorded[i]")
        Pipeline([producer([value, value]), recorder.function]).map({"k": [0, 1]}, parallel=False)
        assert len(recorder.received) == 2
        assert all(identical(got, value) for got in recorder.received)

    def test_objects_are_the_very_same(self, storage, tmp_path):
        with (tmp_path / "file").open("w") as opened:
            values = [threading.Lock(), lambda: 1, opened, [1], {"a": []}, object(), (k for k in "ab"), int]
            recorder = Recorder("x[i] -> recorded[i]")
            results = Pipeline([producer(values), recorder.function]).map(
                {"k": range(len(values))}, parallel=False, storage=storage
            )
            last = results["x"].output
            assert [got is value for got, value in zip(recorder.received, values, strict=True)] == [True] * 8
            assert [got is value for got, value in zip(last, values, strict=True)] == [True] * 8
            assert [results["x"].store[k] is value for k, value in enumerate(values)] == [True] * 8

    def test_the_output_of_a_single_call_is_the_very_same(self, storage):
        lock, recorder = threading.Lock(), Recorder(None)
        make = PipeFunc(lambda: lock, "x")
        results = Pipeline([make, recorder.function]).map({}, parallel=False, storage=storage)
        assert recorder.received[0] is lock
        assert results["x"].output is lock


class TestWholeArrays:
    def test_fresh_writable_objects(self, storage):
        received, results = reduce([1.5, 2.5], storage=storage)
        assert type(received) is np.ndarray
        assert received.dtype == object
        assert [type(value) for value in received] == [float, float]
        received[0] = "mine"
        assert results["x"].output.tolist() == [1.5, 2.5]
        assert results["x"].array.tolist() == [1.5, 2.5]

    def test_two_reductions_do_not_share(self):
        first, second = [], []

        @pipefunc("a")
        def spoil(x):
            first.append(x)
            x[:] = None
            return 0

        @pipefunc("b")
        def read(x):
            second.append(x)
            return sum(x)

        results = Pipeline([producer([1, 2]), spoil, read]).map({"k": [0, 1]}, parallel=False)
        assert results["b"].output == 3
        assert not np.shares_memory(first[0], second[0])

    def test_two_parameters_of_one_function_do_not_share(self):
        @pipefunc("b", renames={"left": "x"})
        def both(left, y):
            left[0] = "spoiled"
            return y.tolist()

        @pipefunc("y", mapspec="x[i] -> y[i]")
        def same(x):
            return x

        results = Pipeline([producer([1, 2]), same, both]).map({"k": [0, 1]}, parallel=False)
        assert results["b"].output == [1, 2]

    def test_arrays_as_elements_stay_elements(self, storage):
        values = [np.arange(3.0), np.ones(3)]
        received, _ = reduce(values, storage=storage)
        assert received.shape == (2,)
        assert [value.tolist() for value in received] == [[0, 1, 2], [1, 1, 1]]

    def test_nested_lists_stay_elements(self, storage):
        values = [[1, 2], [3, 4]]
        received, _ = reduce(values, storage=storage)
        assert received.shape == (2,)
        assert received[0] is values[0]

    def test_masked_where_missing(self, storage):
        pipeline = Pipeline([producer([1, 2, 3])])
        results = pipeline.map({"k": range(3)}, parallel=False, storage=storage, fixed_indices={"i": 1})
        array = results["x"].store.to_array()
        assert array.mask.tolist() == [True, False, True]
        assert array[1] == 2

    def test_masked_slices_where_missing(self):
        @pipefunc("y", mapspec="a[i], b[j] -> y[i, j]")
        def product(a, b):
            return a * b

        recorder = Recorder("x[i, :] -> recorded[i]")
        take = PipeFunc(recorder.function.func, "t", renames={"x": "y"}, mapspec="y[i, :] -> t[i]")
        inputs = {"a": [1, 2], "b": [1, 10]}
        Pipeline([product, take]).map(inputs, parallel=False, fixed_indices={"i": 1})
        assert [type(row) for row in recorder.received] == [np.ndarray]
        assert recorder.received[0].tolist() == [2, 20]
        recorder.received[0][0] = "writable"

    @pytest.mark.parametrize(
        "annotation", [np.ma.MaskedArray, np.ma.MaskedArray[Any, np.dtype[np.object_]]], ids=["bare", "of"]
    )
    def test_masked_where_asked_for(self, storage, annotation):
        received, results = reduce([1, 2], annotation, storage=storage)
        assert isinstance(received, np.ma.MaskedArray)
        assert received.dtype == object
        assert not np.ma.getmaskarray(received).any()
        received[0] = 5
        assert results["x"].output.tolist() == [1, 2]

    def test_masked_slices_where_asked_for(self):
        @pipefunc("y", mapspec="a[i], b[j] -> y[i, j]")
        def product(a, b):
            return a * b

        seen = []

        @pipefunc("t", mapspec="y[i, :] -> t[i]")
        def take(y: np.ma.MaskedArray):
            seen.append(y)
            return 0

        Pipeline([product, take]).map({"a": [1, 2], "b": [1, 10]}, parallel=False)
        assert all(isinstance(row, np.ma.MaskedArray) for row in seen)
        assert [row.tolist() for row in seen] == [[1, 10], [2, 20]]

    def test_slices_are_writable_copies(self, storage):
        @pipefunc("y", mapspec="a[i], b[j] -> y[i, j]")
        def product(a, b):
            return a * b

        @pipefunc("t", mapspec="y[:, j] -> t[j]")
        def spoil(y):
            total = sum(y)
            y[:] = 1000
            return total

        @pipefunc("u", mapspec="y[i, :] -> u[i]")
        def read(y):
            return sum(y)

        inputs = {"a": [1, 2], "b": [1, 10, 100]}
        results = Pipeline([product, spoil, read]).map(inputs, parallel=False, storage=storage)
        assert results["t"].output.tolist() == [3, 30, 300]
        assert results["u"].output.tolist() == [111, 222]
        assert results["y"].array.tolist() == [[1, 10, 100], [2, 20, 200]]
