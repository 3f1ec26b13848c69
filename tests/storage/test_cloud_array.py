"""The storage that the how-to adds passes the tests of every storage."""

from __future__ import annotations

import itertools

import pytest
from source_tree import ROOT, fences
from storage.conformance import StorageConformance

from pipefunc_c.map import register_storage, storage_registry

pytestmark = pytest.mark.repository


@pytest.fixture
def kind(require):
    require("zarr", reason="the storage of the how-to is one of its")
    require("fsspec", reason="the storage of the how-to goes through it")
    blocks = [each.text for each in fences(ROOT / "docs" / "storages.md")]
    (source,) = [block for block in blocks if "(ZarrFileArray)" in block]
    namespace: dict[str, type] = {}
    exec(source, namespace)
    register_storage(namespace["CloudArray"])
    yield namespace["CloudArray"]
    del storage_registry["cloud"]


class TestCloudArray(StorageConformance):
    storage_id = "cloud"
    keeps_identity = False
    requires_serialization = True
    dump_in_subprocess = True

    @pytest.fixture
    def make(self, kind, tmp_path):
        numbers = itertools.count()
        return lambda shape, internal=None, mask=None: kind(
            tmp_path / "outputs" / str(next(numbers)), shape, internal, mask
        )


def test_a_run_that_starts_over_empties_the_bucket(kind, tmp_path):
    first = kind(tmp_path / "outputs" / "y", (2,))
    first.dump(0, 1)
    second = kind(tmp_path / "outputs" / "y", (3,))
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        second.mask_linear()
    second.clear()
    assert second.mask_linear() == [True] * 3
