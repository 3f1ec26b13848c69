"""How a worker process is started: forked from here, from a server, or with an interpreter of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipefunc_c._optional import require
from pipefunc_c.exceptions import OperationError
from pipefunc_c.parallel._environment import library_pools
from pipefunc_c.parallel._forkserver import ForkServer, fork_server
from pipefunc_c.parallel._processes import fork_process, spawn_process
from pipefunc_c.parallel._worker_process import HELD_SIGNALS, ending_with_parent, enter_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipefunc_c.parallel._channel import Channel
    from pipefunc_c.parallel._output import OutputRelay

    Serve = Callable[[Channel, int], None]


class WorkerHandle(Protocol):
    """A process that is a worker."""

    pid: int
    sentinel: int | None

    @property
    def exitcode(self) -> int | None:
        """How it ended; None while it runs."""

    @property
    def peak_memory(self) -> int | None:
        """The most memory that it held, in bytes, if that is known."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it and what it started, at once."""

    def close(self) -> None:
        """Forget it."""


@dataclass(frozen=True)
class Identity:
    """What distinguishes one worker from another.

    Parameters
    ----------
    slot
        Its place among the workers; that of a dead one goes to the one that replaces it.
    number
        Its own number, never given twice: its random streams are made from it.
    seeds
        What the random states of all workers are made from.
    n_workers
        How many share the cores.
    """

    slot: int
    number: int
    seeds: dict[str, Any]
    n_workers: int


class Starter(Protocol):
    """Starts workers."""

    def start(
        self, ours: Channel, theirs: Channel, alive: int, identity: Identity, output: OutputRelay | None
    ) -> WorkerHandle:
        """Start one that has the other end of a channel and of the pipe that tells of our end."""


class ForkStarter:
    """Fork workers from this process, which must have one thread.

    Parameters
    ----------
    serve
        Runs in each worker, with its channel and its slot; the worker ends when it returns.
    """

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._pools = library_pools()

    def start(
        self,
        ours: Channel,  # noqa: ARG002
        theirs: Channel,
        alive: int,
        identity: Identity,
        output: OutputRelay | None,
    ) -> WorkerHandle:
        """Fork one."""
        name = f"pipefunc_c-worker-{identity.number}"
        return fork_process(self._run, (theirs, alive, identity, output), name)

    def _run(self, channel: Channel, alive: int, identity: Identity, output: OutputRelay | None) -> None:
        if output is not None:
            output.enter()
        enter_worker(channel, alive, identity.number, identity.seeds, self._pools, identity.n_workers)
        with ending_with_parent():
            self._serve(channel, identity.slot)


class BootStarter:
    """Start workers that are not forked from this process as it is now: all that they need is sent.

    Parameters
    ----------
    serve
        Module and name of the function that runs in each, with ``payload``, the descriptors that it got, its
        channel, its slot, and what to call before it takes work.
    payload
        Whatever that function needs.
    descriptors
        Descriptors that it gets.
    server
        Where it is forked from: by default the warm server of this process, "spawn" for a new interpreter.
    threads
        Threads for BLAS and OpenMP in each; by default its share of the cores.
    """

    def __init__(
        self,
        serve: tuple[str, str],
        payload: bytes,
        descriptors: list[int],
        server: ForkServer | str | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self._serve, self._payload, self._descriptors, self._server = serve, payload, descriptors, server
        self._threads = threads

    def start(
        self, ours: Channel, theirs: Channel, alive: int, identity: Identity, output: OutputRelay | None
    ) -> WorkerHandle:
        """Start one and send what it needs."""
        relayed = [] if output is None else output.descriptors()
        descriptors = [theirs.fileno(), alive, *relayed, *self._descriptors]
        process: WorkerHandle
        if isinstance(self._server, str):
            program = f"from pipefunc_c.parallel._forkserver import work; work({descriptors})"
            process = spawn_process(program, descriptors)
        else:
            process = self._fork(descriptors)
        # Before anything is sent: were it dead already, its end would seem to be there.
        theirs.close()
        message = {
            "slot": identity.slot,
            "number": identity.number,
            "n_workers": identity.n_workers,
            "threads": self._threads,
            "seeds": identity.seeds,
            "path": sys.path,
            "folder": os.getcwd(),
            "serve": self._serve,
            # So that what this process may talk to by multiprocessing, its workers may.
            "authkey": bytes(require("multiprocessing").current_process().authkey),
            "payload": self._payload,
            "output": None if output is None else (len(relayed), output.recipe()),
        }
        with contextlib.suppress(ConnectionError):  # its end will be noticed
            ours.send(pickle.dumps(message))
        return process

    def _fork(self, descriptors: list[int]) -> WorkerHandle:
        if isinstance(self._server, ForkServer):
            return self._server.start(descriptors)
        try:
            return fork_server().start(descriptors)
        except OperationError:  # somebody killed it just now
            return fork_server().start(descriptors)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Keep a Ctrl-C and the like until a process is started: it would be swallowed, or leave half a worker.

    The handlers are replaced, since to block a signal in this thread only sends it to another one.
    """
    held: list[tuple[int, Any]] = []
    replaced: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in HELD_SIGNALS:
                if callable(handler := signal.getsignal(number)):
                    replaced[number] = handler
                    signal.signal(number, lambda *arguments: held.append(arguments))
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
    for number, frame in held:
        replaced[number](number, frame)
