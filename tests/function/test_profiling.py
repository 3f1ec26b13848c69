from __future__ import annotations

import pickle
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c import Pipeline
from pipefunc_c._function.pipefunc import PipeFunc, Revision
from pipefunc_c._function.profiling import PeakMemory, ProfilingStats, ResourceStats
from pipefunc_c.exceptions import MissingDependencyError


def add(a, b=2):
    return a + b


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_stats_against_the_statistics_module(values):
    stats = ResourceStats()
    for value in values:
        stats.update(value)
    assert stats.num_executions == len(values)
    assert stats.max == max(values)
    assert stats.average == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-6)
    if len(values) > 1:
        assert stats.variance == pytest.approx(statistics.variance(values), rel=1e-6, abs=1e-3)
        assert stats.std == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-1)
    else:
        assert stats.std == 0.0


def test_stats_as_text():
    stats = ResourceStats()
    stats.update(2.0)
    assert repr(stats) == (
        "ResourceStats(num_executions=1, average=2.0000e+00, max=2.0000e+00, std=0.0000e+00)"
    )


def test_each_call_is_measured():
    function = PipeFunc(add, "y", profile=True)
    assert function.profile is True
    assert isinstance(function.profiling_stats, ProfilingStats)
    assert [function(1), function(a=1), function(a=1, b=3)] == [3, 3, 4]
    stats = function.profiling_stats
    assert [each.num_executions for each in (stats.cpu, stats.memory, stats.time)] == [3, 3, 3]
    assert stats.memory.max > 2**20
    assert 0 < stats.time.max < 10


def test_cpu_is_that_of_the_call():
    def spin():
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    def wait():
        threading.Event().wait(0.05)

    busy, idle = PipeFunc(spin, "y", profile=True), PipeFunc(wait, "y", profile=True)
    busy()
    idle()
    assert busy.profiling_stats.cpu.max > idle.profiling_stats.cpu.max
    assert idle.profiling_stats.time.max > 0.04


def test_the_peak_between_two_looks_at_the_ends_is_seen():
    size, seen = [1], threading.Event()

    def measure():
        if size[0] == 9:
            seen.set()
        return size[0]

    peak = PeakMemory(measure)
    size[0] = 9
    assert seen.wait(10)
    size[0] = 2
    assert peak.stop() >= 9


def test_a_call_that_raises_is_measured_too():
    function = PipeFunc(lambda x: 1 / x, "y", profile=True, print_error=False)
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        function(0)
    assert function.profiling_stats.time.num_executions == 1
    assert function.error_snapshot.kwargs == {"x": 0}
    assert threading.active_count() == threads


def test_profile_may_be_switched():
    function = PipeFunc(add, "y")
    function.revision = revision = Revision()
    assert (function.profile, function.profiling_stats) == (False, None)
    function.profile = True
    function(1)
    stats = function.profiling_stats
    function.profile = True
    assert function.profiling_stats is stats
    assert stats.time.num_executions == 1
    assert revision.number == 1
    function.profile = False
    assert function.profiling_stats is None
    assert function.call_target is add
    assert revision.number == 2


def test_profile_needs_psutil(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MissingDependencyError, match="psutil"):
        PipeFunc(add, "y", profile=True)
    function = PipeFunc(add, "y")
    with pytest.raises(ImportError, match="psutil"):
        function.profile = True
    assert function.profile is False
    assert function(1) == 3


def test_a_copy_begins_anew_and_a_pickle_keeps_what_was_measured():
    function = PipeFunc(add, "y", profile=True)
    function(1)
    for other in (function.copy(), function.copy(print_error=False)):
        assert other.profiling_stats.time.num_executions == 0
        other(1)
        assert other.profiling_stats.time.num_executions == 1
    assert function.profiling_stats.time.num_executions == 1
    again = pickle.loads(pickle.dumps(function))
    assert again.profiling_stats == function.profiling_stats
    again(1)
    assert again.profiling_stats.time.num_executions == 2


def test_calls_in_threads_are_all_counted():
    function = PipeFunc(add, "y", profile=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(function, range(40)))
    assert function.profiling_stats.time.num_executions == 40


def test_calls_of_pipelines_and_maps_are_measured():
    function = PipeFunc(add, "y", profile=True)
    pipeline = Pipeline([function])
    pipeline(a=1)
    assert pipeline["y"].profiling_stats.time.num_executions == 1
    assert function.profiling_stats.time.num_executions == 0
    mapped = Pipeline([PipeFunc(add, "y", mapspec="a[i] -> y[i]", profile=True)])
    assert mapped.map({"a": [1, 2, 3]}, parallel=False)["y"].output.tolist() == [3, 4, 5]
    assert mapped["y"].profiling_stats.time.num_executions == 3


def test_resources_and_profile_together():
    function = PipeFunc(
        lambda x, r: r.cpus, "y", profile=True, resources=lambda kwargs: {"cpus": 2}, resources_variable="r"
    )
    assert function(1) == 2
    assert function.profiling_stats.time.num_executions == 1
