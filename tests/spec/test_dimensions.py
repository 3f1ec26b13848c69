from __future__ import annotations

import numpy as np
import pytest

from pipefunc_c._spec.arrayspec import ArraySpec
from pipefunc_c._spec.dimensions import check_dimension, external_sizes, internal_sizes, normalize_shape
from pipefunc_c.exceptions import InvalidTypeError, ShapeError


@pytest.mark.parametrize("size", [0, 3, np.int64(3), "?"])
def test_allowed_sizes(size):
    assert check_dimension(size, "x") == size
    assert type(check_dimension(size, "x")) in (int, str)


@pytest.mark.parametrize("size", [2.0, True, "3", None, (1,)])
def test_wrong_type_is_named(size):
    with pytest.raises(InvalidTypeError, match="'x' must be an int or '\\?'") as caught:
        check_dimension(size, "x")
    assert repr(size) in str(caught.value)


def test_negative_size_is_named():
    with pytest.raises(ShapeError, match="'x' is negative: -1"):
        check_dimension(-1, "x")


@pytest.mark.parametrize(
    ("given", "expected"),
    [(3, (3,)), ("?", ("?",)), ([1, "?"], (1, "?")), ((), ()), (np.int32(2), (2,))],
    ids=["int", "unknown", "list", "empty", "numpy"],
)
def test_normalize_shape(given, expected):
    assert normalize_shape(given, "x") == expected


def test_external_sizes_take_the_known_one():
    specs = [ArraySpec("x", ("i",)), ArraySpec("y", (None, "i")), ArraySpec("z", ("i",))]
    assert external_sizes(specs, {"x": ("?",), "y": (9, 4), "z": ("?",)}) == {"i": 4}


def test_external_sizes_name_the_array_that_knew_the_size():
    specs = [ArraySpec("x", ("i",)), ArraySpec("y", ("i",)), ArraySpec("z", ("i",))]
    with pytest.raises(ShapeError, match="along 'i': 'y' has 4, 'z' has 5"):
        external_sizes(specs, {"x": ("?",), "y": (4,), "z": (5,)})


def test_internal_sizes_from_any_output():
    specs = [ArraySpec("a", ("i", "j")), ArraySpec("b", ("i", "j"))]
    assert internal_sizes(specs, ["i", "j"], {"a": ("?", 2), "b": (3, "?", 7)}) == {"i": 3, "j": 2}


def test_internal_sizes_that_contradict():
    specs = [ArraySpec("a", ("j",)), ArraySpec("b", ("j",))]
    with pytest.raises(ShapeError, match="along 'j': 'a' has 2, 'b' has 3"):
        internal_sizes(specs, ["j"], {"a": 2, "b": 3})
