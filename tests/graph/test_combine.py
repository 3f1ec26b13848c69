from __future__ import annotations

import pickle

import numpy as np
import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c._hashing.identity import code_identity
from pipefunc_c.exceptions import (
    InvalidTypeError,
    InvalidValueError,
    MapSpecError,
)
from pipefunc_c.resources import Resources


def first(x: int, a: int = 1) -> int:
    return x + a


def second(y: int, b: float) -> float:
    return y * b


def divide(y, b):
    return y / b


def functions(first_spec=None, second_spec=None):
    return [PipeFunc(first, "y", mapspec=first_spec), PipeFunc(second, "z", mapspec=second_spec)]


# -- cache, resources, variant


@pytest.mark.parametrize(
    ("inner", "given", "expected"),
    [(False, None, False), (True, None, True), (True, False, False), (False, True, True)],
)
def test_cache_is_that_of_any_inner_function(inner, given, expected):
    pair = [PipeFunc(first, "y", cache=inner), PipeFunc(second, "z")]
    assert NestedPipeFunc(pair, cache=given).cache is expected


@pytest.mark.parametrize("cache", [None, False])
def test_the_results_of_cached_inner_functions_are_kept(cache):
    called = []

    def slow(x):
        called.append(x)
        return 2 * x

    inner = [PipeFunc(slow, "y", cache=True), PipeFunc(lambda y, k=1: y * k, "z")]
    nested = NestedPipeFunc(inner, "z", cache=cache)
    for function in (nested, Pipeline([nested], cache_type="simple")):
        called.clear()
        assert [function(x=1), function(x=1), function(x=1, k=2), function(x=3)] == [2, 2, 4, 6]
        assert called == [1, 3]
    assert nested.pipefuncs[0].cache
    assert pickle.loads(pickle.dumps(NestedPipeFunc(functions(), cache=True)))(x=1, b=2) == (2, 4)


@pytest.mark.parametrize(
    ("inner", "given", "expected"),
    [
        ((None, None), None, None),
        (({"cpus": 1}, None), None, Resources(cpus=1)),
        (({"cpus": 1, "memory": "1GB"}, {"cpus": 4}), None, Resources(cpus=4, memory="1GB")),
        (({"cpus": 1}, {"cpus": 4}), {"cpus": 2}, Resources(cpus=2)),
        ((lambda kwargs: {"cpus": 8}, None), Resources(cpus=2), Resources(cpus=2)),
    ],
    ids=["none", "single", "largest", "given", "given-over-callable"],
)
def test_resources(inner, given, expected):
    pair = [PipeFunc(first, "y", resources=inner[0]), PipeFunc(second, "z", resources=inner[1])]
    assert NestedPipeFunc(pair, resources=given).resources == expected


def test_resources_scope():
    nested = NestedPipeFunc(functions(), resources={"cpus": 1}, resources_scope="element")
    assert nested.resources_scope == "element"


def test_callable_resources_are_refused():
    with pytest.raises(InvalidTypeError, match="callable"):
        NestedPipeFunc(functions(), resources=lambda kwargs: {"cpus": 1})
    inner = [PipeFunc(first, "y", resources=lambda kwargs: {"cpus": 1}), PipeFunc(second, "z")]
    with pytest.raises(InvalidValueError, match="first.*callable") as caught:
        NestedPipeFunc(inner)
    assert "resources" in str(caught.value.hint)


def test_variant():
    assert NestedPipeFunc(functions()).variant == {}
    assert NestedPipeFunc(functions(), variant="a").variant == {None: "a"}
    assert NestedPipeFunc(functions(), variant={"g": "a"}).variant == {"g": "a"}


def test_the_identity_of_the_code_covers_the_inner_functions():
    def digest(function, **options):
        inner = [PipeFunc(function, "y", **options), PipeFunc(second, "z")]
        nested = NestedPipeFunc(inner, "z")
        nested(x=1, b=1)  # what is kept for speed is no part of it
        return code_identity(nested.func).digest, nested.func.__pipefunc_hash__()

    assert digest(lambda x: x + 1) == digest(lambda x: x + 1)
    different = [
        digest(lambda x: x + 1),
        digest(lambda x: x + 2),
        digest(lambda x, k=1: x + 1),
        digest(lambda x, k=1: x + 1, bound={"k": 2}),
        digest(lambda x, k=1: x + 1, defaults={"k": 2}),
    ]
    assert len(set(different)) == len({code for code, _ in different}) == len(different)
    assert code_identity(NestedPipeFunc(functions()).func).unknown == ()


def test_the_hash_of_an_inner_callable_is_its_own():
    class Custom:
        def __init__(self, version):
            self.version = version

        def __call__(self, x):
            return x

        def __pipefunc_hash__(self):
            return "always the same"

    def nested(version):
        return NestedPipeFunc([PipeFunc(Custom(version), "y"), PipeFunc(second, "z")], "z")

    assert nested(1).func.__pipefunc_hash__() == nested(2).func.__pipefunc_hash__()


# -- mapspecs


@pytest.mark.parametrize(
    ("specs", "output_name", "expected"),
    [
        ((None, None), None, None),
        (("x[i] -> y[i]", "y[i] -> z[i]"), None, "x[i] -> y[i], z[i]"),
        (("x[i] -> y[i]", "y[i] -> z[i]"), "z", "x[i] -> z[i]"),
        (("x[i], a[j] -> y[i, j]", "y[i, j], b[i] -> z[i, j]"), "z", "a[j], b[i], x[i] -> z[i, j]"),
        (("x[i, :] -> y[i]", "y[i] -> z[i]"), "z", "x[i, :] -> z[i]"),
    ],
)
def test_the_mapspecs_are_combined(specs, output_name, expected):
    mapspec = NestedPipeFunc(functions(*specs), output_name).mapspec
    assert (None if mapspec is None else str(mapspec)) == expected
    if mapspec is not None:
        assert mapspec.generated


@pytest.mark.parametrize(
    "specs",
    [
        ("x[i] -> y[i]", None),
        (None, "y[i] -> z[i]"),
        ("x[i] -> y[i]", "y[i], b[j] -> z[i, j]"),
        ("x[i] -> y[i, j]", "y[i, j] -> z[i, j]"),
        ("x[i, j] -> y[j, i]", "y[j, i] -> z[i, j]"),
        ("... -> y[i]", "y[i] -> z[i]"),
    ],
    ids=["second-none", "first-none", "more-indices", "internal", "other-order", "no-inputs"],
)
def test_mapspecs_that_cannot_be_combined(specs):
    with pytest.raises(MapSpecError) as caught:
        NestedPipeFunc(functions(*specs))
    assert isinstance(caught.value, ValueError)
    assert "first" in str(caught.value) or "second" in str(caught.value)


def test_an_axis_that_is_taken_whole_stays_whole():
    nested = NestedPipeFunc(functions("x[i, :] -> y[i]", "y[i] -> z[i]"), "z")
    assert str(nested.mapspec) == "x[i, :] -> z[i]"
    rows = PipeFunc(lambda x: x.sum(), "y", mapspec="x[i, :] -> y[i]")
    pipeline = Pipeline([NestedPipeFunc([rows, PipeFunc(lambda y: -y, "z", mapspec="y[i] -> z[i]")], "z")])
    result = pipeline.map({"x": np.arange(6).reshape(2, 3)}, parallel=False)
    assert result["z"].output.tolist() == [-3, -12]


def test_an_array_that_one_function_takes_whole_is_not_taken_by_element():
    with pytest.raises(MapSpecError, match="second.*takes 'y' whole"):
        NestedPipeFunc(functions("x[i] -> y[i]", "b[i] -> z[i]"))
    both = PipeFunc(lambda y, x: y, "z", mapspec="y[i] -> z[i]")
    with pytest.raises(MapSpecError, match="takes 'x' whole"):
        NestedPipeFunc([functions("x[i] -> y[i]")[0], both])
    sliced = PipeFunc(lambda y, b: y, "z", mapspec="y[:], b[i] -> z[i]")
    with pytest.raises(MapSpecError, match=r"y\[i\].*y\[:\]"):
        NestedPipeFunc([functions("x[i] -> y[i]")[0], sliced])
    bound = PipeFunc(lambda y, b: y, "z", mapspec="b[i] -> z[i]", bound={"y": 3})
    assert str(NestedPipeFunc([functions("x[i] -> y[i]")[0], bound], "z").mapspec) == "b[i], x[i] -> z[i]"


@pytest.mark.parametrize("specs", [(None, None), ("x[i] -> y[i]", None), ("x[j] -> y[j]", "y[j] -> z[j]")])
def test_a_given_mapspec_decides(specs):
    nested = NestedPipeFunc(functions(*specs), "z", mapspec="x[i], b[i] -> z[i]")
    assert str(nested.mapspec) == "x[i], b[i] -> z[i]"


def test_a_given_mapspec_is_in_new_names_and_a_combined_one_is_renamed():
    renames = {"x": "X", "z": "Z"}
    given = NestedPipeFunc(functions(), "z", mapspec="X[i] -> Z[i]", renames=renames)
    combined = NestedPipeFunc(functions("x[i] -> y[i]", "y[i] -> z[i]"), "z", renames=renames)
    assert str(given.mapspec) == str(combined.mapspec) == "X[i] -> Z[i]"
    with pytest.raises(ValueError, match="'x'"):
        NestedPipeFunc(functions(), "z", mapspec="x[i] -> Z[i]", renames=renames)
