"""Maps in the background of an event loop: results, tasks, errors, and where `result` may be called."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from map.alone import until

from pipefunc_c import PipeFunc, Pipeline, pipefunc
from pipefunc_c.exceptions import InputError
from pipefunc_c.map import AsyncMap, load_outputs, run_map, run_map_async
from pipefunc_c.map._runs import map_run as map_run_module

pytestmark = pytest.mark.timeout(60)


def double(x: int) -> int:
    return 2 * x


def fail_at_3(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return x


def mapped(func: Any = double) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]", print_error=False)])


def single(func: Any, **options: Any) -> Pipeline:
    return Pipeline([PipeFunc(func, "y", print_error=False, **options)])


# -- results -----------------------------------------------------------------------------------------


async def test_the_task_gives_the_results():
    runner = mapped().map_async({"x": range(100)})
    assert isinstance(runner, AsyncMap)
    assert isinstance(runner.task, asyncio.Task)
    results = await runner.task
    assert results["y"].output.tolist() == list(range(0, 200, 2))
    assert results.to_xarray()["y"].shape == (100,)


async def test_a_function_of_the_package_takes_any_pipeline():
    results = await run_map_async(mapped(), {"x": [1, 2]}, show_progress=False).task
    assert results["y"].output.tolist() == [2, 4]


async def test_all_options_of_a_map_hold(tmp_path):
    pipeline = Pipeline(
        [
            PipeFunc(fail_at_3, "y", mapspec="x[i] -> y[i]", print_error=False),
            PipeFunc(lambda y: y + 1, "z", mapspec="y[i] -> z[i]"),
            PipeFunc(sum, "end", renames={"iterable": "z"}),
        ]
    )
    options: dict[str, Any] = {
        "output_names": {"z"},
        "storage": "dict",
        "chunksizes": 2,
        "fixed_indices": {"i": slice(1, 5)},
        "error_handling": "continue",
        "scheduling_strategy": "eager",
        "show_progress": "headless",
        "sync": 0.5,
    }
    results = await pipeline.map_async({"x": range(6)}, tmp_path, **options).task
    expected = pipeline.map({"x": range(6)}, tmp_path / "other", **options)
    assert set(results) == {"y", "z"}
    assert [repr(type(each)) for each in results["z"].output] == [
        repr(type(each)) for each in expected["z"].output
    ]
    assert load_outputs("z", run_folder=tmp_path)[1] == 2
    empty = await pipeline.map_async({"x": range(3)}, return_results=False).task
    assert empty == {}


def test_the_arguments_are_those_of_a_map():
    sync = dict(inspect.signature(run_map).parameters)
    del sync["parallel"]
    asynchronous = dict(inspect.signature(run_map_async).parameters)
    assert asynchronous.pop("display_widgets").default is True
    assert asynchronous.pop("start").default is True
    assert {name: each.default for name, each in sync.items()} == {
        name: each.default for name, each in asynchronous.items()
    }
    method = dict(inspect.signature(Pipeline.map_async).parameters)
    assert set(method) - {"self"} == {*asynchronous, "display_widgets", "start"} - {"pipeline"}


async def test_objects_errors_and_large_arrays_come_back():
    def make(x: int) -> Any:
        return {0: {"a": 1}, 1: np.arange(5.0), 2: None, 3: "text"}[x]

    output = (await mapped(make).map_async({"x": range(4)}).task)["y"].output
    assert output[0] == {"a": 1}
    assert output[1].tolist() == [0, 1, 2, 3, 4]
    assert output[2] is None
    assert output[3] == "text"


async def test_functions_run_in_worker_processes_also_those_that_are_called_once():
    results = await single(lambda: (os.getpid(), threading.current_thread().name)).map_async({}).task
    pid, thread = results["y"].output
    assert pid != os.getpid()
    assert thread == "MainThread"


async def test_an_executor_is_used_and_left_open():
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as executor:
        pipeline = mapped(lambda x: threading.current_thread().name)
        results = await pipeline.map_async({"x": range(4)}, executor=executor).task
        assert all(name.startswith("mine") for name in results["y"].output)
        assert executor.submit(double, 2).result() == 4


async def test_ten_maps_at_once_do_not_mix():
    runners = [mapped().map_async({"x": range(k, k + 50)}) for k in range(10)]
    results = await asyncio.gather(*(each.task for each in runners))
    for k, each in enumerate(results):
        assert each["y"].output.tolist() == [2 * x for x in range(k, k + 50)]


async def test_resuming_computes_only_what_is_missing(tmp_path):
    calls = tmp_path / "calls"
    calls.touch()

    def count(x: int) -> int:
        with calls.open("a") as file:
            file.write(f"{x}\n")
        return x

    folder = tmp_path / "run"
    await mapped(count).map_async({"x": range(4)}, folder, fixed_indices={"i": slice(0, 3)}).task
    await mapped(count).map_async({"x": range(4)}, folder, resume=True, resume_validation="skip").task
    assert sorted(calls.read_text().split()) == ["0", "1", "2", "3"]


async def test_results_stay_when_the_event_loop_is_blocked_meanwhile(tmp_path):
    mark = tmp_path / "done"

    def touch(x: int) -> int:
        mark.touch()
        return x

    runner = mapped(touch).map_async({"x": [1]})
    until(mark.exists)  # blocks the loop: the run goes on in spite of it
    assert (await runner.task)["y"].output.tolist() == [1]


def wait_a_bit(x: int) -> int:
    time.sleep(0.05)
    return x


def add(y: int, c: int = 10) -> int:
    return y + c


EDITS: dict[str, Any] = {
    "names of parameters": lambda p: p.update_renames({"y": "yy", "c": "cc"}, update_from="current"),
    "the name of an output": lambda p: p["z"].update_renames({"z": "q"}, update_from="current"),
    "defaults": lambda p: p.update_defaults({"c": 1000}),
    "bound values": lambda p: p["z"].update_bound({"c": 1000}),
    "a function less": lambda p: p.drop(output_name="w"),
    "a scope": lambda p: p.update_scope("s", inputs="*", outputs="*"),
    "an axis": lambda p: p.add_mapspec_axis("x", axis="k"),
}


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("edit", EDITS)
async def test_a_pipeline_may_be_edited_while_its_map_runs(edit, start):
    pipeline = Pipeline(
        [
            PipeFunc(wait_a_bit, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(add, "z", mapspec="y[i] -> z[i]"),
            PipeFunc(sum, "w", renames={"iterable": "z"}),
        ]
    )
    runner = pipeline.map_async({"x": [1, 2, 3, 4]}, start=start)
    if start:
        await asyncio.sleep(0.03)
    EDITS[edit](pipeline)
    results = await (runner if start else runner.start()).task
    assert results["z"].output.tolist() == [11, 12, 13, 14]
    assert results["w"].output == 50


# -- what is known -----------------------------------------------------------------------------------


async def test_attributes(tmp_path):
    runner = mapped().map_async({"x": range(3)}, tmp_path / "run")
    assert runner.multi_run_manager is None
    assert runner.status_widget is None  # no notebook
    assert runner.run_info.run_folder == tmp_path / "run"
    assert runner.run_info.shapes["y"] == (3,)
    await runner.task
    assert runner.run_info.digests
    assert runner.progress is not None
    assert runner.progress.progress_dict["y"].n_completed == 3
    assert runner.heartbeat is not None
    assert runner.heartbeat.path.is_file()
    assert repr(runner) == "AsyncMap('run', completed)"


async def test_progress_that_is_not_wanted(tmp_path):
    runner = mapped().map_async({"x": range(3)}, tmp_path, show_progress=False)
    assert runner.progress is None
    assert runner.heartbeat is None
    await runner.task
    assert not (tmp_path / "pipefunc_status.json").exists()


def test_run_info_is_known_before_the_start_and_nothing_is_written(tmp_path):
    runner = mapped().map_async({"x": range(3)}, tmp_path / "run", start=False)
    assert runner.run_info.all_output_names == {"y"}
    assert not (tmp_path / "run").exists()
    assert mapped().map_async({"x": range(3)}, start=False).run_info.run_folder is None


def test_display_prints_a_hint_outside_notebooks(capsys):
    mapped().map_async({"x": []}, start=False).display()
    assert "notebook" in capsys.readouterr().out


# -- start and result --------------------------------------------------------------------------------


def test_there_is_no_task_before_the_start():
    runner = mapped().map_async({"x": [1]}, start=False)
    with pytest.raises(RuntimeError, match="not started"):
        _ = runner.task


async def test_start_returns_the_map_and_warns_the_second_time():
    runner = mapped().map_async({"x": [1]}, start=False)
    assert runner.start() is runner
    task = runner.task
    with pytest.warns(UserWarning, match="started before"):
        assert runner.start() is runner
    assert runner.task is task
    await task


def test_start_without_an_event_loop_warns_and_does_nothing():
    runner = mapped().map_async({"x": [1]}, start=False)
    with pytest.warns(UserWarning, match="no event loop"):
        assert runner.start() is runner
    with pytest.warns(UserWarning, match="no event loop"):
        runner = mapped().map_async({"x": [1]})
    with pytest.raises(RuntimeError, match="not started"):
        _ = runner.task
    assert runner.result()["y"].output.tolist() == [2]


def test_result_runs_the_map_where_no_loop_runs_and_is_kept():
    runner = mapped().map_async({"x": [1, 2]}, start=False)
    results = runner.result()
    assert results["y"].output.tolist() == [2, 4]
    assert runner.result() is results
    assert runner.task.result() is results


async def test_result_is_refused_where_a_loop_runs():
    for start in (True, False):
        runner = mapped().map_async({"x": [1]}, start=start)
        with pytest.raises(RuntimeError, match="block the event loop"):
            runner.result()
        if start:
            results = await runner.task
            assert runner.result() is results  # nothing is blocked by that


def test_result_is_refused_in_a_notebook(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    runner = mapped().map_async({"x": [1]}, show_progress=False, start=False)
    with pytest.raises(RuntimeError, match="await runner.task"):
        runner.result()


async def test_result_in_another_thread_waits():
    runner = mapped().map_async({"x": [1, 2]})
    results = await asyncio.to_thread(runner.result)
    assert results["y"].output.tolist() == [2, 4]
    assert await runner.task is results


def test_result_where_the_loop_has_stopped_or_is_closed():
    loop = asyncio.new_event_loop()
    try:

        async def begin() -> AsyncMap:
            return mapped().map_async({"x": [1, 2]})

        runner = loop.run_until_complete(begin())
        results = runner.result()
        assert results["y"].output.tolist() == [2, 4]
        assert loop.run_until_complete(runner.task) is results
    finally:
        loop.close()


# -- errors ------------------------------------------------------------------------------------------


def test_what_is_wrong_with_the_arguments_is_said_at_the_call():
    with pytest.raises(InputError, match="x"):
        mapped().map_async({})
    with pytest.raises(ValueError, match="error_handling"):
        mapped().map_async({"x": [1]}, error_handling="ignore")
    with pytest.raises(TypeError):
        mapped().map_async({"x": 1})
    with pytest.raises(ValueError, match="show_progress"):
        mapped().map_async({"x": [1]}, show_progress="loud")
    with pytest.raises(ValueError, match="storage"):
        mapped().map_async({"x": [1]}, storage="nowhere")


async def test_the_error_of_an_element_is_that_of_a_map():
    pipeline = mapped(fail_at_3)
    runner = pipeline.map_async({"x": range(5)})
    with pytest.raises(ValueError, match="three") as caught:
        await runner.task
    assert any("fail_at_3" in note for note in caught.value.__notes__)
    assert pipeline.error_snapshot is not None
    assert pipeline.error_snapshot.kwargs == {"x": 3}
    with pytest.raises(ValueError, match="three"):
        runner.result()
    assert runner.progress is not None
    assert runner.progress.state == "failed"


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
async def test_no_exception_of_an_element_ends_the_event_loop(error):
    def stop() -> None:
        raise error("reason")

    runner = single(stop).map_async({})
    with pytest.raises(RuntimeError, match=r"reason|StopIteration") as caught:
        await runner.task
    assert type(caught.value.__cause__) is error
    assert not runner.task.cancelled()


async def test_a_run_folder_that_cannot_be_used_is_an_error_of_the_task(tmp_path):
    (tmp_path / "mine").write_text("text")
    runner = mapped().map_async({"x": [1]}, tmp_path)
    with pytest.raises(ValueError, match="mine"):
        await runner.task
    assert runner.progress is not None
    assert runner.progress.state == "failed"
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


async def test_workers_that_cannot_be_started_are_an_error_of_the_task(monkeypatch):
    def refuse() -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(map_run_module, "fork_server", refuse)
    with pytest.raises(OSError, match="no more processes"):
        await mapped().map_async({"x": [1]}).task


async def test_two_maps_into_one_folder_at_once(tmp_path):
    first = single(lambda: time.sleep(0.5)).map_async({}, tmp_path)
    until((tmp_path / "run_info.json").exists)
    second = mapped().map_async({"x": [1]}, tmp_path)
    with pytest.raises(RuntimeError, match="in use"):
        await second.task
    await first.task


async def test_an_argument_that_cannot_be_pickled():
    runner = single(lambda lock: lock, bound={"lock": threading.Lock()}).map_async({})
    with pytest.raises(TypeError, match="cannot be pickled"):
        await runner.task


def test_an_error_where_no_loop_runs():
    runner = mapped(fail_at_3).map_async({"x": range(5)}, start=False)
    for _ in range(2):
        with pytest.raises(ValueError, match="three"):
            runner.result()


async def test_warnings_of_a_map_are_given_at_the_call():
    with pytest.warns(DeprecationWarning, match="cleanup") as caught:
        runner = mapped().map_async({"x": [1]}, cleanup=True)
    assert caught[0].filename == __file__
    await runner.task

    @pipefunc("y", profile=True)
    def profiled() -> int:
        return 1

    with pytest.warns(UserWarning, match="profile") as caught:
        runner = Pipeline([profiled]).map_async({})
    assert caught[0].filename == __file__
    await runner.task
