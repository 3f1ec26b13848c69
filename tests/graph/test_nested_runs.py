from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._graph.nested import NestedPipeFunc


def first(x: int, a: int = 1) -> int:
    return x + a


def second(y: int, b: float) -> float:
    return y * b


def divide(y, b):
    return y / b


def functions(first_spec=None, second_spec=None):
    return [PipeFunc(first, "y", mapspec=first_spec), PipeFunc(second, "z", mapspec=second_spec)]


# -- run and map


def mapped(**options):
    return NestedPipeFunc(functions("x[i] -> y[i]", "y[i] -> z[i]"), **options)


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])
def test_map_by_element(parallel):
    pipeline = Pipeline([mapped(), PipeFunc(lambda z: 1 * sum(z), "total")])
    results = pipeline.map({"x": np.arange(20), "b": 2}, parallel=parallel)
    assert results["y"].output.tolist() == list(range(1, 21))
    assert results["z"].output.tolist() == [2 * k for k in range(1, 21)]
    assert results["total"].output == 420


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])
def test_map_with_all_that_can_be_renamed(parallel):
    offset = 1000  # a closure must reach the workers
    inner = NestedPipeFunc(
        [
            PipeFunc(lambda x, k=2: k * x + offset, "y", mapspec="x[i] -> y[i]", scope="s"),
            PipeFunc(lambda y, u: y - u, "z", mapspec="s.y[i] -> z[i]", renames={"y": "s.y"}),
        ],
        "z",
        renames={"z": "Z"},
        bound={"u": offset},
    )
    outer = NestedPipeFunc([inner, PipeFunc(lambda Z, c: Z + c, "w", mapspec="Z[i], c[i] -> w[i]")], "w")
    pipeline = Pipeline([outer])
    results = pipeline.map({"s": {"x": [1, 2, 3]}, "c": [10, 20, 30]}, parallel=parallel)
    assert results["w"].output.tolist() == [12, 24, 36]
    assert pipeline.mapspecs_as_strings == ["c[i], s.x[i] -> w[i]"]


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])
def test_map_of_a_single_call(parallel):
    pipeline = Pipeline([NestedPipeFunc(functions())])
    results = pipeline.map({"x": 1, "b": 2}, parallel=parallel)
    assert (results["y"].output, results["z"].output) == (2, 4)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-5, 5), max_size=6), st.lists(st.integers(-5, 5), max_size=6), st.integers(-3, 3))
def test_a_map_of_the_nested_function_is_that_of_the_functions(xs, ys, k):
    def pair():
        return [
            PipeFunc(lambda x, y, k: x + k * y, "u", mapspec="x[i], y[j] -> u[i, j]"),
            PipeFunc(lambda u, x: (u, -u * x), ("v", "w"), mapspec="u[i, j], x[i] -> v[i, j], w[i, j]"),
        ]

    inputs = {"x": np.array(xs, dtype=int), "y": np.array(ys, dtype=int), "k": k}
    plain = Pipeline(pair()).map(inputs, parallel=False)
    nested = Pipeline([NestedPipeFunc(pair())]).map(inputs, parallel=False)
    for name in ("u", "v", "w"):
        assert nested[name].output.shape == plain[name].output.shape == (len(xs), len(ys))
        assert nested[name].output.tolist() == plain[name].output.tolist()


# -- errors


NOTE = "Error in divide(y=2, b=0), which computes 'z'."


def test_an_error_names_the_inner_and_the_nested_call(capsys):
    nested = NestedPipeFunc([PipeFunc(first, "y"), PipeFunc(divide, "z")], "z")
    with pytest.raises(ZeroDivisionError) as caught:
        nested(x=1, b=0)
    outer = "Error in NestedPipeFunc_z(a=1, b=0, x=1), which computes 'z'."
    assert caught.value.__notes__ == [NOTE, outer]
    printed = capsys.readouterr().out
    assert printed.count("An error occurred while calling") == 1
    assert nested.error_snapshot.kwargs == {"a": 1, "b": 0, "x": 1}
    assert NOTE in nested.error_snapshot.traceback
    with pytest.raises(ZeroDivisionError):
        nested.error_snapshot.reproduce()
    inner = nested.pipeline.error_snapshot
    assert (inner.function, inner.kwargs) == (divide, {"y": 2, "b": 0})
    assert "NestedPipeFunc_z" in str(nested.error_snapshot)


def test_print_error_is_that_of_the_nested_function(capsys):
    silent = NestedPipeFunc(
        [PipeFunc(first, "y", print_error=False), PipeFunc(divide, "z", print_error=False)]
    )
    assert silent.print_error is False
    loud = NestedPipeFunc([PipeFunc(first, "y"), PipeFunc(divide, "z")])
    assert loud.print_error is True
    for nested in (silent, Pipeline([loud], print_error=False)):
        with pytest.raises(ZeroDivisionError):
            nested("z", x=1, b=0) if isinstance(nested, Pipeline) else nested(x=1, b=0)
    assert capsys.readouterr().out == ""


def test_an_error_in_a_run():
    pipeline = Pipeline([NestedPipeFunc([PipeFunc(first, "y"), PipeFunc(divide, "z")])], print_error=False)
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline("z", x=1, b=0)
    assert NOTE in caught.value.__notes__
    assert pipeline.error_snapshot.kwargs == {"a": 1, "b": 0, "x": 1}
    assert pipeline["z"].pipeline.error_snapshot.kwargs == {"y": 2, "b": 0}


def mapped_failure():
    return NestedPipeFunc(
        [
            PipeFunc(first, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(divide, "z", mapspec="y[i], b[i] -> z[i]"),
        ],
        "z",
    )


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])
def test_an_error_in_a_map(parallel):
    pipeline = Pipeline([mapped_failure()], print_error=False)
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.map({"x": [5, 1, 5], "b": [1, 0, 1]}, parallel=parallel)
    assert NOTE in caught.value.__notes__
    assert any("element 1 of 3" in note for note in caught.value.__notes__)
    snapshot = pipeline.error_snapshot
    assert {name: int(value) for name, value in snapshot.kwargs.items()} == {"a": 1, "b": 0, "x": 1}
    with pytest.raises(ZeroDivisionError):
        snapshot.reproduce()


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "workers"])
def test_errors_are_kept_by_element_when_a_map_continues(parallel, capsys):
    pipeline = Pipeline([mapped_failure()])
    results = pipeline.map({"x": [5, 1, 5], "b": [1, 0, 1]}, parallel=parallel, error_handling="continue")
    good, error, last = results["z"].output
    assert (good, last) == (6, 6)
    assert isinstance(error.exception, ZeroDivisionError)
    assert {name: int(value) for name, value in error.kwargs.items()} == {"a": 1, "b": 0, "x": 1}
    assert "divide" in error.traceback
    assert "An error occurred" not in capsys.readouterr().out
