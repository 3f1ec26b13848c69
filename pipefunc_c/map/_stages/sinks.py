"""Storages that are no columns: filled as results come in, read only when a run goes on.

While a run goes on, its stages work on columns, whatever the storage: in worker processes too, which never
see such a storage.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._failure_origin import FailureOrigin
from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.index import intersect_runs
from pipefunc_c._kernels.tags import MISSING
from pipefunc_c._storage.element_array import DamagedElementError, ElementArray
from pipefunc_c._storage.ledger import DISK_IS_FULL, write_error
from pipefunc_c._storage.object_chunks import KeptError
from pipefunc_c._storage.packing import moved, pack, unpack
from pipefunc_c.exceptions import ErrorSnapshot, PropagatedErrorSnapshot, ShapeError
from pipefunc_c.map._stages.failures import PROPAGATED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pipefunc_c._storage.base import Size, StorageBase

# Elements that are handed over at once.
BLOCK = 10_000


class Sink:
    """Fill a storage with the elements of a column.

    Parameters
    ----------
    kind
        The class of the storage.
    name
        Name of the output.
    folder
        Folder of the storage; None without a run folder.
    shape_mask
        True for each external axis.
    """

    def __init__(
        self, kind: type[StorageBase], name: str, folder: Path | None, shape_mask: tuple[bool, ...]
    ) -> None:
        self._kind = kind
        self._name = name
        self._folder = folder
        self._shape_mask = shape_mask
        self._storage: StorageBase | None = None

    @property
    def storage(self) -> StorageBase:
        """The storage; ShapeError while its shape is not known."""
        if self._storage is None:
            raise ShapeError(f"{self._name!r} has no storage yet", hint="run the stages before it")
        return self._storage

    def prepare(self, shape: tuple[int, ...], internal_shape: tuple[Size, ...], *, empty: bool) -> None:
        """Make the storage; ``empty`` it of what an earlier run left."""
        self._storage = self._kind(self._folder, shape, internal_shape, self._shape_mask)
        if isinstance(self._storage, ElementArray):
            self._storage.output_name = self._name
        if empty:
            self._storage.clear()

    def take(self, column: Column, start: int, stop: int, runs: npt.NDArray[np.int64] | None) -> None:
        """Store the elements of a range, or of the runs in it, that are there."""
        spans = [(start, stop)] if runs is None else intersect_runs(runs, start, stop).tolist()
        for begin, end in spans:
            for low in range(begin, end, BLOCK):
                high = min(low + BLOCK, end)
                indices = (low + np.flatnonzero(column.tags[low:high] != MISSING)).tolist()
                if indices:
                    self._dump(indices, [column.load(index) for index in indices])

    def _dump(self, indices: Sequence[int], values: Sequence[Any]) -> None:
        try:
            self.storage.dump_at(indices, values)
        except Exception as raised:
            error = raised
            if isinstance(raised, OSError) and raised.errno in DISK_IS_FULL and self._folder is not None:
                error = write_error(self._folder, raised)
            error.add_note(
                f"This happened while elements {indices[0]} to {indices[-1]} of {self._name!r} were written "
                f"to its {type(self.storage).__name__}."
            )
            if error is raised:
                raise
            raise error from raised

    def present(self) -> npt.NDArray[np.bool_]:
        """Tell for each element whether the storage has it."""
        return ~np.array(self.storage.mask_linear(), dtype=bool)

    def read(self, index: int) -> Any:
        """Give an element; ``np.ma.masked`` where it is missing or damaged."""
        try:
            return self.storage.get_from_index(index)
        except DamagedElementError:
            return np.ma.masked


def _store(column: Column, index: int, value: Any) -> None:
    if isinstance(value, ErrorSnapshot):
        last_line = "".join(traceback.format_exception_only(value.exception))
        origin = FailureOrigin(
            value.traceback.removesuffix(last_line),
            value.timestamp,
            value.user,
            value.machine,
            value.ip_address,
            value.current_directory,
        )
        column.store_error(index, KeptError.of(value.exception, origin))
    elif isinstance(value, PropagatedErrorSnapshot):
        column.store_error(index, KeptError.of(PROPAGATED, FailureOrigin(timestamp=value.timestamp)))
    else:
        column.store(index, value)


def restore_columns(sinks: Sequence[Sink], columns: Sequence[Column]) -> npt.NDArray[np.bool_]:
    """Copy back the elements that all storages of a stage have; tell for each whether it is there."""
    present = np.ones(columns[0].size, dtype=bool)
    for sink in sinks:
        present &= sink.present()
    for low in range(0, len(present), BLOCK):
        # In a form that other processes can be told of.
        staged = [Column(min(BLOCK, column.size - low)) for column in columns]
        for index in np.flatnonzero(present[low : low + BLOCK]).tolist():
            values = [sink.read(low + index) for sink in sinks]
            if any(value is np.ma.masked for value in values):
                present[low + index] = False
                continue
            for block, value in zip(staged, values, strict=True):
                _store(block, index, value)
        for block, column in zip(staged, columns, strict=True):
            unpack(moved(pack(block, 0, block.size), low), column)
    return present
