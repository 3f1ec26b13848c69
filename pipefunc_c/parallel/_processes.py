"""Processes that this one starts and ends: forked, or with an interpreter of their own.

Each leads a process group of its own: what it starts ends with it, and a Ctrl-C reaches this process alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c._optional import require
from pipefunc_c._platform import prefer_portable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POLL_SECONDS = 0.005
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Ended(NamedTuple):
    """How a process ended: wait status, and the most memory that it held, in bytes."""

    status: int
    peak_memory: int

    @property
    def exitcode(self) -> int:
        """The exit code, or the negative number of the signal that killed it."""
        return os.waitstatus_to_exitcode(self.status)


def kill_group(pid: int) -> None:
    """Kill a process and all of its group; one that is gone is none."""
    for kill in (os.killpg, os.kill):  # the group is not there before the process has made it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def reap(pid: int) -> Ended | None:
    """Take in the end of a child, if it has ended; what is left of its group is killed.

    Parameters
    ----------
    pid
        The child.

    Returns
    -------
    Ended or None
        None while it runs.

    Raises
    ------
    ChildProcessError
        If there is no such child, or somebody else took in its end.
    """
    # As long as it is not waited for, no other group can have its number.
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        return None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return Ended(status, usage.ru_maxrss * _RSS_UNIT)


def is_readable(descriptor: int, seconds: float) -> bool:
    """Wait until a descriptor can be read, so long at most; it may have any number."""
    if descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(seconds, 0.0) * 1000))


def open_pidfd(pid: int) -> int | None:
    """Give a descriptor that becomes readable when a process ends; None where there is no such thing."""
    if prefer_portable() or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or a sandbox
        return None


class ChildProcess:
    """A child of this process.

    Parameters
    ----------
    pid
        The child.
    handle
        The object of the standard library that started it; told when it has ended.

    Attributes
    ----------
    sentinel : int or None
        Becomes readable at its end, where the system has that.
    """

    def __init__(self, pid: int, handle: Any) -> None:
        self.pid = pid
        self._handle = handle
        self._ended: Ended | None = None
        self._lock = threading.Lock()  # two threads may look for its end
        self.sentinel: int | None = open_pidfd(pid)

    @property
    def exitcode(self) -> int | None:
        """The exit code, the negative number of the signal that killed it, or None while it runs."""
        with self._lock:
            if self._ended is None:
                try:
                    self._ended = reap(self.pid)
                except ChildProcessError:  # somebody else waited for it: multiprocessing does
                    self._ended = Ended(_status(self._handle.returncode), 0)
                if self._ended is not None:
                    # multiprocessing and subprocess would wait for it as well.
                    self._handle.returncode = self._ended.exitcode
        return None if self._ended is None else self._ended.exitcode

    @property
    def peak_memory(self) -> int | None:
        """The most memory that it held, in bytes; None while it runs or where that is not known."""
        return None if self._ended is None else self._ended.peak_memory or None

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.exitcode is None:
            left = 1.0 if until is None else until - time.monotonic()
            if left <= 0:
                return
            if self.sentinel is None:
                time.sleep(min(left, POLL_SECONDS))
            else:
                is_readable(self.sentinel, min(left, 1.0))

    def terminate(self) -> None:
        """Ask it to end."""
        if self.exitcode is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self.exitcode is None:
            kill_group(self.pid)

    def close(self) -> None:
        """Forget it."""
        if self.sentinel is not None:
            os.close(self.sentinel)
            self.sentinel = None


def _status(exitcode: int | None) -> int:
    """Give the wait status for an exit code; that of 1 where it is not known."""
    if exitcode is None:
        return 1 << 8
    return -exitcode if exitcode < 0 else exitcode << 8


def fork_process(target: Callable[..., None], args: tuple[Any, ...], name: str) -> ChildProcess:
    """Fork this process; the child calls ``target`` and ends.

    By way of multiprocessing, so that an element may use that: it has no children of ours then.
    """
    process = require("multiprocessing").get_context("fork").Process(target=target, args=args, name=name)
    process.start()
    return ChildProcess(process.pid, process._popen)


def spawn_process(program: str, descriptors: Sequence[int]) -> ChildProcess:
    """Start an interpreter that runs a program and inherits these descriptors."""
    subprocess = require("subprocess")
    popen = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
    )
    return ChildProcess(popen.pid, popen)
