"""The storages in zarr's format: in a folder, in memory, in memory that processes share."""

from __future__ import annotations

import os
import shutil
from typing import Any, ClassVar

from pipefunc_c._storage.base import register_storage
from pipefunc_c._storage.zarr_array import ARRAY, ZarrArray, require_zarr, run
from pipefunc_c._storage.zarr_shared_store import shared_store
from pipefunc_c.exceptions import InvalidTypeError


class ZarrFileArray(ZarrArray):
    """Hold values in a folder in zarr's format, which other programs read.

    Each value is a file of its own, and so is each element of the mask: a storage for some thousands of
    values. `FileArray` keeps millions in a few files.

    A class that derives from this one and implements `open_store` keeps its values elsewhere, in the cloud
    for one.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> ZarrFileArray(folder, (3,)).dump(1, {"a": 1})
    >>> ZarrFileArray(folder, (3,)).mask_linear()
    [True, False, True]
    """

    storage_id: ClassVar[str] = "zarr_file_array"
    requires_serialization: ClassVar[bool] = True

    def open_store(self) -> Any:
        """Open the zarr store of this array; called once, when it is first needed.

        Returns
        -------
        zarr.abc.store.Store

        Raises
        ------
        InvalidTypeError
            If there is no folder.
        """
        if self.folder is None:
            raise InvalidTypeError(
                "folder is None, expected a path", hint="use 'zarr_memory' to keep values in memory"
            )
        return require_zarr("zarr.storage").LocalStore(self.folder)

    @property
    def dump_in_subprocess(self) -> bool:
        """Tell whether another process may dump: all that see the store."""
        return True


class _MemoryInZarr(ZarrArray):
    """Hold values in memory until they are persisted; what was persisted in the folder is there again."""

    def _new_store(self) -> Any:
        raise NotImplementedError

    def open_store(self) -> Any:
        """Open the zarr store, with what was persisted in the folder."""
        store = self._new_store()
        if self.folder is not None and (self.folder / ARRAY).is_dir():
            run(_copy(require_zarr("zarr.storage").LocalStore(self.folder), store))
        return store

    def clear(self) -> None:
        """Forget all elements, those that were persisted too."""
        super().clear()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def persist(self) -> None:
        """Write the values to the folder, in the place of what is there; without a folder nothing."""
        if self.folder is None:
            return
        self._make()
        new = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(new, ignore_errors=True)
        try:
            run(_copy(self.store, require_zarr("zarr.storage").LocalStore(new)))
            shutil.rmtree(self.folder, ignore_errors=True)
            new.replace(self.folder)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


class ZarrMemoryArray(_MemoryInZarr):
    """Hold values in memory in zarr's format; `persist` writes them to the folder.

    Examples
    --------
    >>> array = ZarrMemoryArray(None, (2,))
    >>> array.dump(0, 2.5)
    >>> array[0], array[1]
    (2.5, masked)
    """

    storage_id: ClassVar[str] = "zarr_memory"

    def _new_store(self) -> Any:
        return require_zarr("zarr.storage").MemoryStore()

    @property
    def dump_in_subprocess(self) -> bool:
        """Tell whether another process may dump: private memory is out of its reach."""
        return False


class ZarrSharedMemoryArray(_MemoryInZarr):
    """Hold values in zarr's format in memory that processes share; `persist` writes them to the folder.

    Children that are forked share it; on Linux so does each process of this host that gets a pickled copy.

    Examples
    --------
    >>> array = ZarrSharedMemoryArray(None, 2)
    >>> array.dump(0, 1)
    >>> array.mask_linear()
    [False, True]
    """

    storage_id: ClassVar[str] = "zarr_shared_memory"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _ = self.store  # made now: a process that is forked later must find it

    def _new_store(self) -> Any:
        return shared_store()

    @property
    def dump_in_subprocess(self) -> bool:
        """Tell whether another process may dump."""
        return True


async def _copy(source: Any, target: Any) -> None:
    prototype = require_zarr("zarr.core.buffer").default_buffer_prototype()
    async for key in source.list():
        value = await source.get(key, prototype)
        if value is not None:
            await target.set(key, value)


for _cls in (ZarrFileArray, ZarrMemoryArray, ZarrSharedMemoryArray):
    register_storage(_cls)
