"""A pool of worker processes that outlives maps and survives the death of its workers."""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import warnings
import weakref
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Literal, NoReturn, ParamSpec, TypeVar

from pipefunc_c._describe import message_of, short_repr
from pipefunc_c._optional import require
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, NotAvailableError, OperationError
from pipefunc_c.parallel._call_marks import CallMarks
from pipefunc_c.parallel._environment import (
    available_cores,
    can_start_workers,
    has_one_thread,
    is_worker,
    may_fork,
)
from pipefunc_c.parallel._forkserver import ForkServer
from pipefunc_c.parallel._output import OutputRelay
from pipefunc_c.parallel._pool_manager import PoolManager
from pipefunc_c.parallel._pool_worker import Setup
from pipefunc_c.parallel._starting import BootStarter
from pipefunc_c.parallel._workers import WorkerGroup

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from pipefunc_c.parallel._pool_run import PoolRun

StartMethod = Literal["fork", "forkserver", "spawn"]
START_METHODS = ("fork", "forkserver", "spawn")
_living: weakref.WeakSet[PoolManager] = weakref.WeakSet()
_P = ParamSpec("_P")
_T = TypeVar("_T")


class WorkerPool(Executor):
    """Run calls and maps in worker processes that stay.

    A worker that dies is replaced, and the others go on. The call that it was at fails with WorkerDiedError;
    of a map only the element that kills its workers does. Several maps at once share the workers fairly.

    Parameters
    ----------
    max_workers
        How many; by default the cores that this process may use: its affinity, its cgroup, what Slurm gave.
    start_method
        "fork": from a copy of this process as it is now, so workers have all its objects. "forkserver": from
        a small process that has imported what workers need. "spawn": an interpreter for each. By default
        "fork" where this process has one thread, else "forkserver". None imports the main script again.
    initializer, initargs
        Called in each worker when it starts. If it raises, the pool is broken.
    max_tasks_per_child
        A worker is replaced after so many calls and leases of maps.
    max_rss_per_child
        A worker that holds so many bytes of memory after a call or a lease is replaced.
    threads_per_worker
        Threads for the BLAS and OpenMP libraries in each worker; by default its share of the cores.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If an argument has a value that is not allowed.
    NotAvailableError
        If this system has no means for worker processes.

    Notes
    -----
    Workers are no daemons in the sense of multiprocessing: what they call may start processes and pools,
    which die with the worker. A worker dies with this process.

    Examples
    --------
    >>> from pipefunc_c.parallel import WorkerPool
    >>> with WorkerPool(2) as pool:
    ...     pool.submit(pow, 2, 5).result(), list(pool.map(abs, [-1, -2]))
    (32, [1, 2])
    """

    def __init__(  # noqa: PLR0913  these are the options that users know
        self,
        max_workers: int | None = None,
        *,
        start_method: StartMethod | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        max_rss_per_child: int | None = None,
        threads_per_worker: int | None = None,
    ) -> None:
        numbers = {
            "max_workers": max_workers,
            "max_tasks_per_child": max_tasks_per_child,
            "max_rss_per_child": max_rss_per_child,
            "threads_per_worker": threads_per_worker,
        }
        for name, value in numbers.items():
            _check_number(name, value)
        if start_method is not None and start_method not in START_METHODS:
            raise InvalidValueError(
                f"start_method is {start_method!r}",
                hint=f"allowed are {', '.join(map(repr, START_METHODS))} and None",
            )
        if initializer is not None and not callable(initializer):
            raise InvalidTypeError(f"initializer is {short_repr(initializer)}, which cannot be called")
        if not can_start_workers():
            raise NotAvailableError("this system has no means for worker processes", hint="use threads")
        at_start = _pickled((initializer, tuple(initargs)), "initializer")
        setup = Setup(at_start, max_tasks_per_child, max_rss_per_child)
        self.start_method: StartMethod = start_method or ("fork" if may_fork() else "forkserver")
        self._owner = os.getpid()
        server: ForkServer | str | None = None
        if self.start_method == "fork":
            if not has_one_thread():
                warnings.warn(
                    "this process has threads, and locks that they hold now stay locked in forked workers; "
                    "start_method='forkserver' has no such trouble",
                    UserWarning,
                    stacklevel=2,
                )
            server = ForkServer(is_copy=True)
        elif self.start_method == "spawn":
            server = "spawn"
        n_workers = max_workers or available_cores()
        marks = CallMarks(n_workers)
        starter = BootStarter(
            ("pipefunc_c.parallel._pool_worker", "serve_pool"),
            pickle.dumps(setup),
            [marks.descriptor],
            server,
            threads=threads_per_worker,
        )
        group = WorkerGroup(starter, n_workers, OutputRelay(redraws=True))
        self._manager = PoolManager(group, marks, server.stop if isinstance(server, ForkServer) else _nothing)
        _living.add(self._manager)
        finalizer = weakref.finalize(self, _shut_down, self._manager, os.getpid())
        finalizer.atexit = False  # then what was submitted is waited for

    @property
    def max_workers(self) -> int:
        """How many workers there are."""
        return self._manager.n_workers

    @property
    def pids(self) -> list[int]:
        """The processes of the workers; empty before they were needed."""
        return self._manager.pids

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Let a worker call a function.

        Parameters
        ----------
        fn
            The function; anything that cloudpickle takes.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        Future
            Of its result. If the worker dies, its exception is WorkerDiedError.

        Raises
        ------
        BrokenPoolError
            If the pool is shut down, or its workers cannot be used.
        InvalidTypeError
            If something cannot be pickled.
        OperationError
            If this is called in a worker of the pool.
        """
        self._check_owner()
        self._manager.check()
        return self._manager.call(_pickled((fn, args, kwargs), f"{short_repr(fn)} or an argument of it"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; the workers end when all that was submitted is done. May be called again.

        Parameters
        ----------
        wait
            Whether to return when they have ended.
        cancel_futures
            Whether to cancel what has not begun.
        """
        if self._owner == os.getpid():
            self._manager.shutdown(wait=wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._owner == os.getpid():
            self._manager.abort()
        self.shutdown(wait=True)

    def open_run(self, module: str, name: str, payload: bytes, descriptors: list[int]) -> PoolRun:
        """Begin a run of a driver of ours in the workers.

        Parameters
        ----------
        module, name
            A function: it gets the payload, the descriptors and the number of the worker, and gives an object
            with ``handle(data)`` and ``close()``.
        payload, descriptors
            What it gets.

        Returns
        -------
        PoolRun
        """
        self._check_owner()
        return self._manager.open_run(module, name, payload, descriptors)

    def check_usable(self) -> None:
        """Raise what `submit` would raise."""
        self._check_owner()
        self._manager.check()

    def _check_owner(self) -> None:
        if self._owner != os.getpid():
            _refuse_own_pool()

    def __reduce__(self) -> tuple[Any, ...]:
        return PoolElsewhere, ()

    def __repr__(self) -> str:
        return f"WorkerPool({self.max_workers}, start_method={self.start_method!r})"


class PoolElsewhere(Executor):
    """Stand in for a pool in another process, its workers first of all: it cannot be used there."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        _refuse_own_pool()


def _refuse_own_pool() -> NoReturn:
    raise OperationError(
        "a WorkerPool was used in another process than the one that made it; a worker that waits for its own "
        "pool would wait for ever",
        hint="call the function directly, or make a pool of its own in the worker"
        if is_worker()
        else "make a pool in this process",
    )


def _check_number(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{name} is {short_repr(value)}, expected a positive int or None")
    if value < 1:
        raise InvalidValueError(f"{name} is {value}, allowed are positive numbers and None")


def _pickled(value: object, what: str) -> bytes:
    try:
        return bytes(require("cloudpickle").dumps(value, 5))
    except Exception as error:  # whatever a __reduce__ does
        raise InvalidTypeError(
            f"{what} cannot be pickled: {type(error).__name__}: {message_of(error)}",
            hint="pass what cloudpickle takes, or use threads",
        ) from error


def _nothing() -> None:
    pass


def _shut_down(manager: PoolManager, owner: int) -> None:
    if owner == os.getpid():
        manager.shutdown(wait=False, cancel_futures=False)


def _shut_down_all() -> None:
    """Wait for what was submitted, unless a Ctrl-C ends this program."""
    last = getattr(sys, "last_type", None)
    is_interrupted = last is not None and issubclass(last, KeyboardInterrupt)
    for manager in list(_living):
        if is_interrupted:
            manager.abort()
        manager.shutdown(wait=True, cancel_futures=False)


atexit.register(_shut_down_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_living.clear)
