from __future__ import annotations

import inspect
import pickle
from typing import Any

import cloudpickle
import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.helpers import chain, collect_kwargs, get_attribute_factory

# -- collect_kwargs


def test_collect_kwargs():
    collect = collect_kwargs(["a", "b"])
    assert collect.__name__ == "call"
    assert collect(1, 2) == collect(1, b=2) == collect(b=2, a=1) == {"a": 1, "b": 2}
    assert list(collect(b=2, a=1)) == ["a", "b"]
    assert str(inspect.signature(collect)) == "(a, b) -> dict[str, typing.Any]"
    assert collect_kwargs([])() == {}


def test_collect_kwargs_with_annotations():
    collect = collect_kwargs(("a", "b"), annotations=(int, list[str]), function_name="gather")
    assert collect.__name__ == "gather"
    assert collect.__annotations__ == {"a": int, "b": list[str], "return": dict[str, Any]}
    function = PipeFunc(collect, "c")
    assert function.parameter_annotations == {"a": int, "b": list[str]}
    assert function.output_annotation == {"c": dict[str, Any]}


@pytest.mark.parametrize("arguments", [((1,), {}), ((1, 2, 3), {}), ((1, 2), {"c": 3}), ((1,), {"a": 1})])
def test_a_wrong_call_of_collect_kwargs(arguments):
    args, kwargs = arguments
    with pytest.raises(TypeError, match="argument"):
        collect_kwargs(("a", "b"))(*args, **kwargs)


@pytest.mark.parametrize(
    ("names", "annotations", "error", "offender"),
    [
        (("a", "b"), (int,), InvalidValueError, "1 annotations"),
        (("a",), (int, int), InvalidValueError, "2 annotations"),
        (("a b",), None, InvalidValueError, "'a b'"),
        (("class",), None, InvalidValueError, "'class'"),
        (("a", "a"), None, InvalidValueError, "'a'"),
        ((1,), None, InvalidTypeError, "1"),
        ("ab", None, InvalidTypeError, "'ab'"),
    ],
    ids=["few-types", "many-types", "space", "keyword", "twice", "type", "str"],
)
def test_refused_parameters(names, annotations, error, offender):
    with pytest.raises(error, match=offender):
        collect_kwargs(names, annotations=annotations)


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])
def test_collect_kwargs_in_a_map(parallel):
    pipeline = Pipeline(
        [
            PipeFunc(collect_kwargs(("x", "k")), "row", mapspec="x[i] -> row[i]"),
            PipeFunc(lambda row: row["x"] * row["k"], "y", mapspec="row[i] -> y[i]"),
        ]
    )
    assert pipeline.map({"x": [1, 2], "k": 10}, parallel=parallel)["y"].output.tolist() == [10, 20]
    assert pickle.loads(cloudpickle.dumps(collect_kwargs(("a",))))(a=1) == {"a": 1}


# -- get_attribute_factory


def test_get_attribute_factory():
    real = get_attribute_factory("real", "z")
    assert real.__name__ == "get_attribute"
    assert real(1 + 2j) == real(z=1 + 2j) == 1
    assert str(inspect.signature(real)) == "(z)"
    typed = get_attribute_factory("real", "z", complex, float, "real_part")
    assert typed.__name__ == "real_part"
    assert str(inspect.signature(typed)) == "(z: complex) -> float"
    assert typed.__annotations__ == {"z": complex, "return": float}


def test_get_attribute_factory_in_a_pipeline():
    pipeline = Pipeline(
        [PipeFunc(lambda x: complex(x, 1), "z"), PipeFunc(get_attribute_factory("imag", "z"), "i")]
    )
    assert pipeline("i", x=3) == 1


def test_what_get_attribute_factory_refuses():
    with pytest.raises(AttributeError, match="real"):
        get_attribute_factory("real", "z")("text")
    with pytest.raises(TypeError, match="argument"):
        get_attribute_factory("real", "z")()
    with pytest.raises(InvalidTypeError, match="3"):
        get_attribute_factory(3, "z")
    with pytest.raises(InvalidValueError, match="'a b'"):
        get_attribute_factory("real", "a b")


# -- chain


def load(path):
    return path * 2


def clean(data, level=1):
    return data + level


def plot(level, load):
    return level, load


def pair(n):
    return n, -n


def parameters(functions):
    return [function.parameters for function in functions]


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ([load], [("path",)]),
        ([load, clean], [("path",), ("load", "level")]),
        ([load, plot], [("path",), ("level", "load")]),
        ([load, clean, plot], [("path",), ("load", "level"), ("clean", "load")]),
        ([PipeFunc(pair, ("p", "q")), clean], [("n",), ("p", "level")]),
        ([PipeFunc(pair, ("p", "q")), PipeFunc(lambda u, q: u, "w")], [("n",), ("u", "q")]),
        ([PipeFunc(lambda: 1, "p"), clean], [(), ("p", "level")]),
        ([PipeFunc(load, "s.y"), clean], [("path",), ("s.y", "level")]),
        ([load, PipeFunc(clean, "c", bound={"level": 3})], [("path",), ("load", "level")]),
    ],
    ids=[
        "one",
        "renamed",
        "kept",
        "three",
        "first-of-two",
        "second-of-two",
        "no-inputs",
        "scope",
        "bound-other",
    ],
)
def test_chain(functions, expected):
    assert parameters(chain(functions)) == expected


def test_a_chain_makes_a_pipeline():
    assert Pipeline(chain([load, clean, lambda_to("last", lambda v: -v)]))(path=3) == -7


def lambda_to(name, function):
    return PipeFunc(function, name)


def test_mapspec_and_defaults_follow():
    mapped = PipeFunc(clean, "c", mapspec="data[i] -> c[i]", defaults={"data": [1]})
    first, second = chain([PipeFunc(load, "y", mapspec="path[i] -> y[i]"), mapped])
    assert str(second.mapspec) == "y[i] -> c[i]"
    assert second.defaults == {"y": [1], "level": 1}
    assert first.parameters == ("path",)


def test_copies_or_the_functions_themselves():
    functions = [PipeFunc(load, "y"), PipeFunc(clean, "c")]
    copies = chain(functions)
    assert parameters(functions) == [("path",), ("data", "level")]
    assert not set(map(id, copies)) & set(map(id, functions))
    same = chain(functions, copy=False)
    assert [one is other for one, other in zip(same, functions, strict=True)] == [True, True]
    assert parameters(functions) == [("path",), ("y", "level")]


@pytest.mark.parametrize(
    ("last", "error", "offender"),
    [
        (PipeFunc(lambda: 1, "q"), InvalidValueError, "no parameters"),
        (PipeFunc(lambda u: 1, "q", bound={"u": 1}), InvalidValueError, "all parameters are bound"),
        (PipeFunc(lambda u, v: 1, "q", bound={"u": 1}), InvalidValueError, "'u', is bound"),
        (PipeFunc(lambda u, c: 1, "q", bound={"c": 1}), InvalidValueError, "'c' is used twice"),
        (1, InvalidTypeError, "1"),
        (lambda u: 1, InvalidValueError, "<lambda>"),
    ],
    ids=["no-parameters", "all-bound", "first-bound", "name-bound", "type", "no-name"],
)
def test_a_refused_chain_changes_nothing(last, error, offender):
    functions = [PipeFunc(load, "y"), PipeFunc(clean, "c"), last]
    with pytest.raises(error, match=offender):
        chain(functions, copy=False)
    assert parameters(functions[:2]) == [("path",), ("data", "level")]


def test_no_functions():
    with pytest.raises(InvalidValueError, match="at least one"):
        chain([])
    for wrong in (PipeFunc(load, "y"), 3):
        with pytest.raises(InvalidTypeError, match="list of functions"):
            chain(wrong)
