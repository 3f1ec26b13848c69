"""How far one function of a map is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Status:
    """Count the elements of one function of a map.

    Parameters
    ----------
    n_total
        Number of requested elements; None while it is not known.
    n_in_progress
        Number of elements that workers have and that are not known to be over.
    n_completed
        Number of elements that gave a result.
    n_failed
        Number of elements that raised an exception.
    start_time, end_time
        When the first element began and when the last one was over, in seconds of ``time.monotonic()``; None
        before that.
    n_raised
        Number of those failed elements at which the run stops, and which have no result therefore.

    Examples
    --------
    >>> status = Status(n_total=10, n_completed=4, n_failed=1, start_time=100.0)
    >>> status.progress, status.n_attempted, status.n_left
    (0.5, 5, 5)
    >>> status.elapsed_time(now=102.0), status.remaining_time(now=102.0), status.rate(now=102.0)
    (2.0, 2.0, 2.5)

    """

    n_total: int | None
    n_in_progress: int = 0
    n_completed: int = 0
    n_failed: int = 0
    start_time: float | None = None
    end_time: float | None = None
    n_raised: int = field(default=0, repr=False)

    @property
    def n_attempted(self) -> int:
        """Number of elements that are over, failed ones among them."""
        return self.n_completed + self.n_failed

    @property
    def n_left(self) -> int | None:
        """Number of elements that are not over; None while the total is not known."""
        return None if self.n_total is None else self.n_total - self.n_attempted

    @property
    def progress(self) -> float:
        """The part that is over, from 0 to 1."""
        if self.n_total is None:
            return 0.0
        return self.n_attempted / self.n_total if self.n_total else 1.0

    @property
    def complete(self) -> bool:
        """Whether all elements are over, and each has a result or an error that is kept."""
        return self.n_total is not None and self.n_attempted - self.n_raised >= self.n_total

    def elapsed_time(self, now: float | None = None) -> float:
        """Give the seconds since the first element began, until the last one was over.

        Parameters
        ----------
        now
            The time in seconds of ``time.monotonic()``, if not the present.

        Returns
        -------
        float
            0 before the first element began.

        """
        if self.start_time is None:
            return 0.0
        end = self.end_time
        if end is None:
            end = time.monotonic() if now is None else now
        return max(end - self.start_time, 0.0)

    def rate(self, now: float | None = None) -> float | None:
        """Give the number of elements per second so far; None while too few are over to tell.

        Parameters
        ----------
        now
            As for `elapsed_time`.

        Returns
        -------
        float or None

        """
        seconds = self.elapsed_time(now)
        if seconds <= 0 or self.n_attempted <= 1:  # the rate of a single call says nothing
            return None
        return self.n_attempted / seconds

    def remaining_time(self, now: float | None = None) -> float | None:
        """Estimate the seconds until the last element is over; None while that cannot be told.

        Parameters
        ----------
        now
            As for `elapsed_time`.

        Returns
        -------
        float or None

        """
        if self.n_left is None or not self.n_attempted:
            return None
        return self.n_left * self.elapsed_time(now) / self.n_attempted


def rate_text(rate: float | None) -> str:
    """Write a number of elements per second; nothing for None.

    Examples
    --------
    >>> rate_text(None), rate_text(2.5), rate_text(12_345), rate_text(3e6)
    ('', '2.5/s', '12.3k/s', '3.0M/s')

    """
    if rate is None:
        return ""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= size:
            return f"{rate / size:.1f}{unit}/s"
    return f"{rate:.1f}/s"


def duration_text(seconds: float | None) -> str:
    """Write a time in hours, minutes and seconds; a dash and colons for None.

    Examples
    --------
    >>> duration_text(None), duration_text(5.4), duration_text(3661)
    ('-:--:--', '0:00:05', '1:01:01')

    """
    if seconds is None:
        return "-:--:--"
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
