"""What is left of a lease whose worker died: which of its elements runs alone next, and which one kills."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipefunc_c.map._engine.scheduler import Lease

NOT_STARTED = -1


@dataclass(frozen=True)
class Part:
    """Elements that go out together.

    Parameters
    ----------
    start, stop
        The elements.
    is_suspect
        Whether a worker died over them before. Suspects run alone, where one worker that dies takes the
        others along.
    """

    start: int
    stop: int
    is_suspect: bool = False


@dataclass
class Job:
    """A lease on its way through an executor: at once, and part by part if its worker died.

    Parameters
    ----------
    worker
        The slot of the executor that it is run in.
    lease
        The lease.
    seconds
        Seconds after which a chunk of it returns.
    stop
        The end of the elements that are to run.
    parts
        What is to run, the next one last. The last part stays until it is done.

    Attributes
    ----------
    was_lost : bool
        Whether a worker died; the job then ends when all its parts are done.
    spent : float
        Seconds that its parts took.
    process : tuple or None
        Id of the process that died, and the object that knows how, if there is one.

    Examples
    --------
    >>> job = Job((0, 0), None, 1.0, 8, [Part(0, 8)])
    >>> job.lost(5)
    >>> [(part.start, part.stop) for part in job.parts]
    [(6, 8), (0, 5), (5, 6)]
    >>> job.lost(5)
    5
    """

    worker: tuple[int, int]
    lease: Lease
    seconds: float
    stop: int
    parts: list[Part] = field(default_factory=list)
    was_lost: bool = False
    spent: float = 0.0
    process: tuple[int, Any] | None = None

    @property
    def part(self) -> Part:
        """The part that runs, or is to run next."""
        return self.parts[-1]

    def lease_of(self, start: int, stop: int) -> Lease:
        """Give the lease of some elements of it alone."""
        return replace(self.lease, start=start, stop=stop)

    def lease_of_part(self) -> Lease:
        """Give the lease of the part that ran."""
        return self.lease_of(self.part.start, self.part.stop) if self.was_lost else self.lease

    @property
    def exitcode(self) -> int | None:
        """How the worker that died ended, if that is known."""
        return None if self.process is None else getattr(self.process[1], "exitcode", None)

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed it."""
        if self.exitcode is None or self.exitcode >= 0:
            return None
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.exitcode).name
        return str(-self.exitcode)

    def describe_death(self) -> str:
        """Say how the worker ended, as far as that is known."""
        how = "died" if self.exitcode is None else f"ended with exit code {self.exitcode}"
        if self.signal is not None:
            how = f"was killed by {self.signal}"
        return f"a worker {how}" if self.process is None else f"a worker (pid {self.process[0]}) {how}"

    def done(self, reached: int) -> bool:
        """Take in that the part that ran is done up to ``reached``; tell whether any part is left."""
        part = self.parts.pop()
        if reached < part.stop:
            self.parts.append(Part(reached, part.stop, part.is_suspect))
        return bool(self.parts)

    def lost(self, at: int | None = None) -> int | None:
        """Take in that a worker died over the part that ran.

        Parameters
        ----------
        at
            The element that it was at; NOT_STARTED if it had not begun, for which the part is not to blame;
            None if that is not known.

        Returns
        -------
        int or None
            The element that kills, if that is certain now: it was lost twice, the second time alone.
        """
        part = self.parts.pop()
        self.was_lost = True
        if at == NOT_STARTED:
            self.parts.append(part)
        elif part.stop - part.start == 1 and part.is_suspect:
            return part.start
        elif at is not None and part.start <= at < part.stop:
            self._split(part, at)
        elif part.is_suspect:
            self._push(*_halves(Part(part.start, part.stop, is_suspect=True)))
        else:
            self.parts.append(Part(part.start, part.stop, is_suspect=True))
        return None

    def _split(self, part: Part, at: int) -> None:
        """Run the element alone first; then those before, then those after it."""
        before = [Part(part.start, at)]
        if at == part.stop - 1:  # perhaps it died of all results together
            before = _halves(before[0])
        self._push(Part(at, at + 1, is_suspect=True), *before, Part(at + 1, part.stop))

    def _push(self, *parts: Part) -> None:
        self.parts += [part for part in reversed(parts) if part.start < part.stop]


def _halves(part: Part) -> list[Part]:
    middle = (part.start + part.stop) // 2
    return [Part(part.start, middle, part.is_suspect), Part(middle, part.stop, part.is_suspect)]
