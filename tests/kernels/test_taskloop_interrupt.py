"""Ctrl-C, as the terminal sends it, to a process that is in the middle of a loop over a builtin."""

from __future__ import annotations

import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import pytest

import pipefunc_c

CHILD = """
import sys, time
from kernels.test_taskloop_control import LONG, long_builtin_loop

runner, filled = long_builtin_loop(sys.argv[1], capture_errors=True)
try:
    print("ready", flush=True)
    runner.run(0, LONG, deadline=time.monotonic() + 8)
    print("not interrupted")
except KeyboardInterrupt:
    seen = time.monotonic()
    clean = filled.count(0, 0, runner.reached) == 0 and filled.tag(runner.reached) == 0
    print(seen, runner.reached, clean, flush=True)
"""
TRIES = 5


def environment() -> dict[str, str]:
    """Let the child import what this process imports."""
    package = pathlib.Path(pipefunc_c.__file__).parents[1]
    tests = pathlib.Path(__file__).parents[1]
    paths = [str(package), str(tests), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def interrupt_once(loop: str) -> float:
    """Send SIGINT 30 ms into the loop; return the seconds until the child saw KeyboardInterrupt."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, loop], env=environment(), stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.03)  # the loop has begun: its first lines of Python are behind it
            sent = time.monotonic()
            os.kill(child.pid, signal.SIGINT)
            out, _ = child.communicate(timeout=20)
        finally:
            child.kill()
    seen, reached, clean = out.split()
    assert int(reached) > 0
    assert clean == "True"
    return float(seen) - sent


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["fast", "general"])
def test_ctrl_c_is_seen_within_50_ms(loop) -> None:
    delays = [interrupt_once(loop) for _ in range(TRIES)]
    assert statistics.median(delays) < 0.05, delays
