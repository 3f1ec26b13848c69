"""The files of committed results: per writer a data file and a ledger of records, both only appended to.

A record names the parts of its data by place, length and checksum, and is itself checked. It is written
after its data, in one piece: a process that is killed leaves a whole record or none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import zlib
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._describe import bytes_text
from pipefunc_c._faults import fault_point
from pipefunc_c._storage.records import (
    ARRAYS,
    CELLS,
    COMMITS,
    COMPLEXES,
    DATA,
    LEDGER,
    OBJECTS,
    RUNS,
    TAGS,
    UNIFORM_TAG,
    Output,
    Part,
    Record,
    encode_record,
)
from pipefunc_c.exceptions import InvalidValueError, OperationError, RunFolderWriteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from pipefunc_c._storage.packing import Packed


_MAX_WRITE = 1 << 30
DISK_IS_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class LedgerWriter:
    """Append committed results to a data file and a ledger of its own.

    Parameters
    ----------
    folder
        The run folder; the files are made in ``commits`` below it.
    writer_name
        Name of the writer; made unique if there are files of this name.
    sync
        Force everything to the disk at most this often, in seconds, and at the end; None leaves that to the
        system, which is safe against crashes of processes but not of the machine.
    temporary
        Whether the files have names that nobody reads until `publish`.

    Raises
    ------
    RunFolderWriteError
        If the files cannot be made.
    InvalidValueError
        If the name cannot be one of a file.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> LedgerWriter(folder, "worker").close()
    >>> sorted(path.name for path in Path(folder, "commits").iterdir())
    ['worker.data', 'worker.ledger']
    """

    def __init__(
        self, folder: str | Path, writer_name: str, sync: float | None = None, *, temporary: bool = False
    ) -> None:
        self._descriptors: list[int] = []  # of the data file and the ledger; for __del__ too
        if not writer_name or writer_name != Path(writer_name).name or writer_name.startswith("."):
            raise InvalidValueError(f"the writer name {writer_name!r} cannot be one of a file")
        self._owner = os.getpid()
        self._sync = sync
        self._synced = time.monotonic()
        self._suffix = ".tmp" if temporary else ""
        self._folder = Path(folder) / COMMITS
        self._sequence = 0
        self._data_end = self._ledger_end = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.writer = self._open(writer_name)
        except OSError as error:
            raise write_error(self._folder, error) from error
        if sync is not None:
            sync_folder(self._folder)

    def _open(self, name: str) -> str:
        for number in count():
            unique = name if number == 0 else f"{name}-{number}"
            if any((self._folder / f"{unique}{each}").exists() for each in (LEDGER, DATA)):
                continue
            try:
                for ending in (DATA, LEDGER):
                    path = self._folder / f"{unique}{ending}{self._suffix}"
                    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
                    self._descriptors.append(os.open(path, flags, 0o666))
            except FileExistsError:
                self._close_files()
                continue
            return unique
        raise AssertionError  # `count` does not end

    def path(self, ending: str) -> Path:
        """Give the file with this ending."""
        return self._folder / f"{self.writer}{ending}{self._suffix}"

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise OperationError(
                f"process {os.getpid()} writes with the ledger writer that process {self._owner} made",
                hint="make a writer of its own after the fork",
            )
        if not self._descriptors:
            raise OperationError(f"the writer {self.writer!r} is closed")

    # -- writing -------------------------------------------------------------------------------------

    def append(self, stage: int, attempt: int, outputs: Sequence[Packed]) -> None:
        """Commit packed elements of all outputs of a stage: their data, then one record.

        Parameters
        ----------
        stage
            Number of the stage.
        attempt
            The highest wins.
        outputs
            One per output, all of the same elements.

        Raises
        ------
        RunFolderWriteError
            If a file cannot be written; nothing is committed then.
        OperationError
            If the writer is closed or was made by another process.
        """
        self._check_owner()
        fault_point("before_data")
        end, described, buffers = self._data_end, [], []
        for packed in outputs:
            parts = []
            for kind, first, last, n, buffer in _packed_parts(packed):
                view = byte_view(buffer)
                if kind == UNIFORM_TAG:
                    parts.append(Part(kind, first, last, n, end, 0, view[0]))
                    continue
                parts.append(Part(kind, first, last, n, end, len(view), zlib.crc32(view)))
                buffers.append(view)
                end += len(view)
            dtype, shape = ("", ()) if packed.arrays is None else _layout(packed.arrays)
            described.append(Output(dtype, shape, tuple(parts)))
        self._write_data(buffers)
        fault_point("after_data")
        self.commit(stage, outputs[0].start, outputs[0].stop, attempt, described)

    def _write_data(self, buffers: Iterable[memoryview]) -> None:
        position = self._data_end
        try:
            for buffer in buffers:
                write_all(self._descriptors[0], buffer, position)
                position += len(buffer)
        except BaseException as error:
            self._give_up(0, self._data_end, error)
            raise
        self._data_end = position

    def write_part(self, kind: int, first: int, last: int, n: int, blocks: Iterable[memoryview]) -> Part:
        """Append the data of one part, block by block; it counts once a record names it.

        Returns
        -------
        Part
            Where it lies.

        Raises
        ------
        RunFolderWriteError
            If the file cannot be written.
        """
        self._check_owner()
        offset, crc = self._data_end, 0
        for block in blocks:
            crc = zlib.crc32(block, crc)
            self._write_data([block])
        return Part(kind, first, last, n, offset, self._data_end - offset, crc)

    def commit(self, stage: int, start: int, stop: int, attempt: int, outputs: Sequence[Output]) -> None:
        """Write the record of data that was written before."""
        self._check_owner()
        record = Record(attempt, self.writer, self._sequence, stage, start, stop, tuple(outputs))
        data = encode_record(record)
        half = len(data) // 2
        fault_point(
            "mid_record", last_act=lambda: os.pwrite(self._descriptors[1], data[:half], self._ledger_end)
        )
        try:
            write_all(self._descriptors[1], memoryview(data), self._ledger_end)
        except BaseException as error:
            self._give_up(1, self._ledger_end, error)
            raise
        self._ledger_end += len(data)
        self._sequence += 1
        fault_point("after_record")
        if self._sync is not None and time.monotonic() - self._synced >= self._sync:
            self.flush()

    def _give_up(self, which: int, end: int, error: BaseException) -> None:
        """Take back what was written behind ``end``, and say what failed if that was the file."""
        # Made first: it tells how much room there was when the write failed.
        failure = write_error(self.path((DATA, LEDGER)[which]), error) if isinstance(error, OSError) else None
        # What cannot be taken back is no valid record, and is written over by the next.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptors[which], end)
        if failure is not None:
            raise failure from error

    # -- the end -------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Force the data, then the ledger, to the disk."""
        self._check_owner()
        for descriptor, ending in zip(self._descriptors, (DATA, LEDGER), strict=True):
            try:
                getattr(os, "fdatasync", os.fsync)(descriptor)
            except OSError as error:
                raise write_error(self.path(ending), error) from error
        self._synced = time.monotonic()

    def publish(self) -> None:
        """Give temporary files their names and close them: the data first, the ledger last."""
        self._check_owner()
        if self._sync is not None:
            self.flush()
        fault_point("before_renames")
        for ending in (DATA, LEDGER):
            temporary = self.path(ending)
            try:
                os.replace(temporary, temporary.with_suffix(""))
            except OSError as error:
                raise write_error(temporary, error) from error
            fault_point("between_renames" if ending == DATA else "before_unlink")
        self._suffix = ""
        if self._sync is not None:
            sync_folder(self._folder)
        self._close_files()

    def discard(self) -> None:
        """Close the files and delete them, unless they are published."""
        if os.getpid() != self._owner or not self._descriptors:
            return
        for ending in (LEDGER, DATA):
            self.path(ending).unlink(missing_ok=True)
        self._close_files()

    def close(self) -> None:
        """Force the files to the disk if that was asked for, and close them. May be called again."""
        try:
            if self._descriptors and self._sync is not None and os.getpid() == self._owner:
                self.flush()
        finally:
            self._close_files()

    def _close_files(self) -> None:
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in descriptors:
            os.close(descriptor)

    def __del__(self) -> None:
        self._close_files()


def _layout(arrays: npt.NDArray[Any]) -> tuple[str, tuple[int, ...]]:
    return arrays.dtype.newbyteorder("<").str, arrays.shape[1:]


def _packed_parts(packed: Packed) -> Iterator[tuple[int, int, int, int, npt.NDArray[Any] | bytes]]:
    start, stop, n = packed.start, packed.stop, packed.count
    if packed.runs is not None:
        yield RUNS, start, stop, len(packed.runs), packed.runs.astype("<i8")
    yield UNIFORM_TAG if len(packed.tags) == 1 else TAGS, start, stop, n, packed.tags
    for kind, buffer in ((CELLS, packed.cells), (COMPLEXES, packed.complexes), (ARRAYS, packed.arrays)):
        if buffer is not None:
            yield kind, start, stop, n, buffer
    for chunk in packed.objects:
        yield OBJECTS, chunk.first, chunk.last, chunk.count, chunk.read()


def byte_view(buffer: npt.NDArray[Any] | bytes) -> memoryview:
    r"""Show a buffer as bytes; little-endian machines only store what they have.

    Examples
    --------
    >>> bytes(byte_view(np.array([1, 2], dtype=np.uint16)))
    b'\x01\x00\x02\x00'
    """
    if isinstance(buffer, bytes):
        return memoryview(buffer)
    flat = np.ascontiguousarray(buffer).reshape(-1)
    return flat.view(np.uint8).data


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all bytes at a place of a file, however many calls that takes."""
    end = len(data)
    done = 0
    while done < end:
        written = os.pwrite(descriptor, data[done : done + _MAX_WRITE], offset + done)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done += written


def write_error(path: Path, error: OSError) -> RunFolderWriteError:
    """Give the error for a file of a run folder that cannot be written; it says what to do."""
    free, hint = "", "see to the folder, or give another one; what was committed before is whole"
    if error.errno in DISK_IS_FULL:
        hint = "make room, then go on with resume=True: what was committed before is whole"
        try:
            room = os.statvfs(path.parent)
            free = f"; {bytes_text(room.f_bavail * room.f_frsize)} are free there"
        except (OSError, AttributeError):  # no such call on this system, or no such folder
            pass
    elif isinstance(error, NotADirectoryError | FileExistsError):
        hint = "a file is where the folder is to be: give another path"
    failure = RunFolderWriteError(
        f"cannot write {str(path)!r}: {error.strerror or error}{free}", detail=str(path), hint=hint
    )
    failure.errno, failure.filename = error.errno, str(path)
    return failure


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)
