"""What data in files cost as inputs, and storages in zarr's format."""

from __future__ import annotations

import pickle
import tempfile

import numpy as np

from pipefunc_c.map import FileArray


class FileInputs:
    """A million numbers in a folder."""

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()
        self.data = np.arange(1_000_000)
        self.array = FileArray.from_data(self.data, self.folder.name)
        self.array[0]

    def teardown(self):
        self.folder.cleanup()

    def time_from_data(self):
        FileArray.from_data(self.data, self.folder.name)

    def time_item(self):
        self.array[(5,)]

    def time_first_item_in_a_process(self):
        pickle.loads(pickle.dumps(self.array))[5]

    def track_pickle(self):
        return len(pickle.dumps(self.array))

    track_pickle.unit = "bytes"


class Zarr:
    """A thousand values."""

    params = ("ZarrFileArray", "ZarrMemoryArray", "ZarrSharedMemoryArray")
    param_names = ("kind",)

    def setup(self, kind):
        try:
            import zarr  # noqa: F401
        except ImportError as error:
            raise NotImplementedError from error
        from pipefunc_c import map as maps

        self.folder = tempfile.TemporaryDirectory()
        self.array = getattr(maps, kind)(f"{self.folder.name}/array", (1000,))
        self.array.dump(0, 1.5)

    def teardown(self, kind):
        self.folder.cleanup()

    def time_dump_a_thousand(self, kind):
        self.array.dump_at(range(1000), [1.5] * 1000)

    def time_dump_one(self, kind):
        self.array.dump(1, 1.5)

    def time_read_one(self, kind):
        self.array[0]

    def time_mask(self, kind):
        self.array.mask_linear()
