"""What runs in a worker of a `WorkerPool`: calls, and parts of runs that are opened in it."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipefunc_c._optional import require
from pipefunc_c._remote_failure import RemoteFailure
from pipefunc_c.parallel._call_marks import CallMark
from pipefunc_c.parallel._environment import note_initializer
from pipefunc_c.parallel._whole_lines import flush_streams
from pipefunc_c.parallel._worker_process import leave_if_cut_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipefunc_c.parallel._channel import Channel

# What a worker is told: a call; to open a run; something of a run that is answered, or is not; that a run is
# over; to end.
CALL, OPEN, ASK, TELL, CLOSE, END = range(1, 7)
# What it says: it takes work, or cannot; a result, or an exception, of a call; an answer of a run, or why
# there is none; that a run is closed.
READY, BROKEN, RESULT, FAILED, ANSWER, REFUSED, CLOSED = range(1, 8)

HEADER = struct.Struct("<BI")  # what it is told, and the run
REPLY = struct.Struct("<BB")  # what it says, and whether it ends now


@dataclass(frozen=True)
class Setup:
    """What each worker of a pool is to do beside its work.

    Parameters
    ----------
    initializer
        Called first, with ``initargs``; pickled.
    max_tasks
        After so many tasks it ends.
    max_rss
        When it holds so many bytes after a task, it ends.
    """

    initializer: bytes
    max_tasks: int | None
    max_rss: int | None


def resident_memory() -> int:
    """Give the bytes of memory that this process holds."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return int(require("psutil").Process().memory_info().rss)


def serve_pool(
    payload: bytes, descriptors: list[int], channel: Channel, slot: int, ready: Callable[[], None]
) -> None:
    """Do what the pool says until it says END."""
    setup: Setup = pickle.loads(payload)
    ready()
    try:
        initializer, arguments = pickle.loads(setup.initializer)
        if initializer is not None:
            initializer(*arguments)
            note_initializer()
    except BaseException as error:
        channel.send(REPLY.pack(BROKEN, True), pickle.dumps(RemoteFailure.of(error)))
        return
    channel.send(REPLY.pack(READY, False))
    PoolWorker(setup, channel, slot, CallMark(descriptors[0], slot)).serve()


class PoolWorker:
    """Take what the pool sends, one at a time."""

    def __init__(self, setup: Setup, channel: Channel, slot: int, mark: CallMark) -> None:
        self._setup = setup
        self._mark = mark
        self._channel = channel
        self._slot = slot
        self._tasks = 0
        self._runs: dict[int, Any] = {}

    def serve(self) -> None:
        """Do what the pool says until it says END, or this worker has had enough."""
        is_done = False
        while not is_done:
            data = memoryview(self._channel.receive())
            kind, run = HEADER.unpack_from(data)
            content = data[HEADER.size :]
            if kind == END:
                return
            if kind == OPEN:
                self._open(run, content)
            elif kind == TELL:
                self._tell(run, content)
            elif kind == CLOSE:
                self._close(run)
            else:
                answer = self._call(content) if kind == CALL else self._ask(run, content)
                self._tasks += 1
                is_done = self._has_had_enough()
                flush_streams()
                leave_if_cut_off()
                self._channel.send(REPLY.pack(answer[0], is_done), *answer[1])

    def _has_had_enough(self) -> bool:
        setup = self._setup
        if setup.max_tasks is not None and self._tasks >= setup.max_tasks:
            return True
        return setup.max_rss is not None and resident_memory() > setup.max_rss

    def _call(self, content: memoryview) -> tuple[int, tuple[bytes, ...]]:
        self._mark.begin()  # to read the arguments is part of it: that may run code of the user
        try:
            function, args, kwargs = pickle.loads(content)
            result = function(*args, **kwargs)
            try:
                return RESULT, (pickle.dumps(result, 5),)
            except MemoryError:
                raise
            except Exception:  # what plain pickle does not take
                return RESULT, (require("cloudpickle").dumps(result, 5),)
        except BaseException as error:
            return FAILED, (pickle.dumps(RemoteFailure.of(error)),)

    def _open(self, run: int, content: memoryview) -> None:
        module, name, payload = pickle.loads(content)
        descriptors = self._channel.receive_descriptors()
        try:
            self._runs[run] = getattr(require(module), name)(payload, descriptors, self._slot)
        except BaseException as error:
            self._runs[run] = RemoteFailure.of(error)

    def _tell(self, run: int, content: memoryview) -> None:
        if isinstance(self._runs[run], RemoteFailure):
            return
        try:
            self._runs[run].handle(content)
        except BaseException as error:
            self._runs[run] = RemoteFailure.of(error)

    def _ask(self, run: int, content: memoryview) -> tuple[int, tuple[bytes, ...]]:
        handler = self._runs[run]
        if not isinstance(handler, RemoteFailure):
            try:
                return ANSWER, handler.handle(content)
            except BaseException as error:
                handler = RemoteFailure.of(error)
        return REFUSED, (pickle.dumps(handler),)

    def _close(self, run: int) -> None:
        handler = self._runs.pop(run, None)
        with contextlib.suppress(Exception):
            handler.close()
        del handler
        self._channel.send(REPLY.pack(CLOSED, False), HEADER.pack(CLOSE, run))
