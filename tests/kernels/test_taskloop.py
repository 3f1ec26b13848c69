from __future__ import annotations

import collections
import functools
import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels.loops import (
    KERNELS,
    Argument,
    both_loops,
    compare,
    constant,
    elements,
    from_column,
    kernel_loop,
    slices,
)
from kernels.values import (
    FIXED_DTYPES,
    LAYOUTS,
    SCALARS,
    ArraySubclass,
    arrays,
    fill,
    identical,
    lay_out,
    scalars,
    task_shapes,
)


def first(**kwargs):
    return next(iter(kwargs.values()))


def gather(*args, **kwargs):
    return [*args, kwargs]


class Places:
    """Indexable by anything; gives back the index."""

    def __getitem__(self, index):
        return ("at", index)


class SquareList(list):
    def __getitem__(self, index):
        return super().__getitem__(index) ** 2


class HalfArray(np.ndarray):
    def __getitem__(self, index):
        return "item", super().__getitem__(index)


@pytest.mark.parametrize("kind", ["list", "array"])
@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        pytest.param([(0,), (0,)], (3,), ["0 0", "1 1", "2 2"], id="zip"),
        pytest.param([(0,), (1,)], (2, 2), ["0 0", "0 1", "1 0", "1 1"], id="outer"),
        pytest.param(
            [(1,), (0,)], (2, 3), ["0 0", "1 0", "2 0", "0 1", "1 1", "2 1"], id="transposed output"
        ),
        pytest.param([(0,), (2,)], (2, 1, 2), ["0 0", "0 1", "1 0", "1 1"], id="an axis that nothing uses"),
        pytest.param([(0,), (1,)], (0, 2), [], id="zero length"),
    ],
)
@both_loops
def test_index_by_hand(kind, axes, shape, expected, loop) -> None:
    inputs = [list(range(shape[own[0]])) for own in axes]
    values = inputs if kind == "list" else [np.array(v, dtype=int) for v in inputs]
    arguments = {"a": elements(values[0], *axes[0]), "b": elements(values[1], *axes[1])}
    outcome = compare(loop, lambda a, b: f"{a} {b}", arguments, shape)
    assert outcome.values == [expected]


@both_loops
def test_a_matrix_a_column_of_it_and_its_transpose(loop) -> None:
    matrix = np.arange(6).reshape(2, 3)
    arguments = {
        "m": elements(matrix, 0, 1),
        "t": elements(matrix.T, 1, 0),
        "row": slices(matrix, 0, None),
        "column": slices(matrix, None, 1),
        "whole": slices(matrix, None, None),
    }

    def check(m, t, row, column, whole):
        assert m == t
        return [int(m), row.tolist(), column.tolist(), whole.shape]

    outcome = compare(loop, check, arguments, (2, 3))
    assert outcome.values[0][4] == [4, [3, 4, 5], [1, 4], (2, 3)]


@both_loops
def test_a_task_of_no_axes_runs_once(loop) -> None:
    arguments = {"a": elements(np.array(2.5)), "b": constant("b"), "c": from_column([7], shape=())}
    assert compare(loop, gather, arguments, ()).values == [[[{"a": 2.5, "b": "b", "c": 7}]]]


@both_loops
def test_a_function_of_no_parameters(loop) -> None:
    assert compare(loop, lambda: 7, {}, (2, 2)).values == [[7] * 4]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [*FIXED_DTYPES, np.dtype(object)], ids=lambda d: f"{d.char} {d}")
@both_loops
def test_elements_of_every_dtype_and_layout(loop, dtype, layout) -> None:
    array = lay_out(fill((3, 2), dtype, 5), layout)
    outcome = compare(loop, first, {"x": elements(array, 0, 1)}, (3, 2))
    assert all(map(identical, outcome.values[0], [array[i, j] for i in range(3) for j in range(2)]))
    compare(loop, gather, {"x": elements(array, 1, 0), "y": slices(array, None, 0)}, (2, 3))


@pytest.mark.parametrize("value", SCALARS.values(), ids=SCALARS)
@both_loops
def test_each_scalar_as_argument_and_result(loop, value) -> None:
    seen = []

    def note(x, c):
        seen.append((x, c))
        return x

    runner, (result,) = kernel_loop(
        loop, note, {"x": elements([value, value], 0), "c": constant(value)}, (2,)
    )
    assert runner.run(0, 2) == 2
    assert all(x is value and c is value for x, c in seen)
    assert len(seen) == 2
    assert identical(result.load(1), value)
    column_argument = {"x": from_column([value, value], 0, shape=(2,))}
    compare(loop, first, column_argument, (2,))
    compare(loop, gather, column_argument, (2,))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(range(4), id="range"),
        pytest.param(range(10, -2, -3), id="range backwards"),
        pytest.param(range(2**70, 2**70 + 8, 2), id="range beyond int64"),
        pytest.param(range(2**63 - 2, 2**63 + 2), id="range across int64"),
        pytest.param(range(-(2**63), -(2**63) + 4), id="range from int64 min"),
        pytest.param(range(0, 2**66, 2**64), id="range with a huge step"),
        pytest.param([1, 2.0, None, "x"], id="list"),
        pytest.param(SquareList([1, 2, 3, 4]), id="list subclass with its own indexing"),
        pytest.param((1, 2.0, None, "x"), id="tuple"),
        pytest.param("text", id="str"),
        pytest.param(b"text", id="bytes"),
        pytest.param(bytearray(b"text"), id="bytearray"),
        pytest.param(memoryview(b"text"), id="memoryview"),
        pytest.param(collections.deque([1, 2, 3, 4]), id="deque"),
        pytest.param(collections.UserList([1, 2, 3, 4]), id="UserList"),
        pytest.param({0: "a", 1: "b", 2: "c", 3: "d"}, id="dict"),
        pytest.param(Places(), id="__getitem__ only"),
        pytest.param(np.arange(4.0).view(ArraySubclass), id="ndarray subclass"),
        pytest.param(np.arange(4.0).view(HalfArray), id="ndarray subclass with its own indexing"),
        pytest.param(np.ma.masked_array([1, 2, 3, 4], mask=[0, 1, 0, 1]), id="masked array"),
        pytest.param(np.rec.array([(1, 2.0)] * 4, dtype=[("a", "i4"), ("b", "f8")]), id="record array"),
        pytest.param(np.char.array(["a", "b ", "c", "d"]), id="char array"),
        pytest.param(np.arange(8.0).reshape(4, 2), id="rows of an array by one axis"),
    ],
)
@both_loops
def test_elements_are_what_indexing_gives(loop, value) -> None:
    if isinstance(value, np.ndarray) and value.ndim == 2:
        outcome = compare(loop, first, {"x": slices(value, 0, None)}, (4,))
        assert all(map(identical, outcome.values[0], list(value)))
        return
    outcome = compare(loop, gather, {"x": elements(value, 1)}, (2, 4))
    assert all(identical(outcome.values[0][4 + i], [{"x": value[i]}]) for i in range(4))


@both_loops
def test_a_generic_value_is_indexed_by_an_int_or_a_tuple(loop) -> None:
    arguments = {
        "one": elements(Places(), 1),
        "two": elements(Places(), 1, 0),
        "none": elements(Places()),
        "sliced": slices(Places(), 0, None, 1),
    }
    outcome = compare(loop, gather, arguments, (2, 3))
    last = outcome.values[0][5][0]
    assert last["one"] == ("at", 2)
    assert last["two"] == ("at", (2, 1))
    assert last["sliced"] == ("at", (1, slice(None), 2))
    assert type(last["one"][1]) is int
    assert {type(i) for i in last["two"][1]} == {int}


@both_loops
def test_a_column_of_arrays_gives_writable_copies(loop) -> None:
    rows = [np.full(2, float(i)) for i in range(3)]

    def spoil(x):
        x += 1
        return x.sum()

    argument = from_column(rows, 0, shape=(3,), layout=(np.dtype("f8"), (2,)))
    assert compare(loop, spoil, {"x": argument}, (3, 2)).values == [[2, 2, 4, 4, 6, 6]]


@both_loops
def test_objects_keep_their_identity_through_a_column(loop) -> None:
    things = [object(), [], np.zeros(2), print]
    source = KERNELS.Column(4)
    for i, thing in enumerate(things):
        source.store(i, thing)
    argument = Argument("elements", source, (0,))
    argument.source = lambda kit: kit.elements(source, (0,), (4,))  # type: ignore[method-assign]
    runner, (result,) = kernel_loop(loop, first, {"x": argument}, (4,))
    runner.run(0, 4)
    assert all(result.load(i) is thing for i, thing in enumerate(things))


@st.composite
def any_argument(draw, shape) -> Argument:
    kind = draw(st.sampled_from(["array", "list", "range", "constant", "slices", "column", "places"]))
    axis = st.integers(0, len(shape) - 1) if shape else st.nothing()
    if kind in ("list", "range") and shape:
        one = draw(axis)
        if kind == "range":
            begin, step = draw(st.integers(-(2**65), 2**65)), draw(st.sampled_from([1, -1, 3, 2**62]))
            return elements(range(begin, begin + step * shape[one], step), one)
        return elements(draw(st.lists(scalars, min_size=shape[one], max_size=shape[one])), one)
    if kind == "constant":
        return constant(draw(scalars))
    axes = draw(st.lists(axis, max_size=3)) if shape else []
    sizes = tuple(shape[a] for a in axes)
    if kind == "places":
        return elements(Places(), *axes)
    if kind == "column":
        n_values = math.prod(sizes)
        return from_column(draw(st.lists(scalars, min_size=n_values, max_size=n_values)), *axes, shape=sizes)
    if kind == "slices":
        mixed = draw(st.permutations([*axes, None]))
        array = draw(arrays(tuple(2 if a is None else shape[a] for a in mixed)))
        return slices(array, *mixed)
    return elements(draw(arrays(sizes)), *axes)


@pytest.mark.slow
@given(shape=task_shapes(60), data=st.data())
@both_loops
def test_any_arguments_equal_the_reference(loop, shape, data) -> None:
    names = ["a", "b", "c", "d"][: data.draw(st.integers(1, 4))]
    arguments = {name: data.draw(any_argument(shape)) for name in names}
    start = data.draw(st.integers(0, math.prod(shape)))
    stop = data.draw(st.integers(start, math.prod(shape)))
    n_positional = data.draw(st.integers(0, len(names)))
    compare(loop, gather, arguments, shape, span=(start, stop), n_positional=n_positional)
    compare(loop, first, arguments, shape, span=(start, stop))


class Scale:
    def __init__(self, factor=2) -> None:
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    def __eq__(self, other):
        return self.factor == other.factor

    __hash__ = None

    def method(self, x):
        return self.factor + x


@functools.cache
def cached(x):
    return x - 1


@pytest.mark.parametrize(
    ("function", "names", "n_positional"),
    [
        pytest.param(math.sin, ["x"], 1, id="builtin"),
        pytest.param(operator.add, ["x", "y"], 2, id="builtin of two"),
        pytest.param(math.prod, ["start"], 0, id="builtin that misses an argument"),
        pytest.param(np.sin, ["x"], 1, id="ufunc"),
        pytest.param(float, ["x"], 1, id="class"),
        pytest.param(complex, ["real", "imag"], 0, id="class by keyword"),
        pytest.param(np.float32, ["x"], 1, id="numpy class"),
        pytest.param("{}/{y}".format, ["x", "y"], 1, id="builtin method, mixed"),
        pytest.param(float.__add__, ["x", "y"], 2, id="slot wrapper"),
        pytest.param(Scale(), ["x"], 0, id="callable instance"),
        pytest.param(Scale(3).method, ["x"], 0, id="bound method"),
        pytest.param(Scale, ["factor"], 0, id="user class"),
        pytest.param(functools.partial(pow, 2.0), ["exp"], 0, id="partial"),
        pytest.param(functools.partial(lambda x, k: (x, k), k=[]), ["x"], 0, id="partial with keyword"),
        pytest.param(cached, ["x"], 0, id="lru_cache"),
        pytest.param(lambda x, /, y: (x, y), ["x", "y"], 1, id="positional-only"),
        pytest.param(lambda *, x, y=3: (x, y), ["x"], 0, id="keyword-only with default"),
        pytest.param(lambda *a, **k: (a, k), ["x", "a.b", "é"], 1, id="names that are no identifiers"),
        pytest.param(lambda y: y, ["x"], 0, id="unexpected keyword"),
    ],
)
@both_loops
def test_callables(loop, function, names, n_positional) -> None:
    arguments = {name: elements(np.array([0.5, 1.5, 2.5]) + k, 0) for k, name in enumerate(names)}
    compare(loop, function, arguments, (3,), n_positional=n_positional)


Pair = collections.namedtuple("Pair", ["left", "right"])


class Backwards(tuple):
    __slots__ = ()

    def __getitem__(self, index):
        return super().__getitem__(-1 - index)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda x: (x, -x), id="tuple"),
        pytest.param(lambda x: [x, -x], id="list"),
        pytest.param(Pair._make, id="namedtuple of too few"),
        pytest.param(lambda x: Pair(x, -x), id="namedtuple"),
        pytest.param(lambda x: Backwards((x, -x)), id="tuple subclass with its own indexing"),
        pytest.param(lambda x: SquareList([x, -x]), id="list subclass with its own indexing"),
        pytest.param(lambda x: np.array([x, -x]), id="ndarray"),
        pytest.param(lambda x: np.array([[x], [-x]]), id="ndarray of two dimensions"),
        pytest.param(lambda x: {1: x, 0: -x}, id="dict"),
        pytest.param(lambda x: Places(), id="__getitem__ only"),
        pytest.param(lambda x: (x, -x, "extra"), id="longer tuple"),
        pytest.param(lambda x: (x,), id="shorter tuple"),
        pytest.param(lambda x: [], id="empty list"),
        pytest.param(lambda x: x, id="not indexable"),
        pytest.param(lambda x: None, id="None"),
        pytest.param(lambda x: "", id="empty string"),
        pytest.param(lambda x: iter((x, x)), id="iterator"),
        pytest.param(lambda x: (x, x) if x < 2 else (x,), id="shorter later"),
    ],
)
@pytest.mark.parametrize("capture_errors", [False, True], ids=["raise", "capture"])
@both_loops
def test_unpacked_results(loop, make, capture_errors) -> None:
    arguments = {"x": elements(np.array([1.0, 2.0, 3.0]), 0)}
    compare(loop, make, arguments, (3,), n_columns=2, n_positional=1, capture_errors=capture_errors)


@both_loops
def test_unpacking_into_one_column(loop) -> None:
    arguments = {"x": elements([1, 2], 0)}
    assert compare(loop, lambda x: (x,), arguments, (2,), unpack=True).values == [[1, 2]]


@both_loops
def test_arrays_of_the_layout_go_to_the_slab(loop) -> None:
    runner, (result,) = kernel_loop(loop, lambda n: np.arange(3) + n, {"n": elements(range(4), 0)}, (4,))
    result.fix_layout(np.dtype("i8"), (3,))
    assert runner.run(0, 4) == 4
    assert result.slab().tolist() == [[n, n + 1, n + 2] for n in range(4)]
