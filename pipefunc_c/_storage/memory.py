"""The storages in memory: private or shared, by the ids that users know."""

from __future__ import annotations

from typing import Any, ClassVar

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.tags import OBJECT
from pipefunc_c._storage.base import register_storage
from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c._storage.home import SharedHome
from pipefunc_c._storage.object_heap import ObjectHeap


class MemoryArray(ColumnArray):
    """Hold values in memory of this process: the default of a map without a run folder.

    Examples
    --------
    >>> array = MemoryArray(None, (2, 2))
    >>> array.dump((0, 1), 2.5)
    >>> array[0, 1], array[1, 1]
    (2.5, masked)
    """

    storage_id: ClassVar[str] = "array"


class DictArray(ColumnArray):
    """Hold values in memory of this process, under the id that pipefunc's users know.

    Examples
    --------
    >>> DictArray(None, (2,), mapping={(0,): "a"}).to_array().tolist()
    ['a', None]
    """

    storage_id: ClassVar[str] = "dict"


class SharedArray(ColumnArray):
    """Hold values in memory that worker processes share.

    Examples
    --------
    >>> array = SharedArray(None, 2)
    >>> array.dump(0, 1)
    >>> array.mask_linear()
    [False, True]
    """

    storage_id: ClassVar[str] = "shared_array"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._heap: ObjectHeap | None = None
        super().__init__(*args, **kwargs)
        if "?" not in self.shape:
            _ = self.column  # made now: a process that is forked later must find it

    def _make_column(self, size: int) -> Column:
        column = Column(size, SharedHome())
        self._heap = ObjectHeap(size)
        column.read_object = self._heap.get
        return column

    def _store(self, index: int, value: Any) -> None:
        self.column.store(index, value)
        if self._heap is not None and self.column.tag(index) == OBJECT:
            self._heap.put(index, value)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the shared memory: the copy holds its elements privately."""
        return {**self.__dict__, "_heap": None}

    @property
    def dump_in_subprocess(self) -> bool:
        """Tell whether another process may dump: a forked one sees the same memory."""
        return True


class SharedMemoryDictArray(SharedArray):
    """Hold values in shared memory, under the id that pipefunc's users know."""

    storage_id: ClassVar[str] = "shared_memory_dict"


for _cls in (MemoryArray, DictArray, SharedArray, SharedMemoryDictArray):
    register_storage(_cls)
