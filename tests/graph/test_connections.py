from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.connections import Connections
from pipefunc_c._graph.validate import build_graph
from pipefunc_c.exceptions import PipefuncError


def node(output, *parameters, **options):
    """Make a function with these parameters."""
    return PipeFunc(eval(f"lambda {', '.join(parameters)}: 0"), output, **options)


def known(connections):
    """All that is kept, without what counts for nothing."""
    return {
        "producers": connections.producers,
        "takers": {name: set(functions) for name, functions in connections.takers.items() if functions},
        "defaults": {name: values for name, values in connections._defaults.items() if values},
        "plain": +connections._plain,
        "scopes": +connections._scopes,
        "arrays": {name: +axes for name, axes in connections._arrays.items() if +axes},
    }


def base():
    return [
        node("y", "x", "k=2"),
        node(("a", "b"), "y", "k"),
        node("z", "a", "s", renames={"s": "t.s"}),
        node("m", "x2", mapspec="x2[i] -> m[i]"),
        node("n", "m", mapspec="m[i] -> n[i]"),
    ]


SURE = {
    "behind": node("new", "z"),
    "alone": node("new"),
    "before": node("x", "w"),
    "between": node("t.s", "y"),
    "same default": node("new", "k=2"),
    "default of an output": node("new", "y=7"),
    "array": node("new", "m", mapspec="m[i] -> new[i]"),
    "whole array": node("new", "m", "q", mapspec="m[:], q[j] -> new[j]"),
    "reduction": node("new", "m"),
    "before an array": node("x2", "v", mapspec="v[i] -> x2[i]"),
    "bound cuts the cycle": node("x", "z", bound={"z": 1}),
}
UNSURE = {
    "duplicate": node("y"),
    "one of two": node(("new", "b")),
    "cycle": node("x", "z"),
    "longer cycle": node(("new", "k"), "b"),
    "default": node("new", "k=3"),
    "scope is a name": node("new", "v", renames={"v": "x.v"}),
    "name is a scope": node("new", "t"),
    "other axis": node("new", "m", mapspec="m[j] -> new[j]"),
    "other rank": node("new", "m", mapspec="m[i, j] -> new[i, j]"),
    "before an array, other axis": node("x2", "v", mapspec="v[j] -> x2[j]"),
    "mapspec to be generated": node("new", "y", mapspec="y[j] -> new[j]"),
    "mapspec to be generated for itself": node("x2", "v"),
    "order of outputs": node(("new", "o"), "v", mapspec="v[j] -> o[j], new[j]"),
}


@pytest.mark.parametrize("case", SURE)
def test_what_is_surely_valid(case):
    function = SURE[case].copy()
    functions = base()
    connections = Connections(build_graph(functions))
    assert connections.exchange(None, function)
    assert known(connections) == known(Connections(build_graph([*functions, function])))


@pytest.mark.parametrize("case", UNSURE)
def test_what_needs_a_look_at_everything_changes_nothing(case):
    functions = base()
    connections = Connections(build_graph(functions))
    assert not connections.exchange(None, UNSURE[case].copy())
    assert known(connections) == known(Connections(build_graph(functions)))


def test_out_and_in():
    functions = base()
    y, ab, z, m, n = functions
    connections = Connections(build_graph(functions))
    assert connections.exchange(ab, None)
    other = node(("a", "b"), "y", "more")
    assert connections.exchange(None, other)
    assert connections.exchange(other, ab)
    assert connections.exchange(n, None)
    assert connections.exchange(m, None)
    assert known(connections) == known(Connections(build_graph([y, ab, z])))


def test_a_replacement_may_close_a_cycle_by_what_it_returns_or_takes():
    functions = m, _ = [node("m", "q"), node("y", "m")]
    connections = Connections(build_graph(functions))
    y = connections.producers["y"]
    assert not connections.exchange(y, node("q", "m"))
    assert not connections.exchange(m, node("m", "y"))
    assert connections.exchange(m, node("m", "other"))


def test_what_is_no_longer_computed_gets_its_defaults():
    connections = Connections(build_graph([node("y", "x"), node("a", "y=1"), node("b", "y=2")]))
    assert not connections.exchange(connections.producers["y"], None)
    assert connections.exchange(connections.producers["y"], node("y", "other"))


def test_defaults_that_cannot_be_compared_are_not_sure():
    class Odd:
        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    connections = Connections(build_graph([node("a", "k", defaults={"k": Odd()})]))
    assert not connections.exchange(None, node("b", "k", defaults={"k": Odd()}))
    connections = Connections(build_graph([node("a", "k", defaults={"k": np.zeros(2)})]))
    assert connections.exchange(None, node("b", "k", defaults={"k": np.zeros(2)}))


def test_a_generated_mapspec_is_looked_at_again(capsys):
    y, z, w = functions = [node("y", "x"), node("z", "y", mapspec="y[i] -> z[i]"), node("w", "v")]
    connections = Connections(build_graph(functions))
    assert not connections.exchange(z, None)
    assert not connections.exchange(None, node("q", "y", mapspec="y[i] -> q[i]"))
    assert connections.exchange(w, None)
    assert not connections.exchange(y, node("y", "x"))
    assert "got the mapspec" in capsys.readouterr().out


def test_numbered_axes_depend_on_everything(capsys):
    functions = [node("y", "x"), node("z", "y", "v", mapspec="y[:], v[i] -> z[i]")]
    connections = Connections(build_graph(functions))
    assert "unnamed_0" in capsys.readouterr().out
    assert not connections.exchange(None, node("q"))


def test_the_last_check_sees_the_neighbours():
    functions = base()
    connections = Connections(build_graph(functions))
    seen = []
    function = node("t.s", "y", "free")
    assert not connections.exchange(None, function, seen.append)
    assert seen == [[functions[0], function, functions[2]]]
    assert connections.producers.get("t.s") is None
    assert connections.exchange(None, function, lambda around: True)


NAMES = st.sampled_from(["x", "y", "z", "u", "v", "s.x", "s", "t.y"])
AXES = st.sampled_from(["", "", "", "i", "j", "i, j"])


@st.composite
def functions(draw):
    """A function of few names, so that everything that may clash does."""
    output, *parameters = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    natives = [f"p{k}" for k in range(len(parameters))]
    axes = draw(AXES)
    options = {}
    if axes:
        taken = [f"{name}[{axes}]" for name in parameters[: draw(st.integers(0, 1))]]
        options["mapspec"] = f"{', '.join(taken) or '...'} -> {output}[{axes}]"
    elif parameters and draw(st.booleans()):
        options["defaults"] = {parameters[0]: draw(st.integers(0, 1))}
    elif parameters and draw(st.booleans()):
        options["bound"] = {parameters[-1]: 0}
    return node(
        "out", *natives, renames={"out": output, **dict(zip(natives, parameters, strict=True))}, **options
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "drop", "replace"]), functions(), st.integers(0, 9)), max_size=12
    )
)
def test_it_never_accepts_what_a_look_at_everything_refuses(changes):
    held = []
    connections = Connections(build_graph(held))
    for kind, function, position in changes:
        old = held[position % len(held)] if held and kind != "add" else None
        new = function if kind != "drop" else None
        after = [f for f in held if f is not old] + ([new] if new is not None else [])
        mapspecs = {f: f.mapspec for f in after}
        accepted = connections.exchange(old, new)
        with contextlib.redirect_stdout(None), warnings.catch_warnings():
            try:
                graph = build_graph(after)
            except PipefuncError:
                assert not accepted
                continue
        if accepted:
            assert {f: f.mapspec for f in after} == mapspecs
        fresh = Connections(graph)
        if accepted:
            assert known(connections) == known(fresh)
        held, connections = after, fresh
