"""Storages that know how to keep one element; what users see of an array follows from that."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._storage.base import StorageBase
from pipefunc_c._storage.nested import leading_array
from pipefunc_c.exceptions import (
    ErrorSnapshot,
    InvalidValueError,
    OperationError,
    OutOfBoundsError,
    PropagatedErrorSnapshot,
    ShapeError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt


class DamagedElementError(OperationError):
    """Report an element that is there, but is not what was stored."""


class ElementArray(StorageBase):
    """Build an array with external and internal axes from elements at linear indices."""

    output_name: str | None = None
    """The output of a map that it holds, for messages."""

    # -- what a storage implements -------------------------------------------------------------------

    @abstractmethod
    def _load(self, index: int) -> Any:
        """Give the element at a linear index within bounds; ``np.ma.masked`` where it is missing."""

    @abstractmethod
    def _store_at(self, indices: Sequence[int], value: Any) -> None:
        """Store a value at some linear indices within bounds."""

    @abstractmethod
    def _missing(self) -> npt.NDArray[np.bool_]:
        """Tell for each linear index whether the element is missing."""

    def _load_at(self, indices: npt.NDArray[np.int64]) -> list[Any]:
        """Give the elements at some linear indices; ``np.ma.masked`` where one is missing."""
        return [self._load(index) for index in indices.tolist()]

    def _is_error(self, index: int, value: Any) -> bool:  # noqa: ARG002  a column looks at its tag
        """Tell whether an element stands for an error: it is what it is at each internal index."""
        return isinstance(value, (ErrorSnapshot, PropagatedErrorSnapshot))

    # -- elements ------------------------------------------------------------------------------------

    def _check_linear(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise OutOfBoundsError(f"linear index {index} is out of bounds for {self.size} elements")
        return index

    def get_from_index(self, index: int) -> Any:
        """Give the value at a linear external index; ``np.ma.masked`` where it is missing."""
        return self._load(self._check_linear(index))

    def has_index(self, index: int) -> bool:
        """Tell whether the element at a linear external index is there."""
        return not self._missing()[self._check_linear(index)]

    def dump(self, key: Any, value: Any) -> None:
        """Store a value at a key over the external axes; a slice stores it in every cell."""
        normal = self.normalize_key(key, for_dump=True)
        indices = np.unique(self._linear_indices(normal, self.resolved_shape))
        if len(indices):
            self._store_at(indices.tolist(), value)

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
            linear = 0
            for index, size in zip(external, self.resolved_shape, strict=True):
                linear = linear * size + index  # type: ignore[operator]  # no slice
            value = self._load(linear)
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
            return self._masked_at(self._linear_indices(external, self.resolved_shape))
        return self.to_array()[normal]

    def _masked_at(self, indices: npt.NDArray[np.int64]) -> np.ma.MaskedArray[Any, Any]:
        """Give the elements at linear indices as a masked array of their shape."""
        values = np.empty(indices.size, dtype=object)
        mask = np.zeros(indices.size, dtype=bool)
        for position, value in enumerate(self._load_at(indices.ravel())):
            if value is np.ma.masked:
                mask[position] = True
            else:
                values[position] = value
        return np.ma.MaskedArray(values.reshape(indices.shape), mask=mask.reshape(indices.shape))

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True where an element is missing; shape of the external axes."""
        return self._missing().reshape(self.resolved_shape)

    def mask_linear(self) -> list[bool]:
        """List for each linear external index whether the element is missing."""
        return list(self._missing().tolist())

    def is_complete(self) -> bool:
        """Tell whether no element is missing."""
        return not self._missing().any()

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
        whole = self._whole()
        return self._splat(whole) if splat_internal else whole

    def _whole(self) -> np.ma.MaskedArray[Any, Any]:
        """Give all elements as a masked object array of the external shape."""
        size = self.size
        there = np.flatnonzero(~self._missing())
        values, mask = np.empty(size, dtype=object), np.ones(size, dtype=bool)
        for index, value in zip(there.tolist(), self._load_at(there), strict=True):
            if value is not np.ma.masked:
                values[index], mask[index] = value, False
        shape = self.resolved_shape
        return np.ma.MaskedArray(values.reshape(shape), mask=mask.reshape(shape))

    # -- internal axes -------------------------------------------------------------------------------

    def _splat(self, whole: np.ma.MaskedArray[Any, Any]) -> np.ma.MaskedArray[Any, Any]:
        values, missing = np.ma.getdata(whole), np.ma.getmaskarray(whole)
        full = np.empty(self._resolved(self.full_shape), dtype=object)
        for position, array in self._internal_arrays(values.ravel(), ~missing.ravel()):
            full[position] = array
        return np.ma.MaskedArray(full, mask=self._full_mask(missing))

    def _full_mask(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Spread a mask of the external axes over all axes."""
        where = tuple(slice(None) if is_external else np.newaxis for is_external in self.shape_mask)
        return np.array(np.broadcast_to(mask[where], self._resolved(self.full_shape)))

    def _internal_arrays(
        self, values: npt.NDArray[np.object_], present: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[tuple[int | slice, ...], Any]]:
        """Give, per element that is there, its place in the full array and its values."""
        shape, n_internal = self.resolved_shape, len(self._internal_shape)
        for linear in np.flatnonzero(present).tolist():
            external = iter(np.unravel_index(linear, shape))
            position = tuple(int(next(external)) if each else slice(None) for each in self.shape_mask)
            array = self._element_array(values[linear], linear)
            yield position, _object_array(array, n_internal)

    def _element_array(self, value: Any, linear: int) -> npt.NDArray[Any]:
        """Give an element as an array whose leading axes are the internal ones."""
        expected = self.resolved_internal_shape
        if self._is_error(linear, value):
            values = np.empty(expected, dtype=object)
            for position in np.ndindex(expected):
                values[position] = value
            return values
        array = leading_array(value, len(expected))
        if array.shape[: len(expected)] != expected:
            of = "" if self.output_name is None else f" of {self.output_name!r}"
            raise ShapeError(
                f"element {linear}{of} has shape {array.shape!r}, the internal shape is {expected!r}"
                f"{self._first_of_shape(expected)}",
                detail=self.output_name,
                hint="every element must be an array or a list of the same internal shape",
            )
        return array

    def _first_of_shape(self, expected: tuple[int, ...]) -> str:
        """Say which element is the first one, if it has the shape that is expected."""
        for linear in np.flatnonzero(~self._missing()).tolist():
            value = self.get_from_index(linear)
            if not self._is_error(linear, value):
                same = leading_array(value, len(expected)).shape[: len(expected)] == expected
                return f", as that of element {linear}" if same else ""
        return ""


def _object_array(array: npt.NDArray[Any], ndim: int) -> npt.NDArray[np.object_]:
    """Copy into an object array of ``ndim`` axes; further axes stay arrays in its cells."""
    values = np.empty(array.shape[:ndim], dtype=object)
    for position in np.ndindex(values.shape):
        values[position] = array[position]
    return values
