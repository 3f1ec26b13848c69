"""The rows of docs/differences.md that concern storages."""

from __future__ import annotations

import pytest

from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.map import ZarrMemoryArray


@pytest.fixture(autouse=True)
def zarr(require):
    require("zarr", reason="the storages in its format")


@pipefunc("y", mapspec="x[i] -> y[i]")
def double(x):
    return [2 * x]


def test_shared_memory_in_zarr_needs_no_folder(recwarn):
    results = Pipeline([double]).map({"x": [1, 2]}, storage="zarr_shared_memory", parallel=False)
    assert results["y"].store.folder is None
    assert results["y"].output.tolist() == [[2], [4]]
    assert not recwarn.list


def test_zarr_keeps_an_element_with_internal_axes_in_one_chunk():
    array = ZarrMemoryArray(None, (2,), (3,), (True, False))
    array.dump(0, [1, 2, 3])
    assert array.to_array().shape == (2, 3)
    assert [key for key in array.store._store_dict if key.startswith("array/c")] == ["array/c/0"]


def test_zarr_gives_elements_with_internal_axes_whole():
    array = ZarrMemoryArray(None, (2,), (3,), (True, False))
    array.dump(0, [1, 2, 3])
    assert array.to_array(splat_internal=False).tolist() == [[1, 2, 3], None]


def test_functions_work_on_memory_whatever_the_storage():
    seen = []

    @pipefunc("z", mapspec="y[i] -> z[i]")
    def keep(y):
        seen.append(y)
        return y

    results = Pipeline([double, keep]).map({"x": [1]}, storage="zarr_memory", parallel=False)
    assert results["y"].output[0] == seen[0] == [2]
    assert results["y"].output[0] is not seen[0]
