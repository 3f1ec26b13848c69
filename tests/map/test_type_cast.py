"""Casts to the types that functions are annotated with."""

from __future__ import annotations

import enum
import pickle
import warnings

import numpy as np
import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.map import ResultDict
from pipefunc_c.map._results.type_cast import CannotCast, annotated_dtype, cast

pytestmark = pytest.mark.timeout(60)


class Colour(enum.IntEnum):
    RED = 1


def results_of(annotation, values, **options) -> ResultDict:
    def produce(k):
        return values[k]

    produce.__annotations__ = {"return": annotation}
    function = PipeFunc(produce, "x", mapspec="k[i] -> x[i]", print_error=False)
    return Pipeline([function]).map({"k": range(len(values))}, parallel=False, **options)


@pytest.mark.parametrize(
    ("annotation", "dtype"),
    [
        (int, "i8"),
        (float, "f8"),
        (bool, "?"),
        (np.float32, "f4"),
        (np.uint8, "u1"),
        (np.bool_, "?"),
        (complex, None),
        (str, None),
        (np.floating, None),
        (np.ndarray, None),
        (list[int], None),
        (int | None, None),
        (Colour, None),
        ("int", None),
        (None, None),
    ],
    ids=str,
)
def test_dtype_of_an_annotation(annotation, dtype):
    assert annotated_dtype(annotation) == (None if dtype is None else np.dtype(dtype))


CASTS = {
    "int to float": ([1, 2], "f8", [1.0, 2.0]),
    "int and float": (np.array([1, 2.5], dtype=object), "f8", [1.0, 2.5]),
    "float to int": ([1.0, 2.0], "i8", [1, 2]),
    "float to fewer digits": ([0.1], "f4", [np.float32(0.1)]),
    "int to bool": ([0, 1], "?", [False, True]),
    "bool to int": ([True, False], "i8", [1, 0]),
    "nan": ([np.nan, np.inf], "f4", [np.nan, np.inf]),
    "nothing": (np.array([], dtype=object), "f8", []),
}
REFUSED = {
    "digits of an int": ([2**53 + 1], "f8"),
    "digits of a float": ([1.5], "i8"),
    "digits of an object": (np.array([1.5, 2**53 + 1], dtype=object), "f8"),
    "negative": ([-1], "u8"),
    "too long": ([300], "u1"),
    "nan to int": ([np.nan], "i8"),
    "two to bool": ([2], "?"),
    "infinite": ([1e300], "f4"),
    "infinite object": (np.array([1e300, 1], dtype=object), "f4"),
    "beyond all": (np.array([10**400, 1.5], dtype=object), "f8"),
    "complex": ([1j], "f8"),
    "text of a number": (np.array(["1"], dtype=object), "i8"),
    "None": (np.array([None, 1.5], dtype=object), "f8"),
    "arrays": (np.array([np.arange(2), 1], dtype=object), "f8"),
}


@pytest.mark.parametrize(("values", "dtype", "expected"), CASTS.values(), ids=CASTS)
def test_a_cast(values, dtype, expected):
    result = cast(np.asarray(values), np.dtype(dtype))
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result, np.array(expected, dtype=dtype))


@pytest.mark.parametrize(("values", "dtype"), REFUSED.values(), ids=REFUSED)
def test_a_cast_that_would_change_a_value(values, dtype):
    with pytest.raises(CannotCast):
        cast(np.asarray(values), np.dtype(dtype))


def test_what_is_missing_stays_missing():
    result = cast(np.ma.MaskedArray(np.array([1, None], dtype=object), mask=[False, True]), np.dtype(float))
    assert result.dtype == float
    assert result.tolist() == [1.0, None]


def test_results_change_in_place():
    results = results_of(float, [1, 2.5])
    assert results["x"].output.dtype == object
    assert results.type_cast() is results
    assert results["x"].output.dtype == np.float64
    assert results["x"].output.tolist() == [1.0, 2.5]
    results["x"].output[0] = 7.0  # the array is the user's own


def test_results_stay_if_asked():
    results = results_of(int, [1, 2])
    copies = results.type_cast(inplace=False)
    assert isinstance(copies, ResultDict)
    assert copies["x"].output.dtype == np.int64
    assert results["x"].output.dtype == object
    assert copies["x"].store is results["x"].store
    assert copies.type_cast(inplace=False)["x"].output.tolist() == [1, 2]


def test_what_cannot_be_cast_warns_and_stays():
    results = results_of(int, [1, None])
    with pytest.warns(UserWarning, match=r"output 'x' is annotated as int64, but .*NoneType") as caught:
        results.type_cast()
    assert caught[0].filename == __file__
    assert results["x"].output.tolist() == [1, None]
    assert results["x"].output.dtype == object


def test_a_cast_that_would_lose_digits_warns_and_stays():
    results = results_of(int, [1, 1.7])
    with pytest.warns(UserWarning, match=r"1\.7.* does not fit into int64"):
        results.type_cast()
    assert results["x"].output.tolist() == [1, 1.7]


def test_an_array_with_errors_warns_and_stays():
    def fail(k) -> int:
        return 1 // k

    function = PipeFunc(fail, "x", mapspec="k[i] -> x[i]", print_error=False)
    results = Pipeline([function]).map({"k": [1, 0]}, parallel=False, error_handling="continue")
    with pytest.warns(UserWarning, match="ErrorSnapshot"):
        results.type_cast()
    assert results["x"].output[0] == 1


def test_an_array_with_missing_elements_stays():
    results = results_of(int, [1, 2], fixed_indices={"i": 0}).type_cast()
    assert results["x"].output.tolist() == [1, None]


@pytest.mark.parametrize("annotation", [str, object, list, None])
def test_other_annotations_change_nothing(annotation):
    assert results_of(annotation, [1, 2]).type_cast()["x"].output.dtype == object


def test_single_values_change_not():
    def single(k) -> float:
        return 1

    results = Pipeline([PipeFunc(single, "y")]).map({"k": 1}, parallel=False).type_cast()
    assert type(results["y"].output) is int


def test_results_that_were_pickled_know_their_types():
    results = pickle.loads(pickle.dumps(results_of(float, [1, 2])))
    assert results.type_cast()["x"].output.dtype == np.float64


def test_a_copy_can_be_cast():
    results = results_of(float, [1, 2])
    assert results.copy().type_cast()["x"].output.dtype == np.float64


@pytest.mark.parametrize("method", ["type_cast", "to_xarray", "to_dataframe"])
def test_results_of_no_map_are_refused(method):
    with pytest.raises(ValueError, match="do not come from a map"):
        getattr(ResultDict(), method)()


def test_the_type_hints_are_read_only_when_asked_for():
    def produce(k) -> NoSuchType:  # noqa: F821
        return k

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = Pipeline([PipeFunc(produce, "x", mapspec="k[i] -> x[i]")]).map({"k": [1]}, parallel=False)
    assert results["x"].output.tolist() == [1]
