from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernels.values import identical

from pipefunc_c.helpers import FileArray, FileValue
from pipefunc_c.map import FileArray as FileArrayOfMap


@pytest.mark.parametrize("value", [1, "text", {"a": [1, 2]}, None, np.arange(3.0)], ids=repr)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_value_comes_back(tmp_path, value, kind):
    stored = FileValue.from_data(value, kind(tmp_path / "new" / "folder" / "value.pickle"))
    assert identical(stored.load(), value)
    assert stored == FileValue(kind(tmp_path / "new" / "folder" / "value.pickle"))
    assert os.listdir(tmp_path / "new" / "folder") == ["value.pickle"]


def test_the_path_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored = FileValue.from_data([1], "value.pickle")
    assert stored.path == FileValue("value.pickle").path == tmp_path / "value.pickle"
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(stored)).load() == [1]


def test_it_is_written_in_one_step(tmp_path):
    stored = FileValue.from_data("old", tmp_path / "value")
    with pytest.raises(TypeError, match="cannot be pickled"):
        FileValue.from_data(sys._getframe(), tmp_path / "value")
    assert stored.load() == "old"
    FileValue.from_data("new", tmp_path / "value")
    assert stored.load() == "new"
    assert os.listdir(tmp_path) == ["value"]


def test_a_failing_disk_leaves_what_is_there(tmp_path, monkeypatch):
    stored = FileValue.from_data("old", tmp_path / "value")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        FileValue.from_data("new", tmp_path / "value")
    assert stored.load() == "old"
    assert os.listdir(tmp_path) == ["value"]


def test_values_of_a_script_load_in_another(tmp_path):
    program = (
        "import sys\n"
        "from pipefunc_c.helpers import FileValue\n"
        "class Point:\n"
        "    x = 3\n"
        "FileValue.from_data(Point(), sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "value")], check=True, timeout=60)
    assert FileValue(tmp_path / "value").load().x == 3


@pytest.mark.parametrize("path", [None, 3, ["a"]], ids=repr)
def test_a_path_that_is_none(path):
    for use in (FileValue, lambda path: FileValue.from_data(1, path)):
        with pytest.raises(TypeError, match="expected a str or a Path"):
            use(path)


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        FileValue(tmp_path / "value").load()


def test_helpers_has_the_file_array_of_map():
    assert FileArray is FileArrayOfMap
