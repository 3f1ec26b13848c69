"""What a loop refuses instead of reading or writing where it must not."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.loops import (
    KERNELS,
    both_loops,
    compare,
    constant,
    elements,
    from_column,
    kernel_loop,
    numbers,
    outputs,
    slices,
)


@pytest.mark.parametrize("span", [(-1, 2), (0, 6), (4, 2), (6, 6)], ids=str)
@both_loops
def test_a_bad_range_is_refused(loop, span) -> None:
    runner, (result,) = kernel_loop(loop, lambda x: x, numbers(), (5,))
    with pytest.raises((ValueError, IndexError)):
        runner.run(*span)
    assert outputs(result) == [...] * 5


REFUSED = {
    "array shorter than the axis": {"arguments": {"x": elements(np.arange(4.0), 0)}},
    "array of another rank": {"arguments": {"x": elements(np.zeros((5, 5)), 0)}},
    "list shorter than the axis": {"arguments": {"x": elements([1, 2], 0)}},
    "range shorter than the axis": {"arguments": {"x": elements(range(2), 0)}},
    "column of another size": {"arguments": {"x": from_column([1, 2], 0, shape=(5,))}},
    "column shorter than the axis": {"arguments": {"x": from_column([1, 2], 0, shape=(2,))}},
    "axis beyond the task": {"arguments": {"x": elements(np.zeros(5), 1)}},
    "negative axis": {"arguments": {"x": elements(np.zeros(5), -1)}},
    "list by an axis beyond the task": {"arguments": {"x": elements([0] * 5, 3)}},
    "slices by an axis beyond the task": {"arguments": {"x": slices(np.zeros((5, 2)), 3, None)}},
    "too many positional": {"n_positional": 2},
    "negative positional": {"n_positional": -1},
    "runs of another shape": {"runs": np.array([0, 3, 4])},
    "two columns without unpack": {"n_columns": 2, "unpack": False},
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
@both_loops
def test_what_does_not_fit_is_refused_before_memory_is_read(loop, case) -> None:
    options = {"arguments": numbers(), **case}
    arguments = options.pop("arguments")
    with pytest.raises((ValueError, IndexError, TypeError)):
        kernel_loop(loop, lambda **kw: 0, arguments, (5,), **options)[0].run(0, 5)


@pytest.mark.parametrize(
    ("function", "names", "sources", "column_size"),
    [
        pytest.param(5, ("x",), (KERNELS.constant(1),), 5, id="function that cannot be called"),
        pytest.param(abs, ("x", "y"), (KERNELS.constant(1),), 5, id="a source too few"),
        pytest.param(abs, ("x",), (KERNELS.constant(1), KERNELS.constant(1)), 5, id="a source too many"),
        pytest.param(abs, (1,), (KERNELS.constant(1),), 5, id="a name that is no string"),
        pytest.param(abs, ("x",), (7,), 5, id="a source that is none"),
        pytest.param(abs, ("x",), (None,), 5, id="None as source"),
        pytest.param(abs, ("x",), (KERNELS.constant(1),), 4, id="a column too short"),
        pytest.param(abs, ("x",), (KERNELS.constant(1),), 6, id="a column too long"),
    ],
)
def test_a_malformed_loop_is_refused(function, names, sources, column_size) -> None:
    with pytest.raises((TypeError, ValueError)):
        KERNELS.TaskLoop(function, names, sources, (5,), (KERNELS.Column(column_size),)).run(0, 5)


@both_loops
def test_runs_beyond_the_task_are_never_stored(loop) -> None:
    runs = np.array([[-3, 2], [4, 9]], dtype=np.int64)
    try:
        runner, (result,) = kernel_loop(loop, lambda x: x, numbers(), (5,), runs=runs)
    except (ValueError, IndexError):
        return
    assert runner.run(0, 5) == 5
    assert outputs(result) == [0, 1, ..., ..., 4]


@both_loops
def test_constants_need_no_elements(loop) -> None:
    assert compare(loop, lambda c: c, {"c": constant("c")}, (0,)).values == [[]]
