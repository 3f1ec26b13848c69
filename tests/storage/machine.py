"""A storage and a dict driven by the same random steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kernels.values import FIXED_DTYPES, SCALARS, arrays, scalars
from storage.reference_storage import MISSING, ReferenceStorage, assert_same

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipefunc_c.map import StorageBase

# A stored `masked` reads like a missing element.
STORABLE = [value for name, value in SCALARS.items() if name not in ("masked", "masked array")]
storable = scalars.filter(lambda value: not isinstance(value, np.ma.MaskedArray))


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int | slice, ...]:
    """Draw an int or a slice per axis; an axis of size 0 takes slices only."""
    bounds = st.none() | st.integers(-6, 6)
    some_slice = st.builds(slice, bounds, bounds, st.none() | st.sampled_from([-2, -1, 1, 2]))
    return tuple(
        draw(st.integers(-size, size - 1) | some_slice) if size else draw(some_slice) for size in shape
    )


def unknown(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int | str, ...]:
    return tuple("?" if draw(st.booleans()) else size for size in shape)


@st.composite
def nested_lists(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    if not shape:
        return draw(st.integers(-9, 9) | st.floats(-2, 2))
    return [draw(nested_lists(shape[1:])) for _ in range(shape[0])]


def storage_machine(make: Callable[..., StorageBase]) -> type[RuleBasedStateMachine]:
    """Make the machine for the storages that ``make(shape, internal_shape, shape_mask)`` gives."""

    class StorageMachine(RuleBasedStateMachine):
        @initialize(data=st.data())
        def new(self, data: st.DataObject) -> None:
            sizes = st.sampled_from([1, 2, 3, 2, 3, 4, 0])
            shape = tuple(data.draw(st.lists(sizes, max_size=3), label="shape"))
            internal = tuple(data.draw(st.lists(sizes, max_size=2), label="internal"))
            mask = tuple(data.draw(st.permutations([True] * len(shape) + [False] * len(internal))))
            self.model = ReferenceStorage(shape, internal, mask)
            given_shape = unknown(data.draw, shape) if data.draw(st.booleans()) else shape
            given_internal = unknown(data.draw, internal) if data.draw(st.booleans()) else internal
            self.storage = make(given_shape, given_internal, mask)
            if "?" in given_shape:
                assert not self.storage.full_shape_is_resolved()
                self.storage.shape = shape
            assert self.storage.shape == shape

        def is_resolved(self) -> bool:
            return self.storage.full_shape_is_resolved()

        def value(self, data: st.DataObject) -> Any:
            internal = self.model.internal_shape
            if not internal:
                return data.draw(st.sampled_from(STORABLE) | storable)
            extra = tuple(data.draw(st.sampled_from([(), (), (2,), (0,)])))
            some_array = arrays(internal + extra, FIXED_DTYPES)
            # A nested list cannot tell the axes behind one of size 0.
            return data.draw(some_array if 0 in internal else some_array | nested_lists(internal))

        @rule(data=st.data())
        def dump(self, data: st.DataObject) -> None:
            key, value = data.draw(keys(self.model.shape), label="key"), self.value(data)
            is_bare = len(key) == 1 and data.draw(st.booleans(), label="bare key")
            self.storage.dump(key[0] if is_bare else key, value)
            self.model.dump(key, value)

        @precondition(lambda self: not self.is_resolved())
        @rule()
        def resolve(self) -> None:
            self.storage.internal_shape = self.model.internal_shape

        @precondition(lambda self: self.is_resolved())
        @rule(data=st.data())
        def read(self, data: st.DataObject) -> None:
            key = data.draw(keys(self.model.full_shape), label="key")
            is_bare = len(key) == 1 and data.draw(st.booleans(), label="bare key")
            assert_same(self.storage[key[0] if is_bare else key], self.model.read(key))

        @precondition(lambda self: self.is_resolved())
        @rule(splat=st.booleans())
        def to_array(self, splat: bool) -> None:
            if splat:
                array = self.storage.to_array()
                assert_same(array, self.model.everything())
            else:
                array = self.storage.to_array(splat_internal=False)
                assert_same(array, self.model.external())
            assert isinstance(array, np.ma.MaskedArray)

        @invariant()
        def masks_agree(self) -> None:
            missing = self.model.missing()
            assert self.storage.mask_linear() == missing
            assert np.ma.getdata(self.storage.mask).tolist() == np.reshape(missing, self.model.shape).tolist()

        @invariant()
        def linear_elements_agree(self) -> None:
            assert self.storage.size == self.model.size
            for index in range(self.model.size):
                expected = self.model.linear(index)
                assert self.storage.has_index(index) is (expected is not MISSING)
                if expected is not MISSING:
                    assert_same(self.storage.get_from_index(index), expected)

    return StorageMachine
