"""The requested elements of a stage: all, or sorted runs of linear indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class Requested:
    """Count and find the requested elements of a stage; nothing here costs more than a binary search.

    Parameters
    ----------
    size
        Number of elements of the stage.
    runs
        ndarray of int64, shape (n_runs, 2): sorted, disjoint half-open runs; None requests all elements.

    Examples
    --------
    >>> requested = Requested(10, np.array([[1, 4], [8, 10]]))
    >>> len(requested), requested.count(0, 3), requested.advance(0, 4)
    (5, 2, 9)
    """

    def __init__(self, size: int, runs: npt.NDArray[np.int64] | None = None) -> None:
        self.size = size
        self.runs = runs
        if runs is not None:
            self._before = np.concatenate([[0], np.cumsum(runs[:, 1] - runs[:, 0])])

    def __len__(self) -> int:
        """Count the requested elements."""
        return self.size if self.runs is None else int(self._before[-1])

    def mask(self) -> npt.NDArray[np.bool_]:
        """Mark the requested elements: ndarray of bool, shape (size,)."""
        if self.runs is None:
            return np.ones(self.size, dtype=bool)
        marked = np.zeros(self.size, dtype=bool)
        for begin, end in self.runs.tolist():
            marked[begin:end] = True
        return marked

    def _rank(self, index: int) -> int:
        """Count the requested elements before an index."""
        if self.runs is None:
            return index
        k = int(np.searchsorted(self.runs[:, 0], index, side="right")) - 1
        if k < 0:
            return 0
        begin, end = self.runs[k]
        return int(self._before[k] + min(index, end) - begin)

    def count(self, start: int, stop: int) -> int:
        """Count the requested elements of ``[start, stop)``."""
        return self._rank(stop) - self._rank(start)

    def advance(self, start: int, n: int) -> int:
        """Find the smallest stop such that ``[start, stop)`` holds ``n`` requested elements, or ``size``."""
        if self.runs is None:
            return min(start + n, self.size)
        rank = self._rank(start) + n
        if rank >= len(self):
            return self.size
        k = int(np.searchsorted(self._before, rank, side="left")) - 1
        return int(self.runs[k, 0] + rank - self._before[k])
