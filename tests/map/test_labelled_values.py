"""Values as arrays of a dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels.values import identical
from storage.numeric_values import OBJECTS, UNIFORM

from pipefunc_c.map import DictArray, MemoryArray
from pipefunc_c.map._results.labelled_values import (
    DimensionlessArray,
    along,
    as_array,
    filled,
    zero_axes,
)


class TestTypes:
    @pytest.mark.parametrize(("values", "dtype"), UNIFORM.values(), ids=UNIFORM)
    def test_one_type(self, values, dtype):
        array = as_array(values, 1)
        assert array.dtype == np.dtype(dtype)
        assert array.tolist() == np.array(values, dtype=dtype).tolist()

    @pytest.mark.parametrize("values", OBJECTS.values(), ids=OBJECTS)
    def test_others_are_objects_and_themselves(self, values):
        array = as_array(values, 1)
        assert array.dtype == object
        assert array.shape == (len(values),)
        assert all(got is value for got, value in zip(array, values, strict=True))

    def test_objects_on_request(self):
        assert as_array([1, 2], 1, narrow=False).dtype == object
        assert zero_axes(1, narrow=False).dtype == object

    @given(st.lists(st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text()), max_size=6))
    def test_nothing_is_lost(self, values):
        array = as_array(values, 1)
        assert all(
            identical(got, value) or got.item() == value or np.isnan(value)
            for got, value in zip(array, values, strict=True)
        )


class TestMissing:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            pytest.param([1.5, 2.5], np.array([1.5, np.nan]), id="float"),
            pytest.param(np.array([1.5, 2], "f4"), np.array([1.5, np.nan], "f4"), id="float32"),
            pytest.param([1j, 2j], np.array([1j, np.nan]), id="complex"),
            pytest.param([1, 2], np.array([1.0, np.nan]), id="int"),
            pytest.param([2**53 + 1, 2], np.array([2**53 + 1, np.nan], dtype=object), id="long-int"),
            pytest.param([True, False], np.array([True, np.nan], dtype=object), id="bool"),
            pytest.param(["a", "b"], np.array(["a", np.nan], dtype=object), id="str"),
        ],
    )
    def test_it_is_nan(self, data, expected):
        array = filled(np.ma.MaskedArray(data, mask=[False, True]))
        assert type(array) is np.ndarray
        assert array.dtype == expected.dtype
        assert array[0] == expected[0]
        assert array[1] != array[1]

    def test_nothing_is_copied_where_nothing_is_missing(self):
        data = np.arange(3)
        assert filled(np.ma.MaskedArray(data)) is data or np.shares_memory(
            filled(np.ma.MaskedArray(data)), data
        )

    def test_everything_missing(self):
        assert np.isnan(filled(np.ma.MaskedArray([1, 2], mask=True))).all()

    def test_a_single_value(self):
        assert np.isnan(zero_axes(np.ma.masked))


class TestArrays:
    def test_an_array_is_itself(self):
        array = np.arange(6).reshape(2, 3)
        assert as_array(array, 2) is array

    def test_what_lies_deeper_is_a_value(self):
        cells = as_array(np.arange(6).reshape(2, 3), 1)
        assert cells.shape == (2,)
        assert cells[1].tolist() == [3, 4, 5]

    def test_lists_in_lists(self):
        assert as_array([[1, 2], [3, 4]], 2).tolist() == [[1, 2], [3, 4]]
        assert as_array([[1], [2, 3]], 2).shape == (2,)

    def test_ranges(self):
        assert as_array(range(1, 7, 2), 1).tolist() == [1, 3, 5]

    def test_series(self):
        assert as_array(pd.Series([1.5, 2.5], index=[3, 4]), 1).tolist() == [1.5, 2.5]

    def test_anything_that_has_a_shape(self):
        class Steps:
            shape = (3,)

            def __getitem__(self, index):
                return index / 2

        assert as_array(Steps(), 1).tolist() == [0, 0.5, 1]

    @pytest.mark.parametrize("kind", [MemoryArray, DictArray])
    def test_storages(self, kind):
        storage = kind(None, (2,))
        storage.dump(0, 1.5)
        array = as_array(storage, 1)
        assert array.dtype == np.float64
        assert array.mask.tolist() == [False, True]

    def test_slices_are_values(self):
        cells = along(np.arange(6).reshape(2, 3), (None, "j"))
        assert [cell.tolist() for cell in cells] == [[0, 3], [1, 4], [2, 5]]


class TestSingleValues:
    @pytest.mark.parametrize("value", [1, 2.5, True, 1j, np.float32(1)], ids=str)
    def test_numbers_are_typed(self, value):
        array = zero_axes(value)
        assert array.shape == ()
        assert array.dtype != object
        assert array.item() == value

    @pytest.mark.parametrize("value", ["a", None, {"a": 1}, 2**70, {1, 2}], ids=str)
    def test_others_are_themselves(self, value):
        assert zero_axes(value).item() is value

    def test_arrays_are_wrapped(self):
        array = np.arange(3)
        assert isinstance(zero_axes(array).item(), DimensionlessArray)
        assert zero_axes(array).item().arr is array

    @pytest.mark.parametrize(
        "value", [[1, 2], (1, 2), [[1, 2], [3]], [np.zeros((2, 2)), np.zeros((2, 3))], []]
    )
    def test_lists_are_wrapped(self, value):
        wrapped = zero_axes(value).item()
        assert isinstance(wrapped, DimensionlessArray)
        assert len(wrapped.arr) == len(value)

    def test_a_frame_is_itself(self):
        frame = pd.DataFrame({"a": [1, 2]})
        assert zero_axes(frame).item() is frame
