"""What a resumed run computes: what is missing, damaged or was not kept, and nothing else."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from map.alone import alone
from map.crash_runs import (
    INPUTS,
    Log,
    N,
    all_calls,
    committed,
    differing,
    in_child,
    make_pipeline,
    outputs_of,
)
from map.test_run_info import damaged, damages

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import ErrorSnapshot, PipefuncError
from pipefunc_c.map import load_all_outputs, load_outputs

pytestmark = pytest.mark.timeout(100)
BOTH = pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])


@BOTH
@pytest.mark.parametrize("strategy", ["generation", "eager"])
@alone
def test_a_finished_run_computes_nothing(parallel, strategy, tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = make_pipeline(log)
    options = {"parallel": parallel, "scheduling_strategy": strategy}
    first = outputs_of(pipeline.map(INPUTS, tmp_path / "run", **options))
    assert sorted(log.take()) == sorted(all_calls())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "commits").iterdir()}
    for _ in range(3):
        assert not differing(
            outputs_of(pipeline.map(INPUTS, tmp_path / "run", resume=True, **options)), first
        )
        assert log.take() == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "commits").iterdir()} == before
    assert not differing(load_all_outputs(tmp_path / "run"), first, loaded=True)
    pipeline.map(INPUTS, tmp_path / "run", **options)
    assert sorted(log.take()) == sorted(all_calls())


@BOTH
@alone
def test_parts_of_an_array_are_computed_one_after_the_other(parallel, tmp_path):
    log = Log(tmp_path / "calls")
    func = PipeFunc(lambda x, y: log.add(x, y) or (x, y), "z", mapspec="x[i], y[j] -> z[i, j]")
    pipeline = Pipeline([func])
    inputs = {"x": range(4), "y": range(5)}
    for x, y in itertools.product(range(0, 4, 2), range(5)):
        fixed = {"i": slice(x, x + 2), "j": y}
        results = pipeline.map(inputs, tmp_path / "run", fixed_indices=fixed, resume=True, parallel=parallel)
        assert sorted(log.take()) == [f"{x} {y}", f"{x + 1} {y}"]
    expected = [[(x, y) for y in range(5)] for x in range(4)]
    assert results["z"].output.tolist() == expected
    assert pipeline.map(inputs, tmp_path / "run", resume=True)["z"].output.tolist() == expected
    assert log.take() == []


@BOTH
@alone
def test_other_inputs_are_refused_and_nothing_is_lost(parallel, tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = make_pipeline(log)
    first = outputs_of(pipeline.map(INPUTS, tmp_path / "run", parallel=parallel))
    log.take()
    for changed in ({"x": range(1, N + 1)}, {"x": np.arange(N)}, {"w": [0, 2]}, {"w": [0, 1, 2]}):
        with pytest.raises(ValueError, match="cannot resume.*(inputs|shapes) differ"):
            pipeline.map({**INPUTS, **changed}, tmp_path / "run", resume=True, parallel=parallel)
    assert not differing(load_all_outputs(tmp_path / "run"), first, loaded=True)
    assert log.take() == []


def versions(log: Log) -> tuple[Any, Any]:
    def first(x):
        log.add(x)
        return 2 * x

    def second(x):
        log.add(x)
        return 3 * x

    first.__name__ = second.__name__ = "scale"
    return first, second


@BOTH
@alone
def test_an_edited_function_is_named(parallel, tmp_path):
    log = Log(tmp_path / "calls")
    first, second = (Pipeline([PipeFunc(each, "y", mapspec="x[i] -> y[i]")]) for each in versions(log))
    options = {"parallel": parallel, "resume": True, "run_folder": tmp_path / "run"}
    first.map({"x": range(4)}, fixed_indices={"i": slice(0, 2)}, **options)
    with pytest.raises(ValueError, match="'scale' was edited"):
        second.map({"x": range(4)}, resume_validation="strict", **options)
    with pytest.warns(UserWarning, match="'scale' was edited"):
        results = second.map({"x": range(4)}, **options)
    assert results["y"].output.tolist() == [0, 2, 6, 9]
    assert sorted(log.take()) == ["0", "1", "2", "3"]
    second.map({"x": range(4)}, resume_validation="skip", **options)


def count_all(z: Any) -> int:
    return len(z)


def failing(log: Log, seconds: float = 0.0) -> Pipeline:
    def broken(x):
        log.add("broken", x)
        time.sleep(seconds)
        if x % 3 == 1:
            raise ValueError(x, {"bad": x})
        return {"x": x}

    def after(y):
        log.add("after", y["x"])
        return y["x"] * 0.5

    functions = [
        PipeFunc(broken, "y", mapspec="x[i] -> y[i]", print_error=False),
        PipeFunc(after, "z", mapspec="y[i] -> z[i]"),
        PipeFunc(count_all, "n"),
    ]
    return Pipeline(functions)


@BOTH
@alone
def test_errors_that_were_stored_are_kept(parallel, tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = failing(log, seconds=0.005)
    options = {"error_handling": "continue", "parallel": parallel, "resume": True}
    for kill in (True, False, False):
        if kill:
            in_child(
                lambda: pipeline.map({"x": range(30)}, tmp_path / "run", **options),
                kill_when=lambda: log.n_bytes() > 20 * len("broken 1 "),
            )
            y = load_outputs("y", run_folder=tmp_path / "run")
            kept = set(np.flatnonzero(~np.ma.getmaskarray(y)))
            assert any(isinstance(y[k], ErrorSnapshot) for k in kept)
            log.take()
            continue
        results = pipeline.map({"x": range(30)}, tmp_path / "run", **options)
        calls = {int(each.split()[1]) for each in log.take() if each.startswith("broken")}
        assert calls == set(range(30)) - kept
        kept = set(range(30))
        for x in range(30):
            y, z = results["y"].output[x], results["z"].output[x]
            if x % 3 != 1:
                assert (y, z) == ({"x": x}, x * 0.5)
                continue
            assert (type(y.exception), y.exception.args, y.kwargs) == (ValueError, (x, {"bad": x}), {"x": x})
            assert "in broken" in y.traceback
            assert z.reason == "input_is_error"
            assert z.error_info["y"].error.exception.args[0] == x
        assert results["n"].output.reason == "array_contains_errors"
        assert results["n"].output.error_info["z"].error_count == 10


@BOTH
@alone
def test_errors_are_computed_again_if_wanted(parallel, tmp_path):
    log, switch = Log(tmp_path / "calls"), tmp_path / "repaired"

    def broken(x):
        log.add("broken", x)
        if x % 3 == 1 and not switch.exists():
            raise ValueError(x)
        return x, (None if x == 4 and not switch.exists() else x)

    def after(y):
        log.add("after", y)
        return y * 0.5

    functions = [
        PipeFunc(broken, ("y", "w"), mapspec="x[i] -> y[i], w[i]", print_error=False),
        PipeFunc(after, "z", mapspec="y[i] -> z[i]"),
        PipeFunc(count_all, "n"),
    ]
    pipeline = Pipeline(functions)
    options = {
        "parallel": parallel,
        "error_handling": "continue",
        "resume": True,
        "run_folder": tmp_path / "run",
    }
    first = pipeline.map({"x": range(6)}, **options)
    assert [type(each).__name__ for each in first["z"].output[:2]] == ["float", "PropagatedErrorSnapshot"]
    log.take()
    again = pipeline.map({"x": range(6)}, retry_errors=True, **options)  # it fails once more
    assert sorted(log.take()) == ["broken 1", "broken 4"]
    assert [type(each).__name__ for each in again["w"].output[:2]] == ["int", "ErrorSnapshot"]

    switch.touch()
    part = pipeline.map(
        {"x": range(6)}, retry_errors=True, output_names=["z"], fixed_indices={"i": 1}, **options
    )
    assert sorted(log.take()) == ["after 1", "broken 1"]
    assert part["z"].output[1] == 0.5
    assert pipeline.map({"x": range(6)}, **options)["y"].output[1] == 1
    assert log.take() == []  # what is left counts as there
    last = pipeline.map({"x": range(6)}, retry_errors=True, **options)
    assert sorted(log.take()) == ["after 4", "broken 4"]
    assert last["z"].output.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert last["n"].output == load_outputs("n", run_folder=tmp_path / "run") == 6
    pipeline.map({"x": range(6)}, retry_errors=True, **options)
    assert log.take() == []


def test_nothing_is_tried_again_without_resume(tmp_path):
    pipeline = Pipeline([PipeFunc(lambda x: x, "y", mapspec="x[i] -> y[i]")])
    with pytest.raises(ValueError, match="retry_errors=True was given without resume=True"):
        pipeline.map({"x": [1]}, tmp_path / "run", retry_errors=True)
    assert not (tmp_path / "run").exists()


@BOTH
@alone
def test_an_error_that_is_raised_leaves_what_was_computed(parallel, tmp_path):
    log = Log(tmp_path / "calls")
    is_fixed: list[int] = []

    def f(x):
        log.add(x)
        time.sleep(0.001)
        if x == 40 and not is_fixed:
            raise ValueError(x)
        return {"x": x}

    pipeline = Pipeline([PipeFunc(f, "y", mapspec="x[i] -> y[i]", print_error=False)])
    with pytest.raises(ValueError, match="40"):
        pipeline.map({"x": range(100)}, tmp_path / "run", parallel=parallel)
    y = load_outputs("y", run_folder=tmp_path / "run")
    kept = set(np.flatnonzero(~np.ma.getmaskarray(y)).tolist())
    assert set(log.take()) == {str(k) for k in kept | {40}}  # all that was computed, but for the failure
    is_fixed.append(1)
    options = {"resume": True, "resume_validation": "skip", "parallel": parallel}
    results = pipeline.map({"x": range(100)}, tmp_path / "run", **options)
    assert results["y"].output.tolist() == [{"x": k} for k in range(100)]
    assert set(map(int, log.take())) == set(range(100)) - kept


# -- storages and sync -------------------------------------------------------------------------------

STORAGES = ["dict", "array", "shared_array", {"y": "dict", "": "file_array"}, {"z": "array", "": "dict"}]


@BOTH
@pytest.mark.parametrize("storage", STORAGES, ids=str)
@alone
def test_memory_is_written_at_the_end_if_wanted(parallel, storage, tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = make_pipeline(log)
    options = {"storage": storage, "parallel": parallel}
    first = outputs_of(pipeline.map(INPUTS, tmp_path / "kept", **options))
    assert sorted(log.take()) == sorted(all_calls())
    assert not differing(load_all_outputs(tmp_path / "kept"), first, loaded=True)
    again = pipeline.map(INPUTS, tmp_path / "kept", resume=True, **options)
    assert not differing(outputs_of(again), first)
    assert log.take() == []

    pipeline.map(INPUTS, tmp_path / "not", persist_memory=False, **options)
    kept = committed(tmp_path / "not")
    log.take()
    again = pipeline.map(INPUTS, tmp_path / "not", resume=True, persist_memory=False, **options)
    assert not differing(outputs_of(again), first)
    assert set(log.take()) == all_calls() - kept
    assert not any(each.startswith("f ") for each in kept)


@BOTH
@alone
def test_sync_gives_data_to_the_disk_before_its_record(parallel, tmp_path):
    log = Log(tmp_path / "calls")
    synced = Log(tmp_path / "synced")
    whole = os.fdatasync

    def fdatasync(descriptor):
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink().suffixes[0], time.monotonic())
        whole(descriptor)

    os.fdatasync = fdatasync  # in this process and its workers
    pipeline = make_pipeline(log, 0.004)
    first = outputs_of(pipeline.map(INPUTS, tmp_path / "none", parallel=parallel))
    assert synced.take() == []
    found = outputs_of(pipeline.map(INPUTS, tmp_path / "run", parallel=parallel, sync=0.1))
    assert not differing(found, first)
    calls = [each.split() for each in synced.take()]
    assert 4 <= len(calls) <= 30
    assert [kind for kind, _ in calls].count(".data") == len(calls) / 2
    log.take()
    again = outputs_of(pipeline.map(INPUTS, tmp_path / "run", parallel=parallel, sync=0.0, resume=True))
    assert not differing(again, first)
    assert log.take() == []


# -- damage ------------------------------------------------------------------------------------------


class Specimens:
    """Finished, stopped and failed runs in folders, made once; copies of them are damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = Log(path / "calls")
        self.pipelines = {"finished": make_pipeline(self.log), "stopped": make_pipeline(self.log)}
        self.pipelines["failed"] = failing(self.log)
        self.inputs = {"finished": INPUTS, "stopped": INPUTS, "failed": {"x": range(30)}}
        self.expected, self.files = {}, []
        for name in self.pipelines:
            self.expected[name] = outputs_of(self.map(name, path / name))
            if name == "stopped":
                shutil.rmtree(path / name)
                for count in (6, 2, 1):
                    in_child(lambda: self.map("stopped", path / "stopped"), fault=f"after_record:{count}")
            self.files += [
                (name, str(each.relative_to(path / name)))
                for each in sorted((path / name).rglob("*"))
                if each.is_file()
            ]

    def map(self, name: str, folder: Path, **options: Any) -> Any:
        mode = "continue" if name == "failed" else "raise"
        options = {"parallel": False, "resume": True, "error_handling": mode, **options}
        return self.pipelines[name].map(self.inputs[name], folder, **options)

    @staticmethod
    def answer(folder: Path, function: Any) -> Any:
        """Give what a function returns; None if it refuses and says of what folder."""
        try:
            return function()
        except PipefuncError as error:
            if str(folder) not in str(error):
                raise AssertionError("this error does not name the folder") from error
            return None

    def check(self, name: str, file: str, damage: tuple[str, int, int] | None) -> bool:
        """Damage a file, or delete it; tell whether the run can go on."""
        folder = self.path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.path / name, folder)
        content = (folder / file).read_bytes()
        if damage is None:
            (folder / file).unlink()
        elif content:
            (folder / file).write_bytes(damaged(content, *damage))
        loaded = self.answer(folder, lambda: load_all_outputs(folder))
        wrong = [] if loaded is None else differing(loaded, self.expected[name], loaded=True)
        assert not wrong, wrong[:2]
        results = self.answer(folder, lambda: outputs_of(self.map(name, folder)))
        if results is None:
            return False
        wrong = differing(results, self.expected[name])
        assert not wrong, wrong[:2]
        wrong = differing(load_all_outputs(folder), self.expected[name], loaded=True)
        assert not wrong, wrong[:2]
        self.log.take()
        again = outputs_of(self.map(name, folder))
        assert not differing(again, self.expected[name])
        assert self.log.take() == []
        return True


LIMITS = settings(
    max_examples=200,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@alone
def test_a_damaged_file_never_gives_a_wrong_value(tmp_path):
    specimens = Specimens(tmp_path)
    kinds = {Path(file).suffix for _, file in specimens.files}
    assert {".json", ".lock", ".cloudpickle", ".data", ".ledger"} <= kinds
    goes_on: dict[str, int] = {}

    @LIMITS
    @given(where=st.sampled_from(specimens.files), damage=damages)
    def check(where, damage):
        goes_on[Path(where[1]).parts[0]] = goes_on.get(Path(where[1]).parts[0], 0) + specimens.check(
            *where, damage
        )

    check()
    # What is derived from the inputs or computed again stops nobody.
    assert goes_on["commits"] > 10
    assert goes_on["inputs"] > 5
    assert goes_on["defaults"] > 1


@pytest.mark.slow
@alone
def test_a_file_that_is_gone_never_gives_a_wrong_value(tmp_path):
    specimens = Specimens(tmp_path)
    goes_on = {where: specimens.check(*where, None) for where in specimens.files}
    # Without run_info.json nobody knows what the results are of: they are computed anew.
    assert all(goes_on.values()), goes_on
