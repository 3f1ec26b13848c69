from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.add_axis import add_axis
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.validate import build_graph
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, MapSpecError


def y(**options):
    return PipeFunc(lambda x: x + 1, "y", **options)


def z(**options):
    return PipeFunc(lambda y, k=1: k * y, "z", **options)


def total(**options):
    return PipeFunc(lambda z: 1 * sum(z), "t", **options)


def n_to_x(**options):
    return PipeFunc(lambda n: list(range(n)), "x", **options)


def two(mapspec_z=None, mapspec_w=None):
    return [
        PipeFunc(lambda x, y: x, "z", mapspec=mapspec_z),
        PipeFunc(lambda z, x: x, "w", mapspec=mapspec_w),
    ]


ELEMENTWISE = ("x[i] -> y[i]", "y[i] -> z[i]")


@pytest.mark.parametrize(
    ("functions", "parameters", "axis", "expected"),
    [
        ([y(), z()], ["x"], "i", ["x[i] -> y[i]", "y[i] -> z[i]"]),
        ([y(), z()], ["x", "k"], "i", ["x[i] -> y[i]", "y[i], k[i] -> z[i]"]),
        ([y(), z()], ["x"], "i, j", ["x[i, j] -> y[i, j]", "y[i, j] -> z[i, j]"]),
        ([y(), z()], ["k"], "j", ["k[j] -> z[j]"]),
        ([y(mapspec=ELEMENTWISE[0]), z(mapspec=ELEMENTWISE[1])], ["k"], "j", ["y[i], k[j] -> z[i, j]"]),
        ([y(mapspec=ELEMENTWISE[0]), z(mapspec=ELEMENTWISE[1])], ["x"], "i", []),
        ([y(mapspec=ELEMENTWISE[0]), z()], ["x"], "j", ["x[i, j] -> y[i, j]", "y[:, j] -> z[j]"]),
        (
            [y(mapspec=ELEMENTWISE[0]), z(mapspec=ELEMENTWISE[1]), total()],
            ["k"],
            "j",
            ["y[i], k[j] -> z[i, j]", "z[:, j] -> t[j]"],
        ),
        ([n_to_x(), y(mapspec=ELEMENTWISE[0])], ["n"], "j", ["n[j] -> x[i, j]", "x[i, j] -> y[i, j]"]),
        (
            [PipeFunc(lambda x: (x, x), ("a", "b")), PipeFunc(lambda a, b: a, "c")],
            ["x"],
            "i",
            ["x[i] -> a[i], b[i]", "a[i], b[i] -> c[i]"],
        ),
        ([PipeFunc(lambda x, y: x, "z")], ["x", "y"], "i", ["x[i], y[i] -> z[i]"]),
        ([*two("x[i] -> z[i]", "z[i] -> w[i]")], ["y"], "i", ["x[i], y[i] -> z[i]"]),
        ([*two("x[i] -> z[i]"), total()], ["y"], "i", ["x[i], y[i] -> z[i]"]),
        (
            two("x[i, :] -> z[i]", "z[i], x[i, :] -> w[i]"),
            ["x"],
            "j",
            ["x[i, :, j] -> z[i, j]", "z[i, j], x[i, :, j] -> w[i, j]"],
        ),
        (
            two("x[i] -> z[i, k]", "z[i, k] -> w[i, k]"),
            ["y"],
            "j",
            ["x[i], y[j] -> z[i, k, j]", "z[i, k, j] -> w[i, k, j]"],
        ),
        (two("x[i] -> z[i]", "z[:] -> w[q]"), ["y"], "j", ["x[i], y[j] -> z[i, j]", "z[:, j] -> w[q, j]"]),
        (two("x[i] -> z[i]"), ["x"], "j", ["x[i, j] -> z[i, j]", "z[:, j], x[:, j] -> w[j]"]),
        ([y(), z()], [], "i", []),
    ],
    ids=[
        "chain",
        "zipped",
        "two-axes",
        "half-way",
        "outer-product",
        "there-already",
        "reduction",
        "reduction-behind",
        "generated",
        "several-outputs",
        "two-of-one",
        "zipped-with-an-axis",
        "zipped-before-a-reduction",
        "slice",
        "internal",
        "reduction-with-axis",
        "whole-input-elsewhere",
        "nothing",
    ],
)
def test_the_new_mapspecs(functions, parameters, axis, expected):
    graph = build_graph(functions)
    before = [f.mapspec for f in graph.defined]
    changed = add_axis(graph, parameters, axis)
    assert [str(spec) for spec in changed.values()] == expected
    assert all(spec.generated for spec in changed.values())
    assert [f.mapspec for f in graph.defined] == before


def test_a_bound_parameter_does_not_take_part():
    graph = FunctionGraph([y(), z(bound={"y": 3})])
    assert [str(spec) for spec in add_axis(graph, ["x"], "i").values()] == ["x[i] -> y[i]"]
    with pytest.raises(InvalidValueError, match="'k'"):
        add_axis(FunctionGraph([z(bound={"k": 1})]), ["k"], "i")


def test_unknown_names_and_axes():
    graph = FunctionGraph([y(), z()])
    with pytest.raises(InvalidValueError, match="'nope'") as caught:
        add_axis(graph, ["x", "nope"], "i")
    assert caught.value.detail == "nope"
    with pytest.raises(InvalidValueError, match="'z'"):
        add_axis(graph, ["z"], "i")  # an output that nothing takes
    with pytest.raises(InvalidTypeError, match="3"):
        add_axis(graph, ["x"], 3)
    for axis in ("1i", "", "i,", ":"):
        with pytest.raises(MapSpecError):
            add_axis(graph, ["x"], axis)


def test_one_name_may_be_given_as_it_is():
    assert len(add_axis(FunctionGraph([y(), z()]), "x", "i")) == 2


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=4),
    st.lists(st.integers(-5, 5), min_size=1, max_size=4),
    st.permutations(["x", "k"]),
)
def test_a_map_with_a_new_axis_is_a_map_for_each_value(xs, ks, order):
    """The reduction at the end sums over the axis that was there, for each value of the new one."""
    pipeline = Pipeline([y(mapspec="x[i] -> y[i]"), z(mapspec="y[i] -> z[i]"), total()])
    expected = [pipeline.map({"x": xs, "k": k}, parallel=False)["t"].output for k in ks]
    pipeline.add_mapspec_axis("k", axis="j")
    result = pipeline.map({"x": xs, "k": ks}, parallel=False)
    assert result["t"].output.tolist() == expected
    assert result["z"].output.tolist() == [[k * (x + 1) for k in ks] for x in xs]

    pipeline = Pipeline([y(), z()])  # from no axes at all, in any order
    for name in order:
        pipeline.add_mapspec_axis(name, axis={"x": "i", "k": "j"}[name])
    grid = np.array(pipeline.map({"x": xs, "k": ks}, parallel=False)["z"].output.tolist())
    assert grid.tolist() == [[k * (x + 1) for k in ks] for x in xs] if order[0] == "x" else True
    assert sorted(grid.ravel()) == sorted(k * (x + 1) for x in xs for k in ks)
