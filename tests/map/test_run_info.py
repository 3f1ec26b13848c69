"""run_info.json: what is kept of a run, and how damage to it is found."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from map.run_folders import X, commit, describe, opened, started

from pipefunc_c import PipeFunc, Pipeline, pipefunc
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c._storage.file import FileArray
from pipefunc_c.exceptions import InvalidValueError, RunFolderWriteError, UnknownNameError
from pipefunc_c.map import load_outputs
from pipefunc_c.map._run_folder.run_files import (
    DamagedFileError,
    is_pickle_of,
    parse_json,
    prepared,
    read_value,
    write_json,
    write_prepared,
)
from pipefunc_c.map._run_folder.run_info import RunFolderNotFoundError, RunInfo


def fields(info: RunInfo) -> dict[str, object]:
    values = dict(vars(info))
    values["inputs"] = {name: np.asarray(each).tolist() for name, each in info.inputs.items()}
    values["defaults"] = dict(info.defaults)
    return values


def test_a_run_info_is_loaded_as_it_was_written(tmp_path):
    info = started(tmp_path / "run", describe(storage={"y": "file_array", "total": "dict"}))
    assert fields(RunInfo.load(tmp_path / "run")) == fields(info)


@pytest.mark.parametrize("index", [2, -1, slice(None), slice(1, None, 2), np.int64(1)], ids=repr)
def test_fixed_indices_are_loaded_as_they_were_given(tmp_path, index):
    started(tmp_path, describe(fixed_indices={"i": index}))
    assert RunInfo.load(tmp_path).fixed_indices == {"i": index}


def test_a_run_info_of_before_there_were_fixed_indices_in_it(tmp_path):
    started(tmp_path)
    data = parse_json((tmp_path / "run_info.json").read_bytes())
    assert data.pop("fixed_indices") is None
    write_json(tmp_path / "run_info.json", {name: data[name] for name in data if name != "format"})
    assert RunInfo.load(tmp_path).fixed_indices is None


def test_the_files_are_where_users_look_for_them(tmp_path):
    info = started(tmp_path)
    data = json.loads((tmp_path / "run_info.json").read_text())
    assert data["all_output_names"] == ["total", "y"]
    assert data["run_folder"] == str(tmp_path)
    assert data["input_paths"] == {"x": "inputs/x.cloudpickle"}
    assert data["defaults_path"] == "defaults/defaults.cloudpickle"
    assert data["mapspecs_as_strings"] == ["x[i] -> y[i]"]
    assert data["pipefunc_version"]
    assert info.input_paths == {"x": tmp_path / "inputs/x.cloudpickle"}
    assert info.defaults_path == tmp_path / "defaults/defaults.cloudpickle"
    assert RunInfo.path(tmp_path) == tmp_path / "run_info.json"


def test_a_moved_folder_loads(tmp_path):
    started(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    info = RunInfo.load(tmp_path / "there")
    assert info.run_folder == tmp_path / "there"
    assert info.inputs["x"].tolist() == X.tolist()
    assert dict(info.defaults) == {"factor": 2}


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    info = started("run")
    monkeypatch.chdir("/")
    assert info.folder == tmp_path / "run"


def test_a_folder_that_was_loaded_by_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    commit(started(tmp_path / "a" / "run"), "y", {0: 2.0, 1: 4.0, 2: 6.0}, 3)
    monkeypatch.chdir(tmp_path / "a")
    info, again = RunInfo.load("run"), pickle.loads(pickle.dumps(RunInfo.load(Path("..", "a", "run"))))
    early = info.init_store()
    monkeypatch.chdir("/")
    assert info.run_folder == tmp_path / "a" / "run"
    assert info.inputs["x"].tolist() == X.tolist()
    assert info.input_paths["x"].is_file()
    assert dict(info.defaults) == {"factor": 2}
    for stores in (early, info.init_store(), again.init_store()):
        assert stores["y"].to_array().tolist() == [2.0, 4.0, 6.0]
        assert pickle.loads(pickle.dumps(stores["y"])).to_array().tolist() == [2.0, 4.0, 6.0]


def test_without_a_folder_there_are_no_paths(tmp_path):
    info = describe()
    info.dump()
    for path in ("input_paths", "defaults_path", "folder"):
        with pytest.raises(InvalidValueError, match="no run_folder"):
            getattr(info, path)


@pytest.mark.parametrize("folder", ["empty", "nothing/there"])
def test_no_run_is_a_file_not_found_error(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="there is no run") as caught:
        RunInfo.load(tmp_path / folder)
    assert isinstance(caught.value, RunFolderNotFoundError)
    assert caught.value.hint in str(caught.value)


def test_a_folder_of_pipefunc_is_named_as_such(tmp_path):
    (tmp_path / "run_info.json").write_text(json.dumps({"pipefunc_version": "0.9", "shapes": {}}))
    with pytest.raises(InvalidValueError, match="written by pipefunc"):
        RunInfo.load(tmp_path)


def test_stages_have_numbers(tmp_path):
    info = started(tmp_path)
    assert (info.stage_number(("y",)), info.stage_number(("total",))) == (0, 1)
    with pytest.raises(UnknownNameError, match="no function has the outputs"):
        info.stage_number(("z",))


def test_storage_classes():
    info = describe(storage={"y": "file_array", "": "dict"})
    assert info.storage_class("y") is FileArray
    assert info.storage_class("total").storage_id == "dict"
    assert describe(storage="array").storage_class("y").storage_id == "array"
    with pytest.raises(InvalidValueError, match="no storage was given for 'total'"):
        describe(storage={"y": "dict"}).storage_class("total")


def test_mapspecs():
    assert describe().mapspecs == [MapSpec.from_string("x[i] -> y[i]")]


def test_stores_hold_what_is_committed(tmp_path):
    commit(started(tmp_path), "y", {0: 1.5, 2: "a"}, 3)
    stores = RunInfo.load(tmp_path).init_store()
    assert stores["y"].to_array().tolist() == [1.5, None, "a"]
    assert stores["total"].mask_linear() == [True]


def test_new_stores_without_a_folder():
    stores = describe(storage="dict").init_store()
    assert stores["y"].storage_id == "dict"
    assert stores["y"].shape == (3,)


@pytest.fixture
def unknown_sizes():
    """Return functions whose sizes become known while they run."""

    @pipefunc("y", mapspec="x[i] -> y[i, j]")
    def rows(x):
        return [x] * 2

    @pipefunc("z", mapspec="y[i, j] -> z[j, i]")
    def turn(y):
        return y

    return [rows, turn]


def test_shapes_that_become_known_are_kept(tmp_path, unknown_sizes):
    info = describe(functions=unknown_sizes)
    with opened(tmp_path, info, unknown_sizes) as run:
        assert RunInfo.load(tmp_path).resolved_shapes["z"] == ("?", 3)
        run.record_shapes({"y": (3, 2)})
        before = (tmp_path / "run_info.json").stat().st_mtime_ns
        run.record_shapes({"y": (3, 2)})
        assert (tmp_path / "run_info.json").stat().st_mtime_ns == before
    loaded = RunInfo.load(tmp_path)
    assert loaded.resolved_shapes["y"] == (3, 2)
    assert loaded.shapes["y"] == (3, "?")


def test_shapes_that_follow_are_worked_out(tmp_path, unknown_sizes):
    info = started(tmp_path, describe(functions=unknown_sizes), unknown_sizes)
    stores = info.init_store()
    info.resolve_downstream_shapes("y", stores, shape=(3, 2))
    assert stores["y"].full_shape == (3, 2)
    assert stores["z"].full_shape == (2, 3)
    assert RunInfo.load(tmp_path).resolved_shapes["z"] == (2, 3)


def test_the_code_of_a_function_is_told_apart_by_what_it_is_given():
    def code(function):
        return describe(functions=[function]).code[",".join(function.output_names)][0].digest

    func = Pipeline([pipefunc("y", mapspec="x[i] -> y[i]")(lambda x, k: x - k)])["y"]
    digests = {
        code(func.copy(bound={"k": 1})),
        code(func.copy(bound={"k": 2})),
        code(func.copy(bound={"k": 2}, output_picker=lambda result, _name: result)),
        code(func.copy(mapspec=None, renames={"x": "k", "k": "x"})),
    }
    assert len(digests) == 4


# -- values ------------------------------------------------------------------------------------------

VALUES = {
    "array": np.arange(5.0),
    "transposed": np.arange(6).reshape(2, 3).T,
    "strided": np.arange(10)[::3],
    "read-only": np.frombuffer(b"abcdefgh", dtype=np.uint8),
    "long": np.arange(100_000),
    "zero-dimensional": np.array(3.0),
    "empty": np.empty((0, 2)),
    "objects": np.array([1, "a", None], dtype=object),
    "list": [1, 2.0, "x"],
    "none": None,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_value_is_read_as_it_was_written(tmp_path, value):
    path = tmp_path / "new" / "value"
    digest = write_prepared(path, prepared(value, "it"))
    read = read_value(path, digest)
    assert type(read) is type(value)
    np.testing.assert_array_equal(np.asarray(read, dtype=object), np.asarray(value, dtype=object))
    assert [each.name for each in path.parent.iterdir()] == ["value"]
    assert is_pickle_of(path.read_bytes(), prepared(value, "it"))
    assert not is_pickle_of(path.read_bytes() + b"x", prepared(value, "it"))


def test_other_arrays_have_other_pickles():
    first = b"".join([np.arange(5.0).dumps()])
    assert not is_pickle_of(first, np.arange(5.0) + 1)


def test_a_value_that_cannot_be_pickled_is_named(tmp_path):
    with pytest.raises(InvalidValueError, match="the input 'x' is a generator that cannot be pickled"):
        prepared((x for x in ()), "the input 'x'")


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(RunFolderWriteError, match="cannot be written"):
        write_prepared(path, b"abc")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def damaged(data: bytes, kind: str, place: int, change: int) -> bytes:
    if kind == "flip":
        at = place % (8 * len(data))
        return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]
    if kind == "cut":
        return data[: place % len(data)]
    if kind == "garbage":
        at = place % len(data)
        return data[:at] + bytes([change]) * 7 + data[at + 7 :]
    return data + bytes([change])


damages = st.tuples(
    st.sampled_from(["flip", "cut", "garbage", "longer"]), st.integers(0, 10**6), st.integers(0, 255)
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damages)
def test_a_damaged_run_info_is_refused_or_says_the_same(tmp_path, damage):
    folder = tmp_path / "run"
    if not folder.exists():
        started(folder)
        (tmp_path / "intact").write_bytes((folder / "run_info.json").read_bytes())
    intact = (tmp_path / "intact").read_bytes()
    (folder / "run_info.json").write_bytes(intact)
    expected = fields(RunInfo.load(folder))
    (folder / "run_info.json").write_bytes(damaged(intact, *damage))
    found, message = None, ""
    try:
        found = fields(RunInfo.load(folder))
    except DamagedFileError as error:
        message = str(error)
    # A space more or less does no harm.
    assert found == expected or str(folder / "run_info.json") in message


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damages, name=st.sampled_from(["inputs/x.cloudpickle", "defaults/defaults.cloudpickle"]))
def test_a_damaged_value_is_never_read(tmp_path, damage, name):
    folder = tmp_path / "run"
    if not folder.exists():
        started(folder)
    path = folder / name
    intact = path.read_bytes()
    wrong = damaged(intact, *damage)
    path.write_bytes(wrong)
    info = RunInfo.load(folder)
    try:
        if wrong != intact:
            with pytest.raises(DamagedFileError, match="is damaged"):
                info.inputs["x"] if "inputs" in name else info.defaults["factor"]
    finally:
        path.write_bytes(intact)


# -- made before a run -----------------------------------------------------------------------------------


def scale(x, k=3):
    return k * x


def scaling() -> Pipeline:
    return Pipeline([PipeFunc(scale, "y", mapspec="x[i] -> y[i]")])


def test_a_run_without_a_folder_is_described_only():
    info = RunInfo.create(None, scaling(), {"x": [1, 2]}, storage="dict")
    assert (info.shapes["y"], info.run_folder, info.defaults) == ((2,), None, {"k": 3})
    assert info.storage_class("y").storage_id == "dict"
    with pytest.raises(ValueError, match="no run_folder"):
        _ = info.input_paths


def test_a_folder_is_made_ready_and_can_be_resumed(tmp_path):
    info = RunInfo.create(tmp_path / "run", scaling(), {"x": [1, 2]}, storage="file_array")
    loaded = RunInfo.load(tmp_path / "run")
    assert loaded.shapes == info.shapes == {"x": (2,), "y": (2,)}
    assert dict(loaded.inputs) == {"x": [1, 2]}
    assert load_outputs("y", run_folder=tmp_path / "run").mask.all()
    results = scaling().map({"x": [1, 2]}, tmp_path / "run", resume=True, parallel=False)  # it is not locked
    assert results["y"].output.tolist() == [3, 6]
    again = RunInfo.create(tmp_path / "run", scaling(), {"x": [1, 2]}, resume=True)
    assert again.digests == loaded.digests
    assert load_outputs("y", run_folder=tmp_path / "run").tolist() == [3, 6]


def test_what_a_map_would_refuse_is_refused(tmp_path):
    for inputs, match in (({}, "missing inputs: 'x'"), ({"x": [1], "z": 1}, "unknown inputs: 'z'")):
        with pytest.raises(ValueError, match=match):
            RunInfo.create(tmp_path / "run", scaling(), inputs)
    with pytest.raises(ValueError, match="error_handling"):
        RunInfo.create(tmp_path / "run", scaling(), {"x": [1]}, error_handling="no")
    assert not (tmp_path / "run").exists()
    RunInfo.create(tmp_path / "run", scaling(), {"x": [1]})
    with pytest.raises(ValueError, match="inputs differ"):
        RunInfo.create(tmp_path / "run", scaling(), {"x": [2]}, resume=True)
    with pytest.warns(DeprecationWarning, match="cleanup"):
        RunInfo.create(tmp_path / "run", scaling(), {"x": [2]}, cleanup=True)
    assert dict(RunInfo.load(tmp_path / "run").inputs) == {"x": [2]}


def test_scopes_of_inputs(tmp_path):
    pipeline = scaling()
    pipeline.update_scope("s", "*", "*")
    info = RunInfo.create(None, pipeline, {"s": {"x": [1, 2, 3]}})
    assert info.shapes == {"s.x": (3,), "s.y": (3,)}
