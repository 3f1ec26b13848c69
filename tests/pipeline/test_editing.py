from __future__ import annotations

import pytest
from timing import assert_grows_less

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import (
    GraphError,
    InputError,
    InvalidTypeError,
    InvalidValueError,
    MapSpecError,
    UnknownNameError,
)


def make():
    return Pipeline(
        [
            PipeFunc(lambda x, k=2: k * x, "y", print_error=False),
            PipeFunc(lambda y, k: (y, k), ("a", "b")),
            PipeFunc(lambda a, c=1: a + c, "z"),
        ]
    )


def state(pipeline):
    """Everything that a user could see of a pipeline."""
    return (
        [(id(f), id(f.binding), str(f), f.defaults, f.bound, str(f.mapspec)) for f in pipeline.functions],
        [f.output_name for f in pipeline.sorted_functions],
        pipeline.root_args(),
        pipeline.defaults,
        pipeline.mapspecs_as_strings,
    )


# -- add, drop, replace


def test_add_returns_the_copy_that_is_held():
    pipeline = make()
    function = PipeFunc(lambda z: -z, "minus")
    added = pipeline.add(function)
    assert added is pipeline["minus"] is not function
    assert pipeline(x=1, k=3) == -4
    added.update_renames({"minus": "other"})
    assert "other" in pipeline

    def plain(z):
        return z

    assert pipeline.add(plain, "z[i] -> plain[i]").output_name == "plain"


@pytest.mark.parametrize(
    ("function", "mapspec", "error"),
    [
        (3, None, InvalidTypeError),
        (PipeFunc(lambda: 0, "y"), None, GraphError),
        (PipeFunc(lambda z: z, "x"), None, GraphError),
        (PipeFunc(lambda k=3: k, "new"), None, GraphError),
        (PipeFunc(lambda z: z, "new"), "nope[i] -> new[i]", InvalidValueError),
        (PipeFunc(lambda z: z, "new"), "z[i -> new[i]", MapSpecError),
    ],
    ids=["type", "duplicate", "cycle", "default", "mapspec", "malformed"],
)
def test_a_refused_add(function, mapspec, error):
    pipeline = make()
    before = state(pipeline)
    with pytest.raises(error):
        pipeline.add(function, mapspec)
    assert state(pipeline) == before


def test_drop():
    pipeline = make()
    pipeline.drop(output_name="z")
    assert pipeline.all_output_names == {"y", "a", "b"}
    pipeline.drop(output_name=("a", "b"))
    pipeline.drop(f=pipeline["y"])
    assert pipeline.functions == []
    assert make().drop(output_name="a") is None


def test_dropping_makes_a_root_argument():
    pipeline = make()
    pipeline.drop(output_name="y")
    assert pipeline.root_args() == ("c", "k", "y")
    assert pipeline("z", y=1, k=0) == 2


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, InvalidValueError, "either `f` or `output_name`"),
        ({"f": PipeFunc(lambda: 0, "y"), "output_name": "y"}, InvalidValueError, "either"),
        ({"f": PipeFunc(lambda: 0, "y")}, InvalidValueError, "<lambda>(...) → y is not in the pipeline"),
        ({"output_name": "nope"}, UnknownNameError, "'nope'"),
    ],
    ids=["none", "both", "not held", "unknown"],
)
def test_a_refused_drop(options, error, text):
    pipeline = make()
    before = state(pipeline)
    with pytest.raises(error) as caught:
        pipeline.drop(**options)
    assert text in str(caught.value)
    assert state(pipeline) == before


def test_replace_keeps_the_place():
    pipeline = make()
    pipeline.replace(PipeFunc(lambda x: -x, "y"))
    assert [f.output_name for f in pipeline.functions] == ["y", ("a", "b"), "z"]
    assert pipeline("z", x=1, k=0) == 0
    pipeline.replace(PipeFunc(lambda y: y, "new"), pipeline["a"])
    assert pipeline.all_output_names == {"y", "new", "z"}


def test_a_refused_replace():
    pipeline = make()
    before = state(pipeline)
    with pytest.raises(UnknownNameError, match="'nope'"):
        pipeline.replace(PipeFunc(lambda: 0, "nope"))
    with pytest.raises(InvalidValueError, match="not in the pipeline"):
        pipeline.replace(PipeFunc(lambda: 0, "y"), PipeFunc(lambda: 0, "y"))
    with pytest.raises(GraphError, match="cycle"):
        pipeline.replace(PipeFunc(lambda z: z, "y"))
    assert state(pipeline) == before


# -- updates


def test_update_defaults_in_all_functions():
    pipeline = make()
    pipeline.update_defaults({"k": 5, "x": 1})
    assert pipeline.defaults == {"k": 5, "x": 1, "c": 1}
    assert pipeline["a"].defaults == {"k": 5}
    assert pipeline() == 6
    pipeline.update_defaults({"c": 0}, overwrite=True)
    assert pipeline.defaults == {"k": 2, "c": 0}


def test_update_defaults_of_a_scope_as_a_dict():
    pipeline = Pipeline([PipeFunc(lambda a, b: (a, b), "c", scope="x"), PipeFunc(lambda k: k, "d")])
    pipeline.update_defaults({"x": {"a": 3, "b": 4}, "k": {"a": 1}})
    assert pipeline.defaults == {"x.a": 3, "x.b": 4, "k": {"a": 1}}
    assert pipeline("x.c", x={"b": 5}) == (3, 5)
    with pytest.raises(InvalidValueError, match=r"'x\.nope'"):
        pipeline.update_defaults({"x": {"nope": 3}})
    with pytest.raises(InputError, match=r"'x\.a' is given twice"):
        pipeline.update_defaults({"x": {"a": 3}, "x.a": 4})
    assert pipeline.defaults == {"x.a": 3, "x.b": 4, "k": {"a": 1}}


def test_update_defaults_passes_bound_parameters_over():
    pipeline = make()
    pipeline["a"].update_bound({"k": 9})
    pipeline.update_defaults({"k": 5})
    assert pipeline(["y", "b"], x=1) == (5, 9)


@pytest.mark.parametrize(
    ("update", "offender"),
    [
        (lambda p: p.update_defaults({"k": 1, "nope": 1}), "nope"),
        (lambda p: p.update_renames({"x": "v", "nope": "w"}), "nope"),
        (lambda p: p.update_renames({"x": "v", "old": "w"}, update_from="original"), "old"),
        (lambda p: p.update_mapspec_axes({"nope": "j"}), "nope"),
        (lambda p: p.update_scope("s", inputs={"nope"}), "nope"),
        (lambda p: p.update_scope("s", inputs={"a"}), "a"),
        (lambda p: p.update_scope("s", outputs={"x"}), "x"),
        (lambda p: p.update_scope("y", "*", "*"), "y"),
        (lambda p: p.update_scope("s"), "s"),
        (lambda p: p.update_scope(None, "*", "*"), "None"),
    ],
    ids=[
        "default",
        "rename",
        "original",
        "axis",
        "input",
        "not an input",
        "not an output",
        "taken",
        "no names",
        "no scope",
    ],
)
def test_refused_names(update, offender):
    pipeline = make()
    before = state(pipeline)
    with pytest.raises(InvalidValueError) as caught:
        update(pipeline)
    assert offender in str(caught.value)
    assert state(pipeline) == before


def test_update_renames_everywhere():
    pipeline = make()
    pipeline.update_renames({"k": "factor", "y": "middle", "a": "first"})
    assert pipeline.root_args() == ("c", "factor", "x")
    assert pipeline("z", x=1, factor=3) == 4
    assert pipeline[("first", "b")].parameters == ("middle", "factor")
    pipeline.update_renames({"k": "k2"}, update_from="original")
    assert pipeline.root_args() == ("c", "k2", "x")
    pipeline.update_renames({"x": "w"}, update_from="original", overwrite=True)
    assert pipeline.root_args() == ("c", "k", "w")
    assert pipeline.all_output_names == {"y", "a", "b", "z"}


def test_validate():
    pipeline = make()
    pipeline.validate()
    pipeline["z"].update_renames({"z": "x"})
    with pytest.raises(GraphError, match="cycle"):
        pipeline.validate()


def test_names_may_be_swapped_across_functions():
    pipeline = Pipeline([PipeFunc(lambda x: x + 1, "y"), PipeFunc(lambda y: 2 * y, "z")])
    pipeline.update_renames({"x": "z", "z": "x"})
    assert pipeline("x", z=1) == 4


def test_update_scope_of_some():
    pipeline = make()
    pipeline.update_scope("s", inputs={"x", "k"}, outputs={"a"})
    assert pipeline.root_args() == ("c", "s.k", "s.x")
    assert pipeline.all_output_names == {"y", "s.a", "b", "z"}
    assert pipeline("z", s={"x": 1}) == 3
    pipeline.update_scope(None, "*", "*")
    assert pipeline("z", x=1) == 3
    pipeline.update_scope("s", "*", "*", exclude={"z", "x"})
    assert pipeline("z", x=1, s={"k": 3}) == 4


def test_replacing_a_scope_warns_once_per_name_and_works():
    pipeline = make()
    pipeline.update_scope("s", {"x"})
    with pytest.warns(UserWarning, match="'s.x' is replaced by 't'"):
        pipeline.update_scope("t", {"s.x"})
    assert pipeline.root_args() == ("c", "k", "t.x")


def test_a_warning_made_an_error_changes_nothing():
    pipeline = make()
    pipeline.update_scope("s", {"x"})
    before = state(pipeline)
    with pytest.raises(UserWarning):
        pipeline.update_scope("t", "*")
    assert state(pipeline) == before


def test_update_mapspec_axes():
    pipeline = Pipeline(
        [(PipeFunc(lambda x: x, "y"), "x[i] -> y[i]"), (PipeFunc(lambda y: y, "z"), "y[i] -> z[i]")]
    )
    pipeline.update_mapspec_axes({"i": "time"})
    assert pipeline.mapspecs_as_strings == ["x[time] -> y[time]", "y[time] -> z[time]"]


def test_a_generated_mapspec_follows(capsys):
    pipeline = Pipeline([PipeFunc(lambda n: [n], "y"), (PipeFunc(lambda y: y, "z"), "y[i] -> z[i]")])
    pipeline.update_mapspec_axes({"i": "j"})
    pipeline.update_renames({"y": "s.y"})
    assert pipeline.mapspecs_as_strings == ["... -> s.y[j]", "s.y[j] -> z[j]"]
    pipeline.drop(output_name="z")
    assert pipeline.mapspecs_as_strings == []
    assert capsys.readouterr().out.count("got the mapspec") == 1


@pytest.mark.slow
@pytest.mark.parametrize("mapspec", [False, True], ids=["plain", "mapspecs"])
def test_changes_one_by_one_are_linear(mapspec):
    def make(count):
        specs = [f"y{k}[i] -> y{k + 1}[i]" if mapspec else None for k in range(count)]
        functions = [
            PipeFunc(abs, f"y{k + 1}", renames={"x": f"y{k}"}, mapspec=spec) for k, spec in enumerate(specs)
        ]

        def edit():
            pipeline = Pipeline([])
            for function in functions:
                pipeline.add(function)
            for function in functions:
                pipeline.replace(function)
            for function in functions:
                pipeline.drop(output_name=function.output_name)

        return edit

    assert_grows_less(make, 300, 1500, 10)  # 5 if linear, 25 if quadratic
