from __future__ import annotations

import inspect
import pickle

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import InputError, UnknownNameError, UnusedParametersError


@pytest.fixture
def pipeline():
    return Pipeline(
        [
            PipeFunc(lambda x, k=2: k * x, "y"),
            PipeFunc(lambda y, a: (y, a), ("u", "v"), renames={"a": "s.a"}),
            PipeFunc(lambda u: -u, "z"),
        ],
        name="name",
    )


def test_ways_to_call(pipeline):
    function = pipeline.func("v")
    given = {"x": 1, "s.a": 5}
    assert function(**given) == function.call_with_dict(given) == 5
    assert function.call_full_output(**given) == {**given, "y": 2, "u": 2, "v": 5}
    assert function.root_args == ("k", "s.a", "x")
    assert function.call_with_root_args(3, 5, 1) == 5
    assert function.call_with_root_args(3, x=1, **{"s.a": 5}) == 5
    assert function(x=1, s={"a": 5}) == 5


def test_kinds_of_outputs(pipeline):
    given = {"x": 1, "s.a": 5}
    assert pipeline.func(("u", "v"))(**given) == (2, 5)
    assert pipeline.func(["y", "v"])(**given) == (2, 5)
    assert pipeline.func()(**given) == -2
    assert pipeline.func(["y", "v"]).root_args == pipeline.func().root_args == ("k", "s.a", "x")


def test_the_same_object_for_the_same_output(pipeline):
    for name in ("y", ("u", "v"), ["u", "v"], None):
        assert pipeline.func(name) is pipeline.func(name)
    assert pipeline.func(["u", "v"]) is not pipeline.func(("u", "v"))


def test_changes_are_seen(pipeline):
    function = pipeline.func("y")
    pipeline.update_renames({"x": "x2"})
    assert function.root_args == ("k", "x2")
    assert function(x2=1) == 2


def test_signatures(pipeline):
    function = pipeline.func("v")
    assert str(inspect.signature(function)) == "(*, k=2, s.a, x)"
    assert str(inspect.signature(function.call_with_root_args)) == "(k=2, s.a, x)"
    assert function.__name__ == "name.func('v')"
    assert repr(function) == "PipelineFunction('v')"


def test_a_pipeline_without_name():
    assert Pipeline([PipeFunc(lambda: 0, "y")]).func("y").__name__ == "pipeline.func('y')"


def test_a_function_of_a_pipeline_is_a_function_for_another(pipeline):
    outer = Pipeline([PipeFunc(pipeline.func("y"), "inner"), PipeFunc(lambda inner: inner + 1, "out")])
    assert outer(x=1) == 3
    assert outer(x=1, k=5) == 6


def test_pickle(pipeline):
    function = pickle.loads(pickle.dumps(pipeline.func("y")))
    assert function(x=1) == 2
    assert function.pipeline.func("y")(x=2) == 4


def test_refused_calls(pipeline):
    with pytest.raises(UnknownNameError, match="'nope'"):
        pipeline.func("nope")
    function = pipeline.func("y")
    with pytest.raises(InputError, match=r"3 values were given by position.*\('k', 'x'\)"):
        function.call_with_root_args(1, 2, 3)
    with pytest.raises(InputError, match=r"\['k'\] were given twice"):
        function.call_with_root_args(1, k=2)
    with pytest.raises(InputError, match="'x'"):
        function()
    with pytest.raises(UnusedParametersError, match="'s.a'"):
        function(x=1, **{"s.a": 1})
