"""The run of one lease in this process."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from pipefunc_c.map._stages.failures import user_frames
from pipefunc_c.map._stages.layouts import store_in_regions

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from pipefunc_c.map._engine.scheduler import Lease
    from pipefunc_c.map._processes.control import Cell
    from pipefunc_c.map._stages.stage import Stage


class GivenUpError(BaseException):
    """Raised in an element that nobody waits for any longer."""


class Interruption:
    """Let SIGTERM end the element that runs, so that those before it are kept; for the main thread.

    Attributes
    ----------
    is_welcome : bool
        Whether elements run now; else the signal does nothing.
    """

    def __init__(self) -> None:
        self.is_welcome = False
        signal.signal(signal.SIGTERM, self._handle)
        # A process that an element forks dies of it like any other.
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))

    @classmethod
    def of_process(cls) -> Interruption:
        """Give the one of this process."""
        if _interruptions.get(os.getpid()) is None:
            _interruptions[os.getpid()] = cls()
        return _interruptions[os.getpid()]

    def _handle(self, _number: int, _frame: object) -> None:
        if self.is_welcome:
            self.is_welcome = False
            raise GivenUpError


_interruptions: dict[int, Interruption] = {}


class LeaseRun:
    """Run a lease, and know afterwards how far it came and whose fault it was.

    Parameters
    ----------
    stage
        The stage; it must be prepared.
    lease
        The elements.

    Attributes
    ----------
    reached : int
        The first index that is not done; the one that failed, if an element did.
    failed : int
        Number of elements whose error was stored.
    is_to_blame : bool
        Whether the function raised: not a hook, nor the means to run it.
    """

    def __init__(self, stage: Stage, lease: Lease) -> None:
        self._stage = stage
        self._lease = lease
        self.reached = lease.start
        self.failed = 0
        self.is_to_blame = False
        self._open_columns = [column for column in stage.columns if column.layout is None]

    def run(
        self,
        deadline: float,
        stop_flag: Buffer | None = None,
        interruption: Interruption | None = None,
        cell: Cell | None = None,
        *,
        keep: bool = True,
    ) -> int:
        """Run until ``deadline`` (``time.monotonic()``, seconds); give the first index not done.

        What is done is kept, also when an element raises, unless the caller sees to that.
        """
        stage, lease = self._stage, self._lease
        if cell is not None:
            cell.begin(lease)
        loop, invocation = stage.loop()
        try:
            if interruption is not None:
                interruption.is_welcome = True
            self.reached = loop.run(
                lease.start,
                lease.stop,
                deadline=deadline,
                stop_flag=stop_flag,
                current=None if cell is None else cell.current,
            )
        except BaseException as error:
            self.reached = loop.reached
            self.is_to_blame = not invocation.in_hook
            BaseException.with_traceback(error, user_frames(error.__traceback__))
            raise
        finally:
            if interruption is not None:
                interruption.is_welcome = False
            self.failed = loop.failed
            if cell is not None:
                cell.keep()
            if keep:
                self.keep()
        return self.reached

    def keep(self) -> None:
        """Find the layout of arrays and commit; by one thread at a time."""
        start, reached = self._lease.start, self.reached
        self._stage.settle(start, reached)
        for column in self._open_columns:  # arrays that were computed before their layout was known
            if column.layout is not None:
                store_in_regions(column, start, reached)
        stage, lease = self._stage, self._lease
        _, refused = stage.pickling(lambda: stage.plan.keep(stage, lease, reached), start, reached)
        self.failed += refused
