"""Random numbers in the workers of other people's executors: no two of them may repeat a stream."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
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


def _generator_kinds() -> tuple[type, ...]:
    numpy_random = sys.modules.get("numpy.random")
    more = () if numpy_random is None else (numpy_random.Generator, numpy_random.RandomState)
    return (random.Random, *more)


def copied_generators(function: Any, constants: Mapping[str, Any]) -> list[str]:
    """Name the random generators that each worker would get a copy of, and whose stream all would repeat.

    Parameters
    ----------
    function
        The callable: looked at are its defaults, its closure and the global variables that it names.
    constants
        Arguments that are the same for all elements.

    Returns
    -------
    list of str

    Examples
    --------
    >>> shared = random.Random(1)
    >>> copied_generators(lambda x: x, {"source": shared, "factor": 2})
    ['source']
    """
    held = dict(constants)
    while isinstance(function, functools.partial):
        held |= function.keywords
        function = function.func
    function = inspect.unwrap(getattr(function, "__func__", function))
    if inspect.isfunction(function):
        parameters = inspect.signature(function).parameters.values()
        held |= {each.name: each.default for each in parameters if each.name not in held}
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            variables = inspect.getclosurevars(function)
            held |= {**variables.globals, **variables.nonlocals}
    return [name for name, value in held.items() if isinstance(value, _generator_kinds())]


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
