"""The small files of a run folder: written in one step, checked by size and CRC when they are read."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import pickle
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipefunc_c._storage.ledger import DISK_IS_FULL
from pipefunc_c._storage.object_pickle import dump
from pipefunc_c.exceptions import InvalidValueError, RunFolderWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

FORMAT = "pipefunc_c run folder 1"
"""Says in each JSON file of a run folder that it is one of ours."""


class DamagedFileError(InvalidValueError):
    """Report a file of a run folder that does not hold what was written to it."""


class FileDigest(NamedTuple):
    """Say what a file must hold: its size in bytes and its CRC-32."""

    size: int
    crc32: int


def digest_of(data: bytes | mmap.mmap) -> FileDigest:
    """Give the digest of bytes.

    Examples
    --------
    >>> digest_of(b"abc")
    FileDigest(size=3, crc32=891568578)
    """
    view = memoryview(data)
    return FileDigest(view.nbytes, zlib.crc32(view))


class _DigestingFile:
    """Pass bytes on to a file and digest them on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = FileDigest(0, 0)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.digest = FileDigest(self.digest.size + view.nbytes, zlib.crc32(view, self.digest.crc32))
        self._file.write(view)
        return view.nbytes


class _Different(Exception):  # noqa: N818  no error: it ends a comparison
    """End a comparison."""


class _ComparingFile:
    """Compare what is written with bytes that are there."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._there = np.frombuffer(data, dtype=np.uint8)
        self.position = 0

    def write(self, data: Any) -> int:
        given = np.frombuffer(data, dtype=np.uint8)
        there = self._there[self.position : self.position + given.size]
        self.position += given.size
        if not np.array_equal(given, there):
            raise _Different
        return given.size


@contextlib.contextmanager
def replaced_file(path: Path, *, sync: bool = False) -> Iterator[BinaryIO]:
    """Write a file under a temporary name that becomes its own when all is written.

    Parameters
    ----------
    path
        The file; its folder is made if need be.
    sync
        Whether to wait until the disk has it, so that it survives a power failure.

    Yields
    ------
    file
        To write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -- values ------------------------------------------------------------------------------------------


def _is_plain_array(value: object) -> bool:
    return type(value) is np.ndarray and not value.dtype.hasobject


def pickled(value: object, what: str) -> bytes:
    """Give the bytes that are written for a value; for an array as well.

    Raises
    ------
    InvalidValueError
        If it cannot be pickled; ``what`` names it.
    """
    if _is_plain_array(value):
        return pickle.dumps(value, 5)
    try:
        return dump(value, portable=True)
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidValueError(
            f"{what} is a {type(value).__qualname__} that cannot be pickled: {error}",
            hint="a run folder keeps all inputs and defaults: pass data, and make the object in the function",
        ) from error


def prepared(value: object, what: str) -> np.ndarray[Any, Any] | bytes:
    """Give what `write_prepared` takes: the bytes of a value, but an array as it is.

    Raises
    ------
    InvalidValueError
        If it cannot be pickled; ``what`` names it.
    """
    if isinstance(value, np.ndarray) and _is_plain_array(value):
        return value
    return pickled(value, what)


def write_prepared(path: Path, content: np.ndarray[Any, Any] | bytes, *, sync: bool = False) -> FileDigest:
    """Write a value to a file.

    Parameters
    ----------
    path
        The file.
    content
        From `prepared`; the data of an array is written without being collected first.
    sync
        As for `replaced_file`.

    Returns
    -------
    FileDigest
        What the file holds now.

    Raises
    ------
    RunFolderWriteError
        If it cannot be written.
    """
    try:
        with replaced_file(path, sync=sync) as file:
            digesting = _DigestingFile(file)
            if isinstance(content, bytes):
                digesting.write(content)
            else:
                pickle.dump(content, digesting, 5)
    except OSError as error:
        raise RunFolderWriteError(
            f"{str(path)!r} cannot be written: {error}",
            detail=path,
            hint=f"{'make room' if error.errno in DISK_IS_FULL else 'see to it'} or give another run_folder",
        ) from error
    return digesting.digest


def is_pickle_of(data: bytes | mmap.mmap, content: np.ndarray[Any, Any] | bytes) -> bool:
    """Tell whether bytes are those that `write_prepared` writes for a content; an array is not copied."""
    if isinstance(content, bytes):
        return len(content) == len(data) and content == data[:]
    comparing = _ComparingFile(data)
    try:
        pickle.dump(content, comparing, 5)
    except _Different:
        return False
    return comparing.position == len(data)


def read_checked(path: Path, digest: FileDigest) -> bytes | mmap.mmap:
    """Read a file that must hold what was written to it.

    Parameters
    ----------
    path
        The file.
    digest
        What `write_prepared` gave.

    Returns
    -------
    bytes-like
        Its content, mapped where it is long.

    Raises
    ------
    DamagedFileError
        If it is not there or holds something else.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            is_long = size == digest.size and size > 1 << 16
            data = (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if is_long
                else file.read(digest.size + 1)
            )
    except OSError as error:
        raise DamagedFileError(f"{str(path)!r} cannot be read: {error}", detail=path) from error
    found = digest_of(data)
    if found != digest:
        raise DamagedFileError(
            f"{str(path)!r} is damaged: it has {found.size} bytes with CRC {found.crc32:08x}, "
            f"but {digest.size} bytes with CRC {digest.crc32:08x} were written",
            detail=path,
        )
    return data


def read_value(path: Path, digest: FileDigest) -> Any:
    """Read the value that `write_prepared` wrote.

    Raises
    ------
    DamagedFileError
        If the file does not hold what was written to it.
    Exception
        What the pickle raises, if a class of the value is not there any more.
    """
    return pickle.loads(read_checked(path, digest))


class StoredValues(Mapping[str, Any]):
    """Read the values of a run folder when they are asked for.

    Parameters
    ----------
    folder
        The run folder.
    digests
        Per name, the path in the folder and what the file must hold.

    Raises
    ------
    DamagedFileError
        By ``[]``, if the file does not hold what was written to it.
    """

    def __init__(self, folder: Path, digests: Mapping[str, tuple[str, FileDigest]]) -> None:
        self._folder = folder
        self._digests = dict(digests)
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            path, digest = self._digests[name]
            self._values[name] = read_value(self._folder / path, digest)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._digests  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)

    def __repr__(self) -> str:
        return f"StoredValues({', '.join(self._digests)})"


class StoredDict(Mapping[str, Any]):
    """Read a dict of a run folder when it is asked for."""

    def __init__(self, path: Path, digest: FileDigest) -> None:
        self._path, self._digest = path, digest
        self._values: dict[str, Any] | None = None

    def _read(self) -> dict[str, Any]:
        if self._values is None:
            self._values = dict(read_value(self._path, self._digest))
        return self._values

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"StoredDict({str(self._path)!r})"


# -- JSON --------------------------------------------------------------------------------------------


def _canonical_crc(data: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(data, sort_keys=True, separators=(',', ':')).encode()):08x}"


def write_json(path: Path, data: Mapping[str, Any], *, sync: bool = False) -> None:
    """Write a JSON object with a mark of the format and a CRC of all else.

    Parameters
    ----------
    path
        The file.
    data
        What JSON can hold.
    sync
        As for `replaced_file`.

    Raises
    ------
    RunFolderWriteError
        If it cannot be written.
    """
    content = {"format": FORMAT, **data}
    content["crc32"] = _canonical_crc(content)
    write_prepared(path, json.dumps(content, indent=1).encode() + b"\n", sync=sync)


def parse_json(text: bytes) -> dict[str, Any] | None:
    """Read what `write_json` wrote; None for anything that it did not write."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    crc = data.pop("crc32", None)
    return data if crc == _canonical_crc(data) else None
