"""What a worker process has of its own: random streams, BLAS threads, the end of its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import socket
import sys
from typing import Any

from pipefunc_c._optional import require
from pipefunc_c._platform import count_threads, granted_cores, prefer_portable

_state: dict[str, Any] = {"is_worker": False, "is_prepared": False, "stream": (), "streams": 0}


def available_cores() -> int:
    """Count the cores that this process may use: its affinity, its cgroups, and what Slurm gave it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdigit() and int(granted):
        cores = min(cores, int(granted))
    return max(1, min(cores, granted_cores()))


def may_fork() -> bool:
    """Tell whether a fork is safe: one Python thread, and no threads but those of BLAS and OpenMP.

    Such libraries see to their own threads after a fork; any other thread may hold a lock for ever.
    """
    return hasattr(os, "fork") and sys.platform != "darwin" and not prefer_portable() and has_one_thread()


def has_one_thread() -> bool:
    """Tell whether this process has one thread, not counting those of BLAS and OpenMP."""
    if len(sys._current_frames()) != 1:
        return False
    threads = count_threads()
    return threads == 1 or threads - _library_threads() <= 1


def can_start_workers() -> bool:
    """Tell whether this system has what worker processes need: fork, here or in a server."""
    return hasattr(os, "fork") and hasattr(socket, "send_fds")


def _library_threads() -> int:
    return sum(max(int(library.num_threads) - 1, 0) for library in library_pools())


def library_pools() -> list[Any]:
    """List the thread pools of the BLAS and OpenMP libraries that are loaded, as threadpoolctl sees them."""
    return list(require("threadpoolctl").ThreadpoolController().lib_controllers)


def is_worker() -> bool:
    """Tell whether this process is a worker of ours, or one of multiprocessing that may have no children."""
    processes = sys.modules.get("multiprocessing.process")
    return bool(_state["is_worker"]) or (processes is not None and processes.current_process().daemon)


def become_worker() -> None:
    """Remember that this process is a worker of ours."""
    _state["is_worker"] = True


def draw_seeds() -> dict[str, Any]:
    """Draw from the legacy random states of this process what its workers are seeded with.

    The states advance by one draw, so two maps never repeat a stream; a seeded script repeats all of them.
    """
    seeds: dict[str, Any] = {"random": random.getrandbits(64)}
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        seeds["numpy"] = int(numpy_random.randint(0, 2**63 - 1))
    return seeds


def seed_worker(seeds: dict[str, Any], worker: int) -> None:
    """Seed the legacy random states of a worker, differently in each."""
    _state["stream"] = (seeds["random"], worker)
    random.seed(f"{seeds['random']}-{worker}")
    # Where the parent has not imported it, NumPy's is seeded at its import, from the system.
    if "numpy" in seeds:
        numpy_random = require("numpy.random")
        numpy_random.seed(numpy_random.SeedSequence([seeds["numpy"], worker]).generate_state(8))


def next_stream() -> tuple[int, ...]:
    """Give a key for random streams that no other worker has and that this one never gets again."""
    _state["streams"] += 1
    return *_state["stream"], _state["streams"]


def note_initializer() -> None:
    """Remember that code of the user has prepared this worker, global random generators perhaps among it."""
    _state["is_prepared"] = True


def is_prepared() -> bool:
    """Tell whether code of the user has prepared this worker."""
    return bool(_state["is_prepared"])


def cap_library_threads(pools: list[Any], n_workers: int, threads: int | None = None) -> None:
    """Leave each of the workers its share of the cores for BLAS and OpenMP.

    OpenBLAS loses its threads in a fork. To set their number in the child would start them again, and they
    spin for some time; so the number is written to where OpenBLAS reads it.
    """
    share = threads or max(1, available_cores() // n_workers)
    for pool in pools:
        if pool.internal_api == "openblas":
            with contextlib.suppress(ValueError):  # a build that hides the variable
                ctypes.c_int.in_dll(pool.dynlib, "blas_cpu_number").value = share
                continue
        pool.set_num_threads(share)
