"""What every storage must do. A test class per storage derives from it and gives the fixture ``make``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from kernels.values import SCALARS, identical
from storage.machine import STORABLE, storage_machine

from pipefunc_c.map import StorageBase, storage_registry

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., StorageBase]


class Thing:
    """Equal to nothing but itself, and not to be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


class StorageConformance:
    """Derive a test class, name the id, and override ``make`` where a storage needs a folder."""

    storage_id: str
    keeps_identity = True
    requires_serialization = False
    dump_in_subprocess = False

    @pytest.fixture
    def make(self) -> Make:
        """Give ``make(shape, internal_shape=None, shape_mask=None)``: a new storage per call."""
        kind = storage_registry[self.storage_id]
        return lambda shape, internal_shape=None, mask=None: kind(None, shape, internal_shape, mask)

    @pytest.mark.timeout(60)
    def test_it_agrees_with_a_dict_whatever_is_done_to_it(self, make: Make) -> None:
        limits = settings(
            max_examples=100,
            stateful_step_count=12,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(storage_machine(make), settings=limits)

    # -- what it says of itself ----------------------------------------------------------------------

    def test_class_attributes(self, make: Make) -> None:
        storage = make((2,))
        assert isinstance(storage, StorageBase)
        assert storage.storage_id == self.storage_id
        assert storage_registry[self.storage_id] is type(storage)
        assert storage.requires_serialization is self.requires_serialization
        assert storage.dump_in_subprocess is self.dump_in_subprocess

    def test_shapes_and_strides(self, make: Make) -> None:
        storage = make((2, 3, 4))
        assert (storage.shape, storage.internal_shape) == ((2, 3, 4), ())
        assert storage.resolved_shape == storage.full_shape == (2, 3, 4)
        assert tuple(storage.shape_mask) == (True, True, True)
        assert (storage.size, storage.rank, storage.strides) == (24, 3, (12, 4, 1))
        assert storage.full_shape_is_resolved()

    def test_the_mask_orders_external_and_internal_axes(self, make: Make) -> None:
        storage = make((2, 3), (5, 7), (False, True, True, False))
        assert storage.full_shape == (5, 2, 3, 7)
        assert (storage.size, storage.rank, storage.strides) == (6, 2, (3, 1))
        assert (storage.resolved_shape, storage.resolved_internal_shape) == ((2, 3), (5, 7))

    def test_an_int_is_a_shape_of_one_axis(self, make: Make) -> None:
        assert make(3).shape == (3,)

    def test_unknown_sizes_are_filled_in_later(self, make: Make) -> None:
        storage = make(("?", 2), ("?",), (True, True, False))
        assert storage.full_shape == ("?", 2, "?")
        assert not storage.full_shape_is_resolved()
        for attribute in ("resolved_shape", "resolved_internal_shape", "size"):
            with pytest.raises(ValueError, match=r"\?"):
                getattr(storage, attribute)
        storage.shape = (1, 2)
        assert (storage.resolved_shape, storage.size) == ((1, 2), 2)
        assert not storage.full_shape_is_resolved()
        storage.dump((0, 1), [7, 8, 9])
        storage.internal_shape = (3,)
        assert storage.full_shape_is_resolved()
        assert storage[0, 1, 2] == 9
        assert storage[0, 0, 2] is np.ma.masked

    def test_persist_without_a_folder_does_nothing(self, make: Make) -> None:
        storage = make((2,))
        storage.dump(0, 1)
        if storage.folder is None:
            assert storage.persist() is None
        assert storage[0] == 1

    # -- elements ------------------------------------------------------------------------------------

    def test_elements_by_hand(self, make: Make) -> None:
        storage = make((2, 3))
        storage.dump((0, 1), "a")
        storage.dump((-1, -3), 2.5)
        assert storage[0, 1] == storage[-2, -2] == "a"
        assert storage[1, 0] == 2.5
        assert storage[1, 1] is np.ma.masked
        assert (storage.get_from_index(1), storage.get_from_index(3)) == ("a", 2.5)
        assert [storage.has_index(k) for k in range(6)] == [False, True, False, True, False, False]
        assert storage.mask_linear() == [True, False, True, False, True, True]
        assert all(type(each) is bool for each in storage.mask_linear())
        assert storage.mask.shape == (2, 3)
        assert storage.mask.dtype == bool
        assert storage.to_array().filled("-").tolist() == [["-", "a", "-"], [2.5, "-", "-"]]

    @pytest.mark.parametrize(
        "name", [name for name, value in SCALARS.items() if any(value is v for v in STORABLE)]
    )
    def test_every_kind_of_value_comes_back_as_it_was(self, make: Make, name: str) -> None:
        storage = make((1,))
        storage.dump((0,), SCALARS[name])
        sliced, whole = np.ma.getdata(storage[0:1]), np.ma.getdata(storage.to_array())
        for value in (storage[0], storage.get_from_index(0), whole[0], sliced[0]):
            assert identical(value, SCALARS[name])

    def test_types_may_be_mixed(self, make: Make) -> None:
        values = [
            1,
            1.0,
            True,
            None,
            np.float64(1),
            "1",
            np.int8(1),
            1 + 0j,
            [1],
            np.ones(1),
            np.True_,
            2**70,
        ]
        storage = make((len(values),))
        for k, value in enumerate(values):
            storage.dump((k,), value)
        for k, value in enumerate(values):
            assert identical(storage[k], value)
        assert all(map(identical, storage.to_array().tolist(), values))

    def test_the_last_value_counts(self, make: Make) -> None:
        storage = make((2,))
        for value in (1, "text", 2.0, [1], None, np.arange(3), 1j, False):
            storage.dump((0,), value)
            assert identical(storage[0], value)
        assert storage.mask_linear() == [False, True]

    def test_objects_come_back_themselves(self, make: Make) -> None:
        if not self.keeps_identity:
            pytest.skip("this storage keeps bytes")
        thing = Thing()
        storage = make((2,))
        storage.dump((0,), thing)
        assert storage[0] is storage.get_from_index(0) is storage.to_array()[0] is storage[:1][0] is thing

    def test_a_slice_stores_in_every_cell(self, make: Make) -> None:
        storage = make((2, 3))
        storage.dump((1, slice(None, None, 2)), 5)
        assert storage.mask_linear() == [True, True, True, False, True, False]
        storage.dump((slice(None), 1), [1, 2])
        assert storage[0, 1] == storage[1, 1] == [1, 2]
        storage.dump((slice(5, 9), 0), 7)
        assert storage[1, 0] == 5

    def test_no_axes_make_one_element(self, make: Make) -> None:
        storage = make(())
        assert (storage.size, storage.rank, storage.mask_linear()) == (1, 0, [True])
        storage.dump((), "one")
        assert storage[()] == storage.get_from_index(0) == "one"
        assert storage.to_array().shape == ()

    @pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
    def test_no_elements(self, make: Make, shape: tuple[int, ...]) -> None:
        storage = make(shape)
        assert (storage.size, storage.mask_linear()) == (0, [])
        assert storage.to_array().shape == storage.mask.shape == shape

    def test_what_it_gives_is_a_copy(self, make: Make) -> None:
        storage = make((2,), (2,), (True, False))
        storage.dump((0,), [1, 2])
        parts = (storage.to_array(), storage[:, :], storage[0, :], storage.to_array(splat_internal=False))
        for given in (*parts, np.ma.getdata(storage.mask)):
            with contextlib.suppress(ValueError):  # read-only will do as well
                given[...] = 99
        assert storage.to_array().tolist() == [[1, 2], [None, None]]
        assert storage.mask_linear() == [False, True]

    # -- internal axes -------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "value", [[[1, 2, 3], [4, 5, 6]], np.arange(1, 7).reshape(2, 3)], ids=["list", "array"]
    )
    def test_internal_axes_by_hand(self, make: Make, value: Any) -> None:
        storage = make((2,), (2, 3), (False, True, False))
        storage.dump((1,), value)
        assert identical(storage[1, 1, 2], np.int64(6))
        assert storage[1, 0, 2] is np.ma.masked
        assert storage[-1, -1, -1] == 6
        full = storage.to_array()
        assert full.shape == (2, 2, 3)
        assert full[:, 1, :].tolist() == [[1, 2, 3], [4, 5, 6]]
        assert full.mask[:, 0, :].all()
        assert not full.mask[:, 1, :].any()
        assert storage[:, 1, 0].tolist() == [1, 4]
        assert storage.mask.shape == (2,)
        whole = storage.to_array(splat_internal=False)
        assert whole.shape == (2,)
        assert whole[0] is np.ma.masked
        assert identical(whole[1], value)
        assert identical(storage.get_from_index(1), value)

    def test_elements_with_more_axes_than_declared_keep_the_rest(self, make: Make) -> None:
        storage = make((1,), (2,), (True, False))
        storage.dump((0,), np.arange(6).reshape(2, 3))
        assert identical(storage[0, 1], np.array([3, 4, 5]))
        assert identical(storage.to_array()[0, 1], np.array([3, 4, 5]))

    def test_an_element_of_another_internal_shape_is_refused(self, make: Make) -> None:
        storage = make((2,), (3,), (True, False))
        storage.dump((0,), [1, 2, 3])

        def dump_and_read() -> None:  # it may be seen at either
            storage.dump((1,), [1, 2])
            storage.to_array()

        with pytest.raises(ValueError, match=r"1.*\(2,\).*\(3,\)"):
            dump_and_read()

    # -- refusals ------------------------------------------------------------------------------------

    def test_internal_shape_needs_a_mask(self, make: Make) -> None:
        with pytest.raises(ValueError, match=r"shape_mask"):
            make((2,), (3,))

    @pytest.mark.parametrize("mask", [(True,), (True, False, False), (True, True), (False, False)])
    def test_a_mask_that_does_not_fit(self, make: Make, mask: tuple[bool, ...]) -> None:
        with pytest.raises(ValueError, match=r"shape_mask") as caught:
            make((2,), (3,), mask)
        assert repr(mask) in str(caught.value)

    @pytest.mark.parametrize("key", [0, (0,), (), (0, 0, 0), slice(None)], ids=repr)
    def test_a_key_of_the_wrong_rank(self, make: Make, key: Any) -> None:
        storage = make((2, 2))
        for use in (lambda: storage[key], lambda: storage.dump(key, 1)):
            with pytest.raises(IndexError) as caught:
                use()
            assert repr(key) in str(caught.value)
        assert all(storage.mask_linear())

    def test_internal_axes_count_for_reading_and_not_for_dumping(self, make: Make) -> None:
        storage = make((2,), (2,), (True, False))
        with pytest.raises(IndexError, match=r"\(0, 0\)"):
            storage.dump((0, 0), 1)
        with pytest.raises(IndexError, match=r"0"):
            storage[0]

    @pytest.mark.parametrize(
        ("key", "bad", "size"), [((2, 0), 2, 2), ((0, 3), 3, 3), ((-3, 0), -3, 2), ((0, -4), -4, 3)]
    )
    def test_an_index_out_of_bounds(self, make: Make, key: tuple[int, int], bad: int, size: int) -> None:
        storage = make((2, 3))
        for use in (lambda: storage[key], lambda: storage.dump(key, 1)):
            with pytest.raises(IndexError, match=rf"(?s){bad}.*{size}"):
                use()
        assert all(storage.mask_linear())

    def test_an_internal_index_out_of_bounds(self, make: Make) -> None:
        storage = make((2,), (3,), (True, False))
        storage.dump((0,), [1, 2, 3])
        for key in ((0, 3), (0, -4), (1, 3)):
            with pytest.raises(IndexError, match=str(key[1])):
                storage[key]

    @pytest.mark.parametrize("index", [6, 100])
    def test_a_linear_index_out_of_bounds(self, make: Make, index: int) -> None:
        storage = make((2, 3))
        for use in (storage.get_from_index, storage.has_index):
            with pytest.raises(IndexError, match=str(index)):
                use(index)

    @pytest.mark.parametrize("key", [1.0, "0", None, [0], ..., (0.5,)], ids=repr)
    def test_a_key_that_is_no_index(self, make: Make, key: Any) -> None:
        storage = make((2,))
        for use in (lambda: storage[key], lambda: storage.dump(key, 1)):
            with pytest.raises((TypeError, IndexError)) as caught:
                use()
            assert repr(key) in str(caught.value)
        assert all(storage.mask_linear())

    def test_numpy_integers_are_indices(self, make: Make) -> None:
        storage = make((2,))
        storage.dump((np.int32(1),), 5)
        assert storage[np.uint8(1)] == storage[np.int64(-1)] == 5

    def test_splatting_without_internal_axes(self, make: Make) -> None:
        with pytest.raises(ValueError, match=r"splat_internal"):
            make((2,)).to_array(splat_internal=True)

    @pytest.mark.parametrize("shape", [(-1,), (2.5,), ("!",), (None,)], ids=repr)
    def test_a_size_that_is_none(self, make: Make, shape: Any) -> None:
        with pytest.raises((TypeError, ValueError)) as caught:
            make(shape)
        assert repr(shape[0]) in str(caught.value)

    def test_a_known_size_stays(self, make: Make) -> None:
        storage = make((2,), ("?",), (True, False))
        with pytest.raises(ValueError, match=r"3"):
            storage.shape = (3,)
        with pytest.raises(ValueError, match=r"4"):
            storage.internal_shape = (4, 4)
        assert storage.full_shape == (2, "?")
