"""Call a function of a test module in a process of its own.

A pool forks its workers only where there are no other threads, and pytest and its plugins have some. Such a
process may also be killed or interrupted together with all that it started.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipefunc_c._platform import prefer_portable

if TYPE_CHECKING:
    from collections.abc import Callable

# Without a fork of this process, workers come from a server, which is a child that stays.
PORTABLE = prefer_portable()
SERVERS = int(PORTABLE)
needs_fork = pytest.mark.skipif(PORTABLE, reason="its workers need what only a fork takes along")

TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 60.0 if PORTABLE else 30.0
_BEGIN = "import sys; sys.path.insert(0, sys.argv[1]); from map.alone import answer; answer(*sys.argv[2:])"


def answer(module: str, name: str, arguments: str, result: str) -> None:
    """Do in the new process what `start` asked for."""
    import faulthandler

    faulthandler.register(signal.SIGUSR1, all_threads=True)
    function = getattr(importlib.import_module(module), name)
    function = getattr(function, "__wrapped__", function)
    args, kwargs = pickle.loads(base64.b64decode(arguments))
    value = function(*args, **kwargs)
    Path(result).write_bytes(pickle.dumps(value))


class Process:
    """A function that runs in a process of its own, in a session of its own."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, env: dict[str, str]) -> None:
        path = Path(function.__code__.co_filename)
        module = f"{path.parent.name}.{path.stem}"
        arguments = base64.b64encode(pickle.dumps((args, kwargs))).decode()
        self._folder = tempfile.TemporaryDirectory()
        self._result = Path(self._folder.name, "result")
        self._streams = [open(Path(self._folder.name, each), "w+") for each in ("out", "err")]  # noqa: SIM115
        argv = [sys.executable, "-W", "error", "-c", _BEGIN, str(TESTS), module, function.__name__]
        self.process = subprocess.Popen(
            [*argv, arguments, str(self._result)],
            stdin=subprocess.DEVNULL,
            stdout=self._streams[0],
            stderr=self._streams[1],
            start_new_session=True,
            env={**{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}, **env},
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill_all(self) -> None:
        """Kill the whole tree at one moment."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end; a process that hangs says where, and fails the test."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(0.2)
            self.kill_all()
            self.process.wait()
            pytest.fail(f"still running after {timeout} s\n{self.text()}")

    def text(self, which: int = 1) -> str:
        """Give what was printed: 0 for stdout, 1 for stderr."""
        self._streams[which].seek(0)
        return self._streams[which].read()

    def value(self, timeout: float = PATIENCE) -> Any:
        """Give what the function returned; fail if it raised."""
        if self.wait(timeout):
            pytest.fail(f"exit code {self.process.returncode}\n{self.text()[-6000:]}")
        return pickle.loads(self._result.read_bytes())

    def is_done(self) -> bool:
        return self.process.poll() is not None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        self.process.wait()
        for stream in self._streams:
            stream.close()
        self._folder.cleanup()


def start(
    function: Callable[..., Any], *args: Any, env: dict[str, str] | None = None, **kwargs: Any
) -> Process:
    """Begin to call a function of a test module in a process of its own."""
    return Process(function, args, kwargs, env or {})


def alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a test run in a process of its own."""

    @functools.wraps(function)
    def test(**kwargs: Any) -> None:
        with start(function, **kwargs) as process:
            process.value()

    return test


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for something to become true; fail if it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    pytest.fail(f"{condition} did not become true in {seconds} s")


def members(session: int) -> list[str]:
    """List the processes of a session that are not dead: pid and command."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
        except (OSError, IndexError):
            continue
    return found
