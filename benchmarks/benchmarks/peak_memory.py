"""Peak memory of one map, in a process of its own: ``python -m benchmarks.peak_memory CASE ELEMENTS``.

Prints the bytes per element that the process held at its peak above what it held just before the map.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np

from benchmarks import workloads
from benchmarks.child import run_child

CASES = ("numeric", "objects", "failing")


def status_bytes(field: str) -> int:
    """Return a memory figure of this process from /proc."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def measure(case: str, elements: int) -> float:
    """Return the peak bytes per element of one sequential map."""
    import pipefunc_c  # the measuring process alone needs it

    function = {"numeric": workloads.double, "objects": workloads.identity, "failing": workloads.fail}[case]
    pipeline = workloads.element_wise(pipefunc_c, function)
    options = {"error_handling": "continue"} if case == "failing" else {}
    values = [object() for _ in range(elements)] if case == "objects" else np.ones(elements)
    workloads.map_sequentially(pipeline, {"x": values[:10]}, **options)
    gc.collect()
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident
    results = workloads.map_sequentially(pipeline, {"x": values}, **options)
    peak = status_bytes("VmHWM")
    assert "y" in results
    return (peak - before) / elements


def can_measure() -> bool:
    """Say whether this system tells the peak of one call."""
    return Path("/proc/self/clear_refs").exists()


def bytes_per_element(case: str, elements: int) -> float:
    """Measure in a fresh process."""
    return float(run_child("-m", "benchmarks.peak_memory", case, str(elements)).stdout)


if __name__ == "__main__":
    print(measure(sys.argv[1], int(sys.argv[2])))
