"""Arrays of objects that become typed where all values have one numeric type."""

from __future__ import annotations

import numpy as np
import pytest

from pipefunc_c._storage.narrowing import dtype_of, narrowed, typed_array
from pipefunc_c.map import DictArray

ONE_DTYPE = {
    "bool": ([True, False], "?"),
    "int": ([1, -(2**63)], "i8"),
    "float": ([1.5, np.float64(2)], "f8"),
    "complex": ([1j], "c16"),
    "np.float32": ([np.float32(0.1)], "f4"),
    "np.bool": ([np.bool_(True)], "?"),
    "np.uint64": ([np.uint64(2**64 - 1)], "u8"),
}
SEVERAL = {
    "int and float": [1, 2.5],
    "bool and int": [True, 1],
    "None": [None],
    "str": ["a", "b"],
    "lists": [[1], [2]],
    "nothing": [],
    "datetime": [np.datetime64("2020-01-01")],
}


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(("values", "dtype"), ONE_DTYPE.values(), ids=ONE_DTYPE)
def test_one_dtype(values, dtype):
    assert dtype_of(values) == np.dtype(dtype)
    array = narrowed(objects(values))
    assert array.dtype == np.dtype(dtype)
    assert array.tolist() == np.array(values, dtype=dtype).tolist()


@pytest.mark.parametrize("values", SEVERAL.values(), ids=SEVERAL)
def test_others_stay_objects(values):
    assert dtype_of(values) is None
    array = objects(values) if values != [[1], [2]] else np.array([[1], [2], None], dtype=object)[:2]
    assert narrowed(array) is array


def test_an_int_beyond_64_bits_stays_an_object():
    assert narrowed(objects([1, 2**63])).dtype == object


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
