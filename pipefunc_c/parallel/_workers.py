"""A group of worker processes of this one: started, listened to, replaced and ended together."""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipefunc_c.parallel._channel import Channel
from pipefunc_c.parallel._environment import draw_seeds
from pipefunc_c.parallel._starting import Identity, signals_held
from pipefunc_c.parallel._whole_lines import flush_shared

if TYPE_CHECKING:
    from pipefunc_c.parallel._output import OutputRelay
    from pipefunc_c.parallel._starting import Starter, WorkerHandle

_BELL = -1
GRACE_SECONDS, KILL_SECONDS = 0.5, 5.0
_groups: weakref.WeakSet[WorkerGroup] = weakref.WeakSet()


@dataclass(frozen=True)
class Message:
    """A message of a worker."""

    worker: int
    data: bytearray


@dataclass(frozen=True)
class Death:
    """The end of a worker that nobody asked for.

    Parameters
    ----------
    worker
        Its slot.
    pid
        Its process.
    exitcode
        How it ended; None if that is not known.
    peak_memory
        The most memory that it held, in bytes, if that is known.
    error
        Why it was ended, where this process did that because it could not take in what the worker said.
    """

    worker: int
    pid: int
    exitcode: int | None
    peak_memory: int | None = None
    error: Exception | None = None

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed it."""
        if self.exitcode is None or self.exitcode >= 0:
            return None
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.exitcode).name
        return str(-self.exitcode)

    def __str__(self) -> str:
        """Say how it ended, with the name of the signal."""
        how = "is gone"
        if self.signal is not None:
            how = f"was killed by {self.signal}"
        elif self.exitcode is not None:
            how = f"ended with exit code {self.exitcode}"
        return f"worker {self.worker} (pid {self.pid}) {how}"


@dataclass
class _Worker:
    process: WorkerHandle
    channel: Channel
    alive: int  # write end of a pipe: who is told of our end is a property of the open pipe
    lost: bool = False


@dataclass
class _Unfinished:
    """What is open while a worker is started; this thread may be forking it just now."""

    ours: Channel
    theirs: Channel
    alive: int
    thread: int


class WorkerGroup:
    """Start worker processes and exchange messages with them.

    Parameters
    ----------
    starter
        Starts each of them.
    n_workers
        How many.
    output
        Brings what they print, log and warn of to this process.

    Notes
    -----
    A worker dies with this process, at once, and what it started dies with it. Its random states are its own,
    and its BLAS threads a share of the cores. No other child of this process inherits the means to talk to
    workers. One thread at a time may listen; others may send meanwhile, and never wait for a worker that does
    not read: the one that listens sends the rest.
    """

    def __init__(self, starter: Starter, n_workers: int, output: OutputRelay | None = None) -> None:
        self.starter = starter
        self.n_workers = n_workers
        self._output = output
        self._workers: list[_Worker | None] = [None] * n_workers
        self._numbers = 0
        self._seeds: dict[str, Any] = {}
        self._selector = selectors.DefaultSelector()
        # What is written to the second end ends a wait.
        self._bell: tuple[int, int] | None = os.pipe()
        self._bell_lock = threading.RLock()  # a pool that the collector ends may ring in between
        # Who sends has a worker whose channel is not closed meanwhile, or its number given to another.
        self._send_lock = threading.RLock()
        self._behind: set[int] = set()
        os.set_blocking(self._bell[1], False)
        self._selector.register(self._bell[0], selectors.EVENT_READ, _BELL)
        for descriptor, take in ({} if output is None else output.sources).items():
            self._selector.register(descriptor, selectors.EVENT_READ, take)
        _groups.add(self)

    def start(self) -> None:
        """Start all workers."""
        self._seeds = draw_seeds()
        flush_shared()
        # Objects that exist now are not looked at by the collector of a worker, so their pages stay shared.
        gc.freeze()
        try:
            for slot in range(self.n_workers):
                self._start(slot)
        except BaseException:
            self.kill()
            raise
        finally:
            gc.unfreeze()

    def replace(self, slot: int) -> None:
        """Start a worker in the place of one that is dead or was told to end."""
        old = self._workers[slot]
        assert old is not None
        if not old.lost:
            self._bury(slot)
        self._start(slot)

    def _start(self, slot: int) -> None:
        identity = Identity(slot, self._numbers, self._seeds, self.n_workers)
        self._numbers += 1
        ours, theirs = Channel.pair()
        alive_read, alive_write = os.pipe()
        process: WorkerHandle | None = None
        try:
            # Known before it starts, so that the child closes them too.
            self._unfinished = _Unfinished(ours, theirs, alive_write, threading.get_ident())
            with signals_held():
                process = self.starter.start(ours, theirs, alive_read, identity, self._output)
                self._workers[slot] = _Worker(process, ours, alive_write)
        except BaseException:
            if process is None:  # else `kill` sees to it: a signal came that had to wait
                ours.close()
                os.close(alive_write)
            raise
        finally:
            theirs.close()
            self._unfinished = None
            os.close(alive_read)
        ours.sentinel = process.sentinel
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if ours.is_behind else 0)
        self._selector.register(ours, events, slot)
        if process.sentinel is not None:
            self._selector.register(process.sentinel, selectors.EVENT_READ, slot)

    _unfinished: _Unfinished | None = None

    def pid(self, slot: int) -> int:
        """Give the process of a worker."""
        worker = self._workers[slot]
        assert worker is not None
        return worker.process.pid

    def send(self, slot: int, *parts: bytes, descriptors: list[int] | None = None) -> None:
        """Send a message; one to a worker that is gone is dropped, its death will be reported."""
        with self._send_lock, contextlib.suppress(ConnectionError):
            worker = self._workers[slot]
            if worker is None or worker.lost:
                return
            worker.channel.send(*parts)
            if descriptors is not None:
                worker.channel.send_descriptors(descriptors)
            if worker.channel.is_behind:
                self._behind.add(slot)
                self.wake()

    def _watch_behind(self) -> None:
        """Let the next wait end when a worker takes what it was sent."""
        with self._send_lock:
            for slot in self._behind:
                worker = self._workers[slot]
                if worker is not None and not worker.lost:
                    self._selector.modify(worker.channel, selectors.EVENT_READ | selectors.EVENT_WRITE, slot)
            self._behind.clear()

    def _flush(self, slot: int) -> None:
        """Send more of what a worker did not take at once."""
        with self._send_lock:
            worker = self._workers[slot]
            if worker is None or worker.lost:
                return
            is_done = True
            with contextlib.suppress(ConnectionError):  # its end is seen when it is read from
                is_done = worker.channel.flush()
            if is_done:
                self._selector.modify(worker.channel, selectors.EVENT_READ, slot)

    def wait(self, timeout: float | None = None) -> list[Message | Death]:
        """Wait for messages and deaths; an empty list when ``timeout`` seconds are over."""
        events: list[Message | Death] = []
        seen: set[int] = set()
        self._watch_behind()
        for key, mask in self._selector.select(timeout):
            if callable(key.data):
                key.data()
                continue
            slot: int = key.data
            if slot == _BELL:
                os.read(key.fd, 4096)
                continue
            if mask & selectors.EVENT_WRITE:
                self._flush(slot)
            if not mask & selectors.EVENT_READ:
                continue
            worker = self._workers[slot]
            if worker is None or slot in seen or worker.lost:
                continue
            seen.add(slot)
            error: Exception | None = None
            if isinstance(key.fileobj, Channel) or self._has_data(worker):
                try:
                    events.append(Message(slot, worker.channel.receive()))
                    continue
                except EOFError:
                    pass
                except MemoryError as too_large:  # the rest of the message is still in the channel
                    worker.process.kill()
                    error = too_large
            events.append(self._bury(slot, error))
        return events

    def wake(self) -> None:
        """End a `wait` early; for any thread, at any time."""
        with self._bell_lock, contextlib.suppress(BlockingIOError):
            if self._bell is not None:
                os.write(self._bell[1], b"w")

    def drain(self) -> None:
        """Take in what workers printed, without waiting for messages: who is stuck in a print waits."""
        if self._output is not None:
            self._output.drain()

    @staticmethod
    def _has_data(worker: _Worker) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(worker.channel, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _bury(self, slot: int, error: Exception | None = None) -> Death:
        worker = self._workers[slot]
        assert worker is not None
        with self._send_lock:
            worker.lost = True
        self._selector.unregister(worker.channel)
        if worker.process.sentinel is not None:
            self._selector.unregister(worker.process.sentinel)
        worker.process.join(GRACE_SECONDS)
        if worker.process.exitcode is None:  # it closed its channel and goes on
            worker.process.kill()
            worker.process.join(GRACE_SECONDS)
        process = worker.process
        death = Death(slot, process.pid, process.exitcode, process.peak_memory, error)
        process.close()
        worker.channel.close()
        os.close(worker.alive)
        return death

    def interrupt(self, slots: list[int] | None = None) -> None:
        """Ask workers to give up what they are at: SIGTERM, which they may handle."""
        for slot, worker in enumerate(self._workers):
            if worker is not None and not worker.lost and (slots is None or slot in slots):
                worker.process.terminate()

    def kill_worker(self, slot: int) -> None:
        """End one worker at once; its death is reported like any other."""
        worker = self._workers[slot]
        if worker is not None and not worker.lost:
            worker.process.kill()

    def close(self) -> None:
        """Wait for workers that were told to end; kill those that do not. May be called again."""
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            if worker is not None and not worker.lost:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End all workers at once. May be called again."""
        living = [worker for worker in self._workers if worker is not None and not worker.lost]
        for worker in living:
            worker.process.kill()
        with self._send_lock:
            self._workers = [None] * self.n_workers
        for worker in living:
            worker.process.join(KILL_SECONDS)
            worker.process.close()
            worker.channel.close()
            os.close(worker.alive)
        self._selector.close()
        self._close_bell()
        if self._output is not None:
            self._output.close()
        _groups.discard(self)

    def _forget(self) -> None:
        """Close, in a forked child, what only this process may hold."""
        held = {each.alive: [each.channel] for each in self._workers if each is not None and not each.lost}
        if self._unfinished is not None:
            channels = held.setdefault(self._unfinished.alive, [])
            channels.append(self._unfinished.ours)
            if self._unfinished.thread != threading.get_ident():  # this is not the worker, but another child
                channels.append(self._unfinished.theirs)
        for alive, channels in held.items():
            with contextlib.suppress(OSError):
                os.close(alive)
            for channel in channels:
                channel.close()
        self._workers = [None] * self.n_workers
        self._unfinished = None
        # Another thread of the parent may hold the old ones.
        self._bell_lock, self._send_lock = threading.RLock(), threading.RLock()
        self._close_bell()

    def _close_bell(self) -> None:
        with self._bell_lock:
            bell, self._bell = self._bell, None
        for descriptor in bell or ():
            os.close(descriptor)


def _forget_groups() -> None:
    for group in list(_groups):
        group._forget()
    _groups.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_groups)
