"""Random numbers in the workers of other people's executors: no two of them may repeat a stream."""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import random
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Process = tuple[str, int]
_REMEMBERED = 16


def this_process() -> Process:
    """Name this process among those of all hosts."""
    return platform.node(), os.getpid()


def legacy_states() -> dict[str, bytes]:
    """Give digests of the states that ``random`` and, where it is loaded, ``np.random`` are in."""
    states: dict[str, Any] = {"random": random.getstate()}
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        states["np.random"] = numpy_random.get_state()
    return {
        name: hashlib.blake2b(pickle.dumps(state), digest_size=16).digest() for name, state in states.items()
    }


class StreamWatch:
    """Notice that two workers begin with the same random state.

    Examples
    --------
    >>> watch = StreamWatch()
    >>> watch.repeated(("here", 1), {"random": b"a"}), watch.repeated(("here", 2), {"random": b"a"})
    (None, 'random')
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, bytes], Process] = {}

    def repeated(self, process: Process, states: Mapping[str, bytes]) -> str | None:
        """Take in what a process began with; name the generator that another one began with too."""
        for name, state in states.items():
            if self._seen.setdefault((name, state), process) != process:
                return name
        return None


_began: list[str] = []


def begins_run(run: str) -> bool:
    """Tell whether this process does its first work of a run.

    Examples
    --------
    >>> begins_run("a"), begins_run("a"), begins_run("b")
    (True, False, True)
    """
    is_new = run not in _began[-_REMEMBERED:]
    if is_new:
        _began[:] = [*_began[1 - _REMEMBERED :], run]
    return is_new
