"""Storages in zarr's format: a chunk for each element, so that writers never meet in one."""

from __future__ import annotations

import contextlib
import pickle
import struct
import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipefunc_c._describe import bytes_text, message_of
from pipefunc_c._optional import Later, require
from pipefunc_c._storage.element_array import DamagedElementError, ElementArray
from pipefunc_c._storage.exact import exact
from pipefunc_c._storage.object_pickle import dump
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError, ShapeError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pipefunc_c._storage.base import Size
else:
    asyncio = Later("asyncio")

ARRAY, MASK = "array", "mask"
# A chunk of one value in zarr's codec vlen-bytes: how many values, and the length of the first.
_HEADER = struct.Struct("<II")
_MAX_BYTES = 2**31 - 1
# Behind it the checksum of zarr's codec crc32c: a damaged value is never taken for another one.
_CHECKSUM = struct.Struct("<I")
_CODECS = {ARRAY: ["vlen-bytes", "crc32c"], MASK: ["bytes"]}
_THERE = b"\0"  # a chunk of the mask: False
# Requests that are under way at once, and elements that are taken together.
CONCURRENCY, BATCH = 32, 1024


def require_zarr(module: str = "zarr") -> Any:
    """Import zarr, or a module of it."""
    return require(module, package="zarr>=3", extra="zarr")


class ObjectCodec(Protocol):
    """Turn values into bytes and back."""

    def encode(self, value: Any) -> bytes:
        """Give the bytes of a value."""

    def decode(self, data: bytes) -> Any:
        """Give the value of bytes."""


class PickleCodec:
    """Pickle values; with cloudpickle where plain pickle is not enough.

    Examples
    --------
    >>> codec = PickleCodec()
    >>> codec.decode(codec.encode({"a": [1, 2.5]}))
    {'a': [1, 2.5]}
    """

    def encode(self, value: Any) -> bytes:
        """Give the pickle of a value."""
        return dump(exact([value])[0], portable=True)

    def decode(self, data: bytes) -> Any:
        """Give the value of a pickle."""
        return pickle.loads(data)


class ZarrArray(ElementArray):
    """Hold each value as a chunk of a zarr array.

    The store holds a group of two arrays over the external axes, both with one element per chunk: ``array``
    has the values as bytes of any length, ``mask`` is True where an element is missing. Whoever stores an
    element writes its own two chunks, the mask last, and reads none: any number of processes may do so.

    A class for another kind of store derives from this one and implements ``open_store``.

    Parameters
    ----------
    folder
        Folder that belongs to the array; what it means is up to ``open_store``.
    shape, internal_shape, shape_mask
        As for StorageBase.
    store
        A zarr store to use instead of that of ``open_store``.
    object_codec
        What turns values into bytes and back: anything with ``encode`` and ``decode``, such as the codecs of
        numcodecs; by default pickle.

    Raises
    ------
    MissingDependencyError
        If zarr is not installed.
    InvalidTypeError
        If ``object_codec`` cannot encode or decode.
    """

    def __init__(
        self,
        folder: str | Path | None,
        shape: Sequence[Size] | Size,
        internal_shape: Sequence[Size] | Size | None = None,
        shape_mask: Sequence[bool] | None = None,
        *,
        store: Any = None,
        object_codec: ObjectCodec | None = None,
    ) -> None:
        require_zarr()
        super().__init__(folder, shape, internal_shape, shape_mask)
        codec: Any = PickleCodec() if object_codec is None else object_codec
        if not (callable(getattr(codec, "encode", None)) and callable(getattr(codec, "decode", None))):
            raise InvalidTypeError(f"object_codec is {codec!r}, which has no methods encode and decode")
        self.object_codec: ObjectCodec = codec
        self._store = store
        self._is_checked = False

    @abstractmethod
    def open_store(self) -> Any:
        """Open the zarr store of this array; called once, when it is first needed."""

    @property
    def store(self) -> Any:
        """The zarr store."""
        if self._store is None:
            self._store = self.open_store()
        return self._store

    def __getstate__(self) -> dict[str, Any]:
        """Let a copy look again at what the store holds."""
        return {**self.__dict__, "_is_checked": False}

    # -- the group -----------------------------------------------------------------------------------

    def _exists(self) -> bool:
        """Tell whether the store has the arrays; refuse those of others."""
        if not self._is_checked:
            zarr = require_zarr()
            try:
                array, mask = (zarr.open_array(self.store, path=path, mode="r") for path in (ARRAY, MASK))
            except FileNotFoundError:
                return False
            except (KeyError, TypeError, ValueError) as error:
                raise OperationError(
                    f"zarr cannot read the description of an array in {self.store}: {message_of(error)}",
                    hint="start over with resume=False, or restore the files zarr.json",
                ) from error
            self._check(ARRAY, array)
            self._check(MASK, mask)
            self._is_checked = True
        return True

    def _check(self, name: str, array: Any) -> None:
        shape = self.resolved_shape
        if tuple(array.shape) != shape:
            raise ShapeError(
                f"the zarr array {name!r} in {self.store} has the shape {array.shape!r}, not {shape!r}",
                hint="use another folder or store",
            )
        metadata = array.metadata
        codecs = [each.to_dict().get("name") for each in getattr(metadata, "codecs", ())]
        encoding = getattr(getattr(metadata, "chunk_key_encoding", None), "name", "")
        is_ours = codecs == _CODECS[name] and encoding == "default"
        if not is_ours or tuple(array.chunks) != (1,) * len(shape):
            raise OperationError(
                f"the zarr array {name!r} in {self.store} was not written by this storage: its chunks are "
                f"{tuple(array.chunks)!r}, its codecs {codecs}",
                hint="use another folder or store",
            )

    def _make(self) -> None:
        """Make the arrays, unless they are there."""
        if self._exists():
            return
        zarr, shape = require_zarr(), self.resolved_shape
        checksum = require_zarr("zarr.codecs").Crc32cCodec()
        for name, dtype, missing, compressors in (
            (ARRAY, "variable_length_bytes", b"", [checksum]),
            (MASK, "bool", True, None),
        ):
            # Another process may have made it since.
            with _without_warning(), contextlib.suppress(zarr.errors.ContainsArrayError):
                zarr.create_array(
                    self.store,
                    name=name,
                    shape=shape,
                    chunks=(1,) * len(shape),
                    dtype=dtype,
                    compressors=compressors,
                    filters=None,
                    fill_value=missing,
                    chunk_key_encoding={"name": "default", "separator": "/"},
                    zarr_format=3,
                )
        self._exists()

    # -- chunks --------------------------------------------------------------------------------------

    def _key(self, name: str, index: int) -> str:
        position = np.unravel_index(index, self.resolved_shape) if self._shape else ()
        return "/".join([name, "c", *map(str, position)])

    def _encoded(self, index: int, value: Any) -> bytes:
        data = self.object_codec.encode(value)
        if len(data) > _MAX_BYTES:
            raise InvalidValueError(
                f"element {index} has {bytes_text(len(data))}, zarr's codec vlen-bytes holds at most "
                f"{bytes_text(_MAX_BYTES)}"
            )
        chunk = _HEADER.pack(1, len(data)) + data
        return chunk + _checksum(chunk)

    def _decoded(self, index: int, chunk: bytes) -> Any:
        content, checksum = chunk[: -_CHECKSUM.size], chunk[-_CHECKSUM.size :]
        if len(content) < _HEADER.size or _checksum(content) != checksum:
            raise DamagedElementError(
                f"the chunk {self._key(ARRAY, index)!r} in {self.store} is damaged: it holds no element",
                detail=index,
                hint="compute it again with resume=True, or delete the chunk of this name under 'mask'",
            )
        return self.object_codec.decode(content[_HEADER.size :])

    async def _set(self, index: int, chunk: bytes) -> None:
        buffer = _prototype().buffer
        await self.store.set(self._key(ARRAY, index), buffer.from_bytes(chunk))
        await self.store.set(self._key(MASK, index), buffer.from_bytes(_THERE))

    async def _get(self, index: int) -> bytes | None:
        mask = await self.store.get(self._key(MASK, index), _prototype())
        if mask is None or mask.to_bytes() != _THERE:
            return None
        chunk = await self.store.get(self._key(ARRAY, index), _prototype())
        return b"" if chunk is None else bytes(chunk.to_bytes())

    async def _present(self) -> npt.NDArray[np.bool_]:
        """Find the elements that are there by the names of the chunks of the mask."""
        shape, strides = self.resolved_shape, self.strides
        found = np.zeros(self.size, dtype=bool)
        start = f"{MASK}/c"
        async for key in self.store.list_prefix(f"{MASK}/"):
            parts = key[len(start) :].split("/")[1:]
            fits = key.startswith(start) and len(parts) == len(shape) and all(map(str.isdecimal, parts))
            if fits:
                found[sum(int(k) * step for k, step in zip(parts, strides, strict=True))] = True
        return found

    # -- what an array does --------------------------------------------------------------------------

    def _load(self, index: int) -> Any:
        return self._load_at(np.array([index]))[0]

    def _load_at(self, indices: npt.NDArray[np.int64]) -> list[Any]:
        if not len(indices) or not self._exists():
            return [np.ma.masked] * len(indices)
        numbers: list[int] = indices.tolist()
        chunks = run_all(self._get(index) for index in numbers)
        return [
            np.ma.masked if chunk is None else self._decoded(index, chunk)
            for index, chunk in zip(numbers, chunks, strict=True)
        ]

    def has_index(self, index: int) -> bool:
        """Tell whether the element at a linear external index is there."""
        self._check_linear(index)
        return self._exists() and bool(run(self.store.exists(self._key(MASK, index))))

    def _missing(self) -> npt.NDArray[np.bool_]:
        if not self._exists():
            return np.ones(self.size, dtype=bool)
        present: npt.NDArray[np.bool_] = run(self._present())
        return ~present

    def _store_at(self, indices: Sequence[int], value: Any) -> None:
        chunk = self._encoded(indices[0], value)
        self._make()
        run_all(self._set(index, chunk) for index in indices)

    def dump_at(self, indices: Sequence[int], values: Sequence[Any]) -> None:
        """Store values at linear external indices, many at a time."""
        self._make()
        for first in range(0, len(indices), BATCH):
            batch = zip(indices[first : first + BATCH], values[first : first + BATCH], strict=True)
            chunks = [(self._check_linear(index), self._encoded(index, value)) for index, value in batch]
            run_all(self._set(index, chunk) for index, chunk in chunks)

    def clear(self) -> None:
        """Delete the two arrays."""
        self._is_checked = False
        for name in (ARRAY, MASK):
            run(self.store.delete_dir(name))


@contextlib.contextmanager
def _without_warning() -> Iterator[None]:
    """Keep zarr from saying that bytes of any length are no part of its standard yet."""
    kind = getattr(require_zarr("zarr.errors"), "UnstableSpecificationWarning", FutureWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kind)
        yield


def _checksum(data: bytes) -> bytes:
    # Zarr itself needs this package.
    return _CHECKSUM.pack(require("google_crc32c", package="google-crc32c", extra="zarr").value(data))


def _prototype() -> Any:
    return require_zarr("zarr.core.buffer").default_buffer_prototype()


def run(request: Coroutine[Any, Any, Any]) -> Any:
    """Wait for a request to a store."""
    return require_zarr("zarr.core.sync").sync(request)


def run_all(requests: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Wait for requests to a store, of which some are under way at once; give their results in order."""

    async def gathered() -> list[Any]:
        limit = asyncio.Semaphore(CONCURRENCY)

        async def limited(request: Coroutine[Any, Any, Any]) -> Any:
            async with limit:
                return await request

        return await asyncio.gather(*[limited(request) for request in requests])

    return list(run(gathered()))
