"""Options by output: of a pipeline of which a part runs, and what a callable gives."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from map.alone import alone

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.exceptions import PipefuncError
from pipefunc_c.map import RunInfo, load_outputs
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def fork():
    """Give functions for y, and for (u, w) and v that do not run when y is asked for."""
    return Pipeline(
        [
            PipeFunc(lambda x: 2 * x, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(lambda x: ([x], x), ("u", "w"), mapspec="x[i] -> u[i], w[i]"),
            PipeFunc(lambda u: 1 * len(u), "v"),
        ]
    )


OUTPUTS = {"of one": "y", "of some": {"y"}}
IDLE = {"name": "v", "one of several": "u", "tuple": ("u", "w")}
VALUES = {
    "storage": ("dict", {"": "array"}),
    "chunksizes": (3, {"": 2}),
    "timeout": (5.0, {}),
    "internal_shapes": (3, {}),
}


@pytest.mark.parametrize("key", IDLE.values(), ids=IDLE)
@pytest.mark.parametrize("option", VALUES)
@pytest.mark.parametrize("names", OUTPUTS.values(), ids=OUTPUTS)
def test_an_entry_for_what_does_not_run(fork, names, option, key):
    value, rest = VALUES[option]
    results = fork.map(
        {"x": [1, 2]}, output_names=names, show_progress=False, **{option: {key: value, **rest}}
    )
    assert list(results) == ["y"]
    assert results["y"].output.tolist() == [2, 4]


def test_an_executor_for_what_does_not_run(fork):
    with ThreadPoolExecutor(1) as threads, ThreadPoolExecutor(1) as others:
        executor = {"u": others, "": threads}
        results = fork.map({"x": [1, 2]}, output_names="y", executor=executor, show_progress=False)
        assert results["y"].output.tolist() == [2, 4]
        assert not others._threads


def test_a_time_limit_where_only_the_pool_of_ours_runs(fork):
    with ThreadPoolExecutor(1) as threads, WorkerPool(1) as pool:
        results = fork.map(
            {"x": [1, 2]},
            output_names="y",
            executor={"y": pool, "u": threads},
            timeout={"y": 20},
            show_progress=False,
        )
    assert results["y"].output.tolist() == [2, 4]


def test_given_outputs_leave_functions_out_too(fork):
    options = {"auto_subpipeline": True, "storage": {"w": "dict", "": "array"}, "parallel": False}
    results = fork.map({"u": [[1], [2]]}, output_names="v", **options)
    assert results["v"].output == 2


def test_a_storage_that_needs_a_folder_and_does_not_run_makes_none(fork):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        storage = {"u": "file_array", "": "dict"}
        results = fork.map({"x": [1]}, output_names="y", storage=storage, parallel=False)
    assert results["y"].store.storage_id == "dict"


def test_the_description_of_a_run_takes_all_of_the_pipeline(fork, tmp_path):
    fork.map({"x": [1]}, tmp_path, output_names="y", storage={"u": "dict", "": "array"}, parallel=False)
    assert RunInfo.load(tmp_path).storage == {"y": "array"}


@pytest.mark.parametrize("option", [*VALUES, "executor"])
def test_what_is_no_output_at_all_is_refused(fork, tmp_path, option):
    fork.map({"x": [5]}, tmp_path, parallel=False)
    value, rest = VALUES.get(option, (WorkerPool, {}))
    with ThreadPoolExecutor(1) as threads:
        entry = {"zz": threads, "": threads} if option == "executor" else {"zz": value, **rest}
        with pytest.raises(ValueError, match=f"{option} has an entry for 'zz', which is no output") as caught:
            fork.map({"x": [1, 2]}, tmp_path, output_names="y", show_progress=False, **{option: entry})
    assert isinstance(caught.value, PipefuncError)
    assert load_outputs("y", run_folder=tmp_path).tolist() == [10]  # what was there was not touched


@pytest.mark.parametrize("missing", [{"u": "dict"}, {}], ids=["only-of-others", "empty"])
def test_what_runs_needs_an_entry_or_a_default(fork, missing):
    with pytest.raises(ValueError, match="storage has no entry for 'y'"):
        fork.map({"x": [1]}, output_names="y", storage=missing, parallel=False)


@pytest.mark.parametrize("size", [0, -1, 1.0, "a", True], ids=repr)
def test_a_callable_that_gives_no_chunk_size_is_refused(fork, size):
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(ValueError, match=f"the chunk size of 'y' for 2 elements is {size!r}") as caught,
    ):
        fork.map({"x": [1, 2]}, output_names="y", executor=threads, chunksizes=lambda n: size)
    assert isinstance(caught.value, PipefuncError)
    assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize("names", ["zz", {"y", "zz"}, [("u", "zz")]], ids=["name", "set", "tuple"])
def test_output_names_that_do_not_exist_are_a_wrong_value(fork, names):
    with pytest.raises(ValueError, match="zz") as caught:
        fork.map({"x": [1]}, output_names=names, parallel=False)
    assert isinstance(caught.value, PipefuncError)
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize("way", ["sequential", "workers", "pool"])
@alone
def test_a_chunk_size_of_a_callable_is_looked_at_whatever_computes(way):
    def run(chunksizes, n=10):
        options = {"sequential": {"parallel": False}, "workers": {}, "pool": {"executor": pool}}[way]
        pipeline = Pipeline([PipeFunc(lambda x: x, "y", mapspec="x[i] -> y[i]")])
        return list(pipeline.map({"x": range(n)}, chunksizes=chunksizes, **options)["y"].output)

    with WorkerPool(2) as pool:
        for size in (0, -1, 1.0, "a", True):
            with pytest.raises(ValueError, match="the chunk size of 'y' for 10 elements is"):
                run(lambda n, size=size: size)
        with pytest.raises(ZeroDivisionError) as caught:
            run(lambda n: n // 0)
        assert "gives the chunk size of 'y'" in caught.value.__notes__[0]
        assert run(lambda n: n // 3) == run(lambda n: None) == list(range(10))
        assert run(lambda n: n, n=0) == []


def test_an_empty_run_folder_is_refused(fork):
    with pytest.raises(ValueError, match="run_folder is ''"):
        fork.map({"x": [1]}, "")
