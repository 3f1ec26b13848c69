"""What a map refuses before anything runs, and the forms in which inputs and options may be given."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pydantic
import pytest
from map.refuse import refuse

from pipefunc_c import Pipeline, pipefunc

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def calls():
    return []


@pytest.fixture
def product(calls):
    @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
    def product(x, y, factor=1):
        calls.append((x, y))
        return x * y * factor

    return Pipeline([product])


@pytest.fixture
def zipped(calls):
    @pipefunc("z", mapspec="x[i], y[i] -> z[i]")
    def zipped(x, y):
        calls.append((x, y))
        return x + y

    return Pipeline([zipped])


# ---- names -------------------------------------------------------------------------------------


class TestNames:
    def test_missing(self, product, calls):
        refuse(product, {"x": [1]}, ValueError, "missing", "'y'")
        assert not calls

    def test_all_missing_ones_are_named(self, product):
        refuse(product, {}, ValueError, "'x'", "'y'")

    def test_unknown(self, product, calls):
        refuse(product, {"x": [1], "y": [1], "q": 3}, ValueError, "'q'", "factor")
        assert not calls

    def test_an_output_among_the_inputs(self, product, calls):
        refuse(product, {"x": [1], "y": [2], "z": np.ones((1, 1))}, ValueError, "'z'")
        assert not calls

    def test_a_bound_argument_is_no_input(self):
        @pipefunc("y", mapspec="x[i] -> y[i]", bound={"k": 2})
        def bound(x, k):
            return x * k

        pipeline = Pipeline([bound])
        refuse(pipeline, {"x": [1], "k": 3}, ValueError, "'k'")
        assert pipeline.map({"x": [1, 2]}, parallel=False)["y"].output.tolist() == [2, 4]

    def test_an_input_of_a_part_that_is_left_out(self, calls):
        @pipefunc("a", mapspec="x[i] -> a[i]")
        def a(x):
            return x

        @pipefunc("b")
        def b(k):
            calls.append(k)
            return k

        refuse(Pipeline([a, b]), {"x": [1], "k": 2}, ValueError, "'k'", output_names="a")
        assert not calls

    def test_a_default_covers_an_input(self, product):
        both = {"x": [1, 2], "y": [3]}
        assert product.map(both, parallel=False)["z"].output.tolist() == [[3], [6]]
        assert product.map({**both, "factor": 2}, parallel=False)["z"].output.tolist() == [[6], [12]]

    def test_a_default_array_is_mapped_over(self):
        @pipefunc("z", mapspec="x[i] -> z[i]", defaults={"x": [5, 6]})
        def same(x):
            return x

        pipeline = Pipeline([same])
        assert pipeline.map({}, parallel=False)["z"].output.tolist() == [5, 6]
        assert pipeline.map({"x": [7]}, parallel=False)["z"].output.tolist() == [7]

    def test_a_default_of_an_earlier_output_is_ignored(self):
        @pipefunc("y", mapspec="x[i] -> y[i]")
        def first(x):
            return x

        @pipefunc("z", mapspec="y[i] -> z[i]")
        def second(y=100):
            return y

        assert Pipeline([first, second]).map({"x": [1, 2]}, parallel=False)["z"].output.tolist() == [1, 2]

    def test_the_dict_is_left_as_it_was(self, product):
        inputs = {"x": [1], "y": [2]}
        product.map(inputs, parallel=False)
        assert inputs == {"x": [1], "y": [2]}

    def test_a_name_that_is_no_str(self, product):
        refuse(product, {"x": [1], "y": [1], 3: 4}, ValueError, "3")


@pytest.mark.parametrize("inputs", [None, [("x", [1])], 5, "x", {"x"}], ids=repr)
def test_inputs_of_another_type(product, inputs):
    refuse(product, inputs, TypeError, repr(inputs))


# ---- values ------------------------------------------------------------------------------------

NO_ARRAYS = {
    "int": 3,
    "float": 2.5,
    "None": None,
    "np scalar": np.float64(1.5),
    "str": "abc",
    "bytes": b"abc",
    "tuple": (1, 2),
    "set": {1, 2},
    "dict": {0: 1},
    "generator": (k for k in [1, 2]),
    "zip": zip([1], [2], strict=True),
    "iterator": iter([1, 2]),
}


class Shapeless:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index


@pytest.mark.parametrize("value", [*NO_ARRAYS.values(), Shapeless()], ids=[*NO_ARRAYS, "sequence"])
def test_what_is_no_array_cannot_be_mapped_over(zipped, calls, value):
    refuse(zipped, {"x": value, "y": [1, 2]}, TypeError, "No array shape", "'x'", type(value).__name__)
    assert not calls


def test_a_default_that_is_no_array_cannot_be_mapped_over(calls):
    @pipefunc("z", mapspec="x[i] -> z[i]")
    def same(x=3):
        calls.append(x)
        return x

    refuse(Pipeline([same]), {}, TypeError, "No array shape", "'x'", "3")
    assert not calls


class TestDimensions:
    @pytest.fixture
    def grid(self, calls):
        @pipefunc("z", mapspec="x[i, j] -> z[i, j]")
        def grid(x):
            calls.append(x)
            return x

        return Pipeline([grid])

    @pytest.mark.parametrize("value", [[[1, 2], [3, 4]], [], [1], range(4)], ids=repr)
    def test_a_list_for_two_dimensions(self, grid, calls, value):
        refuse(grid, {"x": value}, ValueError, "'x'", "2", "1")
        assert not calls

    @pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3)], ids=str)
    def test_an_array_of_another_rank(self, grid, calls, shape):
        refuse(grid, {"x": np.zeros(shape)}, ValueError, "'x'", str(len(shape)))
        assert not calls

    def test_a_scalar_array_for_one_dimension(self, zipped):
        refuse(zipped, {"x": np.array(3.0), "y": [1]}, ValueError, "'x'")

    def test_a_two_dimensional_array_for_one_dimension(self, zipped, calls):
        refuse(zipped, {"x": np.zeros((2, 2)), "y": [1, 2]}, ValueError, "'x'")
        assert not calls

    def test_a_whole_axis_counts(self):
        @pipefunc("z", mapspec="x[i, :] -> z[i]")
        def rows(x):
            return sum(x)

        refuse(Pipeline([rows]), {"x": [1, 2]}, ValueError, "'x'")
        assert Pipeline([rows]).map({"x": np.ones((2, 3))}, parallel=False)["z"].output.tolist() == [3, 3]


class TestSizes:
    def test_two_inputs(self, zipped, calls):
        refuse(zipped, {"x": [1, 2, 3], "y": [1, 2]}, ValueError, "'i'", "3", "2")
        assert not calls

    @pytest.mark.parametrize(("x", "y"), [([1], [1, 2]), ([], [1])], ids=["one", "none"])
    def test_nothing_is_broadcast(self, zipped, calls, x, y):
        refuse(zipped, {"x": x, "y": y}, ValueError, "'i'", str(len(y)))
        assert not calls

    def test_two_axes_of_arrays(self, calls):
        @pipefunc("z", mapspec="x[i, j], y[j] -> z[i, j]")
        def weighted(x, y):
            calls.append(x)
            return x * y

        refuse(Pipeline([weighted]), {"x": np.ones((3, 2)), "y": np.ones(3)}, ValueError, "'j'", "2", "3")
        assert not calls

    def test_transposed_arrays(self):
        @pipefunc("z", mapspec="x[i, j], y[j, i] -> z[i, j]")
        def add(x, y):
            return x + y

        refuse(Pipeline([add]), {"x": np.ones((3, 2)), "y": np.ones((3, 2))}, ValueError, "'x'", "3", "2")
        good = Pipeline([add]).map({"x": np.ones((3, 2)), "y": np.ones((2, 3))}, parallel=False)
        assert good["z"].array.shape == (3, 2)

    def test_an_input_and_an_earlier_output(self, calls):
        @pipefunc("y", mapspec="x[i] -> y[i]")
        def first(x):
            calls.append(x)
            return x

        @pipefunc("z", mapspec="y[i], w[i] -> z[i]")
        def second(y, w):
            return y + w

        refuse(Pipeline([first, second]), {"x": [1, 2], "w": [1]}, ValueError, "'i'", "2", "1")
        assert not calls, "the first function ran although the sizes were known to differ"

    def test_internal_sizes_that_are_declared(self, calls):
        @pipefunc("y", mapspec="... -> y[i]", internal_shape=(3,))
        def first():
            calls.append(0)
            return [1, 2, 3]

        @pipefunc("z", mapspec="y[i], w[i] -> z[i]")
        def second(y, w):
            return y + w

        refuse(Pipeline([first, second]), {"w": [1]}, ValueError, "'i'", "3", "1")
        assert not calls

    def test_internal_sizes_that_are_found(self):
        @pipefunc("y", mapspec="... -> y[i]")
        def first():
            return [1, 2, 3]

        @pipefunc("z", mapspec="y[i], w[i] -> z[i]")
        def second(y, w):
            return y + w

        refuse(Pipeline([first, second]), {"w": [1, 2]}, ValueError, "'i'", "3", "2")


class TestInternalShapes:
    @pytest.fixture
    def repeat(self, calls):
        @pipefunc("y", mapspec="x[i] -> y[i, j]")
        def repeat(x):
            calls.append(x)
            return [x, x]

        return Pipeline([repeat])

    @pytest.mark.parametrize("shape", [2, (2,), "?", ("?",)], ids=repr)
    def test_forms(self, repeat, shape):
        results = repeat.map({"x": [1, 2]}, internal_shapes={"y": shape}, parallel=False)
        assert results["y"].output.tolist() == [[1, 1], [2, 2]]

    @pytest.mark.parametrize(
        ("shape", "error"),
        [((), ValueError), (2.0, TypeError), ("x", TypeError), ((None,), TypeError), (-1, ValueError)],
        ids=repr,
    )
    def test_bad_ones(self, repeat, calls, shape, error):
        refuse(repeat, {"x": [1]}, error, "y", internal_shapes={"y": shape})
        assert not calls

    def test_an_unknown_name(self, repeat, calls):
        refuse(repeat, {"x": [1]}, ValueError, "'q'", "y", internal_shapes={"q": 2})
        assert not calls

    def test_another_type(self, repeat):
        refuse(repeat, {"x": [1]}, TypeError, "(2,)", internal_shapes=(2,))

    def test_what_the_function_returns_does_not_fit(self, repeat):
        with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)|\(3,\).*\(2,\)"):
            _ = repeat.map({"x": [1, 2]}, internal_shapes={"y": 3}, parallel=False)["y"].output


# ---- models and scopes -------------------------------------------------------------------------


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    x: list[int]
    y: np.ndarray
    factor: int = 10


class TestModels:
    def test_fields_are_inputs(self, product):
        results = product.map(Model(x=[1, 2], y=np.array([3.0])), parallel=False)
        assert results["z"].output.tolist() == [[30.0], [60.0]]

    def test_values_are_not_converted(self):
        class Inner(pydantic.BaseModel):
            k: int

        class Outer(pydantic.BaseModel):
            x: list[Inner]

        @pipefunc("y", mapspec="x[i] -> y[i]")
        def take(x):
            return x

        given = Outer(x=[Inner(k=1), Inner(k=2)])
        output = Pipeline([take]).map(given, parallel=False)["y"].output
        assert [value is inner for value, inner in zip(output, given.x, strict=True)] == [True, True]

    def test_a_field_too_many(self, zipped):
        refuse(zipped, Model(x=[1], y=np.ones(1)), ValueError, "'factor'")

    def test_a_dataclass_is_none(self, product):
        @dataclasses.dataclass
        class Data:
            x: list[int]
            y: list[int]

        refuse(product, Data([1], [2]), TypeError, "Data")

    def test_a_model_class_is_none(self, product):
        refuse(product, Model, TypeError, "Model")


class TestScopes:
    @pytest.fixture
    def scoped(self):
        @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
        def product(x, y, factor=1):
            return x * y * factor

        pipeline = Pipeline([product])
        pipeline.update_scope("s", inputs={"x", "factor"}, outputs={"z"})
        return pipeline

    FORMS = {
        "flat": {"s.x": [1, 2], "y": [3], "s.factor": 2},
        "nested": {"s": {"x": [1, 2], "factor": 2}, "y": [3]},
        "mixed": {"s": {"x": [1, 2]}, "s.factor": 2, "y": [3]},
    }

    @pytest.mark.parametrize("inputs", FORMS.values(), ids=FORMS)
    def test_forms(self, scoped, inputs):
        results = scoped.map(inputs, parallel=False)
        assert set(results) == {"s.z"}
        assert results["s.z"].output.tolist() == [[6], [12]]

    def test_a_name_given_twice(self, scoped):
        refuse(scoped, {"s": {"x": [1]}, "s.x": [1], "y": [1]}, ValueError, "'s.x'")

    def test_a_missing_name_has_its_scope(self, scoped):
        refuse(scoped, {"s": {"factor": 2}, "y": [1]}, ValueError, "'s.x'")

    def test_an_unknown_name_has_its_scope(self, scoped):
        refuse(scoped, {"s": {"x": [1], "q": 2}, "y": [1]}, ValueError, "'s.q'")

    def test_the_name_without_scope_is_unknown(self, scoped):
        refuse(scoped, {"x": [1], "s.factor": 1, "y": [1]}, ValueError, "'x'")

    def test_an_unknown_scope(self, scoped):
        refuse(scoped, {"t": {"x": [1]}, "s.x": [1], "y": [1]}, ValueError, "'t'")


def test_messages_stay_short_for_long_inputs(zipped):
    with pytest.raises(TypeError) as caught:
        zipped.map({"x": tuple(range(100_000)), "y": [1]}, parallel=False)
    assert len(str(caught.value)) < 1000
    with pytest.raises(ValueError, match=re.escape("100000")) as caught:
        zipped.map({"x": list(range(100_000)), "y": np.zeros(10**6)}, parallel=False)
    assert len(str(caught.value)) < 1000
    with pytest.raises(TypeError) as caught:
        zipped.map([*range(100_000)], parallel=False)
    assert len(str(caught.value)) < 1000
