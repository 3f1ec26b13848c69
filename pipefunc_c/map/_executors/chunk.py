"""Chunks for executors of which we know nothing: a function, its sliced inputs, and what comes back.

All that crosses is plain data. What every element needs (the function and large constants) is pickled once
per stage; above a size it goes through a file that each process of this host reads once.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.source import Source, constant, elements
from pipefunc_c._kernels.tags import ERROR
from pipefunc_c._optional import require
from pipefunc_c._remote_failure import RemoteFailure
from pipefunc_c._storage.packing import pack, pack_to_bytes
from pipefunc_c.map._executors.random_streams import Process, begins_run, legacy_states, this_process
from pipefunc_c.map._stages.failures import OriginTable
from pipefunc_c.map._stages.generators import held_generators, redraw
from pipefunc_c.map._stages.given import elements_of, noted, opened
from pipefunc_c.map._stages.layouts import fix_layouts
from pipefunc_c.map._stages.unkeepable import pickling
from pipefunc_c.parallel._environment import seed_worker

if TYPE_CHECKING:
    from pipefunc_c._storage.base import StorageBase
    from pipefunc_c.map._stages.call import Call

FILE_BYTES = 1 << 20
_CACHED = 16
_cache: OrderedDict[bytes, Static] = OrderedDict()


@dataclass(frozen=True)
class Static:
    """What every element of a stage needs.

    Parameters
    ----------
    call
        How the function is called.
    constants
        Arguments that are the same for all elements, by native names.
    storages
        Inputs of which each process reads the elements itself; a chunk has their linear indices.
    run
        Tells apart runs whose files may differ.
    """

    call: Call
    constants: dict[str, Any]
    storages: dict[str, StorageBase] = field(default_factory=dict)
    run: bytes = b""


@dataclass(frozen=True)
class StaticRef:
    """Where a process finds the static part of a stage: in the message or in a file."""

    digest: bytes
    data: bytes | None
    path: str | None

    @classmethod
    def of(cls, static: Static, folder: Path | None) -> StaticRef:
        """Pickle the static part; large ones into a file of ``folder``."""
        data = bytes(require("cloudpickle").dumps(static))
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if folder is None or len(data) <= FILE_BYTES:
            return cls(digest, data, None)
        path = folder / f"{digest.hex()}.pickle"
        path.write_bytes(data)
        return cls(digest, None, str(path))

    def load(self) -> Static:
        """Give the static part; decoded once per process.

        Raises
        ------
        OSError
            If the file is out of reach, on another host for instance.
        """
        found = _cache.get(self.digest)
        if found is None:
            data = self.data if self.data is not None else Path(self.path or "").read_bytes()
            found = _cache[self.digest] = pickle.loads(data)
            while len(_cache) > _CACHED:
                _cache.popitem(last=False)
        return found


@dataclass(frozen=True)
class Origin:
    """The run that chunks belong to.

    Parameters
    ----------
    run
        A name that no other run has.
    process
        The process of the driver.
    seeds
        What the legacy random states are seeded with; None where the user sees to that.
    """

    run: str
    process: Process
    seeds: dict[str, Any] | None


STAGE_BITS = 48  # elements of a stage that have random streams of their own


@dataclass(frozen=True)
class Chunk:
    """A run of elements with their sliced inputs; none at all to ask whether a worker is there.

    Parameters
    ----------
    static
        What every element needs.
    inputs
        By native name an array or a list with one entry per element; linear indices for a storage.
    size
        Number of elements.
    seconds
        Time after which the chunk returns what it has.
    origin
        The run that it belongs to.
    number
        A number that no other chunk of the run has: some executors take equal calls for the same.
    stream
        Tells its random stream from those of other chunks: the stage, and the number of the first element.
    mark
        The file that says which element runs, and in which process.
    """

    static: StaticRef
    inputs: dict[str, Any]
    size: int
    seconds: float
    origin: Origin
    number: int
    stream: int = 0
    mark: str | None = None

    @property
    def first(self) -> int:
        """Number of its first element."""
        return self.stream & ((1 << STAGE_BITS) - 1)


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk gave.

    Parameters
    ----------
    reached
        Number of elements that are done.
    failed
        Number of errors that were stored.
    seconds
        Time that it took.
    outputs
        Packed results, one per output.
    failure
        What stopped it.
    out_of_reach
        Whether the file of the static part could not be read.
    began
        Digests of the random states that the process began the run with, where it is not seeded.
    process
        The process that it ran in.
    """

    reached: int = 0
    failed: int = 0
    seconds: float = 0.0
    outputs: tuple[bytes, ...] = ()
    failure: RemoteFailure | None = None
    out_of_reach: bool = False
    began: dict[str, bytes] | None = None
    process: Process | None = None


def run_pickled(data: bytes) -> bytes:
    """Run a pickled chunk in whatever process this is; give the pickled result."""
    try:
        chunk = pickle.loads(data)
    except Exception as error:  # its inputs are of classes that are not to be had here
        return pickle.dumps(ChunkResult(failure=RemoteFailure.of(error)))
    return pickle.dumps(run_chunk(chunk))


def run_chunk(chunk: Chunk) -> ChunkResult:
    """Run a chunk."""
    started = time.monotonic()
    if not chunk.size:
        return ChunkResult()
    try:
        static = chunk.static.load()
    except OSError:
        return ChunkResult(out_of_reach=True)
    except Exception as error:  # the function is of a module that is not to be had here
        return ChunkResult(failure=RemoteFailure.of(error))
    began = _prepare_random_streams(chunk, static)
    call, func = static.call, static.call.func
    columns = [Column(chunk.size) for _ in func.output_names]
    origins = OriginTable()
    try:
        with noted(func):
            sources = [_source(static, chunk, name) for name in call.names]
    except Exception as error:  # an input that is read here
        if not call.keeps_going:
            return ChunkResult(failure=RemoteFailure.of(error))
        call = replace(call, refused=error)
        sources = [constant(None)] * len(call.names)
    loop, invocation = call.loop(sources, (chunk.size,), columns, origins)
    current = _open_mark(chunk.mark)
    failure = None
    reached = 0
    try:
        try:
            if static.call.is_mapped:  # the first element says how arrays are laid out
                reached = loop.run(0, 1, current=current)
                fix_layouts(columns, 0, reached)
            reached = loop.run(reached, chunk.size, deadline=started + chunk.seconds, current=current)
        except BaseException as error:
            reached = loop.reached
            failure = RemoteFailure.of(error, is_to_blame=not invocation.in_hook)
        outputs = _pack_all(call, columns, reached, origins, chunk.first)
    except Exception as error:  # a result that cannot be pickled
        failure = RemoteFailure.of(error)
        outputs, reached = (), 0
    failed = max(column.count(ERROR) for column in columns)
    return ChunkResult(
        reached,
        failed,
        time.monotonic() - started,
        outputs,
        failure,
        began=began,
        process=None if began is None else this_process(),
    )


def _pack_all(
    call: Call, columns: list[Column], reached: int, origins: OriginTable, first: int
) -> tuple[bytes, ...]:
    def act() -> tuple[bytes, ...]:
        return tuple(
            pack_to_bytes(pack(column, 0, reached, origin_of=origins.__getitem__, output=name))
            for column, name in zip(columns, call.func.output_names, strict=True)
        )

    packed, refused = pickling(act, columns, call.func.output_names, (0, reached), origins, first=first)
    if refused and not call.keeps_going:
        column = next(each for each in columns if each.count(ERROR))
        raise column.load_error(int(np.flatnonzero(column.tags == ERROR)[0]))[0]
    return packed


def _open_mark(path: str | None) -> np.ndarray[Any, Any] | None:
    """Open the mark and write this process into it; None where the file is not to be had."""
    if path is None:
        return None
    try:
        mark = np.memmap(path, np.int64, "r+", shape=(2,))
    except (OSError, ValueError):
        return None
    mark[1] = os.getpid()
    return np.asarray(mark)


def _prepare_random_streams(chunk: Chunk, static: Static) -> dict[str, bytes] | None:
    """Seed random generators for a chunk; where the user does so, give what the legacy ones begin with."""
    origin = chunk.origin
    if origin.process == this_process():
        return None
    if origin.seeds is not None:
        seed_worker(origin.seeds, chunk.stream)
        held = held_generators(static.call.func.func, static.constants)
        redraw([each.generator for each in held], (origin.seeds["random"], chunk.stream))
        return None
    return legacy_states() if begins_run(origin.run) else None


def _source(static: Static, chunk: Chunk, name: str) -> Source:
    if name in static.constants:
        return constant(opened(static.constants[name], None)[0])
    if name in static.storages:
        return elements(elements_of(static.storages[name], chunk.inputs[name]), (0,))
    return elements(chunk.inputs[name], (0,))


def slice_input(value: Any, axes: tuple[int | None, ...], positions: tuple[np.ndarray[Any, Any], ...]) -> Any:
    """Give the entries of an input for some elements.

    Parameters
    ----------
    value
        An array, a list, a range or anything with ``__getitem__``.
    axes
        The task axis that indexes each dimension; None for one that is taken whole.
    positions
        Per task axis the position of each element.

    Returns
    -------
    ndarray or list
        One entry per element, exactly as ``value[index]`` gives it.
    """
    if type(value) is np.ndarray and None not in axes:
        return value[tuple(positions[axis] for axis in axes if axis is not None)]
    entries: list[Any] = []
    for k in range(len(positions[0])):
        key = tuple(slice(None) if axis is None else int(positions[axis][k]) for axis in axes)
        entries.append(value[key[0] if len(key) == 1 else key])
    return entries
