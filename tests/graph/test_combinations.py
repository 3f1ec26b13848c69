from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.combinations import argument_combinations, independent_axes
from pipefunc_c._graph.validate import build_graph
from pipefunc_c.exceptions import InvalidValueError, UnknownNameError
from pipefunc_c.map._stages.fixed import check_fixed_indices


def node(output, *parameters, **options):
    """Make a function with these parameters."""
    return PipeFunc(eval(f"lambda {', '.join(parameters)}: 0"), output, **options)


# -- argument combinations


def test_a_diamond_has_no_combination_that_gives_and_computes_the_same():
    graph = build_graph([node("c", "a", "b"), node("d", "c"), node("e", "c", "d", "y")])
    assert argument_combinations(graph, "c") == {("a", "b")}
    assert argument_combinations(graph, "d") == {("a", "b"), ("c",)}
    assert argument_combinations(graph, "e") == {
        ("c", "d", "y"),
        ("c", "y"),
        ("a", "b", "d", "y"),
        ("a", "b", "y"),
    }


def test_all_outputs_of_a_function_are_given_together():
    graph = build_graph([node(("e", "f"), "x"), node("w", "e")])
    assert argument_combinations(graph, "w") == {("e", "f"), ("x",)}
    assert argument_combinations(graph, ("e", "f")) == argument_combinations(graph, "f") == {("x",)}


def test_a_function_without_arguments_and_bound_values():
    graph = build_graph([node("a"), node("b", "a", "k", bound={"k": 1}), node("c", "b", bound={"b": 2})])
    assert argument_combinations(graph, "a") == {()}
    assert argument_combinations(graph, "b") == {("a",), ()}
    assert argument_combinations(graph, "c") == {()}


def test_defaults_are_arguments_too():
    assert argument_combinations(build_graph([node("y", "x", "k=2")]), "y") == {("k", "x")}


def test_combinations_of_no_output():
    with pytest.raises(UnknownNameError, match="'x'"):
        argument_combinations(build_graph([node("y", "x")]), "x")


def by_trying_all(graph, target):
    """Give every set of other functions, and see what is then needed."""
    others = [function for function in graph.functions if function is not target]
    found = set()
    for known in itertools.chain(*(itertools.combinations(others, n) for n in range(len(others) + 1))):
        names, pending, seen = set(), [target], {target}
        while pending:
            for name in pending.pop().parameters:
                producer = graph.producers.get(name)
                if producer is None:
                    names.add(name)
                elif producer in known:
                    names.update(producer.output_names)
                elif producer not in seen:
                    seen.add(producer)
                    pending.append(producer)
        found.add(tuple(sorted(names)))
    return found


@st.composite
def graphs(draw):
    """Up to six functions of roots and of outputs before them."""
    known = ["r0", "r1"]
    functions = []
    for k in range(draw(st.integers(1, 6))):
        names = (f"o{k}",) if draw(st.booleans()) else (f"o{k}", f"p{k}")
        functions.append(node(names, *draw(st.lists(st.sampled_from(known), unique=True, max_size=3))))
        known += names
    return build_graph(functions)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_combinations_are_those_that_trying_finds(graph):
    for function in graph.functions:
        assert argument_combinations(graph, function.output_name) == by_trying_all(graph, function)


def test_a_long_chain_has_one_combination_per_function():
    names = ["x", *(f"y{k}" for k in range(300))]
    graph = build_graph([node(out, given) for given, out in itertools.pairwise(names)])
    assert argument_combinations(graph, "y299") == {(name,) for name in names[:-1]}


# -- independent axes

CASES = {
    "elementwise": ([node("y", "x", mapspec="x[i] -> y[i]")], {"y": {"i"}}),
    "outer and reduced": (
        [
            node("y", "x", mapspec="x[i] -> y[i]"),
            node("w", "y", "z", mapspec="y[i], z[j] -> w[i, j]"),
            node("v", "w", mapspec="w[i, :] -> v[i]"),
            node("s", "v"),
        ],
        {"y": {"i"}, "w": {"i", "j"}, "v": {"i"}, "s": set()},
    ),
    "axis of the function": (
        [node("y", "x", mapspec="x[i] -> y[i, k]"), node("z", "y", mapspec="y[i, k] -> z[i, k]")],
        {"y": {"i"}, "z": {"i"}},
    ),
    "generated": (
        [node("y", "n"), node("z", "y", "x", mapspec="y[k], x[i] -> z[i, k]")],
        {"y": set(), "z": {"i"}},
    ),
    "a sum on the way": (
        [
            node("y", "x", mapspec="x[i] -> y[i]"),
            node("s", "y"),
            node("z", "x", "s", mapspec="x[i] -> z[i]"),
        ],
        {"y": {"i"}, "s": set(), "z": set()},
    ),
    "a whole row on the way": (
        [node("z", "y", mapspec="y[i, :] -> z[i]"), node("w", "z", "y", mapspec="z[i], y[i, j] -> w[i, j]")],
        {"z": {"i"}, "w": {"i"}},
    ),
    "bound": (
        [node("y", "x", mapspec="x[i] -> y[i]"), node("z", "x", "y", mapspec="x[i] -> z[i]", bound={"y": 1})],
        {"y": {"i"}, "z": {"i"}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_independent_axes(case, capsys):
    functions, expected = CASES[case]
    graph = build_graph([function.copy() for function in functions])
    capsys.readouterr()
    assert {name: independent_axes(graph, name) for name in expected} == expected


@pytest.mark.parametrize("case", CASES)
def test_independent_axes_are_those_that_may_be_fixed(case, capsys):
    graph = build_graph([function.copy() for function in CASES[case][0]])
    capsys.readouterr()
    for function in graph.functions:
        needed = graph.needed(function.output_name)
        fixable = set()
        for axis in () if function.mapspec is None else function.mapspec.external_indices:
            try:
                check_fixed_indices({axis: 0}, needed)
            except InvalidValueError:
                continue
            fixable.add(axis)
        made = {axis for f in needed if f.mapspec is not None for axis in f.mapspec.internal_indices}
        assert independent_axes(graph, function.output_name) == fixable - made


def test_independent_axes_of_no_output():
    with pytest.raises(UnknownNameError, match="'nope'"):
        independent_axes(build_graph([node("y", "x")]), "nope")
