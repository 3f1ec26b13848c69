"""The type of the arrays that results are given as: the same, wherever they were computed and kept."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kernels.values import identical

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.map import load_all_outputs, load_outputs, storage_registry


def mixed(x):
    return 1 if x else 2.5


def text(x):
    return "a" * int(x)


def nothing(x):
    return None


def even(x):
    return x % 2 == 0


def whole(x):
    return int(x)


def real(x):
    return float(x)


def float32(x):
    return np.float32(x)


def complex64(x):
    return np.complex64(x + 1j)


def turned(x):
    return x * (1 + 2j)


def row(x):
    return np.arange(3.0) + x


def complex_row(x):
    return np.arange(3) * (1j + x)


def now_and_then(x):
    return np.arange(3.0) if x % 2 else np.arange(2)


SCALARS = {
    "int": (whole, np.int64),
    "float": (real, np.float64),
    "bool": (even, np.bool_),
    "complex": (turned, np.complex128),
    "complex64": (complex64, np.complex64),
    "float32": (float32, np.float32),
    "mixed": (mixed, object),
    "str": (text, object),
    "None": (nothing, object),
}
ROWS = {"float": (row, np.float64), "complex": (complex_row, np.complex128)}
STORAGES = [
    pytest.param(name, marks=[pytest.mark.skipif(not importlib.util.find_spec("zarr"), reason="needs zarr")])
    if name.startswith("zarr")
    else name
    for name in sorted(storage_registry)
]
PLACES = pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])


def pipeline(func, spec="x[i] -> y[i]"):
    return Pipeline([PipeFunc(func, "y", mapspec=spec, internal_shape=3 if "j" in spec else None)])


def assert_all_of(dtype, given, folder, **options):
    """Run a map, resume it, load it: all arrays have one dtype, and the results their very types."""
    inputs = {"x": list(range(5))}
    results = given.map(inputs, folder, show_progress=False, **options)
    again = given.map(inputs, folder, show_progress=False, resume=True, **options)
    loaded = load_outputs("y", run_folder=folder)
    assert isinstance(loaded, np.ma.MaskedArray)
    arrays = {
        "result": results["y"].array,
        "resumed": again["y"].array,
        "loaded": loaded,
        "all": load_all_outputs(folder)["y"],
    }
    assert {name: array.dtype for name, array in arrays.items()} == dict.fromkeys(arrays, np.dtype(dtype))
    for values in (again["y"].output, loaded.data if dtype is object else results["y"].output):
        assert values.shape == results["y"].output.shape
        assert all(map(identical, values.ravel().tolist(), results["y"].output.ravel().tolist()))


@PLACES
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", SCALARS)
def test_scalars(tmp_path, storage, parallel, kind):
    func, dtype = SCALARS[kind]
    assert_all_of(dtype, pipeline(func), tmp_path, storage=storage, parallel=parallel)


@PLACES
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", ROWS)
def test_rows(tmp_path, storage, parallel, kind):
    func, dtype = ROWS[kind]
    given = pipeline(func, "x[i] -> y[i, j]")
    assert_all_of(dtype, given, tmp_path, storage=storage, parallel=parallel)


@PLACES
def test_arrays_of_several_layouts(tmp_path, parallel):
    assert_all_of(object, pipeline(now_and_then), tmp_path, parallel=parallel)
    assert len(list((tmp_path / "commits").iterdir())) == 2


@pytest.mark.parametrize("storage", ["array", "file_array"])
def test_arrays_that_a_thread_computed_before_their_layout_was_known(tmp_path, storage):
    with ThreadPoolExecutor(1) as threads:
        given = pipeline(row, "x[i] -> y[i, j]")
        assert_all_of(np.float64, given, tmp_path, storage=storage, executor=threads, chunksizes=4)


def test_what_is_not_there_yet_is_masked(tmp_path):
    given = pipeline(turned)
    given.map({"x": [1, 2, 3]}, tmp_path, fixed_indices={"i": slice(0, 2)}, show_progress=False)
    loaded = load_outputs("y", run_folder=tmp_path)
    assert loaded.dtype == np.complex128
    assert loaded.tolist() == [1 + 2j, 2 + 4j, None]
