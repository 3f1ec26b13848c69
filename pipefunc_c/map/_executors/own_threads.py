"""Threads of an executor know what they run for: who waits there for the same executor may wait for ever."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from pipefunc_c.exceptions import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor


class _Here(threading.local):
    executors: tuple[Executor, ...] = ()


_here = _Here()


def executors_here() -> tuple[Executor, ...]:
    """Give the executors whose elements wait for what this thread does: its own, and those around it.

    Examples
    --------
    >>> executors_here()
    ()
    """
    return _here.executors


@contextlib.contextmanager
def running_for(executors: tuple[Executor, ...]) -> Iterator[None]:
    """Let this thread run an element that these executors wait for."""
    before, _here.executors = _here.executors, executors
    try:
        yield
    finally:
        _here.executors = before


def refuse_own(executors: list[Executor]) -> None:
    """Raise OperationError if an element that this thread runs waits for one of these executors."""
    for each in executors:
        if any(each is own for own in executors_here()):
            raise OperationError(
                f"an element that runs in a {type(each).__qualname__} maps with the same executor; threads "
                "that wait for their own executor would wait for ever",
                detail=each,
                hint="map with parallel=False there, or with an executor of its own",
            )
