"""A map with every storage: the same results, errors in place, and a run that goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest

from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.exceptions import ErrorSnapshot, PropagatedErrorSnapshot
from pipefunc_c.map import (
    MemoryArray,
    RunInfo,
    StorageBase,
    ZarrFileArray,
    load_all_outputs,
    load_outputs,
    register_storage,
    storage_registry,
)

pytestmark = pytest.mark.filterwarnings("ignore:storage '.*' needs a run_folder")


class PlainStorage(StorageBase):
    """A storage of someone else: only what StorageBase asks for, in a dict of the process."""

    storage_id = "plain"
    kept: ClassVar[dict[str, dict[int, Any]]] = {}

    def __init__(self, folder, shape, internal_shape=None, shape_mask=None):
        super().__init__(folder, shape, internal_shape, shape_mask)
        self.values = {} if folder is None else self.kept.setdefault(str(folder), {})

    def get_from_index(self, index):
        return self.values.get(index, np.ma.masked)

    def has_index(self, index):
        return index in self.values

    def _array(self):
        array = MemoryArray(None, self.shape, self.internal_shape, self.shape_mask)
        for index, value in self.values.items():
            array.dump(np.unravel_index(index, self.resolved_shape), value)
        return array

    def __getitem__(self, key):
        return self._array()[key]

    def to_array(self, *, splat_internal=None):
        return self._array().to_array(splat_internal=splat_internal)

    @property
    def mask(self):
        return self._array().mask

    def mask_linear(self):
        return [index not in self.values for index in range(self.size)]

    def dump(self, key, value):
        key = self.normalize_key(key, for_dump=True)
        self.values[int(np.ravel_multi_index(key, self.resolved_shape)) if key else 0] = value

    def clear(self):
        self.values.clear()

    @property
    def dump_in_subprocess(self):
        return False


@pytest.fixture(autouse=True)
def registry_is_restored():
    before = dict(storage_registry)
    register_storage(PlainStorage)
    yield
    storage_registry.clear()
    storage_registry.update(before)
    PlainStorage.kept.clear()


STORAGES = [
    "array",
    "dict",
    "shared_array",
    "shared_memory_dict",
    "file_array",
    "zarr_file_array",
    "zarr_memory",
    "zarr_shared_memory",
    "plain",
]
every_storage = pytest.mark.parametrize("storage", STORAGES)
every_way = pytest.mark.parametrize("way", ["sequential", "parallel", "threads"])


def run(pipeline, inputs, way, **options):
    if way != "threads":
        return pipeline.map(inputs, parallel=way == "parallel", show_progress=False, **options)
    with ThreadPoolExecutor(2) as pool:
        return pipeline.map(inputs, executor=pool, show_progress=False, **options)


@pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
def invert(x):
    if x == 3:
        raise ValueError(f"no inverse of {x}")
    return {"of": x, "is": 1 / x} if x == 5 else 1 / x


@pipefunc(("low", "high"), mapspec="y[i], k[j] -> low[j, i], high[j, i]")
def spread(y, k):
    value = y["is"] if isinstance(y, dict) else y
    return value - k, value + k


@pipefunc("parts", mapspec="x[i] -> parts[i, p]")
def parts(x):
    return [x, 2 * x, 3 * x]


@pipefunc("row", mapspec="low[j, :], parts[:, p] -> row[j, p]")
def row(low, parts):
    return float(sum(low)) + float(sum(parts))


@pipefunc("total")
def total(high, row):
    return float(np.sum(high)) + float(np.sum(row))


INPUTS = {"x": [1, 2, 4, 5], "k": np.array([0.5, 1.5])}


def make_pipeline():
    return Pipeline([invert, spread, parts, row, total])


def plain(results):
    return {name: np.asarray(result.output, dtype=object).tolist() for name, result in results.items()}


@pytest.fixture(scope="module")
def expected():
    return plain(make_pipeline().map(INPUTS, parallel=False))


@every_way
@every_storage
def test_the_results_do_not_depend_on_the_storage(storage, way, tmp_path, expected):
    results = run(make_pipeline(), INPUTS, way, run_folder=tmp_path / "run", storage=storage)
    assert plain(results) == expected
    for name in ("y", "low", "parts", "row"):
        assert type(results[name].store) is storage_registry[storage]
        assert not results[name].store.mask.any()
    assert results["parts"].store.full_shape == (4, 3)
    loaded = load_all_outputs(tmp_path / "run")
    assert {name: np.asarray(value, dtype=object).tolist() for name, value in loaded.items()} == expected


@every_storage
def test_without_a_run_folder(storage, expected):
    results = make_pipeline().map(INPUTS, parallel=False, storage=storage)
    assert plain(results) == expected


@every_way
@every_storage
def test_errors_are_in_their_places(storage, way, tmp_path):
    inputs = {"x": [1, 3, 5], "k": [0]}
    folder = tmp_path / "run"
    results = run(make_pipeline(), inputs, way, run_folder=folder, storage=storage, error_handling="continue")
    y, low = results["y"].output, results["low"].output
    assert isinstance(y[1], ErrorSnapshot)
    assert y[1].kwargs == {"x": 3}
    assert str(y[1].exception) == "no inverse of 3"
    assert "in invert" in y[1].traceback
    with pytest.raises(ValueError, match="no inverse of 3"):
        y[1].reproduce()
    assert (y[0], y[2]) == (1.0, {"of": 5, "is": 0.2})
    assert isinstance(low[0, 1], PropagatedErrorSnapshot)
    assert low[0, 1].reason == "input_is_error"
    assert low[0, 0] == 1.0
    assert all(each.reason == "array_contains_errors" for each in results["row"].output.flat)
    (cause,) = low[0, 1].get_root_causes()
    assert cause.kwargs == {"x": 3}
    loaded = load_outputs("y", "low", run_folder=folder)
    assert isinstance(loaded[0][1], ErrorSnapshot)
    assert isinstance(loaded[1][0, 1], PropagatedErrorSnapshot)
    assert loaded[0][0] == 1.0


@every_way
@every_storage
def test_the_first_error_is_raised_and_the_rest_goes_on_later(storage, way, tmp_path, monkeypatch):
    folder, inputs = tmp_path / "run", {"x": [1, 2, 3, 4], "k": [0]}
    pipeline = make_pipeline()
    with pytest.raises(ValueError, match="no inverse of 3") as caught:
        run(pipeline, inputs, way, run_folder=folder, storage=storage)
    assert any("element 2" in note for note in caught.value.__notes__)
    calls = tmp_path / "calls"

    @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
    def invert(x):
        with calls.open("a") as file:
            file.write(f"{x}\n")
        return 1 / x

    mended = Pipeline([invert, spread, parts, row, total])
    results = run(
        mended,
        inputs,
        way,
        run_folder=folder,
        storage=storage,
        resume=True,
        resume_validation="skip",
    )
    assert results["y"].output.tolist() == [1.0, 0.5, 1 / 3, 0.25]
    in_memory = storage in ("array", "dict", "shared_array", "shared_memory_dict", "zarr_memory")
    if way == "sequential" and not in_memory and storage != "zarr_shared_memory":
        assert calls.read_text().split() == ["3", "4"]
    before = calls.read_text()
    results = run(
        mended, inputs, way, run_folder=folder, storage=storage, resume=True, resume_validation="skip"
    )
    assert calls.read_text() == before
    assert results["y"].output.tolist() == [1.0, 0.5, 1 / 3, 0.25]


@pytest.mark.parametrize("storage", ["file_array", "zarr_file_array", "zarr_memory", "plain"])
def test_stored_errors_count_as_results(storage, tmp_path):
    folder, inputs = tmp_path / "run", {"x": [1, 3], "k": [0]}
    options = {"run_folder": folder, "storage": storage, "error_handling": "continue", "parallel": False}
    make_pipeline().map(inputs, **options)
    results = make_pipeline().map(inputs, resume=True, **options)
    assert isinstance(results["y"].output[1], ErrorSnapshot)
    assert "in invert" in results["y"].output[1].traceback
    assert isinstance(results["low"].output[0, 1], PropagatedErrorSnapshot)
    assert results["row"].output[0, 0].reason == "array_contains_errors"


@every_storage
def test_only_fixed_indices_are_stored(storage, tmp_path):
    pipeline = Pipeline([parts])
    options = {"run_folder": tmp_path / "run", "storage": storage, "parallel": False}
    results = pipeline.map({"x": [1, 2, 3]}, fixed_indices={"i": 1}, **options)
    assert results["parts"].store.mask.tolist() == [True, False, True]
    assert results["parts"].output.tolist() == [[None] * 3, [2, 4, 6], [None] * 3]
    results = pipeline.map({"x": [1, 2, 3]}, resume=True, **options)
    assert results["parts"].output.tolist() == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]


@every_way
@every_storage
def test_unknown_sizes_become_known_with_every_storage(storage, way, tmp_path):
    """Zarr and an axis of size "?" used to be an AssertionError."""

    @pipefunc("n", mapspec="... -> n[q]")
    def count():
        return list(range(3))

    @pipefunc("square", mapspec="n[q] -> square[q, r]", internal_shape=("?",))
    def square(n):
        return np.array([n**2, n])

    results = run(Pipeline([count, square]), {}, way, run_folder=tmp_path / "run", storage=storage)
    assert results["square"].output.tolist() == [[0, 0], [1, 1], [4, 2]]
    assert results["square"].store.full_shape == (3, 2)
    assert load_outputs("square", run_folder=tmp_path / "run").tolist() == [[0, 0], [1, 1], [4, 2]]


@pytest.mark.parametrize("storage", ["zarr_file_array", "zarr_memory", "plain", "file_array"])
def test_a_run_that_starts_over_forgets_the_values_of_the_last(storage, tmp_path):
    options = {"run_folder": tmp_path / "run", "storage": storage, "parallel": False}
    pipeline = Pipeline([parts])
    pipeline.map({"x": [1, 2, 3]}, **options)
    results = pipeline.map({"x": [1, 2, 3]}, fixed_indices={"i": 0}, **options)
    assert results["parts"].store.mask.tolist() == [False, True, True]


def test_each_output_may_have_its_own_storage(tmp_path, expected):
    storage = {"y": "zarr_file_array", ("low", "high"): "file_array", "parts": "zarr_memory", "": "array"}
    results = make_pipeline().map(INPUTS, tmp_path / "run", storage=storage, parallel=False)
    assert plain(results) == expected
    found = {name: result.store.storage_id for name, result in results.items()}
    assert (found["y"], found["low"], found["parts"]) == ("zarr_file_array", "file_array", "zarr_memory")
    assert found["row"] == "array"


def test_values_in_zarr_are_not_committed_a_second_time(tmp_path):
    results = Pipeline([parts]).map({"x": [1, 2]}, tmp_path, storage="zarr_file_array", parallel=False)
    assert not list(tmp_path.glob("commits/*.ledger"))
    assert results["parts"].kwargs == {"x": [1, 2]}
    info = RunInfo.load(tmp_path)
    assert type(info.init_store()["parts"]) is ZarrFileArray


def test_a_moved_run_folder_with_zarr_loads(tmp_path):
    Pipeline([parts]).map({"x": [1, 2]}, tmp_path / "old", storage="zarr_file_array", parallel=False)
    (tmp_path / "old").rename(tmp_path / "new")
    assert load_outputs("parts", run_folder=tmp_path / "new").tolist() == [[1, 2, 3], [2, 4, 6]]


def test_a_storage_that_cannot_be_written_names_itself_and_the_elements(tmp_path):
    class Full(PlainStorage):
        storage_id = "full"

        def dump(self, key, value):
            raise OSError("no space left")

    register_storage(Full)
    for way in ("sequential", "parallel"):
        with pytest.raises(OSError, match="no space left") as caught:
            run(Pipeline([parts]), {"x": [1, 2]}, way, storage="full")
        assert any("'parts'" in note and "Full" in note for note in caught.value.__notes__)


def test_an_element_that_zarr_cannot_keep_is_an_error(tmp_path):
    @pipefunc("y", mapspec="x[i] -> y[i]")
    def generator(x):
        return (k for k in range(x))

    with pytest.raises(TypeError, match="generator"):
        Pipeline([generator]).map({"x": [1]}, tmp_path, storage="zarr_file_array", parallel=False)


@pytest.mark.parametrize("part", ["array", "mask"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_chunk_is_computed_again_and_never_a_wrong_value(part, damage, tmp_path):
    pipeline, options = make_pipeline(), {"parallel": False, "storage": "zarr_file_array"}
    expected = {
        name: each.output for name, each in pipeline.map(INPUTS, run_folder=tmp_path, **options).items()
    }
    chunks = sorted(path for path in (tmp_path / "outputs").glob(f"*/{part}/c/**/*") if path.is_file())
    for chunk in [*chunks[::3], chunks[-1]]:
        content = bytearray(chunk.read_bytes())
        if damage == "flip":
            content[-1] ^= 1
        if damage == "gone":
            chunk.unlink()
        else:
            chunk.write_bytes({"flip": content, "cut": content[:-1], "empty": b""}[damage])
    results = pipeline.map(INPUTS, run_folder=tmp_path, resume=True, **options)
    for name, output in expected.items():
        assert np.array_equal(results[name].output, output), name
        assert np.array_equal(np.ma.getdata(load_outputs(name, run_folder=tmp_path)), output), name
        assert not np.ma.is_masked(load_outputs(name, run_folder=tmp_path))


def test_what_zarr_cannot_read_is_named(tmp_path):
    pipeline, options = make_pipeline(), {"run_folder": tmp_path, "storage": "zarr_file_array"}
    pipeline.map(INPUTS, parallel=False, **options)
    (tmp_path / "outputs" / "y" / "array" / "zarr.json").write_text("{")
    with pytest.raises(RuntimeError, match=r"outputs/y.*"):
        pipeline.map(INPUTS, parallel=False, resume=True, **options)
