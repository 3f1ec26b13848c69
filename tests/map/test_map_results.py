"""What a map gives back: ``output`` exactly as returned, ``array`` typed, read-only and without a copy."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings

import cloudpickle
import numpy as np
import pytest
from kernels.values import SCALARS, identical
from map.record import MEMORY_IDS, producer

from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.map import Result, ResultDict

pytestmark = pytest.mark.timeout(60)

TYPED = {
    "float": ([1.5, 2.5], "f8"),
    "np.float64": ([np.float64(1.5)], "f8"),
    "float and np.float64": ([1.5, np.float64(2.5), -0.0], "f8"),
    "int": ([1, -(2**63), 2**63 - 1], "i8"),
    "bool": ([True, False], "?"),
    "np.float32": ([np.float32(0.1)], "f4"),
    "np.float16": ([np.float16(0.1)], "f2"),
    "np.int8": ([np.int8(-1), np.int8(127)], "i1"),
    "np.int16": ([np.int16(-1)], "i2"),
    "np.int32": ([np.int32(-1)], "i4"),
    "np.int64": ([np.int64(-1)], "i8"),
    "np.uint8": ([np.uint8(255)], "u1"),
    "np.uint16": ([np.uint16(65535)], "u2"),
    "np.uint32": ([np.uint32(2**32 - 1)], "u4"),
    "np.uint64": ([np.uint64(2**64 - 1)], "u8"),
    "np.bool": ([np.bool_(True), np.bool_(False)], "?"),
    "complex": ([1j, complex(np.nan, -0.0)], "c16"),
    "np.complex128": ([np.complex128(1j)], "c16"),
}
OBJECTS = {
    "int and float": [1, 2.5],
    "bool and int": [True, 1],
    "float and None": [1.5, None],
    "None": [None, None],
    "float32 and float64": [np.float32(1), np.float64(1)],
    "int64 and int32": [np.int64(1), np.int32(1)],
    "beyond int64": [2**63],
    "str": ["a", "b"],
    "np.str": [np.str_("a")],
    "datetime": [np.datetime64("2020-01-01")],
    "lists": [[1], [2]],
    "longdouble": [np.longdouble(1)],
    "complex and float": [1j, 1.5],
    "arrays": [np.arange(2), np.arange(2)],
    "ragged arrays": [np.arange(2), np.arange(3)],
}


@pytest.fixture(params=MEMORY_IDS)
def storage(request):
    return request.param


def run(values, **options):
    results = Pipeline([producer(values)]).map({"k": range(len(values))}, parallel=False, **options)
    return results["x"]


class TestOutput:
    @pytest.mark.parametrize("value", SCALARS.values(), ids=SCALARS)
    def test_scalars(self, value, storage):
        output = run([value, 0.5, value], storage=storage).output
        assert output.dtype == object
        assert identical(output[0], value)
        assert identical(output[2], value)
        assert identical(output[1], 0.5)

    @pytest.mark.parametrize("values", OBJECTS.values(), ids=OBJECTS)
    def test_others(self, values, storage):
        output = run(values, storage=storage).output
        assert output.dtype == object
        assert output.shape == (len(values),)
        assert all(identical(got, value) for got, value in zip(output, values, strict=True))

    def test_objects_are_the_very_same(self, storage):
        values = [[1], {"a": 1}, threading.Lock(), "text" * 9, (1, [2]), 10**40, lambda: 1]
        output = run(values, storage=storage).output
        assert [got is value for got, value in zip(output, values, strict=True)] == [True] * len(values)

    def test_lists_of_one_length_are_not_unpacked(self, storage):
        output = run([[1, 2], [3, 4]], storage=storage).output
        assert output.shape == (2,)
        assert output[0] == [1, 2]

    def test_arrays_are_copies(self, storage):
        returned = [np.arange(3.0), np.ones(3)]
        result = run(returned, storage=storage)
        first = result.output[0]
        first[:] = 77
        assert returned[0].tolist() == [0, 1, 2]
        assert result.store.get_from_index(0).tolist() == [0, 1, 2]
        assert result.store.to_array()[0].tolist() == [0, 1, 2]

    def test_what_a_function_does_with_a_returned_array_later_changes_nothing(self):
        buffer = np.zeros(3)

        @pipefunc("x", mapspec="k[i] -> x[i]")
        def reuse(k):
            buffer[:] = k
            return buffer

        output = Pipeline([reuse]).map({"k": range(1, 4)}, parallel=False)["x"].output
        assert [value.tolist() for value in output] == [[1] * 3, [2] * 3, [3] * 3]

    def test_it_is_made_once(self):
        result = run([1.5, 2.5])
        assert result.output is result.output

    def test_it_may_be_written_to(self):
        result = run([1.5, 2.5])
        result.output[0] = "mine"
        assert result.output[0] == "mine"
        assert result.array.tolist() == [1.5, 2.5]

    def test_single_calls(self, storage):
        value = {"a": [1]}

        @pipefunc(("a", "b"))
        def both():
            return value, (1, 2)

        results = Pipeline([both]).map({}, parallel=False, storage=storage)
        assert results["a"].output is value
        assert results["b"].output == (1, 2)

    @pytest.mark.parametrize("value", [np.arange(3), [1, 2], np.ma.MaskedArray([1.0], mask=[True]), None])
    def test_the_value_of_a_single_call_is_itself(self, value):
        @pipefunc("a")
        def single():
            return value

        assert Pipeline([single]).map({}, parallel=False)["a"].output is value


class TestArray:
    @pytest.mark.parametrize(("values", "dtype"), TYPED.values(), ids=TYPED)
    def test_one_type_has_its_dtype(self, values, dtype, storage):
        array = run(values * 2, storage=storage).array
        assert type(array) is np.ndarray
        assert array.dtype == np.dtype(dtype)
        assert array.tobytes() == np.array(values * 2, dtype=dtype).tobytes()

    @pytest.mark.parametrize("values", OBJECTS.values(), ids=OBJECTS)
    def test_others_are_objects(self, values, storage):
        array = run(values, storage=storage).array
        assert type(array) is np.ndarray
        assert array.dtype == object
        assert array.shape == (len(values),)
        assert all(identical(got, value) for got, value in zip(array, values, strict=True))

    @pytest.mark.parametrize(("values", "dtype"), TYPED.values(), ids=TYPED)
    def test_neither_copied_nor_writable(self, values, dtype, storage):
        result = run(values * 2, storage=storage)
        assert np.shares_memory(result.array, result.array)
        assert result.array.nbytes == len(values) * 2 * np.dtype(dtype).itemsize
        with pytest.raises(ValueError, match="read-only"):
            result.array[0] = values[0]
        with pytest.raises(ValueError, match="WRITEABLE"):
            result.array.flags.writeable = True

    def test_it_outlives_the_results(self, storage):
        array = run([1.5, 2.5] * 1000, storage=storage).array
        run([7.5, 8.5] * 1000, storage=storage)
        assert array.tolist() == [1.5, 2.5] * 1000

    @pytest.mark.parametrize("fixed", [0, -1, slice(0, 2), slice(None, None, 2)], ids=str)
    def test_masked_where_missing(self, storage, fixed):
        result = run([1.5, 2.5, 3.5], storage=storage, fixed_indices={"i": fixed})
        expected = np.zeros(3, dtype=bool)
        expected[fixed] = True
        assert isinstance(result.array, np.ma.MaskedArray)
        assert result.array.dtype == np.float64
        assert result.array.mask.tolist() == (~expected).tolist()
        assert result.array.compressed().tolist() == np.array([1.5, 2.5, 3.5])[expected].tolist()
        assert result.output.tolist() == [
            v if e else None for v, e in zip([1.5, 2.5, 3.5], expected, strict=True)
        ]
        with pytest.raises(ValueError, match="read-only"):
            result.array.data[0] = 9

    def test_masked_objects_where_missing(self, storage):
        result = run(["a", 2, None], storage=storage, fixed_indices={"i": slice(1, 3)})
        assert isinstance(result.array, np.ma.MaskedArray)
        assert result.array.mask.tolist() == [True, False, False]
        assert result.array[1:].tolist() == [2, None]
        assert result.output.tolist() == [None, 2, None]

    def test_nothing_requested(self, storage):
        result = run([1.5, 2.5], storage=storage, fixed_indices={"i": slice(0, 0)})
        assert np.ma.getmaskarray(result.array).all()
        assert result.output.tolist() == [None, None]

    def test_two_dimensions(self, storage):
        @pipefunc("z", mapspec="x[i], y[j] -> z[j, i]")
        def product(x, y):
            return x * y

        inputs = {"x": [1.0, 2.0], "y": [1.0, 3.0, 5.0]}
        result = Pipeline([product]).map(inputs, parallel=False, storage=storage)["z"]
        assert result.array.tolist() == [[1, 2], [3, 6], [5, 10]]
        assert np.shares_memory(result.array, result.store.typed())

    def test_single_calls(self):
        array = np.arange(3.0)

        @pipefunc(("a", "b"))
        def both():
            return array, 5

        results = Pipeline([both]).map({}, parallel=False)
        assert results["a"].array.tolist() == [0, 1, 2]
        assert results["b"].array.tolist() == 5

    def test_arrays_of_one_layout_along_an_internal_axis(self, storage):
        values = [np.arange(3.0), np.ones(3)]
        pipeline = Pipeline([producer(values, "k[i] -> x[i, j]")])
        result = pipeline.map({"k": range(2)}, parallel=False, storage=storage)["x"]
        assert result.array.dtype == np.float64
        assert result.array.tolist() == [[0, 1, 2], [1, 1, 1]]
        assert np.shares_memory(result.array, result.store.typed())
        assert not result.array.flags.writeable
        assert result.output.dtype == object
        assert {type(value) for value in result.output.flat} == {np.float64}


class TestRepeated:
    VALUES = [1.5, np.float32(2), 3, None, "a", 1j, np.arange(2), [1], 2**70, True] * 30

    @pytest.mark.parametrize("strategy", ["generation", "eager"])
    def test_results_are_the_same(self, storage, strategy):
        runs = [run(self.VALUES, storage=storage, scheduling_strategy=strategy) for _ in range(3)]
        for result in runs:
            assert result.array.dtype == object
            assert all(identical(got, value) for got, value in zip(result.output, self.VALUES, strict=True))

    @pytest.mark.parametrize(("values", "dtype"), TYPED.values(), ids=TYPED)
    def test_dtypes_are_the_same(self, values, dtype):
        assert {run(values * 500).array.dtype for _ in range(5)} == {np.dtype(dtype)}

    def test_a_layout_does_not_depend_on_where_leases_end(self):
        values = [np.arange(2.0)] * 300 + [np.arange(3.0)] + [np.arange(2)] * 300
        for _ in range(3):
            output = run(values).output
            assert all(identical(got, value) for got, value in zip(output, values, strict=True))

    def test_runs_do_not_touch_each_other(self):
        pipeline = Pipeline([producer([1.5, 2.5])])
        first = pipeline.map({"k": [0, 1]}, parallel=False)
        array, output = first["x"].array, first["x"].output
        pipeline.map({"k": [1, 0]}, parallel=False)
        assert array.tolist() == output.tolist() == [1.5, 2.5]


class TestResults:
    @pytest.fixture
    def results(self):
        @pipefunc("y", mapspec="x[i] -> y[i]")
        def double(x, k=2):
            return k * x

        @pipefunc("total", bound={"extra": 5})
        def total(y, extra):
            return sum(y) + extra

        return Pipeline([double, total]).map({"x": [1, 2]}, parallel=False)

    def test_fields(self, results):
        assert isinstance(results, ResultDict)
        assert list(results) == ["y", "total"]
        result = results["y"]
        assert isinstance(result, Result)
        assert (result.function, result.output_name) == ("double", "y")
        assert result.kwargs == {"x": [1, 2], "k": 2}
        assert results["total"].kwargs["y"] is result.store
        assert results["total"].kwargs["extra"] == 5

    def test_copy(self, results):
        copied = results.copy()
        assert isinstance(copied, ResultDict)
        assert copied is not results
        assert copied["y"] is results["y"]

    def test_text_is_cut(self):
        results = Pipeline([producer(["a" * 100] * 200)]).map({"k": range(200)}, parallel=False)
        with pytest.warns(UserWarning, match="cut|truncated"):
            text = repr(results)
        assert len(text) < 10_100

    def test_short_text_is_whole(self, results):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "[2, 4]" in repr(results)

    def test_results_can_be_pickled(self, results):
        copied = pickle.loads(pickle.dumps(results))
        assert copied["y"].output.tolist() == [2, 4]
        assert copied["y"].array.tolist() == [2, 4]
        assert copied["total"].output == 11


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@pytest.mark.parametrize(
    "storage_id", [*MEMORY_IDS, "file_array", "zarr_file_array", "zarr_memory", "zarr_shared_memory"]
)
def test_pickled_results_of_a_run_folder_hold_the_values(storage_id, parallel, tmp_path):
    results = Pipeline([producer([1, "a", 2.5])]).map(
        {"k": range(3)}, run_folder=tmp_path, storage=storage_id, parallel=parallel
    )
    for copied in (cloudpickle.loads(cloudpickle.dumps(results)), copy.deepcopy(results)):
        assert copied["x"].output.tolist() == [1, "a", 2.5]
        assert copied["x"].array.tolist() == [1, "a", 2.5]
        assert copied["x"].store.mask_linear() == [False] * 3


class TestOutputsThatAreMappedOver:
    @pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
    @pytest.mark.parametrize("folder", [False, True], ids=["memory", "folder"])
    def test_a_tuple_is_one(self, parallel, folder, tmp_path):
        @pipefunc("x", mapspec="... -> x[i]")
        def several(n):
            return tuple(range(n))

        @pipefunc("y", mapspec="x[i] -> y[i]")
        def double(x):
            return 2 * x

        run_folder = tmp_path if folder else None
        results = Pipeline([several, double]).map({"n": 3}, run_folder=run_folder, parallel=parallel)
        assert results["x"].output == (0, 1, 2)
        assert results["y"].output.tolist() == [0, 2, 4]

    def test_a_generator_is_none(self):
        @pipefunc("x", mapspec="... -> x[i]", print_error=False)
        def several(n):
            return (k for k in range(n))

        @pipefunc("y", mapspec="x[i] -> y[i]")
        def double(x):
            return 2 * x

        with pytest.raises(TypeError, match="No array shape for the output 'x'.*generator.*tuple"):
            Pipeline([several, double]).map({"n": 3}, parallel=False)


@pytest.mark.parametrize("storage_id", ["array", "zarr_memory"])
def test_an_element_of_the_wrong_shape_names_its_output(storage_id):
    @pipefunc("y", mapspec="x[i] -> y[i, j]", internal_shape=2)
    def ragged(x):
        return list(range(x))

    results = Pipeline([ragged]).map({"x": [2, 3]}, storage=storage_id, parallel=False)
    with pytest.raises(ValueError, match=r"element 1 of 'y' has shape \(3,\)"):
        _ = results["y"].output
