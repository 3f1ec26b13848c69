"""Cached functions in maps: equal arguments are computed once, where the cache is seen."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from map.alone import alone

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import ErrorSnapshot

pytestmark = pytest.mark.timeout(60)


class Log:
    """Writes down calls, in whatever process they are made."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def add(self, *words):
        with self.path.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def take(self):
        lines = self.path.read_text().splitlines()
        self.path.write_text("")
        return sorted(lines)


def square_of(log, **options):
    def square(x):
        log.add(x)
        return x * x

    return PipeFunc(square, "y", mapspec="x[i] -> y[i]", cache=True, **options)


def outputs(pipeline, inputs, way, **options):
    if way == "sequential":
        return pipeline.map(inputs, parallel=False, **options)["y"].output.tolist()
    if way == "workers":
        return pipeline.map(inputs, **options)["y"].output.tolist()
    with (ThreadPoolExecutor if way == "threads" else ProcessPoolExecutor)(2) as executor:
        return pipeline.map(inputs, executor=executor, **options)["y"].output.tolist()


CACHES = {
    "simple": {"cache_type": "simple"},
    "lru": {"cache_type": "lru"},
    "hybrid": {"cache_type": "hybrid"},
    "disk": {"cache_type": "disk"},
    "default": {},
}
SHARED = {"lru", "hybrid", "disk", "default"}


def cached_pipeline(functions, kind, tmp_path):
    options = dict(CACHES[kind])
    if kind == "disk":
        options["cache_kwargs"] = {"cache_dir": tmp_path / "cache"}
    return Pipeline(functions, **options)


@pytest.mark.parametrize("way", ["sequential", "workers", "threads", "processes"])
@pytest.mark.parametrize("kind", CACHES)
@alone
def test_a_second_map_computes_only_what_is_new(kind, way, tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = cached_pipeline([square_of(log)], kind, tmp_path)
    assert outputs(pipeline, {"x": [1, 2, 3]}, way) == [1, 4, 9]
    assert log.take() == ["1", "2", "3"]
    assert outputs(pipeline, {"x": [3, 4, 1]}, way) == [9, 16, 1]
    # What processes put into a cache that is not shared is theirs.
    sees_all = kind in SHARED or way in ("sequential", "threads")
    assert log.take() == (["4"] if sees_all else ["1", "3", "4"])


def test_equal_elements_of_one_map_are_computed_once(tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = Pipeline([square_of(log)], cache_type="simple")
    assert outputs(pipeline, {"x": [2, 3, 2, 2]}, "sequential") == [4, 9, 4, 4]
    assert log.take() == ["2", "3"]
    assert len(pipeline.cache) == 2


def test_only_functions_that_want_it_are_cached(tmp_path):
    log = Log(tmp_path / "calls")
    plain = square_of(log).copy(cache=False)
    pipeline = Pipeline([plain], cache_type="simple")
    assert outputs(pipeline, {"x": [2, 2]}, "sequential") == [4, 4]
    assert log.take() == ["2", "2"]
    assert len(pipeline.cache) == 0


def test_numbers_of_different_types_are_not_mixed_up(tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = Pipeline(
        [PipeFunc(lambda x: log.add(x) or type(x).__name__, "y", mapspec="x[i] -> y[i]", cache=True)]
    )
    values = [1, 1.0, True, np.float64(1), "1"]
    assert outputs(pipeline, {"x": values}, "sequential") == ["int", "float", "bool", "float64", "str"]


def test_all_arguments_count(tmp_path):
    log = Log(tmp_path / "calls")
    func = PipeFunc(
        lambda x, whole, k=1: log.add(x, k) or x + sum(whole) * k,
        "y",
        mapspec="x[i] -> y[i]",
        cache=True,
    )
    pipeline = Pipeline([func])
    for whole, k, expected in (([1], 1, [2, 3]), ([1], 2, [3, 4]), ([1, 1], 1, [3, 4]), ([1], 1, [2, 3])):
        assert outputs(pipeline, {"x": [1, 2], "whole": whole, "k": k}, "sequential") == expected
    assert len(log.take()) == 6


def test_several_outputs_and_a_picker(tmp_path):
    log = Log(tmp_path / "calls")
    func = PipeFunc(
        lambda x: log.add(x) or {"a": x, "b": -x},
        ("a", "b"),
        output_picker=dict.__getitem__,
        mapspec="x[i] -> a[i], b[i]",
        cache=True,
    )
    pipeline = Pipeline([func])
    for _ in range(2):
        results = pipeline.map({"x": [1, 2, 1]}, parallel=False)
        assert (results["a"].output.tolist(), results["b"].output.tolist()) == ([1, 2, 1], [-1, -2, -1])
    assert log.take() == ["1", "2"]


def test_a_hook_is_not_called_for_what_was_kept(tmp_path):
    log, hooked = Log(tmp_path / "calls"), []
    func = square_of(log, post_execution_hook=lambda f, result, kwargs: hooked.append(result))
    outputs(Pipeline([func]), {"x": [2, 2, 3]}, "sequential")
    assert hooked == [4, 9]


def test_a_single_call(tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = Pipeline([PipeFunc(lambda x: log.add(len(x)) or sum(x), "y", cache=True)])
    for _ in range(2):
        assert pipeline.map({"x": [1, 2]}, parallel=False)["y"].output == 3
    assert log.take() == ["2"]


def test_an_argument_without_a_key_is_computed_with_a_warning(tmp_path):
    log = Log(tmp_path / "calls")

    class Unhashable:
        __hash__ = None

        def __reduce__(self):
            raise TypeError("no")

    pipeline = Pipeline([PipeFunc(lambda x: log.add("called") or 1, "y", mapspec="x[i] -> y[i]", cache=True)])
    with pytest.warns(UserWarning, match="'y' is not cached"):
        assert outputs(pipeline, {"x": [Unhashable(), Unhashable()]}, "sequential") == [1, 1]
    assert log.take() == ["called", "called"]


def failing(log):
    def fail(x):
        log.add(x)
        if x % 2:
            raise ValueError("odd", x)
        return x

    return PipeFunc(fail, "y", mapspec="x[i] -> y[i]", cache=True, print_error=False)


@pytest.mark.parametrize("way", ["sequential", "workers", "threads", "processes"])
@alone
def test_errors_are_kept_for_the_mode_that_stores_them(way, tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = Pipeline([failing(log)], cache_type="lru")
    for expected in (["0", "1", "2"], []):
        found = outputs(pipeline, {"x": [0, 1, 2]}, way, error_handling="continue")
        assert [type(each) for each in found] == [int, ErrorSnapshot, int]
        assert found[1].exception.args == ("odd", 1)
        assert found[1].kwargs == {"x": 1}
        assert log.take() == expected
    for _ in range(2):  # the other mode has keys of its own, and keeps no errors
        with pytest.raises(ValueError, match="odd"):
            outputs(pipeline, {"x": [1]}, way)
        assert log.take() == ["1"]


def test_run_and_map_do_not_share_entries(tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = Pipeline([PipeFunc(lambda x: log.add(x) or x, "y", cache=True)])
    assert pipeline(x=1) == 1
    assert pipeline.map({"x": 1}, parallel=False)["y"].output == 1
    assert len(log.take()) <= 2


def test_a_changed_function_is_computed_anew(tmp_path):
    log = Log(tmp_path / "calls")
    cache = {"cache_type": "disk", "cache_kwargs": {"cache_dir": tmp_path / "cache"}}
    first = Pipeline(
        [PipeFunc(lambda x: log.add(x) or x + 1, "y", mapspec="x[i] -> y[i]", cache=True)], **cache
    )
    second = Pipeline(
        [PipeFunc(lambda x: log.add(x) or x + 2, "y", mapspec="x[i] -> y[i]", cache=True)], **cache
    )
    assert outputs(first, {"x": [1]}, "sequential") == [2]
    assert outputs(second, {"x": [1]}, "sequential") == [3]
    assert log.take() == ["1", "1"]


@alone
def test_what_is_kept_survives_the_workers(tmp_path):
    log = Log(tmp_path / "calls")
    pipeline = Pipeline([square_of(log)], cache_type="lru", cache_kwargs={"max_size": 1000})
    outputs(pipeline, {"x": range(20)}, "workers")
    assert len(pipeline.cache) == 20
    assert outputs(pipeline, {"x": range(20)}, "sequential") == [x * x for x in range(20)]
    assert len(log.take()) == 20
