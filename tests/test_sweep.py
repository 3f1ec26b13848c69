"""Sweeps: combinations in order, what is refused, and what a pipeline computes more than once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, PipefuncError
from pipefunc_c.sweep import MultiSweep, Sweep, count_sweep, generate_sweep, set_cache_for_sweep


def test_all_combinations_with_the_first_name_slowest():
    sweep = Sweep({"a": [1, 2], "b": "xy"})
    expected = [{"a": a, "b": b} for a in (1, 2) for b in "xy"]
    assert sweep.list() == list(sweep) == list(sweep.generate()) == expected
    assert len(sweep) == 4


def test_zipped_dimensions():
    items = {"a": [1, 2], "b": [3, 4], "c": [5, 6]}
    sweep = Sweep(items, dims=[("a", "b"), "c"])
    assert [tuple(each.values()) for each in sweep] == [(1, 3, 5), (1, 3, 6), (2, 4, 5), (2, 4, 6)]
    assert len(sweep) == 4
    assert Sweep(items, dims=["b"]).list() == [{"b": 3}, {"b": 4}]


@pytest.mark.parametrize(
    ("items", "dims", "error", "offender"),
    [
        pytest.param({"a": [1, 2], "b": [3]}, [("a", "b")], ValueError, "'b': 1", id="lengths"),
        pytest.param({"a": [1]}, ["a", "x"], KeyError, "'x'", id="unknown"),
        pytest.param({"a": [1], "b": [1]}, [("a", "b"), "a"], ValueError, "'a'", id="twice"),
    ],
)
def test_wrong_dimensions_are_refused(items, dims, error, offender):
    with pytest.raises(error, match=offender) as caught:
        Sweep(items, dims=dims)
    assert isinstance(caught.value, PipefuncError)


def test_constants_then_derivers_then_exclude():
    sweep = Sweep(
        {"a": [1, 2]},
        constants={"k": 10, "a": 99},
        derivers={"s": lambda c: c["a"] + c["k"], "t": lambda c: 2 * c["s"]},
        exclude=lambda c: c["t"] == 22,
    )
    assert sweep.list() == [{"a": 2, "k": 10, "s": 12, "t": 24}]
    assert len(sweep) == 1
    more = sweep.add_derivers(u=lambda c: c["t"] + 1, s=lambda c: 0)
    assert more.list() == [
        {"a": 1, "k": 10, "s": 0, "t": 0, "u": 1},
        {"a": 2, "k": 10, "s": 0, "t": 0, "u": 1},
    ]
    assert "u" not in sweep.list()[0]


def test_the_length_is_the_number_of_combinations():
    assert len(Sweep({})) == len(Sweep({}).list()) == 0
    assert len(Sweep({}, constants={"a": 1})) == 0
    assert len(Sweep({"a": []})) == 0
    assert len(Sweep({"a": range(10**10), "b": range(10**8)})) == 10**18


def test_values_may_come_from_an_iterator_or_array():
    sweep = Sweep({"a": iter([1, 2]), "b": np.array([3.0])})
    assert sweep.list() == sweep.list() == [{"a": 1, "b": 3.0}, {"a": 2, "b": 3.0}]


def test_filtered():
    sweep = Sweep({"a": [1, 2], "b": [3, 4]}, constants={"k": 9}, derivers={"s": lambda c: c["a"] + c["b"]})
    assert sweep.filtered_sweep(("b",)).list() == [{"b": 3}, {"b": 4}]
    assert sweep.filtered_sweep("s").list() == [{"s": 4}, {"s": 5}, {"s": 6}]
    assert sweep.filtered_sweep(("k", "a")).list() == [{"k": 9, "a": 1}, {"k": 9, "a": 2}]
    assert sweep.filtered_sweep(()).list() == []
    assert Sweep({"a": []}).filtered_sweep(("a",)).list() == []
    assert Sweep({"a": [[1], [1], [2]]}).filtered_sweep(("a",)).list() == [{"a": [1]}, {"a": [2]}]
    with pytest.raises(KeyError, match="'nothing'"):
        sweep.filtered_sweep(("nothing",))


def test_sums_are_new_sweeps():
    one, two, three = Sweep({"a": [1]}), Sweep({"b": [2, 3]}), Sweep({"c": [4]})
    both = one + two
    assert isinstance(both, MultiSweep)
    assert both.list() == [{"a": 1}, {"b": 2}, {"b": 3}]
    assert len(both) == 3
    assert one.combine(two).list() == both.list()
    for other in (3, [one], None):
        with pytest.raises(InvalidTypeError, match="Sweep"):
            one + other
        with pytest.raises(TypeError, match="Sweep"):
            MultiSweep(one, other)
    assert (three + both).list() == [{"c": 4}, *both.list()]


def test_adding_to_a_multi_sweep_does_not_change_it():
    both = MultiSweep(Sweep({"a": [1]}))
    longer = both + Sweep({"b": [2]})
    assert both.list() == [{"a": 1}]
    assert longer.list() == [{"a": 1}, {"b": 2}]


def test_a_multi_sweep_does_all_that_a_sweep_does():
    both = MultiSweep(Sweep({"a": [1, 1]}), Sweep({"a": [1, 2]}))
    assert both.filtered_sweep(("a",)).list() == [{"a": 1}, {"a": 1}, {"a": 2}]
    assert both.add_derivers(d=lambda c: -c["a"]).list()[-1] == {"a": 2, "d": -2}
    assert both.product(Sweep({"z": [0]})).list()[0] == {"a": 1, "z": 0}
    assert len(both.product(Sweep({"z": [0, 1]}))) == 8


def test_a_product_keeps_zipped_dimensions_of_all():
    plain = Sweep({"a": [1, 2]})
    zipped = Sweep({"b": [3, 4], "c": [5, 6]}, dims=[("b", "c")])
    expected = [{"a": a, "b": b, "c": c} for a in (1, 2) for b, c in ((3, 5), (4, 6))]
    assert plain.product(zipped).list() == expected
    swapped = [{"b": b, "c": c, "a": a} for b, c in ((3, 5), (4, 6)) for a in (1, 2)]
    assert zipped.product(plain).list() == swapped
    assert plain.product(zipped, Sweep({"d": [0]})).list() == [{**each, "d": 0} for each in expected]


def test_a_product_keeps_constants_derivers_and_exclusions_of_all():
    one = Sweep({"a": [1, 2]}, constants={"k": 0}, exclude=lambda c: c["a"] == 1)
    other = Sweep({"b": [3, 4]}, derivers={"d": lambda c: c["b"]}, exclude=lambda c: c["b"] == 4)
    assert one.product(other).list() == [{"a": 2, "b": 3, "k": 0, "d": 3}]


def test_a_product_refuses_what_is_ambiguous():
    sweep = Sweep({"a": [1]}, constants={"k": 0}, derivers={"d": len})
    for other in (3, MultiSweep(sweep)):
        with pytest.raises(TypeError, match="product"):
            sweep.product(other)
    with pytest.raises(InvalidValueError, match="'k'"):
        sweep.product(Sweep({"b": [1]}, constants={"k": 1}))
    with pytest.raises(InvalidValueError, match="'d'"):
        sweep.product(Sweep({"b": [1]}, derivers={"d": len}))


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), max_size=3), max_size=4), st.data())
def test_sweeps_are_nested_loops(items, data):
    excluded = data.draw(st.integers(-2, 2))
    sweep = Sweep(items, exclude=lambda c: sum(c.values()) == excluded, constants={"z": 0})
    combinations = itertools.product(*items.values()) if items else []
    expected = [{**dict(zip(items, each, strict=True)), "z": 0} for each in combinations]
    expected = [each for each in expected if sum(each.values()) != excluded]
    assert sweep.list() == expected
    assert len(sweep) == len(expected)


def test_generate_sweep():
    assert generate_sweep({"a": [1], "b": [2]}, ["a", "b"], constants={"z": 1}) == [{"a": 1, "b": 2, "z": 1}]


def pipeline() -> Pipeline:
    return Pipeline(
        [
            PipeFunc(lambda a, b: a + b, "c"),
            PipeFunc(lambda c, k=1: (c + k, 0), ("d", "d2")),
            PipeFunc(lambda d, a: d + a, "e"),
        ]
    )


SWEEP = Sweep({"a": [1, 2], "b": [3], "k": [1, 2, 3]})


@pytest.mark.parametrize("use_pandas", [False, True])
@pytest.mark.parametrize("sweep", [SWEEP, SWEEP.list()], ids=["sweep", "list"])
def test_counts(sweep, use_pandas):
    counts = count_sweep("e", sweep, pipeline(), use_pandas=use_pandas)
    assert counts == {
        "c": {(1, 3): 3, (2, 3): 3},
        ("d", "d2"): {(a, 3, k): 1 for a in (1, 2) for k in (1, 2, 3)},
    }
    assert pipeline().root_args("d") == ("a", "b", "k")


def test_counts_take_defaults_and_values_that_are_not_hashable():
    assert count_sweep("e", [{"a": 1, "b": 2}] * 2, pipeline())[("d", "d2")] == {(1, 2, 1): 2}
    counts = count_sweep("e", [{"a": [1], "b": 2}] * 2, pipeline())
    assert list(counts["c"].values()) == [2]


def test_counts_refuse_unknown_names():
    with pytest.raises(KeyError, match="'b'"):
        count_sweep("e", [{"a": 1}], pipeline())
    with pytest.raises(KeyError, match="'nothing'"):
        count_sweep("nothing", SWEEP, pipeline())


def test_what_a_sweep_calls_often_is_cached(capsys):
    changed = pipeline()
    set_cache_for_sweep("e", changed, SWEEP, verbose=True)
    assert {f.output_name: f.cache for f in changed.functions} == {
        "c": True,
        ("d", "d2"): False,
        "e": False,
    }
    assert "Setting cache for 'c' to True (n=3)" in capsys.readouterr().out
    assert [changed("e", **each) for each in SWEEP] == [pipeline()("e", **each) for each in SWEEP]
    assert len(changed.cache) == 2
    set_cache_for_sweep("e", changed, SWEEP, min_executions=4)
    assert not any(f.cache for f in changed.functions)
    assert capsys.readouterr().out == ""
