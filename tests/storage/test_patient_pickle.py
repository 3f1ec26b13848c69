"""Pickling that lets other threads run."""

from __future__ import annotations

import pickle
import threading
import time

import cloudpickle
import numpy as np
import pytest

from pipefunc_c._storage.patient_pickle import pickle_in_parts, unpickle

VALUES = [None, [1, 2], "text" * 50_000, list(range(100_000)), b"bytes" * 100_000, {"a": [b"x" * 70_000] * 3}]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("pickler", [pickle.Pickler, cloudpickle.Pickler])
def test_the_parts_in_a_row_are_the_pickle(value, pickler):
    parts = pickle_in_parts(value, pickler)
    assert all(type(part) is bytes for part in parts)
    assert pickle.loads(b"".join(parts)) == value


LONG = [[1.5] * 200_000, {"a": ["x" * 50_000] * 50}, [np.float64(k) for k in range(50_000)], b"y" * 3_000_000]


@pytest.mark.parametrize("value", [*VALUES, *LONG, threading.Lock], ids=range(len(VALUES) + len(LONG) + 1))
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_loaded_whatever_its_length_and_protocol(value, protocol, monkeypatch):
    data = pickle.dumps(value, protocol)
    assert unpickle(data) == value
    monkeypatch.setattr("pipefunc_c._storage.patient_pickle._LONG", 0)
    assert unpickle(data) == value


def test_a_pickle_that_is_cut_is_an_error():
    data = pickle.dumps(list(range(1_000_000)))
    for end in (5, 70_000, len(data) - 1):
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            unpickle(data[:end])


def test_buffers_are_left_out():
    array, buffers = np.arange(1000.0), []
    parts = pickle_in_parts([array], buffer_callback=buffers.append)
    assert len(buffers) == 1
    assert sum(map(len, parts)) < 1000
    assert np.array_equal(pickle.loads(b"".join(parts), buffers=buffers)[0], array)


def test_no_part_cuts_a_name():
    values = [[k, "name_of_something"] for k in range(20_000)]
    parts = pickle_in_parts([*values, pickle_in_parts])
    assert sum(b"pickle_in_parts" in part for part in parts) == 1


@pytest.mark.slow
def test_other_threads_run_meanwhile():
    value = [0.5 * k for k in range(5_000_000)]
    late, ended = [], threading.Event()

    def tick() -> None:
        while not ended.is_set():
            began = time.monotonic()
            time.sleep(0.002)
            late.append(time.monotonic() - began)

    ticker = threading.Thread(target=tick)
    ticker.start()
    began = time.monotonic()
    pickle_in_parts(value)
    seconds = time.monotonic() - began
    ended.set()
    ticker.join()
    assert max(late) < max(0.05, seconds / 2), (seconds, max(late))
