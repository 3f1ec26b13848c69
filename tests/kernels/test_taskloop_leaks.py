from __future__ import annotations

import contextlib
import gc
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from kernels.loops import KERNELS, both_loops, general

from pipefunc_c._kernels.column import Column

N = 40


class Thing:
    """An object that can be counted and watched."""


class Failure(Exception):
    pass


class Tracked:
    """One of everything that a loop holds or passes."""

    def __init__(self) -> None:
        self.constant = Thing()
        self.items = [Thing() for _ in range(N)]
        self.results = [Thing() for _ in range(N)]
        self.array = np.arange(float(N))
        self.objects = np.array([Thing() for _ in range(N)], dtype=object)
        self.name = "".join(["a_rather_long", "_name"])
        self.position = "x"
        self.error = Failure("one for all")
        self.input = Column(N)
        for i in range(N):
            self.input.store(i, self.items[i])
        self.flag = bytearray(1)
        self.propagate = lambda index: self.error
        self.plain = lambda x, a, o, c, **kw: self.results[int(a)]
        self.pair = lambda x, a, o, c, **kw: (self.results[int(a)], a)
        self.short = lambda x, a, o, c, **kw: (x,) if a > 20 else (x, c)
        self.kept: list[object] = []

    def __iter__(self):
        yield from vars(self).values()
        yield from (self.items[3], self.results[5], self.objects[7], self.items[30])

    def fail(self, x, a, o, c, **kw):
        if a % 2:
            raise self.error
        return a

    def fail_late(self, x, a, o, c, **kw):
        if a > 30:
            raise Failure(a, x)
        return o

    def keep(self, x, a, o, c, **kw):
        self.kept.append((x, a, o, c))
        return a


def run(
    loop: str, t: Tracked, function, *, n_columns: int = 1, stop: int = N, control=None, **options
) -> None:
    names = ("x", "a", "o", "c", t.name)
    sources = (
        KERNELS.elements(t.items, (0,)),
        KERNELS.elements(t.array, (0,)),
        KERNELS.elements(t.objects, (0,)),
        KERNELS.constant(t.constant),
        KERNELS.elements(t.input, (0,), (N,)),
    )
    if loop == "general":
        options["invoke"] = general(
            function, names, options.get("n_positional", 0), n_columns if n_columns > 1 else 0
        )
    columns = [Column(N) for _ in range(n_columns)]
    runner = KERNELS.TaskLoop(function, names, sources, (N,), columns, unpack=n_columns > 1, **options)
    with contextlib.suppress(Failure, IndexError, RuntimeError):
        runner.run(0, stop, **(control or {}))
    t.error.__traceback__ = None


def run_with_failed_input(loop: str, t: Tracked, **options) -> None:
    for i in range(0, N, 3):
        t.input.store_error(i, t.error)
    run(loop, t, t.plain, **options)
    for i in range(0, N, 3):
        t.input.store(i, t.items[i])


def run_and_drop_list(loop: str, t: Tracked) -> None:
    whole = list(t.items)

    def shrink(x, a, o, c, **kw):
        del t.items[10:]
        return x

    run(loop, t, shrink)
    t.items[:] = whole


def run_and_keep(loop: str, t: Tracked) -> None:
    run(loop, t, t.keep)
    t.kept.clear()


def refuse(loop: str, t: Tracked) -> None:
    with pytest.raises((ValueError, TypeError)):
        KERNELS.TaskLoop(t.plain, (t.name,), (KERNELS.constant(t.constant),) * 2, (N,), (Column(N),))


SCENARIOS = {
    "to the end": lambda loop, t: run(loop, t, t.plain),
    "positional": lambda loop, t: run(loop, t, t.plain, n_positional=3),
    "two outputs": lambda loop, t: run(loop, t, t.pair, n_columns=2),
    "kept arguments": run_and_keep,
    "raises": lambda loop, t: run(loop, t, t.fail),
    "raises late": lambda loop, t: run(loop, t, t.fail_late),
    "captures": lambda loop, t: run(loop, t, t.fail, capture_errors=True),
    "captures fresh exceptions": lambda loop, t: run(loop, t, t.fail_late, capture_errors=True),
    "result that cannot be unpacked": lambda loop, t: run(
        loop, t, lambda **kw: t, n_columns=2, capture_errors=True
    ),
    "deadline": lambda loop, t: run(loop, t, t.plain, control={"deadline": 0.0, "stop_flag": t.flag}),
    "part": lambda loop, t: run(loop, t, t.plain, stop=11),
    "requested set": lambda loop, t: run(loop, t, t.plain, runs=np.array([[3, 9], [20, 40]])),
    "failed inputs, propagated": lambda loop, t: run_with_failed_input(loop, t, propagate=t.propagate),
    "failed inputs, raised": run_with_failed_input,
    "failed inputs, captured": lambda loop, t: run_with_failed_input(loop, t, capture_errors=True),
    "an input that shrinks": run_and_drop_list,
    "refused": refuse,
    "results that are too short": lambda loop, t: run(loop, t, t.short, n_columns=2),
    "results that are too short, captured": lambda loop, t: run(
        loop, t, t.short, n_columns=2, capture_errors=True
    ),
}
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


@each_scenario
@both_loops
def test_reference_counts_come_back(loop, scenario) -> None:
    tracked = Tracked()
    shared = [None, True, False, 1, "", ()]
    scenario(loop, tracked)
    gc.collect()
    counts = [sys.getrefcount(thing) for thing in tracked]
    shared_counts = [sys.getrefcount(thing) for thing in shared]
    for _ in range(10):
        scenario(loop, tracked)
    gc.collect()
    names = [*vars(tracked), "items[3]", "results[5]", "objects[7]", "items[30]"]
    after = [sys.getrefcount(thing) for thing in tracked]
    assert dict(zip(names, after, strict=True)) == dict(zip(names, counts, strict=True))
    for thing, before in zip(shared, shared_counts, strict=True):
        assert abs(sys.getrefcount(thing) - before) < 100, thing  # 10 runs of 40 elements would be 400


@each_scenario
@both_loops
def test_memory_does_not_grow(loop, scenario) -> None:
    tracked = Tracked()
    tracemalloc.start()
    try:
        for _ in range(10):  # fills the free lists
            scenario(loop, tracked)
        for _ in range(3):  # what the interpreter keeps for itself grows once, a leak each time
            gc.collect()
            before, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
            for _ in range(20):
                scenario(loop, tracked)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            more = len(gc.get_objects()) - objects
            if more < 20 and grown < 20 * N:
                break
    finally:
        tracemalloc.stop()
    assert more < 20
    assert grown < 20 * N  # less than a byte for each element


@both_loops
def test_a_cycle_through_a_loop_is_collected(loop) -> None:
    def make_cycle() -> list[weakref.ref]:
        thing, filled = Thing(), Column(3)
        thing.array = np.arange(3.0)

        def function(x, c):
            return runner, c

        options = {"invoke": lambda index, kwargs: (function(**kwargs),)} if loop == "general" else {}
        sources = (KERNELS.elements(thing.array, (0,)), KERNELS.constant(thing))
        runner = KERNELS.TaskLoop(function, ("x", "c"), sources, (3,), (filled,), **options)
        runner.run(0, 3)
        thing.runner = runner
        return [weakref.ref(thing), weakref.ref(function), weakref.ref(thing.array)]

    watches = make_cycle()
    gc.collect()
    assert [watch() for watch in watches] == [None] * 3


@both_loops
def test_results_live_only_in_the_column(loop) -> None:
    watches = []

    def function(x):
        thing = Thing()
        watches.append(weakref.ref(thing))
        return thing

    filled = Column(3)
    options = {"invoke": lambda index, kwargs: (function(**kwargs),)} if loop == "general" else {}
    sources = (KERNELS.elements([1, 2, 3], (0,)),)
    runner = KERNELS.TaskLoop(function, ("x",), sources, (3,), (filled,), **options)
    runner.run(0, 3)
    assert all(watch() is not None for watch in watches)
    for i in range(3):
        filled.clear(i)
    assert all(watch() is None for watch in watches)
