"""When objects and memory of a column come and go."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest
from kernels.values import SCALARS

from pipefunc_c._kernels.column import Column

EACH_SCALAR = pytest.mark.parametrize("value", SCALARS.values(), ids=SCALARS)


class Thing:
    """An object that can be watched."""


@pytest.mark.parametrize(
    "release",
    [
        lambda c: c.clear(0),
        lambda c: c.store(0, 1.0),
        lambda c: c.store(0, "other"),
        lambda c: c.store_error(0, "other"),
        lambda c: c.close(),
    ],
    ids=["clear", "replaced by a float", "replaced by an object", "replaced by an error", "close"],
)
@pytest.mark.parametrize("put", ["store", "store_error"])
def test_an_object_is_dropped_when_its_element_changes(put, release) -> None:
    filled, thing = Column(1), Thing()
    getattr(filled, put)(0, thing)
    watch = weakref.ref(thing)
    del thing
    gc.collect()
    assert watch() is not None
    release(filled)
    gc.collect()
    assert watch() is None


def test_objects_are_dropped_with_the_column() -> None:
    filled, thing = Column(2), Thing()
    filled.store(0, thing)
    filled.store(1, [thing])
    watch = weakref.ref(thing)
    del thing, filled
    gc.collect()
    assert watch() is None


def test_a_cycle_through_a_column_is_collected() -> None:
    def make_cycle() -> weakref.ref:
        filled, thing = Column(1), Thing()
        thing.column = filled
        filled.store(0, thing)
        filled.read_error = lambda *_: filled
        return weakref.ref(thing)

    watch = make_cycle()
    gc.collect()
    assert watch() is None


def test_an_object_whose_destructor_uses_the_column() -> None:
    filled, seen = Column(2), []

    class Nosy:
        def __del__(self) -> None:
            seen.append(filled.load(0))
            filled.store(1, "from the destructor")

    filled.store(0, Nosy())
    filled.store(0, 2.0)
    assert seen
    assert filled.load(0) == 2.0
    assert filled.load(1) == "from the destructor"


@pytest.mark.parametrize(
    "put",
    [
        lambda c: c.store(0, 1.0),
        lambda c: c.store(0, 1j),
        lambda c: c.store(0, "other"),
        lambda c: c.store(0, np.ones(2)),
        lambda c: c.store_error(0, "other"),
        lambda c: c.clear(0),
        lambda c: c.close(),
    ],
    ids=["float", "complex", "object", "array", "error", "clear", "close"],
)
def test_an_object_whose_destructor_closes_the_column(put) -> None:
    filled = Column(2)
    filled.fix_layout(np.dtype("f8"), (2,))

    class Closing:
        def __del__(self) -> None:
            filled.close()

    filled.store(0, Closing())
    put(filled)
    with pytest.raises(ValueError, match="closed"):
        filled.load(0)


@pytest.mark.parametrize("how", ["close", "delete"])
def test_views_outlive_the_column(how) -> None:
    filled = Column(50_000)
    for i in range(0, 50_000, 1000):
        filled.store(i, float(i))
    tags, cells, typed = filled.tags, filled.cells, filled.typed()
    expected = tags.tolist(), cells.tolist(), typed.tolist()
    if how == "close":
        filled.close()
    del filled
    gc.collect()
    churn = [np.ones(50_000) for _ in range(8)]  # would be written over freed memory
    assert (tags.tolist(), cells.tolist(), typed.tolist()) == expected
    assert len(churn) == 8


def test_close_can_be_repeated_and_ends_store_and_load() -> None:
    filled = Column(2)
    filled.store(0, "object")
    filled.store(1, 1j)
    for _ in range(3):
        filled.close()
    for call in (lambda: filled.store(0, 1.0), lambda: filled.store(0, "x"), lambda: filled.load(0)):
        with pytest.raises(ValueError):  # noqa: PT011
            call()


@EACH_SCALAR
def test_store_and_load_leak_no_references(value) -> None:
    filled = Column(4)
    gc.collect()
    before = sys.getrefcount(value)
    for _ in range(50):
        for i in range(4):
            filled.store(i, value)
            filled.load(i)
        filled.objects()
        filled.store_error(0, value)
        filled.load_error(0)
        for i in range(4):
            filled.clear(i)
    assert abs(sys.getrefcount(value) - before) < 4  # immortal or shared ones move by themselves
