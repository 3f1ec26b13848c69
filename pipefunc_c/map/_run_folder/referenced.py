"""Whether data in files, for which an input stands, are still those of the first run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pipefunc_c._storage.file import FileArray
from pipefunc_c._storage.file_value import FileValue
from pipefunc_c._storage.records import COMMITS, DATA
from pipefunc_c.map._run_folder.run_files import FileDigest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_BLOCK = 1 << 20


def data_digest(value: object) -> FileDigest | None:
    """Digest the data in files for which a value stands.

    Parameters
    ----------
    value
        An input.

    Returns
    -------
    FileDigest or None
        None for a value that stands for itself, and for files that cannot be read: who needs them says so.

    Examples
    --------
    >>> import tempfile
    >>> value = FileValue.from_data("a", tempfile.mkdtemp() + "/value")
    >>> data_digest(value) == data_digest(FileValue.from_data("a", value.path))
    True
    >>> data_digest(value) == data_digest(FileValue.from_data("b", value.path))
    False
    """
    try:
        if isinstance(value, FileValue):
            return _digest_of_files([value.path])
        if isinstance(value, FileArray) and value.folder is not None:
            # Ledgers name their writer, which is another one when the same data are written again.
            return _digest_of_files(value.folder.glob(f"{COMMITS}/*{DATA}"))
    except OSError:
        pass
    return None


def data_digests(inputs: Mapping[str, Any]) -> dict[str, FileDigest]:
    """Give the digests of the data of those inputs that stand for files, under names that no file has."""
    found = {data_key(name): data_digest(value) for name, value in inputs.items()}
    return {key: digest for key, digest in found.items() if digest is not None}


def data_key(name: str) -> str:
    """Give the name under which the digest of the data of an input is kept."""
    return f"data of {name}"


def _digest_of_files(paths: Iterable[Path]) -> FileDigest | None:
    """Digest the content of files, whatever their names and their order; None if there are none."""
    # Of equal strength as a CRC, but not the same for all that ends with its own CRC.
    found, size = [], 0
    for path in paths:
        content = hashlib.blake2b(digest_size=16)
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                size += len(block)
                content.update(block)
        found.append(content.digest())
    if not found:
        return None
    number = hashlib.blake2b(b"".join(sorted(found)), digest_size=4).digest()
    return FileDigest(size, int.from_bytes(number, "little"))
