"""One run of a driver in the workers of a pool, as the driver sees it."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipefunc_c.parallel._pool_manager import PoolManager
    from pipefunc_c.parallel._workers import Death


@dataclass(frozen=True)
class Answered:
    """What a worker answered to a request of a run."""

    slot: int
    worker: int
    data: memoryview


@dataclass(frozen=True)
class Lost:
    """The end of a worker that had a request of a run."""

    slot: int
    worker: int
    death: Death


@dataclass(frozen=True)
class Refused:
    """Why a worker could not take part in a run."""

    slot: int
    error: BaseException


@dataclass
class Client:
    """Who wants something of the workers: all calls together, or one run."""

    pending: deque[Any] = field(default_factory=deque)
    run: PoolRun | None = None


@dataclass
class Request:
    """A message of a run that a worker is to answer; the slot comes back with the answer."""

    slot: int
    data: bytes


class PoolRun:
    """One run in the workers of a pool.

    Parameters
    ----------
    manager
        The pool.
    number
        The run.
    opening
        Module and name of what makes the handler of a worker, and its payload.
    descriptors
        Descriptors that it gets.
    """

    def __init__(
        self, manager: PoolManager, number: int, opening: tuple[str, str, bytes], descriptors: list[int]
    ) -> None:
        self._manager = manager
        self.number = number
        self.opening = opening
        self.descriptors = descriptors
        self.news: list[bytes] = []
        self.client = Client(run=self)
        self.inbox: queue.SimpleQueue[Answered | Lost | Refused | None] = queue.SimpleQueue()
        self.unclosed: set[int] = set()
        self.all_closed = threading.Event()

    @property
    def n_workers(self) -> int:
        """How many workers the pool has."""
        return self._manager.n_workers

    def tell(self, message: bytes) -> None:
        """Let each worker know something before its next request."""
        with self._manager.lock:
            self.news.append(message)

    def ask(self, slot: int, message: bytes) -> None:
        """Let any worker answer a message; ``slot`` comes back with the answer."""
        self._manager.enqueue(self.client, Request(slot, message))

    def wait(self, timeout: float | None = None) -> list[Answered | Lost | Refused]:
        """Wait for answers; an empty list when ``timeout`` seconds are over, or `wake` was called."""
        try:
            events = [self.inbox.get(timeout=timeout)]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while True:
                events.append(self.inbox.get_nowait())
        return [each for each in events if each is not None]

    def wake(self) -> None:
        """End a `wait` early."""
        self.inbox.put(None)

    def kill_worker(self, slot: int) -> None:
        """End the worker at once that has the request with this slot, if one has it."""
        self._manager.end_workers(self, kill=True, only=slot)

    def interrupt(self) -> None:
        """Send SIGTERM to the workers that work on this run."""
        self._manager.end_workers(self, kill=False)

    def close(self, *, wait: bool = False) -> None:
        """Take back what waits, end the workers that are still at it, and let the others forget the run.

        Parameters
        ----------
        wait
            Whether to return when all have done that; one that is busy is not waited for long.
        """
        self._manager.close_run(self, wait=wait)
        self.client = Client()  # the two refer to each other
