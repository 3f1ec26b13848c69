"""`patch`: a mock in the place of a function of a pipeline."""

from __future__ import annotations

import unittest.mock

import pytest

from pipefunc_c import PipeFunc, Pipeline, pipefunc
from pipefunc_c.testing import patch


def first(x):
    return x + 1


def second(y, k=2):
    return y * k


def pipeline(**options) -> Pipeline:
    return Pipeline([PipeFunc(first, "y", **options), PipeFunc(second, "z")])


@pytest.mark.parametrize("name", ["first", f"{__name__}.first"], ids=["name", "module"])
def test_a_mock_is_called_inside_of_the_block(name):
    patched = pipeline()
    with patch(patched, name) as mock:
        assert isinstance(mock, unittest.mock.MagicMock)
        mock.return_value = 10
        assert patched("z", x=1) == 20
        mock.assert_called_once_with(x=1)
        mock.side_effect = lambda x: -x
        assert patched("z", x=1) == -2
    assert patched("z", x=1) == 4
    assert patched["y"].func is first


def test_arguments_have_native_names():
    patched = pipeline(renames={"x": "s"})
    with patch(patched, "first") as mock:
        patched("y", s=3)
    mock.assert_called_once_with(x=3)


def test_the_function_comes_back_after_an_error():
    patched = pipeline(print_error=False)
    with patch(patched, "first") as mock:
        mock.side_effect = LookupError("mocked")
        with pytest.raises(LookupError, match="mocked"):
            patched("z", x=1)
    with pytest.raises(ZeroDivisionError), patch(patched, "first"):
        raise ZeroDivisionError
    assert patched("z", x=1) == 4


def test_an_unknown_function_is_named():
    with (
        pytest.raises(ValueError, match=r"no function 'nothing'.*\['first', 'second'\]"),
        patch(pipeline(), "nothing"),
    ):
        pass


def test_functions_with_the_same_name_are_all_replaced():
    patched = Pipeline([PipeFunc(first, "y"), PipeFunc(first, "w", renames={"x": "y"})])
    with patch(patched, "first") as mock:
        mock.return_value = 0
        assert patched("w", x=1) == 0
        assert mock.call_count == 2


def test_a_mock_maps_too():
    @pipefunc("y", mapspec="x[i] -> y[i]")
    def double(x):
        return 2 * x

    patched = Pipeline([double])
    with patch(patched, "double") as mock:
        mock.side_effect = lambda x: -x
        assert patched.map({"x": [1, 2]}, parallel=False)["y"].output.tolist() == [-1, -2]


def test_mocked_results_are_not_found_in_the_cache_afterwards():
    patched = Pipeline([PipeFunc(first, "y", cache=True)], cache_type="simple")
    assert patched(x=1) == 2
    with patch(patched, "first") as mock:
        mock.return_value = 100
        assert patched(x=1) == 100
    assert patched(x=1) == 2
