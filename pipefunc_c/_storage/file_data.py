"""Write a whole array or list to a folder, from which its elements are read one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.tags import OBJECT
from pipefunc_c._storage.compaction import PERSISTED, replace_records
from pipefunc_c._storage.packing import moved, pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipefunc_c._storage.packing import Packed

# Elements of a record; of objects fewer, because those of a record are read together.
NUMBERS, OBJECTS = 1 << 16, 1 << 8


def write_data(folder: Path, data: Any, shape: tuple[int, ...]) -> None:
    """Write the elements of an array to a folder, in the place of what is there.

    Parameters
    ----------
    folder
        The folder; made if need be.
    data
        A list, a range or anything with a ``shape`` whose elements ``data[index]`` gives.
    shape
        Its shape.

    Raises
    ------
    InvalidTypeError
        If an element cannot be pickled; what is there stays.
    RunFolderWriteError
        If the folder cannot be written; what is there stays.
    """
    replace_records(folder, PERSISTED, _blocks(data, shape))


def _blocks(data: Any, shape: tuple[int, ...]) -> Iterator[Packed]:
    size = int(np.prod(shape, dtype=np.int64))
    for start in range(0, size, NUMBERS):
        column = Column(min(NUMBERS, size - start))
        _fill(column, data, shape, start)
        step = OBJECTS if column.tag_set() & 1 << OBJECT else NUMBERS
        for first in range(0, column.size, step):
            yield moved(pack(column, first, min(first + step, column.size)), start)


def _fill(column: Column, data: Any, shape: tuple[int, ...], start: int) -> None:
    if type(data) is np.ndarray and data.ndim == 1:
        data = data[start : start + column.size]
        start = 0
    for index in range(column.size):
        if len(shape) == 1:
            value = data[start + index]
        else:
            value = data[tuple(int(k) for k in np.unravel_index(start + index, shape))]
        if value is not np.ma.masked:
            column.store(index, value)
