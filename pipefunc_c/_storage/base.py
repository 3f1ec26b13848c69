"""The storage interface: an array of Python values with external (mapped) and internal axes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OutOfBoundsError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

Size = int | str
"""A size of an axis; ``"?"`` while it is not known."""


def _sizes(shape: Sequence[Size] | Size, what: str) -> tuple[Size, ...]:
    given = (shape,) if isinstance(shape, (int, str)) else tuple(shape)
    for size in given:
        if size != "?" and (isinstance(size, (str, bool)) or not hasattr(size, "__index__") or size < 0):
            raise InvalidValueError(f"{what} is {shape!r}: {size!r} is neither a size nor '?'")
    return tuple(size if isinstance(size, str) else size.__index__() for size in given)


class StorageBase(ABC):
    """Hold the values of one output, each at an index over the external axes.

    Parameters
    ----------
    folder
        Folder that belongs to the storage, or None for one that only lives in memory. Its absolute path is
        kept, so that the storage finds it from another working directory too.
    shape
        Sizes of the external axes; ``"?"`` where not known yet.
    internal_shape
        Sizes of the axes that the function itself returns.
    shape_mask
        One entry per axis of the full array, in order: True for external, False for internal.

    Raises
    ------
    InvalidValueError
        If ``internal_shape`` comes without ``shape_mask``, or the mask does not fit.
    """

    storage_id: ClassVar[str] = ""
    requires_serialization: ClassVar[bool] = False

    def __init__(
        self,
        folder: str | Path | None,
        shape: Sequence[Size] | Size,
        internal_shape: Sequence[Size] | Size | None = None,
        shape_mask: Sequence[bool] | None = None,
    ) -> None:
        self.folder = None if folder is None else Path(folder).absolute()
        self._shape = _sizes(shape, "shape")
        self._internal_shape = _sizes(internal_shape if internal_shape is not None else (), "internal_shape")
        if self._internal_shape and shape_mask is None:
            raise InvalidValueError(
                f"internal_shape {self._internal_shape!r} was given without shape_mask",
                hint="say with shape_mask which axes of the full array are external (True)",
            )
        n_external, n_internal = len(self._shape), len(self._internal_shape)
        self.shape_mask = (
            (True,) * n_external if shape_mask is None else tuple(bool(each) for each in shape_mask)
        )
        if len(self.shape_mask) != n_external + n_internal or sum(self.shape_mask) != n_external:
            raise InvalidValueError(
                f"shape_mask {self.shape_mask!r} does not fit shape {self._shape!r} "
                f"and internal_shape {self._internal_shape!r}",
                hint="it has one entry per axis: True for each external, False for each internal one",
            )

    # -- shapes --------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[Size, ...]:
        """Sizes of the external axes."""
        return self._shape

    @shape.setter
    def shape(self, shape: Sequence[Size]) -> None:
        self._shape = self._reassigned(self._shape, _sizes(shape, "shape"))

    @property
    def internal_shape(self) -> tuple[Size, ...]:
        """Sizes of the internal axes."""
        return self._internal_shape

    @internal_shape.setter
    def internal_shape(self, shape: Sequence[Size]) -> None:
        self._internal_shape = self._reassigned(self._internal_shape, _sizes(shape, "internal_shape"))

    @staticmethod
    def _reassigned(old: tuple[Size, ...], new: tuple[Size, ...]) -> tuple[Size, ...]:
        fits = len(old) == len(new) and all(a in (b, "?") for a, b in zip(old, new, strict=True))
        if not fits:
            raise ShapeError(f"the shape {old!r} cannot become {new!r}", hint="only '?' may be replaced")
        return new

    @property
    def full_shape(self) -> tuple[Size, ...]:
        """Sizes of all axes, in the order of the mapspec."""
        external, internal = iter(self._shape), iter(self._internal_shape)
        return tuple(next(external) if is_external else next(internal) for is_external in self.shape_mask)

    def full_shape_is_resolved(self) -> bool:
        """Tell whether no size is ``"?"``."""
        return "?" not in self.full_shape

    @staticmethod
    def _resolved(shape: tuple[Size, ...]) -> tuple[int, ...]:
        if "?" in shape:
            raise ShapeError(f"the shape {shape!r} is not resolved yet", hint="run the stages before it")
        return tuple(int(size) for size in shape)

    @property
    def resolved_shape(self) -> tuple[int, ...]:
        """Sizes of the external axes; ShapeError while one is ``"?"``."""
        return self._resolved(self._shape)

    @property
    def resolved_internal_shape(self) -> tuple[int, ...]:
        """Sizes of the internal axes; ShapeError while one is ``"?"``."""
        return self._resolved(self._internal_shape)

    @property
    def size(self) -> int:
        """Number of elements (external axes only)."""
        return math.prod(self.resolved_shape)

    @property
    def rank(self) -> int:
        """Number of external axes."""
        return len(self._shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index to the next along each external axis (C order)."""
        shape = self.resolved_shape
        return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))

    # -- keys ----------------------------------------------------------------------------------------

    def normalize_key(self, key: Any, *, for_dump: bool = False) -> tuple[int | slice, ...]:
        """Check a key and make its indices non-negative.

        Parameters
        ----------
        key
            An int, a slice or a tuple of these: external axes for ``dump``, all axes otherwise.
        for_dump
            Whether the key is one of ``dump``.

        Returns
        -------
        tuple of int or slice

        Raises
        ------
        OutOfBoundsError
            If the rank is wrong or an index is out of bounds.
        InvalidTypeError
            If an index is neither an int nor a slice.
        """
        shape = self.resolved_shape if for_dump else self._resolved(self.full_shape)
        given = key if isinstance(key, tuple) else (key,)
        if len(given) != len(shape):
            raise OutOfBoundsError(
                f"key {key!r} has {len(given)} indices, the array has {len(shape)} axes: {shape!r}"
            )
        return tuple(self._normalize_index(each, size, key) for each, size in zip(given, shape, strict=True))

    @staticmethod
    def _normalize_index(index: Any, size: int, key: Any) -> int | slice:
        if isinstance(index, slice):
            return index
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise InvalidTypeError(f"index {index!r} of key {key!r} is neither an int nor a slice")
        number = int(index.__index__())
        if not -size <= number < size:
            raise OutOfBoundsError(
                f"index {number} of key {key!r} is out of bounds for an axis of size {size}"
            )
        return number % size

    # -- what a storage implements -------------------------------------------------------------------

    @abstractmethod
    def get_from_index(self, index: int) -> Any:
        """Give the value at a linear external index."""

    @abstractmethod
    def has_index(self, index: int) -> bool:
        """Tell whether the element at a linear external index is there."""

    @abstractmethod
    def __getitem__(self, key: Any) -> Any:
        """Give the element or sub-array at a key over all axes; missing ones are masked."""

    @abstractmethod
    def to_array(self, *, splat_internal: bool | None = None) -> np.ma.MaskedArray[Any, Any]:
        """Give all values as a masked object array; internal axes become axes by default."""

    @property
    @abstractmethod
    def mask(self) -> npt.NDArray[np.bool_]:
        """True where an element is missing; shape of the external axes."""

    @abstractmethod
    def mask_linear(self) -> list[bool]:
        """List for each linear external index whether the element is missing."""

    @abstractmethod
    def dump(self, key: Any, value: Any) -> None:
        """Store a value at a key over the external axes; a slice stores it in every cell."""

    @property
    @abstractmethod
    def dump_in_subprocess(self) -> bool:
        """Tell whether another process may dump."""

    def dump_at(self, indices: Sequence[int], values: Sequence[Any]) -> None:
        """Store values at linear external indices: what a map computed in one go.

        A storage that can write many values at once does so here; by default each is dumped.

        Parameters
        ----------
        indices
            Linear indices (C order over the external axes).
        values
            One value for each.
        """
        shape, strides = self.resolved_shape, self.strides
        for index, value in zip(indices, values, strict=True):
            self.dump(tuple(index // step % size for step, size in zip(strides, shape, strict=True)), value)

    def clear(self) -> None:  # noqa: B027  what is below the run folder is gone already
        """Forget all elements. A map that starts over calls it before it stores anything.

        Only a storage that keeps its values outside of the run folder must do something.
        """

    def persist(self) -> None:  # noqa: B027  most storages have nothing to do
        """Write what is only in memory below the folder; without a folder there is nothing to do."""

    def __repr__(self) -> str:
        """Name the class and the shapes."""
        internal = f", internal_shape={self._internal_shape!r}" if self._internal_shape else ""
        return f"{type(self).__name__}(shape={self._shape!r}{internal})"


storage_registry: dict[str, type[StorageBase]] = {}
"""The storage classes by their ids."""


def register_storage(cls: type[StorageBase], storage_id: str | None = None) -> None:
    """Make a storage known under an id.

    Parameters
    ----------
    cls
        The storage class.
    storage_id
        The id; by default ``cls.storage_id``.

    Raises
    ------
    InvalidTypeError
        If ``cls`` is not a subclass of StorageBase.
    InvalidValueError
        If there is no id.

    Examples
    --------
    >>> from pipefunc_c.map import DictArray, register_storage, storage_registry
    >>> register_storage(DictArray, "my_dict")
    >>> storage_registry.pop("my_dict").__name__
    'DictArray'
    """
    given: Any = cls
    if not (isinstance(given, type) and issubclass(given, StorageBase)):
        raise InvalidTypeError(f"{cls!r} is not a subclass of StorageBase")
    name = storage_id or cls.storage_id
    if not name:
        raise InvalidValueError(f"{cls.__name__} has no storage_id", hint="pass storage_id=")
    storage_registry[name] = cls


def storage_class(storage_id: str) -> type[StorageBase]:
    """Look a storage class up.

    Parameters
    ----------
    storage_id
        An id of the registry.

    Returns
    -------
    type
        The class.

    Raises
    ------
    InvalidValueError
        If the id is not registered.
    InvalidTypeError
        If it is no str.

    Examples
    --------
    >>> storage_class("dict").__name__
    'DictArray'
    """
    if not isinstance(storage_id, str):
        raise InvalidTypeError(
            f"storage is {storage_id!r}", hint="allowed are ids and dicts of ids by output"
        )
    if storage_id not in storage_registry:
        known = ", ".join(sorted(storage_registry))
        raise InvalidValueError(f"storage {storage_id!r} is not registered", hint=f"registered are: {known}")
    return storage_registry[storage_id]
