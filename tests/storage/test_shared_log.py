from __future__ import annotations

import gc
import os
import pickle
import struct
import subprocess
import sys
import threading

import pytest

from pipefunc_c._storage.shared_log import SharedLog

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
finds_memory_of_others = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


def in_child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def test_values_by_name():
    log = SharedLog()
    log["a"], log["b"], log["a"], log[""] = b"1", b"2" * 100_000, b"3", b""
    assert (log["a"], log["b"], log[""]) == (b"3", b"2" * 100_000, b"")
    assert sorted(log.names()) == ["", "a", "b"]
    del log["b"]
    del log["never there"]
    assert sorted(log.names()) == ["", "a"]
    assert "b" not in log
    with pytest.raises(KeyError):
        log["b"]
    log["b"] = b"again"
    assert log["b"] == b"again"


def test_a_forked_child_and_its_parent_see_what_the_other_writes():
    log = SharedLog()
    log["parent"] = b"1"

    def child():
        assert log["parent"] == b"1"
        log["child"] = b"2"
        log["parent"] = b"3"

    assert in_child(child)
    assert (log["child"], log["parent"]) == (b"2", b"3")


@finds_memory_of_others
def test_any_process_of_the_host_may_write():
    log = SharedLog()
    log["a"] = b"1"
    program = (
        "import pickle, sys\n"
        "log = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "assert log['a'] == b'1'\n"
        "log['b'] = b'2'\n"
        "assert pickle.loads(pickle.dumps(log)) is log\n"
    )
    subprocess.run([sys.executable, "-c", program, pickle.dumps(log).hex()], check=True, timeout=60)
    assert log["b"] == b"2"


def test_a_copy_in_the_same_process_is_the_log_itself():
    log = SharedLog()
    assert pickle.loads(pickle.dumps(log)) is log


def test_the_memory_of_a_process_that_has_ended_is_out_of_reach():
    program = (
        "import pickle, sys\n"
        "from pipefunc_c._storage.shared_log import SharedLog\n"
        "log = SharedLog()\n"
        "sys.stdout.write(pickle.dumps(log).hex())\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    with pytest.raises(RuntimeError, match="out of reach"):
        pickle.loads(bytes.fromhex(done.stdout))


@finds_memory_of_others
def test_a_file_that_is_no_log_is_refused():
    log = SharedLog()
    process, descriptor = log._maker
    with pytest.raises(RuntimeError, match="out of reach"):
        SharedLog.of_other_process(process, descriptor, b"another mark 123")


def test_what_a_killed_writer_left_is_written_over():
    log = SharedLog()
    log["a"] = b"1"
    torn = struct.pack("<IQ", 1, 1000) + b"b" + b"x" * 500
    os.pwrite(log._descriptor, torn, os.fstat(log._descriptor).st_size)
    assert log.names() == ["a"]
    log["c"] = b"3"
    assert sorted(log.names()) == ["a", "c"]
    os.pwrite(log._descriptor, torn[:7], os.fstat(log._descriptor).st_size)
    assert "c" in log
    del log["c"]
    assert log.names() == ["a"]


@pytest.mark.timeout(60)
def test_processes_and_threads_that_write_at_once_lose_nothing():
    log = SharedLog()

    def write(who):
        for number in range(200):
            log[f"{who}-{number}"] = f"{who}".encode() * (number % 50)

    pids = []
    for who in "ab":
        pid = os.fork()
        if pid == 0:
            write(who)
            os._exit(0)
        pids.append(pid)
    threads = [threading.Thread(target=write, args=(who,)) for who in "cd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    assert len(log.names()) == 800
    assert all(log[f"{who}-{k}"] == who.encode() * (k % 50) for who in "abcd" for k in range(200))


def test_a_child_can_write_while_a_thread_of_its_parent_held_the_lock():
    log = SharedLog()
    with log._thread_lock():
        assert in_child(lambda: log.__setitem__("a", b"1"))
    assert log["a"] == b"1"


def test_no_descriptor_stays_open():
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        log = SharedLog()
        log["a"] = b"1"
    del log
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before
