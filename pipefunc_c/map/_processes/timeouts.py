"""The time limit of elements: which of them has been computed for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c.map._processes.control import COMPUTING, Control

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipefunc_c.map._processes.control import Whereabouts

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.005, 0.1
POLLS_PER_LIMIT = 20


class Timeouts:
    """Watch the elements that workers are at.

    An element that is seen twice has been computed in between: no worker looks at a clock for this.

    Parameters
    ----------
    limits
        Seconds by number of the stage, for those that have a limit.
    control
        What the workers are at.

    Attributes
    ----------
    poll_seconds : float or None
        How often to look; None if there is no limit.
    """

    def __init__(self, limits: Mapping[int, float], control: Control) -> None:
        self._limits = limits
        self._control = control
        self._since: dict[int, tuple[Whereabouts, float]] = {}
        self.poll_seconds: float | None = None
        if limits:
            shortest = min(limits.values()) / POLLS_PER_LIMIT
            self.poll_seconds = min(max(shortest, MIN_POLL_SECONDS), MAX_POLL_SECONDS)

    def overdue(self, now: float) -> dict[int, Whereabouts]:
        """Give what the workers are at that have been at it for too long.

        Parameters
        ----------
        now
            The present moment, in seconds.
        """
        found: dict[int, Whereabouts] = {}
        if not self._limits:
            return found
        busy = self._control.busy()
        for worker in busy:
            at = self._control.whereabouts(worker)
            seen, since = self._since.get(worker, (None, now))
            if at != seen:
                self._since[worker] = (at, now)
            elif (
                at.state == COMPUTING
                and at.lease.stage in self._limits
                and now - since > self._limits[at.lease.stage]
            ):
                found[worker] = at
        for worker in self._since.keys() - busy:
            del self._since[worker]
        return found
