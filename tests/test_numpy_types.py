from __future__ import annotations

import enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._numpy_types import converts_without_loss


class Level(enum.IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("kind", "scalar", "expected"),
    [
        (int, np.float64, True),
        (int, np.int64, True),
        (int, np.int32, False),
        (int, np.uint64, False),
        (int, np.bool_, False),
        (bool, np.bool_, True),
        (bool, np.int8, True),
        (float, np.float64, True),
        (float, np.float32, False),
        (float, np.int64, False),
        (float, np.complex128, True),
        (complex, np.float64, False),
        (Level, np.float64, True),
        (np.float32, np.float64, True),
        (np.float64, np.float32, False),
        (np.uint8, np.int16, True),
        (np.bool_, np.float64, True),
        (int, np.integer, True),
        (int, np.floating, True),
        (int, np.number, True),
        (int, np.generic, True),
        (float, np.integer, False),
        (np.floating, np.number, True),
        (np.floating, np.float64, False),
        (complex, np.floating, False),
        (str, np.str_, False),
        (str, np.float64, False),
        (np.str_, np.str_, False),
        (np.datetime64, np.datetime64, False),
        (int, np.datetime64, False),
        (list, np.float64, False),
        (type(None), np.float64, False),
        (int, int, False),
    ],
)
def test_converts_without_loss(kind, scalar, expected):
    assert converts_without_loss(kind, scalar) is expected


VALUES = {
    bool: st.booleans(),
    # Beyond these a float64 has too few digits, which only the value can tell.
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False),
    complex: st.complex_numbers(allow_nan=False),
    np.int8: st.integers(-128, 127).map(np.int8),
    np.uint16: st.integers(0, 65535).map(np.uint16),
    np.float32: st.floats(allow_nan=False, width=32).map(np.float32),
}
SCALARS = [np.bool_, np.int8, np.uint16, np.int64, np.uint64, np.float32, np.float64, np.complex128]


@given(st.sampled_from([*VALUES]), st.sampled_from(SCALARS), st.data())
def test_a_value_that_is_converted_is_the_same(kind, scalar, data):
    value = data.draw(VALUES[kind])
    if converts_without_loss(kind, scalar):
        assert np.asarray(value).astype(scalar) == value
