"""What differs from pipefunc on purpose; docs/differences.md has a row for each test."""

from __future__ import annotations

import concurrent.futures
import socket
import threading
import warnings

import numpy as np
import numpy.typing as npt
import pytest

from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.exceptions import PipefuncError


@pipefunc("y", mapspec="x[i] -> y[i]")
def double(x):
    return 2 * x


def test_results_are_stored_under_the_id_array():
    assert Pipeline([double]).map({"x": [1.0]})["y"].store.storage_id == "array"


def test_array_is_the_typed_result_without_a_copy():
    result = Pipeline([double]).map({"x": [1.0, 2.0]})["y"]
    assert result.output.dtype == object
    assert result.array.dtype == np.float64
    assert result.array.tolist() == [2.0, 4.0]
    assert np.shares_memory(result.array, result.store.typed())


def test_array_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        Pipeline([double]).map({"x": [1.0]})["y"].array[0] = 3.0


def test_a_complete_reduction_receives_a_plain_array():
    received = []

    @pipefunc("total")
    def total(y):
        received.append(y)
        return sum(y)

    Pipeline([double, total]).map({"x": [1.0, 2.0]})
    assert type(received[0]) is np.ndarray
    assert received[0].dtype == object
    assert received[0].flags.writeable


def test_a_reduction_annotated_as_masked_receives_a_masked_array():
    received = []

    @pipefunc("total")
    def total(y: np.ma.MaskedArray) -> float:
        received.append(y)
        return y.sum()

    Pipeline([double, total]).map({"x": [1.0, 2.0]})
    assert isinstance(received[0], np.ma.MaskedArray)


def test_a_reduction_annotated_as_numeric_receives_a_typed_array():
    received = []

    @pipefunc("total")
    def total(y: npt.NDArray[np.float64]) -> float:
        received.append(y)
        return float(y.sum())

    results = Pipeline([double, total]).map({"x": [1.0, 2.0]})
    assert received[0].dtype == np.float64
    assert np.shares_memory(received[0], results["y"].array)
    assert not received[0].flags.writeable


def test_an_element_that_does_not_fit_the_annotation_is_named():
    @pipefunc("total")
    def total(y: npt.NDArray[np.int64]) -> int:
        return int(y.sum())

    with pytest.raises(TypeError, match=r"element \(1,\) of 'y' is 3.0|element \(1,\) of 'y' is 2.5"):
        Pipeline([double, total]).map({"x": [1.0, 1.25]})


@pytest.mark.parametrize("storage", ["shared_memory_dict", "shared_array"])
def test_shared_memory_needs_no_folder(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = Pipeline([double]).map({"x": [1.0, 2.0]}, storage=storage)
    assert results["y"].output.tolist() == [2.0, 4.0]
    assert not list(tmp_path.iterdir())


def test_parallel_maps_run_in_this_thread_for_now():
    threads = []

    @pipefunc("y", mapspec="x[i] -> y[i]")
    def record(x):
        threads.append(threading.current_thread())
        return x

    Pipeline([record]).map({"x": range(100)}, parallel=True)
    assert set(threads) == {threading.current_thread()}


def test_executors_are_refused_for_now():
    with concurrent.futures.ThreadPoolExecutor(1) as executor, pytest.raises(PipefuncError, match="executor"):
        Pipeline([double]).map({"x": [1.0]}, executor=executor)


def test_run_folders_are_refused_for_now(tmp_path):
    with pytest.raises(PipefuncError, match="run_folder"):
        Pipeline([double]).map({"x": [1.0]}, run_folder=tmp_path)


def test_at_most_one_socket_is_opened_for_any_number_of_errors(monkeypatch):
    opened = []
    real_socket = socket.socket

    def counting_socket(*arguments):
        opened.append(arguments)
        return real_socket(*arguments)

    monkeypatch.setattr(socket, "socket", counting_socket)

    @pipefunc("y", mapspec="x[i] -> y[i]")
    def fail(x):
        raise ValueError(x)

    results = Pipeline([fail]).map({"x": [1.0, 2.0, 3.0]}, error_handling="continue")
    assert [str(snapshot.exception) for snapshot in results["y"].output] == ["1.0", "2.0", "3.0"]
    assert len({snapshot.ip_address for snapshot in results["y"].output}) == 1
    assert len(opened) <= 1


def test_an_error_in_a_map_has_one_note():
    @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
    def fail(x):
        raise ValueError(x)

    with pytest.raises(ValueError, match="1.0") as caught:
        Pipeline([fail]).map({"x": [1.0]})
    assert len(caught.value.__notes__) == 1


def test_objects_keep_their_identity_from_stage_to_stage():
    lock = threading.Lock()

    @pipefunc("held", mapspec="x[i] -> held[i]")
    def hold(x):
        return lock

    @pipefunc("same", mapspec="held[i] -> same[i]")
    def same(held):
        return held is lock

    assert Pipeline([hold, same]).map({"x": [0]})["same"].array.tolist() == [True]
