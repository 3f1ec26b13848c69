"""Chunks for executors of which we know nothing: a function, its sliced inputs, and what comes back.

All that crosses is plain data. What every element needs (the function and large constants) is pickled once
per stage; above a size it goes through a file that each process of this host reads once.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.source import Source, constant, elements
from pipefunc_c._kernels.tags import ERROR
from pipefunc_c._optional import require
from pipefunc_c._storage.packing import pack, pack_to_bytes
from pipefunc_c.map._failures import TracebackTable
from pipefunc_c.map._given import elements_of, opened
from pipefunc_c.map._layouts import fix_layouts
from pipefunc_c.map._worker import Failure

if TYPE_CHECKING:
    from pipefunc_c._storage.base import StorageBase
    from pipefunc_c.map._call import Call

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
class Chunk:
    """A run of elements with their sliced inputs.

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
    """

    static: StaticRef
    inputs: dict[str, Any]
    size: int
    seconds: float


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
    """

    reached: int = 0
    failed: int = 0
    seconds: float = 0.0
    outputs: tuple[bytes, ...] = ()
    failure: Failure | None = None
    out_of_reach: bool = False


def run_pickled(data: bytes) -> bytes:
    """Run a pickled chunk in whatever process this is; give the pickled result."""
    return pickle.dumps(run_chunk(pickle.loads(data)))


def run_chunk(chunk: Chunk) -> ChunkResult:
    """Run a chunk."""
    started = time.monotonic()
    try:
        static = chunk.static.load()
    except OSError:
        return ChunkResult(out_of_reach=True)
    func = static.call.func
    columns = [Column(chunk.size) for _ in func.output_names]
    tracebacks = TracebackTable()
    sources = [_source(static, chunk, name) for name in static.call.names]
    loop, invocation = static.call.loop(sources, (chunk.size,), columns, tracebacks)
    failure = None
    reached = 0
    try:
        try:
            if static.call.is_mapped:  # the first element says how arrays are laid out
                reached = loop.run(0, min(1, chunk.size))
                fix_layouts(columns, 0, reached)
            reached = loop.run(reached, chunk.size, deadline=started + chunk.seconds)
        except BaseException as error:
            reached = loop.reached
            failure = Failure.of(error, is_to_blame=not invocation.in_hook)
        outputs = tuple(
            pack_to_bytes(pack(column, 0, reached, traceback_text=tracebacks.__getitem__, output=name))
            for column, name in zip(columns, func.output_names, strict=True)
        )
    except Exception as error:  # a result that cannot be pickled
        failure = Failure.of(error, is_to_blame=False)
        outputs, reached = (), 0
    failed = max(column.count(ERROR) for column in columns)
    return ChunkResult(reached, failed, time.monotonic() - started, outputs, failure)


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
