"""Opening a run folder: whose it is, clearing, resuming, and what a crash leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from map.run_folders import FUNCTIONS, X, commit, content, describe, double, opened, started
from map.test_run_info import damaged, damages

from pipefunc_c import PipeFunc, pipefunc
from pipefunc_c._storage.run_lock import RunLock
from pipefunc_c.exceptions import InvalidValueError, OperationError, RunFolderInUseError
from pipefunc_c.map._run_folder.load import load_outputs
from pipefunc_c.map._run_folder.run_files import DamagedFileError
from pipefunc_c.map._run_folder.run_info import RunInfo, read_run_info

OWN = ["defaults", "driver.lock", "inputs", "run_info.json"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- whose it is -------------------------------------------------------------------------------------


def pipefunc_folder(folder: Path) -> None:
    (folder / "outputs").mkdir()
    (folder / "run_info.json").write_text(json.dumps({"shapes": {}, "pipefunc_version": "0.93"}))


def files(folder: Path) -> None:
    (folder / "data.csv").write_text("1,2")
    (folder / ".hidden").write_text("x")


def strange_run_info(folder: Path) -> None:
    (folder / "run_info.json").write_text("{}")


def linked_run_info(folder: Path) -> None:
    started(folder.parent / "other")
    (folder / "run_info.json").symlink_to(folder.parent / "other" / "run_info.json")


def linked_lock(folder: Path) -> None:
    started(folder.parent / "other")
    (folder / "driver.lock").symlink_to(folder.parent / "other" / "driver.lock")


def strange_lock(folder: Path) -> None:
    (folder / "driver.lock").write_text("locked by me")


FOREIGN = [pipefunc_folder, files, strange_run_info, linked_run_info, linked_lock, strange_lock]


@pytest.mark.parametrize("resume", [False, True], ids=["start over", "resume"])
@pytest.mark.parametrize("fill", FOREIGN, ids=lambda fill: fill.__name__)
def test_a_folder_of_others_stays_byte_for_byte(tmp_path, fill, resume):
    folder = tmp_path / "theirs"
    folder.mkdir()
    fill(folder)
    before = content(tmp_path)
    with pytest.raises(InvalidValueError, match="not touched") as caught:
        opened(folder, resume=resume)
    assert repr(str(folder)) in str(caught.value)
    assert content(tmp_path) == before


def test_a_folder_of_pipefunc_is_named_even_with_our_lock(tmp_path):
    started(tmp_path)
    pipefunc_folder(tmp_path / "inputs")
    (tmp_path / "run_info.json").write_bytes((tmp_path / "inputs/run_info.json").read_bytes())
    with pytest.raises(InvalidValueError, match="written by pipefunc"):
        opened(tmp_path)
    assert (tmp_path / "inputs/x.cloudpickle").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in ("file", "file/below"):
        with pytest.raises(InvalidValueError, match=r"is a file|cannot be made"):
            opened(tmp_path / path)
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_is_made_with_its_parents(tmp_path):
    started(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == OWN


@pytest.mark.parametrize("resume", [False, True], ids=["start over", "resume"])
def test_an_empty_lock_is_left_by_a_kill(tmp_path, resume):
    (tmp_path / "driver.lock").touch()
    with opened(tmp_path, resume=resume) as run:
        assert not run.resumed


def test_an_unknown_validation_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match="resume_validation is 'no'"):
        opened(tmp_path / "run", resume_validation="no")
    assert not (tmp_path / "run").exists()


def test_a_second_driver_is_refused(tmp_path):
    with opened(tmp_path) as run:
        before = content(tmp_path)
        with pytest.raises(RunFolderInUseError, match=str(os.getpid())):
            opened(tmp_path)
        assert content(tmp_path) == before
        run.close()
    with opened(tmp_path):
        pass


def test_a_refused_run_gives_the_folder_free(tmp_path):
    started(tmp_path)
    with pytest.raises(InvalidValueError):
        opened(tmp_path, describe({"x": X + 1}), resume=True)
    RunLock(tmp_path).acquire().release()


def test_files_are_given_to_the_disk_where_asked_for(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("pipefunc_c.map._run_folder.run_files.os.fsync", synced.append)
    opened(tmp_path / "a").close()
    assert not synced
    opened(tmp_path / "b", sync=True).close()
    assert len(synced) == 6  # inputs, defaults and run_info.json, each with its folder


# -- clearing ----------------------------------------------------------------------------------------


def test_starting_over_clears_the_folder(tmp_path):
    info = started(tmp_path)
    commit(info, "y", {0: 1.0}, 3)
    (tmp_path / "plot.png").write_text("x")
    (tmp_path / "outputs" / "deep" / "deeper").mkdir(parents=True)
    with opened(tmp_path, describe({"x": X * 2})) as run:
        assert not run.resumed
    assert names(tmp_path) == OWN
    assert RunInfo.load(tmp_path).inputs["x"].tolist() == [2.0, 4.0, 6.0]


def test_links_are_removed_and_not_followed(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    started(folder)
    (folder / "link").symlink_to(outside)
    (folder / "outputs").mkdir()
    (folder / "outputs" / "link").symlink_to(outside)
    (folder / "inputs" / "file").symlink_to(outside / "keep")
    (folder / "dangling").symlink_to(outside / "nothing")
    started(folder)
    assert names(folder) == OWN
    assert content(outside) == {"keep": b"x"}


def test_a_linked_run_folder_is_cleared_behind_the_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    started(tmp_path / "link")
    started(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == OWN


def test_the_lock_file_is_never_deleted(tmp_path):
    started(tmp_path)
    before = (tmp_path / "driver.lock").stat().st_ino
    started(tmp_path)
    assert (tmp_path / "driver.lock").stat().st_ino == before


def test_what_cannot_be_deleted_is_named(tmp_path, monkeypatch):
    started(tmp_path)

    def refuse(path):
        raise PermissionError(13, "not allowed", path)

    monkeypatch.setattr("pipefunc_c.map._run_folder.run_folder.shutil.rmtree", refuse)
    with pytest.raises(OperationError, match="defaults' of the last run cannot be deleted"):
        opened(tmp_path)
    assert read_run_info(tmp_path)[0] == "tombstone"


def test_an_input_that_cannot_be_kept_is_refused_before_anything_is_deleted(tmp_path):
    commit(started(tmp_path), "y", {0: 1.0}, 3)
    with pytest.raises(InvalidValueError, match="the input 'rows' is a generator"):
        opened(tmp_path, describe({"x": X, "rows": (x for x in ())}))
    assert load_outputs("y", run_folder=tmp_path).tolist() == [1.0, None, None]


def test_a_damaged_run_info_may_be_cleared(tmp_path):
    started(tmp_path)
    (tmp_path / "run_info.json").write_text("garbage")
    with pytest.raises(DamagedFileError, match=r"run_info\.json' is damaged"):
        opened(tmp_path, resume=True)
    started(tmp_path)
    assert RunInfo.load(tmp_path).stages == (("y",), ("total",))


SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    from map.run_folders import describe, opened, X
    opened({folder!r}, describe({{"x": X + 1}})).close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True], ids=["start over", "resume"])
@pytest.mark.parametrize("point", ["before_run_info:1", "mid_clear:1", "mid_clear:2", "mid_clear:4"])
def test_a_kill_leaves_a_folder_that_starts_over(tmp_path, point, resume):
    commit(started(tmp_path), "y", {0: 1.0}, 3)
    (tmp_path / "outputs").mkdir()
    script = textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parent.parent), folder=str(tmp_path)))
    environment = {**os.environ, "PIPEFUNC_C_FAULT": point}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert read_run_info(tmp_path)[0] == "tombstone"
    with opened(tmp_path, describe({"x": X + 2}), resume=resume) as run:
        assert not run.resumed
    assert names(tmp_path) == OWN
    assert load_outputs("y", run_folder=tmp_path).mask.all()
    assert RunInfo.load(tmp_path).inputs["x"].tolist() == (X + 2).tolist()


# -- resuming: shapes and values ---------------------------------------------------------------------


def test_a_resumed_run_keeps_what_is_there(tmp_path):
    commit(started(tmp_path), "y", {0: 1.0}, 3)
    before = content(tmp_path)
    with opened(tmp_path, resume=True) as run:
        assert run.resumed
        assert run.info.inputs["x"] is X
    assert {name: data for name, data in content(tmp_path).items() if name != "driver.lock"} == {
        name: data for name, data in before.items() if name != "driver.lock"
    }


@pytest.mark.parametrize("resume", [True, False], ids=["resume", "start over"])
def test_nothing_to_resume_starts_fresh(tmp_path, resume):
    with opened(tmp_path, resume=resume) as run:
        assert not run.resumed
    assert names(tmp_path) == OWN


@pytest.mark.parametrize("validation", ["auto", "strict", "skip"])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        pytest.param({"error_handling": "continue"}, "error_handling", id="error_handling"),
        pytest.param({"internal_shapes": {"y": (2,)}}, "internal_shapes", id="internal_shapes"),
        pytest.param({"inputs": {"x": np.arange(4.0)}}, "shapes", id="shapes"),
        pytest.param(
            {"functions": [double.copy(mapspec="x[j] -> y[j]"), FUNCTIONS[1]]}, "mapspecs", id="mapspecs"
        ),
    ],
)
def test_another_structure_is_refused(tmp_path, change, what, validation):
    started(tmp_path)
    change = {"functions": FUNCTIONS, **change}
    internal = change.pop("internal_shapes", None)
    info = describe(**change)
    if internal is not None:
        info = dataclasses.replace(info, internal_shapes=internal)
    before = content(tmp_path)
    with pytest.raises(InvalidValueError, match=f"{what} differ"):
        opened(tmp_path, info, change["functions"], resume=True, resume_validation=validation)
    after = content(tmp_path)
    assert {**after, "driver.lock": b""} == {**before, "driver.lock": b""}


@pytest.mark.parametrize("validation", ["auto", "strict"])
@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param({"x": [1.0, 2.0, 3.0]}, id="another type"),
        pytest.param({"x": np.array([1.0, 2.0, 4.0])}, id="another value"),
        pytest.param({"x": X.astype("f4")}, id="another dtype"),
        pytest.param({"x": X, "factor": 3}, id="one more"),
    ],
)
def test_other_inputs_are_refused(tmp_path, inputs, validation):
    started(tmp_path)
    with pytest.raises(InvalidValueError, match="the inputs differ: '(x|factor)'"):
        opened(tmp_path, describe(inputs), resume=True, resume_validation=validation)
    assert RunInfo.load(tmp_path).inputs["x"].tolist() == X.tolist()


def test_an_input_that_is_left_out_is_refused(tmp_path):
    started(tmp_path, describe({"x": X, "factor": 3}))
    with pytest.raises(InvalidValueError, match="the inputs differ: 'factor'"):
        opened(tmp_path, resume=True)


def test_other_defaults_are_refused(tmp_path):
    started(tmp_path)
    with pytest.raises(InvalidValueError, match="the defaults differ: 'factor'"):
        opened(tmp_path, describe(defaults={"factor": 3}), resume=True)


def test_skip_takes_other_inputs_and_defaults(tmp_path):
    commit(started(tmp_path), "y", {0: 1.0}, 3)
    info = describe({"x": X + 1, "new": 1}, defaults={"factor": 3})
    with opened(tmp_path, info, resume=True, resume_validation="skip") as run:
        assert run.resumed
    loaded = RunInfo.load(tmp_path)
    assert loaded.inputs["x"].tolist() == (X + 1).tolist()
    assert (loaded.inputs["new"], dict(loaded.defaults)) == (1, {"factor": 3})
    assert load_outputs("y", run_folder=tmp_path).count() == 1


def test_a_float_within_the_tolerance_is_the_same(tmp_path):
    started(tmp_path, describe({"x": X, "k": 0.3}))
    with opened(tmp_path, describe({"x": X, "k": 0.1 + 0.2}), resume=True) as run:
        assert run.resumed


class Opaque:
    """Says of nothing whether it is equal."""

    def __eq__(self, other):
        raise TypeError("cannot tell")

    __hash__ = None

    def __reduce__(self):
        return Opaque, (), {"noise": os.urandom(8)}


@pytest.mark.parametrize("where", ["inputs", "defaults"])
def test_what_cannot_be_compared(tmp_path, capsys, where):
    def info():
        if where == "inputs":
            return describe({"x": X, "k": Opaque()})
        return describe(defaults={"k": Opaque()})

    started(tmp_path, info())
    with opened(tmp_path, info(), resume=True) as run:
        assert run.resumed
    assert f"Note: the {where} 'k' cannot be compared" in capsys.readouterr().out
    with pytest.raises(InvalidValueError, match=f"the {where} 'k' cannot be compared"):
        opened(tmp_path, info(), resume=True, resume_validation="strict")
    with opened(tmp_path, info(), resume=True, resume_validation="skip") as run:
        assert run.resumed
    assert capsys.readouterr().out == ""


INPUTS = {"x": X, "text": "abc", "rows": [1, 2.5, None]}
FILES = ["run_info.json", *(f"inputs/{name}.cloudpickle" for name in INPUTS), "defaults/defaults.cloudpickle"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(damage=damages, name=st.sampled_from(FILES), same=st.booleans())
def test_damage_is_repaired_or_refused(tmp_path, damage, name, same):
    folder = tmp_path / "run"
    if not folder.exists():
        started(folder, describe(INPUTS))
    intact = content(folder)
    wrong = damaged(intact[name], *damage)
    (folder / name).write_bytes(wrong)
    others = {"x": X + 1, "text": "xyz", "rows": [1, 2.5, 0]}
    info = describe(INPUTS, defaults={"factor": 2}) if same else describe(others, defaults={"factor": 3})
    refusal = None
    try:
        with opened(folder, info, resume=True):
            assert same
    except InvalidValueError as error:
        refusal = error
    try:
        if refusal is not None:
            # What is given now is right, so only run_info.json cannot be repaired.
            assert not same or name == "run_info.json"
            assert not isinstance(refusal, DamagedFileError) or name in str(refusal)
            return
        loaded = RunInfo.load(folder)
        assert dict(loaded.defaults) == {"factor": 2}
        assert loaded.inputs["rows"] == INPUTS["rows"]
        assert loaded.inputs["x"].tolist() == X.tolist()
    finally:
        for each, data in intact.items():
            (folder / each).write_bytes(data)


def test_a_missing_input_file_is_written_again(tmp_path):
    started(tmp_path)
    (tmp_path / "inputs/x.cloudpickle").unlink()
    with opened(tmp_path, resume=True) as run:
        assert run.resumed
    assert RunInfo.load(tmp_path).inputs["x"].tolist() == X.tolist()


# -- resuming: code ----------------------------------------------------------------------------------


def version(number: int, **options) -> list[PipeFunc]:
    """Give a function whose code depends on the version."""
    namespace: dict[str, object] = {"__name__": "user_code"}
    exec(f"def compute(x):\n return x + {number}", namespace)
    return [PipeFunc(namespace["compute"], "y", mapspec="x[i] -> y[i]", **options)]


def resumed(folder, functions, validation="auto"):
    info = describe(functions=functions)
    with opened(folder, info, functions, resume=True, resume_validation=validation) as run:
        return run.info


def test_an_edited_function_warns_again_and_again(tmp_path):
    started(tmp_path, describe(functions=version(1)), version(1))
    for _ in range(2):  # elements of the first version are still there
        with pytest.warns(UserWarning, match="'compute' was edited"):
            resumed(tmp_path, version(2))
    with pytest.warns(UserWarning, match="'compute' was edited"):
        resumed(tmp_path, version(1))


def test_strict_refuses_and_skip_goes_on(tmp_path, capsys):
    started(tmp_path, describe(functions=version(1)), version(1))
    with pytest.raises(InvalidValueError, match="'compute' was edited"):
        resumed(tmp_path, version(2), "strict")
    resumed(tmp_path, version(1), "strict")
    resumed(tmp_path, version(2), "skip")
    assert capsys.readouterr().out == ""
    with pytest.raises(InvalidValueError, match="'compute' was edited"):
        resumed(tmp_path, version(1), "strict")


def test_a_bound_value_counts_as_code(tmp_path):
    def functions(k):
        return [pipefunc("y", mapspec="x[i] -> y[i]", bound={"k": k})(lambda x, k: x + k)]

    started(tmp_path, describe(functions=functions(1)), functions(1))
    resumed(tmp_path, functions(1), "strict")
    with pytest.raises(InvalidValueError, match="edited"):
        resumed(tmp_path, functions(2), "strict")


@pytest.mark.parametrize("validation", ["auto", "strict"])
def test_another_python_is_noted(tmp_path, capsys, validation):
    info = started(tmp_path, describe(functions=version(1)), version(1))
    identity = dataclasses.replace(info.code["y"][0], python="3.10", digest="other")
    info.code["y"] = (identity,)
    info.dump()
    resumed(tmp_path, version(2), validation)
    assert "compute (another version of Python)" in capsys.readouterr().out
    resumed(tmp_path, version(2), validation)
    assert capsys.readouterr().out == ""


def test_what_is_unknown_is_noted(tmp_path, capsys):
    functions = version(1)
    functions[0].func.__globals__["rows"] = []
    exec("def compute(x): return rows", functions[0].func.__globals__)
    functions = [PipeFunc(functions[0].func.__globals__["compute"], "y", mapspec="x[i] -> y[i]")]
    started(tmp_path, describe(functions=functions), functions)
    resumed(tmp_path, functions, "strict")
    assert "compute (rows in compute (list))" in capsys.readouterr().out


def test_more_functions_get_new_stage_numbers(tmp_path):
    @pipefunc("before")
    def before(factor):
        return factor

    info = started(tmp_path)
    commit(info, "total", {0: 12.0})
    functions = [before, *FUNCTIONS]
    with opened(tmp_path, describe(functions=functions), functions, resume=True) as run:
        assert run.info.stages == (("y",), ("total",), ("before",))
        assert run.info.stage_number(("before",)) == 2
    with opened(tmp_path, describe(functions=[double]), [double], resume=True) as run:
        assert run.info.stages == (("y",), ("total",), ("before",))
    assert load_outputs("total", run_folder=tmp_path) == 12.0
