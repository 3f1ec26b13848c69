"""A server that forks workers for a process that must not fork itself, because it has threads.

The server is a child with one thread. It gets the descriptors of a worker over a socket, forks, and tells how
its children end. A warm one is a new interpreter that has imported what workers need; nothing of the parent's
``__main__`` is imported: what a worker needs comes to it in a message. A copy is forked from the parent, and
so are its workers in the end: they have all objects of the parent as they were then.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from pipefunc_c._optional import require
from pipefunc_c.exceptions import OperationError
from pipefunc_c.parallel._channel import Channel
from pipefunc_c.parallel._environment import library_pools, seed_worker
from pipefunc_c.parallel._output import enter_relay
from pipefunc_c.parallel._processes import (
    ChildProcess,
    Ended,
    fork_process,
    is_readable,
    kill_group,
    open_pidfd,
    reap,
    spawn_process,
)
from pipefunc_c.parallel._whole_lines import flush_streams
from pipefunc_c.parallel._worker_process import ending_with_parent, enter_worker

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DESCRIPTORS = 16
START_SECONDS, LOOK_SECONDS = 60.0, 0.5
_STATUS = struct.Struct("<qiq")  # pid, wait status, peak memory; a start is answered with status STARTED
_STARTED = -1
_servers: dict[int, ForkServer] = {}
_all_servers: weakref.WeakSet[ForkServer] = weakref.WeakSet()


class ServedProcess:
    """A worker that the server forked.

    Parameters
    ----------
    server
        Its parent.
    pid
        Its process.

    Attributes
    ----------
    sentinel : int or None
        Becomes readable at its end, where the system has that; else its end is seen at its channel.
    """

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid
        self._ended: Ended | None = None
        self.sentinel = open_pidfd(pid)

    @property
    def exitcode(self) -> int | None:
        """The exit code, the negative number of the signal that killed it, or None while it runs."""
        if self._ended is None:
            self._server.collect(0)
            with self._server.lock:  # threads may ask at the same time
                self._ended = self._server.ended.pop(self.pid, None) or self._ended
        return None if self._ended is None else self._ended.exitcode

    @property
    def peak_memory(self) -> int | None:
        """The most memory that it held, in bytes; None while it runs or where that is not known."""
        return None if self._ended is None else self._ended.peak_memory or None

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.exitcode is None:
            left = 0.02 if until is None else min(0.02, until - time.monotonic())
            if left <= 0:
                return
            if self._server.is_running:
                self._server.collect(left)
            elif self.sentinel is None or is_readable(self.sentinel, left):
                return  # how it ended, nobody tells

    def terminate(self) -> None:
        """Ask it to end."""
        if self.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self.exitcode is None:
            kill_group(self.pid)

    def close(self) -> None:
        """Forget it."""
        if self._ended is None:
            with self._server.lock:
                self._server.unwanted.add(self.pid)
        if self.sentinel is not None:
            os.close(self.sentinel)
            self.sentinel = None


class ForkServer:
    """Start the server, and ask it for workers; threads may share it.

    Parameters
    ----------
    is_copy
        Whether it is forked from this process; else it is a new interpreter.
    """

    def __init__(self, *, is_copy: bool = False) -> None:
        self._socket, theirs = socket.socketpair()
        self.lock = threading.RLock()
        self.ended: dict[int, Ended] = {}
        self.unwanted: set[int] = set()  # processes whose end nobody asks for
        self.is_gone = False
        self._buffer = b""
        self._started: list[int] = []
        self._process: ChildProcess | None = None
        _all_servers.add(self)
        if is_copy:
            self._process = fork_process(main, (theirs.fileno(),), "pipefunc_c-server")
        else:
            program = f"from pipefunc_c.parallel._forkserver import warm_main; warm_main({theirs.fileno()})"
            self._process = spawn_process(program, [theirs.fileno()])
        theirs.close()

    @property
    def is_running(self) -> bool:
        """Tell whether it can be asked."""
        return not self.is_gone and self._process is not None and self._process.exitcode is None

    def start(self, descriptors: Sequence[int]) -> ServedProcess:
        """Fork a worker that gets these descriptors.

        Raises
        ------
        OperationError
            If the server does not answer.
        """
        until = time.monotonic() + START_SECONDS
        with self.lock:
            if not self.is_gone:
                with contextlib.suppress(ConnectionError):
                    socket.send_fds(self._socket, [b"f"], descriptors)
            while not self._started:
                # A process that was forked at the wrong moment may hold the other end of our socket, so that
                # the end of the server is not seen there.
                if not self.is_running or time.monotonic() > until:
                    self.stop(kill=True)  # an answer that comes later would be taken for the next one
                    raise OperationError(
                        "the server that starts worker processes is gone or does not answer",
                        hint="see what it printed; run with parallel=False meanwhile",
                    )
                self.collect(LOOK_SECONDS)
            return ServedProcess(self, self._started.pop(0))

    def collect(self, timeout: float) -> None:
        """Take in what the server says, waiting ``timeout`` seconds at most for it."""
        if timeout and not self.is_gone:
            # Without the lock, unless a start holds it: other threads may ask meanwhile.
            is_readable(self._socket.fileno(), timeout)
        with self.lock:
            while not self.is_gone and is_readable(self._socket.fileno(), 0):
                try:
                    data = self._socket.recv(4096)
                except ConnectionError:
                    data = b""
                self.is_gone = not data
                self._buffer += data
                while len(self._buffer) >= _STATUS.size:
                    pid, status, peak_memory = _STATUS.unpack_from(self._buffer)
                    self._buffer = self._buffer[_STATUS.size :]
                    if status == _STARTED:
                        self.unwanted.discard(pid)
                        self._started.append(pid)
                    elif pid in self.unwanted:
                        self.unwanted.discard(pid)
                    else:
                        self.ended[pid] = Ended(status, peak_memory)

    def stop(self, *, kill: bool = False) -> None:
        """End the server; its workers do not end with it. May be called again."""
        self.collect(0)
        with self.lock:
            self.is_gone = True
            self._socket.close()
        if self._process is not None:
            if not kill:
                self._process.join(1.0)
            self._process.kill()
            self._process.join(1.0)
            self._process.close()

    def forget(self) -> None:
        """Close this end in a forked child, which must not use the server."""
        self.is_gone = True
        self._socket.close()
        if self._process is not None:
            self._process.close()
        atexit.unregister(self.stop)


_server_lock = threading.Lock()


def fork_server() -> ForkServer:
    """Give the warm server of this process; started when first needed."""
    with _server_lock:
        server = _servers.get(os.getpid())
        if server is None or not server.is_running:
            if server is not None:
                server.stop()
                atexit.unregister(server.stop)
            server = _servers[os.getpid()] = ForkServer()
            atexit.register(server.stop)
        return server


def _forget_servers() -> None:
    global _server_lock  # noqa: PLW0603  another thread may have held it
    _server_lock = threading.Lock()
    for server in list(_all_servers):
        server.forget()
    _all_servers.clear()
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_servers)


# -- in the server ---------------------------------------------------------------------------------------


def warm_main(descriptor: int) -> None:
    """Import what workers need, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in ("cloudpickle", "pipefunc_c.map._processes.worker", "pipefunc_c.parallel._pool_worker"):
        require(module)
    library_pools()  # imports threadpoolctl
    main(descriptor)


def main(descriptor: int) -> None:
    """Serve until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A copy has the handlers of its parent: who takes in the ends of children there, must not do it here.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    with contextlib.suppress(OSError):  # a Ctrl-C and the end of a worker's group are not for the server
        os.setpgid(0, 0)
    connection = socket.socket(fileno=descriptor)
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ, None)
    has_pidfd = hasattr(os, "pidfd_open")
    children: set[int] = set()
    while True:
        for key, _ in selector.select(None if has_pidfd else 0.05):
            if key.data is None:
                data = b""
                descriptors: list[int] = []
                with contextlib.suppress(ConnectionError):
                    data, descriptors, _, _ = socket.recv_fds(connection, 1, MAX_DESCRIPTORS)
                if not data:
                    os._exit(0)
                for each in descriptors:
                    os.set_inheritable(each, False)  # programs that workers call
                pid = _fork(connection, selector, descriptors)
                children.add(pid)
                if has_pidfd:
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            else:
                selector.unregister(key.fd)
                os.close(key.fd)
        for pid in list(children):
            ended = reap(pid)
            if ended is not None:
                children.discard(pid)
                with contextlib.suppress(ConnectionError):
                    connection.sendall(_STATUS.pack(pid, *ended))


def _fork(connection: socket.socket, selector: selectors.BaseSelector, descriptors: list[int]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            selector.close()
            connection.close()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            work(descriptors)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            flush_streams()
            os._exit(status)
    for each in descriptors:
        os.close(each)
    with contextlib.suppress(ConnectionError):  # seen when it is read from
        connection.sendall(_STATUS.pack(pid, _STARTED, 0))
    return pid


def work(descriptors: list[int]) -> None:
    """Become a worker: the first message says which, and what to run."""
    channel = Channel(socket.socket(fileno=descriptors[0]))
    for each in descriptors:
        os.set_inheritable(each, False)  # programs that are called later
    boot: dict[str, Any] = pickle.loads(channel.receive())
    sys.path[:] = boot["path"]
    with contextlib.suppress(OSError):
        os.chdir(boot["folder"])
    enter_worker(
        channel,
        descriptors[1],
        boot["number"],
        boot["seeds"],
        library_pools(),
        boot["n_workers"],
        boot["threads"],
    )
    require("multiprocessing").current_process().authkey = boot["authkey"]
    descriptors = descriptors[2:]
    if boot["output"] is not None:
        count, recipe = boot["output"]
        enter_relay(recipe, descriptors[:count])
        descriptors = descriptors[count:]
    with ending_with_parent():
        module, name = boot["serve"]
        # Seeded once more when all is imported: some modules draw numbers when they are.
        ready = partial(seed_worker, boot["seeds"], boot["number"])
        getattr(require(module), name)(boot["payload"], descriptors, channel, boot["slot"], ready)
