"""A warm server that forks workers for a process that must not fork itself, because it has threads.

The server is a child with one thread that has imported what workers need. It gets the descriptors of a worker
over a socket, forks, and tells how its children end. Nothing of the parent's ``__main__`` is imported: what a
worker needs comes to it in a message.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from functools import partial
from typing import Any

from pipefunc_c._optional import require
from pipefunc_c.exceptions import OperationError
from pipefunc_c.parallel._channel import Channel
from pipefunc_c.parallel._environment import library_pools, seed_worker
from pipefunc_c.parallel._worker_process import enter_worker

MAX_DESCRIPTORS = 8
START_SECONDS = 60.0
_STATUS = struct.Struct("<qi")  # pid and wait status; a start is answered with status STARTED
_STARTED = -1
_servers: dict[int, ForkServer] = {}
_lock = [threading.Lock()]


class ServedProcess:
    """A worker that the server forked.

    Parameters
    ----------
    server
        Its parent.
    pid
        Its process.
    """

    sentinel = None  # its end is seen at its channel

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid

    @property
    def exitcode(self) -> int | None:
        """The exit code, the negative number of the signal that killed it, or None while it runs."""
        self._server.collect(0)
        status = self._server.ended.get(self.pid)
        return None if status is None else os.waitstatus_to_exitcode(status)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.exitcode is None and not self._server.is_gone:
            left = 0.2 if until is None else min(0.2, until - time.monotonic())
            if left <= 0:
                return
            self._server.collect(left)

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self) -> None:
        """Forget it."""
        self._server.ended.pop(self.pid, None)


class ForkServer:
    """Start the server, and ask it for workers."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self.ended: dict[int, int] = {}
        self.is_gone = False
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from pipefunc_c.parallel._forkserver import main; main({theirs.fileno()})"
        )
        subprocess = require("subprocess")
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self._buffer = b""
        self._started: list[int] = []
        self._start_lock = threading.Lock()
        self._heard = threading.Condition()
        self._is_listened_to = False

    def start(self, descriptors: list[int]) -> ServedProcess:
        """Fork a worker that gets these descriptors.

        Raises
        ------
        OperationError
            If the server does not answer.
        """
        with self._start_lock:  # so that the next answer is the one to this
            socket.send_fds(self._socket, [b"f"], descriptors)
            until = time.monotonic() + START_SECONDS
            while not self._started:
                self.collect(max(0.0, until - time.monotonic()))
                if not self._started and (self.is_gone or time.monotonic() > until):
                    raise OperationError(
                        "the server that starts worker processes is gone or does not answer",
                        hint="see what it printed; run with parallel=False meanwhile",
                    )
            return ServedProcess(self, self._started.pop(0))

    def collect(self, timeout: float) -> None:
        """Take in what the server says, waiting ``timeout`` seconds at most for it.

        One thread listens at a time. Others wait for what it hears, and may come back early with nothing.
        """
        with self._heard:
            if self._is_listened_to:
                if timeout:
                    self._heard.wait(timeout)
                return
            self._is_listened_to = True
        try:
            while not self.is_gone and select.select([self._socket], [], [], timeout)[0]:
                self._take(self._socket.recv(4096))
                timeout = 0.0
        finally:
            with self._heard:
                self._is_listened_to = False
                self._heard.notify_all()

    def _take(self, data: bytes) -> None:
        self.is_gone = not data
        self._buffer += data
        while len(self._buffer) >= _STATUS.size:
            pid, status = _STATUS.unpack_from(self._buffer)
            self._buffer = self._buffer[_STATUS.size :]
            if status == _STARTED:
                self._started.append(pid)
            else:
                self.ended[pid] = status

    def stop(self) -> None:
        """End the server, when this process ends."""
        self._socket.close()
        with contextlib.suppress(Exception):
            self._process.wait(1.0)

    def forget(self) -> None:
        """Close this end in a forked child, which must not use the server."""
        self._socket.close()
        self._process.returncode = 0  # not this process's child: nothing to wait for
        atexit.unregister(self.stop)


def fork_server() -> ForkServer:
    """Give the server of this process; started when first needed."""
    with _lock[0]:
        server = _servers.get(os.getpid())
        if server is None or server.is_gone or server._process.poll() is not None:
            server = _servers[os.getpid()] = ForkServer()
            atexit.register(server.stop)
        return server


def _forget_servers() -> None:
    _lock[0] = threading.Lock()  # another thread of the parent may hold the old one
    for server in _servers.values():
        server.forget()
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_servers)


# -- in the server ---------------------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Serve until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=descriptor)
    for module in ("cloudpickle", "pipefunc_c.map._worker"):
        require(module)
    library_pools()  # imports threadpoolctl
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select(None if hasattr(os, "pidfd_open") else 0.05):
            if key.data is None:
                data, descriptors, _, _ = socket.recv_fds(connection, 1, MAX_DESCRIPTORS)
                if not data:
                    os._exit(0)
                _fork(connection, selector, descriptors)
            else:
                selector.unregister(key.fd)
                os.close(key.fd)
                _report(connection, key.data)
        if not hasattr(os, "pidfd_open"):
            _report(connection, -1)


def _report(connection: socket.socket, wanted: int) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(wanted, 0 if wanted > 0 else os.WNOHANG)
            if not pid:
                return
            connection.sendall(_STATUS.pack(pid, status))
            if wanted > 0:
                return


def _fork(connection: socket.socket, selector: selectors.BaseSelector, descriptors: list[int]) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            selector.close()
            connection.close()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            _work(descriptors)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)
    for each in descriptors:
        os.close(each)
    if hasattr(os, "pidfd_open"):
        selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
    connection.sendall(_STATUS.pack(pid, _STARTED))


def _work(descriptors: list[int]) -> None:
    """Become a worker: the first message says which, and what to run."""
    channel = Channel(socket.socket(fileno=descriptors[0]))
    boot: dict[str, Any] = pickle.loads(channel.receive())
    sys.path[:] = boot["path"]
    with contextlib.suppress(OSError):
        os.chdir(boot["folder"])
    enter_worker(channel, descriptors[1], boot["number"], boot["seeds"], library_pools(), boot["n_workers"])
    require("multiprocessing").current_process().authkey = boot["authkey"]
    with contextlib.suppress(EOFError, BrokenPipeError):
        module, name = boot["serve"]
        # Seeded once more when all is imported: some modules draw numbers when they are.
        ready = partial(seed_worker, boot["seeds"], boot["number"])
        getattr(require(module), name)(boot["payload"], descriptors[2:], channel, boot["number"], ready)
