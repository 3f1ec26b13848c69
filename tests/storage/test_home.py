from __future__ import annotations

import gc
import mmap
import os
import resource
import signal
import sys
import traceback
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c._storage.home import PrivateHome, SharedHome
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError, OutOfMemoryError

PAGE = mmap.ALLOCATIONGRANULARITY
BIG = 32 * PAGE  # a region with a mapping of its own

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    # Python 3.12 warns of a fork when BLAS has threads; these children only touch the home.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]


class Child:
    """A forked process; `join` raises what its function raised."""

    def __init__(self, function):
        self.failure, failed = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                function()
            except BaseException:
                os.write(failed, traceback.format_exc().encode())
            finally:
                os._exit(0)
        os.close(failed)

    def join(self):
        with open(self.failure, "rb") as failure:
            text = failure.read().decode()
        os.waitpid(self.pid, 0)
        assert not text, text


@pytest.fixture(params=[False, True], ids=["memfd", "temporary file"])
def portable(request):
    if not request.param and sys.platform != "linux":
        pytest.skip("memfd is a feature of Linux")
    return request.param


@pytest.fixture
def home(portable):
    home = SharedHome("test", portable=portable)
    yield home
    home.close()


@pytest.fixture(params=["private", "memfd", "temporary file"])
def any_home(request):
    if request.param == "memfd" and sys.platform != "linux":
        pytest.skip("memfd is a feature of Linux")
    home = PrivateHome() if request.param == "private" else SharedHome(portable=request.param != "memfd")
    yield home
    home.close()


def test_memory_is_zeroed_and_writable(any_home):
    region = any_home.allocate(10_000)
    assert region.dtype == np.uint8
    assert region.shape == (10_000,)
    assert not region.any()
    region[:] = 255
    assert region.flags.writeable


def test_memory_is_aligned_for_any_cell(any_home):
    for nbytes in (1, 17, 5000):
        assert any_home.allocate(nbytes).ctypes.data % 16 == 0


def test_no_bytes(any_home):
    assert any_home.allocate(0).shape == (0,)


def test_numpy_integer(any_home):
    assert any_home.allocate(np.int64(3)).shape == (3,)


@pytest.mark.parametrize("nbytes", [1.5, "1", None])
def test_size_of_wrong_type_is_named(any_home, nbytes):
    with pytest.raises(InvalidTypeError, match="number of bytes") as caught:
        any_home.allocate(nbytes)
    assert repr(nbytes) in str(caught.value)


def test_negative_size_is_named(any_home):
    with pytest.raises(InvalidValueError, match="got -1"):
        any_home.allocate(-1)


def test_close_twice_and_no_memory_afterwards(any_home):
    any_home.close()
    any_home.close()
    with pytest.raises(OperationError, match="closed"):
        any_home.allocate(1)


def test_view_survives_close_and_home(any_home):
    region = any_home.allocate(5000)
    region[:] = 3
    view = region[100:200].view(np.uint32)
    any_home.close()
    del region
    gc.collect()
    view[0] = 5
    assert view.tolist() == [5] + [0x03030303] * 24


def test_absurd_size_is_a_memory_error(any_home):
    with pytest.raises(OutOfMemoryError, match="1.0 EiB") as caught:
        any_home.allocate(1 << 60)
    assert isinstance(caught.value, MemoryError)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 3 * PAGE), max_size=6))
def test_regions_do_not_overlap(sizes):
    for home in (PrivateHome(), SharedHome(), SharedHome(portable=True)):
        regions = [home.allocate(size) for size in sizes]
        for number, region in enumerate(regions, start=1):
            assert not region.any()
            region[:] = number
        home.close()
        for number, (size, region) in enumerate(zip(sizes, regions, strict=True), start=1):
            assert region.shape == (size,)
            assert (region == number).all()


def test_forked_processes_see_each_others_writes(home):
    region = home.allocate(2 * PAGE)
    to_second, first = os.pipe()
    to_first, second = os.pipe()

    def write_then_read():
        region[0] = 1
        os.write(first, b".")
        os.read(to_first, 1)
        assert region[PAGE] == 2

    def read_then_write():
        os.read(to_second, 1)
        assert region[0] == 1
        region[PAGE] = 2
        os.write(second, b".")

    children = [Child(write_then_read), Child(read_then_write)]
    for child in children:
        child.join()
    for descriptor in (to_second, first, to_first, second):
        os.close(descriptor)
    assert (region[0], region[PAGE]) == (1, 2)


def test_close_in_a_child_leaves_the_parent_working(home):
    region = home.allocate(10)

    def close():
        home.close()
        home.close()
        region[0] = 9

    Child(close).join()
    assert region[0] == 9
    assert home.allocate(10).shape == (10,)


def test_close_in_the_parent_leaves_the_child_working(home):
    region = home.allocate(10)
    closed, tell = os.pipe()

    def write():
        os.read(closed, 1)
        region[1] = 4

    child = Child(write)
    home.close()
    os.write(tell, b".")
    child.join()
    os.close(closed)
    os.close(tell)
    assert region[1] == 4


def test_only_the_maker_allocates(home):
    maker = os.getpid()

    def allocate():
        with pytest.raises(OperationError, match=f"process {os.getpid()} .* process {maker} made"):
            home.allocate(1)

    Child(allocate).join()
    home.allocate(1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_descriptor_is_leaked(portable):
    before = set(os.listdir("/proc/self/fd"))
    home = SharedHome(portable=portable)
    regions = [home.allocate(PAGE) for _ in range(3)]
    del regions, home
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /dev/shm")
@pytest.mark.parametrize("end", ["close", "kill"])
def test_nothing_in_a_folder(portable, end, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    name = uuid.uuid4().hex[:12]

    def live():
        home = SharedHome(name, portable=portable)
        home.allocate(PAGE)[:] = 1
        target = os.readlink(f"/proc/self/fd/{home._descriptor}")
        assert target.endswith("(deleted)")
        assert not target.startswith("/dev/shm")
        assert not [entry for entry in os.listdir("/dev/shm") if name in entry]
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        home.close()

    Child(live).join()
    assert not [entry for entry in os.listdir("/dev/shm") if name in entry]
    assert os.listdir(tmp_path) == []


def test_limit_is_asked_for_before_anything_is_taken(portable):
    home = SharedHome(portable=portable, available=lambda: (3 * BIG, "the limit of this test"))
    home.allocate(3 * BIG)[:] = 1
    with pytest.raises(OutOfMemoryError) as caught:
        home.allocate(3 * BIG + 1)
    assert isinstance(caught.value, MemoryError)
    assert f"({3 * BIG + PAGE} bytes)" in str(caught.value)
    assert f"({3 * BIG} bytes) are free: the limit of this test" in str(caught.value)
    assert caught.value.detail == (3 * BIG + PAGE, 3 * BIG)
    assert os.fstat(home._descriptor).st_size == 3 * BIG
    assert home.allocate(BIG).shape == (BIG,)
    home.close()


@pytest.mark.parametrize(
    "limit", ["RLIMIT_FSIZE", "RLIMIT_AS"], ids=["no room in the file", "no room to map"]
)
def test_refusal_of_the_system(home, limit):
    home.allocate(BIG)

    def allocate():
        resource.setrlimit(
            getattr(resource, limit), (2 * BIG, resource.getrlimit(getattr(resource, limit))[1])
        )
        home._owner = os.getpid()
        with pytest.raises(OutOfMemoryError, match=r"4\.0 MiB"):
            home.allocate(4 << 20)
        assert os.fstat(home._descriptor).st_size == BIG

    Child(allocate).join()


@pytest.mark.parametrize("portable", [False, True], ids=["memfd", "temporary file"])
@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=12))
def test_attached_regions_are_the_same_memory(portable, sizes) -> None:
    home = SharedHome(portable=portable)
    regions = []
    for number, size in enumerate(sizes, start=1):
        region = home.allocate(size)
        region[:] = number
        regions.append((home.last_offset, size, region))
    for number, (offset, size, region) in enumerate(regions, start=1):
        attached = home.attach(offset, size)
        assert attached.shape == (size,)
        assert (attached == number).all()
        attached[-1] = 255
        assert region[-1] == 255
    home.close()
    with pytest.raises(OperationError, match="closed"):
        home.attach(0, 1)


@pytest.mark.parametrize("size", [100, 300_000], ids=["small", "large"])
def test_a_private_region_keeps_its_writes_to_itself(home, size):
    region = home.allocate(size)
    region[:] = 7
    other = SharedHome.adopt(os.dup(home.descriptor))
    private = other.attach_private(home.last_offset, size)
    assert private.shape == (size,)
    assert (private == 7).all()
    private[:] = 8
    assert (region == 7).all()
    other.close()
    assert (private == 8).all()
    with pytest.raises(OperationError, match="closed"):
        other.attach_private(0, size)


def test_thousands_of_small_regions_hold_few_descriptors() -> None:
    home = SharedHome()
    before = len(os.listdir("/proc/self/fd"))
    regions = [home.allocate(100) for _ in range(5000)]
    assert len(os.listdir("/proc/self/fd")) - before <= 2
    assert len(regions) == 5000
    home.close()
