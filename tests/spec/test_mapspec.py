from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timing import assert_grows_less

from pipefunc_c._spec.arrayspec import ArraySpec
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c.exceptions import InvalidTypeError, MapSpecError, OutOfBoundsError, ShapeError

INDICES = ["i", "j", "k", "m", "n"]
NAMES = ["a", "b", "c", "d", "s.e", "über"]


@st.composite
def mapspecs(draw):
    """Any valid MapSpec, some of them with whole, internal and repeated axes."""
    axes = tuple(draw(st.permutations(draw(st.lists(st.sampled_from(INDICES), unique=True, min_size=1)))))
    names = draw(st.permutations(NAMES))
    n_outputs = draw(st.integers(1, 2))
    n_inputs = draw(st.integers(0, 3))
    outputs = tuple(ArraySpec(name, axes) for name in names[:n_outputs])
    axis = st.one_of(st.none(), st.sampled_from(axes))
    inputs = tuple(
        ArraySpec(name, tuple(draw(st.lists(axis, min_size=1, max_size=3))))
        for name in names[n_outputs : n_outputs + n_inputs]
    )
    return MapSpec(inputs, outputs)


def shapes_for(spec, sizes):
    return {s.name: tuple(sizes.get(axis, 2) for axis in s.axes) for s in spec.inputs}


@given(mapspecs())
def test_text_round_trip(spec):
    assert MapSpec.from_string(spec.to_string()) == spec
    assert str(spec) == spec.to_string()
    assert MapSpec.from_string(str(spec).replace(" ", "")) == spec


@given(mapspecs(), st.lists(st.integers(1, 3), min_size=5, max_size=5))
def test_keys_agree_with_unravel_index(spec, sizes):
    size_of = dict(zip(INDICES, sizes, strict=True))
    shape = tuple(size_of[index] for index in spec.external_indices)
    for linear in range(math.prod(shape)):
        expected = tuple(int(k) for k in np.unravel_index(linear, shape)) if shape else ()
        assert spec.output_key(shape, linear) == expected
        position = dict(zip(spec.external_indices, expected, strict=True))
        keys = spec.input_keys(shape, linear)
        assert list(keys) == list(spec.input_names)
        for array in spec.inputs:
            whole = slice(None)
            assert keys[array.name] == tuple(whole if axis is None else position[axis] for axis in array.axes)


@given(mapspecs(), st.lists(st.integers(0, 4), min_size=5, max_size=5))
def test_shape_follows_the_indices(spec, sizes):
    size_of = dict(zip(INDICES, sizes, strict=True))
    shape, mask = spec.shape(shapes_for(spec, size_of))
    for index, size, external in zip(spec.output_indices, shape, mask, strict=True):
        assert external == (index in spec.input_indices)
        assert size == (size_of[index] if external else "?")
    internal = tuple(size_of[index] for index in spec.internal_indices)
    full, _ = spec.shape(shapes_for(spec, size_of), {spec.output_names[-1]: internal})
    assert full == tuple(size_of[index] for index in spec.output_indices)


def test_keys_by_hand():
    spec = MapSpec.from_string("x[i, j], y[j, :], w[k] -> z[j, i, k]")
    assert spec.input_names == ("x", "y", "w")
    assert spec.output_names == ("z",)
    assert spec.output_indices == ("j", "i", "k")
    assert spec.input_indices == {"i", "j", "k"}
    # 3 * 2 * 4 tasks, the last axis moves fastest: 13 = (1 * 2 + 1) * 4 + 1
    assert spec.output_key((3, 2, 4), 13) == (1, 1, 1)
    assert spec.input_keys((3, 2, 4), 18) == {"x": (0, 2), "y": (2, slice(None)), "w": (2,)}
    assert spec.task_axes == {"x": (1, 0), "y": (0, None), "w": (2,)}


def test_keys_are_python_integers():
    spec = MapSpec.from_string("x[i] -> y[i]")
    (position,) = spec.output_key((np.int64(5),), np.int64(3))
    assert type(position) is int


def test_mask_follows_the_order_of_the_output():
    spec = MapSpec.from_string("x[i] -> y[j, i, k]")
    assert spec.external_indices == ("i",)
    assert spec.internal_indices == ("j", "k")
    assert spec.shape({"x": (5,)}, {"y": (2, 3)}) == ((2, 5, 3), (False, True, False))


def test_diagonal():
    spec = MapSpec.from_string("x[i, i] -> y[i]")
    assert spec.shape({"x": (3, 3)}) == ((3,), (True,))
    assert spec.input_keys((3,), 2) == {"x": (2, 2)}
    with pytest.raises(ShapeError, match="'x' has 3, 'x' has 4"):
        spec.shape({"x": (3, 4)})


def test_without_inputs():
    spec = MapSpec((), (ArraySpec("x", ("i",)),))
    assert str(spec) == "... -> x[i]"
    assert spec.shape({}) == (("?",), (False,))
    assert spec.shape({}, {"x": 4}) == ((4,), (False,))
    assert spec.output_key((), 0) == ()
    assert MapSpec.from_string(" ...->x[i]") == spec


@pytest.mark.parametrize(
    ("text", "offender"),
    [
        ("x[i], y[i]", "0 '->'"),
        ("x[i] -> y[i] -> z[i]", "2 '->'"),
        ("x -> y[i]", "'x'"),
        ("x[i] -> y", "'y'"),
        ("x[i -> y[i]", r"'x\[i'"),
        ("x i] -> y[i]", "'x i]'"),
        ("x[i]] -> y[i]", "before ']'"),
        ("x[i] y[i] -> z[i]", "before 'y"),
        ("x[i],, y[i] -> z[i]", "', y"),
        ("x[i], -> z[i]", "cannot read ''"),
        ("", "0 '->'"),
        (" -> y[i]", "cannot read ''"),
        ("x[i] -> ", "cannot read ''"),
        ("x[i] -> ...", "on the right"),
        ("..., x[i] -> y[i]", r"'\.\.\., x\[i\]'"),
        ("x[] -> y[i]", "index ''"),
        ("x[i,] -> y[i]", "index ''"),
        ("x[1] -> y[i]", "index '1'"),
        ("x[i-j] -> y[i]", "index 'i-j'"),
        ("a-b[i] -> y[i]", "name 'a-b'"),
        ("a.b.c[i] -> y[i]", "name 'a.b.c'"),
        ("x[i] -> y[:]", r"output 'y\[:\]' has a ':'"),
        ("x[i] -> y[i, :]", r"output 'y\[i, :\]' has a ':'"),
        ("x[i] -> y[i, i]", r"output 'y\[i, i\]' uses an index twice"),
        ("x[i] -> y[i], z[j]", r"'y\[i\]' and 'z\[j\]' differ"),
        ("x[i, j] -> y[i, j], z[j, i]", "differ"),
        ("x[i], w[i, j] -> y[i]", r"index 'j' of input 'w\[i, j\]'"),
        ("x[i], x[j] -> y[i, j]", "name 'x' occurs twice"),
        ("x[i] -> y[i], y[i]", "name 'y' occurs twice"),
        ("x[i] -> x[i]", "name 'x' occurs twice"),
    ],
)
def test_malformed_text_names_the_offender(text, offender):
    with pytest.raises(MapSpecError, match=offender) as caught:
        MapSpec.from_string(text)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("text", [None, 1, b"x[i] -> y[i]"])
def test_text_must_be_str(text):
    with pytest.raises(InvalidTypeError, match="must be a str") as caught:
        MapSpec.from_string(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("inputs", ["x[i]", ["x[i]"], None], ids=["str", "list of str", "None"])
def test_sides_must_hold_arrayspecs(inputs):
    with pytest.raises(InvalidTypeError, match="inputs of a MapSpec") as caught:
        MapSpec(inputs, (ArraySpec("y", ("i",)),))
    assert repr(inputs) in str(caught.value)


def test_needs_an_output():
    with pytest.raises(MapSpecError, match="at least one output"):
        MapSpec((ArraySpec("x", ("i",)),), ())


@pytest.mark.parametrize(
    ("shapes", "internal", "error", "offender"),
    [
        ({"x": (2,)}, None, ShapeError, r"\['w'\] are missing"),
        ({"x": (2,), "w": (2,), "v": (2,)}, None, ShapeError, r"\['v'\], which are no inputs"),
        ({"x": (2, 2), "w": (2,)}, None, ShapeError, r"'x' has shape \(2, 2\)"),
        ({"x": (2,), "w": (3,)}, None, ShapeError, "along 'i': 'x' has 2, 'w' has 3"),
        ({"x": (2.5,), "w": (2,)}, None, InvalidTypeError, "'x' must be an int or '\\?', got 2.5"),
        ({"x": (2,), "w": (2,)}, {"y": (3,)}, ShapeError, r"\(3,\) of 'y' is too short"),
        ({"x": (2,), "w": (2,)}, {"y": 3}, ShapeError, r"\(3,\) of 'y' is too short"),
        ({"x": (2,), "w": (2,)}, {"y": (3, "x")}, InvalidTypeError, "'y' must be an int or '\\?', got 'x'"),
        ({"x": (2,), "w": (2,)}, {"y": (3, -1)}, ShapeError, "'y' is negative: -1"),
    ],
    ids=[
        "missing",
        "extra",
        "rank",
        "zip",
        "type",
        "short",
        "short int",
        "internal type",
        "negative",
    ],
)
def test_shape_errors_name_the_offender(shapes, internal, error, offender):
    spec = MapSpec.from_string("x[i], w[i] -> y[i, j, k]")
    with pytest.raises(error, match=offender):
        spec.shape(shapes, internal)


def test_unknown_sizes_stay_unknown_until_one_array_knows():
    spec = MapSpec.from_string("x[i], w[i, j] -> y[i, j, k]")
    assert spec.shape({"x": ("?",), "w": ("?", 3)}) == (("?", 3, "?"), (True, True, False))
    assert spec.shape({"x": (2,), "w": ("?", 3)})[0] == (2, 3, "?")
    assert spec.shape({"x": ("?",), "w": (2, 3)}, {"y": "?"})[0] == (2, 3, "?")


def test_sizes_of_elements_behind_the_internal_axes_are_ignored():
    spec = MapSpec.from_string("x[i] -> y[i, j]")
    assert spec.shape({"x": (2,)}, {"y": (3, 4)}) == ((2, 3), (True, False))


@pytest.mark.parametrize("method", ["output_key", "input_keys"])
class TestBadTask:
    spec = MapSpec.from_string("x[i], y[j] -> z[i, j, k]")

    def test_wrong_rank(self, method):
        with pytest.raises(ShapeError, match=r"\(2, 3, 4\) has 3 sizes.*2 external axes \('i', 'j'\)"):
            getattr(self.spec, method)((2, 3, 4), 0)

    def test_unknown_size(self, method):
        with pytest.raises(ShapeError, match=r"\(2, '\?'\).*unknown size"):
            getattr(self.spec, method)((2, "?"), 0)

    @pytest.mark.parametrize("linear", [-1, 6])
    def test_out_of_bounds(self, method, linear):
        with pytest.raises(OutOfBoundsError, match=f"task {linear} is outside of the 6 tasks") as caught:
            getattr(self.spec, method)((2, 3), linear)
        assert isinstance(caught.value, IndexError)


def test_add_axes():
    spec = MapSpec.from_string("x[i], y[:] -> z[i]")
    assert str(spec.add_axes("j", "k")) == "x[i, j, k], y[:, j, k] -> z[i, j, k]"
    with pytest.raises(MapSpecError, match="index 'i' is already an axis"):
        spec.add_axes("i")
    with pytest.raises(MapSpecError, match="has a ':'"):
        spec.add_axes(None)


def test_rename():
    spec = MapSpec.from_string("x[i], y[j] -> z[i, j]")
    assert str(spec.rename({"x": "y", "y": "x", "z": "s.z", "other": "w"})) == "y[i], x[j] -> s.z[i, j]"
    with pytest.raises(MapSpecError, match="'y' occurs twice"):
        spec.rename({"x": "y"})
    assert str(spec.rename_axes({"i": "j", "j": "i"})) == "x[j], y[i] -> z[j, i]"
    with pytest.raises(MapSpecError, match="uses an index twice"):
        spec.rename_axes({"i": "j"})


def test_is_a_value():
    spec = MapSpec.from_string("x[i] -> y[i]")
    same = MapSpec([ArraySpec("x", ["i"])], [ArraySpec("y", ["i"])], generated=True)
    assert spec == same
    assert hash(spec) == hash(same)
    assert spec != MapSpec.from_string("x[j] -> y[j]")
    with pytest.raises(AttributeError):
        spec.inputs = ()


def test_generated_survives_pickle_and_changes():
    spec = MapSpec((), (ArraySpec("x", ("i",)),), generated=True)
    assert spec.external_indices == ()  # cached values must not get in the way of pickle
    for copy in (pickle.loads(pickle.dumps(spec)), spec.rename({"x": "y"}), spec.add_axes("j")):
        assert copy.generated
    assert not MapSpec.from_string(str(spec)).generated


def test_reading_is_linear():
    def make(n):
        text = (
            ", ".join(f"x{k}[i{k}]" for k in range(n)) + " -> y[" + ", ".join(f"i{k}" for k in range(n)) + "]"
        )
        return lambda: MapSpec.from_string(text).shape({f"x{k}": (2,) for k in range(n)})

    assert_grows_less(make, 400, 4000, 30)  # 10 if linear, 100 if quadratic
