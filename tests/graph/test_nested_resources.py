"""Resources of a nested function reach the functions in it."""

from __future__ import annotations

import pickle

import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.resources import Resources


def first(a, res=None):
    return [res]


def second(b, res=None):
    return [*b, res]


def inner(one=None, other=None, **options):
    return [
        PipeFunc(first, "b", resources=one, resources_variable="res", **options),
        PipeFunc(second, "c", resources=other, resources_variable="res", **options),
    ]


def nested(one=None, other=None, **options):
    return NestedPipeFunc(inner(one, other), "c", **options)


@pytest.mark.parametrize(
    ("of_functions", "given", "expected"),
    [
        pytest.param({}, {"cpus": 2}, Resources(cpus=2), id="given"),
        pytest.param({"one": {"cpus": 3}}, {"cpus": 9}, Resources(cpus=9), id="given-before-own"),
        pytest.param({"one": lambda kwargs: {"cpus": 5}}, {"cpus": 9}, Resources(cpus=9), id="callable"),
        pytest.param({"one": {"cpus": 3}}, None, Resources(cpus=3), id="the-only-one"),
        pytest.param({"other": {"cpus": 3}}, None, Resources(cpus=3), id="the-other-one"),
        pytest.param(
            {"one": {"cpus": 3}, "other": {"cpus": 1, "memory": "2GB"}},
            None,
            Resources(cpus=3, memory="2GB"),
            id="the-largest",
        ),
        pytest.param({}, None, None, id="none"),
    ],
)
def test_the_inner_functions_receive_them(of_functions, given, expected):
    function = nested(**of_functions, resources=given)
    assert function(a=1) == [expected, expected]
    assert Pipeline([function])("c", a=1) == [expected, expected]
    assert pickle.loads(pickle.dumps(function))(a=1) == [expected, expected]
    assert function.copy()(a=1) == function.copy(function_name="again")(a=1) == [expected, expected]
    assert [each.resources for each in function.pipeline.functions] == [expected, expected]
    assert function(a=1) == [expected, expected]


def test_defaults_of_the_pipeline_reach_them():
    assert Pipeline([nested()], default_resources={"cpus": 7})(a=1) == [Resources(cpus=7)] * 2
    filled = Pipeline([nested({"memory": "1GB"})], default_resources={"cpus": 7})
    assert filled(a=1) == [Resources(cpus=7, memory="1GB")] * 2


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])
def test_in_a_map(parallel):
    functions = inner()
    functions[0].mapspec, functions[1].mapspec = "a[i] -> b[i]", "b[i] -> c[i]"
    pipeline = Pipeline([NestedPipeFunc(functions, "c", resources={"cpus": 2})])
    results = pipeline.map({"a": [1, 2, 3]}, parallel=parallel)
    assert results["c"].output.tolist() == [[Resources(cpus=2)] * 2] * 3


def test_nested_functions_made_by_a_pipeline():
    both = Resources(cpus=3, memory="1GB")
    tail = PipeFunc(lambda c, d: c, "e")
    pipeline = Pipeline([*inner({"cpus": 3}, {"memory": "1GB"}), tail])
    assert pipeline.simplified_pipeline()(a=1, d=2) == [both, both]
    pipeline.nest_funcs({"b", "c"}, "c")
    assert pipeline(a=1, d=2) == [both, both]


def test_nested_in_nested():
    outer = NestedPipeFunc([nested({"cpus": 1}), PipeFunc(lambda c: c, "e")], "e", resources={"cpus": 4})
    assert outer(a=1) == [Resources(cpus=4)] * 2


def test_setting_them_sets_those_of_the_inner_functions():
    function = nested({"cpus": 1})
    pipeline = Pipeline([function])
    assert function(a=1) == [Resources(cpus=1)] * 2
    function.resources = {"cpus": 8}
    assert function(a=1) == [Resources(cpus=8)] * 2
    assert pipeline(a=1) == [Resources(cpus=1)] * 2
    pipeline["c"].resources = Resources(cpus=5)
    assert pipeline(a=1) == [Resources(cpus=5)] * 2
    function.resources = None
    assert function(a=1) == [None, None]
    with pytest.raises(InvalidTypeError, match="cannot be callable"):
        function.resources = lambda kwargs: {"cpus": 1}
    assert function(a=1) == [None, None]


def test_the_functions_that_were_given_keep_their_own():
    functions = inner({"cpus": 1})
    NestedPipeFunc(functions, "c", resources={"cpus": 2})
    assert [function.resources for function in functions] == [Resources(cpus=1), None]


def test_a_cache_tells_them_apart():
    pipeline = Pipeline([nested(resources={"cpus": 2}, cache=True)], cache_type="simple")
    assert pipeline(a=1) == pipeline(a=1) == [Resources(cpus=2)] * 2
    pipeline["c"].resources = {"cpus": 3}
    assert pipeline(a=1) == [Resources(cpus=3)] * 2
    cached = NestedPipeFunc(inner(cache=True), "c", resources={"cpus": 2})
    assert cached(a=1) == [Resources(cpus=2)] * 2
    cached.resources = {"cpus": 3}
    assert cached(a=1) == [Resources(cpus=3)] * 2
