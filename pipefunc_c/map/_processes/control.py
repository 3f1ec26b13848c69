"""Memory through which a driver sees what its workers are at, also those that died, and stops them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c.map._engine.scheduler import Lease

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipefunc_c._storage.home import Buffer

# What a worker is at: nothing, the elements of a lease, or keeping what came out of them. Or one of them
# closed what the worker had open, so that nothing can be said of what came out.
IDLE, COMPUTING, KEEPING, CUT_OFF = range(4)

_STOP, _CELLS, _CELL = 0, 64, 64  # bytes; a cell is a cache line, so that no two workers write to one
_STATE, _RUN, _STAGE, _BEGIN, _END, _ATTEMPT, _CURRENT = range(7)


@dataclass(frozen=True)
class Whereabouts:
    """Say what a worker is at, or was when it died.

    Parameters
    ----------
    state
        IDLE, COMPUTING, KEEPING or CUT_OFF.
    lease
        Its lease.
    current
        The element that it computes.
    """

    state: int
    lease: Lease
    current: int


class Control:
    """The stop flag of a run, and a cell per lease that may be out at once: per worker, or per slot.

    Parameters
    ----------
    memory
        Shared memory of ``Control.size(n_workers)`` bytes.

    Examples
    --------
    >>> control = Control(np.zeros(Control.size(2), dtype=np.uint8))
    >>> cell = control.cell(1)
    >>> cell.begin(Lease(0, 3, 10, 20, 1))
    >>> cell.current[0] = 12
    >>> control.whereabouts(1).current, control.busy()
    (12, [1])
    """

    def __init__(self, memory: Buffer) -> None:
        self.stop_flag: Buffer = memory[_STOP : _STOP + 1]
        self._cells: npt.NDArray[np.int64] = memory[_CELLS:].view(np.int64).reshape(-1, _CELL // 8)

    @staticmethod
    def size(n_workers: int) -> int:
        """Give the bytes that are needed for so many workers."""
        return _CELLS + _CELL * n_workers

    def stop(self) -> None:
        """Let all workers return from their leases, after the element that they are at."""
        self.stop_flag[0] = 1

    def cell(self, worker: int) -> Cell:
        """Give the cell of a worker, for the worker."""
        return Cell(self._cells[worker])

    def whereabouts(self, worker: int) -> Whereabouts:
        """Tell what a worker is at."""
        state, run, stage, begin, end, attempt, current, *_ = self._cells[worker].tolist()
        return Whereabouts(state, Lease(run, stage, begin, end, attempt), current)

    def busy(self) -> list[int]:
        """List the workers that have results which are neither kept nor given up."""
        found: list[int] = np.flatnonzero(self._cells[:, _STATE]).tolist()
        return found

    def clear(self, worker: int) -> None:
        """Forget what a worker was at that is dead."""
        self._cells[worker, _STATE] = IDLE


class Cell:
    """Where a worker says what it is at.

    Parameters
    ----------
    places
        Its part of the shared memory.

    Attributes
    ----------
    current : ndarray of int64, shape (1,)
        The element that it computes; written by the loop over elements.
    """

    def __init__(self, places: npt.NDArray[Any]) -> None:
        self._places = places
        self.current = places[_CURRENT : _CURRENT + 1]

    def begin(self, lease: Lease) -> None:
        """Say that a lease begins."""
        places = self._places
        places[_RUN : _CURRENT + 1] = (
            lease.run,
            lease.stage,
            lease.start,
            lease.stop,
            lease.attempt,
            lease.start,
        )
        places[_STATE] = COMPUTING

    def keep(self) -> None:
        """Say that the elements of the lease are computed, and that they are kept now."""
        self._places[_STATE] = KEEPING

    def cut_off(self) -> None:
        """Say that an element of the lease closed the connection to the driver, and that the worker ends."""
        self._places[_STATE] = CUT_OFF

    def end(self) -> None:
        """Say that all is kept."""
        self._places[_STATE] = IDLE
