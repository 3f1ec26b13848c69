"""A run that is kept on disk: what is committed when, what need not run again, how it ends."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.index import runs_of
from pipefunc_c._kernels.tags import ERROR, MISSING
from pipefunc_c._spec.shapes import array_shape
from pipefunc_c._storage.commits import CommittedRun, Committer
from pipefunc_c._storage.compaction import compact
from pipefunc_c._storage.run_lock import RunLock
from pipefunc_c.exceptions import PipefuncError, RunFolderWriteError
from pipefunc_c.map._run_folder.run_folder import RunFolder, open_run_folder
from pipefunc_c.map._run_folder.run_info import RunInfo, describe_run
from pipefunc_c.map._stages.failures import is_error
from pipefunc_c.map._stages.requested import Requested
from pipefunc_c.map._stages.sinks import restore_columns

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipefunc_c.map._engine.options import RunOptions
    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._engine.scheduler import Lease
    from pipefunc_c.map._stages.stage import Stage


def describe_plan(plan: Plan) -> RunInfo:
    """Describe a run that was planned; nothing is written."""
    graph, options = plan.graph, plan.options
    return describe_run(
        graph.functions,
        {name: plan.values[name] for name in plan.values if name in plan.given},
        {name: value for name, value in graph.defaults.items() if name in plan.values},
        plan.shapes,
        internal_shapes={**plan.declared_shapes, **(options.internal_shapes or {})},
        storage={name: plan.storage_ids[func] for func in graph.functions for name in func.output_names},
        error_handling=options.error_handling,
        fixed_indices=options.fixed_indices,
    )


class DurableRun:
    """Keep a run in its folder.

    Each process commits what it computed, lease by lease, through a committer of its own.

    Parameters
    ----------
    plan
        The run. Its inputs were checked already: the folder is not touched before.
    run_folder
        The folder.
    options
        The options of the map.
    """

    def __init__(self, plan: Plan, run_folder: str | Path, options: RunOptions) -> None:
        self._plan = plan
        self._sync = options.sync
        self._persist_memory = options.persist_memory
        self._retry_errors = options.retry_errors
        self._folder: RunFolder = open_run_folder(
            run_folder,
            describe_plan(plan),
            plan.graph.functions,
            resume=options.resume,
            resume_validation=options.resume_validation,
            sync=options.sync is not None,
        )
        self._path = self._folder.path
        self._lock: RunLock | None = self._folder.lock
        self._committer: Committer | None = None
        self._committer_owner = 0
        try:
            self._earlier = CommittedRun(self._folder.path) if self._folder.resumed else None
            for stage in plan.stages:
                stage.number = self._folder.info.stage_number(stage.func.output_names)
        except BaseException:
            self._folder.close()
            raise
        self._first_attempt = 0 if self._earlier is None else self._earlier.next_attempt

    # -- in workers that are not forked from this process --------------------------------------------

    def recipe(self) -> dict[str, Any]:
        """Give what `of_worker` needs beside the plan and the descriptor of the lock."""
        numbers = [stage.number for stage in self._plan.stages]
        return {
            "folder": str(self._folder.path),
            "sync": self._sync,
            "first_attempt": self._first_attempt,
            "numbers": numbers,
        }

    @property
    def descriptor(self) -> int:
        """The descriptor of the lock, which committing workers hold too; negative where there is none."""
        return self._folder.lock.descriptor

    @classmethod
    def of_worker(  # noqa: PLR0913  what `recipe` gives
        cls,
        plan: Plan,
        descriptor: int | None,
        *,
        folder: str,
        sync: float | None,
        first_attempt: int,
        numbers: list[int],
    ) -> DurableRun:
        """Make what a worker needs to commit."""
        durable = cls.__new__(cls)
        durable._plan, durable._sync, durable._first_attempt = plan, sync, first_attempt
        durable._path = Path(folder)
        # Where locks are not held by descriptors, the driver alone holds it.
        durable._lock = None if descriptor is None else RunLock.adopt(folder, descriptor)
        durable._committer, durable._committer_owner = None, 0
        for stage, number in zip(plan.stages, numbers, strict=True):
            stage.number = number
        return durable

    @property
    def info(self) -> RunInfo:
        """The description of the run."""
        return self._folder.info

    def inherited(self) -> contextlib.AbstractContextManager[Any]:
        """Give a context in which forked children hold the lock too: they commit."""
        return self._folder.lock.keep_in_child()

    # -- while it runs -------------------------------------------------------------------------------

    @property
    def is_resumed(self) -> bool:
        """Tell whether the run goes on where an earlier one stopped."""
        return self._earlier is not None

    def restore(self, stage: Stage) -> Requested:
        """Fill the columns of a stage with what an earlier run committed; give what is left to run."""
        requested = stage.requested
        if self._earlier is None:
            return requested
        if stage.sinks:
            missing = ~restore_columns(stage.sinks, stage.columns)
        else:
            missing = ~self._earlier.restore(stage.number, stage.columns)
        wanted = requested.mask()
        if self._retry_errors:
            missing |= _forget_errors(stage, wanted)
        stage.failed = max(column.count(ERROR) for column in stage.columns)
        return Requested(requested.size, runs_of(missing & wanted))

    def knew_axes(self, name: str) -> bool:
        """Tell whether the run that is resumed knew the sizes of the external axes of an output."""
        shape, mask = self.info.resolved_shapes[name], self.info.shape_masks[name]
        return all(size != "?" for size, external in zip(shape, mask, strict=True) if external)

    def commit(self, stage: Stage, lease: Lease, reached: int) -> None:
        """Commit what a lease computed, if the results of its stage are kept while the run goes on."""
        if reached > lease.start and self._plan.is_committed(stage) and not stage.is_stand_in:
            attempt = self._first_attempt + lease.attempt
            stage.commit(self._own_committer(), lease.start, reached, attempt, stage.requested.runs)

    def record_shapes(self, stage: Stage) -> None:
        """Note the shapes of a stage that were not known before."""
        known = self._plan.shapes.shapes
        found: dict[str, tuple[int | str, ...]] = {}
        for name, store in zip(stage.func.output_names, stage.stores, strict=True):
            if "?" not in known.get(name, ()):
                continue
            if stage.is_mapped and "?" not in stage.known_shape(name):
                found[name] = store.full_shape
            elif not stage.is_mapped and store.has_index(0):
                with contextlib.suppress(PipefuncError):  # no array: whoever maps over it says so
                    found[name] = array_shape(store.get_from_index(0), name, is_output=True)
        if found:
            self._folder.record_shapes(found)

    def _own_committer(self) -> Committer:
        if self._committer is None or self._committer_owner != os.getpid():
            name = f"{platform.node()}-{os.getpid()}-{os.urandom(4).hex()}"
            self._committer = Committer(self._path, name, self._sync)
            self._committer_owner = os.getpid()
        return self._committer

    # -- when it ends --------------------------------------------------------------------------------

    def complete(self) -> None:
        """Write what was only in memory, join all commits into one pair of files, export single values."""
        if self._persist_memory:
            for stage in self._plan.stages:
                for sink in stage.sinks:
                    sink.storage.persist()
                if not (stage.sinks or stage.is_stand_in or self._plan.is_committed(stage)):
                    self._commit_all(stage)
        self._close_committer()
        if not RunInfo.path(self._folder.path).is_file():
            raise RunFolderWriteError(
                f"the run folder {str(self._folder.path)!r} was deleted or cleared while the run went on",
                hint="nothing of the run is on disk; run it again",
            )
        compact(self._folder.path, sync=self._sync is not None)
        singles: dict[str, Any] = {}
        for stage in self._plan.stages:
            if not stage.is_mapped:
                values = {name: self._plan.stores[name].get_from_index(0) for name in stage.func.output_names}
                singles.update({name: value for name, value in values.items() if not is_error(value)})
        self._folder.export(singles)

    def _commit_all(self, stage: Stage) -> None:
        present = np.ones(stage.requested.size, dtype=bool)
        for column in stage.columns:
            present &= column.tags != MISSING
        if present.any():
            runs = runs_of(present)
            stage.commit(self._own_committer(), 0, len(present), self._first_attempt, runs)

    def _close_committer(self) -> None:
        if self._committer is not None and self._committer_owner == os.getpid():
            self._committer.close()
        self._committer = None

    def leave(self) -> None:
        """Give up, in a worker, what it needs to commit."""
        self._close_committer()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def close(self) -> None:
        """Give the folder free."""
        self._close_committer()
        self._folder.close()


def _forget_errors(stage: Stage, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Make elements missing that are an error in any output; give where they are."""
    failed = np.zeros_like(wanted)
    for column in stage.columns:
        failed |= column.tags == ERROR
    failed &= wanted
    for index in np.flatnonzero(failed).tolist():
        for column in stage.columns:
            column.clear(index)
    return failed
