"""A zarr store in memory that processes share."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pipefunc_c._storage.shared_log import SharedLog
from pipefunc_c._storage.zarr_array import require_zarr

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


def shared_store(log: SharedLog | None = None) -> Any:
    """Make a zarr store on a log, by default a new one.

    Examples
    --------
    >>> import pickle
    >>> store = shared_store()
    >>> pickle.loads(pickle.dumps(store)) == store
    True
    """
    return _store_class()(SharedLog() if log is None else log)


@functools.cache
def _store_class() -> type[Any]:
    """Give the class; made when it is needed, for its base is imported then."""
    base: Any = require_zarr("zarr.abc.store").Store
    memory_store = require_zarr("zarr.storage").MemoryStore

    class SharedMemoryStore(base):  # type: ignore[misc]  # the base is only known now
        """Keep chunks in a `SharedLog`."""

        supports_writes = supports_deletes = supports_listing = True

        def __init__(self, log: SharedLog, *, read_only: bool = False) -> None:
            super().__init__(read_only=read_only)
            self.log = log

        def with_read_only(self, read_only: bool = False) -> SharedMemoryStore:
            return SharedMemoryStore(self.log, read_only=read_only)

        def __reduce__(self) -> tuple[Any, ...]:
            return shared_store, (self.log,)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, SharedMemoryStore) and other.log is self.log

        def __hash__(self) -> int:
            return hash(id(self.log))

        def __str__(self) -> str:
            return "shared memory"

        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            try:
                value = self.log[key]
            except KeyError:
                return None
            buffer = require_zarr("zarr.core.buffer").default_buffer_prototype().buffer.from_bytes(value)
            return await memory_store({key: buffer}).get(key, prototype, byte_range)

        async def get_partial_values(
            self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
        ) -> list[Any]:
            return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

        async def exists(self, key: str) -> bool:
            return key in self.log

        async def set(self, key: str, value: Any) -> None:
            self._check_writable()
            self.log[key] = value.to_bytes()

        async def delete(self, key: str) -> None:
            self._check_writable()
            del self.log[key]

        async def list(self) -> AsyncIterator[str]:
            for key in self.log.names():
                yield key

        async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
            for key in self.log.names():
                if key.startswith(prefix):
                    yield key

        async def list_dir(self, prefix: str) -> AsyncIterator[str]:
            start = f"{prefix.rstrip('/')}/" if prefix else ""
            found = [key[len(start) :] for key in self.log.names() if key.startswith(start)]
            for name in sorted({key.partition("/")[0] for key in found}):
                yield name

    return SharedMemoryStore
