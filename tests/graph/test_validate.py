from __future__ import annotations

import warnings

import numpy as np
import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.validate import build_graph, same_value
from pipefunc_c.exceptions import GraphError, MapSpecError


def test_a_scope_must_not_be_a_name():
    functions = [PipeFunc(lambda a: a, "y", renames={"a": "s.a"}), PipeFunc(lambda s: s, "z")]
    with pytest.raises(GraphError, match="'s' is a scope and also a parameter or output name"):
        build_graph(functions)
    with pytest.raises(GraphError, match="'y' is a scope"):
        build_graph([PipeFunc(lambda a: a, "y"), PipeFunc(lambda a: a, "z", renames={"a": "y.a"})])


class NoComparison:
    def __eq__(self, other):
        raise RuntimeError("no ==")

    __hash__ = None


NAN = float("nan")
EQUAL = {
    "int": (1, 1),
    "int and float": (1, 1.0),
    "nan": (NAN, float("nan")),
    "list": ([1, [2]], [1, [2]]),
    "array": (np.arange(3), np.arange(3)),
    "array with nan": (np.array([1.0, np.nan]), np.array([1.0, np.nan])),
    "object array": (np.array([1, "a"], dtype=object), np.array([1, "a"], dtype=object)),
    "masked array": (np.ma.masked_array([1, 2]), np.ma.masked_array([1, 2])),
    "no array": (np.zeros(0), np.zeros(0)),
}
UNEQUAL = {
    "int": (1, 2),
    "types": (1, "1"),
    "shape": (np.zeros(2), np.zeros(3)),
    "broadcast": (np.zeros(1), np.zeros(3)),
    "dtype": (np.zeros(2), np.zeros(2, dtype=np.float32)),
    "array and list": (np.zeros(2), [0.0, 0.0]),
    "array": (np.array([1, 2]), np.array([1, 3])),
}


def sharing(one, other):
    return [
        PipeFunc(lambda x: x, "y", defaults={"x": one}),
        PipeFunc(lambda x: x, "z", defaults={"x": other}),
    ]


@pytest.mark.parametrize(("one", "other"), EQUAL.values(), ids=EQUAL)
def test_equal_defaults(one, other):
    assert same_value(one, other)
    assert build_graph(sharing(one, other)).defaults["x"] is one


@pytest.mark.parametrize(("one", "other"), UNEQUAL.values(), ids=UNEQUAL)
def test_different_defaults(one, other):
    assert not same_value(one, other)
    with pytest.raises(GraphError, match="the input 'x' has different defaults: "):
        build_graph(sharing(one, other))


def test_the_same_object_needs_no_comparison():
    value = NoComparison()
    assert build_graph(sharing(value, value)).defaults["x"] is value


def test_defaults_that_cannot_be_compared():
    first = NoComparison()
    with pytest.warns(UserWarning, match="cannot tell whether .* default for 'x'.*NoComparison"):
        graph = build_graph(sharing(first, NoComparison()))
    assert graph.defaults["x"] is first


@pytest.mark.parametrize(
    "functions",
    [
        [PipeFunc(lambda: 1, "x"), *sharing(1, 2)],
        [PipeFunc(lambda x=1: x, "y"), PipeFunc(lambda x=2: x, "z", bound={"x": 3})],
        [PipeFunc(lambda x=1: x, "y"), PipeFunc(lambda x: x, "z")],
    ],
    ids=["of an output", "bound", "one only"],
)
def test_defaults_that_do_not_matter(functions):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_graph(functions)


def test_mapspec_outputs_must_be_in_order():
    function = PipeFunc(lambda x: (x, x), ("a", "b"), mapspec="x[i] -> b[i], a[i]")
    with pytest.raises(MapSpecError, match=r"\('b', 'a'\), but those of <lambda> are \('a', 'b'\)"):
        build_graph([function])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("y[i] -> z[i]", "y[j] -> w[j]"),
        ("y[i] -> z[i]", "y[i, j] -> w[i, j]"),
        ("y[i, :] -> z[i]", "y[j, i] -> w[i, j]"),
    ],
    ids=["name", "rank", "one of two"],
)
def test_mapspecs_must_agree(one, other):
    functions = [PipeFunc(lambda y: y, "z", mapspec=one), PipeFunc(lambda y: y, "w", mapspec=other)]
    with pytest.raises(MapSpecError, match="'y'") as caught:
        build_graph(functions)
    assert one in str(caught.value)
    assert other in str(caught.value)


def test_the_order_of_checks_names_duplicates_first():
    with pytest.raises(GraphError, match="produced twice"):
        build_graph([PipeFunc(lambda x=1: x, "y"), PipeFunc(lambda x=2: x, "y")])


def test_generated_mapspecs_are_set_and_printed_once(capsys):
    functions = [PipeFunc(lambda n: list(range(n)), "y"), PipeFunc(lambda y: y, "z", mapspec="y[i] -> z[i]")]
    build_graph(functions)
    assert str(functions[0].mapspec) == "... -> y[i]"
    assert functions[0].mapspec.generated
    assert capsys.readouterr().out == (
        "<lambda> got the mapspec '... -> y[i]', for its output is mapped over.\n"
    )
    build_graph(functions)
    assert capsys.readouterr().out == ""


def test_a_generated_mapspec_goes_when_it_is_not_needed_any_more(capsys):
    first, second = [PipeFunc(lambda n: [n], "y"), PipeFunc(lambda y: y, "z", mapspec="y[i] -> z[i]")]
    build_graph([first, second])
    second.update_mapspec_axes({"i": "j"})
    build_graph([first, second])
    assert str(first.mapspec) == "... -> y[j]"
    build_graph([first])
    assert first.mapspec is None
    assert capsys.readouterr().out.count("\n") == 2


def test_a_failed_build_changes_no_mapspec(capsys):
    first, second = [PipeFunc(lambda n: [n], "y"), PipeFunc(lambda y: y, "z", mapspec="y[i] -> z[i]")]
    third = PipeFunc(lambda y: y, "w", mapspec="y[j] -> w[j]")
    with pytest.raises(MapSpecError):
        build_graph([first, second, third])
    assert first.mapspec is None
    assert capsys.readouterr().out == ""
