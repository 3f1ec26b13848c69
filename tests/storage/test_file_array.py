from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from storage.committed import persist_column
from storage.conformance import StorageConformance

from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.file import FileArray
from pipefunc_c._storage.memory import DictArray


class TestFileArray(StorageConformance):
    storage_id = "file_array"
    keeps_identity = False
    requires_serialization = True
    dump_in_subprocess = True

    @pytest.fixture
    def make(self, tmp_path_factory):
        top, numbers = tmp_path_factory.mktemp("arrays"), itertools.count()
        return lambda shape, internal_shape=None, mask=None: FileArray(
            top / str(next(numbers)), shape, internal_shape, mask
        )


def test_another_object_sees_it(tmp_path):
    array, other = FileArray(tmp_path, (2, 3)), FileArray(tmp_path, (2, 3))
    assert other.mask.all()
    array.dump((0, 1), {"a": 1})
    assert other[0, 1] == {"a": 1}
    other.dump((1, slice(None)), 2.5)
    assert array.mask_linear() == [True, False, True, False, False, False]
    assert array.to_array().filled("-").tolist() == [["-", {"a": 1}, "-"], [2.5, 2.5, 2.5]]
    array.dump((1, 1), "newer")
    assert other[1, 1] == FileArray(tmp_path, (2, 3))[1, 1] == "newer"
    other.dump((1, 1), "newest")
    assert array.get_from_index(4) == FileArray(tmp_path, (2, 3))[1, 1] == "newest"
    assert array.has_index(4)


@pytest.mark.timeout(60)
def test_another_process_sees_it(tmp_path):
    FileArray(tmp_path, (3,)).dump(1, [1, "a"])
    program = (
        "import sys\n"
        "from pipefunc_c._storage.file import FileArray\n"
        "array = FileArray(sys.argv[1], (3,))\n"
        "assert array[1] == [1, 'a']\n"
        "array.dump(2, 2.5)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=50)
    assert FileArray(tmp_path, (3,)).to_array().filled("-").tolist() == ["-", [1, "a"], 2.5]


def dump_pid(array, index):
    array.dump(index, os.getpid())
    return os.getpid()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_pool_may_dump(tmp_path, method):
    array = FileArray(tmp_path, (4,))
    array.dump(0, 1)  # the parent has a writer of its own before the fork
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        pids = list(pool.map(dump_pid, [array] * 3, range(1, 4)))
    assert array.to_array().tolist() == [1, *pids]


def test_a_copy_opens_the_folder_again(tmp_path):
    array = FileArray(tmp_path, (2,))
    array.dump(0, "a")
    copy = pickle.loads(pickle.dumps(array))
    copy.dump(1, "b")
    assert array.to_array().tolist() == ["a", "b"]


def test_what_cannot_be_pickled_is_neither_seen_nor_kept(tmp_path):
    array = FileArray(tmp_path, (2,))
    array.dump(0, 1)
    with pytest.raises(TypeError, match="frame"):
        array.dump(0, [sys._getframe()])
    assert array[0] == FileArray(tmp_path, (2,))[0] == 1


def test_it_shows_a_column_that_someone_else_commits(tmp_path):
    column = Column(2)
    array = FileArray.of_column(column, tmp_path / "run", (2,))
    column.store(0, 1.5)
    array.dump(1, {"b": 2})
    assert array.to_array().tolist() == [1.5, {"b": 2}]
    assert column.load(1) == {"b": 2}
    assert not (tmp_path / "run").exists()
    assert pickle.loads(pickle.dumps(array)).to_array().tolist() == [1.5, {"b": 2}]


def test_persist_has_nothing_to_do(tmp_path):
    array = FileArray(tmp_path, (1,))
    array.dump(0, 1)
    before = sorted((tmp_path / "commits").iterdir())
    array.persist()
    assert sorted((tmp_path / "commits").iterdir()) == before


def test_it_reads_what_a_memory_storage_persisted(tmp_path):
    memory = DictArray(None, (3,), mapping={(0,): 1.5, (2,): [1]})
    persist_column(tmp_path, memory.column)
    array = FileArray(tmp_path, (3,))
    assert array.to_array().filled("-").tolist() == [1.5, "-", [1]]
    array.dump(0, "newer")
    assert FileArray(tmp_path, (3,))[0] == "newer"


def test_a_folder_is_needed():
    with pytest.raises(TypeError, match="folder is None"):
        FileArray(None, (2,))


def test_the_filename_template_is_ignored(tmp_path):
    with pytest.warns(UserWarning, match="filename_template"):
        array = FileArray(tmp_path, (2,), filename_template="__{:d}__.pickle")
    array.dump(0, np.arange(2))
    assert array[0].tolist() == [0, 1]
    assert not list(tmp_path.glob("*.pickle"))
