"""What is easy to get wrong in a pipeline, and what its predecessor did wrong, one test by name for each."""

from __future__ import annotations

import numpy as np
import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph import validate
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._pipeline import editing
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import GraphError, InputError, UnusedParametersError


def test_defaults_bound_values_and_mapspecs_go_by_new_names_and_hooks_by_native_ones():
    seen = []

    def scale(values, factor, offset):
        return factor * values + offset

    function = PipeFunc(
        scale,
        "out",
        renames={"values": "x", "factor": "k", "offset": "o", "out": "y"},
        defaults={"k": 2},
        bound={"o": 1},
        mapspec="x[i] -> y[i]",
        post_execution_hook=lambda func, result, kwargs: seen.append((func.output_name, result, kwargs)),
    )
    pipeline = Pipeline([function])
    assert pipeline.defaults == {"k": 2}
    assert pipeline.map({"x": [10]}, parallel=False)["y"].output.tolist() == [21]
    assert seen == [("y", 21, {"values": 10, "factor": 2, "offset": 1})]


def test_errors_go_by_native_names():
    def fail(values):
        raise RuntimeError

    pipeline = Pipeline([PipeFunc(fail, "y", renames={"values": "x"}, print_error=False)])
    with pytest.raises(RuntimeError):
        pipeline(x=1)
    assert pipeline.error_snapshot.kwargs == {"values": 1}


def test_a_picker_gets_the_renamed_name():
    names = []

    def pick(result, name):
        names.append(name)
        return result[0]

    function = PipeFunc(lambda: [7], ("a", "b"), output_picker=pick, renames={"a": "s.a"})
    assert Pipeline([function])("s.a") == 7
    assert "s.a" in names
    assert "a" not in names


def test_a_bound_value_shadows_the_upstream_output_and_is_no_input():
    y = PipeFunc(lambda x: 1 / 0, "y")
    z = PipeFunc(lambda y, k: (y, k), "z", bound={"y": 5, "k": 6})
    pipeline = Pipeline([y, z])
    assert pipeline("z") == (5, 6)
    assert pipeline.root_args() == ("x",)
    assert pipeline.root_args("z") == ()
    assert not pipeline.graph.has_edge(*pipeline.functions)
    assert pipeline.func_dependencies("z") == []
    assert pipeline("z", y=1, k=2) == pipeline.run("z", {"y": 1}) == pipeline.func("z")(y=1) == (5, 6)
    with pytest.raises(UnusedParametersError, match="'x'"):
        pipeline("z", x=1)


def test_a_bound_name_in_a_scope_may_be_given():
    pipeline = Pipeline([PipeFunc(lambda a, b: (a, b), "c", scope="s", bound={"a": 1})])
    assert pipeline("s.c", s={"a": 3, "b": 2}) == (1, 2)


def test_functions_that_share_an_input_need_one_default():
    with pytest.raises(GraphError, match="'k' has different defaults"):
        Pipeline([PipeFunc(lambda k=1: k, "y"), PipeFunc(lambda k=2: k, "z")])
    assert Pipeline([PipeFunc(lambda k=1: k, "y"), PipeFunc(lambda k: k, "z")])("z") == 1


def test_a_default_for_the_output_of_another_function_is_ignored():
    pipeline = Pipeline([PipeFunc(lambda x: x, "y"), PipeFunc(lambda y=3: y, "z")])
    assert pipeline.defaults == {}
    assert pipeline.root_args("z") == ("x",)
    with pytest.raises(InputError, match="'x'"):
        pipeline("z")


def test_a_default_array_can_feed_a_mapspec():
    function = PipeFunc(lambda x: 2 * x, "y", defaults={"x": [1, 2]}, mapspec="x[i] -> y[i]")
    assert Pipeline([function]).map({}, parallel=False)["y"].output.tolist() == [2, 4]


def test_the_tuple_name_is_the_raw_result_and_single_names_are_picked():
    raw = {"a": 1, "b": 2}
    function = PipeFunc(lambda x: raw, ("a", "b"), output_picker=dict.__getitem__)
    pipeline = Pipeline([function])
    assert pipeline(("a", "b"), x=0) is raw
    assert pipeline("b", x=0) == 2
    assert pipeline(["b", ("a", "b")], x=0) == (2, raw)


def test_full_output_contains_inputs_too_also_those_that_nothing_takes():
    pipeline = Pipeline([PipeFunc(lambda x: x, "y"), PipeFunc(lambda y: y, "z")])
    given = {"x": 1, "other": 2}
    assert pipeline.run("z", given, full_output=True, allow_unused=True) == {**given, "y": 1, "z": 1}


def test_unused_arguments_are_not_looked_at_after_a_cache_hit():
    pipeline = Pipeline([PipeFunc(lambda x: x, "y", cache=True)], cache_type="simple")
    with pytest.raises(UnusedParametersError, match="'other'"):
        pipeline("y", x=1, other=2)
    assert pipeline("y", x=1) == 1
    assert pipeline("y", x=1, other=2) == 1


# -- scopes


def test_values_in_a_scope_flat_nested_and_both():
    pipeline = Pipeline([PipeFunc(lambda a, b, c: (a, b, c), "y")])
    pipeline.update_scope("s", inputs={"a", "b"})
    expected = (1, 2, 3)
    assert pipeline.run("y", {"s.a": 1, "s.b": 2, "c": 3}) == expected
    assert pipeline.run("y", {"s": {"a": 1, "b": 2}, "c": 3}) == expected
    assert pipeline("y", s={"a": 1}, c=3, **{"s.b": 2}) == expected
    assert pipeline.func("y")(s={"a": 1, "b": 2}, c=3) == expected
    with pytest.raises(InputError, match=r"'s\.a' is given twice"):
        pipeline("y", s={"a": 1, "b": 2}, c=3, **{"s.a": 1})


def test_the_scope_of_a_pipeline_holds_for_inputs_and_outputs():
    pipeline = Pipeline([PipeFunc(lambda x: x, "y"), PipeFunc(lambda y, k: y, "z")], scope="s")
    assert pipeline.root_args() == ("s.k", "s.x")
    assert pipeline.all_output_names == {"s.y", "s.z"}
    assert pipeline.map({"s": {"x": 4, "k": 0}}, parallel=False)["s.z"].output == 4


# -- faults of the predecessor


@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "in reverse"])
def test_fault_each_change_looks_at_the_whole_pipeline(monkeypatch, reverse):
    """An add, replace or drop looks at the neighbours; the whole is looked at when it is asked for."""
    count = 200
    built = []
    for module in (editing, validate):

        class Counted(FunctionGraph):
            def __init__(self, functions):
                super().__init__(functions)
                built.append(len(self.defined))

        monkeypatch.setattr(module, "FunctionGraph", Counted)
    functions = [PipeFunc(abs, f"y{k + 1}", renames={"x": f"y{k}"}) for k in range(count)]
    pipeline = Pipeline([])
    for function in reversed(functions) if reverse else functions:
        pipeline.add(function)
    for function in functions:
        pipeline.replace(function)
    for k in range(count // 2):
        pipeline.drop(output_name=f"y{k + 1}")
    # A function and its two neighbours, for their types; nothing that grows with the pipeline.
    assert max(built) <= 3
    assert pipeline(f"y{count}", **{f"y{count // 2}": -7}) == 7
    assert max(built) == count // 2


def test_fault_a_cached_run_with_an_array_as_default():
    """Arrays have no truth value, which a check of defaults asked for."""
    function = PipeFunc(lambda x, w: x * w.sum(), "y", defaults={"w": np.arange(3)}, cache=True)
    pipeline = Pipeline([function], cache_type="simple")
    assert [pipeline(x=2), pipeline(x=2)] == [6, 6]
    assert len(pipeline.cache) == 1
