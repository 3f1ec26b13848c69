"""Deaths, forks and signals at the wrong moment: none of them makes a pool wait for ever."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import threading
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from map.alone import PORTABLE, SERVERS, alone, until

from pipefunc_c.exceptions import BrokenPoolError, WorkerDiedError
from pipefunc_c.parallel import WorkerPool, _forkserver
from pipefunc_c.parallel._channel import Channel
from pipefunc_c.parallel._forkserver import ForkServer
from pipefunc_c.parallel._pool_manager import PoolManager
from pipefunc_c.parallel._pool_worker import CALL
from pipefunc_c.parallel._processes import fork_process
from pipefunc_c.parallel._workers import WorkerGroup

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:this process has threads")]
SECONDS = 10.0  # less than a test may take: who waits for ever fails here
served = pytest.mark.parametrize("method", ["fork", "forkserver"])
needs_pidfd = pytest.mark.skipif(PORTABLE or not hasattr(os, "pidfd_open"), reason="ends are not told here")


def at_start(act: Callable[[Any], None]) -> None:
    """Let something happen just after a server has forked a worker, before that hears from us."""
    start = ForkServer.start

    def start_and_act(server: ForkServer, descriptors: Any) -> Any:
        process = start(server, descriptors)
        act(process)
        return process

    ForkServer.start = start_and_act  # type: ignore[method-assign]  # for this process


def living(*, recursive: bool = False) -> list[psutil.Process]:
    children = psutil.Process().children(recursive=recursive)
    return [each for each in children if each.status() != psutil.STATUS_ZOMBIE]


def take(_: bytes) -> None:
    pass


@served
@alone
def test_a_worker_that_is_killed_before_it_reads_its_long_beginning(method):
    killed = []

    def act(process: Any) -> None:
        if not killed:
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.1)

    at_start(act)
    with WorkerPool(2, start_method=method, initializer=take, initargs=(bytes(2_000_000),)) as pool:
        assert pool.submit(abs, -3).result(SECONDS) == 3
    assert killed


@needs_pidfd
@served
@alone
def test_a_child_forked_by_another_thread_while_a_worker_starts(method):
    """It holds the worker's end of the connection, so that this never ends."""
    children = []

    def fork() -> None:
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        children.append(child)

    def act(_: Any) -> None:
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()

    at_start(act)
    with WorkerPool(1, start_method=method) as pool:
        assert pool.submit(abs, -3).result(SECONDS) == 3
        with pytest.raises(WorkerDiedError):
            pool.submit(os._exit, 3).result(SECONDS)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def leave_a_program_behind() -> None:
    os.system("setsid sleep 30 &")
    time.sleep(0.1)
    os._exit(3)


@served
@alone
def test_a_program_that_leaves_the_group_does_not_hide_the_death(method):
    with WorkerPool(1, start_method=method) as pool:
        with pytest.raises(WorkerDiedError):
            pool.submit(leave_a_program_behind).result(SECONDS)
        assert pool.submit(abs, -3).result(SECONDS) == 3


def test_a_message_that_is_not_read_is_kept_and_sent_later():
    ours, theirs = Channel.pair()
    long = bytes(1_000_000)
    read, write = os.pipe()
    ours.send(long)
    ours.send_descriptors([write])
    os.close(write)
    assert ours.is_behind
    received: list[Any] = []

    def receive() -> None:
        received.extend([theirs.receive(), theirs.receive_descriptors()])

    reader = threading.Thread(target=receive)
    reader.start()
    until(ours.flush)
    reader.join(SECONDS)
    assert received[0] == long
    os.write(received[1][0], b"x")
    assert os.read(read, 1) == b"x"
    assert not os.get_inheritable(received[1][0])
    ours.send(long)
    theirs.close()
    with pytest.raises(ConnectionError):
        ours.flush()
    assert not ours.is_behind
    for descriptor in (read, *received[1]):
        os.close(descriptor)
    ours.close()


@needs_pidfd
@alone
def test_half_a_message_of_a_dead_peer():
    """Somebody else holds the end of the dead one."""
    connection, theirs = socket.socketpair()
    ours = Channel(connection, waits=False)

    def send_half(_descriptor: int) -> None:
        theirs.send(b"\x10" + bytes(7) + b"half")

    process = fork_process(send_half, (theirs.fileno(),), "half")
    ours.sentinel = process.sentinel
    with pytest.raises(EOFError):
        ours.receive()
    process.join()
    process.close()
    ours.close()
    theirs.close()


@served
@alone
def test_the_server_is_killed(method):
    """A warm one is started again; of a copy there is no other, which is said."""
    for moment in ("idle", "at work"):
        with WorkerPool(2, start_method=method) as pool:
            pool.submit(abs, -3).result(SECONDS)
            servers = living()
            futures = [pool.submit(time.sleep, 0.2) for _ in range(4)] if moment == "at work" else []
            for each in servers:
                each.kill()
            for pid in pool.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert not wait(futures, SECONDS).not_done
            if method == "forkserver":
                assert pool.submit(abs, -3).result(SECONDS) == 3
            else:
                with pytest.raises(BrokenPoolError, match="server"):
                    pool.submit(abs, -3).result(SECONDS)
        gc.collect()
    assert all("warm_main" in " ".join(each.cmdline()) for each in living(recursive=True))


@alone
def test_a_server_that_does_not_answer_is_not_waited_for_for_ever():
    with WorkerPool(1, start_method="forkserver") as pool:
        pool.submit(abs, -3).result(SECONDS)
        os.kill(_forkserver.fork_server()._process.pid, signal.SIGSTOP)
        os.kill(pool.pids[0], signal.SIGKILL)
        # The end is told by nobody, and the server is replaced by one that answers.
        _forkserver.START_SECONDS = 2.0
        results = until(lambda: [each for each in [pool.submit(abs, -3)] if not each.exception(20)], 40)
        assert results[0].result() == 3


@served
@alone
def test_programs_that_take_in_all_children(method):
    """A copy of the process has its handlers."""

    def reap_all(*_: Any) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, reap_all)
    with WorkerPool(2, start_method=method) as pool:
        for _ in range(3):
            with pytest.raises(WorkerDiedError, match="exit code 3"):
                pool.submit(os._exit, 3).result(SECONDS)
        assert pool.submit(abs, -3).result(SECONDS) == 3


@alone
def test_somebody_else_takes_in_the_end_of_a_child():
    """multiprocessing looks for the ends of all that was started by way of it."""
    import multiprocessing

    process = fork_process(os._exit, (3,), "child")
    until(lambda: not multiprocessing.active_children())
    assert process.exitcode == 3
    process.close()


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@alone
def test_more_than_a_thousand_open_files(method):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 < most < 3000:
        pytest.skip("this system does not allow so many")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, most))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]
    with WorkerPool(2, start_method=method) as pool:
        with pytest.raises(WorkerDiedError):
            pool.submit(os._exit, 3).result(SECONDS)
        assert pool.submit(abs, -3).result(SECONDS) == 3
    for each in files:
        os.close(each)


@alone
def test_an_event_loop_of_the_parent_hears_no_signals_of_workers():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno())
    with WorkerPool(1, start_method="fork") as pool:
        assert pool.submit(raise_user_signal).result(SECONDS)
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    signal.set_wakeup_fd(-1)
    ours.close()
    theirs.close()


def raise_user_signal() -> bool:
    heard = []
    signal.signal(signal.SIGUSR2, lambda *_: heard.append(1))
    signal.raise_signal(signal.SIGUSR2)
    return bool(heard)


@alone
def test_an_exception_in_the_thread_of_the_pool_is_told_to_all_who_wait():
    pool = WorkerPool(1)
    pool.submit(abs, -3).result(SECONDS)

    def fail(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    PoolManager._take = fail  # type: ignore[method-assign]  # for this process
    futures = [pool.submit(time.sleep, 0.1) for _ in range(3)]
    assert not wait(futures, SECONDS).not_done
    assert all(isinstance(each.exception(), BrokenPoolError) for each in futures)
    with pytest.raises(BrokenPoolError, match="a fault of ours"):
        pool.submit(abs, -3)
    pool.shutdown()


def echo(_payload: bytes, _descriptors: list[int], _number: int) -> Echo:
    return Echo()


class Echo:
    """A handler of a run that answers when it is told to, and may take its time."""

    def handle(self, data: memoryview) -> tuple[bytes, ...]:
        time.sleep({b"soon": 0.25, b"slow": 30}.get(bytes(data), 0))
        return (bytes(data),)

    def close(self) -> None:
        pass


@alone
def test_an_interrupt_while_requests_of_a_run_wait():
    pool = WorkerPool(1)
    run = pool.open_run(__name__, "echo", b"", [])
    for slot in range(3):
        run.ask(slot, b"slow" if slot else b"soon")
    call = pool.submit(abs, -3)
    time.sleep(0.1)
    pool._manager.abort()
    pool.shutdown()
    assert call.cancelled() or isinstance(call.exception(SECONDS), BrokenPoolError)
    assert len(psutil.Process().children(recursive=True)) == SERVERS


@alone
def test_a_worker_that_is_to_die_gets_no_more_work():
    """It had answered just before it was killed for what it was at."""
    with WorkerPool(1) as pool:
        pool.submit(abs, -3).result(SECONDS)
        manager = pool._manager
        run = pool.open_run(__name__, "echo", b"", [])
        with manager.lock:  # so that the answer is taken in after the kill
            run.ask(0, b"quick")
            time.sleep(0.3)
            run.kill_worker(0)
            call = pool.submit(abs, -3)
        assert call.result(SECONDS) == 3
        run.close()


# -- workers that die before they begin --------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@alone
def test_a_call_does_not_fail_because_idle_workers_were_killed(method):
    with WorkerPool(2, start_method=method) as pool:
        for _ in range(5):
            pool.submit(abs, -3).result(SECONDS)
            for pid in pool.pids:
                os.kill(pid, signal.SIGKILL)
            assert [pool.submit(abs, -k).result(SECONDS) for k in range(4)] == [0, 1, 2, 3]


@alone
def test_a_long_call_whose_worker_dies_while_it_is_sent_goes_to_another():
    with WorkerPool(1) as pool:
        pool.submit(abs, -3).result(SECONDS)
        [pid] = pool.pids
        os.kill(pid, signal.SIGSTOP)
        call = pool.submit(len, bytes(10_000_000))
        assert call.running()
        time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        assert call.result(SECONDS) == 10_000_000


@alone
def test_a_call_is_not_given_to_dying_workers_for_ever():
    sent, send = [], WorkerGroup.send

    def kill_and_send(group: WorkerGroup, slot: int, *parts: bytes, **options: Any) -> None:
        if parts[0][0] == CALL:
            sent.append(group.pid(slot))
            os.kill(group.pid(slot), signal.SIGKILL)
            time.sleep(0.05)
        send(group, slot, *parts, **options)

    WorkerGroup.send = kill_and_send  # type: ignore[method-assign]  # for this process
    with WorkerPool(1) as pool:
        with pytest.raises(WorkerDiedError, match="before it began a call, like those before it"):
            pool.submit(abs, -3).result(SECONDS)
        assert len(set(sent)) == len(sent) == 4
        WorkerGroup.send = send  # type: ignore[method-assign]  # as it was
        assert pool.submit(abs, -3).result(SECONDS) == 3


def note_and_die(path: str) -> None:
    with open(path, "a") as file:
        file.write("begun ")
    os.kill(os.getpid(), signal.SIGKILL)


class DiesWhenRead:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return note_and_die, (self.path,)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@alone
def test_a_call_that_was_begun_is_not_repeated(method, tmp_path):
    with WorkerPool(2, start_method=method) as pool:
        for number, end in enumerate((note_and_die, DiesWhenRead)):
            path = tmp_path / str(number)
            call = pool.submit(end, str(path)) if number == 0 else pool.submit(id, end(str(path)))
            with pytest.raises(WorkerDiedError, match="SIGKILL while it did a call"):
                call.result(SECONDS)
            assert path.read_text() == "begun "
        assert pool.submit(abs, -3).result(SECONDS) == 3


@alone
def test_a_pool_that_shuts_down_still_gives_a_call_to_another_worker():
    pool = WorkerPool(1)
    pool.submit(abs, -3).result(SECONDS)
    os.kill(pool.pids[0], signal.SIGKILL)
    call = pool.submit(abs, -3)
    pool.shutdown()
    assert call.result(SECONDS) == 3
