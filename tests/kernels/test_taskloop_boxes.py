"""A loop may use the same scalar object again for the next element; nobody may ever see that it did."""

from __future__ import annotations

import contextvars
import functools
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from kernels.loops import KERNELS, both_loops, constant, elements, kernel_loop, outputs
from kernels.values import FIXED_DTYPES, identical

if TYPE_CHECKING:
    from collections.abc import Callable

N = 200
BOXED = [np.dtype(code) for code in "efdbhilqBHILQ"]
each_boxed = pytest.mark.parametrize("dtype", BOXED, ids=lambda d: f"{d.char} {d}")


def some(dtype: Any, n: int = N) -> np.ndarray:
    """Make n values that differ from their neighbours."""
    if np.dtype(dtype).names:
        return np.array([(k, k) for k in range(n)], dtype=dtype)
    return (np.arange(n) % 120).astype(dtype)


def run_over(loop: str, function: Callable[..., Any], *arrays: Any, **options: Any) -> list[Any]:
    """Run the function over the arrays side by side and load what it returned."""
    arguments = {f"x{k}" if k else "x": elements(array, 0) for k, array in enumerate(arrays)}
    runner, columns = kernel_loop(loop, function, arguments, (len(arrays[0]),), **options)
    assert runner.run(0, len(arrays[0])) == len(arrays[0])
    loaded = [outputs(filled) for filled in columns]
    return loaded[0] if len(loaded) == 1 else loaded


def assert_kept(kept: list[Any], array: np.ndarray) -> None:
    assert len(kept) == len(array)
    for i, value in enumerate(kept):
        assert identical(value, array[i]), i


class Holder:
    pass


def _argument_of(error: ValueError) -> Any:
    return error.args[0]


def keep_attribute(x, out):
    holder = Holder()
    holder.x = x
    out.append(lambda: holder.x)


def keep_generator(x, out):
    def generate():
        yield 0
        yield x

    generator = generate()
    next(generator)
    out.append(lambda: next(generator))


def keep_caught_traceback(x, out):
    try:
        raise ValueError
    except ValueError as error:
        out.append(lambda error=error: error.__traceback__.tb_frame.f_locals["x"])


def keep_frame(x, out):
    frame = sys._getframe()  # noqa: SLF001
    out.append(lambda: frame.f_locals["x"])


def keep_context(x, out):
    variable = contextvars.ContextVar("variable")
    context = contextvars.copy_context()
    context.run(variable.set, x)
    out.append(lambda: context[variable])


def keep_memoryview(x, out):
    view = memoryview(x)
    out.append(lambda: view.obj)


KEEPERS: dict[str, Callable[[Any, list[Callable[[], Any]]], None]] = {
    "list": lambda x, out: out.append([x].pop),
    "closure": lambda x, out: out.append(lambda: x),
    "default": lambda x, out: out.append(lambda x=x: x),
    "tuple": lambda x, out: out.append(functools.partial((x,).__getitem__, 0)),
    "dict value": lambda x, out: out.append(functools.partial({0: x}.pop, 0)),
    "dict key": lambda x, out: out.append(lambda table={x: 0}: next(iter(table))),
    "set": lambda x, out: out.append({x}.pop),
    "attribute": keep_attribute,
    "generator": keep_generator,
    "generator expression": lambda x, out: out.append((y for y in [x]).__next__),
    "partial": lambda x, out: out.append(functools.partial(lambda y: y, x)),
    "bound method": lambda x, out: out.append(functools.partial(getattr, x.__add__, "__self__")),
    "exception": lambda x, out: out.append(functools.partial(_argument_of, ValueError(x))),
    "traceback": keep_caught_traceback,
    "frame": keep_frame,
    "context variable": keep_context,
    "memoryview": keep_memoryview,
    "object array": lambda x, out: out.append(functools.partial(np.array([x], dtype=object).item, 0)),
    "iterator": lambda x, out: out.append(iter([x]).__next__),
}


@pytest.mark.parametrize("keep", KEEPERS.values(), ids=KEEPERS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u2"])
@both_loops
def test_what_the_function_keeps_never_changes(loop, dtype, keep) -> None:
    array, kept = some(dtype), []
    result = run_over(loop, lambda x: keep(x, kept) or float(x), array)
    assert_kept([get() for get in kept], array)
    assert result == array.tolist()


@pytest.mark.parametrize("dtype", [*FIXED_DTYPES, np.dtype(object)], ids=lambda d: f"{d.char} {d}")
@both_loops
def test_arguments_of_every_dtype_can_be_kept(loop, dtype) -> None:
    array, kept = some(dtype), []
    run_over(loop, kept.append, array, n_positional=1)
    assert_kept(kept, array)


@each_boxed
@both_loops
def test_a_returned_argument_and_containers_of_it(loop, dtype) -> None:
    array = some(dtype)
    assert_kept(run_over(loop, lambda x: x, array), array)
    assert_kept([value[0] for value in run_over(loop, lambda x: [x], array)], array)
    assert_kept([value.x for value in run_over(loop, _held, array)], array)
    assert_kept([value() for value in run_over(loop, lambda x: lambda: x, array)], array)
    assert_kept([list(value)[0] for value in run_over(loop, _yield_it, array)], array)
    both = run_over(loop, lambda x: (x, x), array, n_columns=2)
    assert_kept(both[0], array)
    assert_kept(both[1], array)
    mixed = run_over(loop, lambda x: (x, [x]), array, n_columns=2)
    assert_kept([value[0] for value in mixed[1]], array)


def _held(x):
    holder = Holder()
    holder.x = x
    return holder


def _yield_it(x):
    yield x


@both_loops
def test_it_can_be_kept_now_and_then(loop) -> None:
    array, kept = some("f8"), {}

    def sometimes(x):
        if int(x) % 3 == 0:
            kept[int(x)] = x
        return x * 1

    result = run_over(loop, sometimes, array)
    assert_kept(result, array)
    assert all(identical(value, np.float64(key)) for key, value in kept.items())


@both_loops
def test_the_previous_argument_is_still_what_it_was(loop) -> None:
    array, previous, wrong = some("f8"), [], []

    def look_back(x):
        if previous:
            last, number = previous.pop()
            if last != number or last == x:
                wrong.append((last, number))
        previous.append((x, float(x)))
        return 0.0

    run_over(loop, look_back, array)
    assert not wrong


@both_loops
def test_a_kept_exception_still_holds_its_argument(loop) -> None:
    array = some("f8")

    def fail(x):
        raise ValueError(x, [x])

    arguments = {"x": elements(array, 0)}
    runner, (result,) = kernel_loop(loop, fail, arguments, (N,), capture_errors=True)
    assert runner.run(0, N) == N
    errors = [result.load_error(i)[0] for i in range(N)]
    assert_kept([error.args[0] for error in errors], array)
    assert_kept([error.args[1][0] for error in errors], array)
    for i, error in enumerate(errors):
        traceback = error.__traceback__
        while traceback and traceback.tb_frame.f_code is not fail.__code__:
            traceback = traceback.tb_next
        assert traceback is None or identical(traceback.tb_frame.f_locals["x"], array[i])


@both_loops
def test_an_lru_cache_keeps_its_keys(loop) -> None:
    array = np.arange(N) * 0.5

    @functools.cache
    def double(x):
        return 2 * x

    expected = [double.__wrapped__(x) for x in array]
    assert all(map(identical, run_over(loop, double, array), expected))
    assert double.cache_info().currsize == N
    assert all(map(identical, run_over(loop, double, array[::-1]), expected[::-1]))
    assert double.cache_info() == (N, N, None, N)


@both_loops
def test_an_argument_handed_to_another_thread(loop) -> None:
    array, line, kept = some("f8"), queue.SimpleQueue(), []

    def drain() -> None:
        while (item := line.get()) is not None:
            kept.append(item)  # noqa: PERF401

    other = threading.Thread(target=drain)
    other.start()
    run_over(loop, line.put, array, n_positional=1)
    line.put(None)
    other.join()
    assert_kept(kept, array)


@both_loops
def test_kept_keyword_dictionaries(loop) -> None:
    array, kept = some("f8"), []
    run_over(loop, lambda **kw: kept.append(kw), array, array[::-1])
    assert_kept([kw["x"] for kw in kept], array)
    assert_kept([kw["x1"] for kw in kept], array[::-1])


@both_loops
def test_a_function_that_empties_its_keywords(loop) -> None:
    array, kept = some("f8"), []

    def spoil(**kw):
        kept.append(kw.pop("x"))
        kw.clear()

    run_over(loop, spoil, array, array)
    assert_kept(kept, array)


def test_the_general_loop_hands_out_fresh_keywords() -> None:
    array, kept = some("f8"), []
    filled = KERNELS.Column(N)
    runner = KERNELS.TaskLoop(
        print,
        ("x", "c"),
        (KERNELS.elements(array, (0,)), KERNELS.constant("c")),
        (N,),
        (filled,),
        invoke=lambda index, kwargs: kept.append((index, kwargs)) or (kwargs["x"],),
    )
    assert runner.run(0, N) == N
    assert [index for index, _ in kept] == list(range(N))
    assert all(type(kwargs) is dict and list(kwargs) == ["x", "c"] for _, kwargs in kept)
    assert_kept([kwargs["x"] for _, kwargs in kept], array)
    assert_kept(outputs(filled), array)


@both_loops
def test_two_arguments_from_one_array_and_an_outer_axis(loop) -> None:
    a, b, kept = some("f8", 12), some("i4", 9), []
    arguments = {"a": elements(a, 0), "b": elements(b, 1), "again": elements(a, 0)}
    runner, _ = kernel_loop(loop, lambda a, b, again: kept.append((a, b, again)), arguments, (12, 9))
    runner.run(0, 12 * 9)
    assert [(float(x), int(y), float(z)) for x, y, z in kept] == [(i, j, i) for i in a for j in b]
    assert {(type(x), type(y)) for x, y, _ in kept} == {(np.float64, np.int32)}


@both_loops
def test_a_change_of_the_input_is_seen_by_the_next_element(loop) -> None:
    a, b, seen = np.arange(3.0), np.arange(4.0), []

    def change(a_value, b_value):
        seen.append((float(a_value), float(b_value)))
        a[1] = b_value * 10
        b[3] = 7
        return 0

    arguments = {"a_value": elements(a, 0), "b_value": elements(b, 1)}
    kernel_loop(loop, change, arguments, (3, 4))[0].run(0, 12)
    assert seen[:4] == [(0, 0), (0, 1), (0, 2), (0, 7)]
    assert seen[4:8] == [(70, 0), (0, 1), (10, 2), (20, 7)]


@both_loops
def test_a_nested_run_of_another_loop(loop) -> None:
    array, kept = some("f8", 30), []

    def inner(y):
        kept.append(y)
        return y + 1

    def outer(x):
        runner, (result,) = kernel_loop(loop, inner, {"y": elements(array * 0 + x, 0)}, (30,))
        runner.run(0, 30)
        assert {float(value) for value in outputs(result)} == {float(x) + 1}
        return x

    assert_kept(run_over(loop, outer, array), array)
    assert [float(y) for y in kept] == [float(x) for x in array for _ in range(30)]


@both_loops
def test_a_nested_run_of_the_same_loop(loop) -> None:
    array, kept, depth = some("f8", 40), [], []

    def reenter(x):
        kept.append(x)
        before = float(x)
        if int(x) < 20:
            depth.append(x)
            runner.run(39 - int(x), 40 - int(x))
        assert float(x) == before
        return x

    runner, (result,) = kernel_loop(loop, reenter, {"x": elements(array, 0)}, (40,))
    assert runner.run(0, 20) == 20
    assert_kept(outputs(result), array)
    assert [float(x) for x in kept] == [v for k in range(20) for v in (k, 39 - k)]
    assert_kept(depth, array[:20])


@both_loops
def test_threads_share_a_loop_on_disjoint_ranges(loop) -> None:
    n_threads, per_thread = 4, 500
    array = np.arange(n_threads * per_thread, dtype="f8")
    kept = [[] for _ in range(n_threads)]
    interval = sys.getswitchinterval()

    def keep(x, scale):
        kept[int(x) // per_thread].append(x)
        return x * scale

    arguments = {"x": elements(array, 0), "scale": constant(2)}
    runner, (result,) = kernel_loop(loop, keep, arguments, array.shape)
    start_line = threading.Barrier(n_threads)
    reached = [0] * n_threads

    def work(which: int) -> None:
        start_line.wait()
        reached[which] = runner.run(which * per_thread, (which + 1) * per_thread)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(n_threads)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert reached == [(which + 1) * per_thread for which in range(n_threads)]
    assert_kept([value for own in kept for value in own], array)
    assert_kept(outputs(result), array * 2)


@each_boxed
@both_loops
def test_the_value_of_each_argument_is_right_while_none_is_kept(loop, dtype) -> None:
    rng = np.random.default_rng(1)
    array = rng.integers(0, 120, size=N).astype(dtype)
    result = run_over(loop, lambda x: (type(x), x.item()), array)
    assert result == [(dtype.type, value) for value in array.tolist()]
