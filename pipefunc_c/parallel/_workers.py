"""A group of worker processes of this one: started, listened to and ended together."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import selectors
import signal
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipefunc_c._optional import require
from pipefunc_c.parallel._channel import Channel
from pipefunc_c.parallel._environment import draw_seeds, library_pools
from pipefunc_c.parallel._forkserver import fork_server
from pipefunc_c.parallel._worker_process import HELD_SIGNALS, enter_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Serve = Callable[[Channel, int], None]

GRACE_SECONDS = 0.5
_BELL = -1  # beside the numbers of workers
_groups: weakref.WeakSet[WorkerGroup] = weakref.WeakSet()


@dataclass(frozen=True)
class Message:
    """A message of a worker."""

    worker: int
    data: bytearray


@dataclass(frozen=True)
class Death:
    """The end of a worker that nobody asked for."""

    worker: int
    pid: int
    exitcode: int | None

    def __str__(self) -> str:
        """Say how it ended, with the name of the signal."""
        if self.exitcode is None:
            return f"worker {self.worker} (pid {self.pid}) is gone"
        if self.exitcode < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-self.exitcode).name
                return f"worker {self.worker} (pid {self.pid}) was killed by {name}"
        return f"worker {self.worker} (pid {self.pid}) ended with exit code {self.exitcode}"


@dataclass(frozen=True)
class Boot:
    """What a worker needs that is not forked from this process.

    Parameters
    ----------
    serve
        Module and name of the function that it runs, with ``payload``, the descriptors that it got, its
        channel, its number, and what to call before it takes work.
    payload
        Whatever that function needs.
    descriptors
        Descriptors that it gets.
    """

    serve: tuple[str, str]
    payload: bytes
    descriptors: list[int]


@dataclass
class _Worker:
    process: Any
    channel: Channel
    lost: bool = False


@dataclass(eq=False)
class WorkerGroup:
    """Start worker processes and exchange messages with them.

    Parameters
    ----------
    serve
        Runs in each worker, with its channel and its number; the worker ends when it returns.
    n_workers
        How many.
    boot
        What workers need where this process must not fork: then a server does.

    Notes
    -----
    A worker dies with this process, at once. Its random states are its own, and its BLAS threads a share of
    the cores. No other child of this process inherits the means to talk to workers.
    """

    serve: Serve
    n_workers: int
    boot: Boot | None = None
    _workers: list[_Worker] = field(default_factory=list)
    # One pipe per worker: who is told of its end is a property of the open pipe.
    _alive: list[int] = field(default_factory=list)
    # What is written to the second ends a wait.
    _bell: tuple[int, int] | None = None
    _bell_lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Start the workers: forked from this process, or from the server if there is a ``boot``."""
        self._seeds = draw_seeds()
        self._pools = [] if self.boot is not None else library_pools()
        self._selector = selectors.DefaultSelector()
        self._bell = os.pipe()
        os.set_blocking(self._bell[1], False)
        self._selector.register(self._bell[0], selectors.EVENT_READ, _BELL)
        _groups.add(self)
        # Objects that exist now are not looked at by the collector of a worker, so their pages stay shared.
        gc.freeze()
        try:
            for number in range(self.n_workers):
                ours, theirs = Channel.pair()
                alive_read, alive_write = os.pipe()
                self._alive.append(alive_write)
                try:
                    start = self._fork if self.boot is None else self._serve
                    with _signals_held():
                        process = start(ours, theirs, alive_read, number)
                finally:
                    theirs.close()
                    os.close(alive_read)
                self._selector.register(ours, selectors.EVENT_READ, number)
                if process.sentinel is not None:
                    self._selector.register(process.sentinel, selectors.EVENT_READ, number)
        except BaseException:
            self.kill()
            raise
        finally:
            gc.unfreeze()

    def _fork(self, ours: Channel, theirs: Channel, alive: int, number: int) -> Any:
        process = (
            require("multiprocessing")
            .get_context("fork")
            .Process(
                target=self._run_worker,
                args=(theirs, alive, number),
                name=f"pipefunc_c-worker-{number}",
            )
        )
        self._workers.append(_Worker(process, ours))
        process.start()
        return process

    def _run_worker(self, channel: Channel, alive: int, number: int) -> None:
        enter_worker(channel, alive, number, self._seeds, self._pools, self.n_workers)
        with contextlib.suppress(EOFError, BrokenPipeError):
            self.serve(channel, number)

    def _serve(self, ours: Channel, theirs: Channel, alive: int, number: int) -> Any:
        assert self.boot is not None
        process = fork_server().start([theirs.fileno(), alive, *self.boot.descriptors])
        self._workers.append(_Worker(process, ours))
        message = {
            "number": number,
            "n_workers": self.n_workers,
            "seeds": self._seeds,
            "path": sys.path,
            "folder": os.getcwd(),
            "serve": self.boot.serve,
            # So that what this process may talk to by multiprocessing, its workers may.
            "authkey": bytes(require("multiprocessing").current_process().authkey),
            "payload": self.boot.payload,
        }
        ours.send(pickle.dumps(message))
        return process

    def send(self, worker: int, *parts: bytes) -> None:
        """Send a message; one to a worker that is gone is dropped, its death will be reported."""
        if self._workers[worker].lost:
            return
        with contextlib.suppress(ConnectionError):
            self._workers[worker].channel.send(*parts)

    def wait(self, timeout: float | None = None) -> list[Message | Death]:
        """Wait for messages and deaths; an empty list when ``timeout`` seconds are over."""
        events: list[Message | Death] = []
        seen: set[int] = set()
        for key, _ in self._selector.select(timeout):
            number: int = key.data
            if number == _BELL:
                os.read(key.fd, 4096)
                continue
            worker = self._workers[number]
            if number in seen or worker.lost:
                continue
            seen.add(number)
            if isinstance(key.fileobj, Channel) or self._has_data(worker):
                try:
                    events.append(Message(number, worker.channel.receive()))
                    continue
                except EOFError:
                    pass
            events.append(self._bury(number))
        return events

    def wake(self) -> None:
        """End a `wait` early; for any thread, at any time."""
        with self._bell_lock, contextlib.suppress(BlockingIOError):
            if self._bell is not None:
                os.write(self._bell[1], b"w")

    @staticmethod
    def _has_data(worker: _Worker) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(worker.channel, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _bury(self, number: int) -> Death:
        worker = self._workers[number]
        worker.lost = True
        self._selector.unregister(worker.channel)
        if worker.process.sentinel is not None:
            self._selector.unregister(worker.process.sentinel)
        worker.process.join(GRACE_SECONDS)
        if worker.process.exitcode is None:  # it closed its channel and goes on
            worker.process.kill()
            worker.process.join()
        worker.channel.close()
        return Death(number, worker.process.pid, worker.process.exitcode)

    def interrupt(self) -> None:
        """Ask all workers to give up what they are at: SIGTERM, which they may handle."""
        for worker in self._workers:
            if not worker.lost and worker.process.pid is not None and worker.process.exitcode is None:
                worker.process.terminate()

    def close(self) -> None:
        """Wait for workers that were told to end; kill those that do not. May be called again."""
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End all workers at once. May be called again."""
        for worker in self._workers:
            if worker.process.pid is not None and worker.process.exitcode is None:
                worker.process.kill()
        for worker in self._workers:
            if worker.process.pid is not None:
                worker.process.join()
                worker.process.close()
            worker.channel.close()
        self._workers = []
        self._selector.close()
        self._close_bell()
        self._close_alive()
        _groups.discard(self)

    def _forget(self) -> None:
        """Close, in a forked child, what only this process may hold."""
        self._bell_lock = threading.Lock()  # another thread of the parent may hold the old one
        self._close_bell()
        self._close_alive()
        for worker in self._workers:
            worker.channel.close()

    def _close_bell(self) -> None:
        with self._bell_lock:
            bell, self._bell = self._bell, None
        for descriptor in bell or ():
            os.close(descriptor)

    def _close_alive(self) -> None:
        for descriptor in self._alive:
            os.close(descriptor)
        self._alive = []


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Keep a Ctrl-C and the like until a process is started: it would be swallowed, or leave half a worker.

    The handlers are replaced, since to block a signal in this thread only sends it to another one.
    """
    held: list[tuple[int, Any]] = []
    replaced: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in HELD_SIGNALS:
            if callable(handler := signal.getsignal(number)):
                replaced[number] = handler
                signal.signal(number, lambda *arguments: held.append(arguments))
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
    for number, frame in held:
        replaced[number](number, frame)


def _forget_groups() -> None:
    for group in list(_groups):
        group._forget()
    _groups.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_groups)
