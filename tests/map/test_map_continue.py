"""With error_handling="continue" errors stand where elements failed, and spread from there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from map.record import MEMORY_IDS

from pipefunc_c import ErrorSnapshot, PipeFunc, Pipeline, pipefunc
from pipefunc_c.exceptions import PropagatedErrorSnapshot

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=MEMORY_IDS)
def storage(request):
    return request.param


@pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
def odd_fails(x, k=7):
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x * 10


@pipefunc("z", mapspec="y[i] -> z[i]", print_error=False)
def after(y):
    return y + 1


def run(functions, inputs, **options):
    return Pipeline(functions).map(inputs, parallel=False, error_handling="continue", **options)


def only(values):
    """Give the one element of a list."""
    [value] = values
    return value


class TestElements:
    def test_errors_stand_in_their_places(self, storage):
        results = run([odd_fails], {"x": [0, 1, 2, 3]}, storage=storage)
        output = results["y"].output
        assert [type(value) for value in output] == [int, ErrorSnapshot, int, ErrorSnapshot]
        assert (output[0], output[2]) == (0, 20)
        assert [str(output[k].exception) for k in (1, 3)] == ["odd: 1", "odd: 3"]
        assert output[3].kwargs == {"x": 3, "k": 7}
        assert output[3].function is odd_fails.func
        with pytest.raises(ValueError, match="odd: 3"):
            output[3].reproduce()

    def test_arrays_hold_them_too(self, storage):
        result = run([odd_fails], {"x": [0, 1, 2]}, storage=storage)["y"]
        assert result.array.dtype == object
        assert type(result.array[1]) is ErrorSnapshot
        assert type(result.store[1]) is ErrorSnapshot
        assert type(result.store.to_array()[1]) is ErrorSnapshot
        assert result.store.mask_linear() == [False] * 3

    def test_all_fail(self, storage):
        results = run([odd_fails, after], {"x": [1, 3, 5]}, storage=storage)
        assert [type(value) for value in results["y"].output] == [ErrorSnapshot] * 3
        assert [type(value) for value in results["z"].output] == [PropagatedErrorSnapshot] * 3

    def test_native_names(self):
        func = odd_fails.copy(renames={"x": "s.value", "k": "q"}, mapspec="s.value[i] -> y[i]")
        error = run([func], {"s": {"value": [1]}, "q": 5})["y"].output[0]
        assert error.kwargs == {"x": 1, "k": 5}

    def test_positional_only_and_bound_arguments(self):
        def picky(a, /, b, *, c=3):
            raise ValueError((a, b, c))

        func = PipeFunc(picky, "y", bound={"b": 2}, mapspec="a[i] -> y[i]", print_error=False)
        error = run([func], {"a": [1]})["y"].output[0]
        assert (error.args, error.kwargs) == ((1,), {"b": 2, "c": 3})
        with pytest.raises(ValueError, match=r"\(1, 2, 3\)"):
            error.reproduce()

    def test_a_single_call(self):
        @pipefunc(("a", "b"), print_error=False)
        def single(x):
            raise ValueError(x)

        @pipefunc("c", print_error=False)
        def later(a):
            return a

        results = run([single, later], {"x": 4})
        assert type(results["a"].output) is type(results["b"].output) is ErrorSnapshot
        assert results["a"].output.kwargs == {"x": 4}
        assert results["c"].output.reason == "input_is_error"

    def test_elements_of_two_axes(self):
        @pipefunc("z", mapspec="a[i], b[j] -> z[j, i]", print_error=False)
        def grid(a, b):
            if a == b:
                raise ValueError(f"{a} {b}")
            return a - b

        output = run([grid], {"a": [0, 1], "b": [0, 1, 2]})["z"].output
        assert [[type(v) is ErrorSnapshot for v in row] for row in output] == [[1, 0], [0, 1], [0, 0]]
        assert output[1, 1].kwargs == {"a": 1, "b": 1}
        assert output[2, 1] == -1

    def test_several_outputs_share_a_failure(self):
        @pipefunc(("p", "q"), mapspec="x[i] -> p[i], q[i]", print_error=False)
        def both(x):
            if x:
                raise ValueError(x)
            return 5, 6

        results = run([both], {"x": [0, 1]})
        for name, value in (("p", 5), ("q", 6)):
            output = results[name].output
            assert output[0] == value
            assert type(output[1]) is ErrorSnapshot
        assert results["p"].output[1].exception is results["q"].output[1].exception

    def test_a_failing_picker_marks_its_output_only(self, storage):
        def pick(output, name):
            if name == "q" and output[1] == 6:
                raise KeyError(name)
            return output["pq".index(name)]

        func = PipeFunc(
            lambda x: (x, x + 5),
            ("p", "q"),
            mapspec="x[i] -> p[i], q[i]",
            output_picker=pick,
            print_error=False,
        )
        results = run([func], {"x": [0, 1, 2]}, storage=storage)
        assert results["p"].output.tolist() == [0, 1, 2]
        assert [type(value) for value in results["q"].output] == [int, ErrorSnapshot, int]
        assert type(results["q"].output[1].exception) is KeyError

    def test_too_few_outputs_mark_those_that_are_missing_or_all(self):
        func = PipeFunc(lambda x: (x,), ("p", "q"), mapspec="x[i] -> p[i], q[i]", print_error=False)
        results = run([func], {"x": [1]})
        assert type(results["q"].output[0]) is ErrorSnapshot

    def test_values_that_look_like_errors_stay_values(self):
        @pipefunc("y", mapspec="x[i] -> y[i]")
        def give(x):
            return ValueError(x)

        def kind(y):
            return type(y)

        results = run([give, PipeFunc(kind, "z", mapspec="y[i] -> z[i]")], {"x": [1]})
        assert results["z"].output.tolist() == [ValueError]


class TestPropagation:
    def test_to_elements(self, storage):
        seen = []

        @pipefunc("z", mapspec="y[i], w[i] -> z[i]", renames={"value": "y"}, print_error=False)
        def record(value, w):
            seen.append(value)
            return value

        results = run([odd_fails, record], {"x": [0, 1, 2], "w": [5, 6, 7]}, storage=storage)
        assert seen == [0, 20]
        skipped = results["z"].output[1]
        assert type(skipped) is PropagatedErrorSnapshot
        assert skipped.reason == "input_is_error"
        assert skipped.skipped_function.__name__ == "record"
        assert skipped.attempted_kwargs == {"w": 6}
        assert set(skipped.error_info) == {"y"}
        assert skipped.error_info["y"].type == "full"
        assert only(skipped.get_root_causes()).kwargs == {"x": 1, "k": 7}

    def test_its_text_names_the_function_and_the_error(self):
        text = str(run([odd_fails, after], {"x": [1]})["z"].output[0])
        assert "after" in text
        assert "odd: 1" in text

    def test_through_a_long_chain(self):
        links = [
            PipeFunc(lambda v: v, f"v{k + 1}", renames={"v": f"v{k}"}, mapspec=f"v{k}[i] -> v{k + 1}[i]")
            for k in range(30)
        ]
        first = odd_fails.copy(output_name="v0", mapspec="x[i] -> v0[i]")
        results = run([first, *links], {"x": [0, 1]})
        assert results["v30"].output[0] == 0
        last = results["v30"].output[1]
        assert last.reason == "input_is_error"
        assert str(only(last.get_root_causes()).exception) == "odd: 1"

    def test_a_root_cause_that_arrives_on_two_ways_is_given_once(self):
        left = after.copy(output_name="left", mapspec="y[i] -> left[i]")
        right = after.copy(output_name="right", mapspec="y[i] -> right[i]")
        joined = PipeFunc(lambda left, right: 0, "joined", mapspec="left[i], right[i] -> joined[i]")
        last = run([odd_fails, left, right, joined], {"x": [1]})["joined"].output[0]
        assert set(last.error_info) == {"left", "right"}
        assert only(last.get_root_causes()).kwargs == {"x": 1, "k": 7}

    def test_two_root_causes(self):
        other = PipeFunc(odd_fails.func, "w", renames={"x": "u"}, mapspec="u[j] -> w[j]", print_error=False)
        joined = PipeFunc(lambda y, w: 0, "joined", mapspec="y[i], w[j] -> joined[i, j]")
        last = run([odd_fails, other, joined], {"x": [1], "u": [3]})["joined"].output[0, 0]
        assert [str(error.exception) for error in last.get_root_causes()] == ["odd: 1", "odd: 3"]

    @pytest.mark.parametrize(
        "annotation",
        [None, np.ma.MaskedArray, npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.object_]],
        ids=["bare", "masked", "float64", "int64", "object"],
    )
    def test_to_a_reduction(self, storage, annotation):
        seen = []

        def total(y):
            seen.append(y)
            return sum(y)

        total.__annotations__ = {} if annotation is None else {"y": annotation}
        results = run([odd_fails, PipeFunc(total, "t")], {"x": [0, 1, 2, 3]}, storage=storage)
        assert not seen
        skipped = results["t"].output
        assert type(skipped) is PropagatedErrorSnapshot
        assert skipped.reason == "array_contains_errors"
        info = skipped.error_info["y"]
        assert (info.type, info.shape, info.error_count) == ("partial", (4,), 2)
        assert [indices.tolist() for indices in info.error_indices] == [[1, 3]]
        errors = results["y"].output[info.error_indices]
        assert [type(each) for each in errors] == [ErrorSnapshot, ErrorSnapshot]
        assert skipped.get_root_causes() == []

    @pytest.mark.parametrize(
        "annotation", [None, npt.NDArray[np.float64], np.ma.MaskedArray], ids=["bare", "float64", "masked"]
    )
    def test_to_slices(self, annotation):
        @pipefunc("y", mapspec="a[i], b[j] -> y[i, j]", print_error=False)
        def grid(a, b):
            if (a, b) == (1, 20):
                raise ValueError("no")
            return a + b

        def total(y):
            return sum(y)

        total.__annotations__ = {} if annotation is None else {"y": annotation}
        rows = PipeFunc(total, "rows", mapspec="y[i, :] -> rows[i]")
        columns = PipeFunc(total, "columns", mapspec="y[:, j] -> columns[j]")
        results = run([grid, rows, columns], {"a": [0, 1], "b": [10, 20, 30]})
        assert results["rows"].output[0] == 60
        assert results["rows"].output[1].reason == "array_contains_errors"
        [indices] = results["rows"].output[1].error_info["y"].error_indices
        assert indices.tolist() == [1]
        assert results["columns"].output[[0, 2]].tolist() == [21, 61]
        assert results["columns"].output[1].error_info["y"].shape == (2,)

    def test_both_reasons_at_once(self):
        @pipefunc("z", mapspec="y[i] -> z[i]", renames={"one": "y"})
        def both(one, total):
            return one

        @pipefunc("total")
        def sums(y):
            return sum(y)

        output = run([odd_fails, sums, both], {"x": [0, 1]})["z"].output
        assert [value.reason for value in output] == ["input_is_error"] * 2
        assert set(output[0].error_info) == {"total"}
        assert set(output[1].error_info) == {"y", "total"}

    def test_to_all_outputs(self):
        pair = PipeFunc(lambda y: (y, y), ("p", "q"), mapspec="y[i] -> p[i], q[i]")
        results = run([odd_fails, pair], {"x": [0, 1]})
        for name in "pq":
            assert results[name].output[0] == 0
            assert type(results[name].output[1]) is PropagatedErrorSnapshot

    @pytest.mark.parametrize("size", [3, "?"], ids=["declared", "unknown"])
    def test_a_failing_producer_marks_all_elements(self, size):
        @pipefunc("x", mapspec="... -> x[i]", internal_shape=size, print_error=False)
        def make():
            raise ValueError("nothing")

        results = run([make, after.copy(renames={"y": "x"}, mapspec="x[i] -> z[i]")], {})
        assert type(results["x"].output) is ErrorSnapshot
        output = results["z"].output
        assert output.shape == ((3,) if size == 3 else output.shape)
        assert output.size
        assert {value.reason for value in output} == {"input_is_error"}
        assert str(only(output[0].get_root_causes()).exception) == "nothing"

    @pytest.mark.parametrize("size", [2, "?"], ids=["declared", "unknown"])
    def test_along_internal_axes(self, size):
        @pipefunc("y", mapspec="x[i] -> y[i, j]", internal_shape=size, print_error=False)
        def pairs(x):
            if x == 0:
                raise ValueError("first")
            return [x, -x]

        results = run([pairs, after.copy(mapspec="y[i, j] -> z[i, j]")], {"x": [0, 1]})
        assert results["y"].output.shape == (2, 2)
        assert [type(value) for value in results["y"].output[0]] == [ErrorSnapshot] * 2
        assert results["y"].output[1].tolist() == [1, -1]
        assert [value.reason for value in results["z"].output[0]] == ["input_is_error"] * 2
        assert results["z"].output[1].tolist() == [2, 0]
