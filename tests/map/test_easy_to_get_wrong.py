"""What is easy to get wrong in a map, and what its predecessor did wrong, one test by name for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from map.alone import alone

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import ErrorSnapshot, PropagatedErrorSnapshot
from pipefunc_c.map import load_outputs
from pipefunc_c.parallel._environment import available_cores

pytestmark = pytest.mark.timeout(60)


def double(x):
    return 2 * x


def element_wise(func=double, **options):
    return PipeFunc(func, "y", mapspec="x[i] -> y[i]", **options)


def run(functions, inputs, **options):
    return Pipeline(functions).map(inputs, parallel=False, **options)


def test_whole_root_inputs_arrive_untouched_and_whole_outputs_as_object_arrays():
    seen = {}

    def look(x, y):
        seen.update(x=x, y=y)
        return 0

    given = [1, 2, 3]
    run([element_wise(), PipeFunc(look, "n")], {"x": given})
    assert seen["x"] is given
    assert isinstance(seen["y"], np.ndarray)
    assert seen["y"].dtype == object


def test_an_output_without_inputs_is_one_object_and_an_internal_axis_is_a_storage():
    made = PipeFunc(lambda: [1, 2], "x", mapspec="... -> x[i]")
    pairs = PipeFunc(lambda x: [x, -x], "y", mapspec="x[i] -> y[i, j]", internal_shape=2)
    results = run([made, pairs], {})
    assert results["x"].output == [1, 2]
    assert results["y"].output.tolist() == [[1, -1], [2, -2]]
    assert results["y"].store.shape_mask == (True, False)


def test_the_mask_follows_the_axes_of_the_output():
    func = PipeFunc(lambda x: [x, -x, 0], "y", mapspec="x[i] -> y[j, i]", internal_shape=3)
    result = run([func], {"x": [1, 2]})["y"]
    assert result.store.shape_mask == (False, True)
    assert result.output.tolist() == [[1, 2], [-1, -2], [0, 0]]


def test_the_linear_index_runs_over_the_output_axes_in_c_order():
    calls = []
    func = PipeFunc(lambda x, y: calls.append((x, y)) or (x, y), "z", mapspec="x[i], y[j] -> z[j, i]")
    result = run([func], {"x": [0, 1], "y": [10, 20, 30]})["z"]
    assert calls == [(x, y) for y in (10, 20, 30) for x in (0, 1)]
    assert result.output.shape == (3, 2)
    assert result.store.get_from_index(3) == calls[3] == (1, 20)


def test_unknown_sizes_ripple_downstream_and_into_the_run_folder(tmp_path):
    made = PipeFunc(lambda n: list(range(n)), "x", mapspec="... -> x[i]", internal_shape="?")
    rows = PipeFunc(lambda y: [y, y], "z", mapspec="y[i] -> z[i, k]", internal_shape="?")
    results = run([made, element_wise(), rows], {"n": 4}, run_folder=tmp_path / "run")
    assert results["z"].output.shape == (4, 2)
    info = json.loads((tmp_path / "run" / "run_info.json").read_text())
    assert info["shapes"]["z"] == ["?", "?"]
    assert info["resolved_shapes"] == {"x": [4], "y": [4], "z": [4, 2]}


def test_a_later_output_of_another_size_names_both_elements():
    rows = PipeFunc(lambda x: list(range(x)), "y", mapspec="x[i] -> y[i, k]", internal_shape="?")
    with pytest.raises(ValueError, match="3"):
        _ = run([rows], {"x": [2, 2, 3]})["y"].output


def test_options_take_one_of_several_outputs_or_all_of_them():
    both = PipeFunc(lambda x: (x, -x), ("a", "b"), mapspec="x[i] -> a[i], b[i]")
    for storage in ({"a": "dict"}, {("a", "b"): "dict"}, {"": "dict"}):
        results = run([both], {"x": [1]}, storage=storage)
        assert results["b"].store.storage_id == "dict"
    with pytest.raises(ValueError, match="2 entries for one function"):
        run([both], {"x": [1]}, storage={"a": "dict", "b": "array"})
    with pytest.raises(ValueError, match="no entry for"):
        run([both, element_wise()], {"x": [1]}, storage={"a": "dict"})


def test_an_element_missing_in_any_output_is_computed_again(tmp_path):
    calls = []

    def first(x):
        calls.append(x)
        return x, x

    func = PipeFunc(first, ("a", "b"), mapspec="x[i] -> a[i], b[i]")
    run([func], {"x": [0, 1, 2]}, run_folder=tmp_path / "run", fixed_indices={"i": slice(0, 2)})
    calls.clear()
    run([func], {"x": [0, 1, 2]}, run_folder=tmp_path / "run", resume=True)
    assert calls == [2]


def test_stored_errors_count_as_done(tmp_path):
    calls = []

    def fail(x):
        calls.append(x)
        raise ValueError(x)

    options = {"run_folder": tmp_path / "run", "error_handling": "continue"}
    run([element_wise(fail, print_error=False)], {"x": [1, 2]}, **options)
    results = run([element_wise(fail, print_error=False)], {"x": [1, 2]}, resume=True, **options)
    assert calls == [1, 2]
    assert all(isinstance(each, ErrorSnapshot) for each in results["y"].output)


def test_resume_looks_at_the_mode_first_then_at_shapes_inputs_and_defaults(tmp_path):
    func = PipeFunc(lambda x, k=1: x * k, "y", mapspec="x[i] -> y[i]")
    run([func], {"x": [1, 2]}, run_folder=tmp_path / "run")
    other = func.copy(defaults={"k": 2})
    wrong = [
        (func, {"x": [1, 2, 3]}, "continue", "error_handling differ"),
        (func, {"x": [1, 2, 3]}, "raise", "shapes differ"),
        (other, {"x": [1, 3]}, "raise", "inputs differ: 'x'"),
        (other, {"x": [1, 2]}, "raise", "defaults differ: 'k'"),
    ]
    for function, inputs, mode, match in wrong:
        with pytest.raises(ValueError, match=match):
            run([function], inputs, run_folder=tmp_path / "run", resume=True, error_handling=mode)


def test_fixed_indices_leave_none_in_the_output_and_masked_in_the_store():
    result = run([element_wise()], {"x": [1, 2, 3]}, fixed_indices={"i": 1})["y"]
    assert result.output.tolist() == [None, 4, None]
    assert result.store.to_array().mask.tolist() == [True, False, True]
    assert result.store[0] is np.ma.masked


def test_fixed_indices_are_refused_on_reduced_axes_and_checked_against_the_inputs():
    reduced = [element_wise(), PipeFunc(sum, "n", renames={"iterable": "y"}, bound={"start": 0})]
    with pytest.raises(ValueError, match="'i' cannot be fixed"):
        run(reduced, {"x": [1, 2]}, fixed_indices={"i": 0})
    with pytest.raises(IndexError, match="out of bounds"):
        run([element_wise()], {"x": [1, 2]}, fixed_indices={"i": 2})
    with pytest.raises(ValueError, match="axis 'j'"):
        run([element_wise()], {"x": [1, 2]}, fixed_indices={"j": 0})


def test_an_element_that_is_an_error_and_an_array_that_contains_some_have_different_reasons():
    def fail(x):
        if x == 1:
            raise ValueError(x)
        return x

    functions = [
        element_wise(fail, print_error=False),
        PipeFunc(lambda y: y, "z", mapspec="y[i] -> z[i]"),
        PipeFunc(len, "n", renames={"obj": "y"}),
    ]
    results = run(functions, {"x": [0, 1]}, error_handling="continue")
    assert results["z"].output[0] == 0
    assert results["z"].output[1].reason == "input_is_error"
    whole = results["n"].output
    assert isinstance(whole, PropagatedErrorSnapshot)
    assert whole.reason == "array_contains_errors"
    assert (whole.error_info["y"].type, whole.error_info["y"].error_count) == ("partial", 1)


def test_map_scope_resources_get_the_whole_inputs_and_element_scope_the_elements():
    seen = []

    def resources(kwargs):
        seen.append(kwargs["x"])
        return {"cpus": 1}

    for scope in ("map", "element"):
        func = element_wise(
            lambda x, r: r.cpus, resources=resources, resources_variable="r", resources_scope=scope
        )
        run([func], {"x": [5, 6]})
    assert seen == [[5, 6], 5, 6]


# -- faults of the predecessor ---------------------------------------------------------------------------


def test_there_is_no_file_per_element(tmp_path):
    counts = []
    for n in (10, 10_000):
        run([element_wise()], {"x": range(n)}, run_folder=tmp_path / str(n))
        counts.append(sum(len(files) for _, _, files in os.walk(tmp_path / str(n))))
    assert counts[0] == counts[1] < 10


def test_outputs_are_typed_where_they_can_be():
    assert run([element_wise()], {"x": [0.5, 1.5]})["y"].array.dtype == np.float64


def test_a_truncated_file_does_not_count_as_done(tmp_path):
    run([element_wise()], {"x": range(1000)}, run_folder=tmp_path / "run")
    (data,) = (tmp_path / "run" / "commits").glob("*.data")
    data.write_bytes(data.read_bytes()[:-100])
    assert load_outputs("y", run_folder=tmp_path / "run").mask.any()
    results = run([element_wise()], {"x": range(1000)}, run_folder=tmp_path / "run", resume=True)
    assert results["y"].output.tolist() == [2 * x for x in range(1000)]


def test_a_folder_with_other_files_is_not_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        run([element_wise()], {"x": [1]}, run_folder=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_number_of_workers_respects_affinity_and_slurm(monkeypatch):
    program = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "from pipefunc_c.parallel._environment import available_cores; print(available_cores())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert shown.stdout.strip() == "1"
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert available_cores() == 1


def fail_first(x):
    if x == 0:
        raise ValueError("first")
    time.sleep(0.2)
    return x


@alone
def test_an_error_does_not_wait_for_what_is_queued():
    began = time.monotonic()
    with pytest.raises(ValueError, match="first"):
        Pipeline([element_wise(fail_first, print_error=False)]).map({"x": range(20)})
    assert time.monotonic() - began < 0.6 + 0.3


@pytest.mark.parametrize("parallel", [False, True])
@alone
def test_an_error_has_one_note(parallel):
    with pytest.raises(ValueError, match="first") as caught:
        Pipeline([element_wise(fail_first, print_error=False)]).map({"x": [0]}, parallel=parallel)
    assert len(caught.value.__notes__) == 1
