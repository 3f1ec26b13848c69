from __future__ import annotations

import pytest
from storage.conformance import StorageConformance

from pipefunc_c.map import DictArray, StorageBase, register_storage, storage_registry


class OtherDictArray(DictArray):
    storage_id = "other_dict"


@pytest.fixture(autouse=True)
def registry_is_restored():
    before = dict(storage_registry)
    yield
    storage_registry.clear()
    storage_registry.update(before)


class TestStorageOfSomeoneElse(StorageConformance):
    storage_id = "other_dict"

    @pytest.fixture(autouse=True)
    def registered(self, registry_is_restored):
        register_storage(OtherDictArray)


def test_the_ids_that_are_there():
    assert {"array", "dict", "shared_array", "shared_memory_dict"} <= storage_registry.keys()
    assert all(storage_registry[name].storage_id == name for name in storage_registry)


def test_registering_under_the_own_id_and_under_another():
    register_storage(OtherDictArray)
    register_storage(OtherDictArray, "another")
    assert storage_registry["other_dict"] is storage_registry["another"] is OtherDictArray


@pytest.mark.parametrize(
    "thing", [int, DictArray(None, (1,)), None, "dict"], ids=["class", "instance", "None", "id"]
)
def test_only_storage_classes_can_be_registered(thing):
    with pytest.raises(TypeError, match="StorageBase") as caught:
        register_storage(thing, "x")
    assert repr(thing) in str(caught.value)
    assert "x" not in storage_registry


def test_an_id_is_needed():
    class Nameless(DictArray):
        storage_id = ""

    with pytest.raises(ValueError, match="Nameless"):
        register_storage(Nameless)


def test_a_storage_must_implement_everything():
    class Half(StorageBase):
        storage_id = "half"

    with pytest.raises(TypeError, match="Half"):
        Half(None, (1,))
