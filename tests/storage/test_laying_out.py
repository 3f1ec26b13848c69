"""Complex numbers and arrays that a worker keeps as objects, and commits as what they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels.values import identical
from storage.committed import files, filled

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.tags import ARRAY, COMPLEX, OBJECT
from pipefunc_c._storage import laying_out
from pipefunc_c._storage.commits import CommittedRun, Committer, restore
from pipefunc_c._storage.compaction import compact
from pipefunc_c._storage.object_chunks import KeptError
from pipefunc_c._storage.packing import pack, pack_to_bytes, unpack, unpack_bytes

VALUES = {
    "complex": [1 + 2j, complex("-0"), complex(float("nan"), -0.0)],
    "complex128": [np.complex128(1 + 2j), np.complex128(3)],
    "complex64": [np.complex64(1 + 2j), np.complex64(0.1)],
    "arrays": [np.arange(3.0), np.ones(3)],
    "arrays without axes": [np.array(1.5), np.array(2.5)],
    "arrays of no elements": [np.zeros((0, 2)), np.zeros((0, 2))],
    "in Fortran order": [np.arange(6).reshape(2, 3, order="F"), np.ones((2, 3), int)],
}
STAYS = {
    "other shape": [np.arange(3.0), np.ones(2)],
    "other dtype": [np.arange(3.0), np.ones(3, np.float32)],
    "foreign byte order": [np.arange(3, dtype=">i4")] * 2,
    "of objects": [np.array([None])] * 2,
    "with metadata": [np.zeros(2, np.dtype("f8", metadata={"a": 1}))] * 2,
    "masked": [np.ma.MaskedArray([1.0], mask=[True])] * 2,
    "few among others": [np.arange(3.0), "a", "b"],
    "text": ["a", None],
    "long double": [np.clongdouble(1j)] * 2,
}


def worker_column(values):
    """Give a column as a worker has it before memory was announced."""
    column = Column(len(values), grows=False)
    for index, value in enumerate(values):
        if isinstance(value, Exception):
            column.store_error(index, value)
        else:
            column.store(index, value)
    return column


def committed(values, **options):
    packed = unpack_bytes(
        pack_to_bytes(pack(worker_column(values), 0, len(values), laid_out=True, **options))
    )
    column = Column(len(values))
    unpack(packed, column)
    return packed, column


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_they_come_back_as_what_they_are(values):
    packed, column = committed(values)
    assert not packed.objects
    assert len(packed.tags) == 1
    for index, value in enumerate(values):
        assert identical(column.load(index), value)
    if type(values[0]) is np.ndarray:
        assert column.slab().shape == (len(values), *values[0].shape)
    else:
        assert column.typed().dtype == np.asarray(values[0]).dtype


@pytest.mark.parametrize("values", STAYS.values(), ids=STAYS)
def test_others_stay_objects(values):
    packed, column = committed(values)
    assert packed.arrays is None
    assert packed.complexes is None
    for index, value in enumerate(values):
        assert value is None or column.tag(index) == OBJECT
        assert identical(column.load(index), value)


values = st.one_of(
    st.complex_numbers(),
    st.floats(),
    st.text(max_size=1),
    st.none(),
    st.sampled_from([np.complex64(1j), np.complex128(2j), np.arange(2.0), np.arange(3), ValueError("no")]),
)


@given(values=st.lists(values, min_size=1, max_size=12), data=st.data())
def test_any_mixture_in_any_runs(values, data):
    chosen = [index for index in range(len(values)) if data.draw(st.booleans())]
    runs = np.array([[index, index + 1] for index in chosen], dtype=np.int64).reshape(-1, 2)
    column, other = worker_column(values), Column(len(values))
    before = [column.tag(index) for index in range(len(values))]
    unpack(pack(column, 0, len(values), runs, laid_out=True), other)
    for index in chosen:
        if isinstance(values[index], Exception):
            kept = other.load_error(index)[0]
            assert isinstance(kept, KeptError)
            assert str(kept.error) == "no"
        else:
            assert identical(other.load(index), values[index])
        assert isinstance(values[index], complex) <= (other.tag(index) not in {OBJECT, ARRAY})
    assert before == [column.tag(index) for index in range(len(values))]
    assert all(other.load(index, "missing") == "missing" for index in set(range(len(values))) - set(chosen))


def test_beside_those_that_are_in_their_place():
    column = worker_column([1j, np.arange(2.0), np.arange(2.0), 4j])
    column.add_complex()
    column.fix_layout(np.float64, (2,))
    column.store(1, np.ones(2))
    column.store(3, 5j)
    assert [column.tag(index) for index in range(4)] == [OBJECT, ARRAY, OBJECT, COMPLEX]
    other = Column(4)
    unpack(pack(column, 0, 4, laid_out=True), other)
    assert [other.tag(index) for index in range(4)] == [COMPLEX, ARRAY, ARRAY, COMPLEX]
    assert other.load(0) == 1j
    assert other.load(2).tolist() == [0.0, 1.0]
    assert (other.load(1).tolist(), other.load(3)) == ([1.0, 1.0], 5j)


def test_an_array_of_another_layout_than_the_fixed_one_stays_an_object():
    column = worker_column([np.arange(2.0), np.arange(2.0)])
    column.fix_layout(np.float64, (3,))
    packed = pack(column, 0, 2, laid_out=True)
    assert packed.arrays is None
    assert packed.objects[0].count == 2


def test_arrays_that_would_not_fit_into_memory_stay_objects(monkeypatch):
    monkeypatch.setattr(laying_out, "available_memory", lambda: (31, "a test"))
    packed, column = committed([np.arange(2.0), np.arange(2.0)])
    assert packed.arrays is None
    assert column.load(1).tolist() == [0.0, 1.0]


def test_only_where_it_is_asked_for():
    packed = pack(worker_column([1j, 2j]), 0, 2)
    assert packed.complexes is None
    assert packed.objects[0].count == 2


@pytest.mark.parametrize("block", [1 << 20, 40])
def test_compaction_keeps_the_layout_that_most_elements_have(tmp_path, monkeypatch, block):
    monkeypatch.setattr("pipefunc_c._storage.compaction.BLOCK_BYTES", block)
    monkeypatch.setattr("pipefunc_c._storage.pieces.BLOCK_BYTES", block)
    values = [np.full((3,), 0.5), "text", None, np.float32(1), *(np.full((2,), k + 0.5) for k in range(4, 9))]
    values[5] = 5j
    column = filled(values)
    runs = np.array([[0, 2], [3, 4]])
    Committer(tmp_path, "a").commit(0, 0, 4, 0, [column], runs)
    Committer(tmp_path, "b").commit(0, 4, 9, 0, [column])
    Committer(tmp_path, "c").commit(0, 2, 3, 0, [filled([0, 0, np.zeros((), int)])])
    before = CommittedRun(tmp_path)
    assert [piece.layout and piece.layout[1] for (piece,) in before.pieces(0)] == [None, (2,), ()]
    compact(tmp_path)
    assert len(CommittedRun(tmp_path).records) == 1
    other = Column(9)
    assert restore(tmp_path, {0: [other]})[0].all()
    assert other.layout == (np.dtype(np.float64), (2,))
    values[2] = np.zeros((), int)
    assert all(identical(other.load(index), value) for index, value in enumerate(values))
    before_again = files(tmp_path)
    compact(tmp_path)
    assert files(tmp_path) == before_again


def test_what_a_worker_kept_as_objects_is_committed_as_what_it_is(tmp_path):
    column = Column(2, grows=False)
    column.store(0, 1j)
    column.store(1, 2j)
    Committer(tmp_path, "a").commit(0, 0, 2, 0, [column])
    other = Column(2)
    restore(tmp_path, {0: [other]})
    assert other.typed().tolist() == [1j, 2j]
