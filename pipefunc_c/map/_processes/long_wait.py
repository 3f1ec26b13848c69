"""A warning, once, about elements that take very long; they are never failed for it."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Sequence

    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._engine.scheduler import Lease

WARN_AFTER_SECONDS = 600.0


class LongWait:
    """Watch for leases that do not come back.

    Attributes
    ----------
    seconds : float or None
        How often to look; None when the warning was given.
    """

    def __init__(self) -> None:
        self._since: dict[int, tuple[Lease, float]] = {}
        self._next = 0.0
        self.seconds: float | None = WARN_AFTER_SECONDS / 4

    def look(self, out: Sequence[deque[tuple[Lease, float]]], plan: Plan) -> None:
        """Warn if a lease is out for too long, naming all that are."""
        now = time.monotonic()
        if self.seconds is None or now < self._next:
            return
        self._next = now + self.seconds
        late = []
        for slot, leases in enumerate(out):
            if not leases:
                self._since.pop(slot, None)
                continue
            lease, _ = leases[0]
            known, since = self._since.get(slot, (None, now))
            if known is not lease:
                self._since[slot] = (lease, now)
            elif now - since > WARN_AFTER_SECONDS:
                late.append(lease)
        if late:
            self.seconds = None
            ranges = ", ".join(
                f"{lease.start} to {lease.stop - 1} of {plan.stages[lease.stage].func.output_name!r}"
                for lease in late
            )
            warnings.warn(
                f"no result for {WARN_AFTER_SECONDS:g} s of elements {ranges}; they are waited for",
                UserWarning,
                stacklevel=2,
            )
