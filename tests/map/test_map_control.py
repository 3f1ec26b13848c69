"""What a sequential map runs, in which order and in which portions, and how it is stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from map.alone import start, until
from map.refuse import refuse

from pipefunc_c import PipeFunc, Pipeline, pipefunc
from pipefunc_c.map._engine import driver as driver_module
from pipefunc_c.map._engine.lease_run import LeaseRun

pytestmark = pytest.mark.timeout(60)

STRATEGIES = ["generation", "eager"]
ROWS = [1, -1, slice(1, None), slice(2, 2)]
COLUMNS = [0, np.int64(1), slice(None, None, -1)]
FIXED = [None, {}, {"j": 1}, {"i": slice(None, None, 2)}] + [{"i": i, "j": j} for i in ROWS for j in COLUMNS]


@pytest.fixture
def calls():
    return []


@pytest.fixture
def chain(calls):
    """Two maps, the second with two outputs, and a reduction of one of them."""

    @pipefunc("y", mapspec="x[i] -> y[i]")
    def first(x):
        calls.append(("first", x))
        return 10 * x

    @pipefunc(("low", "high"), mapspec="y[i] -> low[i], high[i]")
    def second(y):
        calls.append(("second", y))
        return y - 1, y + 1

    @pipefunc("total")
    def total(low):
        calls.append(("total", list(low)))
        return sum(low)

    return Pipeline([first, second, total])


def called(calls):
    return {name for name, _ in calls}


def sequential(functions, inputs, **options):
    return Pipeline(functions).map(inputs, parallel=False, **options)


class TestFixedIndices:
    @pytest.fixture
    def grid(self, calls):
        @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
        def grid(x, y):
            calls.append((x, y))
            return 10 * x + y

        @pipefunc("w", mapspec="z[i, j] -> w[i, j]")
        def after(z):
            calls.append(z)
            return -z

        return Pipeline([grid, after])

    @pytest.mark.parametrize("fixed", FIXED, ids=str)
    def test_only_these_run(self, grid, calls, fixed):
        results = grid.map({"x": [1, 2, 3], "y": [4, 5]}, parallel=False, fixed_indices=fixed)
        mask = np.zeros((3, 2), dtype=bool)
        mask[tuple((fixed or {}).get(axis, slice(None)) for axis in "ij")] = True
        full = np.array([[14, 15], [24, 25], [34, 35]])
        assert results["z"].output.tolist() == np.where(mask, full, None).tolist()
        assert results["w"].output.tolist() == np.where(mask, -full, None).tolist()
        assert len(calls) == 2 * mask.sum()
        assert results["z"].store.mask_linear() == (~mask).ravel().tolist()

    def test_of_a_permuted_output(self):
        function = PipeFunc(lambda x: -x, "z", mapspec="x[i, j] -> z[j, i]")
        results = sequential([function], {"x": np.arange(6).reshape(2, 3)}, fixed_indices={"j": 2})
        assert results["z"].output.tolist() == [[None] * 2, [None] * 2, [-2, -5]]

    @pytest.mark.parametrize("fixed", [{"i": 0}, {"i": slice(None)}], ids=str)
    def test_an_axis_that_is_reduced(self, chain, calls, fixed):
        refuse(chain, {"x": [1, 2]}, ValueError, "'i'", fixed_indices=fixed)
        assert not calls

    def test_an_axis_that_is_reduced_by_a_part_that_is_left_out(self, chain):
        results = chain.map({"x": [1, 2]}, parallel=False, fixed_indices={"i": 0}, output_names={"y"})
        assert results["y"].output.tolist() == [10, None]


class TestOutputNames:
    @pytest.mark.parametrize(
        ("names", "functions"),
        [
            ("y", {"first"}),
            (["y"], {"first"}),
            ({"low"}, {"first", "second"}),
            ([("low", "high")], {"first", "second"}),
            (("high", "y"), {"first", "second"}),
            ({"total", "high"}, {"first", "second", "total"}),
        ],
        ids=["name", "list", "set", "tuple in a list", "tuple", "two"],
    )
    def test_what_is_needed_runs(self, chain, calls, names, functions):
        results = chain.map({"x": [1, 2]}, parallel=False, output_names=names)
        assert called(calls) == functions
        outputs = {"first": {"y"}, "second": {"low", "high"}, "total": {"total"}}
        assert set(results) == set().union(*(outputs[each] for each in functions))


class TestAutoSubpipeline:
    def test_an_array_in_the_middle(self, chain, calls):
        results = chain.map({"y": [5, 6]}, parallel=False, auto_subpipeline=True)
        assert called(calls) == {"second", "total"}
        assert results["high"].output.tolist() == [6, 7]
        assert "y" not in results

    def test_up_to_an_output(self, chain, calls):
        options = {"auto_subpipeline": True, "output_names": {"low"}}
        assert chain.map({"y": [5]}, parallel=False, **options)["low"].output.tolist() == [4]
        assert called(calls) == {"second"}

    def test_inputs_in_the_middle_are_allowed_with_output_names(self, chain, calls):
        results = chain.map({"y": [5, 6]}, parallel=False, output_names={"high"})
        assert results["high"].output.tolist() == [6, 7]
        assert called(calls) == {"second"}
        for given in ({"y": [5], "x": [1]}, {"low": [5]}):
            with pytest.raises(ValueError, match="input"):
                chain.map(given, parallel=False, output_names={"high"})
        assert called(calls) == {"second"}

    def test_one_of_two_outputs(self, chain, calls):
        results = chain.map({"low": [5, 6]}, parallel=False, auto_subpipeline=True)
        assert results["total"].output == 11
        assert called(calls) == {"total"}


def test_without_results_everything_runs(chain, calls):
    assert chain.map({"x": [1, 2]}, parallel=False, return_results=False) == {}
    assert called(calls) == {"first", "second", "total"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies(calls, strategy):
    """Two chains of different lengths that meet."""

    def make(output, mapspec, parameter):
        def function(**kwargs):
            calls.append(output)
            return sum(kwargs.values())

        text = f"lambda {parameter}, c=1: function({parameter}={parameter}, c=c)"
        return PipeFunc(eval(text, {"function": function}), output, mapspec=mapspec, bound={"c": 1})

    last = PipeFunc(lambda a2, b0: (calls.append("z"), a2 + b0)[1], "z", mapspec="a2[i], b0[i] -> z[i]")
    functions = [make(f"a{k}", f"{p}[i] -> a{k}[i]", p) for k, p in enumerate(["x", "a0", "a1"])]
    functions += [make("b0", "x[i] -> b0[i]", "x"), last]
    results = sequential(functions, {"x": [1, 2, 3]}, scheduling_strategy=strategy)
    assert results["z"].output.tolist() == [1 + 3 + 1 + 1, 2 + 3 + 2 + 1, 3 + 3 + 3 + 1]
    assert sorted(calls) == sorted(["a0", "a1", "a2", "b0", "z"] * 3)
    order = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert len(order) == 5, "stages are not interleaved in one thread"
    assert order.index("a0") < order.index("a1") < order.index("a2") < order.index("z")
    if strategy == "generation":
        assert order.index("b0") < order.index("a1")


class TestInternalAxes:
    @pytest.mark.parametrize("declared", [3, (3,), "?", None], ids=str)
    @pytest.mark.parametrize("where", ["function", "map"])
    @pytest.mark.parametrize("container", [list, tuple, np.array], ids=["list", "tuple", "array"])
    def test_after_the_external_one(self, declared, where, container):
        def repeat(x):
            return container([x, x + 1, x + 2])

        shape = {"internal_shape": declared} if where == "function" else {}
        repeat = PipeFunc(repeat, "y", mapspec="x[i] -> y[i, k]", **shape)
        total = PipeFunc(sum, "s", renames={"iterable": "y"}, mapspec="y[i, :] -> s[i]")
        single = PipeFunc(lambda y: -y, "z", mapspec="y[i, k] -> z[k, i]")
        options = {"internal_shapes": {"y": declared}} if where == "map" and declared is not None else {}
        results = sequential([repeat, total, single], {"x": [1, 5]}, **options)
        assert results["y"].output.tolist() == [[1, 2, 3], [5, 6, 7]]
        assert results["s"].output.tolist() == [6, 18]
        assert results["z"].output.tolist() == [[-1, -5], [-2, -6], [-3, -7]]

    @pytest.mark.parametrize(("output", "axis"), [("kij", 0), ("ikj", 1), ("ijk", 2)])
    def test_at_any_place(self, output, axis):
        pair = PipeFunc(
            lambda x: [x, -x], "y", mapspec=f"x[i, j] -> y[{', '.join(output)}]", internal_shape=2
        )
        array = np.arange(6).reshape(2, 3)
        found = sequential([pair], {"x": array})["y"].output
        assert found.astype(int).tolist() == np.stack([array, -array], axis=axis).tolist()

    def test_what_the_map_says_wins(self):
        pair = PipeFunc(lambda x: [x, -x], "y", mapspec="x[i] -> y[i, k]", internal_shape=5)
        assert sequential([pair], {"x": [1]}, internal_shapes={"y": 2})["y"].output.shape == (1, 2)

    def test_a_single_call_gives_the_very_object(self):
        made = [3, 4]
        source = PipeFunc(lambda n: made, "x", mapspec="... -> x[i]")
        double = PipeFunc(lambda x: 2 * x, "y", mapspec="x[i] -> y[i]")
        results = sequential([source, double], {"n": 2})
        assert results["x"].output is made
        assert results["y"].output.tolist() == [6, 8]

    def test_of_size_zero(self):
        nothing = PipeFunc(lambda x: [], "y", mapspec="x[i] -> y[i, k]")
        after = PipeFunc(lambda y: 1 / 0, "z", mapspec="y[i, k] -> z[i, k]")
        results = sequential([nothing, after], {"x": [1, 2]})
        assert results["y"].output.shape == results["z"].output.shape == (2, 0)


class TestOrderOfAxes:
    def test_elements_run_in_the_order_of_the_output(self, calls):
        transposed = PipeFunc(lambda x: (calls.append(x), x)[1], "z", mapspec="x[i, j] -> z[j, i]")
        output = sequential([transposed], {"x": np.arange(6).reshape(2, 3)})["z"].output
        assert calls == [0, 3, 1, 4, 2, 5]
        assert output.tolist() == [[0, 3], [1, 4], [2, 5]]

    def test_three_axes(self):
        function = PipeFunc(lambda x, y: (x, y), "z", mapspec="x[a, b], y[c] -> z[c, b, a]")
        x = np.arange(6).reshape(2, 3)
        output = sequential([function], {"x": x, "y": [7, 8]})["z"].output
        assert output.shape == (2, 3, 2)
        for c, b, a in np.ndindex(2, 3, 2):
            assert output[c, b, a] == (x[a, b], [7, 8][c])


class TestNothing:
    @pytest.mark.parametrize("empty", [[], range(0), np.zeros(0)], ids=["list", "range", "array"])
    def test_an_empty_input(self, chain, calls, empty):
        results = chain.map({"x": empty}, parallel=False)
        assert calls == [("total", [])]
        assert results["high"].output.shape == (0,)
        assert results["high"].output.dtype == object
        assert results["total"].output == 0

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
    def test_an_axis_of_size_zero(self, shape):
        outer = PipeFunc(lambda x, y: 1 / 0, "z", mapspec="x[i], y[j] -> z[i, j]")
        rows = PipeFunc(len, "n", renames={"obj": "z"}, mapspec="z[i, :] -> n[i]")
        results = sequential([outer, rows], {"x": range(shape[0]), "y": range(shape[1])})
        assert results["z"].output.shape == shape
        assert results["n"].output.tolist() == [shape[1]] * shape[0]

    def test_an_internal_axis_that_nothing_tells(self):
        repeat = PipeFunc(lambda x: [x], "y", mapspec="x[i] -> y[i, k]")
        assert sequential([repeat], {"x": []})["y"].output.size == 0


class TestArraysAsElements:
    @pytest.mark.parametrize("dtype", ["f8", "i2", "c8", "?", "U3"])
    @pytest.mark.parametrize("lengths", [[3, 3, 3], [3, 1, 2], [3, 0, 3]], ids=str)
    def test_they_come_back(self, dtype, lengths):
        made = [np.arange(n).astype(dtype) for n in lengths]
        make = PipeFunc(lambda k: made[k], "a", mapspec="k[i] -> a[i]")
        size = PipeFunc(lambda a: a.size, "n", mapspec="a[i] -> n[i]")
        results = sequential([make, size], {"k": range(3)})
        output = results["a"].output
        assert output.shape == (3,)
        for given, array in zip(made, output, strict=True):
            assert type(array) is np.ndarray
            assert array.dtype == given.dtype
            assert array.tolist() == given.tolist()
        assert results["n"].output.tolist() == lengths


def _slow(x):
    end = time.perf_counter() + 0.001
    while time.perf_counter() < end:
        pass
    return x


def interrupted(kind, error_handling, ready):
    """Map until an interrupt; give the moment when it was seen, and what the pipeline does afterwards."""
    function, values = {"builtin": (sum, [range(2000)] * 1_000_000), "Python": (_slow, range(30_000))}[kind]
    name = "iterable" if kind == "builtin" else "x"
    pipeline = Pipeline([PipeFunc(function, "y", mapspec=f"{name}[i] -> y[i]")])
    Path(ready).touch()
    try:
        pipeline.map({name: values}, parallel=False, error_handling=error_handling)
    except KeyboardInterrupt:
        seen = time.monotonic()
        return seen, pipeline.map({name: values[:2]}, parallel=False)["y"].output.tolist()
    return None


@pytest.mark.slow
@pytest.mark.parametrize("error_handling", ["raise", "continue"])
@pytest.mark.parametrize(("kind", "after"), [("builtin", [1999000] * 2), ("Python", [0, 1])])
def test_an_interrupt_ends_it_at_once(kind, after, error_handling, tmp_path):
    ready = tmp_path / "ready"
    with start(interrupted, kind, error_handling, str(ready)) as process:
        until(ready.exists)
        time.sleep(0.2)  # into the map
        sent = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        seen, values = process.value(15)
    assert seen - sent < 1.0
    assert values == after


class TestWithin:
    @pytest.mark.parametrize("parallel", [False, True])
    def test_a_map_within_an_element(self, parallel):
        inner = Pipeline([PipeFunc(lambda a: a * a, "b", mapspec="a[i] -> b[i]")])

        def squares(x):
            return sum(inner.map({"a": range(x)}, parallel=parallel)["b"].output)

        sums = PipeFunc(squares, "y", mapspec="x[i] -> y[i]")
        assert sequential([sums], {"x": [0, 3, 5]})["y"].output.tolist() == [0, 5, 30]

    def test_the_same_pipeline_within_its_own_element(self):
        def factorial(n):
            return 1 if n == 0 else n * pipeline.map({"n": [n - 1]}, parallel=False)["f"].output[0]

        pipeline = Pipeline([PipeFunc(factorial, "f", mapspec="n[i] -> f[i]")])
        assert pipeline.map({"n": [5, 3]}, parallel=False)["f"].output.tolist() == [120, 6]

    def test_several_threads_at_once(self, chain):
        together = threading.Barrier(4)

        def run(offset):
            together.wait(10)
            results = chain.map({"x": range(offset, offset + 2000)}, parallel=False)
            return results["high"].output.tolist()

        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(run, [0, 1000, 5000, 70_000]))
        for offset, values in zip([0, 1000, 5000, 70_000], found, strict=True):
            assert values == [10 * x + 1 for x in range(offset, offset + 2000)]

    def test_other_threads_go_on_during_a_builtin(self):
        ticks, is_over = [], threading.Event()

        def tick():
            while not is_over.wait(0.001):
                ticks.append(time.monotonic())

        other = threading.Thread(target=tick)
        other.start()
        try:
            began = time.monotonic()
            add = PipeFunc(sum, "y", mapspec="iterable[i] -> y[i]")
            sequential([add], {"iterable": [range(1000)] * 30_000})
            ended = time.monotonic()
        finally:
            is_over.set()
            other.join(10)
        inside = [began, *(tick for tick in ticks if began < tick < ended), ended]
        assert max(np.diff(inside)) < 0.2
        assert len(inside) > 5


class TestLeases:
    @pytest.fixture
    def leases(self, monkeypatch):
        leases = []

        class Recorded(LeaseRun):
            def run(self, *args, **kwargs):
                reached = super().run(*args, **kwargs)
                leases.append((self._lease.stage, self._lease.start, reached))
                return reached

        monkeypatch.setattr(driver_module, "LeaseRun", Recorded)
        return leases

    def test_a_long_stage_has_several(self, leases):
        slow = PipeFunc(_slow, "y", mapspec="x[i] -> y[i]")
        after = PipeFunc(_slow, "z", renames={"x": "y"}, mapspec="y[i] -> z[i]")
        sequential([slow, after], {"x": range(60)})
        for stage in (0, 1):
            runs = [(begin, end) for number, begin, end in leases if number == stage]
            assert runs[0] == (0, 1)
            assert len(runs) > 3
            assert [k for begin, end in runs for k in range(begin, end)] == list(range(60))

    def test_a_short_stage_has_few(self, leases):
        sequential([PipeFunc(abs, "y", mapspec="x[i] -> y[i]")], {"x": np.arange(10_000)})
        assert leases[0] == (0, 0, 1)
        assert len(leases) <= 6

    def test_with_fixed_indices(self, leases):
        first = PipeFunc(abs, "y", mapspec="x[i] -> y[i]")
        sequential([first], {"x": range(10)}, fixed_indices={"i": slice(3, 9, 2)})
        done = [k for _, begin, end in leases for k in range(begin, end) if k in (3, 5, 7)]
        assert done == [3, 5, 7]
        assert len({k for k in (3, 5, 7) if leases[0][1] <= k < leases[0][2]}) == 1
