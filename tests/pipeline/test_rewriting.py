from __future__ import annotations

import pickle

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import (
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    MapSpecError,
    NotAvailableError,
    UnknownNameError,
)


def y(x, a=1):
    return x + a


def z(y, b):
    return y * b


def w(z, c=3):
    return z - c


def make(**options):
    return Pipeline([y, z, w], **options)


def state(pipeline):
    """All that a user could see of a pipeline."""
    return (
        [(id(f), id(f.binding), str(f)) for f in pipeline.functions],
        pipeline.root_args(),
        pipeline.defaults,
        pipeline.mapspecs_as_strings,
        pipeline("w", x=1, b=2) if not pipeline.mapspecs_as_strings else None,
    )


# -- nest_funcs


CHOSEN = [{"y", "z"}, ["z", "y"], ("y", "z"), frozenset({"y", "z"})]


@pytest.mark.parametrize("chosen", CHOSEN, ids=["set", "list", "tuple", "frozenset"])
def test_nest_funcs(chosen):
    pipeline = make()
    nested = pipeline.nest_funcs(chosen)
    assert type(nested) is NestedPipeFunc
    assert nested is pipeline["y"] is pipeline["z"]
    assert [f.output_name for f in pipeline.functions] == ["w", ("y", "z")]
    assert pipeline("w", x=1, b=2) == 1
    assert pipeline("y", x=1, b=2) == 2
    assert pipeline.root_args() == ("a", "b", "c", "x")


def test_nest_all_under_a_new_name():
    pipeline = make()
    nested = pipeline.nest_funcs("*", "w", function_name="everything")
    assert (nested.__name__, nested.output_name) == ("everything", "w")
    assert pipeline.functions == [nested]
    assert pipeline(x=1, b=2) == 1
    assert pickle.loads(pickle.dumps(pipeline))(x=1, b=2) == 1


def test_a_nested_function_can_be_nested_again():
    pipeline = make()
    pipeline.nest_funcs({"y", "z"}, "z")
    pipeline.nest_funcs("*", "w")
    assert pipeline(x=1, b=2) == 1
    assert pipeline.copy()(x=1, b=2) == 1


def test_a_nested_function_in_other_pipelines():
    pipeline = make()
    nested = pipeline.nest_funcs({"y", "z"}, "z")
    other = Pipeline([nested, PipeFunc(lambda z: -z, "minus")])
    assert other("minus", x=1, b=2) == -4
    joined = pipeline | PipeFunc(lambda w: -w, "minus")
    assert joined("minus", x=1, b=2) == -1
    other.update_renames({"x": "X"})
    assert other("minus", X=1, b=2) == -4
    assert pipeline("w", x=1, b=2) == 1


def test_nested_functions_of_a_map():
    pipeline = Pipeline(
        [
            PipeFunc(lambda x: x + 1, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(lambda y: 2 * y, "z", mapspec="y[i] -> z[i]"),
            PipeFunc(lambda z: 1 * sum(z), "t"),
        ]
    )
    pipeline.nest_funcs({"y", "z"}, "z")
    assert pipeline.mapspecs_as_strings == ["x[i] -> z[i]"]
    pipeline.update_defaults({"x": [1, 2, 3]})  # builds the graph anew; the mapspec must stay
    assert pipeline.mapspecs_as_strings == ["x[i] -> z[i]"]
    assert pipeline.map({}, parallel=False)["t"].output == 18
    assert pipeline.copy().map({}, parallel=False)["t"].output == 18
    pipeline.update_renames({"x": "X"})
    pipeline.update_mapspec_axes({"i": "time"})
    assert pipeline.mapspecs_as_strings == ["X[time] -> z[time]"]


@pytest.mark.parametrize(
    ("arguments", "error", "offender"),
    [
        (({"y"},), InvalidValueError, "two functions"),
        (("y",), InvalidValueError, "two functions"),
        (({"y", "nope"},), UnknownNameError, "nope"),
        (({"y", "z"}, "nope"), InvalidValueError, "nope"),
        (({"y", "z"}, "y"), GraphError, "'z'"),
        (({"y", "w"},), GraphError, "cycle"),
        ((3,), InvalidTypeError, "3"),
        ((None,), InvalidTypeError, "None"),
    ],
    ids=["one", "one-name", "unknown", "unknown-new", "hidden", "cycle", "type", "none"],
)
def test_a_refused_nest_funcs_leaves_the_pipeline_as_it_was(arguments, error, offender):
    pipeline = make()
    before = state(pipeline)
    with pytest.raises(error, match=offender):
        pipeline.nest_funcs(*arguments)
    assert state(pipeline) == before
    pipeline["y"].update_defaults({"a": 2})  # still seen by the pipeline
    assert pipeline.defaults["a"] == 2


def test_options_of_the_pipeline_go_to_the_nested_function(capsys):
    pipeline = make(debug=True, print_error=False)
    nested = pipeline.nest_funcs({"y", "z"}, "z")
    assert (nested.debug, nested.print_error) == (True, False)
    pipeline("z", x=1, b=2)
    assert "NestedPipeFunc_z" in capsys.readouterr().out


# -- split_disconnected


def test_split_disconnected():
    pipeline = Pipeline([y, PipeFunc(lambda u: u, "v"), z], print_error=False)
    first, second = pipeline.split_disconnected(name="part")
    assert [f.output_name for f in first.functions] == ["y", "z"]
    assert second("v", u=3) == 3
    assert {first.name, second.name} == {"part"}
    assert first.print_error is False
    assert pipeline.split_disconnected(print_error=True)[0].print_error is True
    first.update_defaults({"a": 5})
    assert pipeline.defaults["a"] == 1


def test_split_of_a_connected_pipeline():
    with pytest.raises(GraphError, match="connected") as caught:
        make().split_disconnected()
    assert isinstance(caught.value, ValueError)
    assert Pipeline([]).split_disconnected() == ()


# -- simplified_pipeline


def test_simplified_pipeline():
    pipeline = Pipeline([y, PipeFunc(lambda y, x: y - x, "d"), PipeFunc(lambda d, k: k * d, "e")])
    simple = pipeline.simplified_pipeline()
    assert [f.output_name for f in simple.functions] == ["e", "d"]
    assert simple(x=1, k=10) == pipeline(x=1, k=10) == 10
    assert [f.output_name for f in pipeline.functions] == ["y", "d", "e"]
    assert simple.simplified_pipeline is not None
    assert pipeline.simplified_pipeline("d", conservatively_combine=True)("d", x=1) == 1


def test_what_cannot_be_simplified():
    with pytest.raises(GraphError, match="nothing to nest"):
        make().simplified_pipeline("w", conservatively_combine=True).simplified_pipeline("y")
    with pytest.raises(UnknownNameError, match="nope"):
        make().simplified_pipeline("nope")
    with pytest.raises(NotAvailableError, match="mapspec"):
        Pipeline([(y, "x[i] -> y[i]"), z]).simplified_pipeline()


# -- add_mapspec_axis


def test_add_mapspec_axis():
    pipeline = Pipeline([(y, "x[i] -> y[i]"), (z, "y[i] -> z[i]"), PipeFunc(lambda z: 1 * sum(z), "t")])
    assert pipeline.add_mapspec_axis("b", "a", axis="j") is None
    assert pipeline.mapspecs_as_strings == [
        "x[i], a[j] -> y[i, j]",
        "y[i, j], b[j] -> z[i, j]",
        "z[:, j] -> t[j]",
    ]
    result = pipeline.map({"x": [1, 2], "a": [10, 20], "b": [1, -1]}, parallel=False)
    assert result["t"].output.tolist() == [23, -43]


def test_the_new_mapspecs_stay_and_follow_changes():
    pipeline = make()
    pipeline.add_mapspec_axis("x", axis="i")
    pipeline.validate()
    pipeline.update_renames({"x": "X", "z": "Z"})
    pipeline.update_mapspec_axes({"i": "time"})
    pipeline.add(lambda_named("minus", lambda w: -w))
    expected = ["X[time] -> y[time]", "y[time] -> Z[time]", "Z[time] -> w[time]"]
    assert pipeline.mapspecs_as_strings == expected
    assert pipeline.copy().mapspecs_as_strings == expected
    assert pickle.loads(pickle.dumps(pipeline)).mapspecs_as_strings == expected


def lambda_named(name, function):
    return PipeFunc(function, name)


def test_an_axis_of_an_output_is_that_of_an_array_that_one_call_returns(capsys):
    pipeline = Pipeline([y, z])
    pipeline.add_mapspec_axis("y", axis="i")
    assert pipeline.mapspecs_as_strings == ["... -> y[i]", "y[i] -> z[i]"]
    assert "... -> y[i]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parameters", "axis", "error"),
    [
        (("nope",), "i", InvalidValueError),
        (("x", "nope"), "j", InvalidValueError),
        (("x",), "1i", MapSpecError),
        (("x",), "", MapSpecError),
        (("x",), None, InvalidTypeError),
        (("y",), "j", MapSpecError),
    ],
    ids=["unknown", "one-unknown", "no-identifier", "empty", "type", "producer-disagrees"],
)
def test_a_refused_axis_leaves_the_pipeline_as_it_was(parameters, axis, error):
    pipeline = Pipeline([(y, "x[i] -> y[i]"), (z, "y[i] -> z[i]")])
    before = state(pipeline)
    with pytest.raises(error):
        pipeline.add_mapspec_axis(*parameters, axis=axis)
    assert state(pipeline) == before
    assert pipeline.map({"x": [1, 2], "b": 3}, parallel=False)["z"].output.tolist() == [6, 9]
