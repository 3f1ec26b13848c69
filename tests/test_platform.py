from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from pipefunc_c import _platform
from pipefunc_c._platform import UNLIMITED, available_memory, create_shared_file, prefer_portable, reserve
from pipefunc_c.exceptions import OutOfMemoryError

MiB = 1 << 20
V1_UNLIMITED = "9223372036854771712"


class System:
    """A folder that looks like the root of a Linux system."""

    def __init__(self, root):
        self.root = root
        self.write("proc/meminfo", "MemTotal: 8192 kB\nMemFree: 10 kB\nMemAvailable: 4096 kB\n")

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def processes(self, *groups, mounts=()):
        self.write("proc/self/cgroup", "".join(f"{group}\n" for group in groups))
        self.write("proc/self/mountinfo", "".join(f"{mount}\n" for mount in mounts))

    def v2(self, folder, limit, usage, inactive=0):
        self.write(f"{folder}/memory.max", f"{limit}\n")
        self.write(f"{folder}/memory.current", f"{usage}\n")
        self.write(f"{folder}/memory.stat", f"anon 1\ninactive_file {inactive}\nactive_file 999999999\n")

    def v1(self, folder, limit, usage, inactive=0):
        self.write(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"{folder}/memory.usage_in_bytes", f"{usage}\n")
        self.write(f"{folder}/memory.stat", f"inactive_file 999999999\ntotal_inactive_file {inactive}\n")


V2_MOUNT = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
CPU_MOUNT = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"


@pytest.fixture(autouse=True)
def each_test_chooses_its_means(monkeypatch):
    monkeypatch.delenv("PIPEFUNC_C_PORTABLE", raising=False)


@pytest.fixture
def system(tmp_path):
    return System(tmp_path)


def test_machine_without_cgroups(system):
    assert available_memory(system.root) == (4 * MiB, "the available memory of this machine")


def test_v2_takes_the_smallest_of_all_levels(system):
    system.processes("0::/user/job", mounts=[V2_MOUNT])
    system.v2("sys/fs/cgroup/user/job", "max", 10)
    system.v2("sys/fs/cgroup/user", 3 * MiB, 2 * MiB)
    nbytes, limit = available_memory(system.root)
    assert nbytes == MiB
    assert "sys/fs/cgroup/user with its memory.max of 3.0 MiB (3145728 bytes)" in limit


def test_v2_leaf_limits(system):
    system.processes("0::/user/job", mounts=[V2_MOUNT])
    system.v2("sys/fs/cgroup/user/job", 2 * MiB, MiB + MiB // 2)
    system.v2("sys/fs/cgroup/user", "max", 10)
    assert available_memory(system.root)[0] == MiB // 2


def test_v2_limit_at_the_mounted_root(system):
    system.processes("0::/", mounts=[V2_MOUNT])
    system.v2("sys/fs/cgroup", 2 * MiB, MiB)
    assert available_memory(system.root)[0] == MiB


def test_v2_file_cache_counts_as_room(system):
    system.processes("0::/job", mounts=[V2_MOUNT])
    system.v2("sys/fs/cgroup/job", 2 * MiB, 2 * MiB, inactive=MiB // 4)
    assert available_memory(system.root)[0] == MiB // 4


def test_v1_takes_the_smallest_of_all_levels(system):
    system.processes("5:cpu:/other", "4:memory:/slurm/job", "0::/", mounts=[CPU_MOUNT, V1_MOUNT])
    system.v1("sys/fs/cgroup/memory/slurm/job", V1_UNLIMITED, 10)
    system.v1("sys/fs/cgroup/memory/slurm", 3 * MiB, 2 * MiB, inactive=MiB // 2)
    system.v1("sys/fs/cgroup/memory", V1_UNLIMITED, 7 * MiB)
    nbytes, limit = available_memory(system.root)
    assert nbytes == MiB + MiB // 2
    assert "cgroup/memory/slurm with its memory.limit_in_bytes of 3.0 MiB" in limit


def test_v1_controllers_mounted_together(system):
    mount = "35 31 0:32 / /sys/fs/cgroup/cpu,memory rw - cgroup cgroup rw,cpu,memory"
    system.processes("4:cpu,memory:/job", mounts=[mount])
    system.v1("sys/fs/cgroup/cpu,memory/job", 2 * MiB, MiB)
    assert available_memory(system.root)[0] == MiB


def test_machine_is_tighter_than_the_cgroup(system):
    system.processes("0::/job", mounts=[V2_MOUNT])
    system.v2("sys/fs/cgroup/job", 100 * MiB, MiB)
    assert available_memory(system.root) == (4 * MiB, "the available memory of this machine")


def test_full_cgroup_has_no_room(system):
    system.processes("0::/job", mounts=[V2_MOUNT])
    system.v2("sys/fs/cgroup/job", MiB, 2 * MiB)
    assert available_memory(system.root)[0] == 0


def test_container_that_mounts_its_own_cgroup(system):
    # Without a cgroup namespace the path is the host's, and only the part below it is mounted.
    mount = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
    system.processes("4:memory:/docker/abc/inner", mounts=[mount])
    system.v1("sys/fs/cgroup/memory/inner", 3 * MiB, MiB)
    system.v1("sys/fs/cgroup/memory", 2 * MiB, MiB)
    assert available_memory(system.root)[0] == MiB


@pytest.mark.parametrize("path", ["/../elsewhere", "/other/job"])
def test_cgroup_outside_of_what_is_mounted(system, path):
    mount = V2_MOUNT.replace(" / ", " /mine ")
    system.processes(f"0::{path}", mounts=[mount])
    system.v2("sys/fs/cgroup", 2 * MiB, MiB)
    assert available_memory(system.root)[0] == MiB


def test_spaces_and_colons_in_paths(system):
    mount = V2_MOUNT.replace("/sys/fs/cgroup", r"/odd\040place")
    system.processes("0::/a:b", mounts=[mount])
    system.v2("odd place/a:b", 2 * MiB, MiB)
    assert available_memory(system.root)[0] == MiB


def test_unreadable_files_are_no_limit(system):
    system.processes("4:memory:/job", "0::/job", mounts=[V1_MOUNT, V2_MOUNT])
    system.write("sys/fs/cgroup/job/memory.max", "nonsense")
    assert available_memory(system.root)[0] == 4 * MiB


def test_psutil_where_proc_is_missing(tmp_path, monkeypatch):
    class Memory:
        available = 12345

    psutil = pytest.importorskip("psutil")
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    assert available_memory(tmp_path) == (12345, "the available memory of this machine")


def test_psutil_where_forced(system, monkeypatch):
    psutil = pytest.importorskip("psutil")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 12345}))
    monkeypatch.setenv("PIPEFUNC_C_PORTABLE", "1")
    assert available_memory(system.root)[0] == 12345


def test_unlimited_where_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert available_memory(tmp_path) == (UNLIMITED, "no known limit")


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False), (None, False)])
def test_prefer_portable(monkeypatch, value, expected):
    monkeypatch.delenv("PIPEFUNC_C_PORTABLE", raising=False)
    if value is not None:
        monkeypatch.setenv("PIPEFUNC_C_PORTABLE", value)
    assert prefer_portable() is expected


@contextlib.contextmanager
def cgroup_with_limit(nbytes):
    """Make a cgroup below our own, or skip."""
    own = {
        line.split(":", 2)[1]: line.split(":", 2)[2]
        for line in Path("/proc/self/cgroup").read_text().splitlines()
    }
    reason = "no memory cgroup is mounted"
    for kind, top, mount_point in _platform._cgroup_mounts(Path("/")):
        path = own.get("memory" if kind == 1 else "")
        if path is None:
            continue
        folder = Path(mount_point, *_platform._below(path, top), f"pipefunc_c-test-{os.getpid()}")
        try:
            folder.mkdir()
        except OSError as error:
            reason = f"may not make a cgroup: {error}"
            continue
        try:
            name = "memory.limit_in_bytes" if kind == 1 else "memory.max"
            if (folder / name).exists():
                (folder / name).write_text(str(nbytes))
                yield folder
                return
            reason = f"the memory controller is not on in {folder.parent}"
        finally:
            folder.rmdir()
    pytest.skip(reason)


def run_in(folder, code):
    enter = f"import os; open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    shown = subprocess.run([sys.executable, "-c", enter + code], capture_output=True, text=True, check=False)
    if "PermissionError" in shown.stderr:
        pytest.skip(f"may not enter {folder}")
    assert shown.returncode == 0, (shown.returncode, shown.stderr)
    return shown.stdout


@pytest.mark.slow
def test_real_cgroup():
    code = """
from pipefunc_c._platform import available_memory
from pipefunc_c._storage.home import SharedHome
print(*available_memory())
home = SharedHome()
region = home.allocate(16 << 20)
region[:] = 1
print(available_memory()[0])
try:
    home.allocate(256 << 20)
except MemoryError as error:
    print(error)
"""
    with cgroup_with_limit(128 * MiB) as folder:
        first, second, refused, *_ = run_in(folder, code).splitlines()
    room, _, limit = first.partition(" ")
    assert 16 * MiB < int(room) <= 128 * MiB
    assert folder.name in limit
    assert "128.0 MiB" in limit
    assert int(second) <= int(room) - 16 * MiB + MiB
    assert "need 256.0 MiB" in refused
    assert folder.name in refused


@pytest.fixture(params=[False, True], ids=["memfd", "temporary file"])
def portable(request):
    if not request.param and sys.platform != "linux":
        pytest.skip("memfd is a feature of Linux")
    return request.param


@pytest.fixture
def shared_file(portable):
    descriptor = create_shared_file("test", portable=portable)
    yield descriptor
    os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_shared_file_has_no_place_in_a_folder(shared_file, portable):
    target = os.readlink(f"/proc/self/fd/{shared_file}")
    assert target.endswith("(deleted)")
    assert target.startswith("/memfd:test") is not portable


def test_shared_file_is_not_inherited_by_exec(shared_file):
    assert not os.get_inheritable(shared_file)


def test_shared_file_with_a_long_name():
    os.close(create_shared_file("ü" * 1000))


def test_portable_means_by_environment(monkeypatch):
    def refuse(*_):
        raise AssertionError("asked for a memfd")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setenv("PIPEFUNC_C_PORTABLE", "1")
    os.close(create_shared_file("test"))


@pytest.mark.skipif(sys.platform != "linux", reason="memfd is a feature of Linux")
def test_sandbox_without_memfd(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    os.close(create_shared_file("test"))


@pytest.mark.skipif(sys.platform != "linux", reason="memfd is a feature of Linux")
def test_too_many_open_files_is_not_hidden(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(OSError, match="too many open files"):
        create_shared_file("test")


def test_reserve_appends_zeros_and_keeps_what_was_there(shared_file, portable, monkeypatch):
    monkeypatch.setattr(_platform, "_RESERVE_STEP", 5000)
    os.pwrite(shared_file, b"\x07" * 100, 0)
    reserve(shared_file, 100, 12_345, portable=portable)
    assert os.fstat(shared_file).st_size == 12_445
    assert os.pread(shared_file, 20_000, 0) == b"\x07" * 100 + bytes(12_345)


def test_reserve_takes_the_room_at_once(shared_file, portable):
    reserve(shared_file, 0, 8 * MiB, portable=portable)
    os.fsync(shared_file)
    assert os.fstat(shared_file).st_blocks * 512 >= 8 * MiB


def test_reserve_nothing(shared_file, portable):
    reserve(shared_file, 0, 0, portable=portable)
    assert os.fstat(shared_file).st_size == 0


def test_reserve_without_room_leaves_the_file_as_it_was(shared_file, portable, monkeypatch):
    monkeypatch.setattr(_platform, "_RESERVE_STEP", 4096)
    reserve(shared_file, 0, 8192, portable=portable)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        with pytest.raises(OutOfMemoryError, match=r"97\.7 KiB \(100000 bytes\)") as caught:
            reserve(shared_file, 8192, 100_000, portable=portable)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value, MemoryError)
    assert caught.value.detail == 100_000
    assert os.fstat(shared_file).st_size == 8192


def test_reserve_where_the_file_system_cannot(shared_file, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    reserve(shared_file, 0, 3 * MiB, portable=False)
    assert os.pread(shared_file, 4 * MiB, 0) == bytes(3 * MiB)


def test_reserve_other_errors_are_not_hidden():
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek|Invalid argument"):
            reserve(write_end, 0, 10)
    finally:
        os.close(read_end)
        os.close(write_end)


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        available_memory()
