from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c.exceptions import GraphError, UnknownNameError


def node(output, *parameters, **options):
    """Make a function with these parameters that returns its arguments."""
    names = ", ".join(parameters)
    func = eval(f"lambda {names}: dict({', '.join(f'{p}={p}' for p in parameters)})")
    return PipeFunc(func, output, **options)


def diamond():
    return [
        node("d", "b", "c"),
        node("b", "a", "x"),
        node("c", "a", defaults={"a": 3}),
        node(("a", "e"), "x", "y", defaults={"y": 2}),
    ]


def outputs(functions):
    return [function.output_name for function in functions]


def test_a_diamond():
    functions = diamond()
    d, b, c, a = functions
    graph = FunctionGraph(functions)
    assert graph.defined == tuple(functions)
    assert graph.functions == (a, b, c, d)
    assert graph.generations == ((a,), (b, c), (d,))
    assert graph.producers == {"a": a, "e": a, "b": b, "c": c, "d": d}
    assert graph.dependencies == {d: (b, c), b: (a,), c: (a,), a: ()}
    assert graph.dependents == {a: [b, c], b: [d], c: [d], d: []}
    assert graph.root_args == ("x", "y")
    assert graph.defaults == {"y": 2}  # that of an intermediate output does not count
    assert graph.leaf_functions == (d,)
    assert graph.scopes == frozenset()


def test_a_bound_parameter_is_no_edge_and_no_root():
    y = node("y", "x")
    z = node("z", "y", "k", bound={"y": 1, "k": 2})
    graph = FunctionGraph([y, z])
    assert graph.dependencies[z] == ()
    assert graph.root_args == ("x",)
    assert graph.leaf_functions == (y, z)


def test_leaves_are_in_the_order_of_definition():
    assert outputs(FunctionGraph([node("z"), node("a"), node("m")]).leaf_functions) == ["z", "a", "m"]


def test_functions_of_a_generation_are_sorted_by_output_name():
    graph = FunctionGraph([node("z"), node(("b", "x")), node(("b2",)), node("a")])
    assert outputs(graph.generations[0]) == ["a", ("b", "x"), ("b2",), "z"]


def test_an_empty_graph():
    graph = FunctionGraph([])
    assert (graph.functions, graph.generations, graph.root_args) == ((), (), ())


@pytest.mark.parametrize("names", [("y", "y"), ("y", ("x", "y")), (("a", "b"), ("b", "c"))])
def test_duplicate_outputs(names):
    functions = [node(name) for name in names]
    with pytest.raises(GraphError, match="output name '[yb]' is produced twice") as caught:
        FunctionGraph(functions)
    assert f"by {functions[0]} and by {functions[1]}" in str(caught.value)


def test_a_cycle_is_named():
    functions = [node("a", "x", "c"), node("b", "a"), node("c", "b"), node("d", "c")]
    with pytest.raises(GraphError, match="in a cycle: ") as caught:
        FunctionGraph(functions)
    cycle = caught.value.detail
    assert sorted(cycle[:-1]) == ["a", "b", "c"]
    assert cycle[0] == cycle[-1]
    assert " -> ".join(cycle) in str(caught.value)
    following = {"a": "b", "b": "c", "c": "a"}  # what takes it
    assert all(following[one] == other for one, other in zip(cycle, cycle[1:], strict=False))


@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 4))
def test_the_cycle_is_found_among_functions_before_and_behind_it(length, before, behind):
    names = [f"c{k}" for k in range(length + 1)]
    functions = [node(names[k], names[k - 1], "up") for k in range(length + 1)]
    functions += [node("up" if k == 0 else f"u{k}", f"u{k + 1}") for k in range(before)]
    functions += [node(f"w{k}", "c0" if k == 0 else f"w{k - 1}") for k in range(behind)]
    with pytest.raises(GraphError) as caught:
        FunctionGraph(functions)
    assert set(caught.value.detail) == set(names)
    assert len(caught.value.detail) == len(names) + 1


def test_a_cycle_that_a_bound_value_cuts():
    graph = FunctionGraph([node("a", "b", bound={"b": 1}), node("b", "a")])
    assert outputs(graph.functions) == ["a", "b"]


def test_a_cycle_through_one_of_several_outputs():
    with pytest.raises(GraphError, match=r"cycle: (b -> c -> b|c -> b -> c)"):
        FunctionGraph([node(("a", "b"), "c"), node("c", "b", "a")])


def test_find():
    graph = FunctionGraph(diamond())
    assert graph.find("e") is graph.find(("a", "e")) is graph.producers["a"]


@pytest.mark.parametrize("name", ["nope", ("a",), ("e", "a"), (), 3, None, ["a"]])
def test_find_what_is_not_there(name):
    with pytest.raises(UnknownNameError, match="there is no output") as caught:
        FunctionGraph(diamond()).find(name)
    assert repr(name) in str(caught.value)
    assert "'b', 'c', 'd', 'e'" in str(caught.value)


def test_needed_and_roots():
    graph = FunctionGraph(diamond())
    assert outputs(graph.needed("c")) == [("a", "e"), "c"]
    assert outputs(graph.needed(["b", ("a", "e")])) == [("a", "e"), "b"]
    assert graph.roots_of(graph.needed("c")) == ("x", "y")
    assert graph.roots_of([graph.find("d")]) == ()


def test_subgraph_holds_the_same_functions():
    functions = diamond()
    graph = FunctionGraph(functions).subgraph("b")
    assert graph.defined == (functions[1], functions[3])
    assert graph.root_args == ("x", "y")


def test_mapspecs_are_in_topological_order():
    graph = FunctionGraph([node("z", "y", mapspec="y[i] -> z[i]"), node("y", "x", mapspec="x[i] -> y[i]")])
    assert [str(mapspec) for mapspec in graph.mapspecs] == ["x[i] -> y[i]", "y[i] -> z[i]"]


def test_scopes_of_parameters_and_outputs():
    graph = FunctionGraph([PipeFunc(lambda a: a, "y", renames={"a": "s.a", "y": "t.y"})])
    assert graph.scopes == {"s", "t"}


@st.composite
def dags(draw):
    """Functions whose parameters are roots or outputs of functions before them, in any order."""
    count = draw(st.integers(1, 7))
    known = ["r0", "r1"]
    functions = []
    for k in range(count):
        parameters = draw(st.lists(st.sampled_from(known), unique=True, max_size=4))
        names = [f"o{k}", f"p{k}"][: draw(st.integers(1, 2))]
        functions.append(node(names[0] if len(names) == 1 else tuple(names), *parameters))
        known += names
    return draw(st.permutations(functions))


@pytest.mark.slow
@given(dags())
def test_a_generation_depends_on_the_ones_before_and_on_the_last_of_them(functions):
    graph = FunctionGraph(functions)
    level = {f: k for k, generation in enumerate(graph.generations) for f in generation}
    assert set(level) == set(functions)
    for function in functions:
        upstream = {graph.producers[name] for name in function.parameters if name in graph.producers}
        assert set(graph.dependencies[function]) == upstream
        assert level[function] == max((level[f] + 1 for f in upstream), default=0)
    assert graph.functions == tuple(f for generation in graph.generations for f in generation)
    for generation in graph.generations:
        assert list(generation) == sorted(generation, key=lambda f: f.output_names)
