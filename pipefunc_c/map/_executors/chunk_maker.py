"""What is sent to executors of other processes, and what their workers leave behind when they die."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._describe import message_of
from pipefunc_c._kernels.index import intersect_runs
from pipefunc_c._kernels.tags import BOOL, COMPLEX, FLOAT, INT
from pipefunc_c._storage.object_pickle import dump
from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.map._executors.chunk import STAGE_BITS, Chunk, Origin, Static, StaticRef, slice_input
from pipefunc_c.map._executors.lost_work import NOT_STARTED
from pipefunc_c.map._executors.random_streams import this_process
from pipefunc_c.map._stages.generators import held_generators
from pipefunc_c.map._stages.given import Deferred, is_by_reference, opened
from pipefunc_c.parallel._environment import draw_seeds

if TYPE_CHECKING:
    from pipefunc_c._kernels.column import Column
    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._engine.scheduler import Lease
    from pipefunc_c.map._stages.call import Input
    from pipefunc_c.map._stages.stage import Stage

_PING = StaticRef(b"", b"", None)


class ChunkMaker:
    """Pickle the elements of a run, chunk by chunk.

    Parameters
    ----------
    plan
        The run.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = itertools.count()
        self._origins: dict[bool, Origin] = {}
        self._statics: dict[int, StaticRef] = {}
        self._marks: dict[tuple[int, int], np.ndarray[Any, Any]] = {}
        self._folder: Path | None = None
        self._shares_files = True

    def chunk(  # noqa: PLR0913  what makes one chunk
        self,
        stage: Stage,
        start: int,
        stop: int,
        seconds: float,
        worker: tuple[int, int],
        *,
        seeded: bool,
    ) -> bytes:
        """Pickle a run of requested elements.

        Parameters
        ----------
        stage
            The stage.
        start, stop
            The elements.
        seconds
            After which the chunk returns what it has.
        worker
            The slot that it is for; the next chunk of the slot takes its mark.
        seeded
            Whether random generators get streams of their own in the worker.

        Raises
        ------
        InvalidTypeError
            If something cannot be pickled.
        """
        number = self._plan.stages.index(stage)
        positions = np.unravel_index(np.arange(start, stop), stage.shape) if stage.shape else ()
        inputs = {
            name: _entries(each, each.axes, positions)
            for name, each in stage.inputs.items()
            if each.axes is not None
        }
        chunk = Chunk(
            self._static(stage, seeded=seeded),
            inputs,
            stop - start,
            seconds,
            self._origin(seeded=seeded),
            next(self._numbers),
            (number << STAGE_BITS) + start,
            self._new_mark(worker),
        )
        try:
            return dump(chunk, portable=True)
        except Exception as error:
            raise InvalidTypeError(
                f"the inputs of elements {start} to {stop - 1} of {stage.func.output_name!r} cannot be "
                f"pickled: {message_of(error)}",
                hint="pass data that pickle or cloudpickle takes, or use threads",
            ) from error

    def ping(self) -> bytes:
        """Pickle a chunk of no elements: whoever runs it has a worker, and in it this package."""
        return dump(Chunk(_PING, {}, 0, 0.0, self._origin(seeded=False), next(self._numbers)), portable=True)

    def _origin(self, *, seeded: bool) -> Origin:
        if seeded not in self._origins:
            name = os.urandom(8).hex()
            self._origins[seeded] = Origin(name, this_process(), draw_seeds() if seeded else None)
        return self._origins[seeded]

    @staticmethod
    def first_run(stage: Stage, lease: Lease) -> tuple[int, int]:
        """Give the first run of requested elements; the rest of the lease comes back to the scheduler."""
        if stage.requested.runs is None:
            return lease.start, lease.stop
        begin, end = intersect_runs(stage.requested.runs, lease.start, lease.stop)[0].tolist()
        return begin, end

    def _static(self, stage: Stage, *, seeded: bool) -> StaticRef:
        number = self._plan.stages.index(stage)
        if number not in self._statics:
            inputs = stage.inputs
            constants = {name: each.value for name, each in inputs.items() if each.axes is None}
            storages = {name: each.value for name, each in inputs.items() if _is_sent_by_reference(each)}
            read = bool(storages) or any(isinstance(each, Deferred) for each in constants.values())
            run = os.urandom(8) if read else b""
            if not seeded:
                self._warn_of_copied_generators(stage, constants)
            try:
                call = stage.call.for_other_processes()
                self._statics[number] = StaticRef.of(
                    Static(call, constants, storages, run), self._shared_folder()
                )
            except Exception as error:
                raise InvalidTypeError(
                    f"{stage.func!r} or its constant arguments cannot be pickled: {message_of(error)}",
                    hint="pass what cloudpickle takes, or use threads",
                ) from error
        return self._statics[number]

    @staticmethod
    def _warn_of_copied_generators(stage: Stage, constants: dict[str, Any]) -> None:
        for name, _, _ in held_generators(stage.func.func, constants):
            warnings.warn(
                f"{stage.func.__name__} draws from the random generator {name!r}, of which each worker of "
                "the executor gets a copy, and the executor has an initializer, so that random numbers are "
                "left to it: workers may repeat each other's. Map over seeds and make a generator per "
                "element, or use threads",
                UserWarning,
                stacklevel=2,
            )

    # -- files that workers of this host see -----------------------------------------------------------

    def _shared_folder(self) -> Path | None:
        if self._folder is None and self._shares_files:
            self._folder = Path(tempfile.mkdtemp(prefix="pipefunc_c-"))
        return self._folder

    def stop_sharing_files(self) -> None:
        """Put all into the messages from now on: a worker is on another host."""
        self._shares_files = False
        self._remove_folder()
        self._statics.clear()

    def _new_mark(self, worker: tuple[int, int]) -> str | None:
        folder = self._shared_folder()
        if folder is None:
            return None
        path = folder / f"mark-{worker[0]}-{worker[1]}"
        if worker not in self._marks:
            self._marks[worker] = np.memmap(path, np.int64, "w+", shape=(2,))
        self._marks[worker][:] = NOT_STARTED, 0
        return str(path)

    def mark(self, worker: tuple[int, int]) -> tuple[int, int] | None:
        """Give where in its last chunk a slot is, and in which process; None if that is not known."""
        if worker not in self._marks:
            return None
        at, pid = self._marks[worker].tolist()
        return at, pid

    def close(self) -> None:
        """Remove the files."""
        self._remove_folder()

    def _remove_folder(self) -> None:
        self._marks.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _is_sent_by_reference(each: Input) -> bool:
    return each.axes is not None and None not in each.axes and is_by_reference(each.value)


def _entries(each: Input, axes: tuple[int | None, ...], positions: tuple[np.ndarray[Any, Any], ...]) -> Any:
    """Give the entries of a mapped input, or their indices where a process reads them itself."""
    if _is_sent_by_reference(each):
        index = tuple(positions[axis] for axis in axes if axis is not None)
        return np.ravel_multi_index(index, each.value.resolved_shape)
    return slice_input(_sliceable(each), axes, positions)


def _sliceable(each: Input) -> Any:
    """Give something that can be sliced by positions for what an argument is taken from."""
    value, shape = opened(each.value, each.shape)
    if shape is None:
        return value
    column: Column = value
    typed = column.typed()
    return (column.objects() if typed is None or not _keeps_types(column) else typed).reshape(shape)


def _keeps_types(column: Column) -> bool:
    """Tell whether the typed view of a column gives back exactly the types that were stored."""
    seen = column.tag_set()
    # Python's own float, int, bool and complex come back as NumPy's from a typed array.
    return not seen & (1 << FLOAT | 1 << INT | 1 << BOOL | 1 << COMPLEX)
