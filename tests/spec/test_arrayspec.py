from __future__ import annotations

import pytest

from pipefunc_c._spec.arrayspec import ArraySpec, parse_arrays
from pipefunc_c.exceptions import InvalidTypeError, MapSpecError, ShapeError


def test_rank_indices_and_text():
    spec = ArraySpec("scope.x", ("i", None, "j"))
    assert spec.rank == 3
    assert spec.indices == ("i", "j")
    assert str(spec) == "scope.x[i, :, j]"


def test_is_a_value():
    assert ArraySpec("x", ["i"]) == ArraySpec("x", ("i",))
    assert hash(ArraySpec("x", ["i"])) == hash(ArraySpec("x", ("i",)))
    with pytest.raises(AttributeError):
        ArraySpec("x", ("i",)).name = "y"


@pytest.mark.parametrize("name", ["a-b", "1x", "", "a.b.c", ".x", "x.", "x y"])
def test_name_must_be_identifier(name):
    with pytest.raises(MapSpecError, match="array name") as caught:
        ArraySpec(name, ("i",))
    assert repr(name) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_name_must_be_str():
    with pytest.raises(InvalidTypeError, match="got 3"):
        ArraySpec(3, ("i",))


@pytest.mark.parametrize("axis", ["1", "i j", "", ":", "i.j"])
def test_index_must_be_identifier(axis):
    with pytest.raises(MapSpecError, match="array 'x'") as caught:
        ArraySpec("x", ("i", axis))
    assert repr(axis) in str(caught.value)


@pytest.mark.parametrize("axes", ["ij", 1, None, ("i", 0)], ids=["str", "int", "None", "int inside"])
def test_axes_must_be_a_tuple_of_str(axes):
    with pytest.raises(InvalidTypeError, match="array 'x'"):
        ArraySpec("x", axes)


def test_at_least_one_axis():
    with pytest.raises(MapSpecError, match="'x' has no axes"):
        ArraySpec("x", ())


def test_validate_names_array_shape_and_rank():
    spec = ArraySpec("x", ("i", None))
    spec.validate((2, 3))
    with pytest.raises(ShapeError, match=r"'x' has shape \(2,\) with 1 dimensions.*needs 2"):
        spec.validate((2,))


def test_add_axes_keeps_the_present_ones_in_front():
    assert ArraySpec("x", ("i",)).add_axes("j", None) == ArraySpec("x", ("i", "j", None))


@pytest.mark.parametrize("axes", [("i",), ("j", "j")], ids=["present", "twice"])
def test_add_axes_refuses_duplicates(axes):
    with pytest.raises(MapSpecError, match=f"index '{axes[0]}' is already an axis"):
        ArraySpec("x", ("i",)).add_axes(*axes)


def test_rename():
    spec = ArraySpec("x", ("i", None))
    assert spec.rename({"x": "y", "i": "z"}) == ArraySpec("y", ("i", None))
    assert spec.rename_axes({"x": "y", "i": "z"}) == ArraySpec("x", ("z", None))


def test_parse_keeps_order_and_ignores_spaces():
    expected = (ArraySpec("x", ("i", None)), ArraySpec("s.y", ("j",)))
    assert parse_arrays(" x[ i,: ] ,s.y [j]", "") == expected
