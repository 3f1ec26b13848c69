"""Lazy runs: nothing is called before it is evaluated, and then once."""

from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict, namedtuple

import networkx as nx
import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import UnusedParametersError
from pipefunc_c.lazy import LazyFunction, construct_dag, evaluate_lazy, task_graph


class Noted:
    def __init__(self, **options) -> None:
        calls = self.calls = []

        def note(name, result):
            calls.append(name)
            return result

        cache = options.pop("cache", False)
        self.pipeline = Pipeline(
            [
                PipeFunc(lambda a, b=2: note("c", a + b), "c", cache=cache),
                PipeFunc(lambda c, k: note("d", (c, k)), ("d", "e")),
                PipeFunc(lambda d, e, c: note("z", (d, e, c)), "z", print_error=False),
            ],
            lazy=True,
            **options,
        )


def test_a_run_calls_nothing_until_it_is_evaluated():
    noted = Noted()
    lazy = noted.pipeline("z", a=1, k=3)
    assert isinstance(lazy, LazyFunction)
    assert not noted.calls
    assert not lazy.is_evaluated
    assert lazy.evaluate() == (3, 3, 3)
    assert noted.calls == ["c", "d", "z"]
    assert lazy.evaluate() == (3, 3, 3)
    assert noted.calls == ["c", "d", "z"]


def test_every_form_of_output_is_lazy():
    pipeline = Noted().pipeline
    kwargs = {"a": 1, "k": 3}
    assert evaluate_lazy(pipeline.run(["z", "c"], kwargs)) == ((3, 3, 3), 3)
    assert pipeline.run(("d", "e"), kwargs).evaluate() == (3, 3)
    assert pipeline.run("e", kwargs).evaluate() == 3
    assert pipeline.run(None, kwargs).evaluate() == (3, 3, 3)
    full = pipeline.run("z", kwargs, full_output=True)
    assert evaluate_lazy(full) == {**kwargs, "c": 3, "d": 3, "e": 3, "z": (3, 3, 3)}
    assert set(evaluate_lazy(pipeline.run(("d", "e"), kwargs, full_output=True))) > {"d", "e", ("d", "e")}


def test_lazy_values_may_be_given():
    noted = Noted()
    first = noted.pipeline("c", a=1)
    assert noted.pipeline("c", a=first, b=first).evaluate() == 6
    assert noted.calls == ["c", "c"]


def test_wrong_arguments_are_refused_at_once():
    pipeline = Noted().pipeline
    with pytest.raises(ValueError, match="'k'"):
        pipeline("z", a=1)
    with pytest.raises(UnusedParametersError, match="'w'"):
        pipeline("c", a=1, w=2)


def test_an_error_comes_when_it_is_evaluated():
    pipeline = Pipeline([PipeFunc(lambda x: 1 / x, "y", print_error=False)], lazy=True)
    lazy = pipeline(x=0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            lazy.evaluate()
    assert pipeline.error_snapshot.kwargs == {"x": 0}


def test_cached_functions_are_looked_up_when_evaluated():
    noted = Noted(cache=True, cache_type="simple")
    one, other = noted.pipeline("c", a=1), noted.pipeline("c", a=1)
    assert len(noted.pipeline.cache) == 0
    assert (one.evaluate(), other.evaluate()) == (3, 3)
    assert noted.calls == ["c"]
    assert list(noted.pipeline.cache.cache.values()) == [3]
    assert noted.pipeline("c", a=one).evaluate() == 5
    assert len(noted.pipeline.cache) == 1


def test_a_long_chain():
    functions = [PipeFunc(eval(f"lambda x{k}: x{k} + 1"), f"x{k + 1}") for k in range(3000)]
    assert Pipeline(functions, lazy=True)("x3000", x0=0).evaluate() == 3000


def test_a_lazy_object_reads_well_and_can_be_pickled():
    lazy = Noted().pipeline("z", a=1, k=3)
    assert len(repr(lazy)) < 200
    text = LazyFunction(str, (LazyFunction(len, ("abc",)),), {})
    assert repr(text) == "str(len(...))"
    assert pickle.loads(pickle.dumps(text)).evaluate() == "3"
    text.evaluate()
    assert pickle.loads(pickle.dumps(text)).is_evaluated


# -- containers

Point = namedtuple("Point", "x y")


def test_evaluate_lazy_goes_into_containers():
    lazy = LazyFunction(len, ("abc",))
    assert evaluate_lazy(lazy) == 3
    nested = {"a": [lazy, (lazy, {lazy})], lazy: Point(lazy, 0), "f": frozenset([lazy])}
    assert evaluate_lazy(nested) == {"a": [3, (3, {3})], 3: Point(3, 0), "f": frozenset([3])}
    assert type(evaluate_lazy(nested)[3]) is Point
    kept = evaluate_lazy(defaultdict(list, a=lazy))
    assert (kept, kept.default_factory) == ({"a": 3}, list)
    assert type(evaluate_lazy(OrderedDict(a=lazy))) is OrderedDict


@pytest.mark.parametrize("value", [1, "a", [1], {"a": (1, 2)}, None, {1}], ids=repr)
def test_what_holds_nothing_lazy_stays_the_same_object(value):
    assert evaluate_lazy(value) is value


# -- graphs


def test_the_calls_of_a_block_form_a_graph():
    noted = Noted()
    with construct_dag() as dag:
        lazy = noted.pipeline("z", a=1, k=3)
        assert task_graph() is dag
    assert task_graph() is None
    assert nx.is_directed_acyclic_graph(dag.graph)
    assert set(dag.graph) == set(dag.mapping)
    assert all(dag.graph.nodes[n]["lazy_func"] is dag.mapping[n] for n in dag.graph)
    names = {n: repr(dag.mapping[n]).partition("(")[0] for n in dag.graph}
    edges = sorted((names[a], names[b]) for a, b in dag.graph.edges)
    z, d = "<lambda>", "pick d of <lambda>"
    assert (d, z) in edges
    assert len(edges) == 6
    (last,) = [n for n in dag.graph if not dag.graph.out_degree(n)]
    assert dag.mapping[last] is lazy
    assert not noted.calls
    for number in nx.topological_sort(dag.graph):
        dag.mapping[number].evaluate()
    assert noted.calls == ["c", "d", "z"]


def test_calls_made_before_the_block_are_in_the_graph_too():
    first = LazyFunction(len, ("abc",))
    with construct_dag() as dag:
        LazyFunction(str, (first,))
    assert [dag.mapping[n] for n in nx.topological_sort(dag.graph)][0] is first


def test_equal_calls_of_cached_functions_are_one_node():
    noted = Noted(cache=True)
    with construct_dag() as dag:
        one, other = noted.pipeline("c", a=1), noted.pipeline("c", a=1)
        third = noted.pipeline("c", a=2)
    assert one is other is not third
    assert len(dag.mapping) == 2
    assert len(dag.cache) == 2


def test_blocks_may_be_nested():
    with construct_dag() as outer:
        with construct_dag() as inner:
            LazyFunction(len, ("abc",))
        assert task_graph() is outer
    assert (len(outer.mapping), len(inner.mapping)) == (0, 1)
