"""What runs in a worker process: take leases, run them, report."""

from __future__ import annotations

import contextlib
import pickle
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._kernels.tags import ERROR, OBJECT
from pipefunc_c._optional import require
from pipefunc_c._remote_failure import RemoteFailure
from pipefunc_c._storage.home import SharedHome
from pipefunc_c._storage.object_chunks import ObjectChunk, object_chunks
from pipefunc_c._storage.packing import pack
from pipefunc_c._storage.patient_pickle import pickle_in_parts
from pipefunc_c.exceptions import OutOfMemoryError
from pipefunc_c.map._engine.durable import DurableRun
from pipefunc_c.map._engine.lease_run import Interruption, LeaseRun
from pipefunc_c.map._engine.plan import Plan
from pipefunc_c.map._processes.control import Control
from pipefunc_c.map._processes.messages import END, STAGE, STAGE_REGION, Report, read_lease, read_stage
from pipefunc_c.map._stages.layouts import first_index, store_in_regions
from pipefunc_c.parallel._environment import next_stream
from pipefunc_c.parallel._whole_lines import flush_streams
from pipefunc_c.parallel._worker_process import leave_if_cut_off

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._kernels.column import Column
    from pipefunc_c.map._engine.options import RunOptions
    from pipefunc_c.map._engine.scheduler import Lease
    from pipefunc_c.map._processes.control import Cell
    from pipefunc_c.map._stages.cached_calls import CachedCalls
    from pipefunc_c.map._stages.stage import Stage
    from pipefunc_c.parallel._channel import Channel

_OBJECT_BITS = 1 << OBJECT | 1 << ERROR


@dataclass(frozen=True)
class Objects:
    """The objects and errors of one output that a lease computed.

    Parameters
    ----------
    chunks
        Their pickles.
    first_array
        Index of the first element, if that is an array without a place in a slab; else None.
    has_complex
        Whether there are complex numbers among them; the parent makes memory for them.
    """

    chunks: tuple[ObjectChunk, ...] = ()
    first_array: int | None = None
    has_complex: bool = False


@dataclass(frozen=True)
class Recipe:
    """What a worker makes its plan from that was not forked from the driver.

    Parameters
    ----------
    functions, inputs, options
        The run.
    control
        Place and size of the control memory.
    durable
        What is needed to commit, if the run is kept on disk.
    cached
        Where results of cached functions are kept, as far as workers see it.
    """

    functions: tuple[PipeFunc[..., Any], ...]
    inputs: dict[str, Any]
    options: RunOptions
    control: tuple[int, int]
    durable: dict[str, Any] | None
    cached: dict[tuple[str, ...], CachedCalls]


def write_recipe(recipe: Recipe, home: SharedHome) -> bytes:
    """Give the payload for `serve_recipe`; large arrays go through the shared file."""
    buffers: list[pickle.PickleBuffer] = []
    parts = pickle_in_parts(recipe, require("cloudpickle").Pickler, buffers.append)
    places = []
    contents: list[Sequence[bytes | memoryview]] = [parts, *([buffer.raw()] for buffer in buffers)]
    for each in contents:
        size = sum(memoryview(part).nbytes for part in each)
        target, begin = home.allocate(max(size, 1)), 0
        for part in each:
            data = np.frombuffer(part, dtype=np.uint8)
            target[begin : begin + data.size] = data
            begin += data.size
        places.append((home.last_offset, size))
    return pickle.dumps(places)


class WorkerRun:
    """Do in a worker what the driver of a run says.

    Parameters
    ----------
    plan
        The run.
    control
        What the driver sees of this worker.
    """

    def __init__(self, plan: Plan, control: Control) -> None:
        self._plan = plan
        self._control = control
        self._interruption = None if plan.durable is None else Interruption.of_process()
        stream = next_stream()
        for stage in plan.stages:
            stage.start_over()
            stage.stream = stream

    def handle(self, data: Buffer) -> tuple[bytes, ...] | None:
        """Take a message; give the parts of the answer to a lease."""
        if memoryview(data)[0] in (STAGE, STAGE_REGION):
            news = read_stage(data, self._plan.shared)
            self._plan.stages[news.stage].adopt(news)
            return None
        lease, seconds, slot = read_lease(data)
        stage, cell = self._plan.stages[lease.stage], self._control.cell(slot)
        report = run_lease(stage, lease, seconds, self._control.stop_flag, self._interruption, cell)
        leave_if_cut_off(cell.cut_off)
        cell.end()
        flush_streams()
        return report.parts()

    def close(self) -> None:
        """Forget the run, which is over."""
        if self._plan.durable is not None:
            self._plan.durable.leave()
        if self._plan.shared is not None:
            self._plan.shared.close()
        # These refer to each other, and to inputs that may be large: do not leave them to the collector.
        for stage in self._plan.stages:
            stage.let_go()
        vars(self._plan).clear()


def open_recipe(
    payload: bytes, descriptors: list[int], _number: int, ready: Callable[[], None] | None = None
) -> WorkerRun:
    """Make the plan of a run in a worker that was not forked from its driver."""
    home = SharedHome.adopt(descriptors[0])
    # What a worker writes to its inputs is its own matter.
    data, *buffers = [home.attach_private(*place) for place in pickle.loads(payload)]
    recipe: Recipe = pickle.loads(data.data, buffers=buffers)
    plan = Plan(FunctionGraph(recipe.functions), recipe.inputs, recipe.options)
    plan.cached = recipe.cached
    plan.shared = home
    if recipe.durable is not None:
        lock = descriptors[1] if len(descriptors) > 1 else None
        plan.durable = DurableRun.of_worker(plan, lock, **recipe.durable)
    if ready is not None:
        ready()
    return WorkerRun(plan, Control(home.attach(*recipe.control)))


def serve_recipe(
    payload: bytes, descriptors: list[int], channel: Channel, number: int, ready: Callable[[], None]
) -> None:
    """Make the plan, call ``ready``, then do what the parent says; runs in a worker of the fork server."""
    _serve(open_recipe(payload, descriptors, number, ready), channel)


def serve(plan: Plan, control: Control, channel: Channel, _number: int) -> None:
    """Do what the parent says until it says END.

    Parameters
    ----------
    plan
        The run; this process was forked when it was made.
    control
        Shared memory: the stop flag, and what workers are at.
    channel
        To the parent.
    """
    _serve(WorkerRun(plan, control), channel)


def _serve(run: WorkerRun, channel: Channel) -> None:
    while True:
        data = channel.receive()
        if data[0] == END:
            return
        answer = run.handle(data)
        if answer is not None:
            channel.send(*answer)


def run_lease(  # noqa: PLR0913, PLR0917  what a worker has
    stage: Stage,
    lease: Lease,
    seconds: float,
    stop_flag: Any,
    interruption: Interruption | None = None,
    cell: Cell | None = None,
) -> Report:
    """Run a lease and describe what came out; numbers are in shared memory already."""
    started = time.monotonic()
    lease_run = LeaseRun(stage, lease)
    failure = b""
    try:
        try:
            lease_run.run(started + seconds, stop_flag, interruption, cell)
        except BaseException as error:
            failure = pickle.dumps(RemoteFailure.of(error, is_to_blame=lease_run.is_to_blame))
        start, reached = lease.start, lease_run.reached
        objects, refused = stage.pickling(lambda: _pack_objects(stage, start, reached), start, reached)
        lease_run.failed += refused
        if objects:
            for column in stage.columns:  # the parent has them, and gives them to those who need them
                column.let_go(lease.start, lease_run.reached)
    except BaseException as error:  # results that cannot be pickled or committed
        failure = pickle.dumps(RemoteFailure.of(error))
        return Report(lease.start, 0, time.monotonic() - started, b"", failure)
    return Report(lease_run.reached, lease_run.failed, time.monotonic() - started, objects, failure)


def _pack_objects(stage: Stage, start: int, stop: int) -> bytes:
    """Pack what is not in shared memory; nothing where there is nothing."""
    if not any(column.tag_set(start, stop) & _OBJECT_BITS for column in stage.columns):
        return b""
    names = stage.func.output_names
    return pickle.dumps(
        [
            _objects_of(stage, column, name, start, stop)
            for column, name in zip(stage.columns, names, strict=True)
        ]
    )


def _objects_of(stage: Stage, column: Column, name: str, start: int, stop: int) -> Objects:
    if not column.tag_set(start, stop) & _OBJECT_BITS:
        return Objects()
    packed = pack(
        column,
        start,
        stop,
        stage.requested.runs,
        portable=False,
        origin_of=stage.origins.__getitem__,
        output=name,
    )
    first = None
    if stage.is_mapped and column.layout is None:
        first = first_index(column, start, stop, stage.requested.runs)
    if first is not None and type(column.load(first)) is not np.ndarray:
        first = None
    has_complex, column.refused_complex = column.refused_complex, False
    return Objects(packed.objects, first, has_complex)


def take_objects(column: Column, objects: Objects) -> bool:
    """Take objects of a worker into the parent's column; True if the column got a new region.

    They stay pickled until they are looked at, but for values that belong into memory of their own.
    """
    for chunk in objects.chunks:
        object_chunks(column).add(chunk)
    had_complex = column.has_complex
    if objects.has_complex:
        with contextlib.suppress(OutOfMemoryError):  # then they stay objects
            column.add_complex()
    if objects.has_complex or (objects.first_array is not None and column.layout is not None):
        for chunk in objects.chunks:
            store_in_regions(column, chunk.first, chunk.last)
    return column.has_complex != had_complex
