from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import threading

import pytest

from pipefunc_c._storage.run_lock import LOCK_NAME, RunLock, describe_holder, is_ours
from pipefunc_c.exceptions import OperationError, PipefuncError, RunFolderInUseError

pytestmark = pytest.mark.timeout(60)
fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

HOLDS = """
import sys, time
from pipefunc_c._storage.run_lock import RunLock
lock = RunLock(sys.argv[1], portable=sys.argv[2] == "True").acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[False, True], ids=["flock", "portable"])
def portable(request):
    return request.param


class Holder:
    """A process that holds a folder until it is told to end, or killed."""

    def __init__(self, folder, portable):
        command = [sys.executable, "-c", HOLDS, str(folder), str(portable)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(timeout=20)
        self.process.stdin.close()
        self.process.stdout.close()


def is_free(folder, portable):
    try:
        RunLock(folder, portable=portable).acquire().release()
    except RunFolderInUseError:
        return False
    return True


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path, portable):
    with Holder(tmp_path, portable) as holder:
        with pytest.raises(RunFolderInUseError) as caught:
            RunLock(tmp_path, portable=portable).acquire()
        assert isinstance(caught.value, PipefuncError)
        assert isinstance(caught.value, RuntimeError)
        for part in (str(tmp_path), f"process {holder.process.pid} on {platform.node()}", "since 2"):
            assert part in str(caught.value)
        assert "run_folder" in caught.value.hint
        holder.process.stdin.close()
        assert holder.process.wait(timeout=20) == 0
        assert is_free(tmp_path, portable)


def test_it_is_free_when_the_holder_was_killed(tmp_path, portable):
    with Holder(tmp_path, portable) as holder:
        assert not is_free(tmp_path, portable)
        holder.process.send_signal(signal.SIGKILL)
        holder.process.wait(timeout=20)
        assert is_free(tmp_path, portable)


def test_the_same_process_is_refused_too(tmp_path, portable):
    with RunLock(tmp_path, portable=portable) as lock:
        assert lock.is_held
        assert not is_free(tmp_path, portable)
        with pytest.raises(OperationError, match="holds"):
            lock.acquire()
    assert not lock.is_held
    lock.release()
    assert is_free(tmp_path, portable)
    with lock:
        assert not is_free(tmp_path, portable)


def test_the_file_stays_and_marks_the_folder(tmp_path, portable):
    folder = tmp_path / "new" / "run"
    assert not is_ours(folder)
    RunLock(folder, portable=portable).acquire().release()
    assert [path.name for path in folder.iterdir()] == [LOCK_NAME]
    assert is_ours(folder)
    assert f"process {os.getpid()}" in describe_holder(folder / LOCK_NAME)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00garbage", b"pipefunc_c driver lock\n[1]"], ids=["empty", "bytes", "json"]
)
def test_a_damaged_file_is_no_obstacle(tmp_path, content):
    (tmp_path / LOCK_NAME).write_bytes(content)
    assert describe_holder(tmp_path / LOCK_NAME) == "another process holds it"
    assert is_free(tmp_path, False)
    assert is_ours(tmp_path)


def test_something_else_of_this_name_is_not_ours(tmp_path):
    (tmp_path / LOCK_NAME).write_text("something else")
    assert not is_ours(tmp_path)


def test_a_deleted_lock_is_given_up(tmp_path):
    # A stays without a file; B makes a new one. Both must not believe that they hold the name's lock.
    with RunLock(tmp_path, portable=False):
        (tmp_path / LOCK_NAME).unlink()
        with RunLock(tmp_path, portable=False):
            assert not is_free(tmp_path, False)


class Child:
    """A forked process that says when it runs, and ends when it is told to, or when this one ends."""

    def __init__(self, work):
        mine, its = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            mine.close()
            its.sendall(b"runs")
            its.recv(1)
            os._exit(0 if work() else 1)
        its.close()
        mine.recv(4)
        self._socket = mine

    def code(self):
        self._socket.close()
        return os.waitpid(self.pid, 0)[1]


@fork
def test_a_forked_child_closes_the_lock(tmp_path, portable):
    lock = RunLock(tmp_path, portable=portable).acquire()
    child = Child(lambda: not lock.is_held and lock.descriptor == -1)
    still_held = not is_free(tmp_path, portable)
    lock.release()
    free = is_free(tmp_path, portable)
    assert child.code() == 0
    assert (still_held, free) == (True, True)


@fork
def test_a_child_of_ours_keeps_it_and_its_own_children_do_not(tmp_path):
    lock = RunLock(tmp_path, portable=False).acquire()
    with lock.keep_in_child():
        child = Child(lambda: lock.is_held and Child(lambda: not lock.is_held).code() == 0)
    lock.release()
    free = is_free(tmp_path, False)
    assert child.code() == 0
    assert not free
    assert is_free(tmp_path, False)


@fork
def test_what_another_thread_forks_meanwhile_does_not_keep_it(tmp_path):
    codes = []
    with RunLock(tmp_path, portable=False) as lock, lock.keep_in_child():
        thread = threading.Thread(target=lambda: codes.append(Child(lambda: not lock.is_held).code()))
        thread.start()
        thread.join()
    assert codes == [0]


def test_a_program_that_is_started_does_not_inherit_it(tmp_path):
    lock = RunLock(tmp_path, portable=False).acquire()
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        lock.release()
        assert is_free(tmp_path, False)
        process.stdin.close()


def test_a_lock_that_came_as_a_descriptor(tmp_path):
    lock = RunLock(tmp_path, portable=False).acquire()
    adopted = RunLock.adopt(tmp_path, os.dup(lock.descriptor))
    lock.release()
    assert adopted.is_held
    assert not is_free(tmp_path, False)
    adopted.release()
    assert is_free(tmp_path, False)


def test_a_forgotten_lock_is_let_go(tmp_path, portable):
    lock = RunLock(tmp_path, portable=portable).acquire()
    assert not is_free(tmp_path, portable)
    del lock
    assert is_free(tmp_path, portable)


def test_the_portable_lock_of_another_machine_is_respected(tmp_path):
    holder = tmp_path / f"{LOCK_NAME}.held-3"
    holder.write_text('pipefunc_c driver lock\n{"host": "elsewhere", "pid": 1, "started": "2024"}\n')
    with pytest.raises(RunFolderInUseError, match="process 1 on elsewhere holds it since 2024"):
        RunLock(tmp_path, portable=True).acquire()
    assert holder.exists()


def test_many_that_want_a_dead_ones_place(tmp_path):
    with Holder(tmp_path, True) as holder:
        holder.process.kill()
        holder.process.wait(timeout=20)
    got, start = [], threading.Barrier(8)

    def take():
        lock = RunLock(tmp_path, portable=True)
        start.wait()
        try:
            got.append(lock.acquire())
        except RunFolderInUseError:
            got.append(None)

    for _ in range(20):
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(lock is not None for lock in got) <= 1
        got.clear()
    assert is_free(tmp_path, True)
