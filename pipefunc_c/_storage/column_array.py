"""Storages that are thin views of one Column."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.tags import ERROR, MISSING
from pipefunc_c._storage.base import Size, StorageBase
from pipefunc_c.exceptions import InvalidValueError, OutOfBoundsError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt


class ColumnArray(StorageBase):
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

    def _check_linear(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise OutOfBoundsError(f"linear index {index} is out of bounds for {self.size} elements")
        return index

    def get_from_index(self, index: int) -> Any:
        """Give the value at a linear external index; ``np.ma.masked`` where it is missing."""
        return self.column.load(self._check_linear(index), np.ma.masked)

    def has_index(self, index: int) -> bool:
        """Tell whether the element at a linear external index is there."""
        return self.column.tag(self._check_linear(index)) != MISSING

    def dump(self, key: Any, value: Any) -> None:
        """Store a value at a key over the external axes; a slice stores it in every cell."""
        normal = self.normalize_key(key, for_dump=True)
        for index in self._linear_indices(normal, self.resolved_shape).flat:
            self._store(int(index), value)

    def _store(self, index: int, value: Any) -> None:
        self.column.store(index, value)

    @staticmethod
    def _linear_indices(key: tuple[int | slice, ...], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Linear indices of a key over the external axes, in the shape that the key selects."""
        total = np.zeros((), dtype=np.int64)
        for axis, index in enumerate(key):
            stride = math.prod(shape[axis + 1 :])
            if isinstance(index, slice):
                along = np.arange(*index.indices(shape[axis]), dtype=np.int64) * stride
                total = total[..., np.newaxis] + along
            else:
                total = total + index * stride
        return np.asarray(total)

    # -- arrays --------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """Give the element or sub-array at a key over all axes; missing ones are masked."""
        normal = self.normalize_key(key)
        external = tuple(k for k, is_external in zip(normal, self.shape_mask, strict=True) if is_external)
        internal = tuple(k for k, is_external in zip(normal, self.shape_mask, strict=True) if not is_external)
        if not any(isinstance(k, slice) for k in external):
            linear = int(self._linear_indices(external, self.resolved_shape))
            value = self.column.load(linear, np.ma.masked)
            if value is np.ma.masked and any(isinstance(k, slice) for k in internal):
                nothing = np.empty(self.resolved_internal_shape, dtype=object)
                return np.ma.MaskedArray(nothing, mask=True)[internal]
            if not internal or value is np.ma.masked:
                return value
            array = self._element_array(value, linear)
            if any(isinstance(k, slice) for k in internal):
                return _object_array(array, len(internal))[internal]
            return array[internal]
        if not internal:
            indices = self._linear_indices(external, self.resolved_shape)
            return self._masked(indices)
        return self.to_array()[normal]

    def _masked(self, indices: npt.NDArray[np.int64]) -> np.ma.MaskedArray[Any, Any]:
        values = np.empty(indices.shape, dtype=object)
        for position, index in zip(np.ndindex(indices.shape), indices.flat, strict=True):
            values[position] = self.column.load(int(index))
        return np.ma.MaskedArray(values, mask=self.column.tags[indices] == MISSING)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True where an element is missing; shape of the external axes."""
        return np.asarray(self.column.tags == MISSING).reshape(self.resolved_shape)

    def mask_linear(self) -> list[bool]:
        """List for each linear external index whether the element is missing."""
        return list((self.column.tags == MISSING).tolist())

    def is_complete(self) -> bool:
        """Tell whether no element is missing."""
        return self.column.count(MISSING) == 0

    def objects(self, default: object = None) -> npt.NDArray[np.object_]:
        """Give exactly what was stored as a fresh object array over all axes; ``default`` where missing."""
        if self._internal_shape:
            filled = np.empty(self._resolved(self.full_shape), dtype=object)
            filled[...] = default
            for position, values in self._internal_arrays():
                filled[position] = values
            return filled
        return self.column.objects(default=default).reshape(self.resolved_shape)

    def to_array(self, *, splat_internal: bool | None = None) -> np.ma.MaskedArray[Any, Any]:
        """Give all values as a masked object array.

        Parameters
        ----------
        splat_internal
            Whether the internal axes become axes of the result; by default where there are any.

        Returns
        -------
        MaskedArray of object, shape of all axes, or of the external ones

        Raises
        ------
        InvalidValueError
            If internal axes are asked for and there are none.
        """
        if splat_internal and not self._internal_shape:
            raise InvalidValueError("splat_internal=True, but the array has no internal axes")
        if splat_internal is None:
            splat_internal = bool(self._internal_shape)
        if splat_internal:
            return np.ma.MaskedArray(self.objects(), mask=self._full_mask())
        values = self.column.objects().reshape(self.resolved_shape)
        return np.ma.MaskedArray(values, mask=self.mask)

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
        return np.ma.MaskedArray(view, mask=self._full_mask())

    # -- internal axes -------------------------------------------------------------------------------

    def _full_mask(self) -> npt.NDArray[np.bool_]:
        where = tuple(slice(None) if is_external else np.newaxis for is_external in self.shape_mask)
        return np.array(np.broadcast_to(self.mask[where], self._resolved(self.full_shape)))

    def _internal_arrays(self) -> Iterator[tuple[tuple[int | slice, ...], Any]]:
        """Give, per element that is there, its place in the full array and its values."""
        shape, internal = self.resolved_shape, self.resolved_internal_shape
        for linear in np.flatnonzero(self.column.tags != MISSING).tolist():
            external = iter(np.unravel_index(linear, shape))
            position = tuple(int(next(external)) if each else slice(None) for each in self.shape_mask)
            value = self.column.load(linear)
            if self.column.tag(linear) == ERROR:
                values = np.empty(internal, dtype=object)
                values[...] = value
            else:
                values = _object_array(self._element_array(value, linear), len(internal))
            yield position, values

    def _element_array(self, value: Any, linear: int) -> npt.NDArray[Any]:
        """Give an element as an array whose leading axes are the internal ones."""
        if self.column.tag(linear) == ERROR:
            values = np.empty(self.resolved_internal_shape, dtype=object)
            values[...] = value
            return values
        array = np.asarray(value)
        expected = self.resolved_internal_shape
        if array.shape[: len(expected)] != expected:
            raise ShapeError(
                f"element {linear} has shape {array.shape!r}, the internal shape is {expected!r}",
                hint="every element must return an array of the same internal shape",
            )
        return array


def _object_array(array: npt.NDArray[Any], ndim: int | None = None) -> npt.NDArray[np.object_]:
    """Copy into an object array of ``ndim`` axes; further axes stay arrays in its cells."""
    leading = array.ndim if ndim is None else ndim
    values = np.empty(array.shape[:leading], dtype=object)
    for position in np.ndindex(values.shape):
        values[position] = array[position]
    return values
