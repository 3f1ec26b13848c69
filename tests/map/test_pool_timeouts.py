"""The time limit of elements: killed, recorded, and the run goes on."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from map.alone import alone
from map.test_pool_deaths import every_crew, executor

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import ElementTimeoutError, ErrorSnapshot, InvalidValueError
from pipefunc_c.map import load_outputs
from pipefunc_c.map._engine.scheduler import Lease
from pipefunc_c.map._processes import long_wait as long_wait_module
from pipefunc_c.map._processes.control import COMPUTING, Control, Whereabouts
from pipefunc_c.map._processes.timeouts import Timeouts

pytestmark = pytest.mark.timeout(60)


def mapped(func: Any, **options: Any) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False, **options)])


def sleepy(x: int) -> float:
    if x in (3, 17):
        time.sleep(60)
    return float(x)


@every_crew
@alone
def test_the_run_goes_on_after_elements_that_take_too_long(crew):
    began = time.monotonic()
    with executor(crew) as pool:
        results = mapped(sleepy).map({"x": range(50)}, executor=pool, timeout=0.4, error_handling="continue")
    assert time.monotonic() - began < 8
    for x, value in enumerate(results["y"].output):
        if x in (3, 17):
            assert isinstance(value, ErrorSnapshot)
            assert isinstance(value.exception, ElementTimeoutError)
            assert isinstance(value.exception, TimeoutError)
            assert "timeout of 0.4 s" in str(value.exception)
            assert value.kwargs == {"x": x}
        else:
            assert value == x


@every_crew
@alone
def test_the_first_one_is_raised(crew):
    with executor(crew) as pool, pytest.raises(ElementTimeoutError) as info:
        mapped(sleepy).map({"x": range(50)}, executor=pool, timeout=0.3)
    assert "x=3" in "".join(info.value.__notes__) or "x=17" in "".join(info.value.__notes__)


@alone
def test_elements_within_the_limit_are_left_alone():
    def func(x):
        time.sleep(0.1)
        return x

    assert mapped(func).map({"x": range(10)}, timeout=0.6)["y"].output.tolist() == list(range(10))


@alone
def test_a_limit_per_output(tmp_path):
    def slow(x):
        time.sleep(0.5)
        return x

    first = PipeFunc(slow, "y", mapspec="x[i] -> y[i]", print_error=False)
    second = PipeFunc(slow, "z", mapspec="x[i] -> z[i]", print_error=False)
    results = Pipeline([first, second]).map(
        {"x": range(2)}, tmp_path / "run", timeout={"z": 0.2}, error_handling="continue"
    )
    assert results["y"].output.tolist() == [0, 1]
    assert all(isinstance(each.exception, ElementTimeoutError) for each in results["z"].output)
    loaded = load_outputs("z", run_folder=tmp_path / "run")
    assert all(isinstance(each.exception, ElementTimeoutError) for each in loaded)


@alone
def test_a_call_without_mapspec():
    pipeline = Pipeline([PipeFunc(lambda x: time.sleep(60), "y", print_error=False)])
    with pytest.raises(ElementTimeoutError, match="the call of y took longer"):
        pipeline.map({"x": 1}, timeout=0.2)


@alone
def test_a_function_that_holds_the_interpreter():
    began = time.monotonic()
    with pytest.raises(ElementTimeoutError):
        mapped(lambda x: sum(range(10**12))).map({"x": range(2)}, timeout=0.3)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("value", [0, -1, "1", True, {"y": 0}, {"y": "soon"}, [1]])
def test_bad_limits(value):
    with pytest.raises(InvalidValueError, match="timeout is"):
        mapped(float).map({"arg": [1]}, timeout=value)


def test_a_limit_of_an_unknown_output():
    with pytest.raises(InvalidValueError, match="'nothing', which is no output"):
        mapped(lambda x: x).map({"x": [1]}, timeout={"nothing": 1})


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_executors_that_cannot_kill_refuse_it(kind):
    with kind(1) as pool, pytest.raises(ValueError, match="cannot end a task"):
        mapped(lambda x: x).map({"x": [1]}, executor=pool, timeout=1)


def test_a_sequential_map_refuses_it():
    with pytest.raises(ValueError, match="parallel=False"):
        mapped(lambda x: x).map({"x": [1]}, parallel=False, timeout=1)


@alone
def test_a_map_in_a_worker_refuses_it():
    def inner(x):
        return mapped(lambda x: x).map({"x": [x]}, timeout=5)["y"].output[0]

    with pytest.raises(ValueError, match="no worker processes can be started"):
        mapped(inner).map({"x": range(3)})


def control_at(current: int, start: int = 0) -> Control:
    import numpy as np

    control = Control(np.zeros(Control.size(2), dtype=np.uint8))
    cell = control.cell(1)
    cell.begin(Lease(0, 0, start, 10, 0))
    cell.current[0] = current
    return control


class TestTimeouts:
    def test_an_element_that_is_seen_again(self):
        control = control_at(4)
        timeouts = Timeouts({0: 1.0}, control)
        assert timeouts.overdue(0.0) == {}
        assert timeouts.overdue(0.9) == {}
        expected = Whereabouts(COMPUTING, Lease(0, 0, 0, 10, 0), 4)
        assert timeouts.overdue(1.1) == {1: expected}

    def test_one_that_goes_on(self):
        control = control_at(4)
        timeouts = Timeouts({0: 1.0}, control)
        timeouts.overdue(0.0)
        control.cell(1).current[0] = 5
        assert timeouts.overdue(5.0) == {}
        assert list(timeouts.overdue(6.1)) == [1]

    def test_a_stage_without_a_limit_and_a_worker_that_is_idle(self):
        control = control_at(4)
        timeouts = Timeouts({1: 1.0}, control)
        timeouts.overdue(0.0)
        assert timeouts.overdue(5.0) == {}
        control.cell(1).end()
        assert Timeouts({0: 1.0}, control).overdue(5.0) == {}

    def test_how_often_it_looks(self):
        control = control_at(0)
        assert Timeouts({}, control).poll_seconds is None
        assert Timeouts({0: 1e-3}, control).poll_seconds == 0.005
        assert Timeouts({0: 100.0, 1: 1.0}, control).poll_seconds == 0.05
        assert Timeouts({0: 1e4}, control).poll_seconds == 0.1


@alone
def test_elements_that_take_very_long_are_warned_about_and_waited_for():
    long_wait_module.WARN_AFTER_SECONDS = 0.2

    def func(x):
        time.sleep(1.0 if x == 1 else 0.0)
        return x

    with pytest.warns(UserWarning, match="elements 1 to 1 of 'y'; they are waited for") as found:
        results = mapped(func).map({"x": range(3)})
    assert len(found) == 1
    assert results["y"].output.tolist() == [0, 1, 2]
    assert threading.active_count() == 1
    assert os.getpid()
