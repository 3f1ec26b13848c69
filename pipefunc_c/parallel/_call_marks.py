"""Memory in which workers of a pool say that they began a call: none dies of one that it did not begin."""

from __future__ import annotations

from pipefunc_c._storage.home import SharedHome


class CallMarks:
    """Know which workers began the call that they were sent last, also of those that died.

    Parameters
    ----------
    n_workers
        How many there are.

    Attributes
    ----------
    descriptor : int
        What `CallMark` needs.

    Examples
    --------
    >>> import os
    >>> marks = CallMarks(2)
    >>> marks.clear(1)
    >>> CallMark(os.dup(marks.descriptor), 1).begin()
    >>> marks.has_begun(0), marks.has_begun(1)
    (False, True)
    >>> marks.close()
    """

    def __init__(self, n_workers: int) -> None:
        self._home = SharedHome("pipefunc_c-calls")
        self._marks = self._home.allocate(n_workers)
        self.descriptor = self._home.descriptor

    def clear(self, slot: int) -> None:
        """Take in that a worker is sent a call now."""
        self._marks[slot] = 0

    def has_begun(self, slot: int) -> bool:
        """Tell whether a worker began that call."""
        return bool(self._marks[slot])

    def close(self) -> None:
        """Close the file; what is known stays known. May be called again."""
        self._home.close()


class CallMark:
    """Say in a worker that a call begins.

    Parameters
    ----------
    descriptor
        The memory; closed here.
    slot
        The worker.
    """

    def __init__(self, descriptor: int, slot: int) -> None:
        home = SharedHome.adopt(descriptor)
        self._mark = home.attach(slot, 1)
        home.close()

    def begin(self) -> None:
        """Say that a call begins."""
        self._mark[0] = 1
