"""NumPy scalars in pickles of results."""

from __future__ import annotations

import copyreg
import io
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels.values import SCALARS, Float64Subclass, identical

from pipefunc_c._storage.scalar_pickle import ScalarPickler

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


def dumps(value: object) -> bytes:
    file = io.BytesIO()
    ScalarPickler(file, 5).dump(value)
    return file.getvalue()


GENERIC = {name: value for name, value in SCALARS.items() if isinstance(value, np.generic)}


@pytest.mark.parametrize("value", GENERIC.values(), ids=GENERIC)
def test_all_scalars_come_back(value):
    assert identical(pickle.loads(dumps({"a": [value]}))["a"][0], pickle.loads(pickle.dumps(value)))


@given(st.binary(min_size=8, max_size=8))
def test_floats_keep_each_bit(data):
    (value,) = np.frombuffer(data, np.float64)
    back = pickle.loads(dumps(value))
    assert type(back) is np.float64
    assert back.tobytes() == data


def test_a_signalling_nan_stays_one():
    data = struct.pack("<Q", 0x7FF0_0000_0000_0001)
    (value,) = np.frombuffer(data, np.float64)
    assert pickle.loads(dumps(value)).tobytes() == data


@pytest.mark.parametrize("kind", INTEGERS, ids=lambda kind: kind.__name__)
def test_integers_keep_type_and_limits(kind):
    for number in (np.iinfo(kind).min, 0, np.iinfo(kind).max):
        assert identical(pickle.loads(dumps(kind(number))), kind(number))


def test_they_take_fewer_bytes_than_by_numpy():
    values = [np.float64(k / 7) for k in range(1000)]
    assert len(dumps(values)) < 0.85 * len(pickle.dumps(values, 5))


def test_one_object_in_two_places_stays_one():
    value = np.float64(0.5)
    first, second = pickle.loads(dumps([value, value]))
    assert first is second


def test_classes_made_from_them_are_left_to_pickle():
    value = Float64Subclass(1.5)
    assert dumps(value) == pickle.dumps(value, 5)


def test_what_others_registered_holds(monkeypatch):
    class Point:
        pass

    monkeypatch.setitem(copyreg.dispatch_table, Point, lambda _: (complex, (1, 2)))
    monkeypatch.setitem(copyreg.dispatch_table, np.float64, lambda value: (str, (repr(value),)))
    assert pickle.loads(dumps([Point(), np.float64(0.5)])) == [1 + 2j, "np.float64(0.5)"]
