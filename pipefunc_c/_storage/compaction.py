"""Rewrite what is committed as one pair of files, or replace it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._faults import fault_point
from pipefunc_c._storage.commits import CommittedRun
from pipefunc_c._storage.ledger import LedgerWriter, byte_view
from pipefunc_c._storage.packing import CELL_BITS, COMPLEX_BITS
from pipefunc_c._storage.pieces import BLOCK_BYTES, PieceOfObjects
from pipefunc_c._storage.records import (
    ARRAYS,
    CELLS,
    COMMITS,
    COMPLEXES,
    LEDGER,
    OBJECTS,
    TAGS,
    UNIFORM_TAG,
    Output,
    Part,
    ledger_paths,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipefunc_c._storage.object_chunks import ObjectChunk
    from pipefunc_c._storage.packing import Packed
    from pipefunc_c._storage.pieces import Piece

COMPACTED, PERSISTED = "compacted", "persisted"


def compact(folder: str | Path, *, sync: bool = False) -> None:
    """Rewrite all valid records of a run folder as one pair of files: one record per stage, sorted.

    No writer may be at work. Killed at any point, it leaves the old files, the new ones, or both, which hold
    the same. Readers that opened the old files go on reading them.

    Parameters
    ----------
    folder
        The run folder.
    sync
        Whether to force the new files to the disk before the old ones are removed.

    Raises
    ------
    RunFolderWriteError
        If the new files cannot be written; the old ones are untouched then.

    Examples
    --------
    >>> compact("no/such/folder")
    """
    before = _files(folder)
    if not before or _is_compact(folder, before):
        return
    run = CommittedRun(folder)
    writer = LedgerWriter(folder, COMPACTED, 0.0 if sync else None, temporary=True)
    try:
        for stage in run.stages:
            _compact_stage(writer, stage, run.pieces(stage))
        writer.publish()
    except BaseException:
        writer.discard()
        raise
    _remove(before)


def _files(folder: str | Path) -> list[Path]:
    """List all files of the writers, ledgers first: without its ledger a data file counts for nothing."""
    commits = Path(folder) / COMMITS
    found = [path for path in commits.iterdir() if path.is_file()] if commits.is_dir() else []
    return sorted(found, key=lambda path: (path.suffix != LEDGER, path.name))


def _is_compact(folder: str | Path, files: list[Path]) -> bool:
    stems = {path.name.partition(".")[0] for path in files}
    if len(files) != 2 or len(stems) != 1 or not stems.pop().startswith((COMPACTED, PERSISTED)):
        return False
    run = CommittedRun(folder)
    return len(run.stages) == len(run.records) and all(len(run.pieces(stage)) == 1 for stage in run.stages)


def _remove(files: list[Path]) -> None:
    for number, path in enumerate(files):
        if number == 1:
            fault_point("mid_unlink")
        path.unlink(missing_ok=True)


def _compact_stage(writer: LedgerWriter, stage: int, records: list[list[Piece]]) -> None:
    if not records:
        return
    by_output = [_of_one_layout(pieces) for pieces in zip(*records, strict=False)]
    if len({len(record) for record in records}) > 1:
        for record in records:
            _copy_record(writer, record)
        return
    start = min(record[0].start for record in records)
    stop = max(record[0].stop for record in records)
    attempt = max(record[0].record.attempt for record in records)
    outputs = [_Merger(writer, pieces, start, stop).write() for pieces in by_output]
    writer.commit(stage, start, stop, attempt, outputs)


def _of_one_layout(pieces: Sequence[Piece]) -> list[Piece]:
    """Show arrays as objects, but for those of the layout that most elements have."""
    counts: dict[Any, int] = {}
    for piece in pieces:
        if piece.layout is not None:
            counts[piece.layout] = counts.get(piece.layout, 0) + piece.count
    kept = max(counts, key=counts.__getitem__, default=None)
    return [
        piece if piece.layout in (None, kept) else PieceOfObjects(piece.record, piece.output, piece.file)
        for piece in pieces
    ]


def _copy_record(writer: LedgerWriter, pieces: Sequence[Piece]) -> None:
    outputs = []
    for piece in pieces:
        parts = tuple(_copy_part(writer, piece, part) for part in piece.parts)
        dtype, shape = ("", ()) if piece.layout is None else (piece.layout[0].str, piece.layout[1])
        outputs.append(Output(dtype, shape, parts))
    record = pieces[0].record
    writer.commit(record.stage, record.start, record.stop, record.attempt, outputs)


def _copy_part(writer: LedgerWriter, piece: Piece, part: Part) -> Part:
    if part.kind == UNIFORM_TAG:
        return part._replace(offset=0)
    blocks = (
        piece.file.read(part.offset + done, min(BLOCK_BYTES, part.length - done)).data
        for done in range(0, part.length, BLOCK_BYTES)
    )
    return writer.write_part(part.kind, part.first, part.last, part.n, blocks)


class _Merger:
    """Merges the pieces of one output, in order: later ones lie over those before."""

    def __init__(self, writer: LedgerWriter, pieces: Sequence[Piece], start: int, stop: int) -> None:
        self._writer = writer
        self._pieces = pieces
        self._start, self._stop = start, stop
        self._starts = np.array([piece.start for piece in pieces])
        self._stops = np.array([piece.stop for piece in pieces])
        layouts = (piece.layout for piece in pieces if not isinstance(piece, PieceOfObjects))
        self._layout = next((layout for layout in layouts if layout is not None), None)

    def write(self) -> Output:
        seen = 0
        for tags in self._blocks(TAGS, np.dtype(np.uint8), ()):
            # Sorting them is worth it only where there are several.
            kinds = tags[:1] if (tags == tags[0]).all() else np.unique(tags)
            seen |= int(np.bitwise_or.reduce(np.left_shift(1, kinds, dtype=np.int64)))
        parts = []
        if seen & (seen - 1):
            parts.append(self._part(TAGS, np.dtype(np.uint8), ()))
        else:
            n = self._stop - self._start
            parts.append(Part(UNIFORM_TAG, self._start, self._stop, n, 0, 0, seen.bit_length() - 1))
        if seen & CELL_BITS:
            parts.append(self._part(CELLS, np.dtype(np.uint64), ()))
        if seen & COMPLEX_BITS:
            parts.append(self._part(COMPLEXES, np.dtype(np.complex128), ()))
        if self._layout is not None:
            parts.append(self._part(ARRAYS, *self._layout))
        for piece in self._pieces:
            parts += [_copy_part(self._writer, piece, part) for part in piece.parts if part.kind == OBJECTS]
            parts += [self._chunk(chunk) for chunk in piece.array_chunks()]
        dtype, shape = ("", ()) if self._layout is None else (self._layout[0].str, self._layout[1])
        return Output(dtype, shape, tuple(parts))

    def _chunk(self, chunk: ObjectChunk) -> Part:
        return self._writer.write_part(
            OBJECTS, chunk.first, chunk.last, chunk.count, [memoryview(chunk.read())]
        )

    def _part(self, kind: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Part:
        blocks = (byte_view(values) for values in self._blocks(kind, dtype, shape))
        return self._writer.write_part(kind, self._start, self._stop, self._stop - self._start, blocks)

    def _blocks(self, kind: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        nbytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        step = max(BLOCK_BYTES // max(nbytes, 1), 1)
        for low in range(self._start, self._stop, step):
            high = min(low + step, self._stop)
            values = np.zeros((high - low, *shape), dtype)
            for number in np.flatnonzero((self._starts < high) & (self._stops > low)).tolist():
                self._pieces[number].lay_over(kind, low, high, values)
            yield values


def replace_records(folder: str | Path, name: str, records: Iterable[Packed], *, sync: bool = False) -> None:
    """Write records of the only stage, 0, of a folder, in place of what is there.

    Parameters
    ----------
    folder
        The folder.
    name
        Name of the writer.
    records
        Packed elements of the only output, one after the other.
    sync
        Whether to force the files to the disk.

    Raises
    ------
    RunFolderWriteError
        If the files cannot be written; what was there is untouched then, also if `records` raises.
    """
    before = _files(folder)
    attempt = CommittedRun(folder).next_attempt if ledger_paths(folder) else 0
    writer = LedgerWriter(folder, name, 0.0 if sync else None, temporary=True)
    try:
        for packed in records:
            writer.append(0, attempt, [packed])
        fault_point("mid_persist")
        writer.publish()
    except BaseException:
        writer.discard()
        raise
    _remove(before)
