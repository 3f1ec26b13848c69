from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._graph.drawing.layout import _Grid, _separated, lay_out

GAPS = {"column_gap": 10, "row_gap": 3}


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 12))
    sizes = {f"n{k}": (draw(st.integers(5, 40)), draw(st.integers(5, 20))) for k in range(n)}
    pairs = [(f"n{a}", f"n{b}") for a, b in itertools.combinations(range(n), 2)]
    return sizes, draw(st.lists(st.sampled_from(pairs), max_size=25)) if pairs else []


def edges(layout, sizes, name):
    (x, y), (width, height) = layout.centers[name], sizes[name]
    return x - width / 2, x + width / 2, y - height / 2, y + height / 2


@given(graphs())
def test_boxes_never_overlap_and_stay_inside(graph):
    sizes, arrows = graph
    layout = lay_out(sizes, arrows, **GAPS)
    places = {name: edges(layout, sizes, name) for name in sizes}
    for left, right, low, high in places.values():
        assert left >= -1e-6
        assert right <= layout.width + 1e-6
        assert low >= -1e-6
        assert high <= layout.height + 1e-6
    for a, b in itertools.combinations(places.values(), 2):
        beside = a[1] <= b[0] or b[1] <= a[0]
        above = a[3] <= b[2] - 3 + 1e-6 or b[3] <= a[2] - 3 + 1e-6
        assert beside or above


@given(graphs())
def test_arrows_go_to_the_right_from_side_to_side(graph):
    sizes, arrows = graph
    layout = lay_out(sizes, arrows, **GAPS)
    assert layout.routes.keys() == set(arrows)
    for (source, target), route in layout.routes.items():
        xs = [x for x, _ in route]
        assert xs == sorted(xs)
        assert route[0] == (edges(layout, sizes, source)[1], layout.centers[source][1])
        assert route[-1] == (edges(layout, sizes, target)[0], layout.centers[target][1])


@given(graphs())
def test_a_layout_is_the_same_each_time(graph):
    sizes, arrows = graph
    assert lay_out(sizes, arrows, **GAPS) == lay_out(sizes, arrows, **GAPS)


@given(graphs())
def test_crossings_are_those_counted_one_by_one(graph):
    grid = _Grid(*graph)
    expected = 0
    for left, right in itertools.pairwise(grid.columns):
        ends = [(left.index(a), right.index(b)) for a in left for b in grid.after[a]]
        expected += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(ends, 2))
    assert grid._crossings() == expected


@given(graphs())
def test_ordering_never_makes_more_crossings(graph):
    grid = _Grid(*graph)
    before = grid._crossings()
    grid.order()
    assert grid._crossings() <= before


def test_two_crossing_arrows_are_untangled():
    sizes = dict.fromkeys("abcd", (10, 4))
    layout = lay_out(sizes, [("a", "d"), ("b", "c")], **GAPS)
    heights = {name: y for name, (_, y) in layout.centers.items()}
    assert (heights["a"] > heights["b"]) == (heights["d"] > heights["c"])


def test_an_input_stands_just_before_its_first_use():
    sizes = dict.fromkeys(["x", "k", "a", "b", "c"], (10, 4))
    layout = lay_out(sizes, [("x", "a"), ("a", "b"), ("b", "c"), ("k", "c")], **GAPS)
    assert layout.centers["k"][0] == layout.centers["b"][0]


def test_an_arrow_over_several_columns_goes_around_the_boxes_between():
    sizes = dict.fromkeys("abc", (10, 10))
    layout = lay_out(sizes, [("a", "b"), ("b", "c"), ("a", "c")], **GAPS)
    _, _, low, high = edges(layout, sizes, "b")
    for _, y in layout.routes["a", "c"][1:-1]:
        assert y < low or y > high


def test_a_label_gets_the_room_that_it_needs():
    sizes = dict.fromkeys("ab", (10, 4))
    layout = lay_out(sizes, [("a", "b")], **GAPS, rooms={("a", "b"): 70})
    assert layout.width == 90


def test_nothing_needs_no_room():
    layout = lay_out({}, [], **GAPS)
    assert (layout.centers, layout.width, layout.height) == ({}, 0.0, 0.0)


def test_a_long_chain_and_many_parts():
    n = 1000
    sizes = {str(k): (10, 4) for k in range(n)}
    assert lay_out(sizes, [(str(k), str(k + 1)) for k in range(n - 1)], **GAPS).height == 4
    assert lay_out(sizes, [], **GAPS).width == 10


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        pytest.param([0, 10, 20], [0, 10, 20], id="apart"),
        pytest.param([0, 0, 0], [-2, 0, 2], id="together"),
        pytest.param([20, 0], [9, 11], id="in-the-wrong-order"),
    ],
)
def test_places_are_the_nearest_that_do_not_overlap(wanted, places):
    assert _separated(wanted, [2] * len(wanted), [1] * len(wanted)) == places


def test_what_weighs_more_moves_less():
    assert _separated([0, 0], [2, 2], [3, 1]) == [-0.5, 1.5]
