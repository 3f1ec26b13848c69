from __future__ import annotations

import numpy as np
import pytest
from timing import assert_grows_less

from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c._spec.shapes import array_shape, map_shapes, mapspec_axes, mapspec_dimensions
from pipefunc_c.exceptions import InvalidTypeError, MapSpecError, ShapeError


def specs(*texts):
    return [MapSpec.from_string(text) for text in texts]


class TestAxes:
    def test_whole_axes_are_named_by_others(self):
        found = mapspec_axes(specs("x[i, :] -> y[i]", "x[:, j] -> z[j]", "y[i], z[j] -> w[i, j]"))
        assert found == {"x": ("i", "j"), "y": ("i",), "z": ("j",), "w": ("i", "j")}

    def test_axis_that_nobody_names(self):
        assert mapspec_axes(specs("x[i, :] -> y[i]"))["x"] == ("i", None)

    def test_internal_axis(self):
        assert mapspec_axes(specs("x[i] -> y[i, j]", "y[i, j] -> z[j, i]"))["z"] == ("j", "i")

    @pytest.mark.parametrize(
        ("texts", "offender"),
        [
            (("x[i] -> y[i]", "y[j] -> z[j]"), r"axis 0 of array 'y' is 'i' in 'x\[i\] -> y\[i\]', but 'j'"),
            (("x[i] -> y[i]", "x[j] -> z[j]"), "axis 0 of array 'x' is 'i'"),
            (("x[i, :] -> y[i]", "x[:, i] -> z[i]", "x[:, k] -> w[k]"), r"axis 1 .* 'i' in 'x\[:, i\]"),
            (("x[i, i] -> y[i]", "x[i, j] -> z[i, j]"), "axis 1 of array 'x' is 'i' in .*, but 'j'"),
            (("x[i, j] -> y[i, j]", "y[j, i] -> z[i, j]"), "axis 0 of array 'y' is 'i'"),
            (("x[i] -> y[i, j]", "y[i] -> z[i]"), r"'y' has 2 dimensions in .*, but 1 in 'y\[i\] -> z\[i\]'"),
            (("x[i] -> y[i]", "x[i, :] -> z[i]"), "'x' has 1 dimensions"),
        ],
        ids=["output renamed", "input renamed", "third spec", "diagonal", "swapped", "fewer", "more"],
    )
    def test_contradictions_name_array_and_specs(self, texts, offender):
        with pytest.raises(MapSpecError, match=offender) as caught:
            mapspec_axes(specs(*texts))
        assert isinstance(caught.value, ValueError)
        with pytest.raises(MapSpecError):
            mapspec_dimensions(specs(*texts))

    def test_dimensions(self):
        assert mapspec_dimensions(specs("x[i], y[j, :] -> z[i, j]")) == {"x": 1, "y": 2, "z": 2}


class TestMapShapes:
    def test_chain(self):
        found = map_shapes(
            specs("x[i], y[j] -> z[i, j]", "z[i, :] -> s[i]", "z[i, j] -> t[j, i]"), {"x": (2,), "y": (3,)}
        )
        assert found.shapes == {"x": (2,), "y": (3,), "z": (2, 3), "s": (2,), "t": (3, 2)}
        assert all(all(mask) for mask in found.masks.values())

    def test_unknown_sizes_ripple_and_resolve(self):
        chain = specs("... -> x[i]", "x[i] -> y[i, j]", "y[:, j] -> z[j]", "z[j] -> w[j]")
        found = map_shapes(chain, {})
        assert found.shapes == {"x": ("?",), "y": ("?", "?"), "z": ("?",), "w": ("?",)}
        assert found.masks == {"x": (False,), "y": (True, False), "z": (True,), "w": (True,)}
        found = map_shapes(chain, {}, {"x": (4,)})
        assert found.shapes == {"x": (4,), "y": (4, "?"), "z": ("?",), "w": ("?",)}
        found = map_shapes(chain, {}, {"x": (4,), "y": 5})
        assert found.shapes == {"x": (4,), "y": (4, 5), "z": (5,), "w": (5,)}

    def test_argument_overrides_declaration_also_of_the_other_output(self):
        two = specs("x[i] -> y[i, j], z[i, j]")
        declared = {"y": 3, "z": 3}
        assert map_shapes(two, {"x": (2,)}, None, declared).shapes["y"] == (2, 3)
        assert map_shapes(two, {"x": (2,)}, {"z": (5,)}, declared).shapes["y"] == (2, 5)

    def test_declaration_stays_for_what_the_argument_leaves_out(self):
        chain = specs("x[i] -> y[i, j]", "y[:, j] -> z[j, k]")
        found = map_shapes(chain, {"x": (2,)}, {"z": 7}, {"y": 3, "z": 4})
        assert found.shapes == {"x": (2,), "y": (2, 3), "z": (3, 7)}

    def test_names_that_occur_nowhere_are_ignored(self):
        found = map_shapes(specs("x[i] -> y[i]"), {"x": (2,), "other": (7,)}, {"else": 3}, {"more": 4})
        assert set(found.shapes) == {"x", "y"}

    def test_numpy_sizes_become_integers(self):
        found = map_shapes(specs("x[i] -> y[i]"), {"x": np.array([2])})
        assert found.shapes == {"x": (2,), "y": (2,)}
        assert type(found.shapes["y"][0]) is int

    @pytest.mark.parametrize(
        ("shapes", "offender"),
        [
            ({"x": (2,)}, r"\['w'\] are missing"),
            ({"x": (2,), "w": (3,)}, "along 'i': 'x' has 2, 'w' has 3"),
            ({"x": (2,), "w": (2, 2)}, r"'w' has shape \(2, 2\)"),
        ],
        ids=["missing", "zip", "rank"],
    )
    def test_errors_name_the_array(self, shapes, offender):
        with pytest.raises(ShapeError, match=offender):
            map_shapes(specs("x[i], w[i] -> y[i]"), shapes)

    def test_zip_of_a_computed_and_a_given_array(self):
        with pytest.raises(ShapeError, match="along 'j': 'y' has 3, 'v' has 4"):
            map_shapes(specs("x[i] -> y[i, j]", "y[:, j], v[j] -> z[j]"), {"x": (2,), "v": (4,)}, {"y": 3})

    def test_array_whose_producer_comes_later(self):
        with pytest.raises(ShapeError, match=r"\['y'\] are missing"):
            map_shapes(specs("y[i] -> z[i]", "x[i] -> y[i]"), {"x": (2,)})


class WithShape:
    def __init__(self, shape):
        self.shape = shape


class TestArrayShape:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ([], (0,)),
            ([1, 2], (2,)),
            ([[1, 2], [3, 4], [5, 6]], (3,)),
            (range(4), (4,)),
            (np.zeros((2, 3)), (2, 3)),
            (np.ma.masked_array([1, 2]), (2,)),
            (np.array(1.0), ()),
            (WithShape((np.int64(3), 2)), (3, 2)),
        ],
        ids=["empty", "list", "nested list", "range", "ndarray", "masked", "0-d", "any with shape"],
    )
    def test_allowed(self, value, expected):
        assert array_shape(value, "x") == expected
        assert all(type(size) is int for size in array_shape(value, "x"))

    @pytest.mark.parametrize(
        "value",
        [
            (1, 2),
            "abc",
            3,
            2.5,
            None,
            {"a": 1},
            {1, 2},
            np.float64(2.5),
            WithShape(3),
            WithShape((2, "?")),
            np.ndarray,
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_refused_with_name_type_and_value(self, value):
        with pytest.raises(InvalidTypeError, match="No array shape for the input 'speed'") as caught:
            array_shape(value, "speed")
        assert isinstance(caught.value, TypeError)
        assert type(value).__qualname__ in str(caught.value)

    def test_long_value_is_cut(self):
        with pytest.raises(InvalidTypeError) as caught:
            array_shape("a" * 100_000, "x")
        assert len(str(caught.value)) < 1000

    def test_list_for_two_dimensions(self):
        with pytest.raises(ShapeError, match=r"'x' has shape \(2,\)[^$]*numpy.asarray"):
            map_shapes(specs("x[i, j] -> y[i, j]"), {"x": array_shape([[1], [2]], "x")})


def test_checks_are_linear():
    def make(n):
        chain = specs(*(f"x{k}[i], p[i] -> x{k + 1}[i]" for k in range(n)))
        return lambda: (mapspec_axes(chain), map_shapes(chain, {"x0": (3,), "p": (3,)}))

    assert_grows_less(make, 400, 4000, 30)  # 10 if linear, 100 if quadratic
