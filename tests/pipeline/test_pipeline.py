from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import cloudpickle
import pytest
from timing import assert_grows_less

from pipefunc_c._function.decorator import pipefunc
from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import (
    GraphError,
    InputError,
    InvalidTypeError,
    InvalidValueError,
    MapSpecError,
    OperationError,
    UnknownNameError,
    UnusedParametersError,
)
from pipefunc_c.map._runs.run import run_map


def y(x, k=2):
    return k * x


def z(y):
    return y + 1


@pipefunc("w")
def decorated(z, y):
    return z, y


def make(**options):
    return Pipeline([y, z, decorated], **options)


# -- construction


def test_kinds_of_functions():
    pipeline = Pipeline([y, PipeFunc(z, "z"), (y_of_v, "v[i] -> u[i]"), (decorated, None)])
    assert [f.output_name for f in pipeline.functions] == ["y", "z", "u", "w"]
    assert pipeline.mapspecs_as_strings == ["v[i] -> u[i]"]
    plain = Pipeline([(z, "y[i] -> z[i]")])
    assert plain.mapspecs_as_strings == ["y[i] -> z[i]"]


y_of_v = PipeFunc(lambda v: v, "u")


def test_functions_are_copied():
    pipeline = Pipeline([decorated, (y_of_v, "v[i] -> u[i]")])
    assert pipeline["w"] is not decorated
    pipeline["w"].update_renames({"z": "other"})
    assert decorated.parameters == ("z", "y")
    assert y_of_v.mapspec is None


@pytest.mark.parametrize("wrong", [3, None, "f", (y, "a", "b"), (3, "x[i] -> y[i]"), [y]])
def test_what_is_no_function(wrong):
    with pytest.raises(InvalidTypeError) as caught:
        Pipeline([wrong])
    assert repr(wrong[0] if isinstance(wrong, tuple) and len(wrong) == 2 else wrong) in str(caught.value)


def test_a_lambda_has_no_name_for_its_output():
    with pytest.raises(InvalidValueError, match="'<lambda>'"):
        Pipeline([lambda x: x])


@pytest.mark.parametrize(
    ("functions", "error", "text"),
    [
        ([y, y], GraphError, "'y' is produced twice"),
        ([PipeFunc(lambda b: b, "a"), PipeFunc(lambda a: a, "b")], GraphError, "cycle: "),
        ([y, PipeFunc(lambda k=3: k, "other")], GraphError, "'k' has different defaults: 2, and 3"),
        ([(y, "x[i] -> nope[i]")], InvalidValueError, "'nope'"),
        ([(y, "x[i] -> y")], MapSpecError, "'y'"),
        ([(y, 3)], InvalidTypeError, "got 3"),
        ([(y, "x[i] -> y[i]"), (z, "y[j] -> z[j]")], MapSpecError, "'y'"),
    ],
    ids=["duplicate", "cycle", "defaults", "mapspec output", "malformed", "no mapspec", "axes"],
)
def test_refused_pipelines(functions, error, text):
    with pytest.raises(error) as caught:
        Pipeline(functions)
    assert text in str(caught.value)


def test_options_for_all_functions():
    pipeline = make(debug=True, print_error=False)
    assert all(f.debug and not f.print_error for f in pipeline.functions)
    assert pipeline.add(PipeFunc(lambda: 0, "new")).debug
    pipeline.debug = False
    pipeline.print_error = True
    assert not any(f.debug or not f.print_error for f in pipeline.functions)
    assert (pipeline.debug, pipeline.print_error) == (False, True)
    mixed = Pipeline([PipeFunc(y, "y", debug=True), z])
    assert [f.debug for f in mixed.functions] == [True, False]
    assert mixed.debug is None
    mixed.debug = mixed.print_error = None
    assert [f.debug for f in mixed.functions] == [True, False]


def test_debug_set_later_is_seen_by_runs(capsys):
    pipeline = make()
    assert pipeline("y", x=1) == 2
    pipeline.debug = True
    assert pipeline("y", x=1) == 2
    assert "'y' = y(x=1, k=2) → 2" in capsys.readouterr().out


def test_name_and_description():
    pipeline = make(name="n", description="d")
    assert (pipeline.name, pipeline.description) == ("n", "d")
    assert (pipeline.copy().name, pipeline.copy(name="m").name) == ("n", "m")


def test_a_scope_for_all_names():
    pipeline = make(scope="s")
    assert pipeline.all_output_names == {"s.y", "s.z", "s.w"}
    assert pipeline.root_args() == ("s.k", "s.x")
    assert pipeline("s.w", s={"x": 1}) == (3, 2)


# -- running


def test_ways_to_run():
    pipeline = make()
    assert pipeline(x=1) == pipeline("w", x=1) == (3, 2)
    assert pipeline.run("w", {"x": 1}) == pipeline.run("w", kwargs={"x": 1}) == (3, 2)
    assert pipeline.run(kwargs={"x": 1, "k": 1}) == (2, 1)
    assert pipeline(["y", "z"], x=1) == (2, 3)
    assert pipeline.run("z", {"x": 1}, full_output=True) == {"x": 1, "y": 2, "z": 3}
    assert pipeline.run("y", {"x": 1, "v": 1}, allow_unused=True) == 2
    assert pipeline("z", y=5) == 6


def test_a_run_without_inputs():
    assert Pipeline([PipeFunc(lambda: 3, "a")]).run("a") == 3


def test_names_that_the_call_itself_has():
    pipeline = Pipeline([PipeFunc(lambda self, output_name: (self, output_name), "a")])
    assert pipeline("a", self=1, output_name=2) == (1, 2)


@pytest.mark.parametrize(
    ("output", "kwargs", "error", "text"),
    [
        ("nope", {"x": 1}, InvalidValueError, "'nope'"),
        ("y", {"x": 1, "y": 2}, InputError, "'y'"),
        ("y", {}, InputError, "('x',) are missing"),
        ("y", {"x": 1, "v": 1}, UnusedParametersError, "('v',)"),
        (3, {"x": 1}, InvalidTypeError, "3"),
        ("y", [("x", 1)], InvalidTypeError, "[('x', 1)]"),
    ],
    ids=["unknown", "given", "missing", "unused", "type", "no dict"],
)
def test_refused_runs(output, kwargs, error, text):
    with pytest.raises(error) as caught:
        make().run(output, kwargs)
    assert text in str(caught.value)


def test_mapped_functions_are_for_map():
    pipeline = Pipeline([(y, "x[i] -> y[i]"), z])
    with pytest.raises(OperationError, match="map"):
        pipeline("z", x=[1, 2])


def test_error_snapshot():
    pipeline = Pipeline([y, PipeFunc(lambda y: y / 0, "z")], print_error=False)
    assert pipeline.error_snapshot is None
    with pytest.raises(ZeroDivisionError):
        pipeline(x=1)
    assert pipeline.error_snapshot is pipeline["z"].error_snapshot
    assert pipeline.error_snapshot.kwargs == {"y": 2}


def test_map_passes_everything_on():
    own = dict(inspect.signature(Pipeline.map).parameters)
    of_engine = dict(inspect.signature(run_map).parameters)
    del own["self"], of_engine["pipeline"]
    assert list(own) == list(of_engine)
    assert {n: (p.default, p.kind) for n, p in own.items()} == {
        n: (p.default, p.kind) for n, p in of_engine.items()
    }


def test_map():
    pipeline = Pipeline([(y, "x[i] -> y[i]"), PipeFunc(lambda y: y.sum(), "total")])
    results = pipeline.map({"x": [1, 2, 3]}, show_progress=False)
    assert results["y"].output.tolist() == [2, 4, 6]
    assert results["total"].output == 12


# -- changes through a function


def test_a_change_of_a_held_function_is_seen():
    pipeline = make()
    assert pipeline("w", x=1) == (3, 2)
    pipeline["y"].update_defaults({"k": 3})
    assert pipeline("w", x=1) == (4, 3)
    assert pipeline.defaults == {"k": 3}
    pipeline["y"].update_renames({"x": "x2"})
    assert pipeline.root_args() == ("k", "x2")
    assert pipeline("w", x2=1) == (4, 3)
    pipeline["y"].func = lambda x, k: 100
    assert pipeline("w", x2=1) == (101, 100)
    pipeline["y"].mapspec = "x2[i] -> y[i]"
    with pytest.raises(OperationError):
        pipeline("w", x2=1)


def test_a_change_that_does_not_fit_is_reported_until_it_is_undone():
    pipeline = make()
    function = pipeline["z"]
    function.update_renames({"z": "w"})
    for _ in range(2):
        with pytest.raises(GraphError, match="'w' is produced twice"):
            pipeline(x=1)
    function.update_renames({"w": "z"})
    assert pipeline(x=1) == (3, 2)


def test_a_function_that_was_dropped_changes_nothing_any_more():
    pipeline = make()
    function = pipeline["w"]
    pipeline.drop(output_name="w")
    graph = pipeline.function_graph
    function.update_renames({"w": "v"})
    assert pipeline.function_graph is graph


def test_the_graph_is_kept_while_nothing_changes():
    pipeline = make()
    graph = pipeline.function_graph
    pipeline(x=1)
    pipeline["y"].print_error = False
    pipeline["y"].error_snapshot = None
    assert pipeline.function_graph is graph


# -- copies


def test_a_copy_is_independent():
    pipeline = make(debug=False)
    other = pipeline.copy()
    other.update_defaults({"k": 5})
    assert pipeline("y", x=1) == 2
    assert other("y", x=1) == 5
    assert other.debug is False
    assert pipeline.copy(functions=[y]).all_output_names == {"y"}


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_pickle_round_trip(pickler, capsys):
    pipeline = Pipeline(
        [PipeFunc(lambda n: [n], "y"), (z, "y[i] -> z[i]"), PipeFunc(lambda a=1: a, "b")], name="n"
    )
    pipeline.func("b")
    capsys.readouterr()
    again = pickle.loads(pickler.dumps(pipeline))
    assert again.mapspecs_as_strings == pipeline.mapspecs_as_strings == ["... -> y[i]", "y[i] -> z[i]"]
    assert (again.name, again("b")) == ("n", 1)
    assert capsys.readouterr().out == ""
    again["b"].update_defaults({"a": 2})
    assert (again("b"), pipeline("b")) == (2, 1)


def test_join():
    one, other = Pipeline([y], name="one"), Pipeline([z])
    for joined in (
        one | other,
        one.join(other),
        one.join(z_func, *other["z":"z"]) if False else one | z_func,
    ):
        assert joined.all_output_names == {"y", "z"}
        assert joined(x=1) == 3
        assert joined.name == "one"
    assert one.join(z_func, decorated)(x=1) == (3, 2)
    assert one.all_output_names == {"y"}
    assert one.join()["y"] is not one["y"]


z_func = PipeFunc(z, "z")


@pytest.mark.parametrize("other", [3, y, None], ids=["int", "plain function", "none"])
def test_joining_something_else(other):
    with pytest.raises(InvalidTypeError, match="only pipelines and PipeFunc objects") as caught:
        make() | other
    assert repr(other) in str(caught.value)
    with pytest.raises(GraphError, match="twice"):
        make() | make()


def test_subpipeline():
    pipeline = make(name="n")
    part = pipeline.subpipeline(output_names="z")
    assert part.all_output_names == {"y", "z"}
    assert part["y"] is not pipeline["y"]
    assert part.name == "n"
    assert pipeline.subpipeline(inputs={"y"}).all_output_names == {"z", "w"}
    assert pipeline.subpipeline(inputs="y", output_names=["z"])(y=1) == 2
    with pytest.raises(InputError):
        pipeline.subpipeline()
    with pytest.raises(InputError, match="'x'"):
        pipeline.subpipeline({"k"}, "z")
    for error in (UnknownNameError, ValueError):
        with pytest.raises(error, match="'nope'"):
            pipeline.subpipeline(output_names={"nope"})


# -- cost


@pytest.mark.slow
def test_only_numpy_is_imported():
    code = (
        "import sys; before = set(sys.modules); import pipefunc_c._pipeline.pipeline;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    outside = {name for name in done.stdout.split() if name not in sys.stdlib_module_names}
    outside.discard("__mp_main__")  # what multiprocessing calls __main__
    assert {name for name in outside if not name.startswith(("_cython", "cython"))} == {"numpy", "pipefunc_c"}


def chain(count, mapspec):
    functions = []
    for k in range(count):
        spec = f"x{k}[i] -> x{k + 1}[i]" if mapspec else None
        functions.append(
            PipeFunc(IDENTITIES[k % 100], f"x{k + 1}", renames={f"x{k % 100}": f"x{k}"}, mapspec=spec)
        )
    return Pipeline(functions)


IDENTITIES = [eval(f"lambda x{k}: x{k}") for k in range(100)]


@pytest.mark.slow
@pytest.mark.parametrize("mapspec", [False, True], ids=["plain", "mapspecs"])
def test_construction_is_linear(mapspec):
    # 5 if linear, 25 if quadratic
    assert_grows_less(lambda count: lambda: chain(count, mapspec), 400, 2000, 10)
