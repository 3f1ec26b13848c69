"""Resources in maps: worked out once from the whole inputs, or for each element."""

from __future__ import annotations

import pickle
import platform
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime

import numpy as np
import pytest
from map.alone import PORTABLE, alone

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._storage.base import StorageBase
from pipefunc_c.exceptions import ErrorSnapshot, PropagatedErrorSnapshot
from pipefunc_c.map import load_outputs
from pipefunc_c.resources import Resources

pytestmark = pytest.mark.timeout(60)

WAYS = ["sequential", "workers", "threads", "processes"]


def run(functions, inputs, way="sequential", **options):
    pipeline = functions if isinstance(functions, Pipeline) else Pipeline(functions)
    if way == "sequential":
        return pipeline.map(inputs, parallel=False, **options)
    if way == "workers":
        return pipeline.map(inputs, **options)
    kind = ThreadPoolExecutor if way == "threads" else ProcessPoolExecutor
    with kind(2) as executor:
        return pipeline.map(inputs, executor=executor, **options)


class Counted:
    """Gives resources and writes down what they were made from."""

    def __init__(self, path, make):
        self.path, self.make = path, make

    def __call__(self, kwargs):
        with self.path.open("a") as file:
            file.write(f"{ {name: type(value).__name__ for name, value in kwargs.items()} }\n")
        return self.make(kwargs)

    def seen(self):
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.path.write_text("")
        return lines


def cpus_of(x, resources):
    return x * 100 + resources.cpus


def with_length(kwargs):
    return {"cpus": len(kwargs["a"])}


def with_value(kwargs):
    return Resources(cpus=int(kwargs["a"]) + 1)


def consumer(resources, scope, **options):
    return PipeFunc(
        cpus_of,
        "y",
        renames={"x": "a"},
        mapspec="a[i] -> y[i]",
        resources=resources,
        resources_variable="resources",
        resources_scope=scope,
        **options,
    )


@pytest.mark.parametrize("way", WAYS)
@alone
def test_map_scope_is_worked_out_once_from_the_whole_inputs(way, tmp_path):
    resources = Counted(tmp_path / "seen", with_length)
    results = run([consumer(resources, "map")], {"a": list(range(50))}, way)
    assert results["y"].output.tolist() == [100 * x + 50 for x in range(50)]
    assert resources.seen() == ["{'a': 'list'}"]


@pytest.mark.parametrize("way", WAYS)
@alone
def test_element_scope_is_worked_out_per_element(way, tmp_path):
    resources = Counted(tmp_path / "seen", with_value)
    results = run([consumer(resources, "element")], {"a": np.arange(6)}, way)
    assert results["y"].output.tolist() == [100 * x + x + 1 for x in range(6)]
    assert len(resources.seen()) == 6


def test_map_scope_gets_the_storage_of_an_earlier_output(tmp_path):
    first = PipeFunc(lambda x: 2 * x, "a", mapspec="x[i] -> a[i]")
    resources = Counted(tmp_path / "seen", lambda kwargs: {"cpus": int(kwargs["a"].to_array().sum())})
    results = run([first, consumer(resources, "map")], {"x": [1, 2, 3]}, storage="dict")
    assert resources.seen() == ["{'a': 'DictArray'}"]
    assert results["y"].output.tolist() == [212, 412, 612]


def test_a_single_call_gets_its_arguments():
    func = PipeFunc(
        lambda x, resources: resources.cpus,
        "n",
        resources=lambda kwargs: {"cpus": len(kwargs["x"])},
        resources_variable="resources",
    )
    assert run([func], {"x": [1, 2, 3]})["n"].output == 3


def test_resources_that_nobody_receives_are_not_worked_out(tmp_path):
    resources = Counted(tmp_path / "seen", with_length)
    func = PipeFunc(lambda a: a, "y", mapspec="a[i] -> y[i]", resources=resources)
    assert run([func], {"a": [1, 2]})["y"].output.tolist() == [1, 2]
    assert resources.seen() == []


@pytest.mark.parametrize("scope", ["map", "element"])
def test_a_hook_sees_the_resources_that_were_worked_out(scope, tmp_path):
    calls = []
    resources = Counted(tmp_path / "seen", lambda kwargs: {"cpus": 2})
    func = consumer(resources, scope, post_execution_hook=lambda f, result, kwargs: calls.append(kwargs))
    run([func], {"a": [1, 2]})
    assert [kwargs["resources"].cpus for kwargs in calls] == [2, 2]
    assert len(resources.seen()) == (1 if scope == "map" else 2)


def refuse(kwargs):
    raise LookupError("no machine is left")


@pytest.mark.parametrize("scope", ["map", "element"])
@pytest.mark.parametrize("way", WAYS)
@alone
def test_resources_that_fail_stop_the_map(way, scope):
    with pytest.raises(LookupError, match="no machine is left"):
        run([consumer(refuse, scope, print_error=False)], {"a": [1, 2]}, way)


def some_fail(kwargs):
    if np.ndim(kwargs["a"]) == 0 and kwargs["a"] != 2:
        return {"cpus": 1}
    raise LookupError("no machine is left")


@pytest.mark.parametrize("scope", ["map", "element"])
@pytest.mark.parametrize("way", WAYS)
@alone
def test_resources_that_fail_make_propagated_errors(way, scope, tmp_path):
    func = consumer(some_fail, scope, print_error=False)
    after = PipeFunc(lambda y: y, "z", mapspec="y[i] -> z[i]")
    options = {"error_handling": "continue", "run_folder": tmp_path / "run"}
    results = run([func, after], {"a": [1, 2]}, way, **options)
    for output in (results["y"].output, load_outputs("y", run_folder=tmp_path / "run")):
        error = output[1]
        assert isinstance(error, PropagatedErrorSnapshot)
        assert error.reason == "input_is_error"
        assert error.skipped_function.output_name == "y"
        assert error.attempted_kwargs == {"a": 2}
        (cause,) = error.get_root_causes()
        assert isinstance(cause, ErrorSnapshot)
        assert isinstance(cause.exception, LookupError)
        assert "no machine is left" in str(cause)
        assert isinstance(output[0], PropagatedErrorSnapshot) is (scope == "map")
    assert isinstance(results["z"].output[1], PropagatedErrorSnapshot)
    assert results["z"].output[1].get_root_causes()[0].exception.args == ("no machine is left",)


@pytest.mark.skipif(PORTABLE, reason="measures nothing that depends on it")
@alone
def test_profiling_in_workers_is_warned_about():
    pipeline = Pipeline([PipeFunc(abs, "y", mapspec="x[i] -> y[i]")], profile=True)
    with pytest.warns(UserWarning, match="profile=True"):
        pipeline.map({"x": [1, -2]})
    pipeline.map({"x": [1, -2]}, parallel=False)
    assert pipeline.profiling_stats["abs"].time.num_executions == 2


def lengths_fail(kwargs):
    return {"cpus": len(kwargs["a"]) // kwargs["c"]}


def values_fail(kwargs):
    return {"cpus": kwargs["a"] // kwargs["c"]}


@pytest.mark.parametrize("scope", ["map", "element"])
@pytest.mark.parametrize("way", WAYS)
@alone
def test_the_snapshot_of_resources_that_fail_is_complete(way, scope, tmp_path):
    resources = lengths_fail if scope == "map" else values_fail
    func = PipeFunc(
        lambda x, factor, resources: x,
        "y",
        renames={"x": "a", "factor": "c"},
        defaults={"c": 0},
        mapspec="a[i] -> y[i]",
        resources=resources,
        resources_variable="resources",
        resources_scope=scope,
        print_error=False,
    )
    folder = tmp_path / "run"
    before = datetime.now().astimezone().replace(microsecond=0)
    results = run([func], {"a": [1, 2]}, way, error_handling="continue", run_folder=folder)
    ended = datetime.now().astimezone()
    time.sleep(1.1)
    outputs = [results["y"].output, load_outputs("y", run_folder=folder), pickled(results)["y"].output]
    for output in outputs:
        for value, skipped in enumerate(output, start=1):
            (error,) = skipped.get_root_causes()
            assert error is skipped.error_info["resources"].error
            assert (error.args, error.kwargs) == (({"a": [1, 2] if scope == "map" else value, "c": 0},), {})
            with pytest.raises(ZeroDivisionError) as again:
                error.reproduce()
            assert again.value.args == error.exception.args
            assert f"in {resources.__name__}" in error.traceback
            note = "This happened while the resources of <lambda> were worked out."
            assert error.exception.__notes__ == [note]
            for line in (note, f"ZeroDivisionError: {error.exception}"):
                assert error.traceback.count(f"{line}\n") == 1
            assert before <= datetime.fromisoformat(error.timestamp) <= ended
            assert skipped.timestamp == error.timestamp
            assert error.machine == platform.node()
            assert error.timestamp == outputs[0][value - 1].timestamp


def pickled(value):
    return pickle.loads(pickle.dumps(value))


class OwnError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")


@pytest.mark.parametrize("scope", ["map", "element"])
@pytest.mark.parametrize("way", WAYS)
@alone
def test_an_error_of_resources_keeps_its_class(way, scope, tmp_path):
    def fail(kwargs):
        raise OwnError(3, "no")

    options = {"error_handling": "continue", "run_folder": tmp_path / "run"}
    results = run([consumer(fail, scope, print_error=False)], {"a": [1, 2]}, way, **options)
    for output in (results["y"].output, load_outputs("y", run_folder=tmp_path / "run")):
        (cause,) = output[1].get_root_causes()
        assert type(cause.exception) is OwnError
        assert cause.exception.args == ("3: no",)


@pytest.mark.parametrize("storage", ["file_array", "dict"])
def test_failed_resources_of_earlier_outputs_have_what_they_got(storage, tmp_path):
    first = PipeFunc(lambda x: 2 * x, "a", mapspec="x[i] -> a[i]")
    total = PipeFunc(lambda a: int(sum(a)), "c")
    seen = []

    def fail(kwargs):
        seen.append(kwargs)
        raise LookupError("no machine is left")

    last = PipeFunc(
        lambda a, c, resources: a, "y", mapspec="a[i] -> y[i]", resources=fail, resources_variable="resources"
    )
    options = {"error_handling": "continue", "run_folder": tmp_path / "run", "storage": storage}
    results = run([first, total, last], {"x": [1, 2, 3]}, **options)
    [got] = seen
    for output in (results["y"].output, load_outputs("y", run_folder=tmp_path / "run")):
        [arguments] = output[0].get_root_causes()[0].args
        assert arguments["c"] == got["c"] == 12
        assert arguments["a"].to_array().tolist() == got["a"].to_array().tolist() == [2, 4, 6]
        assert isinstance(arguments["a"], StorageBase)
