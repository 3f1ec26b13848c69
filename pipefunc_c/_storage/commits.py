"""Commit results of a stage to a run folder, and restore them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipefunc_c._kernels.tags import MISSING
from pipefunc_c._storage.ledger import LedgerWriter
from pipefunc_c._storage.packing import clip_runs, pack
from pipefunc_c._storage.pieces import DataFile, Piece
from pipefunc_c._storage.records import COMMITS, DATA, read_ledgers
from pipefunc_c.exceptions import OperationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pipefunc_c._kernels.column import Column
    from pipefunc_c._storage.packing import OriginOf, Packed, Runs
    from pipefunc_c._storage.records import Record


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
        origin_of: OriginOf | None = None,
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
        origin_of
            Gives what is kept of when and where an error happened, by its number.
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
            pack(column, start, stop, runs, origin_of=origin_of, output=name, laid_out=True)
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
        self._files: dict[str, DataFile] = {}
        while True:
            self.records = read_ledgers(folder)
            writers = {record.writer for record in self.records}
            try:
                self._files = {name: DataFile(self.folder / COMMITS / f"{name}{DATA}") for name in writers}
                return
            except FileNotFoundError:
                # Replaced since the ledgers were read; or lost, and then its records count for nothing.
                if read_ledgers(folder) == self.records:
                    break
        for name in writers:
            path = self.folder / COMMITS / f"{name}{DATA}"
            if path.exists():
                self._files[name] = DataFile(path)

    @property
    def stages(self) -> list[int]:
        """The stages of which there are records."""
        return sorted({record.stage for record in self.records})

    @property
    def next_attempt(self) -> int:
        """An attempt that wins over all that are there."""
        return max((record.attempt for record in self.records), default=-1) + 1

    def pieces(
        self, stage: int, n_outputs: int | None = None, size: int | None = None, *, checked: bool = True
    ) -> list[list[Piece]]:
        """Give what the valid records of a stage hold, in order: a list of outputs each.

        Who only counts need not have the data read and ``checked``.
        """
        found: list[list[Piece]] = []
        for record in self.records:
            fits = n_outputs in (None, len(record.outputs)) and (size is None or record.stop <= size)
            if record.stage == stage and fits and record.start >= 0 and self._is_there(record, checked):
                file = self._files[record.writer]
                found.append([Piece(record, output, file) for output in record.outputs])
        return found

    def _is_there(self, record: Record, checked: bool) -> bool:
        return self._is_whole(record) if checked else record.writer in self._files

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
        present = np.ones(columns[0].size, dtype=np.bool_)
        for column in columns:
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
