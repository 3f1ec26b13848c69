"""Requested sets, and errors that come from the inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels.loops import Failed, both_loops, compare, elements, from_column, kernel_loop, numbers, outputs

from pipefunc_c._kernels.tags import ERROR

# ---- errors that flow downstream ---------------------------------------------------------------


@both_loops
def test_propagate_makes_the_error_of_an_element_whose_input_failed(loop) -> None:
    calls, asked = [], []
    values = [1, Failed(ValueError("up")), 3, Failed(KeyError("up")), None]

    def propagate(index):
        asked.append(index)
        return "from", index

    def function(a, b):
        calls.append((a, b))
        return a, b

    arguments = {"a": from_column(values, 1, shape=(5,)), "b": elements([10, 20], 0)}
    for capture_errors in (False, True):
        outcome = compare(
            loop, function, arguments, (2, 5), n_columns=2, propagate=propagate, capture_errors=capture_errors
        )
        assert outcome.values[0][3] == outcome.values[1][3] == ("from", 3)
        assert [i for i, tag in enumerate(outcome.tags[1]) if tag == ERROR] == [1, 3, 6, 8]
        assert (outcome.done, outcome.failed) == (10, 4)
    assert asked == [1, 3, 6, 8] * 4  # reference and kernel, twice
    assert len(calls) == 6 * 4


@pytest.mark.parametrize("capture_errors", [False, True], ids=["raise", "capture"])
@both_loops
def test_without_propagate_a_failed_input_is_a_runtime_error(loop, capture_errors) -> None:
    arguments = {"x": from_column([1, Failed(ValueError("up")), 3], 0, shape=(3,))}
    runner, (result,) = kernel_loop(loop, lambda x: x, arguments, (3,), capture_errors=capture_errors)
    if capture_errors:
        assert runner.run(0, 3) == 3
        assert isinstance(result.load(1), RuntimeError)
        assert outputs(result)[::2] == [1, 3]
        return
    with pytest.raises(RuntimeError):
        runner.run(0, 3)
    assert runner.reached == 1
    assert outputs(result) == [1, ..., ...]


@both_loops
def test_an_exception_of_propagate_is_not_lost(loop) -> None:
    arguments = {"x": from_column([1, Failed(ValueError("up"))], 0, shape=(2,))}
    runner, _ = kernel_loop(loop, lambda x: x, arguments, (2,), propagate=lambda index: {}[index])
    with pytest.raises(KeyError):
        runner.run(0, 2)
    assert runner.reached == 1


# ---- requested sets ----------------------------------------------------------------------------


@given(
    cuts=st.sets(st.integers(0, 24), max_size=8),
    failing=st.sets(st.integers(0, 23)),
    span=st.tuples(st.integers(0, 24), st.integers(0, 24)).map(sorted),
    capture_errors=st.booleans(),
)
@both_loops
def test_runs_and_errors_equal_the_reference(loop, cuts, failing, span, capture_errors) -> None:
    ordered = sorted(cuts)[: len(cuts) // 2 * 2]
    runs = np.array(ordered, dtype=np.int64).reshape(-1, 2)
    flags = np.array([i in failing for i in range(24)]).reshape(2, 3, 4)

    def function(flag, j):
        if flag:
            raise ValueError(j)
        return j

    arguments = {"flag": elements(flags, 0, 1, 2), "j": elements(np.arange(3), 1)}
    compare(loop, function, arguments, (2, 3, 4), runs=runs, span=tuple(span), capture_errors=capture_errors)


@both_loops
def test_only_requested_elements_run(loop) -> None:
    seen = []
    runs = np.array([[1, 3], [6, 7]], dtype=np.int64)
    runs.flags.writeable = False
    runner, (result,) = kernel_loop(loop, lambda x: seen.append(x) or x, numbers(8), (8,), runs=runs)
    assert runner.run(0, 8) == 8
    assert seen == [1, 2, 6]
    assert outputs(result) == [..., 1, 2, ..., ..., ..., 6, ...]
    assert runner.run(2, 6) == 6
    assert seen == [1, 2, 6, 2]
    assert runner.run(3, 6) == 6
    assert runner.done == 0
