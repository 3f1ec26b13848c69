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
    "int_": (whole, np.int64),
    "float_": (real, np.float64),
    "bool_": (even, np.bool_),
    "complex_": (turned, np.complex128),
    "complex64": (complex64, np.complex64),
    "float32": (float32, np.float32),
    "mixed": (mixed, object),
    "str_": (text, object),
    "none": (nothing, object),
}
ROWS = {"row": (row, np.float64), "complex_row": (complex_row, np.complex128)}
STORAGES = [
    pytest.param(name, marks=[pytest.mark.skipif(not importlib.util.find_spec("zarr"), reason="needs zarr")])
    if name.startswith("zarr")
    else name
    for name in sorted(storage_registry)
]
PLACES = pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])


def pipeline(funcs, spec="x[i] -> {}[i]"):
    shape = 3 if "j" in spec else None
    return Pipeline(
        [
            PipeFunc(func, name, mapspec=spec.format(name), internal_shape=shape)
            for name, func in funcs.items()
        ]
    )


def assert_all_of(dtypes, given, folder, **options):
    """Run a map, resume it, load it: all arrays have one dtype, and the results their very types."""
    inputs = {"x": list(range(5))}
    results = given.map(inputs, folder, show_progress=False, **options)
    again = given.map(inputs, folder, show_progress=False, resume=True, **options)
    all_loaded = load_all_outputs(folder)
    for name, dtype in dtypes.items():
        loaded = load_outputs(name, run_folder=folder)
        assert isinstance(loaded, np.ma.MaskedArray)
        arrays = {
            "result": results[name].array,
            "resumed": again[name].array,
            "loaded": loaded,
            "all": all_loaded[name],
        }
        assert {each: array.dtype for each, array in arrays.items()} == dict.fromkeys(arrays, np.dtype(dtype))
        expected = results[name].output
        for values in (again[name].output, loaded.data if dtype is object else expected):
            assert values.shape == expected.shape
            assert all(map(identical, values.ravel().tolist(), expected.ravel().tolist()))


@PLACES
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("kinds", "spec"), [(SCALARS, "x[i] -> {}[i]"), (ROWS, "x[i] -> {}[i, j]")], ids=["scalars", "rows"]
)
def test_all_kinds(tmp_path, storage, parallel, kinds, spec):
    given = pipeline({name: func for name, (func, _) in kinds.items()}, spec)
    dtypes = {name: dtype for name, (_, dtype) in kinds.items()}
    assert_all_of(dtypes, given, tmp_path, storage=storage, parallel=parallel)


@PLACES
def test_arrays_of_several_layouts(tmp_path, parallel):
    assert_all_of({"y": object}, pipeline({"y": now_and_then}), tmp_path, parallel=parallel)
    assert len(list((tmp_path / "commits").iterdir())) == 2


@pytest.mark.parametrize("storage", ["array", "file_array"])
def test_arrays_that_a_thread_computed_before_their_layout_was_known(tmp_path, storage):
    with ThreadPoolExecutor(1) as threads:
        given = pipeline({"y": row}, "x[i] -> {}[i, j]")
        assert_all_of({"y": np.float64}, given, tmp_path, storage=storage, executor=threads, chunksizes=4)


def test_what_is_not_there_yet_is_masked(tmp_path):
    given = pipeline({"y": turned})
    given.map({"x": [1, 2, 3]}, tmp_path, fixed_indices={"i": slice(0, 2)}, show_progress=False)
    loaded = load_outputs("y", run_folder=tmp_path)
    assert loaded.dtype == np.complex128
    assert loaded.tolist() == [1 + 2j, 2 + 4j, None]
