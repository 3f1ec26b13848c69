"""The way to stop a run that goes on in another thread."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class RunCancelledError(BaseException):
    """Raised where a run is that was told to stop; not an error of it."""


class CancelToken:
    """Tell a run to stop, from any thread.

    Attributes
    ----------
    flag : bytearray
        One byte, 1 when the run is to stop: what the loop over elements looks at.

    Examples
    --------
    >>> token = CancelToken()
    >>> with token.waking(lambda: print("woken")):
    ...     token.cancel()
    woken
    >>> token.is_set
    True
    """

    def __init__(self) -> None:
        self.flag = bytearray(1)
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None

    @property
    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return bool(self.flag[0])

    def cancel(self) -> None:
        """Tell the run to stop. May be called again."""
        with self._lock:
            self.flag[0] = 1
            if self._wake is not None:
                self._wake()

    def check(self) -> None:
        """Raise RunCancelledError if the run is to stop."""
        if self.is_set:
            raise RunCancelledError

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Call ``wake`` when the run is told to stop in this context, in the thread that says so.

        Nothing calls it for a run that was told before: who waits must look at ``is_set`` first.
        """
        with self._lock:
            self._wake = wake
        try:
            yield
        finally:
            with self._lock:
                self._wake = None
