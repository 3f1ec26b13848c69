"""The driver of a run in executors that the user brought: threads, process pools, any other."""

from __future__ import annotations

import os
import pickle
import queue
import shutil
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._describe import message_of
from pipefunc_c._kernels.index import intersect_runs
from pipefunc_c._kernels.tags import BOOL, COMPLEX, FLOAT, INT
from pipefunc_c._storage.object_chunks import dump
from pipefunc_c._storage.packing import moved, unpack, unpack_bytes
from pipefunc_c.exceptions import InvalidTypeError, OperationError
from pipefunc_c.map._cancel import CancelToken, RunCancelledError
from pipefunc_c.map._chunk import Chunk, ChunkResult, Static, StaticRef, run_pickled, slice_input
from pipefunc_c.map._given import Deferred, is_by_reference, opened
from pipefunc_c.map._lease_run import LeaseRun
from pipefunc_c.map._scheduler import FinishStage, GrantLease, PrepareStage
from pipefunc_c.parallel._environment import available_cores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor, Future

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._kernels.column import Column
    from pipefunc_c.map._call import Input
    from pipefunc_c.map._plan import Plan
    from pipefunc_c.map._progress import Progress
    from pipefunc_c.map._scheduler import Action, Lease
    from pipefunc_c.map._stage import Stage

FIRST_ROUND_TRIP = 5e-4
GRACE_SECONDS = 0.5
Event = tuple[tuple[int, int], "Lease", float, "Future[Any]"]


class ExecutorDriver:
    """Run a plan in executors of the user, which are not shut down.

    Threads of this process share its columns. To any other executor go chunks: the function and its sliced
    inputs, pickled; what comes back is stored and committed here.

    Parameters
    ----------
    plan
        What to run.
    progress
        Told of each lease that returns.
    executor_of
        The executor of each function.
    chunksize_of
        The chunk size of each function: a number, a callable that gives one, or None to cut by time.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Progress,
        executor_of: Mapping[PipeFunc[..., Any], Executor],
        chunksize_of: Mapping[PipeFunc[..., Any], Any],
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._chunksize_of = chunksize_of
        self._executors: list[Executor] = list({id(each): each for each in executor_of.values()}.values())
        numbers = {id(each): number for number, each in enumerate(self._executors)}
        self._pool_of = [numbers[id(executor_of[stage.func])] for stage in plan.stages]
        self._scheduler = plan.make_scheduler()
        self._scheduler.round_trip = FIRST_ROUND_TRIP
        self._scheduler.prefetches = False  # a slot is no process: two leases of it may change places
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._out: dict[Future[Any], None] = {}
        self._statics: dict[int, StaticRef] = {}
        self._folder: Path | None = None
        self._shares_files = True
        self._stop_flag = bytearray(1)
        self._failure: BaseException | None = None

    def run(self, token: CancelToken | None = None) -> None:
        """Run the plan.

        Parameters
        ----------
        token
            Stops the run from another thread.

        Raises
        ------
        Exception
            What the first failing element raised, with a note that names it.
        OperationError
            If an executor breaks.
        RunCancelledError
            If it was told to stop.
        """
        token = CancelToken() if token is None else token
        try:
            with token.waking(lambda: self._events.put(None)):
                self._loop(token)
        finally:
            self._stop_flag[0] = 1
            for future in list(self._out):
                future.cancel()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
        if self._failure is not None:
            raise self._failure

    def _loop(self, token: CancelToken) -> None:
        actions: deque[Action] = deque(self._scheduler.start())
        for pool, executor in enumerate(self._executors):
            for slot in range(slots(executor)):
                actions.extend(self._scheduler.add_worker((pool, slot), pool))
        patience: float | None = None
        while True:
            while actions and not token.is_set:
                actions.extend(self._act(actions.popleft()))
            if token.is_set and self._failure is None:
                self._stop_flag[0] = 1
                self._failure = RunCancelledError()
                self._scheduler.cancel()
                actions.clear()
            if not self._out:
                return
            if self._failure is not None:
                patience = patience or time.monotonic() + GRACE_SECONDS
                for future in list(self._out):
                    future.cancel()
                if time.monotonic() > patience:
                    return
            try:
                event = self._events.get(timeout=None if patience is None else 0.05)
            except queue.Empty:
                continue
            if event is not None:
                actions.extend(self._take(*event))

    def _act(self, action: Action) -> list[Action]:
        if isinstance(action, PrepareStage):
            stage = self._plan.stages[action.stage]
            requested = stage.prepare()
            self._progress.set_total(action.stage, len(requested))
            chunk = self._chunksize(stage, len(requested))
            pool = self._pool_of[action.stage]
            return self._scheduler.stage_prepared(action.stage, requested, pool=pool, chunk=chunk)
        if isinstance(action, GrantLease):
            self._progress.granted(action.lease.stage, self._scheduler.running(action.lease.stage))
            self._submit(action)
        elif isinstance(action, FinishStage):
            self._plan.stages[action.stage].finish()
        return []

    def _chunksize(self, stage: Stage, count: int) -> int | None:
        wanted = self._chunksize_of[stage.func]
        size = wanted(count) if callable(wanted) else wanted
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise InvalidTypeError(
                f"the chunk size of {stage.func.output_name!r} for {count} elements is {size!r}",
                hint="the callable must give a positive int or None",
            )
        return size

    # -- out -----------------------------------------------------------------------------------------

    def _submit(self, action: GrantLease) -> None:
        assert isinstance(action.worker, tuple)
        worker, lease = action.worker, action.lease
        executor, stage = self._executors[worker[0]], self._plan.stages[lease.stage]
        sent = time.monotonic()
        try:
            if isinstance(executor, ThreadPoolExecutor):
                future: Future[Any] = executor.submit(self._run_here, stage, lease, action.seconds)
            else:
                future = executor.submit(run_pickled, self._pickled(stage, lease, action.seconds))
        except RuntimeError as error:
            raise OperationError(
                f"the executor {executor!r} takes no more work: {message_of(error)}",
                hint="pass one that is neither shut down nor broken",
            ) from error
        self._out[future] = None
        future.add_done_callback(lambda done: self._events.put((worker, lease, sent, done)))

    def _run_here(
        self, stage: Stage, lease: Lease, seconds: float
    ) -> tuple[LeaseRun, BaseException | None, float]:
        started = time.monotonic()
        lease_run = LeaseRun(stage, lease)
        try:
            lease_run.run(started + seconds, self._stop_flag, keep=False)
        except BaseException as error:
            return lease_run, error, time.monotonic() - started
        return lease_run, None, time.monotonic() - started

    def _pickled(self, stage: Stage, lease: Lease, seconds: float) -> bytes:
        start, stop = self._first_run(stage, lease)
        positions = np.unravel_index(np.arange(start, stop), stage.shape) if stage.shape else ()
        inputs = {
            name: _entries(each, each.axes, positions)
            for name, each in stage.inputs.items()
            if each.axes is not None
        }
        chunk = Chunk(self._static(stage), inputs, stop - start, seconds)
        try:
            return dump(chunk, portable=True)
        except Exception as error:
            raise InvalidTypeError(
                f"the inputs of elements {start} to {stop - 1} of {stage.func.output_name!r} cannot be "
                f"pickled: {message_of(error)}",
                hint="pass data that pickle or cloudpickle takes, or use threads",
            ) from error

    @staticmethod
    def _first_run(stage: Stage, lease: Lease) -> tuple[int, int]:
        """Give the first run of requested elements; the rest of the lease comes back to the scheduler."""
        if stage.requested.runs is None:
            return lease.start, lease.stop
        begin, end = intersect_runs(stage.requested.runs, lease.start, lease.stop)[0].tolist()
        return begin, end

    def _static(self, stage: Stage) -> StaticRef:
        number = self._plan.stages.index(stage)
        if number not in self._statics:
            inputs = stage.inputs
            constants = {name: each.value for name, each in inputs.items() if each.axes is None}
            storages = {name: each.value for name, each in inputs.items() if _is_sent_by_reference(each)}
            read = bool(storages) or any(isinstance(each, Deferred) for each in constants.values())
            run = os.urandom(8) if read else b""
            if self._folder is None and self._shares_files:
                self._folder = Path(tempfile.mkdtemp(prefix="pipefunc_c-"))
            try:
                call = stage.call.for_other_processes()
                self._statics[number] = StaticRef.of(Static(call, constants, storages, run), self._folder)
            except Exception as error:
                raise InvalidTypeError(
                    f"{stage.func!r} or its constant arguments cannot be pickled: {message_of(error)}",
                    hint="pass what cloudpickle takes, or use threads",
                ) from error
        return self._statics[number]

    # -- back ----------------------------------------------------------------------------------------

    def _take(self, worker: tuple[int, int], lease: Lease, sent: float, future: Future[Any]) -> list[Action]:
        del self._out[future]
        stage = self._plan.stages[lease.stage]
        if future.cancelled():
            return self._scheduler.lease_returned(worker, lease.start, 0.0)
        try:
            result = future.result()
        except Exception as lost:
            raise OperationError(
                f"{self._executors[worker[0]]!r} lost elements {lease.start} to {lease.stop - 1} of "
                f"{stage.func.output_name!r}: {type(lost).__name__}: {message_of(lost)}",
                hint="a worker of it may have died",
            ) from lost
        error: BaseException | None
        if isinstance(result, bytes):
            reached, seconds, error, is_to_blame = self._take_chunk(stage, lease, pickle.loads(result))
        else:
            lease_run, error, seconds = result
            lease_run.keep()
            stage.failed += lease_run.failed
            reached, is_to_blame = lease_run.reached, lease_run.is_to_blame
        round_trip = max(time.monotonic() - sent - seconds, 1e-6)
        self._scheduler.round_trip = min(self._scheduler.round_trip, round_trip)
        if error is None:
            actions = self._scheduler.lease_returned(worker, reached, seconds)
        else:
            self._stop_flag[0] = 1
            if self._failure is None:
                self._failure = error
                if is_to_blame and isinstance(error, Exception):
                    stage.record(error, reached)
            actions = self._scheduler.lease_failed(worker, reached)
        done, running = self._scheduler.done(lease.stage), self._scheduler.running(lease.stage)
        self._progress.update(lease.stage, done, stage.failed, running)
        return actions

    def _take_chunk(
        self, stage: Stage, lease: Lease, result: ChunkResult
    ) -> tuple[int, float, BaseException | None, bool]:
        start, _ = self._first_run(stage, lease)
        if result.out_of_reach:  # another host: from now on everything goes in the messages
            self._shares_files, self._folder = False, None
            self._statics.clear()
            return lease.start, 0.0, None, False
        for column, data in zip(stage.columns, result.outputs, strict=False):
            unpack(moved(unpack_bytes(data), start), column)
        stage.failed += result.failed
        reached = start + result.reached
        stage.settle(start, reached)
        self._plan.keep(stage, lease, reached)
        failure = result.failure
        error = None if failure is None else failure.load()
        return reached, result.seconds, error, failure is not None and failure.is_to_blame


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


def slots(executor: Executor) -> int:
    """Give the number of chunks that an executor gets at once: what it can run, as far as it tells.

    Twice as many where a chunk takes a way to its worker, so that none waits for the next.
    """
    for name in ("_max_workers", "max_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            return count if isinstance(executor, ThreadPoolExecutor) else 2 * count
    return 2 * available_cores()
