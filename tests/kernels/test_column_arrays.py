from __future__ import annotations

import gc

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from kernels.values import LAYOUTS, POINT, SCALARS, ArraySubclass, fill, identical, lay_out, scalars

from pipefunc_c._kernels import tags as kernel
from pipefunc_c._kernels.column import Column

SLAB_DTYPES = [np.dtype(code) for code in "?bhilqBHILQefdFD"]


class RecordingHome:
    """Private memory that remembers what was asked for."""

    def __init__(self) -> None:
        self.regions: list[np.ndarray] = []

    def allocate(self, nbytes: int) -> np.ndarray:
        self.regions.append(np.zeros(nbytes, dtype=np.uint8))
        return self.regions[-1]

    def close(self) -> None:
        pass


def column_of(values, layout=None, size=None) -> Column:
    filled = Column(len(values) if size is None else size)
    if layout:
        filled.fix_layout(*layout)
    for i, value in enumerate(values):
        filled.store(i, value)
    return filled


def use_slab(filled: Column, array: np.ndarray) -> None:
    filled.fix_layout(array.dtype, array.shape)
    filled.store(1, array)


@pytest.mark.parametrize("dtype", SLAB_DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0, 1), (1, 2, 1, 2, 1)], ids=str)
def test_arrays_of_the_layout_go_to_the_slab(dtype, shape) -> None:
    arrays = [fill(shape, dtype, seed) for seed in range(4)]
    filled = column_of(arrays, (dtype, shape))
    assert filled.layout == (dtype, shape)
    assert filled.tags.tolist() == [kernel.ARRAY] * 4
    for i, array in enumerate(arrays):
        copy = filled.load(i)
        assert identical(copy, array)
        assert copy.flags.writeable
        assert not np.shares_memory(copy, filled.slab())
    slab = filled.slab()
    assert identical(slab, np.array(arrays, dtype=dtype).reshape(4, *shape))
    assert not slab.flags.writeable
    if slab.size:
        with pytest.raises(ValueError, match="read-only"):
            slab[0] = 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_slab_takes_arrays_of_any_memory_layout(layout) -> None:
    array = lay_out(fill((3, 4), np.dtype("f8"), 1), layout)
    filled = column_of([array], (np.dtype("f8"), (3, 4)))
    assert identical(np.asarray(filled.load(0)), np.asarray(array))
    exact = type(array) is np.ndarray and array.dtype.isnative
    assert filled.tag(0) == (kernel.ARRAY if exact else kernel.OBJECT)
    if not exact:
        assert filled.load(0) is array


def test_what_differs_from_the_layout_stays_an_object() -> None:
    others = {
        "shape": np.zeros(4),
        "rank": np.zeros((3, 1)),
        "dtype": np.zeros(3, dtype=np.float32),
        "byte order": np.zeros(3, dtype=np.dtype(np.float64).newbyteorder()),
        "subclass": np.zeros(3).view(ArraySubclass),
        "masked": np.ma.zeros(3),
        "object dtype": np.zeros(3, dtype=object),
        "list": [0.0, 0.0, 0.0],
    }
    filled = column_of(list(others.values()), (np.dtype("f8"), (3,)))
    assert set(filled.tags.tolist()) == {kernel.OBJECT}
    assert all(filled.load(i) is other for i, other in enumerate(others.values()))
    assert filled.slab() is None


@pytest.mark.parametrize("value", SCALARS.values(), ids=SCALARS)
def test_scalars_are_kept_beside_a_slab(value) -> None:
    filled = column_of([np.zeros(2), value], (np.dtype("f8"), (2,)))
    assert identical(filled.load(1), value)
    assert identical(filled.load(0), np.zeros(2))
    assert filled.slab() is None


def test_storing_copies_the_array() -> None:
    array = np.arange(3.0)
    filled = column_of([array], (array.dtype, array.shape))
    array[:] = -1
    assert filled.load(0).tolist() == [0, 1, 2]
    filled.load(0)[:] = 5
    assert filled.load(0).tolist() == [0, 1, 2]
    assert filled.load(0) is not filled.load(0)


def test_an_array_stored_before_the_layout_was_fixed_is_the_very_object() -> None:
    array = np.arange(3.0)
    filled = column_of([array], size=2)
    filled.fix_layout(array.dtype, array.shape)
    filled.store(1, array)
    assert filled.tags.tolist() == [kernel.OBJECT, kernel.ARRAY]
    assert filled.load(0) is array
    assert identical(filled.load(1), array)
    assert filled.slab() is None


def test_the_layout_is_fixed_once() -> None:
    filled = Column(2)
    assert filled.layout is None
    filled.fix_layout(np.dtype("f8"), (2,))
    with pytest.raises(ValueError):  # noqa: PT011
        filled.fix_layout(np.dtype("f8"), (2,))
    assert filled.layout == (np.dtype("f8"), (2,))


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        pytest.param("O", (2,), id="objects"),
        pytest.param("S3", (2,), id="bytes"),
        pytest.param("M8[s]", (2,), id="dates"),
        pytest.param(POINT, (2,), id="structured"),
        pytest.param(np.dtype("f8").newbyteorder(), (2,), id="byte-swapped"),
        pytest.param("f8", (-1,), id="negative size"),
        pytest.param("f8", (1.5,), id="broken size"),
        pytest.param("f8", ("a",), id="size that is no number"),
    ],
)
def test_a_malformed_layout_is_refused(dtype, shape) -> None:
    filled = Column(2)
    with pytest.raises((TypeError, ValueError, OverflowError, MemoryError)):
        filled.fix_layout(np.dtype(dtype), shape)
    assert filled.layout is None
    filled.fix_layout(np.dtype("f8"), (2,))
    filled.store(0, np.ones(2))
    assert filled.load(0).tolist() == [1, 1]


@pytest.mark.parametrize("size", [2**10, 2**20, 2**24], ids=["8 PiB", "2^63 bytes", "2^67 bytes"])
def test_a_slab_too_large_to_address_is_refused(size) -> None:
    filled, shape = Column(size), (2**20, 2**20)
    with pytest.raises((MemoryError, OverflowError, ValueError)):
        use_slab(filled, np.broadcast_to(0.0, shape))
    filled.store(0, 1.5)
    assert filled.load(0) == 1.5


def test_the_slab_view_is_not_a_copy_and_outlives_the_column() -> None:
    filled = column_of([np.full(1000, 1.0), np.full(1000, 2.0)], (np.dtype("f8"), (1000,)))
    slab = filled.slab()
    filled.store(0, np.full(1000, 7.0))
    assert slab[0, 0] == 7
    filled.close()
    del filled
    gc.collect()
    churn = [np.zeros(2000) for _ in range(8)]
    assert slab[0].tolist() == [7] * 1000
    assert slab[1].tolist() == [2] * 1000
    assert len(churn) == 8


def test_missing_rows_of_the_slab_are_zero() -> None:
    filled = column_of([np.ones(2), np.ones(2)], (np.dtype("f8"), (2,)), size=3)
    filled.clear(0)
    slab = filled.slab()
    assert slab.shape == (3, 2)
    assert slab[1:].tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        pytest.param([1.0, -0.0], "f8", id="float"),
        pytest.param([1.0, np.float64(2)], "f8", id="float and np.float64"),
        pytest.param([np.float64(2)], "f8", id="np.float64"),
        pytest.param([np.float32(0.1), np.float32(2)], "f4", id="np.float32"),
        pytest.param([np.float16(0.1)], "f2", id="np.float16"),
        pytest.param([1, -5], "i8", id="int"),
        pytest.param([1, np.int64(-(2**63))], "i8", id="int and np.int64"),
        pytest.param([np.int8(-5)], "i1", id="np.int8"),
        pytest.param([np.int16(-5)], "i2", id="np.int16"),
        pytest.param([np.int32(-5)], "i4", id="np.int32"),
        pytest.param([np.uint8(255)], "u1", id="np.uint8"),
        pytest.param([np.uint16(5)], "u2", id="np.uint16"),
        pytest.param([np.uint32(5)], "u4", id="np.uint32"),
        pytest.param([np.uint64(2**64 - 1)], "u8", id="np.uint64"),
        pytest.param([True, False], "?", id="bool"),
        pytest.param([True, np.False_], "?", id="bool and np.bool"),
        pytest.param([1j, complex(-0.0, 2)], "c16", id="complex"),
        pytest.param([1j, np.complex128(2)], "c16", id="complex and np.complex128"),
        pytest.param([np.complex64(1j)], "c8", id="np.complex64"),
    ],
)
def test_typed_by_hand(values, dtype) -> None:
    filled = column_of(values, size=len(values) + 2)
    filled.store(len(values), values[0])
    filled.clear(len(values))
    typed = filled.typed()
    expected = np.array([*values, 0, 0], dtype=dtype)
    assert identical(np.ascontiguousarray(typed), expected)
    assert not typed.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        typed[0] = 0
    filled.store(len(values) + 1, values[0])
    assert typed[-1] == values[0]  # no copy


@pytest.mark.parametrize("kind", [complex, np.complex64, float, np.float32, int], ids=lambda k: k.__name__)
@pytest.mark.parametrize("between", [None, "object", 2.5, 2.5j, np.int8(3)], ids=repr)
def test_a_missing_cell_is_zero_whatever_it_held(kind, between) -> None:
    filled = column_of([kind(1), between, kind(1)])
    filled.store(1, kind(1))
    filled.store(0, between)
    filled.clear(0)
    filled.clear(1)
    assert filled.typed().tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1.0, 1], id="float and int"),
        pytest.param([1, True], id="int and bool"),
        pytest.param([1.0, None], id="float and None"),
        pytest.param([None], id="None"),
        pytest.param(["text"], id="object"),
        pytest.param([2**63], id="large int"),
        pytest.param([1.0, 1j], id="float and complex"),
        pytest.param([np.complex64(1), np.complex128(1)], id="two complex sizes"),
        pytest.param([np.int32(1), np.int64(1)], id="two int sizes"),
        pytest.param([np.float32(1), 1.0], id="two float sizes"),
        pytest.param([np.zeros(2)], id="ndarray"),
    ],
)
def test_typed_is_none_for_what_shares_no_dtype(values) -> None:
    assert column_of(values).typed() is None


def test_an_error_has_no_dtype() -> None:
    filled = column_of([1.0, 2.0])
    filled.store_error(1, ValueError())
    assert filled.typed() is None
    filled.store(1, 3.0)
    assert filled.typed().tolist() == [1, 3]


@given(st.lists(scalars, min_size=1, max_size=12), st.data())
def test_ranges_equal_the_reference(values, data) -> None:
    filled, slow = column_of(values, size=len(values) + 2), reference.Column(len(values) + 2)
    for i, value in enumerate(values):
        slow.store(i, value)
    start = data.draw(st.integers(0, filled.size))
    stop = data.draw(st.integers(start, filled.size))
    assert filled.tag_set() == slow.tag_set()
    assert filled.tag_set(start, stop) == slow.tag_set(start, stop)
    assert filled.tag_set(start) == slow.tag_set(start)
    for tag in range(23):
        assert filled.count(tag) == slow.count(tag)
        assert filled.count(tag, start, stop) == slow.count(tag, start, stop)
    got, wanted = filled.objects(start, stop, "gone"), slow.objects(start, stop, "gone")
    assert got.shape == wanted.shape
    assert all(map(identical, got, wanted))


def test_tag_set_by_hand() -> None:
    filled = column_of([1.0, 2.0, "x"], size=4)
    assert filled.tag_set() == 1 << kernel.MISSING | 1 << kernel.FLOAT | 1 << kernel.OBJECT
    assert filled.tag_set(0, 2) == 1 << kernel.FLOAT
    assert filled.tag_set(3) == 1 << kernel.MISSING
    assert filled.tag_set(2, 2) == 0
    assert filled.count(kernel.FLOAT) == 2
    assert filled.count(kernel.FLOAT, 1) == 1


@pytest.mark.parametrize("name", ["tag_set", "objects", "count"])
@pytest.mark.parametrize("span", [(0, 5), (-9, 2), (7, 9)], ids=["beyond", "negative", "outside"])
def test_a_bad_range_is_refused_or_clipped_never_read(name, span) -> None:
    filled = column_of([1.0, 2.0, 3.0])
    arguments = (kernel.FLOAT, *span) if name == "count" else span
    try:
        result = getattr(filled, name)(*arguments)
    except (IndexError, ValueError):
        return
    assert np.size(result) <= 3
    if name == "count":
        assert result <= 3
    if name == "tag_set":
        assert result in (0, 1 << kernel.FLOAT)


def test_objects_is_fresh_and_writable() -> None:
    thing, array = object(), np.zeros(2)
    filled = column_of([1.5, thing, array, None], (np.dtype("f8"), (2,)), size=5)
    first = filled.objects()
    assert first.dtype == object
    assert first[1] is thing
    assert first[3] is first[4] is None
    assert filled.objects(default=...)[4] is ...
    first[0] = "changed"
    first[2][:] = 9
    again = filled.objects()
    assert again is not first
    assert again[0] == 1.5
    assert again[2].tolist() == [0, 0]


def test_objects_holds_arrays_of_one_shape_as_elements() -> None:
    filled = column_of([np.zeros(2), np.ones(2)])  # no layout: NumPy would stack them
    result = filled.objects()
    assert result.shape == (2,)
    assert identical(result[1], np.ones(2))


def test_memory_comes_from_the_home() -> None:
    home = RecordingHome()
    filled = Column(1000, home)
    assert sum(region.nbytes for region in home.regions) >= 9 * 1000
    filled.store(3, 0.5)
    assert any(region.any() for region in home.regions)
    filled.store(4, 1j)
    complex_bytes = sum(region.nbytes for region in home.regions)
    assert complex_bytes >= (9 + 16) * 1000
    filled.fix_layout(np.dtype("f8"), (5,))
    filled.store(5, np.ones(5))
    total = sum(region.nbytes for region in home.regions)
    assert total >= complex_bytes + 40 * 1000
    assert [filled.load(3), filled.load(4), filled.load(5).tolist()] == [0.5, 1j, [1] * 5]


def test_nbytes_counts_the_regions() -> None:
    filled = Column(10_000)
    plain = filled.nbytes
    assert 90_000 <= plain <= 100_000
    filled.store(0, 1j)
    assert 160_000 <= filled.nbytes - plain <= 170_000


@pytest.mark.parametrize("what", ["new column", "complex", "slab"])
def test_a_home_without_room_leaves_the_column_as_it_was(what) -> None:
    class Full(RecordingHome):
        full = what == "new column"

        def allocate(self, nbytes: int) -> np.ndarray:
            if self.full:
                raise MemoryError(nbytes)
            return super().allocate(nbytes)

    home = Full()
    if what == "new column":
        with pytest.raises(MemoryError):
            Column(10, home)
        return
    filled = Column(10, home)
    filled.store(0, 1.5)
    home.full = True
    if what == "complex":
        with pytest.raises(MemoryError):
            filled.store(1, 1j)
        assert filled.tags[1] == kernel.MISSING
    else:
        with pytest.raises(MemoryError):
            use_slab(filled, np.ones(3))
    assert filled.load(0) == 1.5
    filled.store(1, "still works")
    assert filled.load(1) == "still works"
