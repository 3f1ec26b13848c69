from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.evaluate import run
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c._graph.rewrite import nest, simplify, split
from pipefunc_c.exceptions import (
    GraphError,
    InvalidValueError,
    NotAvailableError,
    UnknownNameError,
)
from pipefunc_c.helpers import collect_kwargs


def function(output, *parameters, **options):
    """A function whose result tells all that it was computed from."""
    collect = collect_kwargs(parameters)

    def call(**kwargs):
        return (output, *collect(**kwargs).items())

    call.__signature__ = collect.__signature__
    call.__name__ = f"make_{output}"
    return PipeFunc(call, output, **options)


def graph(*functions):
    return FunctionGraph(functions)


def names(functions):
    return [f.output_name for f in functions]


# -- nest


def chain_of_three():
    return graph(function("y", "x"), function("z", "y", "k"), function("w", "z"))


def test_the_others_keep_their_order_and_identity():
    given = chain_of_three()
    others, nested = nest(given, ["y", "z"])
    assert others == [given.find("w")]
    assert nested.output_name == ("y", "z")
    assert names(nested.pipefuncs) == ["y", "z"]


def test_nothing_is_changed():
    given = chain_of_three()
    before = [(f, f.binding) for f in given.defined]
    nest(given, ["y", "z"], "z", "mine")
    assert [(f, f.binding) for f in given.defined] == before


def test_a_function_is_nested_once_however_often_it_is_named():
    pair = PipeFunc(lambda x: (x, x), ("a", "b"))
    given = graph(pair, function("z", "a"))
    for chosen in (["a", "b", "z"], [("a", "b"), "z"], ["b", "z", "z"]):
        assert nest(given, chosen)[1].output_name == ("a", "b", "z")
    with pytest.raises(InvalidValueError, match="two functions"):
        nest(given, ["a", "b"])


def test_an_unknown_output():
    with pytest.raises(UnknownNameError, match="'nope'"):
        nest(chain_of_three(), ["y", "nope"])


def test_an_output_that_is_needed_elsewhere_cannot_be_hidden():
    with pytest.raises(GraphError, match=r"make_w.*'z'") as caught:
        nest(chain_of_three(), ["y", "z"], "y")
    assert caught.value.detail == "z"
    bound = graph(function("y", "x"), function("z", "y"), function("w", "z", bound={"z": 1}))
    assert nest(bound, ["y", "z"], "y")[1].output_name == "y"


# -- split


def test_split_into_parts_in_the_order_of_definition():
    given = graph(
        function("b1", "v"), function("a1", "u"), function("c"), function("a2", "a1"), function("b2", "b1")
    )
    assert [names(part) for part in split(given)] == [["b1", "b2"], ["a1", "a2"], ["c"]]


def test_a_shared_input_connects_and_a_bound_one_does_not():
    with pytest.raises(GraphError, match="share"):
        split(graph(function("y", "x"), function("z", "x")))
    with pytest.raises(ValueError, match="connected"):
        split(chain_of_three())
    free = graph(function("y", "x"), function("z", "x", bound={"x": 1}), function("w", "y", bound={"y": 1}))
    assert [names(part) for part in split(free)] == [["y"], ["z"], ["w"]]


def test_an_input_with_the_name_of_a_function_connects_nothing_else():
    assert len(split(graph(function("y", "x"), function("x2", "y2")))) == 2


def test_no_functions_have_no_parts():
    assert split(graph()) == []


# -- simplify


def example():
    return graph(
        function("f1", "a", "b", "c", "d"),
        function("f2", "a", "b", "e"),
        function("f3", "a", "b", "f1"),
        function("f4", "f1", "f3"),
        function("f5", "f1", "f4"),
        function("f6", "b", "f5"),
        function("f7", "a", "f2", "f6"),
    )


@pytest.mark.parametrize("conservatively", [False, True])
def test_functions_with_the_same_root_args_are_nested(conservatively):
    simple = simplify(example(), "f7", conservatively_combine=conservatively)
    assert names(simple) == ["f2", "f7", "f6"]
    assert isinstance(simple[2], NestedPipeFunc)
    assert names(simple[2].pipefuncs) == ["f1", "f3", "f4", "f5", "f6"]
    assert simple[2].parameters == ("a", "b", "c", "d")


def test_the_outputs_that_others_take_are_kept():
    pair = PipeFunc(lambda x: (x, x), ("y", "y2"))
    given = graph(pair, function("z", "y", "x"), function("w", "z", "y2", "q"))
    assert names(simplify(given, "w")) == ["w", ("y2", "z")]
    # Also for functions that the wanted output does not need.
    given = graph(function("y", "x"), function("z", "y"), function("w", "z", "q"), function("other", "y"))
    assert names(simplify(given, "w")) == ["w", "other", ("y", "z")]


def test_all_outputs_of_the_last_functions_of_a_group_are_kept():
    pair = PipeFunc(lambda b: ((b, 1), (b, 2)), ("x", "y"))
    given = graph(function("b", "a"), pair, function("z", "y", "d"))
    simple = simplify(given)
    assert names(simple) == ["z", ("x", "y")]
    assert run(FunctionGraph(simple), "x", {"a": 3}) == run(given, "x", {"a": 3})
    # Of those that others in the group take, only what is taken outside.
    first = PipeFunc(lambda a: (a, a), ("b", "b2"))
    given = graph(first, pair, function("z", "y", "b2", "d"))
    assert names(simplify(given)) == ["z", ("b2", "x", "y")]


def test_the_outputs_of_the_target_are_kept():
    pair = PipeFunc(lambda y: (y, y), ("z", "z2"))
    assert names(simplify(graph(function("y", "x"), pair), "z")) == [("z", "z2")]


def test_a_conservative_join_needs_all_functions_before():
    given = graph(function("p", "x", "y"), function("q", "x"), function("r", "p", "q"))
    assert names(simplify(given)) == ["q", "r"]
    with pytest.raises(GraphError, match="'r'"):
        simplify(given, conservatively_combine=True)


def test_a_way_out_of_a_group_and_back_belongs_to_it():
    # `b` and `d` each need something smaller, so that a conservative join leaves them out: but then the
    # group of `a` and `c` would need `d`, which needs the group.
    given = graph(
        function("e", "x"),
        function("a", "x", "y"),
        function("b", "a", "e"),
        function("d", "b", "e"),
        function("c", "a", "d"),
    )
    simple = simplify(given, "c", conservatively_combine=True)
    FunctionGraph(simple)
    assert names(simple) == ["e", "c"]


def test_what_cannot_be_simplified():
    with pytest.raises(NotAvailableError, match="mapspec") as caught:
        simplify(graph(function("y", "x", mapspec="x[i] -> y[i]"), function("z", "y")))
    assert isinstance(caught.value, NotImplementedError)
    with pytest.raises(GraphError, match="nothing to nest"):
        simplify(graph(function("y", "x"), function("z", "y", "k")))
    with pytest.raises(GraphError, match="2 leaf functions"):
        simplify(graph(function("y", "x"), function("z", "y"), function("w", "y")))
    with pytest.raises(UnknownNameError, match="'nope'"):
        simplify(example(), "nope")


# -- any graph


@st.composite
def graphs(draw):
    """Functions whose parameters are earlier outputs or one of three inputs."""
    n = draw(st.integers(2, 8))
    functions = []
    for k in range(n):
        pool = ["x0", "x1", "x2", *[f"y{j}" for j in range(k)]]
        parameters = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3, unique=True))
        functions.append(function(f"y{k}", *parameters))
    return graph(*draw(st.permutations(functions)))


def inputs(given):
    return {name: name.upper() for name in given.root_args}


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(graphs(), st.booleans(), st.data())
def test_a_simplified_graph_computes_the_same(given, conservatively, data):
    target = data.draw(st.sampled_from(sorted(given.producers)))
    try:
        simple = FunctionGraph(simplify(given, target, conservatively_combine=conservatively))
    except GraphError as error:
        assert "nothing to nest" in str(error)  # noqa: PT017  it is one of two possible results
        return
    values = {name: name.upper() for name in given.roots_of(given.needed(target))}
    assert run(simple, target, values) == run(given, target, values)
    if not conservatively:  # then no two functions that are left could be joined
        roots = {f: simple.roots_of(simple.needed(f.output_name)) for f in simple.needed(target)}
        assert not [f for f in roots for b in simple.dependencies[f] if roots[b] == roots[f]]


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(graphs(), st.data())
def test_a_nested_graph_computes_the_same(given, data):
    chosen = data.draw(st.sets(st.sampled_from(sorted(given.producers)), min_size=2))
    others, nested = nest(given, sorted(chosen))
    whole = nx.DiGraph([(b, f) for f in given.defined for b in given.dependencies[f]])
    whole.add_nodes_from(given.defined)
    merged = nx.quotient_graph(whole, [set(nested_members(given, chosen)), *[{f} for f in others]])
    if not nx.is_directed_acyclic_graph(nx.DiGraph([e for e in merged.edges if e[0] != e[1]])):
        with pytest.raises(GraphError, match="cycle"):
            FunctionGraph([*others, nested])
        return
    new = FunctionGraph([*others, nested])
    result = run(new, None, inputs(given), full_output=True)
    assert result == {**run(given, None, inputs(given), full_output=True), **result}
    assert result.keys() >= given.producers.keys()


def nested_members(given, chosen):
    return [given.find(name) for name in sorted(chosen)]


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(graphs())
def test_the_parts_have_nothing_in_common_and_are_connected(given):
    try:
        parts = split(given)
    except GraphError:
        parts = [list(given.defined)]
    assert sorted(f.output_name for part in parts for f in part) == sorted(given.producers)
    touched = [{*f.parameters, *f.output_names} for part in parts for f in part]
    by_part = [set().union(*[{*f.parameters, *f.output_names} for f in part]) for part in parts]
    assert sum(map(len, by_part)) == len(set().union(*touched))
    for part in parts:
        reached, pending = {part[0]}, list(part[1:])
        while more := [f for f in pending if any(share(f, other) for other in reached)]:
            reached.update(more)
            pending = [f for f in pending if f not in reached]
        assert not pending


def share(one, other):
    return bool({*one.parameters, *one.output_names} & {*other.parameters, *other.output_names})
