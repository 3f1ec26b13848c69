from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
from kernels.values import identical
from storage.conformance import StorageConformance

from pipefunc_c.map import DictArray, SharedArray, SharedMemoryDictArray


class TestMemoryArray(StorageConformance):
    storage_id = "array"


class TestDictArray(StorageConformance):
    storage_id = "dict"

    def test_a_mapping_is_copied_in(self):
        mapping = {(0, 1): "a", (1, 0): [1]}
        storage = DictArray(None, (2, 2), mapping=mapping)
        mapping[0, 0] = "later"
        assert storage.mask_linear() == [True, False, False, True]
        storage.dump((1, 1), 5)
        assert (1, 1) not in mapping
        assert (storage[0, 1], storage[1, 0]) == ("a", [1])

    def test_a_mapping_with_internal_axes(self):
        storage = DictArray(None, (2,), (2,), (True, False), mapping={(1,): [7, 8]})
        assert storage[1, :].tolist() == [7, 8]

    def test_a_mapping_out_of_bounds(self):
        with pytest.raises(IndexError, match="5"):
            DictArray(None, (2,), mapping={(5,): 1})


class TestSharedArray(StorageConformance):
    storage_id = "shared_array"
    dump_in_subprocess = True


class TestSharedMemoryDictArray(StorageConformance):
    storage_id = "shared_memory_dict"
    dump_in_subprocess = True


def in_child(work):
    """Run in a forked process and wait; False if it failed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


VALUES = {
    "int": 7,
    "float": 0.1,
    "bool": True,
    "None": None,
    "np.float32": np.float32(0.1),
    "complex": 1j,
    "big int": 2**70,
    "str": "text",
    "list": [1, [2]],
    "ndarray": np.arange(3.0),
}


@pytest.mark.timeout(30)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("kind", [SharedArray, SharedMemoryDictArray])
class TestSharedBetweenProcesses:
    @pytest.mark.parametrize("name", VALUES)
    def test_a_child_dumps_what_the_parent_reads(self, kind, name):
        storage = kind(None, (3,))
        storage.dump((0,), 1)
        assert in_child(lambda: storage.dump((2,), VALUES[name]))
        assert storage.mask_linear() == [False, True, False]
        assert identical(storage[2], VALUES[name])
        assert storage[0] == 1

    def test_a_storage_that_no_one_has_used_yet_is_shared_too(self, kind):
        storage = kind(None, (3,))
        assert in_child(lambda: storage.dump((1,), 5))
        assert storage.mask_linear() == [True, False, True]
        assert storage[1] == 5

    def test_the_parent_dumps_what_the_child_reads(self, kind):
        storage = kind(None, (2,))
        assert storage.mask_linear() == [True, True]

        def child(ready):
            os.read(ready, 1)
            assert storage[1] == 2.5

        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(read_end)
                code = 0
            finally:
                os._exit(code)
        storage.dump((1,), 2.5)
        os.write(write_end, b"!")
        assert os.waitpid(pid, 0)[1] == 0
        os.close(read_end)
        os.close(write_end)

    def test_no_descriptor_stays_open(self, kind):
        gc.collect()
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(20):
            storage = kind(None, (10,))
            storage.dump((slice(None),), 1.5)
            assert storage.to_array().sum() == 15
        del storage
        gc.collect()
        assert len(set(os.listdir("/proc/self/fd"))) <= len(before)


PICKLE = """
import pickle
import numpy as np
from pipefunc_c.map import storage_registry
storage = storage_registry[{kind!r}](None, (2,), (2,), (True, False))
storage.dump((1,), np.array([1.5, 2.5]))
other = pickle.loads(pickle.dumps(storage))
assert type(other) is type(storage)
assert other.full_shape == (2, 2)
assert other.mask_linear() == [True, False]
assert other[1, :].tolist() == [1.5, 2.5]
"""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["array", "dict", "shared_array", "shared_memory_dict"])
def test_a_copy_through_pickle_holds_the_same(kind):
    # In a process of its own: a broken copy crashes the interpreter.
    command = [sys.executable, "-c", PICKLE.format(kind=kind)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
