from __future__ import annotations

import os

import numpy as np
import pytest
import reference
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kernels.values import SCALARS, fill, identical, scalars

from pipefunc_c._kernels import tags as kernel
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.home import SharedHome

indices = st.integers(0, 7)
LAYOUT_SHAPES = [(), (2,), (2, 2), (0,)]
LAYOUT_DTYPES = [np.dtype(code) for code in ("f8", "i2", "?", "c16")]


class ColumnMachine(RuleBasedStateMachine):
    """Any sequence of operations leaves the column and the dict with the same contents."""

    make_home: staticmethod = staticmethod(lambda: None)

    @initialize(size=st.integers(0, 8))
    def begin(self, size: int) -> None:
        self.home = self.make_home()
        self.column = Column(size, self.home)
        self.slow = reference.Column(size)

    def both(self, name: str, index: int, *arguments: object) -> None:
        if index < self.slow.size:
            getattr(self.slow, name)(index, *arguments)
            getattr(self.column, name)(index, *arguments)
        else:
            with pytest.raises(IndexError):
                getattr(self.column, name)(index, *arguments)

    @rule(index=indices, value=scalars)
    def store(self, index: int, value: object) -> None:
        self.both("store", index, value)

    @rule(index=indices, name=st.sampled_from(sorted(SCALARS)))
    def store_everywhere_from(self, index: int, name: str) -> None:
        for i in range(index, self.slow.size):
            self.both("store", i, SCALARS[name])

    @rule(
        index=indices,
        dtype=st.sampled_from(LAYOUT_DTYPES),
        shape=st.sampled_from(LAYOUT_SHAPES),
        seed=st.integers(0, 99),
    )
    def store_array(self, index: int, dtype: np.dtype, shape: tuple[int, ...], seed: int) -> None:
        self.both("store", index, fill(shape, dtype, seed))

    @precondition(lambda self: self.slow.layout)
    @rule(index=indices, seed=st.integers(0, 99))
    def store_array_of_the_layout(self, index: int, seed: int) -> None:
        dtype, shape = self.slow.layout
        for i in range(index, self.slow.size):
            self.both("store", i, fill(shape, dtype, seed))

    @rule(index=indices, error=st.sampled_from([ValueError("a"), b"pickle", None]), number=st.integers(0, 9))
    def store_error(self, index: int, error: object, number: int) -> None:
        self.both("store_error", index, error, number)

    @rule(index=indices)
    def clear(self, index: int) -> None:
        self.both("clear", index)

    @rule()
    def clear_all(self) -> None:
        for i in range(self.slow.size):
            self.both("clear", i)

    @precondition(lambda self: self.slow.layout is None)
    @rule(dtype=st.sampled_from(LAYOUT_DTYPES), shape=st.sampled_from(LAYOUT_SHAPES))
    def fix_layout(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.slow.fix_layout(dtype, shape)
        self.column.fix_layout(dtype, shape)

    @rule(on=st.booleans())
    def set_read_error(self, on: bool) -> None:
        self.slow.read_error = self.column.read_error = (lambda *arguments: arguments) if on else None

    @invariant()
    def tags_agree(self) -> None:
        assert self.column.size == self.slow.size
        assert self.column.layout == self.slow.layout
        assert np.array_equal(self.column.tags, self.slow.tags)
        assert self.column.tag_set() == self.slow.tag_set()

    @invariant()
    def values_agree(self) -> None:
        fast, slow = self.column.objects(default=...), self.slow.objects(default=...)
        for i in range(self.slow.size):
            wanted = self.slow.load(i, ...)
            assert identical(self.column.load(i, ...), wanted), (i, wanted)
            assert identical(fast[i], slow[i])
            if self.column.tag(i) == kernel.OBJECT:
                assert self.column.load(i) is wanted
            if self.column.tag(i) == kernel.ERROR:
                assert self.column.load_error(i) == self.slow.load_error(i)

    @invariant()
    def views_agree(self) -> None:
        if not self.slow.kept:  # nothing present: no dtype to speak of
            return
        for name in ("typed", "slab"):
            fast, slow = getattr(self.column, name)(), getattr(self.slow, name)()
            assert (fast is None) == (slow is None)
            if slow is None:
                continue
            present = slice(None) if name == "typed" else sorted(self.slow.kept)
            assert identical(np.ascontiguousarray(fast[present]), np.ascontiguousarray(slow[present]))
            assert not fast.flags.writeable

    def teardown(self) -> None:
        if hasattr(self, "column"):
            self.column.close()
            self.column.close()
            if self.home is not None:
                self.home.close()
                self.home.close()


class SharedColumnMachine(ColumnMachine):
    make_home = staticmethod(SharedHome)


TestPrivateColumn = pytest.mark.slow(ColumnMachine.TestCase)
TestSharedColumn = pytest.mark.slow(SharedColumnMachine.TestCase)
TestPrivateColumn.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestSharedColumn.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


# ---- across fork -------------------------------------------------------------------------------


def in_child(work) -> None:
    """Run the work in a forked child and check that it went well."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture(params=["private", "shared"])
def home(request):
    made = SharedHome() if request.param == "shared" else None
    yield made
    if made is not None:
        made.close()


def fill_all_sides(filled: Column) -> list[object]:
    filled.fix_layout(np.dtype("f8"), (3,))
    values = [0.5, "object", 1j, np.arange(3.0), None]
    for i, value in enumerate(values):
        filled.store(i, value)
    return values


def test_a_child_that_closes_leaves_the_parent_intact(home) -> None:
    filled = Column(6, home)
    values = fill_all_sides(filled)

    def close_everything() -> None:
        filled.close()
        filled.close()
        if home is not None:
            home.close()
            home.close()

    in_child(close_everything)
    assert all(identical(filled.load(i), value) for i, value in enumerate(values))
    filled.store(5, 2.5)
    filled.store(0, 2j)
    filled.store(1, np.ones(3))
    assert [filled.load(5), filled.load(0), filled.load(1).tolist()] == [2.5, 2j, [1, 1, 1]]
    filled.close()


def test_a_child_reads_what_the_parent_stored(home) -> None:
    filled = Column(6, home)
    values = fill_all_sides(filled)

    def check() -> None:
        assert all(identical(filled.load(i), value) for i, value in enumerate(values))

    in_child(check)


def test_what_a_child_stores_reaches_the_parent_through_the_shared_home() -> None:
    home = SharedHome()
    filled = Column(6, home)
    fill_all_sides(filled)

    def store() -> None:
        filled.store(0, np.float32(0.1))
        filled.store(4, -7)
        filled.store(2, -2j)
        filled.store(3, np.full(3, 9.0))
        filled.clear(1)

    in_child(store)
    assert filled.load(0) == np.float32(0.1)
    assert filled.load(4) == -7
    assert filled.load(2) == -2j
    assert filled.load(3).tolist() == [9, 9, 9]
    assert filled.tag(1) == kernel.MISSING
    assert filled.load(1, ...) is ...
    filled.close()
    home.close()


def test_what_a_child_stores_in_private_memory_stays_there() -> None:
    filled = Column(2)
    filled.store(0, 1.5)
    in_child(lambda: filled.store(0, 2.5))
    assert filled.load(0) == 1.5


def test_views_of_a_shared_column_outlive_column_and_home() -> None:
    home = SharedHome()
    filled = Column(3, home)
    for i in range(3):
        filled.store(i, float(i))
    typed, tags = filled.typed(), filled.tags
    filled.close()
    home.close()
    del filled, home
    assert typed.tolist() == [0, 1, 2]
    assert tags.tolist() == [kernel.FLOAT] * 3
