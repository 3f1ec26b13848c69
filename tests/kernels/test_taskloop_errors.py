from __future__ import annotations

import gc
import math
import sys
import weakref

import numpy as np
import pytest
from kernels.loops import (
    KERNELS,
    both_loops,
    compare,
    elements,
    kernel_loop,
    numbers,
    outputs,
    slices,
)

from pipefunc_c._kernels.tags import ERROR, MISSING


class NeedsArguments(Exception):
    def __init__(self, first: object, second: object) -> None:
        super().__init__("needs")
        self.first, self.second = first, second


class Unequal(Exception):
    __hash__ = None

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class Stop(BaseException):
    pass


def raising(exception):
    """Make a function that raises for x == 2."""

    def function(x):
        if x == 2:
            raise exception
        return x

    return function


EXCEPTIONS = {
    "instance": ValueError("bad", 1),
    "class": ValueError,
    "KeyError": KeyError("k"),
    "OSError": OSError(2, "gone", "file"),
    "StopIteration": StopIteration(3),
    "StopAsyncIteration": StopAsyncIteration(),
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError("deep"),
    "IndexError": IndexError("mine"),
    "UnicodeDecodeError": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "Warning": UserWarning("w"),
    "group": ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    "needs arguments": NeedsArguments(1, 2),
    "unequal": Unequal("x"),
}


@pytest.mark.parametrize("capture_errors", [False, True], ids=["raise", "capture"])
@pytest.mark.parametrize("exception", EXCEPTIONS.values(), ids=EXCEPTIONS)
@both_loops
def test_an_exception_is_raised_or_stored(loop, exception, capture_errors) -> None:
    outcome = compare(loop, raising(exception), numbers(), (5,), capture_errors=capture_errors)
    if capture_errors:
        assert outcome.tags[0][2] == ERROR
        assert (outcome.reached, outcome.done, outcome.failed) == (5, 5, 1)
        assert outcome.values[0][3:] == [3, 4]
        caught = outcome.values[0][2]
    else:
        assert outcome.tags[0][2:] == [MISSING] * 3
        assert outcome.reached == 2
        caught = outcome.error
    assert caught is exception or (exception is ValueError and type(caught) is ValueError)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        pytest.param(math.sqrt, ValueError, id="math.sqrt"),
        pytest.param(int, ValueError, id="int"),
        pytest.param((1).__floordiv__, ZeroDivisionError, id="division"),
        pytest.param({}.__getitem__, KeyError, id="dict"),
        pytest.param(bytes(3).__getitem__, TypeError, id="wrong type"),
        pytest.param(lambda: 0, TypeError, id="too many arguments"),
        pytest.param(next, TypeError, id="not an iterator"),
    ],
)
@both_loops
def test_exceptions_made_in_c(loop, function, kind) -> None:
    values = {math.sqrt: [-1.0], int: ["x"]}.get(function, ["no"] if kind is TypeError else [0])
    for capture_errors in (False, True):
        outcome = compare(
            loop,
            function,
            {"x": elements(values * 3, 0)},
            (3,),
            n_positional=1,
            capture_errors=capture_errors,
        )
        caught = outcome.values[0] if capture_errors else [outcome.error]
        assert {type(error) for error in caught} == {kind}
        assert all(isinstance(error, kind) for error in caught)


@pytest.mark.parametrize("capture_errors", [False, True], ids=["raise", "capture"])
@pytest.mark.parametrize(
    "exception",
    [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), Stop("x"), BaseExceptionGroup("g", [Stop()])],
    ids=lambda e: type(e).__name__,
)
@both_loops
def test_what_is_no_exception_is_always_raised(loop, exception, capture_errors) -> None:
    runner, (result,) = kernel_loop(loop, raising(exception), numbers(), (5,), capture_errors=capture_errors)
    with pytest.raises(type(exception)) as caught:
        runner.run(0, 5)
    assert caught.value is exception
    assert runner.reached == 2
    assert outputs(result) == [0, 1, ..., ..., ...]
    assert runner.run(3, 5) == 5
    assert outputs(result) == [0, 1, ..., 3, 4]


@both_loops
def test_a_failure_is_an_error_in_every_column(loop) -> None:
    def function(x):
        if x == 1:
            raise ValueError(x)
        return x, str(x)

    outcome = compare(loop, function, numbers(3), (3,), n_columns=2, capture_errors=True)
    assert [tags[1] for tags in outcome.tags] == [ERROR, ERROR]
    assert outcome.values[1][::2] == ["0", "2"]


@pytest.mark.parametrize(
    "result", [lambda x: (x,), lambda x: [x], lambda x: x], ids=["tuple", "list", "float"]
)
@both_loops
def test_a_short_result_stores_nothing_of_its_element(loop, result) -> None:
    arguments = {"x": elements([0.5, 1.5], 0)}
    outcome = compare(loop, result, arguments, (2,), n_columns=2)
    assert isinstance(outcome.error, IndexError | TypeError)
    assert outcome.tags == [[MISSING] * 2] * 2
    outcome = compare(loop, result, arguments, (2,), n_columns=2, capture_errors=True)
    assert outcome.tags == [[ERROR] * 2] * 2


@both_loops
def test_captured_errors_do_not_chain(loop) -> None:
    runner, (result,) = kernel_loop(
        loop, lambda x: 1 // (x % 2), {"x": elements(range(6), 0)}, (6,), capture_errors=True
    )
    assert runner.run(0, 6) == 6
    assert runner.failed == 3
    for i in (0, 2, 4):
        assert result.load(i).__context__ is None
    assert result.load(0) is not result.load(2)
    assert sys.exc_info() == (None, None, None)


@both_loops
def test_the_error_names_where_it_was_raised(loop) -> None:
    runner, _ = kernel_loop(loop, raising(ValueError("here")), numbers(), (5,))
    with pytest.raises(ValueError, match="here") as caught:
        runner.run(0, 5)
    assert caught.traceback[-1].name == "function"


@both_loops
def test_a_run_can_go_on_after_an_error(loop) -> None:
    runner, (result,) = kernel_loop(loop, raising(ValueError("once")), numbers(), (5,))
    with pytest.raises(ValueError, match="once"):
        runner.run(0, 5)
    assert runner.run(runner.reached + 1, 5) == 5
    assert outputs(result) == [0, 1, ..., 3, 4]


# ---- sources that fail -------------------------------------------------------------------------


class Fragile:
    def __getitem__(self, index):
        if index == 1:
            raise LookupError(index)
        return index


@pytest.mark.parametrize("capture_errors", [False, True], ids=["raise", "capture"])
@both_loops
def test_an_input_that_cannot_be_read(loop, capture_errors) -> None:
    arguments = {"a": elements(Fragile(), 0), "b": slices(np.arange(3.0), 0)}
    compare(loop, lambda a, b: (a, b), arguments, (3,), capture_errors=capture_errors)


@both_loops
def test_a_list_that_the_function_shrinks(loop) -> None:
    values = [object() for _ in range(1000)]
    watch = []

    def shrink(x):
        values.clear()
        watch.append(sys.getrefcount(x))
        return x

    runner, (result,) = kernel_loop(loop, shrink, {"x": elements(values, 0)}, (1000,))
    with pytest.raises(IndexError):
        runner.run(0, 1000)
    assert runner.reached == 1
    assert type(result.load(0)) is object
    values.extend(range(10))
    runner, (result,) = kernel_loop(
        loop, lambda x: values.pop(), {"x": elements(values, 0)}, (10,), capture_errors=True
    )
    assert runner.run(0, 10) == 10
    assert outputs(result)[:5] == [9, 8, 7, 6, 5]
    assert all(isinstance(value, IndexError) for value in outputs(result)[5:])


@both_loops
def test_a_list_item_that_the_function_drops_stays_alive_for_its_element(loop) -> None:
    class Thing:
        pass

    values = [Thing() for _ in range(50)]

    def drop(x):
        watch = weakref.ref(x)
        values[:] = [Thing() for _ in range(50)]
        gc.collect(0)
        return watch() is x

    runner, (result,) = kernel_loop(loop, drop, {"x": elements(values, 0)}, (50,))
    runner.run(0, 50)
    assert outputs(result) == [True] * 50


@pytest.mark.parametrize("which", ["input", "output"])
@both_loops
def test_a_column_that_the_function_closes(loop, which) -> None:
    source = KERNELS.Column(100)
    for i in range(100):
        source.store(i, [i])
    made = {}

    def close(x):
        made[which].close()
        return x

    filled = KERNELS.Column(100)
    made.update(input=source, output=filled)
    options = {"invoke": lambda index, kwargs: (close(**kwargs),)} if loop == "general" else {}
    runner = KERNELS.TaskLoop(
        close, ("x",), (KERNELS.elements(source, (0,), (100,)),), (100,), (filled,), **options
    )
    with pytest.raises((ValueError, RuntimeError)):
        runner.run(0, 100)
    assert runner.reached <= 1


@both_loops
def test_an_input_column_element_that_the_function_drops_stays_alive(loop) -> None:
    source = KERNELS.Column(20)
    for i in range(20):
        source.store(i, [i])

    def drop(x):
        for i in range(20):
            source.store(i, [x[0] + 1])
        return x[0]

    options = {"invoke": lambda index, kwargs: (drop(**kwargs),)} if loop == "general" else {}
    filled = KERNELS.Column(20)
    KERNELS.TaskLoop(drop, ("x",), (KERNELS.elements(source, (0,), (20,)),), (20,), (filled,), **options).run(
        0, 20
    )
    assert outputs(filled) == list(range(20))
