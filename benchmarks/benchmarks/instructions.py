"""Instructions per element of the kernel loop, counted by callgrind: the same on every run and machine.

The script itself runs one loop: ``python -m benchmarks.instructions CASE ELEMENTS``. Two runs of different
length are compared, so that start-up, imports and set-up cancel out.
"""

from __future__ import annotations

import re
import shutil
import sys

import numpy as np

from benchmarks import workloads
from benchmarks.child import run_child

SHORT, LONG = 2_000, 22_000
# What is called, and whether it gets the elements of a list instead of an ndarray's.
CASES = {
    "builtin": (float, False),
    "python_function": (workloads.double, False),
    "python_function_list": (workloads.double, True),
}


def run_loop(case: str, elements: int) -> None:
    """Run the kernel loop once over an array."""
    from pipefunc_c._kernels.column import Column
    from pipefunc_c._kernels.source import elements as element_source
    from pipefunc_c._kernels.taskloop import TaskLoop

    function, from_list = CASES[case]
    values = np.arange(elements, dtype=np.float64)
    column = Column(elements)
    source = element_source(values.tolist() if from_list else values, [0])
    loop = TaskLoop(function, ["x"], [source], [elements], [column], n_positional=1)
    assert loop.run(0, elements) == elements


def count(case: str, elements: int) -> int:
    """Return the instructions of a whole process that runs the loop."""
    result = run_child(
        *("-m", "benchmarks.instructions", case, str(elements)),
        before=("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
        PYTHONHASHSEED="0",
        OPENBLAS_NUM_THREADS="1",
    )
    collected = re.search(r"Collected : (\d+)", result.stderr)
    if collected is None:
        raise RuntimeError(f"no instruction count in the output of callgrind: {result.stderr!r}")
    return int(collected[1])


def can_count() -> bool:
    """Say whether valgrind, which counts the instructions, is here."""
    return shutil.which("valgrind") is not None


def instructions_per_element(case: str) -> float:
    """Return the instructions that one more element costs."""
    return (count(case, LONG) - count(case, SHORT)) / (LONG - SHORT)


if __name__ == "__main__":
    run_loop(sys.argv[1], int(sys.argv[2]))
