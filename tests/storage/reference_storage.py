"""A storage as a plain dict, and the comparison of what both give."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from kernels.values import identical

MISSING = object()


class ReferenceStorage:
    """Values by external index in a dict; every answer by walking over all indices."""

    def __init__(
        self,
        shape: tuple[int, ...],
        internal_shape: tuple[int, ...] = (),
        mask: tuple[bool, ...] | None = None,
    ) -> None:
        self.shape = shape
        self.internal_shape = internal_shape
        self.mask_of_axes = (True,) * len(shape) if mask is None else mask
        self.values: dict[tuple[int, ...], Any] = {}

    @property
    def full_shape(self) -> tuple[int, ...]:
        external, internal = list(self.shape), list(self.internal_shape)
        return tuple((external if is_external else internal).pop(0) for is_external in self.mask_of_axes)

    def selected(self, key: tuple[int | slice, ...], shape: tuple[int, ...]) -> list[list[int]]:
        """List the positions that a key picks on each axis."""
        return [
            list(range(size))[k] if isinstance(k, slice) else [range(size)[k]]
            for k, size in zip(key, shape, strict=True)
        ]

    def dump(self, key: tuple[int | slice, ...], value: Any) -> None:
        for index in itertools.product(*self.selected(key, self.shape)):
            self.values[index] = value

    def element(self, full_index: tuple[int, ...]) -> Any:
        pairs = list(zip(full_index, self.mask_of_axes, strict=True))
        external = tuple(k for k, is_external in pairs if is_external)
        internal = tuple(k for k, is_external in pairs if not is_external)
        if external not in self.values:
            return MISSING
        value = self.values[external]
        return np.asarray(value)[internal] if internal else value

    def read(self, key: tuple[int | slice, ...]) -> Any:
        """Give the element of a key of ints, else (shape, element by index)."""
        positions = self.selected(key, self.full_shape)
        if not any(isinstance(k, slice) for k in key):
            return self.element(tuple(each[0] for each in positions))
        kept = [axis for axis, k in enumerate(key) if isinstance(k, slice)]
        shape = tuple(len(positions[axis]) for axis in kept)
        elements = {}
        for place in np.ndindex(shape):
            full = [each[0] if each else 0 for each in positions]
            for axis, k in zip(kept, place, strict=True):
                full[axis] = positions[axis][k]
            elements[place] = self.element(tuple(full))
        return shape, elements

    def everything(self) -> Any:
        return self.read((slice(None),) * len(self.full_shape)) if self.full_shape else self.read_scalar()

    def read_scalar(self) -> Any:
        return (), {(): self.element(())}

    def external(self) -> Any:
        return self.shape, {key: self.values.get(key, MISSING) for key in np.ndindex(self.shape)}

    def missing(self) -> list[bool]:
        return [key not in self.values for key in np.ndindex(self.shape)]

    def linear(self, index: int) -> Any:
        return self.values.get(tuple(int(k) for k in np.unravel_index(index, self.shape)), MISSING)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def assert_same(actual: Any, expected: Any) -> None:
    """Compare what a storage gave with an element, or with (shape, elements)."""
    if expected is MISSING:
        assert actual is np.ma.masked
        return
    if not (isinstance(expected, tuple) and len(expected) == 2 and isinstance(expected[1], dict)):
        assert identical(actual, expected), (actual, expected)
        return
    shape, elements = expected
    assert isinstance(actual, np.ndarray)
    assert actual.dtype == object
    assert actual.shape == shape
    mask, data = np.ma.getmaskarray(actual), np.ma.getdata(actual)
    for place, value in elements.items():
        is_missing = bool(mask[place]) or data[place] is np.ma.masked
        assert is_missing == (value is MISSING), place
        assert is_missing or identical(data[place], value), (place, data[place], value)
