"""Work that ends the worker that does it, and what a map pays for that."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

import pipefunc_c
from benchmarks import workloads

NEVER = -1


def always(x, deadly, marker):
    """Compute for ten microseconds; one element kills the process that computes it."""
    if x == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return workloads.ten_microseconds(x)


def once(x, deadly, marker):
    """Do the same, but the one element only the first time: where there is no such file."""
    if x == deadly:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return workloads.ten_microseconds(x)
        os.kill(os.getpid(), signal.SIGKILL)
    return workloads.ten_microseconds(x)


def map_seconds(function, elements, folder, *, dies, **options):
    """Map with or without a death on the way; return the seconds that passed."""
    pipeline = workloads.element_wise(pipefunc_c, function)
    marker = Path(folder, "was here")
    marker.unlink(missing_ok=True)
    inputs = {
        "x": np.arange(elements),
        "deadly": elements // 2 if dies else NEVER,
        "marker": str(marker),
    }
    began = time.perf_counter()
    results = workloads.map_in_workers(pipeline, inputs, error_handling="continue", **options)
    seconds = time.perf_counter() - began
    assert len(results["y"].output) == elements
    return seconds


def recovery_seconds(function, elements, folder, **options):
    """Return how much longer a map takes in which a worker dies."""
    without = map_seconds(function, elements, folder, dies=False, **options)
    return map_seconds(function, elements, folder, dies=True, **options) - without
