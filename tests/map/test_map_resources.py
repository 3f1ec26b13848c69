"""Resources in maps: worked out once from the whole inputs, or for each element."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from map.alone import PORTABLE, alone

from pipefunc_c import PipeFunc, Pipeline
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
