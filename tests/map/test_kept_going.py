"""What fails just before or just after a call is the error of its element too, where errors are kept."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import pytest
from map.alone import alone

from pipefunc_c import ErrorSnapshot, PipeFunc, Pipeline
from pipefunc_c.exceptions import InvalidTypeError, OutOfMemoryError
from pipefunc_c.map import FileArray, load_outputs
from pipefunc_c.map._stages.not_loaded import NotLoaded
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)


def func(body, output="y", mapspec="x[i] -> y[i]"):
    return PipeFunc(body, output, mapspec=mapspec, print_error=False)


def mapped(functions, inputs, way="sequential", **options):
    pipeline = Pipeline(functions)
    options = {"error_handling": "continue", "show_progress": False, **options}
    if way == "sequential":
        return pipeline.map(inputs, parallel=False, **options)
    if way == "workers":
        return pipeline.map(inputs, **options)
    makers = {
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(2, mp_context=get_context("fork")),
        "pool": lambda: WorkerPool(2, start_method="fork"),
    }
    with makers[way]() as executor:
        return pipeline.map(inputs, executor=executor, **options)


ALL = pytest.mark.parametrize("way", ["sequential", "workers", "threads", "processes", "pool"])
THAT_PICKLE = pytest.mark.parametrize("way", ["workers", "processes", "pool"])


def locked(x):
    return threading.Lock() if x % 10 == 1 else x


@THAT_PICKLE
@alone
def test_a_result_that_cannot_be_pickled(way):
    results = mapped([func(locked), func(lambda y: y + 1, "z", "y[i] -> z[i]")], {"x": range(40)}, way)
    output = results["y"].output
    assert [x for x in range(40) if isinstance(output[x], ErrorSnapshot)] == [1, 11, 21, 31]
    assert [output[x] for x in range(40) if x % 10 != 1] == [x for x in range(40) if x % 10 != 1]
    assert isinstance(output[11].exception, InvalidTypeError)
    assert "the result of 'y' at element 11, of type 'lock' cannot be pickled" in str(output[11].exception)
    assert output[11].kwargs == {"x": 11}
    assert results["z"].output[2] == 3
    assert results["z"].output[1].get_root_causes()[0].kwargs == {"x": 1}


@pytest.mark.parametrize("way", ["sequential", "workers", "threads", "processes"])
@alone
def test_a_result_that_cannot_be_written_to_the_run_folder(way, tmp_path):
    mapped([func(locked)], {"x": range(40)}, way, run_folder=tmp_path / "run")
    loaded = load_outputs("y", run_folder=tmp_path / "run")
    assert [x for x in range(40) if isinstance(loaded[x], ErrorSnapshot)] == [1, 11, 21, 31]
    assert [loaded[x] for x in range(40) if x % 10 != 1] == [x for x in range(40) if x % 10 != 1]


@THAT_PICKLE
@alone
def test_without_keeping_errors_it_ends_the_run_and_names_the_element(way):
    with pytest.raises(InvalidTypeError, match="'y' at element 33, of type 'lock' cannot be pickled"):
        mapped(
            [func(lambda x: threading.Lock() if x == 33 else x)],
            {"x": range(40)},
            way,
            error_handling="raise",
        )


@THAT_PICKLE
@pytest.mark.parametrize("mode", ["raise", "continue"])
@alone
def test_a_result_that_is_larger_than_memory(way, mode):
    functions = [func(lambda x: np.broadcast_to(np.uint8(1), (10**13,)) if x == 1 else x)]
    if mode == "raise":
        with pytest.raises(
            OutOfMemoryError, match=r"'y' at element 1, of type 'ndarray'.*10000000000000 bytes"
        ):
            mapped(functions, {"x": range(4)}, way, error_handling="raise")
        return
    output = mapped(functions, {"x": range(4)}, way)["y"].output
    assert isinstance(output[1].exception, MemoryError)
    assert [output[0], output[2], output[3]] == [0, 2, 3]


class Torn:
    """Data of which one element cannot be read."""

    shape = (4,)

    def __getitem__(self, index):
        number = index[0] if isinstance(index, tuple) else index
        if number == 2:
            raise OSError("the disk is torn")
        return number


@ALL
@alone
def test_an_input_of_which_an_element_cannot_be_read(way):
    if way in ("processes", "pool"):
        return  # a chunk is sliced as a whole; the pool pickles it as it is
    output = mapped([func(lambda x: 2 * x)], {"x": Torn()}, way)["y"].output
    assert [output[0], output[1], output[3]] == [0, 2, 6]
    assert type(output[2].exception) is OSError
    assert isinstance(output[2].kwargs["x"], NotLoaded)
    assert "the disk is torn" in repr(output[2].kwargs["x"])


def test_such_an_element_is_named_where_errors_are_raised():
    with pytest.raises(OSError, match="the disk is torn") as caught:
        mapped([func(lambda x: 2 * x)], {"x": Torn()}, error_handling="raise")
    assert "at element 2 of 4 (i=2)" in caught.value.__notes__[0]


def n_items(y):
    return len(y)


def total(y: npt.NDArray[np.float64]):
    return y.sum()


@ALL
@alone
def test_an_array_that_does_not_fit_its_annotation(way):
    functions = [
        func(lambda x: x if x else "none"),
        func(total, "total", None),
        func(n_items, "n", None),
        func(lambda total: total + 1, "more", None),
    ]
    results = mapped(functions, {"x": [1.0, 0.0, 2.0]}, way)
    error = results["total"].output
    assert isinstance(error, ErrorSnapshot)
    assert "element (1,) of 'y' is 'none'" in str(error.exception)
    assert list(error.kwargs["y"]) == [1.0, "none", 2.0]
    assert results["n"].output == 3
    assert results["more"].output.get_root_causes()[0].exception is not None


@ALL
@alone
def test_a_file_that_cannot_be_read(way, tmp_path):
    data = FileArray.from_data(list(range(4)), tmp_path / "data")
    whole = func(lambda k, data: k + len(data), "y", "k[i] -> y[i]")
    for file in (tmp_path / "data" / "commits").iterdir():
        if file.suffix != ".ledger":
            os.truncate(file, 0)
    results = mapped([whole, func(lambda k: k, "z", "k[i] -> z[i]")], {"k": [1, 2], "data": data}, way)
    assert results["z"].output.tolist() == [1, 2]
    for y in results["y"].output:
        assert isinstance(y, ErrorSnapshot) or y in (5, 6)
