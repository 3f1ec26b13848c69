"""What the constructor of a pipeline sets, and what of it stays in force when functions come and go."""

from __future__ import annotations

import inspect
import pickle

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.cache._bounded import LRUCache
from pipefunc_c.cache._simple import SimpleCache
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.resources import Resources


def y(x):
    return x + 1


def z(y):
    return 2 * y


def as_int(x: int) -> int:
    return x


def as_text(n: str) -> str:
    return n


OPTIONS = {
    "lazy": True,
    "debug": True,
    "print_error": False,
    "profile": True,
    "cache_type": "simple",
    "cache_kwargs": {"copy": False},
    "validate_type_annotations": False,
    "default_resources": Resources(cpus=2),
    "name": "name",
    "description": "what it is",
}


def options_of(pipeline):
    return {
        "lazy": pipeline.lazy,
        "debug": pipeline.debug,
        "print_error": pipeline.print_error,
        "profile": pipeline.profile,
        "cache_type": {SimpleCache: "simple", type(None): None}[type(pipeline.cache)],
        "cache_kwargs": pipeline._cache_kwargs,
        "validate_type_annotations": pipeline.validate_type_annotations,
        "default_resources": pipeline._options.default_resources,
        "name": pipeline.name,
        "description": pipeline.description,
    }


def test_the_keywords_are_those_that_users_know():
    names = list(inspect.signature(Pipeline).parameters)
    assert names == [
        "functions",
        "lazy",
        "debug",
        "print_error",
        "profile",
        "cache_type",
        "cache_kwargs",
        "validate_type_annotations",
        "scope",
        "default_resources",
        "name",
        "description",
    ]
    assert {*names} == {*OPTIONS, "functions", "scope"}


def test_without_options():
    pipeline = Pipeline([y])
    expected = dict.fromkeys(OPTIONS) | {"lazy": False, "validate_type_annotations": True}
    assert options_of(pipeline) == expected
    assert not pipeline["y"].debug
    assert pipeline["y"].print_error
    assert pipeline["y"].resources is None


@pytest.mark.parametrize(
    "derive",
    [
        lambda pipeline: pipeline,
        lambda pipeline: pipeline.copy(),
        lambda pipeline: pipeline.join(PipeFunc(abs, "other")),
        lambda pipeline: pipeline | Pipeline([PipeFunc(abs, "other")]),
        lambda pipeline: pipeline.subpipeline({"x"}),
        lambda pipeline: pickle.loads(pickle.dumps(pipeline)),
    ],
    ids=["itself", "copy", "join", "or", "subpipeline", "pickle"],
)
def test_derived_pipelines_have_the_same_options(derive):
    assert options_of(derive(Pipeline([y, z], **OPTIONS))) == OPTIONS


def test_a_copy_may_have_other_options():
    copy = Pipeline([y], **OPTIONS).copy(debug=False, name="other", default_resources={"cpus": 3})
    assert options_of(copy) == OPTIONS | {
        "debug": False,
        "name": "other",
        "default_resources": Resources(cpus=3),
    }
    with pytest.raises(TypeError, match="nope"):
        copy.copy(nope=1)


@pytest.mark.parametrize(("option", "value"), [("debug", True), ("print_error", False), ("profile", True)])
def test_set_for_all_functions_now_and_later(option, value):
    given = PipeFunc(y, "y")
    default = getattr(given, option)
    pipeline = Pipeline([given, z], **{option: value})
    assert [getattr(f, option) for f in pipeline.functions] == [value, value]
    assert getattr(given, option) is default
    assert getattr(pipeline.add(PipeFunc(abs, "more")), option) is value
    setattr(pipeline, option, not value)
    assert [getattr(f, option) for f in pipeline.functions] == [not value] * 3
    pipeline.replace(PipeFunc(z, "z", **{option: value}))
    assert getattr(pipeline["z"], option) is not value
    setattr(pipeline, option, None)
    assert getattr(pipeline, option) is None
    assert getattr(pipeline["y"], option) is not value  # None leaves each as it is
    assert getattr(pipeline.add(PipeFunc(abs, "last", **{option: value})), option) is value


def test_default_resources_fill_in_what_is_open():
    own = PipeFunc(y, "y", resources={"cpus": 4})
    pipeline = Pipeline([own, z], default_resources={"cpus": 1, "memory": "2GB"})
    assert pipeline["y"].resources == Resources(cpus=4, memory="2GB")
    assert pipeline["z"].resources == Resources(cpus=1, memory="2GB")
    assert own.resources == Resources(cpus=4)
    assert pipeline.add(PipeFunc(abs, "more")).resources == Resources(cpus=1, memory="2GB")
    pipeline.replace(PipeFunc(z, "z", resources={"memory": "1GB"}))
    assert pipeline["z"].resources == Resources(cpus=1, memory="1GB")


def test_default_resources_with_resources_that_are_computed():
    function = PipeFunc(y, "y", resources=lambda kwargs: {"cpus": kwargs["x"]})
    pipeline = Pipeline([function], default_resources={"memory": "2GB"})
    assert pipeline["y"].evaluate_resources({"x": 3}) == Resources(cpus=3, memory="2GB")


@pytest.mark.parametrize(
    ("options", "error", "offender"),
    [
        ({"default_resources": {"cpu": 2}}, InvalidTypeError, "'cpu'"),
        ({"default_resources": {"cpus": 0}}, InvalidValueError, "cpus"),
        ({"default_resources": 3}, InvalidTypeError, "3"),
        ({"cache_type": "nope"}, InvalidValueError, "'nope'"),
        ({"cache_type": "simple", "cache_kwargs": {"nope": 1}}, InvalidTypeError, "nope"),
    ],
    ids=["resource", "cpus", "resources", "cache", "cache argument"],
)
def test_refused_options(options, error, offender):
    with pytest.raises(error, match=offender):
        Pipeline([y], **options)


# -- types


def test_types_are_checked_wherever_functions_meet():
    good = PipeFunc(as_int, "n")
    with pytest.raises(InvalidTypeError, match="'as_int' returns 'n' as int, but 'as_text' takes it as str"):
        Pipeline([good, PipeFunc(as_text, "text")])
    pipeline = Pipeline([good])
    with pytest.raises(InvalidTypeError, match="as_text"):
        pipeline.add(PipeFunc(as_text, "text"))
    added = pipeline.add(PipeFunc(as_text, "text", renames={"n": "m"}))
    with pytest.raises(InvalidTypeError, match="as_text"):
        pipeline.update_renames({"m": "n"})
    with pytest.raises(InvalidTypeError, match="as_text"):
        pipeline.replace(PipeFunc(as_text, "text"), added)
    with pytest.raises(InvalidTypeError, match="as_text"):
        pipeline.join(PipeFunc(as_text, "other"))
    assert pipeline.functions[1] is added
    assert pipeline.all_output_names == {"n", "text"}


def test_types_are_not_checked_where_that_is_not_wanted():
    functions = [PipeFunc(as_int, "n"), PipeFunc(as_text, "text")]
    pipeline = Pipeline(functions, validate_type_annotations=False)
    assert pipeline("text", x=3) == 3
    assert pipeline.add(PipeFunc(as_text, "other")).output_name == "other"
    pipeline.validate_type_annotations = True
    with pytest.raises(InvalidTypeError, match="as_text"):
        pipeline.validate()


# -- cache


def test_there_is_no_cache_without_a_cached_function():
    assert Pipeline([y]).cache is None
    assert isinstance(Pipeline([y], cache_type="simple").cache, SimpleCache)


def test_a_cached_function_brings_a_cache():
    assert isinstance(Pipeline([PipeFunc(y, "y", cache=True)]).cache, LRUCache)
    pipeline = Pipeline([y])
    pipeline.add(PipeFunc(z, "z", cache=True))
    cache = pipeline.cache
    assert isinstance(cache, LRUCache)
    pipeline.drop(output_name="z")
    assert pipeline.cache is cache
    pipeline = Pipeline([y], cache_kwargs={"max_size": 7})
    pipeline["y"].cache = True
    assert pipeline.cache.max_size == 7


def test_copies_have_caches_of_their_own():
    pipeline = Pipeline([PipeFunc(y, "y", cache=True)], cache_type="simple")
    assert pipeline.copy().cache is not pipeline.cache


def test_calls_use_the_cache():
    calls = []

    def slow(x):
        calls.append(x)
        return x

    pipeline = Pipeline([PipeFunc(slow, "y", cache=True)], cache_type="simple")
    assert [pipeline(x=1), pipeline("y", x=1)] == [1, 1]
    assert [pipeline.run("y", {"x": 1}), pipeline.func("y")(x=1)] == [1, 1]
    assert pipeline.run("y", {"x": 1}, full_output=True)["y"] == 1
    assert calls == [1]
    assert pipeline(x=2) == 2
    assert calls == [1, 2]


def test_a_change_upstream_is_never_answered_from_the_cache():
    def down(u, b=0):
        return 10 * u + b

    pipeline = Pipeline(
        [PipeFunc(lambda x, k: x + k, "u", defaults={"k": 1}), PipeFunc(down, "d", cache=True)],
        cache_type="simple",
    )
    assert [pipeline("d", x=1), pipeline("d", x=1)] == [20, 20]
    pipeline.replace(PipeFunc(lambda x, k: x - k, "u", defaults={"k": 1}))
    assert pipeline("d", x=1) == 0
    pipeline.update_defaults({"k": 5})
    assert pipeline("d", x=1) == -40
    pipeline["d"].update_bound({"b": 3})
    assert pipeline("d", x=1) == -37
    pipeline.update_renames({"x": "v"})
    assert pipeline("d", v=1) == -37


def test_a_lazy_pipeline_computes_later():
    calls = []
    pipeline = Pipeline([PipeFunc(calls.append, "y", renames={"object": "x"})], lazy=True)
    later = pipeline(x=1)
    assert calls == []
    assert later.evaluate() is None
    assert calls == [1]


# -- profile


def test_profiling():
    pipeline = Pipeline([y, z], profile=True)
    assert pipeline(x=1) == 4
    stats = pipeline.profiling_stats
    assert list(stats) == ["y", "z"]
    assert stats["y"].time.num_executions == 1
    pipeline.profile = False
    assert pipeline.profiling_stats == {}


def test_profiled_functions_of_one_name():
    pipeline = Pipeline([PipeFunc(y, "a"), PipeFunc(y, "b"), z], profile=True)
    assert list(pipeline.profiling_stats) == ["y(...) → a", "y(...) → b", "z"]


def test_the_printed_profile(capsys):
    pipeline = Pipeline([y, z], profile=True)
    pipeline(x=1)
    pipeline("y", x=1)
    pipeline.print_profiling_stats()
    header, _, row, *_ = capsys.readouterr().out.strip().splitlines()
    assert header.split("  ")[0].strip() == "function"
    assert all(
        name in header for name in ("calls", "seconds per call", "% of time", "% CPU", "peak memory (MB)")
    )
    assert row.split()[:2] == ["y", "2"]


def test_no_profile_to_print():
    with pytest.raises(InvalidValueError, match="no function of the pipeline is profiled"):
        Pipeline([y]).print_profiling_stats()
