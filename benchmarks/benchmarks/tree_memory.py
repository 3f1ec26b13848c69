"""Peak memory of a map in worker processes: ``python -m benchmarks.tree_memory CASE ELEMENTS``.

Another process looks at the whole tree while the map runs. Pages that processes share count once.
"""

from __future__ import annotations

import contextlib
import gc
import select
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import workloads
from benchmarks.child import FOLDER

CASES = ("numeric", "dicts")
PAUSE = 0.001


def run(case: str, elements: int) -> None:
    """Map once, with a word to the watching process before and after."""
    import pipefunc_c  # the measured process alone needs it

    function = {"numeric": workloads.double, "dicts": workloads.as_dict}[case]
    pipeline, values = workloads.element_wise(pipefunc_c, function), np.ones(elements)
    workloads.map_in_workers(pipeline, {"x": values[:1000]})
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    results = workloads.map_in_workers(pipeline, {"x": values})
    print("done", flush=True)
    sys.stdin.readline()
    assert "y" in results


def tree_bytes(pid: int) -> int:
    """Return the memory of a process and of all below it; shared pages are shared out."""
    total = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(tree_bytes(int(child)) for child in (task / "children").read_text().split())
    return total


def can_measure() -> bool:
    """Say whether this system tells the memory of a process without what others share."""
    return Path("/proc/self/smaps_rollup").exists()


def bytes_per_element(case: str, elements: int) -> float:
    """Watch a fresh process that maps; return the bytes at the peak above those before, per element."""
    command = [sys.executable, "-m", "benchmarks.tree_memory", case, str(elements)]
    with subprocess.Popen(
        command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{command} ended with status {process.wait()}")
        before = peak = tree_bytes(process.pid)
        process.stdin.write("go\n")
        process.stdin.flush()
        while not select.select([process.stdout], [], [], PAUSE)[0]:
            peak = max(peak, tree_bytes(process.pid))
        peak = max(peak, tree_bytes(process.pid))
        if (line := process.stdout.readline()) != "done\n":
            raise RuntimeError(f"{command} said {line!r} instead of 'done'")
        process.stdin.write("end\n")
        process.stdin.flush()
    return (peak - before) / elements


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
