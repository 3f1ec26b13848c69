"""Sequences of changes, valid and invalid, against a pipeline made anew of the same functions."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._pipeline.pipeline import Pipeline

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the scope of")]


def number(z) -> int:
    return z


def wants_text(n: str):
    return n


def make():
    return Pipeline(
        [
            PipeFunc(lambda x, k=2: k * x, "y", print_error=False),
            PipeFunc(lambda y, k: (y, k), ("a", "b")),
            PipeFunc(lambda a, c=1: a + c, "z"),
            PipeFunc(number, "n"),
        ]
    )


NEW = {
    "cycle": PipeFunc(lambda z: z, "x"),
    "default": PipeFunc(lambda v, k=2: v, "w"),
    "other default": PipeFunc(lambda v, k=3: v, "w"),
    "duplicate": PipeFunc(lambda v: v, "z"),
    "maps": PipeFunc(lambda y: y, "u", mapspec="y[i] -> u[i]"),
    "maps in two dimensions": PipeFunc(lambda y: y, "t", mapspec="y[i, j] -> t[i, j]"),
    "maps a root": PipeFunc(lambda x: x, "r", mapspec="x[i] -> r[i]"),
    "takes all": PipeFunc(lambda y, r: y, "q", mapspec="y[:], r[i] -> q[i]"),
    "scoped": PipeFunc(lambda v: v, "s.w", renames={"v": "s.v"}),
    "type": PipeFunc(wants_text, "text"),
    "behind": PipeFunc(lambda z, b, u: z, "end"),
    "alone": PipeFunc(lambda: 0, "alone"),
}
IN_PLACE = {
    "y": PipeFunc(lambda z: z, "y"),
    "y of another": PipeFunc(lambda v: v, "y"),
    "a": PipeFunc(lambda x, y: (x, y), ("a", "b")),
    "n": PipeFunc(lambda text: text, "n"),
    "z with a default": PipeFunc(lambda k=7: k, "z"),
}

NAMES = st.sampled_from(["x", "k", "c", "y", "a", "b", "z", "s.x", "v", "s", "1", "n", "u"])
VALUES = st.dictionaries(NAMES, st.integers(0, 3), min_size=1, max_size=3)
SOME = st.one_of(st.none(), st.just("*"), st.sets(NAMES, min_size=1, max_size=2))
RENAMES = st.dictionaries(NAMES, NAMES, min_size=1, max_size=4)
AXES = st.sampled_from(["i", "j", "k", "1", "i, j"])
NONE = st.just(())
SEVERAL = st.sets(NAMES, min_size=2, max_size=3)


def change(method, args, **options):
    return st.tuples(st.just(method), args, st.fixed_dictionaries(options))


CHANGES = st.one_of(
    change(
        "update_renames",
        st.tuples(RENAMES),
        update_from=st.sampled_from(["current", "original"]),
        overwrite=st.booleans(),
    ),
    change("update_defaults", st.tuples(VALUES), overwrite=st.booleans()),
    change("update_scope", st.tuples(st.sampled_from(["s", "t", "x", None]), SOME, SOME)),
    change("update_mapspec_axes", st.tuples(st.dictionaries(AXES, AXES, min_size=1, max_size=2))),
    change("add_mapspec_axis", st.tuples(NAMES), axis=AXES),
    change("add", st.sampled_from(sorted(NEW)).map(lambda key: (NEW[key],))),
    change("drop", NONE, output_name=NAMES),
    change("replace", st.sampled_from(sorted(IN_PLACE)).map(lambda key: (IN_PLACE[key],))),
    change(
        "nest_funcs", st.tuples(st.sets(NAMES, min_size=2, max_size=3), st.sampled_from([None, "z", "y"]))
    ),
    # Through a function that the pipeline holds.
    change("update_bound", st.tuples(NAMES, VALUES)),
    change("set_mapspec", st.tuples(NAMES, st.sampled_from([None, "x[i] -> y[i]", "a[j] -> z[j]"]))),
)


def apply(pipeline, method, args, options):
    if method == "update_bound":
        pipeline[args[0]].update_bound(args[1])
    elif method == "set_mapspec":
        pipeline[args[0]].mapspec = args[1]
    else:
        getattr(pipeline, method)(*args, **options)


def identity(pipeline):
    """The objects that the pipeline holds, and their states."""
    return [(id(function), id(function.binding)) for function in pipeline._functions]


def visible(pipeline):
    """All that a user could see of a pipeline, with functions by their outputs."""
    graph = pipeline.function_graph
    return {
        "functions": [
            (str(f), f.parameters, f.defaults, f.bound, str(f.mapspec)) for f in pipeline.functions
        ],
        "generations": [[f.output_name for f in functions] for functions in graph.generations],
        "edges": [
            (f.output_name, sorted(str(other.output_name) for other in graph.dependents[f]))
            for f in graph.defined
        ],
        "roots": pipeline.root_args(),
        "defaults": pipeline.defaults,
        "mapspecs": pipeline.mapspecs_as_strings,
        "scopes": pipeline.scopes,
    }


def outcome(act):
    try:
        with contextlib.redirect_stdout(None):
            return act()
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        return type(error)


@settings(max_examples=250, deadline=None)
@given(st.lists(CHANGES, min_size=1, max_size=8))
def test_a_refused_change_leaves_everything_and_an_accepted_one_a_valid_pipeline(changes):
    pipeline = make()
    for method, args, options in changes:
        before, seen = identity(pipeline), outcome(lambda: visible(pipeline))
        refused = outcome(lambda change=(method, args, options): apply(pipeline, *change))
        if isinstance(refused, type):
            assert identity(pipeline) == before
            assert outcome(lambda: visible(pipeline)) == seen
        # What is held is what a pipeline made anew of the same functions would be.
        again = outcome(lambda: visible(Pipeline([function.copy() for function in pipeline._functions])))
        assert outcome(lambda: visible(pipeline)) == again


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(sorted(NEW)), unique=True), st.randoms(use_true_random=False))
def test_one_by_one_is_as_all_at_once(keys, random):
    functions = [NEW[key] for key in keys]
    at_once = outcome(lambda: visible(Pipeline(functions)))
    pipeline = Pipeline([])
    refused = {outcome(lambda f=f: pipeline.add(f)) for f in functions}
    errors = {result for result in refused if isinstance(result, type)}
    assert isinstance(at_once, type) == bool(errors)
    if not errors:
        assert visible(pipeline) == at_once
        for function in random.sample(pipeline.functions, len(functions)):
            pipeline.replace(function)
            with contextlib.redirect_stdout(None):
                assert (
                    pipeline.graph.number_of_nodes() == Pipeline(pipeline.functions).graph.number_of_nodes()
                )
        for function in random.sample(pipeline.functions, len(functions)):
            pipeline.drop(f=function)
            again = outcome(lambda: visible(Pipeline(pipeline._functions)))
            assert outcome(lambda: visible(pipeline)) == again
        assert pipeline.functions == []
