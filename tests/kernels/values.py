"""Scalars of every kind, arrays in every layout, and the strict comparison the kernel tests use."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import math
import struct
import sys
import tempfile
from typing import Any

import numpy as np
from hypothesis import strategies as st


class FloatSubclass(float):
    pass


class IntSubclass(int):
    pass


class Float64Subclass(np.float64):
    pass


class ArraySubclass(np.ndarray):
    pass


class Level(enum.IntEnum):
    LOW = 1


POINT = np.dtype([("x", np.float64), ("n", np.int32)])


def from_bits(bits: int, dtype: type[np.generic]) -> Any:
    size = np.dtype(dtype).itemsize
    return np.frombuffer(bits.to_bytes(size, sys.byteorder), dtype=dtype)[0]


def python_float(bits: int) -> float:
    return struct.unpack("<d", bits.to_bytes(8, "little"))[0]


def integer_edges(dtype: type[np.integer]) -> dict[str, Any]:
    info = np.iinfo(dtype)
    return {f"{dtype.__name__} min": dtype(info.min), f"{dtype.__name__} max": dtype(info.max)}


SCALARS: dict[str, Any] = {
    "float": 0.1,
    "float minus zero": -0.0,
    "float inf": math.inf,
    "float minus inf": -math.inf,
    "float nan with payload": python_float(0xFFF8_0000_DEAD_BEEF),
    "float signalling nan": python_float(0x7FF0_0000_0000_0001),
    "float subnormal": 5e-324,
    "int": 7,
    "int negative": -1,
    "int beyond the small cache": 12345678901,
    "int64 max as int": 2**63 - 1,
    "int64 min as int": -(2**63),
    "int above int64": 2**63,
    "int below int64": -(2**63) - 1,
    "int of 200 bits": 3**126,
    "True": True,
    "False": False,
    "None": None,
    "np.float64": np.float64(0.1),
    "np.float64 minus zero": np.float64(-0.0),
    "np.float64 nan with payload": from_bits(0xFFF8_0000_0000_BEEF, np.float64),
    "np.float64 signalling nan": from_bits(0x7FF0_0000_0000_0001, np.float64),
    "np.float32": np.float32(0.1),
    "np.float32 nan with payload": from_bits(0xFFC0_BEEF, np.float32),
    "np.float32 signalling nan": from_bits(0x7F80_0001, np.float32),
    "np.float16": np.float16(0.1),
    "np.float16 nan with payload": from_bits(0xFE42, np.float16),
    "np.float16 signalling nan": from_bits(0x7C01, np.float16),
    **integer_edges(np.int8),
    **integer_edges(np.int16),
    **integer_edges(np.int32),
    **integer_edges(np.int64),
    **integer_edges(np.uint8),
    **integer_edges(np.uint16),
    **integer_edges(np.uint32),
    **integer_edges(np.uint64),
    **integer_edges(np.longlong),
    "np.ulonglong": np.ulonglong(3),
    "np.True_": np.True_,
    "np.False_": np.False_,
    "np.longdouble": np.longdouble(1) / 3,
    "complex": complex(1.5, -0.0),
    "complex nan": complex(python_float(0x7FF8_0000_0000_0042), -math.inf),
    "np.complex128": np.complex128(complex(-0.0, 2.5)),
    "np.complex64": np.complex64(complex(0.1, -math.inf)),
    "np.clongdouble": np.clongdouble(1 + 2j) / 3,
    "str": "a ∂",
    "str empty": "",
    "bytes": b"a\0b",
    "np.str_": np.str_("text"),
    "np.bytes_": np.bytes_(b"raw"),
    "np.datetime64": np.datetime64("2024-02-29T12:00", "m"),
    "np.datetime64 NaT": np.datetime64("NaT"),
    "np.timedelta64": np.timedelta64(5, "us"),
    "np.void": np.void(b"\x01\x02"),
    "np.void structured": np.array([(1.5, 2)], dtype=POINT)[0],
    "float subclass": FloatSubclass(1.5),
    "int subclass": IntSubclass(3),
    "np.float64 subclass": Float64Subclass(1.5),
    "IntEnum": Level.LOW,
    "Fraction": fractions.Fraction(1, 3),
    "Decimal": decimal.Decimal("0.1"),
    "datetime": datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
    "tuple": (1, 2.0),
    "list": [1, [2]],
    "dict": {"a": np.float64(1)},
    "function": math.sin,
    "class": int,
    "Ellipsis": ...,
    "NotImplemented": NotImplemented,
    "exception": ValueError("kept, not raised"),
    "ndarray": np.arange(3.0),
    "ndarray 0-d": np.array(1.5),
    "ndarray empty": np.empty((0, 2)),
    "ndarray of objects": np.array([1, None], dtype=object),
    "ndarray byte-swapped": np.arange(3, dtype=np.dtype(np.int32).newbyteorder()),
    "ndarray subclass": np.arange(3.0).view(ArraySubclass),
    "masked array": np.ma.masked_array([1, 2], mask=[True, False]),
    "masked": np.ma.masked,
}

scalars = st.one_of(
    st.sampled_from(list(SCALARS.values())),
    st.floats(),
    st.integers(-(2**65), 2**65),
    st.complex_numbers(),
    st.text(max_size=3),
)


def identical(left: object, right: object) -> bool:
    """Say whether type, bits and structure agree; nothing is coerced and nan equals itself only by bits."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return same_arrays(left, right)  # type: ignore[arg-type]
    if isinstance(left, np.generic):
        return left.dtype == right.dtype and same_bits(left, right)  # type: ignore[attr-defined]
    if isinstance(left, float | complex):
        return same_bits(np.asarray(left), np.asarray(right))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(identical, left, right))  # type: ignore[arg-type]
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(identical(v, right[k]) for k, v in left.items())  # type: ignore[index,attr-defined]
    if isinstance(left, BaseException):
        return identical(left.args, right.args)  # type: ignore[attr-defined]
    return bool(left == right)


def same_arrays(left: np.ndarray, right: np.ndarray) -> bool:
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    if left.dtype.hasobject:
        return all(map(identical, left.ravel().tolist(), right.ravel().tolist()))
    return same_bits(left, right)


def same_bits(left: Any, right: Any) -> bool:
    kind = left.dtype.char
    if kind in "gG":  # the padding of a long double holds anything
        parts = [(left.real, right.real), (left.imag, right.imag)]
        return all(
            np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))
            for a, b in parts
        )
    return left.tobytes() == right.tobytes()


# ---- arrays ------------------------------------------------------------------------------------

FIXED_DTYPES = [
    *(np.dtype(code) for code in "?bhilqBHILQefdgFDG"),
    *map(np.dtype, ("S3", "U2", "V5", "M8[ns]", "m8[D]")),
    POINT,
]
LAYOUTS = [
    "contiguous",
    "fortran",
    "reversed",
    "sliced",
    "broadcast",
    "read-only",
    "field",
    "memory-mapped",
    "unaligned",
    "byte-swapped",
]


def fill(shape: tuple[int, ...], dtype: np.dtype, seed: int) -> np.ndarray:
    """Make an array of arbitrary bits (values where some bits are invalid)."""
    rng = np.random.default_rng(seed)
    if dtype.hasobject:
        pool = list(SCALARS.values())
        flat = np.empty(math.prod(shape), dtype=object)
        for k in range(flat.size):
            flat[k] = pool[rng.integers(len(pool))]
        return flat.reshape(shape)
    if dtype.char == "?":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.char in "gG":
        return np.asarray(rng.normal(size=shape) * (1 - 2j if dtype.char == "G" else 1)).astype(dtype)
    if dtype.char == "U":
        return np.asarray(rng.integers(0, 1000, size=shape)).astype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    return np.frombuffer(bytearray(rng.bytes(n_bytes)), dtype=dtype, count=math.prod(shape)).reshape(shape)


def lay_out(values: np.ndarray, layout: str) -> np.ndarray:
    """Put the values in memory in the named way; layouts a dtype cannot have are left out."""
    shape, dtype = values.shape, values.dtype
    if layout == "fortran":
        return values.copy(order="F")
    if layout == "reversed":
        return values[(*(slice(None, None, -1),) * values.ndim, ...)]
    if layout == "sliced":
        wide = np.repeat(values, 2, axis=-1) if values.ndim else values
        return wide[..., 1::2] if values.ndim else wide
    if layout == "broadcast":
        return np.broadcast_to(values[:1] if values.ndim else values, shape)
    if layout == "read-only":
        values.flags.writeable = False
        return values
    if layout == "field":
        record = np.zeros(shape, dtype=[("pad", np.int8), ("value", dtype), ("end", np.int16)])
        record["value"] = values
        return record["value"]
    if dtype.hasobject:
        return values
    if layout == "memory-mapped" and values.nbytes:
        with tempfile.TemporaryFile() as file:
            mapped = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
            mapped[...] = values
            return mapped
    if layout == "unaligned":
        buffer = np.zeros(values.nbytes + 1, dtype=np.uint8)
        moved = buffer[1:].view(dtype).reshape(shape) if values.nbytes else values
        moved[...] = values
        return moved
    if layout == "byte-swapped":
        return values.astype(dtype.newbyteorder())
    return values


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...], dtypes: list[np.dtype] | None = None) -> np.ndarray:
    dtype = draw(st.sampled_from(dtypes or [*FIXED_DTYPES, np.dtype(object)]))
    layout = draw(st.sampled_from(LAYOUTS))
    return lay_out(fill(shape, dtype, draw(st.integers(0, 1000))), layout)


@st.composite
def task_shapes(draw: st.DrawFn, max_tasks: int = 200) -> tuple[int, ...]:
    """Draw a task shape of 0 to 5 axes; one axis in a few has no element."""
    sizes = st.lists(st.sampled_from([1, 2, 3, 4, 5, 2, 3, 0]), max_size=5)
    return tuple(draw(sizes.filter(lambda shape: math.prod(shape) <= max_tasks)))
