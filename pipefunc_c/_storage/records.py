"""The records of committed results: their format, and how they are found among whatever else is there."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMITS = "commits"
LEDGER, DATA = ".ledger", ".data"

# Kinds of parts. The tags of equal elements are one number, kept in the place of the checksum.
TAGS, UNIFORM_TAG, CELLS, COMPLEXES, ARRAYS, OBJECTS, RUNS = range(7)

MAGIC = b"pfCr"
VERSION = 1
# magic, version, outputs, length of the record, stage, start, stop, attempt, sequence, digest of the writer
_HEADER = struct.Struct("<4sHHIIqqQQ8s")
_OUTPUT = struct.Struct("<BBI")  # length of the dtype's name, dimensions, parts
_PART = struct.Struct("<BqqQQQI")
_CHECK = struct.Struct("<I")
_SHORTEST = _HEADER.size + _CHECK.size


class Part(NamedTuple):
    """Say where some bytes of an output lie in the data file.

    They hold ``n`` elements of ``[first, last)``.
    """

    kind: int
    first: int
    last: int
    n: int
    offset: int
    length: int
    crc: int


class Output(NamedTuple):
    """Say what a record holds of one output: its parts, and dtype ("" for none) and shape of its arrays."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


class Record(NamedTuple):
    """Say what was committed at once: elements of a stage, in all its outputs."""

    attempt: int
    writer: str
    sequence: int
    stage: int
    start: int
    stop: int
    outputs: tuple[Output, ...]


def _writer_digest(writer: str) -> bytes:
    return hashlib.blake2b(writer.encode(), digest_size=8).digest()


def encode_record(record: Record) -> bytes:
    """Turn a record into bytes.

    Examples
    --------
    >>> record = Record(0, "w", 0, 3, 0, 9, (Output("", (), (Part(1, 0, 9, 9, 0, 0, 4),)),))
    >>> next(decode_records(encode_record(record), "w"))[0] == record
    True
    """
    body = bytearray()
    for output in record.outputs:
        dtype = output.dtype.encode("ascii")
        body += _OUTPUT.pack(len(dtype), len(output.shape), len(output.parts)) + dtype
        body += struct.pack(f"<{len(output.shape)}q", *output.shape)
        for part in output.parts:
            body += _PART.pack(*part)
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        len(record.outputs),
        _SHORTEST + len(body),
        record.stage,
        record.start,
        record.stop,
        record.attempt,
        record.sequence,
        _writer_digest(record.writer),
    )
    return header + body + _CHECK.pack(zlib.crc32(body, zlib.crc32(header)))


def decode_records(data: bytes, writer: str) -> Iterator[tuple[Record, int]]:
    """Find the valid records in the bytes of a ledger; whatever else is there is passed over.

    Parameters
    ----------
    data
        The bytes.
    writer
        Name of the writer: records of others do not count.

    Yields
    ------
    tuple
        A record and where it ends.
    """
    digest = _writer_digest(writer)
    position = data.find(MAGIC)
    while position >= 0:
        record, end = _decode_record(data, position, writer, digest)
        if record is not None:
            yield record, end
        position = data.find(MAGIC, end)


def _decode_record(data: bytes, position: int, writer: str, digest: bytes) -> tuple[Record | None, int]:
    """Read one record; without a valid one the next may begin behind its first byte."""
    after = position + 1
    if len(data) - position < _SHORTEST:
        return None, after
    header = _HEADER.unpack_from(data, position)
    _, version, n_outputs, length, stage, start, stop, attempt, sequence, found_digest = header
    end = position + length
    if length < _SHORTEST or end > len(data):
        return None, after
    check = end - _CHECK.size
    if zlib.crc32(memoryview(data)[position:check]) != _CHECK.unpack_from(data, check)[0]:
        return None, after
    if version != VERSION or found_digest != digest:
        return None, end
    outputs, position = [], position + _HEADER.size
    for _ in range(n_outputs):
        output, position = _decode_output(data, position)
        outputs.append(output)
    return Record(attempt, writer, sequence, stage, start, stop, tuple(outputs)), end


def _decode_output(data: bytes, position: int) -> tuple[Output, int]:
    n_dtype, ndim, n_parts = _OUTPUT.unpack_from(data, position)
    position += _OUTPUT.size
    dtype = data[position : position + n_dtype].decode("ascii")
    position += n_dtype
    shape = struct.unpack_from(f"<{ndim}q", data, position)
    position += 8 * ndim
    end = position + n_parts * _PART.size
    parts = tuple(Part(*fields) for fields in _PART.iter_unpack(memoryview(data)[position:end]))
    return Output(dtype, shape, parts), end


def read_ledgers(folder: str | Path) -> list[Record]:
    """Read all records of a run folder that are valid.

    Parameters
    ----------
    folder
        The run folder.

    Returns
    -------
    list of Record
        Ordered: a later one wins over those before it.

    Examples
    --------
    >>> read_ledgers("no/such/folder")
    []
    """
    while True:
        records, names = [], ledger_paths(folder)
        for path in names:
            try:
                data = path.read_bytes()
            except OSError:  # removed since, or not readable
                continue
            records += [record for record, _ in decode_records(data, path.stem)]
        if names == ledger_paths(folder):  # else one was replaced while we read
            return sorted(records, key=lambda record: record[:3])


def ledger_paths(folder: str | Path) -> list[Path]:
    """List the ledgers of a run folder by name."""
    try:
        return sorted(path for path in (Path(folder) / COMMITS).iterdir() if path.suffix == LEDGER)
    except OSError:  # there is none
        return []
