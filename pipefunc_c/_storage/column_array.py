"""Storages that are thin views of one Column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.tags import ERROR, MISSING
from pipefunc_c._storage.element_array import ElementArray
from pipefunc_c.exceptions import ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pipefunc_c._storage.base import Size


class ColumnArray(ElementArray):
    """Show a Column as an array with external and internal axes.

    The column is made when the external shape is known and an element is first stored or asked for.

    Parameters
    ----------
    folder, shape, internal_shape, shape_mask
        As for StorageBase.
    mapping
        Values by external key; copied in.
    """

    def __init__(
        self,
        folder: str | Path | None,
        shape: Sequence[Size] | Size,
        internal_shape: Sequence[Size] | Size | None = None,
        shape_mask: Sequence[bool] | None = None,
        *,
        mapping: Mapping[tuple[int, ...], Any] | None = None,
    ) -> None:
        super().__init__(folder, shape, internal_shape, shape_mask)
        self._column: Column | None = None
        for key, value in (mapping or {}).items():
            self.dump(key, value)

    def _make_column(self, size: int) -> Column:
        return Column(size)

    @property
    def column(self) -> Column:
        """The column behind the array; ShapeError while the external shape is not resolved."""
        if self._column is None:
            self._column = self._make_column(self.size)
        return self._column

    def attach(self, column: Column) -> None:
        """Show another column from now on.

        Parameters
        ----------
        column
            One with as many elements as the external shape has.

        Raises
        ------
        ShapeError
            If it has another size.
        """
        if column.size != self.size:
            raise ShapeError(f"a column of {column.size} elements does not fit the shape {self.shape!r}")
        self._column = column

    @property
    def dump_in_subprocess(self) -> bool:
        """Tell whether another process may dump: private memory is out of its reach."""
        return False

    # -- elements ------------------------------------------------------------------------------------

    def _load(self, index: int) -> Any:
        return self.column.load(index, np.ma.masked)

    def has_index(self, index: int) -> bool:
        """Tell whether the element at a linear external index is there."""
        return self.column.tag(self._check_linear(index)) != MISSING

    def _store_at(self, indices: Sequence[int], value: Any) -> None:
        for index in indices:
            self._store(index, value)

    def _store(self, index: int, value: Any) -> None:
        self.column.store(index, value)

    def _missing(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.column.tags == MISSING)

    def _is_error(self, index: int, value: Any) -> bool:
        return self.column.tag(index) == ERROR or super()._is_error(index, value)

    # -- arrays --------------------------------------------------------------------------------------

    def is_complete(self) -> bool:
        """Tell whether no element is missing."""
        return self.column.count(MISSING) == 0

    def objects(self, default: object = None) -> npt.NDArray[np.object_]:
        """Give exactly what was stored as a fresh object array over all axes; ``default`` where missing."""
        if not self._internal_shape:
            return self.column.objects(default=default).reshape(self.resolved_shape)
        filled = np.empty(self._resolved(self.full_shape), dtype=object)
        filled[...] = default
        present = ~self._missing()
        for position, values in self._internal_arrays(self.column.objects(), present):
            filled[position] = values
        return filled

    def _whole(self) -> np.ma.MaskedArray[Any, Any]:
        return np.ma.MaskedArray(self.column.objects().reshape(self.resolved_shape), mask=self.mask)

    def typed(self) -> npt.NDArray[Any] | np.ma.MaskedArray[Any, Any] | None:
        """Give the values as one typed read-only array without a copy, or None where their types differ.

        Returns
        -------
        ndarray or MaskedArray or None
            Over all axes; masked where elements are missing.
        """
        column = self.column
        if not self._internal_shape:
            view = column.typed()
            view = None if view is None else view.reshape(self.resolved_shape)
        else:
            slab = column.slab()
            if slab is None or slab.shape[1:] != self.resolved_internal_shape:
                return None
            axes = sorted(range(len(self.shape_mask)), key=lambda axis: not self.shape_mask[axis])
            by_kind = slab.reshape((*self.resolved_shape, *self.resolved_internal_shape))
            view = by_kind.transpose(np.argsort(axes))
        if view is None or self.is_complete():
            return view
        return np.ma.MaskedArray(view, mask=self._full_mask(self.mask))
