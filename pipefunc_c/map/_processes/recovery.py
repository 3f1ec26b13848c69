"""What happens to the elements of a worker that died: kept, run again, or given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipefunc_c._describe import bytes_text
from pipefunc_c._kernels.index import intersect_runs
from pipefunc_c._kernels.tags import ERROR, MISSING, OBJECT
from pipefunc_c._storage.object_chunks import object_chunks
from pipefunc_c._storage.packing import pack
from pipefunc_c.exceptions import ElementTimeoutError, WorkerDiedError
from pipefunc_c.map._engine.scheduler import Lease
from pipefunc_c.map._processes.control import COMPUTING, CUT_OFF, KEEPING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._engine.scheduler import Action, Scheduler
    from pipefunc_c.map._processes.control import Control, Whereabouts
    from pipefunc_c.map._stages.stage import Stage
    from pipefunc_c.parallel._workers import Death

_FUTILE_STARTS = 3  # per worker, one after the other


class Recovery:
    """Decide what becomes of the leases of workers that died.

    Numbers that a worker computed are in shared memory and stay; its objects are lost with it.

    Parameters
    ----------
    plan
        The run.
    scheduler
        Told what is lost.
    control
        What the workers were at.
    limits
        Seconds that an element may take, by number of the stage.
    n_workers
        How many there are.
    """

    def __init__(
        self, plan: Plan, scheduler: Scheduler, control: Control, limits: Mapping[int, float], n_workers: int
    ) -> None:
        self._plan = plan
        self._scheduler = scheduler
        self._control = control
        self._limits = limits
        self._n_workers = n_workers
        self._futile = 0
        self._killed: dict[int, Whereabouts] = {}
        self._why: dict[tuple[int, int], tuple[Death, int]] = {}  # and the attempt after it
        self._late: set[tuple[int, int]] = set()

    def progressed(self) -> None:
        """Take in that a worker returned a lease: workers do start."""
        self._futile = 0

    def killed(self, slot: int, at: Whereabouts) -> bool:
        """Take in that a worker is killed for the element that it is at; False if it was already."""
        if self._killed.get(slot) == at:
            return False
        self._killed[slot] = at
        return True

    def lost(self, slot: int, death: Death, leases: Sequence[Lease]) -> list[Action]:
        """Take in the end of a worker that had leases.

        Raises
        ------
        WorkerDiedError
            If workers die before they begin, again and again.
        """
        at = self._control.whereabouts(slot)
        self._control.clear(slot)
        killed_at = self._killed.pop(slot, None)
        if not leases or at.lease != leases[0] or at.state not in (COMPUTING, KEEPING, CUT_OFF):
            self._futile += 1
            if self._futile > _FUTILE_STARTS * self._n_workers:
                raise WorkerDiedError(
                    f"{death} before it computed anything, like those before it",
                    detail=death.exitcode,
                    signal=death.signal,
                    exitcode=death.exitcode,
                    peak_memory=death.peak_memory,
                    hint="see what the workers printed",
                )
            return self._scheduler.worker_lost(slot)
        lease, stage = leases[0], self._plan.stages[leases[0].stage]
        is_late = killed_at is not None and killed_at == at
        end = {COMPUTING: at.current, KEEPING: lease.stop, CUT_OFF: lease.start}[at.state]
        reached = self._keep(stage, lease, end)
        if at.state != COMPUTING:
            if reached >= lease.stop:
                return self._scheduler.worker_lost(slot, reached)
            self._remember(range(reached, lease.stop) if lease.stop - reached == 1 else (), lease, death)
            self._note(stage, lease, reached, death)
            return self._scheduler.worker_lost(slot, reached, halve=True)
        if killed_at is not None and not is_late:  # it had gone on just before it was killed
            return self._scheduler.worker_lost(slot, reached)
        self._remember((at.current,), lease, death)
        if is_late:
            self._late.add((lease.stage, at.current))
        return self._scheduler.worker_lost(slot, reached, suspect=at.current, is_guilty=is_late)

    def _remember(self, indices: Sequence[int], lease: Lease, death: Death) -> None:
        for index in indices:
            self._why[lease.stage, index] = (death, lease.attempt + 1)

    def _note(self, stage: Stage, lease: Lease, reached: int, death: Death) -> None:
        """Remember a death for the one element that is left of a lease."""
        if stage.requested.count(reached, lease.stop) == 1:
            left = np.flatnonzero(stage.requested.mask()[reached : lease.stop])
            self._remember((reached + int(left[0]),), lease, death)

    def _keep(self, stage: Stage, lease: Lease, end: int) -> int:
        """Keep what is in shared memory of a lease, up to the first element that is not; forget the rest."""
        runs = stage.requested.runs
        own = [[lease.start, lease.stop]]
        if runs is not None:
            own = intersect_runs(runs, lease.start, lease.stop).tolist()
        reached = end
        for begin, stop in own:
            for column in stage.columns:
                tags = column.tags[begin : min(stop, reached)]
                gone = np.flatnonzero((tags == MISSING) | (tags == OBJECT) | (tags == ERROR))
                if len(gone):
                    reached = min(reached, begin + int(gone[0]))
            if reached < stop:
                break
        for begin, stop in own:
            for column in stage.columns:
                first = max(begin, reached)
                for index in (first + np.flatnonzero(column.tags[first:stop] != MISSING)).tolist():
                    column.clear(index)
        if reached > lease.start:
            self._store(stage, lease, reached)
        return reached

    def _store(self, stage: Stage, lease: Lease, reached: int) -> None:
        if self._plan.durable is not None:
            self._plan.durable.commit(stage, lease, reached)
        stage.fill_sinks(lease.start, reached)

    def error(self, number: int, index: int) -> WorkerDiedError | ElementTimeoutError:
        """Give the error of an element that is given up."""
        stage = self._plan.stages[number]
        outputs = ", ".join(stage.func.output_names)
        where = f"{stage.where(index) or 'the call'} of {outputs}"
        if (number, index) in self._late:
            return ElementTimeoutError(
                f"{where} took longer than the timeout of {self._limits[number]:g} s; its worker was killed",
                detail=index,
                hint="give map a longer timeout, or one per output",
            )
        death, _ = self._why[number, index]
        memory = "" if death.peak_memory is None else f"; it held {bytes_text(death.peak_memory)} at most"
        return WorkerDiedError(
            f"{death} while it computed {where}{memory}",
            detail=death.exitcode,
            index=index,
            signal=death.signal,
            exitcode=death.exitcode,
            peak_memory=death.peak_memory,
            hint="a function that exits, crashes, runs out of memory or closes files that are not its own "
            "ends its worker; "
            "run with parallel=False to see where",
        )

    def store(self, number: int, index: int, error: Exception) -> None:
        """Store the error of an element that is given up, as if its function had raised it."""
        stage = self._plan.stages[number]
        origin_id = stage.origins.intern(error)
        for column, name in zip(stage.columns, stage.func.output_names, strict=True):
            column.store_error(index, error, origin_id)
            packed = pack(
                column,
                index,
                index + 1,
                portable=False,
                origin_of=stage.origins.__getitem__,
                output=name,
            )
            for chunk in packed.objects:  # for workers of later stages
                object_chunks(column).add(chunk)
        stage.failed += 1
        _, attempt = self._why[number, index]
        self._store(stage, Lease(0, number, index, index + 1, attempt), index + 1)
