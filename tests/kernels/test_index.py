from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from kernels.values import lay_out, task_shapes

from pipefunc_c._kernels.index import axis_strides, intersect_runs, runs_of, walk


@st.composite
def sorted_runs(draw: st.DrawFn) -> np.ndarray:
    cuts = sorted(draw(st.sets(st.integers(0, 60), max_size=12)))
    return np.array(cuts[: len(cuts) // 2 * 2], dtype=np.int64).reshape(-1, 2)


@pytest.mark.parametrize(
    ("strides", "axes", "ndim", "expected"),
    [
        pytest.param((8,), (0,), 1, (8,), id="zip"),
        pytest.param((8,), (1,), 2, (0, 8), id="outer: does not move with the first axis"),
        pytest.param((24, 8), (1, 0), 2, (8, 24), id="transposed"),
        pytest.param((24, 8), (0, 0), 1, (32,), id="diagonal"),
        pytest.param((-8,), (2,), 3, (0, 0, -8), id="reversed"),
        pytest.param((), (), 2, (0, 0), id="0-d input"),
        pytest.param((), (), 0, (), id="0-d task"),
    ],
)
def test_axis_strides_by_hand(strides, axes, ndim, expected) -> None:
    assert axis_strides(strides, axes, ndim) == expected
    assert reference.axis_strides(strides, axes, ndim) == expected
    assert axis_strides(list(strides), list(axes), ndim) == expected


@given(st.data())
def test_axis_strides_equal_the_reference(data) -> None:
    ndim = data.draw(st.integers(1, 5))
    pairs = data.draw(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(0, ndim - 1)), max_size=6))
    strides, axes = [p[0] for p in pairs], [p[1] for p in pairs]
    assert axis_strides(strides, axes, ndim) == reference.axis_strides(strides, axes, ndim)


@pytest.mark.parametrize(
    ("axes", "ndim"), [((0,), 0), ((2,), 2), ((-1,), 2)], ids=["0-d task", "too large", "negative"]
)
def test_axis_strides_reject_an_axis_the_task_does_not_have(axes, ndim) -> None:
    with pytest.raises((ValueError, IndexError)):
        axis_strides((8,), axes, ndim)


def test_axis_strides_reject_lengths_that_differ() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        axis_strides((8, 8), (0,), 2)


@pytest.mark.parametrize(
    ("shape", "strides", "span", "expected"),
    [
        pytest.param((4,), [(8,)], (1, 3), [[8, 16]], id="zip"),
        pytest.param(
            (2, 3), [(8, 0), (0, 8)], (0, 6), [[0, 0, 0, 8, 8, 8], [0, 8, 16, 0, 8, 16]], id="outer"
        ),
        pytest.param((2, 3), [(8, 16)], (2, 5), [[32, 8, 24]], id="transposed, starts within a row"),
        pytest.param((2, 2, 2), [(4, -2, 1)], (3, 8), [[-1, 4, 5, 2, 3]], id="3-d, negative stride"),
        pytest.param((), [(), ()], (0, 1), [[0], [0]], id="0-d"),
        pytest.param((0, 3), [(8, 8)], (0, 0), [[]], id="zero length"),
        pytest.param((3,), [], (0, 3), [], id="no inputs"),
        pytest.param(
            (2, 2), [(2**40, -(2**41))], (0, 4), [[0, -(2**41), 2**40, -(2**40)]], id="beyond 32 bits"
        ),
    ],
)
def test_walk_by_hand(shape, strides, span, expected) -> None:
    result = walk(shape, strides, *span)
    assert result.dtype == np.int64
    assert result.shape == (len(strides), span[1] - span[0])
    assert result.tolist() == expected
    assert reference.walk(shape, strides, *span).tolist() == expected


@given(task_shapes(), st.data())
def test_walk_equals_the_reference(shape, data) -> None:
    n_tasks = math.prod(shape)
    start = data.draw(st.integers(0, n_tasks))
    stop = data.draw(st.integers(start, n_tasks))
    row = st.tuples(*[st.integers(-1000, 1000) for _ in shape])
    strides = data.draw(st.lists(row, max_size=5))
    assert np.array_equal(walk(shape, strides, start, stop), reference.walk(shape, strides, start, stop))


VIEWS = {
    "whole": lambda a: a,
    "reversed": lambda a: a[(*(slice(None, None, -1),) * a.ndim, ...)],
    "sliced": lambda a: a[(*(slice(1, None, 2),) * a.ndim, ...)],
    "broadcast": lambda a: np.broadcast_to(a[:1] if a.ndim else a, a.shape),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@given(shape=task_shapes(), data=st.data())
def test_walk_reaches_the_elements_of_an_array(view, shape, data) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    axes = order[: data.draw(st.integers(0, len(shape)))]
    sizes = tuple(2 * shape[a] for a in axes)
    memory = np.arange(math.prod(sizes)).reshape(sizes)  # each element tells its own place
    array = view(memory)
    (offsets,) = walk(shape, [axis_strides(array.strides, axes, len(shape))], 0, math.prod(shape))
    for task, index in enumerate(np.ndindex(shape)):
        element = array[tuple(index[a] for a in axes)]
        assert offsets[task] == (element - array[(0,) * array.ndim]) * array.itemsize


@pytest.mark.parametrize(
    "span", [(-1, 2), (0, 5), (3, 2), (5, 6)], ids=["negative", "beyond the end", "backwards", "outside"]
)
def test_walk_rejects_bad_ranges(span) -> None:
    with pytest.raises((ValueError, IndexError)):
        walk((4,), [(8,)], *span)


def test_walk_rejects_strides_of_another_rank() -> None:
    with pytest.raises((ValueError, IndexError)):
        walk((2, 2), [(8,)], 0, 4)


def test_walk_rejects_a_negative_size() -> None:
    with pytest.raises((ValueError, IndexError)):
        walk((-2, -2), [(8, 8)], 0, 4)


@pytest.mark.parametrize(
    ("runs", "span", "expected"),
    [
        pytest.param([(0, 10)], (3, 5), [(3, 5)], id="inside one run"),
        pytest.param([(0, 2), (4, 6), (8, 9)], (1, 8), [(1, 2), (4, 6)], id="clips both ends"),
        pytest.param([(0, 2), (4, 6)], (2, 4), [], id="in a gap"),
        pytest.param([], (0, 9), [], id="no runs"),
        pytest.param([(2, 4)], (3, 3), [], id="empty range"),
        pytest.param([(2, 4)], (4, 9), [], id="touches the end"),
        pytest.param([(2**40, 2**41)], (2**40 + 1, 2**60), [(2**40 + 1, 2**41)], id="beyond 32 bits"),
    ],
)
def test_intersect_runs_by_hand(runs, span, expected) -> None:
    given_runs = np.array(runs, dtype=np.int64).reshape(-1, 2)
    result = intersect_runs(given_runs, *span)
    assert result.dtype == np.int64
    assert result.shape == (len(expected), 2)
    assert list(map(tuple, result.tolist())) == expected
    assert np.array_equal(reference.intersect_runs(given_runs, *span), result)


@given(sorted_runs(), st.integers(0, 60), st.integers(0, 60))
def test_intersect_runs_equals_the_reference(runs, start, length) -> None:
    runs.flags.writeable = False
    result = intersect_runs(runs, start, start + length)
    assert np.array_equal(result, reference.intersect_runs(runs, start, start + length))


def test_intersect_runs_gives_a_fresh_array() -> None:
    runs = np.array([[0, 4]], dtype=np.int64)
    result = intersect_runs(runs, 0, 4)
    result[...] = 9
    assert runs.tolist() == [[0, 4]]


def test_intersect_runs_reads_runs_in_any_layout() -> None:
    runs = np.array([[0, 4], [2, 6]], dtype=np.int64).T  # columns are contiguous
    assert intersect_runs(runs, 1, 5).tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param([], [], id="empty"),
        pytest.param([0, 0], [], id="none"),
        pytest.param([1, 1], [(0, 2)], id="all"),
        pytest.param([1, 0, 1, 1, 0, 1], [(0, 1), (2, 4), (5, 6)], id="both ends and the middle"),
        pytest.param([0, 1, 1, 0], [(1, 3)], id="the middle"),
    ],
)
def test_runs_of_by_hand(mask, expected) -> None:
    result = runs_of(np.array(mask, dtype=bool))
    assert result.dtype == np.int64
    assert result.shape == (len(expected), 2)
    assert list(map(tuple, result.tolist())) == expected


@given(
    st.lists(st.booleans(), max_size=100), st.sampled_from(["contiguous", "reversed", "sliced", "read-only"])
)
def test_runs_of_equals_the_reference_and_goes_back_to_the_mask(bits, layout) -> None:
    mask = lay_out(np.array(bits, dtype=bool), layout)
    result = runs_of(mask)
    assert np.array_equal(result, reference.runs_of(mask))
    back = np.zeros(len(mask), dtype=bool)
    for begin, end in result:
        back[begin:end] = True
    assert np.array_equal(back, mask)


@pytest.mark.parametrize(
    "function", [lambda: runs_of(None), lambda: intersect_runs(None, 0, 1)], ids=["mask", "runs"]
)
def test_none_is_refused(function) -> None:
    with pytest.raises((TypeError, ValueError)):
        function()
