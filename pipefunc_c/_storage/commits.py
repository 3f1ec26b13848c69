"""Commit results of a stage to a run folder, and restore them."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.column import MISSING
from pipefunc_c._storage.ledger import LedgerWriter
from pipefunc_c._storage.object_chunks import ObjectChunk
from pipefunc_c._storage.packing import Packed, clip_runs, pack, run_indices, unpack
from pipefunc_c._storage.records import (
    ARRAYS,
    CELLS,
    COMMITS,
    COMPLEXES,
    DATA,
    OBJECTS,
    RUNS,
    TAGS,
    UNIFORM_TAG,
    read_ledgers,
)
from pipefunc_c.exceptions import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from pipefunc_c._kernels.column import Column
    from pipefunc_c._storage.packing import Runs, TracebackText
    from pipefunc_c._storage.records import Output, Part, Record

# What is read or copied at a time, in bytes.
BLOCK_BYTES = 1 << 20

_DTYPES: dict[int, npt.DTypeLike] = {TAGS: "u1", CELLS: "<u8", COMPLEXES: "<c16", RUNS: "<i8"}


class Committer:
    """Commit results as one writer of a run folder. Its files are made with the first results.

    Parameters
    ----------
    folder
        The run folder.
    writer_name
        Name of the writer.
    sync
        As for LedgerWriter.

    Examples
    --------
    >>> import tempfile
    >>> from pipefunc_c._kernels.column import Column
    >>> column, folder = Column(3), tempfile.mkdtemp()
    >>> column.store(0, 1.5)
    >>> column.store(1, "text")
    >>> committer = Committer(folder, "worker")
    >>> committer.commit(0, 0, 3, 0, [column])
    >>> committer.close()
    >>> other = Column(3)
    >>> restore(folder, {0: [other]})
    {0: array([ True,  True, False])}
    >>> other.load(1)
    'text'
    """

    def __init__(self, folder: str | Path, writer_name: str, sync: float | None = None) -> None:
        self._arguments = (folder, writer_name, sync)
        self._owner = os.getpid()
        self._writer: LedgerWriter | None = None
        self._closed = False

    def commit(
        self,
        stage: int,
        start: int,
        stop: int,
        attempt: int,
        columns: Sequence[Column],
        runs: Runs | None = None,
        *,
        traceback_text: TracebackText | None = None,
        outputs: Sequence[str] = (),
    ) -> None:
        """Commit elements of all outputs of a stage.

        Parameters
        ----------
        stage
            Number of the stage.
        start, stop
            The range.
        attempt
            Where elements are committed more than once, the highest wins.
        columns
            One per output.
        runs
            ndarray of int64, shape (n_runs, 2): only these elements of the range; None for all.
        traceback_text
            Gives the text of a traceback by its number.
        outputs
            Names of the outputs, for messages.

        Raises
        ------
        InvalidTypeError
            If a result cannot be pickled.
        RunFolderWriteError
            If a file cannot be written; nothing is committed then.
        OperationError
            If the committer is closed, or was made by another process.
        """
        start, stop, runs = clip_runs(runs, start, stop)
        names = [*outputs, *[""] * (len(columns) - len(outputs))]
        packed = [
            pack(column, start, stop, runs, traceback_text=traceback_text, output=name)
            for column, name in zip(columns, names, strict=True)
        ]
        self.commit_packed(stage, attempt, packed)

    def commit_packed(self, stage: int, attempt: int, packed: Sequence[Packed]) -> None:
        """Commit packed elements of all outputs of a stage, as `commit` does."""
        if not any(each.count for each in packed):
            return
        if self._closed:
            raise OperationError("this committer is closed")
        if self._writer is None:
            if os.getpid() != self._owner:
                raise OperationError(
                    f"process {os.getpid()} commits with the committer that process {self._owner} made",
                    hint="make one of its own after the fork",
                )
            self._writer = LedgerWriter(*self._arguments)
        self._writer.append(stage, attempt, packed)

    def close(self) -> None:
        """Close the files. May be called again."""
        self._closed = True
        if self._writer is not None:
            self._writer.close()


class _DataFile:
    """A data file, open for reading: what is read stays readable when the file is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, offset: int, nbytes: int) -> npt.NDArray[np.uint8]:
        """Read bytes; fewer where the file ends."""
        # Never through a mapping: a file that is cut meanwhile would kill the process.
        size = os.fstat(self._descriptor).st_size
        buffer = np.empty(max(min(nbytes, size - offset), 0), np.uint8)
        done = 0
        while done < len(buffer):
            got = os.preadv(self._descriptor, [buffer[done : done + (1 << 30)].data], offset + done)
            if got == 0:
                break
            done += got
        return buffer[:done]

    def is_whole(self, part: Part) -> bool:
        """Tell whether the data of a part are what they were."""
        if part.kind == UNIFORM_TAG:
            return True
        crc, offset, end = 0, part.offset, part.offset + part.length
        while offset < end:
            block = self.read(offset, min(BLOCK_BYTES, end - offset))
            if not len(block):
                return False
            crc = zlib.crc32(block.data, crc)
            offset += len(block)
        return crc == part.crc

    def __repr__(self) -> str:
        return repr(str(self._path))

    def __del__(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Extent:
    """Bytes of a data file that are read when they are needed."""

    __slots__ = ("_crc", "_file", "_offset", "length")

    def __init__(self, file: _DataFile, part: Part) -> None:
        self._file, self._offset, self.length, self._crc = file, part.offset, part.length, part.crc

    def read(self) -> bytes:
        data = self._file.read(self._offset, self.length).tobytes()
        if len(data) != self.length or zlib.crc32(data) != self._crc:
            raise OperationError(
                f"the data file {self._file!r} was damaged since it was opened",
                hint="open the run folder again: what is damaged counts as missing then",
            )
        return data


class _Piece:
    """The part of a valid record that concerns one output."""

    def __init__(self, record: Record, output: Output, file: _DataFile) -> None:
        self.file = file
        self.by_kind = {part.kind: part for part in output.parts if part.kind != OBJECTS}
        self.objects = [part for part in output.parts if part.kind == OBJECTS]
        self.start, self.stop = record.start, record.stop
        self.dtype = np.dtype(output.dtype) if output.dtype else None
        self.shape = output.shape
        self.runs: Runs | None = None
        if RUNS in self.by_kind:
            self.runs = self._read(RUNS, 0, 2 * self.by_kind[RUNS].n).reshape(-1, 2)
        self.count = record.stop - record.start
        if self.runs is not None:
            self.count = int((self.runs[:, 1] - self.runs[:, 0]).sum())

    @property
    def element_bytes(self) -> int:
        """Bytes of the widest part per element."""
        widest = 16 if self.dtype is None else self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        return max(widest, 16)

    def _read(self, kind: int, first: int, n: int) -> npt.NDArray[Any]:
        dtype = np.dtype(_DTYPES[kind])
        return self.file.read(self.by_kind[kind].offset + first * dtype.itemsize, n * dtype.itemsize).view(
            dtype
        )

    def tags(self, first: int, n: int) -> npt.NDArray[np.uint8]:
        """Read the tags of ``n`` elements from the ``first`` on; one where all are equal."""
        if UNIFORM_TAG in self.by_kind:
            return np.array([self.by_kind[UNIFORM_TAG].crc], np.uint8)
        return self._read(TAGS, first, n)

    def values(self, kind: int, first: int, n: int) -> npt.NDArray[Any] | None:
        """Read what a part holds of ``n`` elements from the ``first`` on; None without this part."""
        if kind not in self.by_kind:
            return None
        if kind != ARRAYS:
            return self._read(kind, first, n)
        assert self.dtype is not None
        nbytes = self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        data = self.file.read(self.by_kind[kind].offset + first * nbytes, n * nbytes)
        return data.view(self.dtype).reshape(n, *self.shape)

    def chunks(self) -> Iterator[ObjectChunk]:
        """Give the pickles, still in the file."""
        for part in self.objects:
            yield ObjectChunk(part.first, part.last, part.n, _Extent(self.file, part))

    def packed(self, first: int, n: int, *, with_objects: bool) -> Packed:
        """Read ``n`` elements from the ``first`` on."""
        runs = self.runs
        start, stop = (
            (self.start + first, self.start + first + n) if runs is None else (self.start, self.stop)
        )
        return Packed(
            start,
            stop,
            runs,
            n,
            self.tags(first, n),
            self.values(CELLS, first, n),
            self.values(COMPLEXES, first, n),
            self.values(ARRAYS, first, n),
            tuple(self.chunks()) if with_objects else (),
        )

    def unpack(self, column: Column) -> None:
        """Put the elements into a column, block by block."""
        block = self.count if self.runs is not None else max(BLOCK_BYTES // self.element_bytes, 1)
        for first in range(0, self.count, max(block, 1)):
            n = min(block, self.count - first)
            unpack(self.packed(first, n, with_objects=first == 0), column)


class CommittedRun:
    """Read what is committed in a run folder. The ledgers are read now, the data when they are asked for.

    Parameters
    ----------
    folder
        The run folder.

    Examples
    --------
    >>> CommittedRun("no/such/folder").stages
    []
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.records: list[Record] = []
        self._files: dict[str, _DataFile] = {}
        while True:
            self.records = read_ledgers(folder)
            writers = {record.writer for record in self.records}
            try:
                self._files = {name: _DataFile(self.folder / COMMITS / f"{name}{DATA}") for name in writers}
                return
            except FileNotFoundError:
                # Replaced since the ledgers were read; or lost, and then its records count for nothing.
                if read_ledgers(folder) == self.records:
                    break
        for name in writers:
            path = self.folder / COMMITS / f"{name}{DATA}"
            if path.exists():
                self._files[name] = _DataFile(path)

    @property
    def stages(self) -> list[int]:
        """The stages of which there are records."""
        return sorted({record.stage for record in self.records})

    @property
    def next_attempt(self) -> int:
        """An attempt that wins over all that are there."""
        return max((record.attempt for record in self.records), default=-1) + 1

    def pieces(self, stage: int, n_outputs: int | None = None, size: int | None = None) -> list[list[_Piece]]:
        """Give what the valid records of a stage hold, in order: a list of outputs each."""
        found = []
        for record in self.records:
            fits = n_outputs in (None, len(record.outputs)) and (size is None or record.stop <= size)
            if record.stage == stage and fits and record.start >= 0 and self._is_whole(record):
                file = self._files[record.writer]
                found.append([_Piece(record, output, file) for output in record.outputs])
        return found

    def _is_whole(self, record: Record) -> bool:
        file = self._files.get(record.writer)
        return file is not None and all(
            file.is_whole(part) for output in record.outputs for part in output.parts
        )

    def restore(self, stage: int, columns: Sequence[Column]) -> npt.NDArray[np.bool_]:
        """Fill the columns of a stage with what is committed; damaged data count as missing.

        Parameters
        ----------
        stage
            Number of the stage.
        columns
            One per output, all of one size.

        Returns
        -------
        ndarray of bool, shape (size,)
            True where an element is there in all outputs.

        Notes
        -----
        Numbers and arrays are copied. Objects stay in the file until they are looked at.
        """
        for outputs in self.pieces(stage, len(columns), columns[0].size):
            for piece, column in zip(outputs, columns, strict=True):
                piece.unpack(column)
        present = columns[0].tags != MISSING
        for column in columns[1:]:
            present &= column.tags != MISSING
        return present


def restore(folder: str | Path, stages: Mapping[int, Sequence[Column]]) -> dict[int, npt.NDArray[np.bool_]]:
    """Fill columns with what is committed in a run folder.

    Parameters
    ----------
    folder
        The run folder.
    stages
        The columns of each stage, one per output.

    Returns
    -------
    dict
        Per stage an ndarray of bool, shape (size,): True where an element is there in all outputs.

    Examples
    --------
    >>> from pipefunc_c._kernels.column import Column
    >>> restore("no/such/folder", {0: [Column(2)]})
    {0: array([False, False])}
    """
    run = CommittedRun(folder)
    return {stage: run.restore(stage, columns) for stage, columns in stages.items()}


def spread_tags(piece: _Piece, low: int, high: int) -> npt.NDArray[np.uint8]:
    """Give the tags that a piece has in ``[low, high)``, which lies inside it; MISSING where it has none."""
    return spread(piece, TAGS, low, high)


def spread(piece: _Piece, kind: int, low: int, high: int) -> npt.NDArray[Any]:
    """Give what a piece holds of the elements ``[low, high)``, which lie inside it; zeros elsewhere."""
    if piece.runs is None:
        return _read_kind(piece, kind, low - piece.start, high - low)
    ends = np.cumsum(piece.runs[:, 1] - piece.runs[:, 0])
    _, _, runs = low, high, np.clip(piece.runs, low, high)
    indices = run_indices(runs)
    first = int(np.concatenate([[0], ends])[np.searchsorted(piece.runs[:, 1], low, side="right")])
    inside = int(np.searchsorted(piece.runs[:, 1], low, side="right"))
    if inside < len(piece.runs):
        first += max(low - int(piece.runs[inside, 0]), 0)
    values = _read_kind(piece, kind, first, len(indices))
    spread_out = np.zeros((high - low, *values.shape[1:]), dtype=values.dtype)
    spread_out[indices - low] = values
    return spread_out


def _read_kind(piece: _Piece, kind: int, first: int, n: int) -> npt.NDArray[Any]:
    if kind == TAGS:
        tags = piece.tags(first, n)
        return tags if UNIFORM_TAG not in piece.by_kind else np.full(n, tags[0])
    values = piece.values(kind, first, n)
    if values is not None:
        return values
    if kind == ARRAYS:
        return np.zeros((n, 1), np.uint8)
    return np.zeros(n, dtype=_DTYPES[kind])
