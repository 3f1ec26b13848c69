"""Loading outputs of a run folder: from a run that is over, stopped, or still going on."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from map.run_folders import X, commit, describe, opened, started

from pipefunc_c import pipefunc
from pipefunc_c._failure_origin import FailureOrigin
from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.commits import Committer
from pipefunc_c._storage.compaction import compact
from pipefunc_c._storage.file import FileArray
from pipefunc_c.exceptions import ErrorSnapshot, PropagatedErrorSnapshot, UnknownNameError
from pipefunc_c.map._run_folder.load import load_all_outputs, load_outputs
from pipefunc_c.map._run_folder.run_files import DamagedFileError
from pipefunc_c.map._run_folder.run_info import RunFolderNotFoundError, RunInfo
from pipefunc_c.map._stages.failures import PROPAGATED
from pipefunc_c.map._stages.not_loaded import NotLoaded


def test_a_finished_run(tmp_path):
    info = started(tmp_path)
    commit(info, "y", {0: 2.0, 1: 4.0, 2: 6.0}, 3)
    commit(info, "total", {0: 12.0}, writer="v")
    y = load_outputs("y", run_folder=tmp_path)
    assert isinstance(y, np.ma.MaskedArray)
    assert y.dtype == np.float64
    assert y.tolist() == [2.0, 4.0, 6.0]
    assert not np.ma.is_masked(y)
    assert load_outputs("total", run_folder=str(tmp_path)) == 12.0
    total, again = load_outputs("total", "y", run_folder=tmp_path)
    assert (total, again.tolist()) == (12.0, y.tolist())
    everything = load_all_outputs(tmp_path)
    assert list(everything) == ["y", "total"]
    assert everything["y"].tolist() == y.tolist()


def test_missing_elements_are_masked(tmp_path):
    commit(started(tmp_path), "y", {1: 4.0}, 3)
    y = load_outputs("y", run_folder=tmp_path)
    assert y.dtype == np.float64
    assert y.mask.tolist() == [True, False, True]
    assert load_outputs("total", run_folder=tmp_path) is np.ma.masked


def test_mixed_types_are_objects(tmp_path):
    commit(started(tmp_path), "y", {0: 1, 1: 2.5, 2: {"a": 1}}, 3)
    y = load_outputs("y", run_folder=tmp_path)
    assert y.dtype == object
    assert [type(each) for each in y.tolist()] == [int, float, dict]


def test_damaged_results_are_missing(tmp_path):
    commit(started(tmp_path), "y", {0: 1.0, 1: 2.0, 2: 3.0}, 3)
    for path in (tmp_path / "commits").iterdir():
        path.write_bytes(bytes(len(path.read_bytes())))
    assert load_outputs("y", run_folder=tmp_path).mask.all()


def test_an_unknown_name_is_a_key_error_that_lists_the_known(tmp_path):
    started(tmp_path)
    with pytest.raises(KeyError, match="has no output 'z'; its outputs are total, y") as caught:
        load_outputs("y", "z", run_folder=tmp_path)
    assert isinstance(caught.value, UnknownNameError)
    with pytest.raises(UnknownNameError, match="'x'"):
        load_outputs("x", run_folder=tmp_path)


@pytest.mark.parametrize("load", [load_all_outputs, lambda folder: load_outputs("y", run_folder=folder)])
def test_no_folder_is_a_file_not_found_error(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="there is no run") as caught:
        load(tmp_path / "nothing")
    assert isinstance(caught.value, RunFolderNotFoundError)
    assert not (tmp_path / "nothing").exists()


def test_a_damaged_run_info_is_named(tmp_path):
    started(tmp_path)
    path = tmp_path / "run_info.json"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedFileError, match=r"run_info\.json' is damaged"):
        load_outputs("y", run_folder=tmp_path)


def test_internal_axes(tmp_path):
    @pipefunc("y", mapspec="x[i] -> y[j, i]")
    def rows(x):
        return [x, x]

    info = describe(functions=[rows])
    with opened(tmp_path, info, [rows]) as run:
        column = Column(3)
        column.store(0, [1.0, 2.0])
        column.store(2, [3.0, 4.0])
        committer = Committer(tmp_path, "w")
        committer.commit(0, 0, 3, 0, [column])
        committer.close()
        # The size of the inner axis is not known before the stage is done.
        assert load_outputs("y", run_folder=tmp_path).tolist() == [[1.0, 2.0], None, [3.0, 4.0]]
        run.record_shapes({"y": (2, 3)})
    assert load_outputs("y", run_folder=tmp_path).tolist() == [[1.0, None, 3.0], [2.0, None, 4.0]]


def test_arrays_as_elements_are_one_typed_array(tmp_path):
    @pipefunc("y", mapspec="x[i] -> y[i, j]", internal_shape=2)
    def rows(x):
        return np.array([x, x])

    info = started(tmp_path, describe(functions=[rows], internal_shapes={"y": (2,)}), [rows])
    column = Column(3)
    column.fix_layout(np.float64, (2,))
    for index in range(3):
        column.store(index, np.array([index, index + 0.5]))
    committer = Committer(info.folder, "w")
    committer.commit(0, 0, 3, 0, [column])
    committer.close()
    y = load_outputs("y", run_folder=tmp_path)
    assert y.dtype == np.float64
    assert y.tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]


def test_several_outputs_of_one_function(tmp_path):
    @pipefunc(("a", "b"), mapspec="x[i] -> a[i], b[i]")
    def both(x):
        return x, -x

    info = started(tmp_path, describe(functions=[both]), [both])
    columns = [Column(3), Column(3)]
    for index in range(3):
        columns[0].store(index, index)
        columns[1].store(index, -index)
    committer = Committer(info.folder, "w")
    committer.commit(0, 0, 3, 0, columns)
    committer.close()
    assert [each.tolist() for each in load_outputs("b", "a", run_folder=tmp_path)] == [[0, -1, -2], [0, 1, 2]]


def test_what_was_persisted_on_its_own(tmp_path):
    info = started(tmp_path, describe(storage="dict"))
    array = FileArray(info.folder / "outputs" / "y", (3,))
    array.dump(0, 5.0)
    assert load_outputs("y", run_folder=tmp_path).tolist() == [5.0, None, None]


def test_exports_of_single_calls(tmp_path):
    with opened(tmp_path) as run:
        run.export({"total": {"a": [1]}})
    with open(tmp_path / "outputs" / "total.cloudpickle", "rb") as file:
        assert pickle.load(file) == {"a": [1]}


@pytest.mark.slow
def test_another_process_sees_what_is_committed_meanwhile(tmp_path):
    folder = tmp_path / "run"
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        from map.run_folders import commit, opened
        with opened({str(folder)!r}) as run:
            for index in range(3):
                commit(run.info, "y", {{index: float(index)}}, 3, writer=str(index))
                print(index, flush=True)
                sys.stdin.readline()
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        for index in range(3):
            assert process.stdout.readline() == f"{index}\n"
            y = load_outputs("y", run_folder=folder)
            assert np.ma.getmaskarray(y).tolist() == [k > index for k in range(3)]
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_million_floats(tmp_path):
    info = started(tmp_path, describe({"x": np.zeros(10**6)}))
    column = Column(10**6)
    one = Column(10)
    for index in range(10):
        one.store(index, float(index))
    tags, cells = np.tile(one.tags, 10**5), np.tile(one.cells, 10**5)
    column.copy_range(0, tags, cells)
    committer = Committer(info.folder, "w")
    for start in range(0, 10**6, 10**5):
        committer.commit(0, start, start + 10**5, 0, [column])
    committer.close()
    compact(info.folder)
    y = load_outputs("y", run_folder=tmp_path)
    assert y.dtype == np.float64
    assert y[-3:].tolist() == [7.0, 8.0, 9.0]


# -- errors ------------------------------------------------------------------------------------------


@pipefunc("y", mapspec="x[i] -> y[i]", renames={"value": "x"})
def checked(value, factor=2):
    if value > 1:
        raise ValueError(f"{value} is too large")
    return value * factor


@pipefunc("z", mapspec="y[i] -> z[i]")
def after(y):
    return y


WHEN = "2020-02-02T20:20:02+00:00"


@pytest.fixture
def failed(tmp_path):
    """Give the folder of a run in which two elements failed, and those that need them."""
    functions = [checked, after]
    info = started(tmp_path / "run", describe(functions=functions, error_handling="continue"), functions)
    y, z = Column(3), Column(3)
    y.store(0, 2.0)
    z.store(0, 2.0)
    for index in (1, 2):
        y.store_error(index, ValueError(f"{X[index]} is too large"), 0)
        z.store_error(index, PROPAGATED, 0)
    committer = Committer(info.folder, "w")
    origin = FailureOrigin(
        "Traceback: somewhere\n", "2020-02-02T20:20:02+00:00", "ann", "node7", "10.0.0.7", "/tmp"
    )
    committer.commit(0, 0, 3, 0, [y], origin_of=lambda _number: origin)
    committer.commit(1, 0, 3, 0, [z], origin_of=lambda _number: FailureOrigin.here())
    committer.close()
    return info.folder


def test_errors_come_back_with_their_arguments(failed):
    y = load_outputs("y", run_folder=failed)
    assert y[0] == 2.0
    assert isinstance(y[2], ErrorSnapshot)
    assert y[2].kwargs == {"value": 3.0, "factor": 2}
    assert str(y[2].exception) == "3.0 is too large"
    assert y[2].traceback.startswith("Traceback: somewhere")
    assert y[2].timestamp == WHEN
    assert (y[2].user, y[2].machine, y[2].ip_address) == ("ann", "node7", "10.0.0.7")
    assert y[2].current_directory == "/tmp"
    with pytest.raises(ValueError, match="3.0 is too large"):
        y[2].reproduce()


def test_errors_of_inputs_are_followed(failed):
    z = load_outputs("z", run_folder=failed)
    assert isinstance(z[1], PropagatedErrorSnapshot)
    assert z[1].reason == "input_is_error"
    assert [str(each.exception) for each in z[1].get_root_causes()] == ["2.0 is too large"]


def test_arguments_that_cannot_be_read_are_named(failed):
    (failed / "inputs/x.cloudpickle").write_bytes(b"garbage")
    kwargs = load_outputs("y", run_folder=failed)[1].kwargs
    assert isinstance(kwargs["value"], NotLoaded)
    assert "is damaged" in repr(kwargs["value"])
    assert kwargs["factor"] == 2


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"x")], ids=["gone", "damaged"])
def test_errors_come_back_without_their_function(failed, spoil):
    spoil(failed / "functions.cloudpickle")
    y, z = load_outputs("y", "z", run_folder=failed)
    assert str(y[1].exception) == "2.0 is too large"
    with pytest.raises(RuntimeError, match="'y' could not be read back"):
        y[1].reproduce()
    assert isinstance(z[1], PropagatedErrorSnapshot)


def test_a_function_that_cannot_be_pickled_does_not_stop_the_run(tmp_path):
    lock = os.scandir(tmp_path)

    @pipefunc("y", mapspec="x[i] -> y[i]")
    def holds_a_lock(x):
        return lock, x

    with lock:
        started(
            tmp_path / "run", describe(functions=[holds_a_lock], error_handling="continue"), [holds_a_lock]
        )
    assert load_outputs("y", run_folder=tmp_path / "run").mask.all()


def test_a_moved_folder_loads(failed, tmp_path):
    shutil.move(failed, tmp_path / "moved")
    y = load_outputs("y", run_folder=tmp_path / "moved")
    assert y[1].kwargs["value"] == 2.0
    assert RunInfo.load(tmp_path / "moved").stages == (("y",), ("z",))
