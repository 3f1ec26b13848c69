from __future__ import annotations

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.mapspecs import generate_mapspecs, given_mapspec
from pipefunc_c.exceptions import MapSpecError


def mapped(mapspec):
    """Make a function with this mapspec."""
    left, right = mapspec.split(" -> ")
    names = [part.partition("[")[0].strip(" ]:,") for part in left.split("], ")]
    return PipeFunc(eval(f"lambda {', '.join(names)}: 0"), right.partition("[")[0], mapspec=mapspec)


def generated(*functions):
    return [str(mapspec) for mapspec in generate_mapspecs(FunctionGraph(functions)).values()]


def producer(*names):
    return PipeFunc(lambda: 0, names[0] if len(names) == 1 else names)


@pytest.mark.parametrize(
    ("consumers", "expected"),
    [
        (["y[i] -> z[i]"], ["... -> y[i]"]),
        (["y[i, :] -> z[i]"], ["... -> y[i, unnamed_0]"]),
        (["y[i, :] -> z[i]", "y[:, j] -> w[j]"], ["... -> y[i, j]"]),
        (["y[:, :], unnamed_0[unnamed_0] -> z[unnamed_0]"], ["... -> y[unnamed_1, unnamed_2]"]),
        (["x[i] -> z[i]"], []),
    ],
    ids=["one axis", "unnamed", "from two", "taken names", "root argument"],
)
def test_generated_axes(consumers, expected):
    assert generated(producer("y"), *map(mapped, consumers)) == expected


def test_all_outputs_of_a_function_get_the_same_axes():
    assert generated(producer("y", "x"), mapped("x[i] -> z[i]")) == ["... -> y[i], x[i]"]
    both = generated(producer("y", "x"), mapped("x[i, :] -> z[i]"), mapped("y[:, j] -> w[j]"))
    assert both == ["... -> y[i, j], x[i, j]"]


def test_unnamed_axes_differ_between_functions():
    specs = generated(producer("a"), producer("b"), mapped("a[:], b[:], x[i] -> z[i]"))
    assert specs == ["... -> a[unnamed_0]", "... -> b[unnamed_1]"]


def test_a_function_with_a_mapspec_keeps_it():
    own = PipeFunc(lambda x: x, "y", mapspec="x[i] -> y[i]")
    assert generated(own, mapped("y[i] -> z[i]")) == []


def test_outputs_of_one_function_with_different_ranks():
    with pytest.raises(MapSpecError, match=r"different numbers of axes: 'x\[i, j\]' and 'y\[i\]'") as caught:
        generated(producer("y", "x"), mapped("y[i] -> z[i]"), mapped("x[i, j] -> w[i, j]"))
    assert "→ y, x" in str(caught.value)


def test_outputs_of_one_function_with_different_names():
    with pytest.raises(MapSpecError, match=r"array 'y' is 'i' .* but 'j' in '... -> y\[j\], x\[j\]'"):
        generated(producer("y", "x"), mapped("y[i] -> z[i]"), mapped("x[j] -> w[j]"))


def test_given_and_generated():
    functions = [producer("y"), mapped("y[i] -> z[i]")]
    specs = generate_mapspecs(FunctionGraph(functions))
    functions[0].mapspec = specs[functions[0]]
    assert given_mapspec(functions[0]) is None
    assert given_mapspec(functions[1]) is functions[1].mapspec
    assert generate_mapspecs(FunctionGraph(functions)) == specs
    functions[0].update_renames({"y": "s.y"})
    assert given_mapspec(functions[0]) is None
