from __future__ import annotations

import itertools

import pytest
from storage.conformance import StorageConformance

from pipefunc_c._storage.zarr import ZarrFileArray, ZarrMemoryArray, ZarrSharedMemoryArray

class TestZarrFileArray(StorageConformance):
    storage_id = "zarr_file_array"
    keeps_identity = False
    requires_serialization = True
    dump_in_subprocess = True

    @pytest.fixture
    def make(self, tmp_path_factory):
        top, numbers = tmp_path_factory.mktemp("arrays"), itertools.count()
        return lambda shape, internal_shape=None, mask=None: ZarrFileArray(
            top / str(next(numbers)), shape, internal_shape, mask
        )


class TestZarrMemoryArray(StorageConformance):
    storage_id = "zarr_memory"
    keeps_identity = False


class TestZarrSharedMemoryArray(StorageConformance):
    storage_id = "zarr_shared_memory"
    keeps_identity = False
    dump_in_subprocess = True
