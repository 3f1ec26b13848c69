"""Arrays of objects that become typed where all values have one numeric type."""

from __future__ import annotations

import numpy as np
import pytest
from storage.numeric_values import OBJECTS, UNIFORM

from pipefunc_c._storage.narrowing import dtype_of, narrowed, typed_array
from pipefunc_c.map import DictArray


def objects(values):
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


@pytest.mark.parametrize(("values", "dtype"), UNIFORM.values(), ids=UNIFORM)
def test_one_dtype(values, dtype):
    assert dtype_of(values) == np.dtype(dtype)
    array = narrowed(objects(values))
    assert array.dtype == np.dtype(dtype)
    assert array.tolist() == np.array(values, dtype=dtype).tolist()


@pytest.mark.parametrize(("name", "values"), OBJECTS.items(), ids=OBJECTS)
def test_others_stay_objects(name, values):
    if name != "beyond int64":  # their type alone does not tell
        assert dtype_of(values) is None
    array = objects(values)
    assert narrowed(array) is array


def test_what_is_missing_does_not_count():
    array = narrowed(np.ma.MaskedArray(objects([1, None]), mask=[False, True]))
    assert array.dtype == np.int64
    assert array.mask.tolist() == [False, True]


def test_a_storage_that_keeps_pickles():
    zarr = pytest.importorskip("pipefunc_c._storage.zarr")
    array = zarr.ZarrMemoryArray(None, (3,))
    array.dump(0, 1.5)
    array.dump(2, 2.5)
    typed = typed_array(array)
    assert typed.dtype == np.float64
    assert typed.tolist() == [1.5, None, 2.5]
    array.dump(1, "text")
    assert typed_array(array).tolist() == [1.5, "text", 2.5]


def test_a_column_is_shown():
    store = DictArray(None, (2,))
    store.dump(0, 1)
    store.dump(1, 2)
    assert not typed_array(store).flags.writeable
    store.dump(1, "text")
    assert typed_array(store).tolist() == [1, "text"]
