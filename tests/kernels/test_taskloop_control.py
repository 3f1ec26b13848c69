from __future__ import annotations

import functools
import itertools
import math
import mmap
import signal
import threading
import time

import numpy as np
import pytest
from kernels.loops import KERNELS, Argument, both_loops, compare, constant, elements, kernel_loop, outputs

SAFETY = 5.0  # seconds after which a loop that nothing stops ends by itself
LONG = 3_000_000
HUNDRED = [0.1] * 100


def long_builtin_loop(loop: str, **options):
    """Make a loop of seconds over a builtin, which by itself never gives other threads a turn."""
    if loop == "general":  # C code only, too: of all its arguments, max finds that (0.5,) is a tuple
        options["invoke"] = functools.partial(max, *HUNDRED, (0.5,), key=tuple.__instancecheck__)
    filled = KERNELS.Column(LONG)
    source = KERNELS.constant(HUNDRED)
    runner = KERNELS.TaskLoop(math.fsum, ("seq",), (source,), (LONG,), (filled,), n_positional=1, **options)
    return runner, filled


@both_loops
def test_a_deadline_in_the_past_lets_one_element_through(loop) -> None:
    runner, (result,) = kernel_loop(loop, lambda x: x, {"x": elements(range(10_000), 0)}, (10_000,))
    start = 0
    for _ in range(3):
        reached = runner.run(start, 10_000, deadline=time.monotonic() - 1)
        assert start < reached <= start + 32
        assert runner.reached == reached
        assert runner.done == reached - start
        start = reached
    assert outputs(result)[: start + 1] == [*range(start), ...]


@both_loops
def test_the_deadline_ends_a_run_early(loop) -> None:
    shortest, measured = math.inf, 0.0
    for _ in range(5):
        runner, _ = long_builtin_loop(loop)
        began = time.monotonic()
        reached = runner.run(0, LONG, deadline=began + 0.05)
        took = time.monotonic() - began
        assert 0 < reached < LONG
        assert took >= 0.05
        assert runner.seconds <= took
        shortest, measured = min(shortest, took), max(measured, runner.seconds)
    assert shortest < 0.15
    assert measured > 0.04


@both_loops
def test_the_deadline_holds_when_elements_become_slow(loop) -> None:
    def function(x):
        if x >= 20_000:
            begin = time.perf_counter()
            while time.perf_counter() - begin < 0.005:
                pass
        return x

    runner, _ = kernel_loop(loop, function, {"x": elements(range(20_100), 0)}, (20_100,))
    assert runner.run(0, 20_000) == 20_000
    began = time.monotonic()
    reached = runner.run(19_000, 20_100, deadline=began + 0.05)
    assert 20_000 < reached < 20_040
    assert time.monotonic() - began < 1


@both_loops
def test_no_deadline_runs_to_the_end(loop) -> None:
    runner, (result,) = kernel_loop(loop, lambda x: x, {"x": elements(range(5000), 0)}, (5000,))
    assert runner.run(0, 5000, deadline=math.inf) == 5000
    assert runner.done == 5000
    assert outputs(result) == list(range(5000))


@both_loops
def test_max_bytes_counts_scalars(loop) -> None:
    runner, _ = kernel_loop(loop, lambda x: x, {"x": elements(np.arange(10_000.0), 0)}, (10_000,))
    reached = runner.run(0, 10_000, max_bytes=9 * 1000)
    assert 500 <= reached <= 1200
    assert 0 < runner.run(0, 10_000, max_bytes=0) <= 32
    assert runner.run(0, 10_000) == 10_000


@pytest.mark.parametrize("layout", [True, False], ids=["slab", "objects"])
@both_loops
def test_max_bytes_counts_arrays(loop, layout) -> None:
    runner, (result,) = kernel_loop(
        loop, lambda x: np.full(1000, x), {"x": elements(np.arange(200.0), 0)}, (200,)
    )
    if layout:
        result.fix_layout(np.dtype("f8"), (1000,))
    reached = runner.run(0, 200, max_bytes=80_000)
    assert 5 <= reached <= 42
    stops = [0, reached]
    while stops[-1] < 200:
        stops.append(runner.run(stops[-1], 200, max_bytes=80_000))
        assert stops[-1] > stops[-2]
    assert len(stops) >= 5
    assert all(result.load(i)[0] == i for i in range(200))


@pytest.mark.parametrize(
    "make",
    [lambda: bytearray(1), lambda: mmap.mmap(-1, 4096), lambda: np.zeros(1, "u1")],
    ids=["bytearray", "shared mmap", "ndarray"],
)
@both_loops
def test_a_raised_stop_flag_lets_nothing_through(loop, make) -> None:
    flag = make()
    runner, (result,) = kernel_loop(loop, lambda x: x, {"x": elements(range(10), 0)}, (10,))
    flag[0] = 1
    assert runner.run(2, 10, stop_flag=flag) == 2
    assert runner.done == 0
    assert outputs(result) == [...] * 10
    flag[0] = 0
    assert runner.run(2, 10, stop_flag=flag) == 10


@both_loops
def test_the_function_can_raise_the_stop_flag(loop) -> None:
    flag = bytearray(1)

    def function(x):
        if x == 100:
            flag[0] = 1
        return x

    runner, (result,) = kernel_loop(loop, function, {"x": elements(range(10_000), 0)}, (10_000,))
    reached = runner.run(0, 10_000, stop_flag=flag)
    assert 101 <= reached <= 101 + 32
    assert outputs(result)[:reached] == list(range(reached))
    assert outputs(result)[reached] is ...


@pytest.mark.parametrize(
    "make", [lambda: bytearray(1), lambda: mmap.mmap(-1, 4096)], ids=["bytearray", "mmap"]
)
@both_loops
def test_another_thread_raises_the_stop_flag_of_a_loop_over_a_builtin(loop, make) -> None:
    least = math.inf
    for _ in range(5):
        flag, raised = make(), []
        runner, _ = long_builtin_loop(loop)

        def stop(flag=flag, raised=raised) -> None:
            raised.append(time.monotonic())
            flag[0] = 1

        timer = threading.Timer(0.05, stop)
        timer.start()
        reached = runner.run(0, LONG, stop_flag=flag, deadline=time.monotonic() + SAFETY)
        least = min(least, time.monotonic() - raised[0])
        timer.join()
        assert 0 < reached < LONG
    assert least < 0.05


@pytest.mark.parametrize("flag", [b"", 3, "no"], ids=repr)
def test_a_stop_flag_that_is_none_is_refused(flag) -> None:
    runner, _ = kernel_loop("fast", lambda x: x, {"x": elements(range(10), 0)}, (10,))
    with pytest.raises((TypeError, ValueError)):
        runner.run(0, 10, stop_flag=flag)


@both_loops
def test_other_threads_run_beside_a_loop_over_a_builtin(loop) -> None:
    turns, end = [], threading.Event()
    runner, _ = long_builtin_loop(loop)

    def turn() -> None:
        while not end.is_set():
            turns.append(time.monotonic())
            time.sleep(0.001)

    other = threading.Thread(target=turn)
    other.start()
    began = time.monotonic()
    runner.run(0, LONG, deadline=began + 0.4)
    ended = time.monotonic()
    end.set()
    other.join()
    within = [t for t in turns if began < t < ended]
    gaps = [b - a for a, b in itertools.pairwise([began, *within, ended])]
    assert len(within) >= 20
    assert sorted(gaps)[len(gaps) // 2] < 0.015


class Alarm(Exception):
    pass


@pytest.mark.parametrize("kind", [Alarm, KeyboardInterrupt], ids=lambda k: k.__name__)
@pytest.mark.parametrize("capture_errors", [False, True], ids=["raise", "capture"])
@both_loops
def test_a_signal_is_seen_within_50_ms_of_a_loop_over_a_builtin(loop, kind, capture_errors) -> None:
    runner, filled = long_builtin_loop(loop, capture_errors=capture_errors)
    began, seen = time.monotonic(), []

    def handle(*_) -> None:
        seen.append(time.monotonic() - began)
        raise kind

    previous = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(kind):
            runner.run(0, LONG, deadline=began + SAFETY)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert seen[0] < 0.05 + 0.05
    assert 0 < runner.reached < LONG
    assert filled.tag(runner.reached) == 0
    assert filled.count(0, 0, runner.reached) == 0
    stopped = runner.reached
    assert runner.run(stopped, stopped + 10) == stopped + 10


@both_loops
def test_a_signal_handler_that_raises_nothing_does_not_stop_the_loop(loop) -> None:
    seen = []
    runner, _ = long_builtin_loop(loop)
    previous = signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        runner.run(0, LONG, deadline=began + 0.2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(seen) >= 5
    assert time.monotonic() - began >= 0.2


@both_loops
def test_the_requested_set_and_early_stops_together(loop) -> None:
    runs = np.array([[5, 20], [30, 2000]], dtype=np.int64)
    runner, (result,) = kernel_loop(loop, lambda x: x, {"x": elements(range(2000), 0)}, (2000,), runs=runs)
    position, rounds = 0, 0
    while position < 2000:
        reached = runner.run(position, 2000, deadline=0.0)
        assert position < reached
        assert runner.done > 0
        loaded = outputs(result)
        wanted = [i if 5 <= i < 20 or i >= 30 else ... for i in range(reached)]
        assert loaded == wanted + [...] * (2000 - reached)
        position, rounds = reached, rounds + 1
    assert rounds > 10


@both_loops
def test_an_empty_range_does_nothing(loop) -> None:
    runner, _ = kernel_loop(loop, lambda x: 1 / 0, {"x": elements(range(10), 0)}, (10,))
    assert runner.run(4, 4) == 4
    assert (runner.reached, runner.done, runner.failed) == (4, 0, 0)


@both_loops
def test_ranges_in_any_order_fill_the_column(loop) -> None:
    a, b = np.arange(7.0), [object() for _ in range(5)]
    arguments: dict[str, Argument] = {"a": elements(a, 1), "b": elements(b, 0), "c": constant(1)}
    runner, (result,) = kernel_loop(loop, lambda **kw: kw, arguments, (5, 7))
    for start in (20, 0, 30, 10):
        assert runner.run(start, min(start + 10, 35)) == min(start + 10, 35)
        assert runner.done == min(10, 35 - start)
    whole = compare(loop, lambda **kw: kw, arguments, (5, 7))
    assert [kw["b"] for kw in outputs(result)] == [kw["b"] for kw in whole.values[0]]
    assert [kw["a"] for kw in outputs(result)] == [a[i % 7] for i in range(35)]


@both_loops
@pytest.mark.parametrize("runs", [None, [[2, 4], [7, 9]]])
def test_the_element_that_runs_is_told_before_it_is_computed(loop, runs) -> None:
    current = np.full(2, -1, dtype=np.int64)
    seen = []

    def function(x):
        seen.append((x, *current.tolist()))
        if x == 8:
            raise ValueError
        return x

    options = {} if runs is None else {"runs": np.array(runs)}
    runner, _ = kernel_loop(loop, function, {"x": elements(range(10), 0)}, (10,), **options)
    with pytest.raises(ValueError):  # noqa: PT011  it has no text
        runner.run(0, 10, current=current)
    assert [x for x, *_ in seen] == (list(range(9)) if runs is None else [2, 3, 7, 8])
    assert all(x == told for x, told, _ in seen)
    assert current.tolist() == [8, -1]
