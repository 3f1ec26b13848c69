"""Parameters annotated as numeric arrays receive typed ones, and only what fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from map.record import MEMORY_IDS, reduce

from pipefunc_c import Pipeline, pipefunc

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(params=MEMORY_IDS)
def storage(request):
    return request.param


BEYOND = 2**53 + 1  # the first int that no float64 holds
FIT = {
    "floats": ([1.5, np.nan], np.float64),
    "np.float64": ([np.float64(1.5), 2.5], np.float64),
    "ints as float": ([1, -2], np.float64),
    "bools as float": ([True, False], np.float64),
    "ints and floats": ([1, 2.5], np.float64),
    "np.float32 as float64": ([np.float32(0.1)], np.float64),
    "whole floats as int": ([1.0, 2.0], np.int64),
    "uint64": ([2**64 - 1], np.uint64),
    "complex": ([1j, 2], np.complex128),
    "float as complex": ([0.1], np.complex128),
    "a float that float32 holds": ([0.5], np.float32),
    "the largest int that float64 holds": ([BEYOND - 1], np.float64),
    "bools": ([True, np.bool_(False)], np.bool_),
}
DO_NOT_FIT = {
    "str": (["1"], np.float64, "'1'"),
    "None": ([None], np.float64, "None"),
    "list": ([[1.0]], np.float64, r"\[1.0\]"),
    "array": ([np.arange(2.0)], np.float64, "array"),
    "object": ([{}], np.float64, "{}"),
    "complex as float": ([1j], np.float64, "1j"),
    "np.complex128 as float": ([np.complex128(1 + 1j)], np.float64, r"1\+1j"),
    "half as int": ([2.5], np.int64, "2.5"),
    "nan as int": ([float("nan")], np.int64, "nan"),
    "np.float64 nan as int": ([np.float64("nan")], np.int64, "nan"),
    "nan as bool": ([float("nan")], np.bool_, "nan"),
    "two as bool": ([2], np.bool_, "2"),
    "too large for int8": ([300], np.int8, "300"),
    "np.int64 too large for int8": ([np.int64(300)], np.int8, "300"),
    "negative as unsigned": ([-1], np.uint64, "-1"),
    "int that float64 does not hold": ([BEYOND], np.float64, str(BEYOND)),
    "np.int64 that float64 does not hold": ([np.int64(BEYOND)], np.float64, str(BEYOND)),
    "float that float32 does not hold": ([0.1], np.float32, "0.1"),
    "float too large for float32": ([1e300], np.float32, "1e\\+300"),
    "datetime": ([np.datetime64("2020-01-01")], np.float64, "2020"),
}


class TestNumericAnnotations:
    @pytest.mark.parametrize(("values", "dtype"), FIT.values(), ids=FIT)
    def test_what_fits(self, values, dtype):
        received, _ = reduce(values, npt.NDArray[dtype])
        assert type(received) is np.ndarray
        assert received.dtype == dtype
        np.testing.assert_array_equal(received, np.array(values, dtype=dtype))

    @pytest.mark.parametrize(("values", "dtype", "said"), DO_NOT_FIT.values(), ids=DO_NOT_FIT)
    @pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
    def test_what_does_not_fit(self, values, dtype, said, place):
        values = [dtype(1)] * place + values
        with pytest.raises(TypeError, match=said) as caught:
            reduce(values, npt.NDArray[dtype])
        assert f"({place},)" in str(caught.value)
        assert "'x'" in str(caught.value)

    def test_the_first_that_does_not_fit_is_named(self):
        with pytest.raises(TypeError, match=r"\(2,\).*'b'"):
            reduce([1.0, 2.0, "b", "c"], npt.NDArray[np.float64])

    @pytest.mark.parametrize("values", [[1.5, 2.5], [np.float64(1.5), 2.5]], ids=["float", "mixed"])
    def test_the_same_dtype_is_a_read_only_view(self, storage, values):
        received, results = reduce(values, npt.NDArray[np.float64], storage=storage)
        assert np.shares_memory(received, results["x"].array)
        assert not received.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            received.flags.writeable = True

    def test_two_dimensions(self):
        seen = []

        @pipefunc("y", mapspec="a[i], b[j] -> y[j, i]")
        def product(a, b):
            return a * b

        @pipefunc("t")
        def total(y: npt.NDArray[np.float64]):
            seen.append(y)
            return 0

        results = Pipeline([product, total]).map({"a": [1.0, 2.0], "b": [1.0, 10.0, 100.0]}, parallel=False)
        assert seen[0].tolist() == [[1, 2], [10, 20], [100, 200]]
        assert np.shares_memory(seen[0], results["y"].array)

    def test_slices(self):
        seen = []

        @pipefunc("y", mapspec="a[i], b[j] -> y[i, j]")
        def product(a, b):
            return a * b

        @pipefunc("t", mapspec="y[:, j] -> t[j]")
        def total(y: npt.NDArray[np.float64]):
            seen.append(y)
            return 0

        Pipeline([product, total]).map({"a": [1.0, 2.0], "b": [1.0, 10.0]}, parallel=False)
        assert [(column.dtype, column.tolist()) for column in seen] == [
            (np.dtype(np.float64), [1, 2]),
            (np.dtype(np.float64), [10, 20]),
        ]

    @pytest.mark.parametrize(
        "annotation",
        [npt.NDArray[np.object_], npt.NDArray[Any], npt.NDArray[np.floating[Any]], np.ndarray, "unknown"],
        ids=str,
    )
    def test_other_annotations_change_nothing(self, annotation):
        received, _ = reduce([1.5, "a"], annotation)
        assert type(received) is np.ndarray
        assert received.dtype == object
