"""The storage on disk: commit records in a folder."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipefunc_c._describe import short_repr
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.base import register_storage
from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c._storage.commits import CommittedRun, Committer
from pipefunc_c._storage.file_data import write_data
from pipefunc_c._storage.packing import moved, pack, unpack
from pipefunc_c._storage.records import COMMITS, LEDGER
from pipefunc_c.exceptions import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pipefunc_c._storage.base import Size

STAGE = 0


class FileArray(ColumnArray):
    """Hold values in a folder; every ``dump`` is committed at once.

    Other objects and processes that use the same folder see it, and may dump too. The values are never one
    file each: each writer appends to a pair of files of its own.

    Parameters
    ----------
    folder
        The folder; made with the first ``dump``.
    shape, internal_shape, shape_mask
        As for StorageBase.
    filename_template
        Ignored, with a warning.

    Raises
    ------
    InvalidTypeError
        If there is no folder.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> FileArray(folder, (3,)).dump(1, {"a": 1})
    >>> FileArray(folder, (3,)).to_array()
    masked_array(data=[--, {'a': 1}, --],
                 mask=[ True, False,  True],
           fill_value=...,
                dtype=object)
    """

    storage_id: ClassVar[str] = "file_array"
    requires_serialization: ClassVar[bool] = True

    def __init__(
        self,
        folder: str | Path,
        shape: Sequence[Size] | Size,
        internal_shape: Sequence[Size] | Size | None = None,
        shape_mask: Sequence[bool] | None = None,
        *,
        filename_template: str | None = None,
    ) -> None:
        if not isinstance(folder, (str, Path)):
            raise InvalidTypeError(
                f"folder is {folder!r}, expected a path", hint="use storage 'array' to keep values in memory"
            )
        if filename_template is not None:
            warnings.warn(
                "filename_template is ignored: elements are not files here", UserWarning, stacklevel=2
            )
        super().__init__(folder, shape, internal_shape, shape_mask)
        assert self.folder is not None  # it was given
        self._commits = os.path.join(self.folder, COMMITS)
        self._is_attached = False
        self._committer: Committer | None = None
        self._committer_owner = 0
        self._next_attempt = 0
        self._seen: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_data(cls, data: Any, folder: str | Path) -> FileArray:
        """Write an array or a list to a folder, in one step: an input that is read where it is needed.

        Parameters
        ----------
        data
            A list, a tuple, a range, or anything with a shape. A list has one dimension, whatever is in it.
        folder
            The folder; made if need be. Its absolute path is kept. Elements that are there are replaced.

        Returns
        -------
        FileArray
            Of the same shape: its elements are exactly those of ``data``. Its pickle names the folder only.

        Raises
        ------
        InvalidTypeError
            If ``data`` has no shape, or an element cannot be pickled; what is in the folder stays.
        RunFolderWriteError
            If the folder cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> array = FileArray.from_data(np.arange(6).reshape(2, 3), tempfile.mkdtemp())
        >>> array.shape, array[1, 2]
        ((2, 3), np.int64(5))
        """
        if not isinstance(data, list | tuple | range) and not isinstance(getattr(data, "shape", None), tuple):
            raise InvalidTypeError(
                f"data is {short_repr(data)} of type {type(data).__qualname__}, which has no shape",
                hint="give a list or an array; FileValue.from_data keeps any other value",
            )
        shape = (len(data),) if isinstance(data, list | tuple | range) else data.shape
        array = cls(folder, shape)
        assert array.folder is not None  # it was given
        write_data(array.folder, data, array.resolved_shape)
        return array

    @classmethod
    def of_column(
        cls,
        column: Column,
        folder: str | Path,
        shape: Sequence[Size] | Size,
        internal_shape: Sequence[Size] | Size | None = None,
        shape_mask: Sequence[bool] | None = None,
    ) -> FileArray:
        """Show a column that someone else commits: a dump changes the column only.

        Parameters
        ----------
        column
            The column.
        folder
            Where it is committed.
        shape, internal_shape, shape_mask
            As for StorageBase.

        Returns
        -------
        FileArray
        """
        array = cls(folder, shape, internal_shape, shape_mask)
        array.attach(column)
        return array

    def attach(self, column: Column) -> None:
        """Show another column from now on, which someone else commits.

        Parameters
        ----------
        column
            One with as many elements as the external shape has.

        Raises
        ------
        ShapeError
            If it has another size.
        """
        super().attach(column)
        self._is_attached = True

    @property
    def dump_in_subprocess(self) -> bool:
        """Tell whether another process may dump: all that see the folder."""
        return True

    # -- the folder ----------------------------------------------------------------------------------

    def _make_column(self, size: int) -> Column:
        column = Column(size)
        self._restore(column)
        return column

    def _restore(self, column: Column) -> None:
        assert self.folder is not None  # __init__ sees to that
        self._seen = self._signature()
        run = CommittedRun(self.folder)
        run.restore(STAGE, [column])
        self._next_attempt = max(self._next_attempt, run.next_attempt)

    def _signature(self) -> tuple[tuple[str, int], ...]:
        """Give the sizes of the ledgers: they tell whether something was committed."""
        found = []
        try:
            with os.scandir(self._commits) as entries:
                for entry in entries:
                    if entry.name.endswith(LEDGER):
                        with contextlib.suppress(OSError):  # removed since
                            found.append((entry.name, entry.stat().st_size))
        except OSError:  # there is none
            return ()
        return tuple(sorted(found))

    def refresh(self) -> None:
        """Take over what others committed since the last look. Everything that reads does this first."""
        if self._is_attached or self._column is None:
            return
        if self._signature() != self._seen:
            self._restore(self._column)

    def dump(self, key: Any, value: Any) -> None:
        """Store a value at a key over the external axes, and commit it; a slice stores it in every cell.

        Parameters
        ----------
        key, value
            As for StorageBase.

        Raises
        ------
        InvalidTypeError
            If the value cannot be pickled.
        RunFolderWriteError
            If the folder cannot be written.
        """
        if self._is_attached:
            super().dump(key, value)
            return
        normal = self.normalize_key(key, for_dump=True)
        indices = np.unique(self._linear_indices(normal, self.resolved_shape))
        if len(indices):
            self.refresh()
            self._commit(self.column, indices, value)

    def _commit(self, column: Column, indices: npt.NDArray[np.int64], value: Any) -> None:
        # Packed from a column of its own: what cannot be committed must not be seen.
        first = int(indices[0])
        staged = Column(int(indices[-1]) + 1 - first)
        for index in indices.tolist():
            staged.store(index - first, value)
        packed = moved(pack(staged, 0, staged.size, _runs(indices - first)), first)
        self._own_committer().commit_packed(STAGE, self._next_attempt, [packed])
        self._next_attempt += 1
        unpack(packed, column)
        self._seen = self._signature()

    def _own_committer(self) -> Committer:
        assert self.folder is not None  # __init__ sees to that
        if self._committer is None or self._committer_owner != os.getpid():
            name = f"array-{os.getpid()}-{os.urandom(4).hex()}"
            self._committer, self._committer_owner = Committer(self.folder, name), os.getpid()
        return self._committer

    def persist(self) -> None:
        """Do nothing: everything is in the folder already."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what the folder has; a copy opens it again."""
        own = {} if self._is_attached else {"_column": None, "_seen": (), "_next_attempt": 0}
        return {**self.__dict__, "_committer": None, **own}

    # -- reading -------------------------------------------------------------------------------------

    def get_from_index(self, index: int) -> Any:
        """Give the value at a linear external index; ``np.ma.masked`` where it is missing."""
        self.refresh()
        return super().get_from_index(index)

    def has_index(self, index: int) -> bool:
        """Tell whether the element at a linear external index is there."""
        self.refresh()
        return super().has_index(index)

    def __getitem__(self, key: Any) -> Any:
        """Give the element or sub-array at a key over all axes; missing ones are masked."""
        self.refresh()
        return super().__getitem__(key)

    def to_array(self, *, splat_internal: bool | None = None) -> np.ma.MaskedArray[Any, Any]:
        """Give all values as a masked object array; internal axes become axes by default."""
        self.refresh()
        return super().to_array(splat_internal=splat_internal)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True where an element is missing; shape of the external axes."""
        self.refresh()
        return super().mask

    def is_complete(self) -> bool:
        """Tell whether no element is missing."""
        self.refresh()
        return super().is_complete()

    def mask_linear(self) -> list[bool]:
        """List for each linear external index whether the element is missing."""
        self.refresh()
        return super().mask_linear()


def _runs(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give the runs of sorted indices."""
    breaks = np.flatnonzero(np.diff(indices) != 1)
    starts = indices[np.concatenate([[0], breaks + 1])]
    stops = indices[np.concatenate([breaks, [len(indices) - 1]])] + 1
    return np.stack([starts, stops], axis=1)


register_storage(FileArray)
