"""Who does the work of a run: fresh workers that end with it, or those of a `WorkerPool`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pipefunc_c.map._processes.messages import END
from pipefunc_c.map._processes.worker import serve
from pipefunc_c.parallel._environment import may_fork
from pipefunc_c.parallel._output import OutputRelay
from pipefunc_c.parallel._pool_run import Answered, Lost, Refused
from pipefunc_c.parallel._starting import BootStarter, ForkStarter
from pipefunc_c.parallel._workers import Death, WorkerGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._processes.control import Control
    from pipefunc_c.parallel._pool_run import PoolRun
    from pipefunc_c.parallel._worker_pool import WorkerPool

Event = Answered | Lost | Refused


@dataclass(frozen=True)
class Payload:
    """What makes a run known in a worker that was not forked from its driver."""

    data: bytes
    descriptors: list[int]


class Crew(Protocol):
    """Do the work of a run.

    Attributes
    ----------
    n_workers : int
        How many there are.
    n_slots : int
        How many leases may be out at once, not counting those that are handed out ahead.
    prefetches : bool
        Whether a slot is a worker, which may be handed a lease ahead.
    """

    n_workers: int
    n_slots: int
    prefetches: bool

    def start(self, control: Control, payload: Callable[[], Payload]) -> None:
        """Begin; ``payload`` is called if workers need one."""

    def tell(self, message: bytes) -> None:
        """Let all workers know something before their next lease."""

    def grant(self, slot: int, message: bytes) -> None:
        """Hand out a lease."""

    def wait(self, timeout: float | None) -> list[Event]:
        """Wait for what workers say, and for their ends."""

    def renew(self, worker: int, news: Iterable[bytes]) -> None:
        """Replace a worker that died; the new one is told all that is known."""

    def wake(self) -> None:
        """End a `wait` early; for any thread, at any time."""

    def drain(self) -> None:
        """Take in what workers print."""

    def interrupt(self) -> None:
        """Let workers give up the element that they are at."""

    def kill(self, slot: int) -> None:
        """End the worker at once that has the lease of a slot."""

    def end(self, *, is_idle: bool) -> None:
        """End the part of all workers in this run. May be called again."""


class OwnCrew:
    """Fresh workers: forked from this process where that is safe, else from a server.

    Parameters
    ----------
    plan
        The run.
    n_workers
        How many.
    redraws
        Whether something on the terminal is drawn again and again.
    """

    prefetches = True

    def __init__(self, plan: Plan, n_workers: int, *, redraws: bool) -> None:
        self._plan = plan
        self.n_workers = self.n_slots = n_workers
        self._redraws = redraws
        self._group: WorkerGroup | None = None
        self._forked: ForkStarter | None = None
        self._booted: BootStarter | None = None

    def start(self, control: Control, payload: Callable[[], Payload]) -> None:
        """Start the workers."""
        self._payload = payload
        self._serve = partial(serve, self._plan, control)
        group = WorkerGroup(self._choose_starter(), self.n_workers, OutputRelay(redraws=self._redraws))
        self._group = group
        with self._lock_inherited():
            group.start()

    def _choose_starter(self) -> ForkStarter | BootStarter:
        if may_fork():
            self._forked = self._forked or ForkStarter(self._serve)
            return self._forked
        if self._booted is None:
            made = self._payload()
            serve_there = ("pipefunc_c.map._processes.worker", "serve_recipe")
            self._booted = BootStarter(serve_there, made.data, made.descriptors)
        return self._booted

    def _lock_inherited(self) -> contextlib.AbstractContextManager[Any]:
        durable = self._plan.durable
        return contextlib.nullcontext() if durable is None else durable.inherited()

    def tell(self, message: bytes) -> None:
        """Send something to all workers."""
        assert self._group is not None
        for worker in range(self.n_workers):
            self._group.send(worker, message)

    def grant(self, slot: int, message: bytes) -> None:
        """Send a lease to a worker."""
        assert self._group is not None
        self._group.send(slot, message)

    def wait(self, timeout: float | None) -> list[Event]:
        """Wait for what workers say, and for their ends."""
        assert self._group is not None
        return [
            Lost(each.worker, each.worker, each)
            if isinstance(each, Death)
            else Answered(each.worker, each.worker, memoryview(each.data))
            for each in self._group.wait(timeout)
        ]

    def renew(self, worker: int, news: Iterable[bytes]) -> None:
        """Replace a worker that died; the new one is told all that is known."""
        assert self._group is not None
        # This process may have got threads since the run began.
        self._group.starter = self._choose_starter()
        with self._lock_inherited():
            self._group.replace(worker)
        for message in news:
            self._group.send(worker, message)

    def wake(self) -> None:
        """End a `wait` early; for any thread, at any time."""
        if self._group is not None:
            self._group.wake()

    def drain(self) -> None:
        """Take in what workers print."""
        if self._group is not None:
            self._group.drain()

    def interrupt(self) -> None:
        """Let workers give up the element that they are at."""
        if self._group is not None:
            self._group.interrupt()

    def kill(self, slot: int) -> None:
        """End the worker at once that has the lease of a slot."""
        if self._group is not None:
            self._group.kill_worker(slot)

    def end(self, *, is_idle: bool) -> None:
        """End the workers: those that are idle by themselves."""
        group, self._group = self._group, None
        self._forked = self._booted = None
        if group is None:
            return
        del self._payload, self._serve  # they refer to those that have this crew
        try:
            if is_idle:
                for worker in range(self.n_workers):
                    group.send(worker, bytes([END]))
                group.close()
        finally:
            group.kill()


class PoolCrew:
    """The workers of a pool, which may have other work as well.

    Parameters
    ----------
    pool
        The pool.
    """

    prefetches = False  # which worker takes a lease is decided when one is free

    def __init__(self, pool: WorkerPool) -> None:
        pool.check_usable()
        self._pool = pool
        self._run: PoolRun | None = None
        self._holds_lock = False  # of a run folder, which is free when all have let go
        self.n_workers = pool.max_workers
        self.n_slots = 2 * self.n_workers  # so that none waits for the next

    def start(self, control: Control, payload: Callable[[], Payload]) -> None:  # noqa: ARG002
        """Open the run in the pool."""
        made = payload()
        self._holds_lock = len(made.descriptors) > 1
        module = "pipefunc_c.map._processes.worker"
        self._run = self._pool.open_run(module, "open_recipe", made.data, made.descriptors)

    def tell(self, message: bytes) -> None:
        """Let all workers know something before their next lease."""
        assert self._run is not None
        self._run.tell(message)

    def grant(self, slot: int, message: bytes) -> None:
        """Hand out a lease."""
        assert self._run is not None
        self._run.ask(slot, message)

    def wait(self, timeout: float | None) -> list[Event]:
        """Wait for what workers say, and for their ends."""
        assert self._run is not None
        return self._run.wait(timeout)

    def renew(self, worker: int, news: Iterable[bytes]) -> None:
        """Do nothing: the pool replaces its workers."""

    def wake(self) -> None:
        """End a `wait` early; for any thread, at any time."""
        if self._run is not None:
            self._run.wake()

    def drain(self) -> None:
        """Do nothing: the pool takes in what its workers print."""

    def interrupt(self) -> None:
        """Let workers give up the element that they are at."""
        if self._run is not None:
            self._run.interrupt()

    def kill(self, slot: int) -> None:
        """End the worker at once that has the lease of a slot."""
        if self._run is not None:
            self._run.kill_worker(slot)

    def end(self, *, is_idle: bool) -> None:  # noqa: ARG002
        """Let the workers forget the run; those that are still at it are replaced."""
        run, self._run = self._run, None
        if run is not None:
            run.close(wait=self._holds_lock)
