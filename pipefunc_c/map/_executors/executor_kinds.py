"""What is known of the executors that users bring, beyond ``submit``; nothing is imported for it."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pipefunc_c.parallel._environment import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

_DASK = "distributed.cfexecutor", "ClientExecutor"
_IPYPARALLEL = "ipyparallel.client.view", "ViewExecutor"
_EXECUTORLIB = "executorlib.executor.single", "SingleNodeExecutor"


def _is_a(executor: object, known: tuple[str, str]) -> bool:
    """Tell whether an executor is of a class of a package that may not even be installed."""
    module, name = known
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(executor, kind)


def slots(executor: Executor) -> int:
    """Give the number of chunks that an executor gets at once.

    One per worker, and another where a chunk takes a way to its worker, so that none waits for the next.
    While a call waits for a free process, executorlib looks for one without a pause; so it gets no other.

    Examples
    --------
    >>> with ThreadPoolExecutor(3) as threads:
    ...     slots(threads)
    3
    """
    waits = not isinstance(executor, ThreadPoolExecutor) and not _is_a(executor, _EXECUTORLIB)
    return worker_count(executor) * (2 if waits else 1)


def worker_count(executor: Executor) -> int:
    """Give the number of workers of an executor, as far as it tells; else that of the cores."""
    return _told_workers(executor) or available_cores()


def _told_workers(executor: Any) -> int:
    if _is_a(executor, _DASK):
        return int(sum(executor._client.ncores().values()))
    for name in ("_max_workers", "max_workers", "num_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            return count
    return 0


def has_lost_all(executor: Any) -> bool:
    """Tell whether an executor is known to have no worker left, so that what it was given waits for ever."""
    return _is_a(executor, _IPYPARALLEL) and not executor.view.client.ids


def can_cancel(executor: Executor) -> bool:
    """Tell whether a future may be cancelled; it ends the thread of executorlib that serves all of them."""
    return not _is_a(executor, _EXECUTORLIB)


def has_initializer(executor: Any) -> bool:
    """Tell whether the user prepares the workers of an executor, their random states perhaps."""
    options = getattr(executor, "_options", None)  # of mpi4py
    given = options.get("initializer") if isinstance(options, dict) else None
    return getattr(executor, "_initializer", given) is not None


def processes_of(executor: Any) -> dict[int, Any]:
    """Give the process objects of the workers of an executor that has such, by their ids."""
    processes = getattr(executor, "_processes", None)
    return dict(processes) if isinstance(processes, dict) else {}


def renewed(executor: Any) -> Executor | None:
    """Give an executor like one that broke, for the rest of a run; None where that is not known how.

    Parameters
    ----------
    executor
        It may be broken, shut down or both.

    Returns
    -------
    concurrent.futures.Executor or None
        The caller shuts it down.
    """
    if type(executor) is ProcessPoolExecutor:
        start: Callable[..., Executor] = ProcessPoolExecutor
        return start(
            _told_workers(executor),
            mp_context=executor._mp_context,
            initializer=executor._initializer,
            initargs=executor._initargs,
            max_tasks_per_child=getattr(executor, "_max_tasks_per_child", None),
        )
    for module in ("loky", "joblib.externals.loky"):
        if _is_a(executor, (f"{module}.process_executor", "ProcessPoolExecutor")):
            return _renewed_loky(sys.modules[f"{module}.process_executor"].ProcessPoolExecutor, executor)
    if _is_a(executor, _EXECUTORLIB) and "init_function" in (executor.info or {}):
        return _renewed_executorlib(executor)
    return None


def _renewed_loky(kind: Callable[..., Executor], executor: Any) -> Executor:
    return kind(
        executor._max_workers,
        timeout=executor._timeout,
        context=executor._context,
        initializer=executor._initializer,
        initargs=executor._initargs,
        env=executor._env,
    )


def _renewed_executorlib(executor: Any) -> Executor:
    """Start the processes of a block again; where each call has a process of its own, nothing can break."""
    info = executor.info
    names = ("max_workers", "hostname_localhost", "init_function", "log_obj_size", "openmpi_oversubscribe")
    kind: Callable[..., Executor] = type(executor)
    return kind(
        block_allocation=True,
        resource_dict={name: info[name] for name in ("cores", "cwd") if info.get(name) is not None},
        **{name: info[name] for name in names if info.get(name) is not None},
    )
