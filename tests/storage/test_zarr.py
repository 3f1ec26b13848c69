from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from storage.conformance import StorageConformance

from pipefunc_c._storage.zarr import ZarrFileArray, ZarrMemoryArray, ZarrSharedMemoryArray
from pipefunc_c._storage.zarr_array import ZarrArray
from pipefunc_c.exceptions import MissingDependencyError


@pytest.fixture(autouse=True)
def zarr(require):
    require("zarr", reason="the storages in its format")
    require("fsspec", reason="stores of zarr in the cloud")
    import zarr

    return zarr


class TestZarrFileArray(StorageConformance):
    storage_id = "zarr_file_array"
    keeps_identity = False
    requires_serialization = True
    dump_in_subprocess = True

    @pytest.fixture
    def make(self, tmp_path_factory):
        top, numbers = tmp_path_factory.mktemp("arrays"), itertools.count()
        return lambda shape, internal_shape=None, mask=None: ZarrFileArray(
            top / str(next(numbers)), shape, internal_shape, mask
        )


class TestZarrMemoryArray(StorageConformance):
    storage_id = "zarr_memory"
    keeps_identity = False


class TestZarrSharedMemoryArray(StorageConformance):
    storage_id = "zarr_shared_memory"
    keeps_identity = False
    dump_in_subprocess = True


@pytest.fixture(params=["zarr_file_array", "zarr_memory", "zarr_shared_memory", "fsspec"])
def make(request, tmp_path):
    """Give ``make(shape, ...)``: new storages over one and the same store."""
    if request.param == "zarr_file_array":
        return lambda *args, **kwargs: ZarrFileArray(tmp_path / "array", *args, **kwargs)
    if request.param == "fsspec":
        from zarr.storage import FsspecStore

        store = FsspecStore.from_url(f"memory://{tmp_path.name}")
        return lambda *args, **kwargs: ZarrFileArray(None, *args, store=store, **kwargs)
    kind = ZarrMemoryArray if request.param == "zarr_memory" else ZarrSharedMemoryArray
    store = kind(None, ()).store
    return lambda *args, **kwargs: kind(None, *args, store=store, **kwargs)


def test_another_object_sees_it(make):
    array, other = make((2, 3)), make((2, 3))
    assert other.mask.all()
    array.dump((0, 1), {"a": 1})
    assert other[0, 1] == {"a": 1}
    other.dump((1, slice(None)), 2.5)
    assert array.to_array().filled("-").tolist() == [["-", {"a": 1}, "-"], [2.5, 2.5, 2.5]]
    array.dump((1, 1), "newer")
    assert other[1, 1] == make((2, 3))[1, 1] == "newer"


def test_zarr_itself_reads_the_group(make, zarr):
    array = make((2, 2))
    array.dump((0, 1), [1, 2])
    array.dump((1, 0), 2.5)
    group = zarr.open_group(array.store, mode="r+")
    values, mask = group["array"], group["mask"]
    assert values.chunks == mask.chunks == (1, 1)
    assert mask[:].tolist() == [[True, False], [False, True]]
    assert mask.dtype == bool
    assert pickle.loads(values[:][0, 1]) == [1, 2]
    assert values[:][0, 0] == b""


def test_what_zarr_itself_wrote_is_read(make, zarr):
    array = make((2,))
    array.dump(0, "first")
    group = zarr.open_group(array.store, mode="r+")
    value = np.empty(1, dtype=object)
    value[0] = pickle.dumps("second")
    group["array"][1:2] = value
    assert array[1] is np.ma.masked
    group["mask"][1] = False
    assert array.to_array().tolist() == ["first", "second"]


def test_many_values_at_once(make):
    array = make((3, 1000))
    indices = [0, *range(500, 2500), 2999]
    array.dump_at(indices, [[index] for index in indices])
    assert np.flatnonzero(~np.array(array.mask_linear())).tolist() == indices
    assert array[2, 999] == [2999]
    assert array[0, 500] == [500]
    with pytest.raises(IndexError, match="3000"):
        array.dump_at([3000], [1])


def test_clear_forgets_all_elements(make):
    array = make((2,))
    array.clear()
    array.dump(0, 1)
    array.clear()
    assert make((2,)).mask_linear() == array.mask_linear() == [True, True]
    array.dump(1, 2)
    assert array.mask_linear() == [True, False]
    array.clear()
    other = make((5,))
    other.dump(4, 1)
    assert other[4] == 1


def test_the_codec_is_ones_own(make):
    class Compressed:
        def encode(self, value):
            return zlib.compress(repr(value).encode())

        def decode(self, data):
            return zlib.decompress(data).decode()

    array = make((2,), object_codec=Compressed())
    array.dump(1, [1, 2])
    assert array.to_array().filled("-").tolist() == ["-", "[1, 2]"]


@pytest.mark.parametrize("codec", [3, "pickle", zlib])
def test_a_codec_that_is_none(make, codec):
    with pytest.raises(TypeError, match="encode and decode"):
        make((2,), object_codec=codec)


def test_an_array_of_another_shape_is_refused(make):
    make((2,)).dump(0, 1)
    for use in (lambda: make((3,))[0], lambda: make((3,)).dump(0, 1), lambda: make((3,)).mask):
        with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
            use()


def test_an_array_of_someone_else_is_refused(make, zarr):
    array = make((4,))
    zarr.create_array(array.store, name="array", shape=(4,), chunks=(2,), dtype="f8")
    zarr.create_array(array.store, name="mask", shape=(4,), chunks=(2,), dtype=bool)
    with pytest.raises(RuntimeError, match=r"not written by this storage.*\(2,\)"):
        array.dump(0, 1)


@pytest.mark.parametrize("damage", [b"", b"abc", b"\1\0\0\0\xff\0\0\0abc"])
def test_a_damaged_chunk_names_itself(tmp_path, damage):
    array = ZarrFileArray(tmp_path, (2, 2))
    array.dump((1, 0), "text")
    (tmp_path / "array" / "c" / "1" / "0").write_bytes(damage)
    with pytest.raises(RuntimeError, match="array/c/1/0"):
        array[1, 0]


def test_an_element_of_which_only_the_value_was_written_is_missing(tmp_path):
    array = ZarrFileArray(tmp_path, (2,))
    array.dump(slice(None), "text")
    (tmp_path / "mask" / "c" / "1").unlink()
    assert array.mask_linear() == [False, True]
    assert array[1] is array.get_from_index(1) is np.ma.masked
    assert not array.has_index(1)


def dump_neighbours(array, first):
    for index in range(first, array.size, 2):
        array.dump(index, {"index": index, "pid": os.getpid()})
    return os.getpid()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", ["zarr_file_array", "zarr_shared_memory"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_neighbouring_chunks_written_by_two_processes_lose_nothing(tmp_path, kind, method):
    if kind == "zarr_shared_memory" and not os.path.isdir("/proc/self/fd"):
        pytest.skip("other processes cannot find the memory")
    make = ZarrFileArray if kind == "zarr_file_array" else ZarrSharedMemoryArray
    array = make(tmp_path, (100,))
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        pids = list(pool.map(dump_neighbours, [array] * 2, range(2)))
    values = array.to_array()
    assert not values.mask.any()
    assert [value["index"] for value in values] == list(range(100))
    assert {value["pid"] for value in values} == set(pids)


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, memory = ZarrFileArray("a", (1,)), ZarrMemoryArray("b", (1,))
    monkeypatch.chdir("/")
    file.dump(0, 1)
    memory.dump(0, 2)
    memory.persist()
    assert pickle.loads(pickle.dumps(file))[0] == 1
    assert ZarrFileArray(tmp_path / "a", (1,))[0] == 1
    assert ZarrMemoryArray(tmp_path / "b", (1,))[0] == 2


@pytest.mark.parametrize("kind", [ZarrFileArray, ZarrMemoryArray, ZarrSharedMemoryArray])
def test_a_copy_through_pickle_holds_the_same(tmp_path, kind):
    array = kind(tmp_path, (2,), (2,), (True, False))
    array.dump((1,), np.array([1.5, 2.5]))
    other = pickle.loads(pickle.dumps(array))
    assert type(other) is kind
    assert other.full_shape == (2, 2)
    assert other[1, :].tolist() == [1.5, 2.5]
    other.dump(0, [1, 2])
    assert other.mask_linear() == [False, False]
    assert array.mask_linear() == ([True, False] if kind is ZarrMemoryArray else [False, False])


@pytest.mark.parametrize("kind", [ZarrMemoryArray, ZarrSharedMemoryArray])
class TestPersist:
    def test_what_was_persisted_is_there_again(self, tmp_path, kind):
        array = kind(tmp_path / "a" / "array", (3,))
        array.dump(0, "a")
        assert not (tmp_path / "a").exists()
        array.persist()
        array.dump(1, "b")
        array.persist()
        array.dump(2, "not persisted")
        expected = ["a", "b", "-"]
        assert kind(tmp_path / "a" / "array", (3,)).to_array().filled("-").tolist() == expected
        assert ZarrFileArray(tmp_path / "a" / "array", (3,)).to_array().filled("-").tolist() == expected
        assert os.listdir(tmp_path / "a") == ["array"]

    def test_cleared_is_cleared_on_disk_too(self, tmp_path, kind):
        array = kind(tmp_path, (3,))
        array.dump(0, "a")
        array.persist()
        array.clear()
        assert kind(tmp_path, (3,)).mask.all()


def test_a_file_array_needs_a_folder_or_a_store():
    with pytest.raises(TypeError, match="folder is None"):
        ZarrFileArray(None, (2,)).dump(0, 1)


def test_a_value_that_cannot_be_pickled_is_neither_seen_nor_kept(make):
    array = make((2,))
    with pytest.raises(TypeError, match="frame"):
        array.dump(0, [sys._getframe()])
    assert array.mask_linear() == [True, True]


def test_nothing_is_made_by_looking(tmp_path):
    array = ZarrFileArray(tmp_path / "array", (2,))
    assert array[0] is np.ma.masked
    assert array.mask.all()
    assert not (tmp_path / "array").exists()


def test_a_store_needs_to_be_opened_by_someone():
    with pytest.raises(TypeError, match="open_store"):
        ZarrArray(None, (2,))


def test_without_zarr_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingDependencyError, match=r"pipefunc_c\[zarr\]"):
        ZarrMemoryArray(None, (2,))


def test_zarr_is_imported_with_the_first_array():
    program = (
        "import sys, pipefunc_c, pipefunc_c.map\n"
        "from pipefunc_c.map import ZarrMemoryArray, storage_registry\n"
        "assert 'zarr' not in sys.modules\n"
        "assert storage_registry['zarr_memory'] is ZarrMemoryArray\n"
        "ZarrMemoryArray(None, (2,))\n"
        "assert 'zarr' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_shared_memory_is_a_store_of_zarr(zarr):
    """What a storage does not use is there for those who open its store themselves."""
    store = ZarrSharedMemoryArray(None, ()).store
    root = zarr.create_group(store)
    values = root.create_array("x", shape=(6,), chunks=(2,), shards=(4,), dtype="i8")
    values[:] = np.arange(6)
    assert values[1:5].tolist() == [1, 2, 3, 4]
    assert [name for name, _ in root.arrays()] == ["x"]
    copy = zarr.open_group(store.with_read_only(True), mode="r")
    assert copy["x"][5] == 5
    with pytest.raises(ValueError, match="read-only"):
        copy["x"][5] = 6
    del root["x"]
    assert "x" not in root
    assert str(store) == "shared memory"
    assert store != ZarrSharedMemoryArray(None, ()).store
    assert hash(store) == hash(store.with_read_only(True))


def test_zarr_itself_reads_chunks_and_finds_damage(tmp_path, zarr):
    array = ZarrFileArray(tmp_path, (2,))
    array.dump(slice(None), "text")
    group = zarr.open_group(tmp_path, mode="r")
    assert [pickle.loads(value) for value in group["array"][:]] == ["text", "text"]
    chunk = tmp_path / "array" / "c" / "1"
    content = bytearray(chunk.read_bytes())
    content[-6] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        group["array"][:]
    with pytest.raises(RuntimeError, match="array/c/1"):
        array[1]
