from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels.values import SCALARS, identical, scalars

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.tags import MISSING
from pipefunc_c._storage import packing
from pipefunc_c._storage.object_chunks import KeptError, ObjectChunks, object_chunks, pack_values
from pipefunc_c._storage.packing import clip_runs, pack, pack_to_bytes, run_indices, unpack, unpack_bytes
from pipefunc_c.exceptions import OperationError


class Unpicklable:
    def __reduce__(self):
        raise TypeError("will not go")


class Counted:
    loads = 0

    def __reduce__(self):
        return Counted.load, ()

    @staticmethod
    def load():
        Counted.loads += 1


class PickyError(Exception):
    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")

    def __reduce__(self):  # as without one, unless a package of the same process teaches pickle better
        return PickyError, self.args


class HoldsLock(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()


def filled(values):
    column = Column(len(values))
    for index, value in enumerate(values):
        if value is not MISSING_MARK:
            column.store(index, value)
    return column


MISSING_MARK = object()


def through_bytes(packed):
    return unpack_bytes(pack_to_bytes(packed))


@pytest.mark.parametrize("name", SCALARS)
def test_each_kind_of_value_comes_back(name):
    other = Column(3)
    unpack(through_bytes(pack(filled([None, SCALARS[name], 1.5]), 0, 3)), other)
    assert identical(other.load(1), SCALARS[name])
    assert other.load(0) is None
    assert identical(other.load(2), 1.5)


elements = st.one_of(scalars, st.just(MISSING_MARK), st.lists(st.integers(), max_size=2))


@given(values=st.lists(elements, min_size=1, max_size=12), data=st.data())
def test_any_mixture_in_any_range_and_runs(values, data):
    size = len(values)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    chosen = data.draw(st.none() | st.lists(st.booleans(), min_size=size, max_size=size))
    runs = None if chosen is None else np.array([[i, i + 1] for i in range(size) if chosen[i]]).reshape(-1, 2)
    packed = pack(filled(values), start, stop, runs)
    for each in (packed, through_bytes(packed)):
        other = filled(["before"] * size)
        unpack(each, other)
        for index, value in enumerate(values):
            taken = start <= index < stop and (chosen is None or chosen[index]) and value is not MISSING_MARK
            assert identical(other.load(index), value if taken else "before")


@given(
    kinds=st.lists(
        st.sampled_from(["array", "other shape", "float", "missing", "error"]), min_size=1, max_size=8
    )
)
def test_arrays_of_a_layout_among_others(kinds):
    column = Column(len(kinds))
    column.fix_layout(np.int32, (2,))
    for index, kind in enumerate(kinds):
        if kind == "array":
            column.store(index, np.array([index, -1], np.int32))
        elif kind == "other shape":
            column.store(index, np.arange(3.0))
        elif kind == "float":
            column.store(index, 0.5)
        elif kind == "error":
            column.store_error(index, ValueError(str(index)))
    other = Column(len(kinds))
    unpack(through_bytes(pack(column, 0, len(kinds))), other)
    for index, kind in enumerate(kinds):
        if kind == "error":
            assert str(other.load_error(index)[0].error) == str(index)
        else:
            assert identical(other.load(index, "missing"), column.load(index, "missing"))
    if "array" in kinds:
        assert other.layout == column.layout


def test_arrays_that_do_not_fit_the_layout_become_objects():
    column, other = Column(3), Column(3)
    column.fix_layout(np.float64, (2,))
    column.store(0, np.array([1.0, 2.0]))
    column.store(2, np.array([3.0, 4.0]))
    other.fix_layout(np.int64, (1,))
    for runs in (None, np.array([[0, 1], [2, 3]])):
        unpack(pack(column, 0, 3, runs), other)
        assert identical(other.load(0), np.array([1.0, 2.0]))
        assert identical(other.load(2), np.array([3.0, 4.0]))
        assert other.tag(1) == MISSING


def test_numbers_are_views_and_equal_tags_are_one():
    column = filled([0.5, 1.5, 2.5])
    packed = pack(column, 1, 3)
    assert np.shares_memory(packed.cells, column.cells)
    assert packed.tags.tolist() == [column.tag(0)]
    assert (packed.complexes, packed.arrays, packed.objects) == (None, None, ())
    assert packed.nbytes == 17


def test_nothing_to_pack():
    packed = pack(filled([1.5]), 0, 1, np.empty((0, 2), np.int64))
    assert packed.count == 0
    other = Column(1)
    unpack(packed, other)
    assert other.tag(0) == MISSING


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        pytest.param(None, (2, 7, None), id="all"),
        pytest.param([[0, 10]], (2, 7, None), id="around"),
        pytest.param([[3, 5]], (3, 5, None), id="one-inside"),
        pytest.param([[0, 3], [5, 6], [9, 10]], (2, 6, [[2, 3], [5, 6]]), id="several"),
        pytest.param([[0, 2], [7, 8]], (2, 2, None), id="beside"),
    ],
)
def test_clip_runs(runs, expected):
    start, stop, inside = clip_runs(None if runs is None else np.array(runs), 2, 7)
    assert (start, stop, None if inside is None else inside.tolist()) == expected


@given(st.lists(st.booleans(), max_size=30))
def test_run_indices(chosen):
    expected = [index for index, each in enumerate(chosen) if each]
    runs = np.array([[index, index + 1] for index in expected], dtype=np.int64).reshape(-1, 2)
    assert run_indices(runs).tolist() == expected


# -- objects -------------------------------------------------------------------------------------------


def test_objects_are_decoded_when_they_are_looked_at():
    other = Column(1)
    unpack(pack(filled([[Counted()]]), 0, 1), other)
    Counted.loads = 0
    _ = other.load(0), other.load(0)
    assert Counted.loads == 1


@pytest.mark.parametrize("dtype", [">M8[ns]", ">f8", ">U2", "q", "Q", ">q"])
@pytest.mark.parametrize("step", [1, 2])
def test_arrays_keep_their_dtype(dtype, step):
    array, other = np.array([1, 2, 3]).astype(dtype)[::step], Column(2)
    unpack(pack(filled([array, "beside"]), 0, 2), other)
    assert identical(other.load(0), array)
    assert other.load(0).dtype.char == array.dtype.char


def test_a_lambda_and_a_local_class():
    factor = 3

    class Local:
        value = factor

    other = Column(2)
    unpack(through_bytes(pack(filled([lambda x: factor * x, Local()]), 0, 2)), other)
    assert other.load(0)(2) == 6
    assert other.load(1).value == 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_cannot_be_pickled_is_named(place):
    values = [[1], [2], [3]]
    values[place] = [Unpicklable()]
    with pytest.raises(TypeError, match=f"'y' at element {place}, of type 'list'.*will not go") as caught:
        pack(filled(values), 0, 3, output="y")
    assert "memory" in caught.value.hint


def test_many_objects_make_several_pickles(monkeypatch):
    monkeypatch.setattr(packing, "OBJECTS_PER_CHUNK", 4)
    values = [str(index) if index % 3 else 1.5 for index in range(20)]
    packed = pack(filled(values), 0, 20)
    assert [chunk.count for chunk in packed.objects] == [4, 4, 4, 1]
    other = Column(20)
    unpack(packed, other)
    assert other.objects().tolist() == values


def test_objects_that_came_packed_can_be_packed_again():
    first, second = Column(2), Column(2)
    unpack(pack(filled([["a"], 1]), 0, 2), first)
    first.store_error(1, ValueError("no"), 0)
    unpack(pack(first, 0, 2, origin_of=lambda number: f"text {number}"), second)
    third = Column(2)
    unpack(pack(second, 0, 2), third)
    assert third.load(0) == ["a"]
    assert third.load_error(1)[0].origin == "text 0"


def test_an_object_that_another_storage_gives_is_still_found():
    column = Column(2)
    column.read_object = lambda index: f"other {index}"
    chunks = object_chunks(column)
    chunks.add(pack_values([1], ["packed"], portable=True))
    assert (chunks.get(0), chunks.get(1)) == ("other 0", "packed")
    assert object_chunks(column) is chunks


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.lists(st.booleans(), min_size=1, max_size=8)).filter(
            lambda c: any(c[1])
        ),
        max_size=8,
    )
)
def test_newer_chunks_win(layers):
    chunks, model = ObjectChunks(cache_bytes=40), {}
    for number, (start, chosen) in enumerate(layers):
        indices = [start + offset for offset, each in enumerate(chosen) if each]
        chunks.add(pack_values(indices, [(number, index) for index in indices], portable=True))
        model.update((index, (number, index)) for index in indices)
    for index in range(25):
        if index in model:
            assert chunks.get(index) == model[index]
        else:
            with pytest.raises(RuntimeError, match=str(index)):
                chunks.get(index)
    copy = pickle.loads(pickle.dumps(chunks))
    assert {index: copy.get(index) for index in model} == model


def test_the_cache_is_bounded_and_keeps_the_newest():
    chunks = ObjectChunks(cache_bytes=3000)
    for index in range(10):
        chunks.add(pack_values([index], [bytes(1000)], portable=True))
    kept = [chunks.get(index) for index in range(10)]
    assert chunks.get(9) is kept[9]
    assert chunks.get(8) is kept[8]
    assert chunks.get(0) is not kept[0]
    assert chunks.nbytes > 10_000
    large = ObjectChunks(cache_bytes=1)
    large.add(pack_values([0], [bytes(1000)], portable=True))
    assert large.get(0) is large.get(0)


def test_a_dense_chunk_sets_the_older_one_free():
    chunks = ObjectChunks()
    for _ in range(5):
        chunks.add(pack_values([0, 1], [bytes(1000)] * 2, portable=True))
    assert len(chunks.chunks()) == 1


@pytest.mark.timeout(60)
def test_threads_may_read_while_chunks_are_added():
    chunks, failures = ObjectChunks(cache_bytes=200), []
    chunks.add(pack_values([0, 5], [0, 5], portable=True))
    done = threading.Event()

    def read():
        while not done.is_set():
            for index in (0, 5):
                if chunks.get(index) != index:
                    failures.append(index)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for round_ in range(300):
        chunks.add(pack_values([round_ % 7 + 1, 9], [5 if round_ % 7 == 4 else None, None], portable=True))
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


# -- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(ValueError("no"), "no", id="builtin"),
        pytest.param(PickyError(4, "bad"), "4: bad", id="cannot-be-read-back"),
        pytest.param(HoldsLock(), "HoldsLock: holds a lock", id="cannot-be-pickled"),
    ],
)
def test_errors_come_back_with_their_traceback(error, text):
    column, other, seen = Column(2), Column(2), []
    column.store_error(0, error, 7)
    column.store(1, ["next to it"])
    unpack(through_bytes(pack(column, 0, 2, origin_of=lambda number: f"traceback {number}")), other)
    other.read_error = lambda index, stored, number: seen.append((index, stored, number)) or "shown"
    assert other.load(0) == "shown"
    [(index, stored, _)] = seen
    assert index == 0
    assert isinstance(stored, KeptError)
    assert text in str(stored.error)
    assert isinstance(stored.error, OperationError if isinstance(error, HoldsLock) else type(error))
    assert stored.error is stored.error
    assert stored.origin == "traceback 7"
    assert other.load(1) == ["next to it"]


def test_many_errors_with_one_traceback_are_small():
    column = Column(1000)
    for index in range(1000):
        column.store_error(index, ValueError(f"no {index}"), 0)
    text = "x" * 500
    packed = pack(column, 0, 1000, origin_of=lambda _: text)
    assert packed.nbytes / 1000 <= 100


def test_what_is_stored_as_an_error_may_be_any_object():
    column, other = Column(1), Column(1)
    column.store_error(0, ("mark",))
    unpack(pack(column, 0, 1), other)
    assert other.load_error(0)[0].error == ("mark",)


# -- other processes -----------------------------------------------------------------------------------

WRITES = """
import sys
from dataclasses import dataclass
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.packing import pack, pack_to_bytes
@dataclass
class Point:
    x: int
class OwnError(Exception):
    pass
column = Column(3)
column.store(0, Point(4))
column.store(1, [Point, lambda point: point.x + 1])
column.store_error(2, OwnError("mine"))
open(sys.argv[1], "wb").write(pack_to_bytes(pack(column, 0, 3)))
"""
READS = """
import sys
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.packing import unpack, unpack_bytes
column = Column(3)
unpack(unpack_bytes(open(sys.argv[1], "rb").read()), column)
point, (kind, call) = column.load(0), column.load(1)
assert type(point) is kind and point == kind(4) and call(point) == 5
error = column.load_error(2)[0].error
assert type(error).__name__ == "OwnError" and str(error) == "mine", error
"""
SPAWNS = """
import multiprocessing, sys
sys.path[:0] = {path!r}
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.packing import pack, pack_to_bytes
class Own:
    value = 6
def work(name):
    column = Column(1)
    column.store(0, Own())
    open(name, "wb").write(pack_to_bytes(pack(column, 0, 1)))
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[1],))
    process.start()
    process.join()
    assert process.exitcode == 0
"""
READS_SPAWNED = """
import sys
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.packing import unpack, unpack_bytes
column = Column(1)
unpack(unpack_bytes(open(sys.argv[1], "rb").read()), column)
assert column.load(0).value == 6
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("writes", "reads"), [(WRITES, READS), (SPAWNS, READS_SPAWNED)], ids=["main", "spawned"]
)
def test_classes_of_a_script_are_there_in_another(tmp_path, writes, reads):
    for name, text in (("a.py", writes.replace("{path!r}", repr(sys.path))), ("b.py", reads)):
        script = tmp_path / name
        script.write_text(text)
        command = [sys.executable, str(script), str(tmp_path / "packed")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr


def test_a_fork_keeps_the_very_class(monkeypatch):
    # By value only where it has to be: `except` and `isinstance` must go on working.
    class Own:
        pass

    main = sys.modules["__main__"]
    Own.__module__, Own.__qualname__ = "__main__", "Own"
    monkeypatch.setattr(main, "Own", Own, raising=False)
    other = Column(1)
    unpack(pack(filled([Own()]), 0, 1, portable=False), other)
    assert type(other.load(0)) is Own
