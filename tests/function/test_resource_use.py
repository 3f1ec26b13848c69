from __future__ import annotations

import inspect
import pickle

import pytest

from pipefunc_c import Pipeline
from pipefunc_c._function.decorator import pipefunc
from pipefunc_c._function.pipefunc import PipeFunc, Revision
from pipefunc_c.exceptions import InputError, InvalidTypeError, InvalidValueError
from pipefunc_c.resources import Resources


def use(x, resources, y=3):
    return x, resources, y


class Seen(list):
    """A function of the arguments that keeps them."""

    def __call__(self, kwargs):
        self.append(dict(kwargs))
        return {"cpus": kwargs["a"]}


# -- how resources are given


@pytest.mark.parametrize(
    "resources", [Resources(cpus=2), {"cpus": 2}, {"cpus": 2.0}], ids=["resources", "dict", "float"]
)
def test_resources_and_dicts(resources):
    function = PipeFunc(use, "z", resources=resources)
    assert function.resources == Resources(cpus=2)
    assert function.evaluate_resources({}) is function.resources
    assert PipeFunc(use, "z").evaluate_resources({}) is None
    assert (function.resources_variable, function.resources_scope) == (None, "map")


def test_a_function_may_return_a_dict():
    function = PipeFunc(use, "z", resources=lambda kwargs: {"cpus": kwargs["x"]})
    assert callable(function.resources)
    assert function.resources({"x": 2}) == function.evaluate_resources({"x": 2}) == Resources(cpus=2)


def test_resources_may_be_set_to_all_that_may_be_given():
    function = PipeFunc(use, "z", resources_variable="resources")
    function.revision = revision = Revision()
    assert function(x=1)[1] is None
    function.resources = {"cpus": 3}
    assert function(x=1)[1] == Resources(cpus=3)
    function.resources = lambda kwargs: {"cpus": 4}
    assert function(x=1)[1] == Resources(cpus=4)
    assert revision.number == 2
    with pytest.raises(InvalidTypeError, match="the resources of use are refused: .*got 3"):
        function.resources = 3
    assert function(x=1)[1] == Resources(cpus=4)
    assert revision.number == 2


@pytest.mark.parametrize(
    ("resources", "error", "text"),
    [
        ({"cpus": 1.5}, InvalidValueError, "must be a whole number, got 1.5"),
        ({"cpu": 1}, InvalidTypeError, "resources have no 'cpu'"),
        (3, InvalidTypeError, "got 3"),
    ],
    ids=["part of a cpu", "unknown", "number"],
)
def test_wrong_resources_name_the_function(resources, error, text):
    with pytest.raises(error, match=f"the resources of use are refused: .*{text}"):
        PipeFunc(use, "z", resources=resources)
    function = PipeFunc(use, "z", resources=lambda kwargs: resources, resources_variable="resources")
    with pytest.raises(error, match=r"the resources of use are refused: .*got|the resources of use .*'cpu'"):
        function(x=1)


def test_a_part_of_a_cpu_suggests_rounding():
    function = PipeFunc(use, "z", resources=lambda kwargs: Resources(cpus=kwargs["x"] / 2))
    assert function.evaluate_resources({"x": 4}).cpus == 2
    with pytest.raises(InvalidValueError, match="the resources of use") as caught:
        function.evaluate_resources({"x": 3})
    assert "math.ceil" in caught.value.hint


def test_wrong_scope_of_resources():
    assert PipeFunc(use, "z", resources_scope="element").resources_scope == "element"
    with pytest.raises(
        InvalidValueError, match="`resources_scope` of use must be 'map' or 'element', got 'all'"
    ):
        PipeFunc(use, "z", resources_scope="all")


# -- parallelization_mode


@pytest.mark.parametrize("mode", ["external", "internal"])
@pytest.mark.parametrize(
    "resources",
    [None, {}, Resources(), lambda kwargs: {}, lambda kwargs: Resources()],
    ids=["none", "dict", "resources", "returns dict", "returns resources"],
)
def test_parallelization_mode_is_merged_into_the_resources(mode, resources):
    function = PipeFunc(use, "z", resources=resources, parallelization_mode=mode)
    merged = function.evaluate_resources({"x": 1})
    assert merged.parallelization_mode == mode
    other = Resources(parallelization_mode="internal" if mode == "external" else "external")
    assert merged.with_defaults(other).parallelization_mode == mode
    assert pickle.loads(pickle.dumps(function)).evaluate_resources({"x": 1}) == merged


def test_parallelization_mode_may_be_said_twice_but_not_differently():
    chosen = Resources(cpus=2, parallelization_mode="external")
    assert PipeFunc(use, "z", resources=chosen, parallelization_mode="external").resources == chosen
    for resources in (chosen, chosen.dict()):
        with pytest.raises(InvalidValueError, match="is 'internal', but that of the resources is 'external'"):
            PipeFunc(use, "z", resources=resources, parallelization_mode="internal")
    function = PipeFunc(use, "z", resources=lambda kwargs: chosen, parallelization_mode="internal")
    with pytest.raises(InvalidValueError, match="the resources of use .*is 'internal', but"):
        function.evaluate_resources({"x": 1})


def test_an_unknown_parallelization_mode():
    with pytest.raises(InvalidValueError, match="must be 'external' or 'internal', got 'both'"):
        PipeFunc(use, "z", parallelization_mode="both")


# -- resources_variable


def test_the_variable_is_no_parameter_and_receives_the_resources():
    function = PipeFunc(use, "z", resources={"cpus": 2}, resources_variable="resources")
    assert function.parameters == ("x", "y")
    assert list(function.original_parameters) == ["x", "y"]
    assert function.defaults == {"y": 3}
    assert str(inspect.signature(function)) == "(x, y=3)"
    for call in (function(x=1), function(1), function(1, 3), function(x=1, y=3)):
        assert call == (1, Resources(cpus=2), 3)


def test_the_variable_receives_none_without_resources():
    assert PipeFunc(use, "z", resources_variable="resources")(x=1) == (1, None, 3)


def test_a_default_of_the_variable_is_not_used():
    function = PipeFunc(lambda x, r=5: (x, r), "z", resources={"cpus": 1}, resources_variable="r")
    assert function.defaults == {}
    assert function(1) == (1, Resources(cpus=1))


@pytest.mark.parametrize("resources", [{"cpus": 1}, lambda kwargs: {"cpus": 1}], ids=["fixed", "function"])
@pytest.mark.parametrize("args", [(), (1, 2, 3)], ids=["keyword", "position"])
def test_the_variable_cannot_be_passed(resources, args):
    function = PipeFunc(use, "z", resources=resources, resources_variable="resources")
    with pytest.raises(InputError, match="'resources' is no parameter|3 arguments by position"):
        function(*args, **({} if args else {"x": 1, "resources": 3}))


def test_keyword_only_variables_of_methods_and_classes():
    class Model:
        def __init__(self, x, *, resources=None):
            self.values = x, resources

        def method(self, x, *, resources):
            return x, resources

        def __call__(self, resources, x):
            return x, resources

    options = {"resources": {"cpus": 1}, "resources_variable": "resources"}
    expected = (2, Resources(cpus=1))
    assert PipeFunc(Model, "m", **options)(x=2).values == expected
    assert PipeFunc(Model(1).method, "m", **options)(2) == expected
    assert PipeFunc(Model(1), "m", **options)(2) == expected


def test_an_unknown_variable():
    with pytest.raises(
        InvalidValueError, match=r"is 'nope', which is no parameter; .* \('x', 'resources', 'y'\)"
    ):
        PipeFunc(use, "z", resources_variable="nope")
    with pytest.raises(InvalidTypeError, match="`resources_variable` of use must be a str, got 3"):
        PipeFunc(use, "z", resources_variable=3)


def test_a_positional_only_variable_is_refused():
    with pytest.raises(InvalidValueError, match="'r', which can be passed by position only"):
        PipeFunc(lambda r, /: r, "z", resources_variable="r")


@pytest.mark.parametrize(
    "option", [{"renames": {"resources": "r"}}, {"defaults": {"resources": 1}}, {"bound": {"resources": 1}}]
)
def test_the_variable_has_no_name_in_the_pipeline(option):
    with pytest.raises(InvalidValueError, match="'resources'"):
        PipeFunc(use, "z", resources_variable="resources", **option)


def test_an_output_may_have_the_name_of_the_variable():
    assert PipeFunc(use, "resources", resources_variable="resources")(1) == (1, None, 3)


# -- functions of the arguments


def test_resources_are_worked_out_from_present_names_with_defaults_and_bound_values():
    seen = Seen()
    function = PipeFunc(
        lambda x, r, y=3, w=4, v=5: r,
        "z",
        renames={"x": "a", "y": "s.b"},
        defaults={"w": 6},
        bound={"v": 7},
        resources=seen,
        resources_variable="r",
    )
    assert function(a=2) == Resources(cpus=2)
    assert function(2, 8) == Resources(cpus=2)
    assert function(a=1, s={"b": 9}) == Resources(cpus=1)
    assert seen == [
        {"a": 2, "s.b": 3, "w": 6, "v": 7},
        {"a": 2, "s.b": 8, "w": 6, "v": 7},
        {"a": 1, "s.b": 9, "w": 6, "v": 7},
    ]


def test_resources_that_nobody_receives_are_not_worked_out():
    seen = Seen()
    assert PipeFunc(use, "z", resources=seen)(1, 2) == (1, 2, 3)
    assert seen == []


def test_section_14_point_12_a_call_uses_the_resources_that_it_is_given():
    seen = Seen()
    function = PipeFunc(use, "z", renames={"x": "a"}, resources=seen, resources_variable="resources")
    carried = Resources(cpus=9)
    assert function.call_native({"x": 1}, carried) == (1, carried, 3)
    assert seen == []
    assert function.call_native({"x": 1}) == (1, Resources(cpus=1), 3)
    assert seen == [{"a": 1, "y": 3}]
    fixed = PipeFunc(use, "z", resources={"cpus": 1}, resources_variable="resources")
    assert fixed.call_native({"x": 1}, carried) == (1, carried, 3)
    assert PipeFunc(lambda x: x, "y").call_native({"x": 1}, carried) == 1


def test_the_target_of_the_engine_takes_all_but_the_resources():
    for resources in ({"cpus": 1}, Seen()):
        function = PipeFunc(use, "z", renames={"x": "a"}, resources=resources, resources_variable="resources")
        assert function.n_positional == 1
        assert function.call_target(1, y=2) == function.call_target(x=1, y=2) == (1, Resources(cpus=1), 2)
        assert function._bare_target(1, 2, 3) == (1, 2, 3)


def test_the_target_follows_changes():
    function = PipeFunc(use, "z", resources=Seen(), resources_variable="resources")
    function.update_renames({"x": "a"})
    assert function(a=3)[1] == Resources(cpus=3)
    other = function.copy()
    other.update_renames({"a": "b", "y": "a"})
    assert other(b=1, a=5)[1] == Resources(cpus=5)
    assert function(a=3)[1] == Resources(cpus=3)


def test_an_error_of_the_resources_is_not_one_of_the_function(capsys):
    def fail(kwargs):
        raise LookupError("no such machine")

    function = PipeFunc(use, "z", resources=fail, resources_variable="resources")
    with pytest.raises(LookupError, match="no such machine") as caught:
        function(x=1)
    assert caught.value.__notes__ == ["This happened while the resources of use were worked out."]
    assert function.error_snapshot is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("resources", [{"cpus": 2}, lambda kwargs: {"cpus": 2}], ids=["fixed", "function"])
def test_an_error_with_resources_can_be_reproduced(resources):
    def divide(x, resources):
        return resources.cpus / x

    function = PipeFunc(divide, "z", resources=resources, resources_variable="resources", print_error=False)
    with pytest.raises(ZeroDivisionError) as caught:
        function(x=0)
    assert function.error_snapshot.kwargs == {"x": 0, "resources": Resources(cpus=2)}
    assert "divide(x=0, resources=Resources(cpus=2))" in caught.value.__notes__[0]
    with pytest.raises(ZeroDivisionError):
        function.error_snapshot.reproduce()


@pytest.mark.parametrize("resources", [{"cpus": 2}, lambda kwargs: {"cpus": 2}], ids=["fixed", "function"])
def test_the_hook_sees_the_resources(resources):
    calls = []
    function = PipeFunc(
        use,
        "z",
        resources=resources,
        resources_variable="resources",
        post_execution_hook=lambda *args: calls.append(args[2]),
    )
    function(x=1)
    assert calls == [{"x": 1, "y": 3, "resources": Resources(cpus=2)}]


# -- defaults of a pipeline


def test_default_resources_fill_in_what_is_open():
    function = PipeFunc(use, "z", resources={"cpus": 2}, resources_variable="resources")
    function.with_default_resources(None)
    assert function.resources == Resources(cpus=2)
    function.with_default_resources({"cpus": 8, "memory": "1GB", "parallelization_mode": "internal"})
    expected = Resources(cpus=2, memory="1GB", parallelization_mode="internal")
    assert function(x=1)[1] == function.resources == expected
    dynamic = PipeFunc(use, "z", resources=lambda kwargs: {"cpus": kwargs["x"]})
    dynamic.with_default_resources(Resources(memory="1GB"))
    assert dynamic.evaluate_resources({"x": 3}) == Resources(cpus=3, memory="1GB")
    empty = PipeFunc(use, "z")
    empty.with_default_resources(Resources(gpus=1))
    assert empty.resources == Resources(gpus=1)


# -- in pipelines


@pytest.mark.parametrize(
    "resources", [{"cpus": 2}, lambda kwargs: {"cpus": kwargs["a"]}], ids=["fixed", "function"]
)
def test_a_pipeline_hands_over_resources(resources):
    function = PipeFunc(use, "z", renames={"x": "a"}, resources=resources, resources_variable="resources")
    pipeline = Pipeline([function])
    assert pipeline(a=2) == (2, Resources(cpus=2), 3)
    assert pipeline.root_args() == ("a", "y")


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "processes"])
def test_a_map_hands_over_resources_per_element(parallel):
    function = PipeFunc(
        lambda x, resources: resources.cpus * x,
        "y",
        renames={"x": "a"},
        mapspec="a[i] -> y[i]",
        resources=lambda kwargs: {"cpus": kwargs["a"]},
        resources_variable="resources",
        resources_scope="element",
    )
    result = Pipeline([function]).map({"a": [1, 2, 3]}, parallel=parallel)
    assert result["y"].output.tolist() == [1, 4, 9]


def test_an_error_of_an_element_with_resources_can_be_reproduced():
    function = PipeFunc(
        lambda x, resources: resources.cpus / x,
        "y",
        mapspec="x[i] -> y[i]",
        resources={"cpus": 2},
        resources_variable="resources",
    )
    result = Pipeline([function]).map({"x": [1, 0]}, parallel=False, error_handling="continue")
    first, error = result["y"].output
    assert first == 2
    assert error.kwargs == {"x": 0, "resources": Resources(cpus=2)}
    with pytest.raises(ZeroDivisionError):
        error.reproduce()


# -- copies and pickles


def test_copies_and_pickles_keep_the_resources():
    function = PipeFunc(
        use,
        "z",
        resources=lambda kwargs: {"cpus": kwargs["x"]},
        resources_variable="resources",
        resources_scope="element",
        parallelization_mode="internal",
    )
    expected = (2, Resources(cpus=2, parallelization_mode="internal"), 3)
    for other in (function.copy(), function.copy(output_name="w"), pickle.loads(pickle.dumps(function))):
        assert other(2) == expected
        assert (other.resources_variable, other.resources_scope) == ("resources", "element")
        assert other.parameters == ("x", "y")
    assert function.copy(resources=None, parallelization_mode="external").resources == Resources()


def test_the_decorator_passes_them_on():
    @pipefunc(
        "z",
        resources={"cpus": 2},
        resources_variable="r",
        resources_scope="element",
        parallelization_mode="internal",
    )
    def f(x, r):
        return r

    assert f(1) == Resources(cpus=2, parallelization_mode="internal")
    assert f.resources_scope == "element"
