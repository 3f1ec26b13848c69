from __future__ import annotations

import contextlib
import threading
import weakref

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from kernels.values import SCALARS, Float64Subclass, FloatSubclass, identical, scalars

from pipefunc_c._kernels import tags as kernel
from pipefunc_c._kernels.column import Column
from pipefunc_c.exceptions import InvalidValueError, OutOfBoundsError

EACH_SCALAR = pytest.mark.parametrize("value", SCALARS.values(), ids=SCALARS)


def test_the_tags_are_numbered_as_agreed() -> None:
    names = [
        *("MISSING", "FLOAT", "INT", "BOOL", "NONE", "FLOAT64", "FLOAT32", "FLOAT16"),
        *("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
        *("NUMPY_BOOL", "COMPLEX", "COMPLEX128", "COMPLEX64", "ARRAY", "OBJECT", "ERROR"),
    ]
    assert [getattr(kernel, name) for name in names] == list(range(23))


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (1.0, kernel.FLOAT),
        (1, kernel.INT),
        (2**63 - 1, kernel.INT),
        (-(2**63), kernel.INT),
        (2**63, kernel.OBJECT),
        (True, kernel.BOOL),
        (None, kernel.NONE),
        (np.float64(1), kernel.FLOAT64),
        (np.float32(1), kernel.FLOAT32),
        (np.float16(1), kernel.FLOAT16),
        (np.int8(1), kernel.INT8),
        (np.int64(1), kernel.INT64),
        (np.uint64(2**64 - 1), kernel.UINT64),
        (np.True_, kernel.NUMPY_BOOL),
        (1j, kernel.COMPLEX),
        (np.complex128(1j), kernel.COMPLEX128),
        (np.complex64(1j), kernel.COMPLEX64),
        (np.longdouble(1), kernel.OBJECT),
        (FloatSubclass(1), kernel.OBJECT),
        (Float64Subclass(1), kernel.OBJECT),
        ("text", kernel.OBJECT),
        (np.zeros(2), kernel.OBJECT),
    ],
    ids=lambda v: f"{type(v).__name__} {v}",
)
def test_tags_by_hand(value, tag) -> None:
    filled = Column(1)
    filled.store(0, value)
    assert filled.tag(0) == tag
    assert filled.tags.tolist() == [tag]
    assert reference.tag_of(value) == tag


@EACH_SCALAR
def test_a_value_comes_back_with_type_and_bits(value) -> None:
    filled = Column(3)
    filled.store(1, value)
    for _ in range(2):
        assert identical(filled.load(1), value)
    assert filled.tag(1) == reference.tag_of(value)
    if filled.tag(1) == kernel.OBJECT:
        assert filled.load(1) is value
    assert filled.tags.tolist() == [0, filled.tag(1), 0]
    assert filled.load(0, value) is value


def test_any_value_can_replace_any_other() -> None:
    filled = Column(1)
    for name, first in SCALARS.items():
        for other, second in SCALARS.items():
            filled.store(0, first)
            filled.store(0, second)
            assert filled.tag(0) == reference.tag_of(second), (name, other)
            assert identical(filled.load(0), second), (name, other)


@given(st.lists(scalars, max_size=40))
def test_mixtures_equal_the_reference(values) -> None:
    filled, slow = Column(len(values) + 1), reference.Column(len(values) + 1)
    for i, value in enumerate(values):
        filled.store(i, value)
        slow.store(i, value)
    assert np.array_equal(filled.tags, slow.tags)
    assert all(identical(filled.load(i, ...), slow.load(i, ...)) for i in range(len(values) + 1))


@pytest.mark.parametrize("index", [-1, 3, 2**40, -(2**63)], ids=["negative", "size", "far", "very negative"])
@pytest.mark.parametrize(
    "call",
    [
        lambda c, i: c.store(i, 1.0),
        lambda c, i: c.store(i, "object"),
        lambda c, i: c.store(i, 1j),
        lambda c, i: c.load(i),
        lambda c, i: c.tag(i),
        lambda c, i: c.clear(i),
        lambda c, i: c.store_error(i, ValueError()),
        lambda c, i: c.load_error(i),
    ],
    ids=["store", "store object", "store complex", "load", "tag", "clear", "store_error", "load_error"],
)
def test_an_index_out_of_bounds_is_an_index_error(call, index) -> None:
    filled = Column(3)
    with pytest.raises(IndexError):
        call(filled, index)
    assert filled.tags.tolist() == [0, 0, 0]


@pytest.mark.parametrize("index", [1.0, "1", None], ids=repr)
def test_an_index_that_is_no_integer_is_a_type_error(index) -> None:
    with pytest.raises(TypeError):
        Column(3).store(index, 1.0)


def test_a_column_of_no_elements() -> None:
    filled = Column(0)
    assert filled.size == 0
    assert filled.tags.shape == filled.cells.shape == (0,)
    assert filled.objects().shape == (0,)
    assert filled.tag_set() == 0
    with pytest.raises(IndexError):
        filled.store(0, 1.0)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Column(-1)


def test_size_is_read_only() -> None:
    filled = Column(2)
    with pytest.raises(AttributeError):
        filled.size = 10**9


@EACH_SCALAR
def test_clear_makes_an_element_missing(value) -> None:
    filled = Column(2)
    filled.store(0, value)
    filled.clear(0)
    filled.clear(1)
    assert filled.tags.tolist() == [0, 0]
    assert filled.load(0) is None
    assert filled.load(0, "default") == "default"
    filled.store(0, 1.5)
    assert filled.typed().tolist() == [1.5, 0.0]


def test_an_error_keeps_what_was_stored_and_its_origin_id() -> None:
    filled, error = Column(4), ValueError("bad")
    filled.store_error(2, error, 7)
    assert filled.load_error(2) == (error, 7)
    assert filled.load(2) is error
    assert filled.tags.tolist() == [0, 0, kernel.ERROR, 0]
    filled.store_error(3, error)
    assert filled.load_error(3) == (error, 0)
    filled.store(1, error)  # returned, not raised
    assert filled.tag(1) == kernel.OBJECT
    for other in (0, 1):
        with pytest.raises(ValueError):  # noqa: PT011
            filled.load_error(other)


@pytest.mark.parametrize("origin_id", [0, 1, 2**31 - 1], ids=repr)
def test_origin_ids_survive(origin_id) -> None:
    filled = Column(1)
    filled.store_error(0, b"pickled", origin_id)
    assert filled.load_error(0) == (b"pickled", origin_id)


def test_read_error_says_what_load_gives() -> None:
    filled, error = Column(2), KeyError("x")
    filled.store_error(1, error, 3)
    filled.store(0, 1)
    assert filled.read_error is None
    filled.read_error = lambda *arguments: arguments
    assert filled.load(1) == (1, error, 3)
    assert filled.objects().tolist() == [1, (1, error, 3)]
    assert filled.load(0) == 1
    assert filled.load_error(1) == (error, 3)
    filled.read_error = None
    assert filled.load(1) is error


def test_an_exception_of_read_error_is_raised() -> None:
    filled = Column(1)
    filled.store_error(0, 0)
    filled.read_error = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        filled.load(0)
    with pytest.raises(ZeroDivisionError):
        filled.objects()


@pytest.mark.parametrize(("name", "dtype"), [("tags", np.uint8), ("cells", np.uint64)], ids=["tags", "cells"])
def test_views_are_read_only_and_follow_the_column(name, dtype) -> None:
    filled = Column(3)
    view = getattr(filled, name)
    assert view.dtype == dtype
    assert view.shape == (3,)
    assert not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    filled.store(1, 2.5)
    assert view[1] == getattr(filled, name)[1] != 0
    assert np.shares_memory(view, getattr(filled, name))
    filled.clear(1)
    assert view.tolist() == [0, 0, 0]


def test_cells_hold_the_bits_of_the_value() -> None:
    filled = Column(4)
    for i, value in enumerate([1.5, -2, True, np.float64(-0.0)]):
        filled.store(i, value)
    expected = [np.float64(1.5).view(np.uint64), np.int64(-2).view(np.uint64), 1, 1 << 63]
    assert filled.cells.tolist() == [int(cell) for cell in expected]


def run_threads(work, n_threads: int) -> None:
    threads = [threading.Thread(target=work, args=(k,)) for k in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_store_without_loss() -> None:
    n_threads, per_thread = 4, 3000
    filled = Column(n_threads * per_thread)
    kinds = [float, str, complex, int]

    def work(which: int) -> None:
        for i in range(which, filled.size, n_threads):
            filled.store(i, kinds[(i // n_threads) % 4](i))

    run_threads(work, n_threads)
    assert all(identical(filled.load(i), kinds[(i // n_threads) % 4](i)) for i in range(filled.size))


@pytest.mark.parametrize("values", [[1j, 2j], ["a", "b"], [1j, "b"]], ids=["complex", "objects", "both"])
def test_threads_that_need_a_new_region_at_the_same_time(values) -> None:
    meeting = threading.Barrier(2)

    class SlowHome:
        made = False

        def allocate(self, nbytes: int) -> np.ndarray:
            if self.made:  # hold the door open until the other thread is here too, or cannot come
                with contextlib.suppress(threading.BrokenBarrierError):
                    meeting.wait(0.1)
            return np.zeros(nbytes, dtype=np.uint8)

        def close(self) -> None:
            pass

    home = SlowHome()
    filled = Column(2, home)
    home.made = True
    run_threads(lambda which: filled.store(which, values[which]), 2)
    assert [filled.load(0), filled.load(1)] == values


@given(st.data())
def test_objects_that_are_let_go_are_read_from_elsewhere(data) -> None:
    size = data.draw(st.sampled_from([7, 4095, 4096, 4097, 9000]))
    bounds = st.integers(0, size)
    filled = Column(size)
    filled.read_object = lambda index: ("elsewhere", index)
    for index in range(size):
        filled.store(index, (index, "text", None)[index % 3])
    for index in range(0, size, 100):
        filled.store_error(index, ValueError(index), index)
    gone = np.zeros(size, dtype=bool)
    for _ in range(data.draw(st.integers(1, 4))):
        start, stop = sorted(data.draw(st.tuples(bounds, bounds)))
        filled.let_go(start, stop)
        gone[start:stop] = True
    tags = filled.tags
    for index, value in enumerate(filled.objects().tolist()):
        if gone[index] and tags[index] >= kernel.OBJECT:
            assert value == ("elsewhere", index)
        elif index % 100 == 0:
            assert value.args == (index,)
            assert filled.load_error(index)[1] == index
        else:
            assert value == (index, "text", None)[index % 3]
    filled.store(0, stored := {"new": 0})
    assert filled.load(0) is stored


def test_objects_that_are_let_go_are_freed() -> None:
    class Value:
        pass

    filled, values = Column(10_000), [Value() for _ in range(10_000)]
    for index, value in enumerate(values):
        filled.store(index, value)
    living, empty = [weakref.ref(value) for value in values], Column(10_000).nbytes
    del value, values
    filled.let_go(1000, 9999)
    assert [index for index, each in enumerate(living) if each()] == [*range(1000), 9999]
    filled.let_go(0, 900)
    filled.let_go(900, 1000)
    filled.let_go(9999)
    assert not any(each() for each in living)
    assert filled.nbytes == empty
    with pytest.raises(OutOfBoundsError):
        filled.let_go(0, 10_001)
    filled.close()
    with pytest.raises(InvalidValueError, match="closed"):
        filled.let_go()
