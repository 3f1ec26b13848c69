from __future__ import annotations

import os
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels.values import arrays, identical

from pipefunc_c._storage import file_data
from pipefunc_c.map import FileArray


@given(data=st.data())
def test_elements_are_those_of_the_array(tmp_path_factory, data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)))
    values = data.draw(arrays(shape))
    array = FileArray.from_data(values, tmp_path_factory.mktemp("array"))
    assert array.shape == shape
    for index in np.ndindex(shape):
        assert identical(array[index], values[index])
    assert pickle.loads(pickle.dumps(array)).to_array().shape == shape


@pytest.mark.parametrize(
    "values",
    [[1, 2.5, "a", None, [1], np.arange(2)], (1, (2, 3)), range(3, 9, 2), [[1, 2], [3]], []],
    ids=["list", "tuple", "range", "ragged", "empty"],
)
def test_lists_have_one_axis(tmp_path, values):
    array = FileArray.from_data(values, tmp_path)
    assert array.shape == (len(values),)
    assert all(identical(array[k], value) for k, value in enumerate(values))
    assert not array.mask.any()


def test_what_is_masked_is_missing(tmp_path):
    array = FileArray.from_data(np.ma.MaskedArray([1, 2, 3], mask=[False, True, False]), tmp_path)
    assert array.mask_linear() == [False, True, False]
    assert identical(array[2], np.int64(3))


def test_anything_with_a_shape_will_do(tmp_path):
    class Squares:
        shape = (2, 3)

        def __getitem__(self, key):
            return f"{key}"

    array = FileArray.from_data(Squares(), str(tmp_path / "a" / "b"))
    assert array[1, 2] == "(1, 2)"


def test_a_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = FileArray.from_data([1, 2], "a/b")
    assert array.folder == tmp_path / "a" / "b"
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(array))[1] == 2


def test_an_array_of_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array, other = FileArray("a", 2), FileArray("a", 2)
    array.dump(0, 1)
    assert other[0] == 1
    monkeypatch.chdir("/")
    array.dump(1, 2)
    for each in (array, other, pickle.loads(pickle.dumps(other)), FileArray(tmp_path / "a", 2)):
        assert each.to_array().tolist() == [1, 2]


def test_elements_that_are_there_are_replaced(tmp_path):
    old = FileArray.from_data([1, 2, 3], tmp_path)
    assert old[1] == 2
    FileArray.from_data(["a", "b", "c"], tmp_path)
    assert old[1] == "b"
    old.dump(1, "newer")
    assert FileArray.from_data([4, 5, 6], tmp_path).to_array().tolist() == [4, 5, 6]
    assert FileArray(tmp_path, (3,))[1] == old[1] == 5


def test_a_value_that_cannot_be_pickled_leaves_what_is_there(tmp_path):
    FileArray.from_data([1, 2], tmp_path)
    with pytest.raises(TypeError, match="element 1.*frame"):
        FileArray.from_data([0, sys._getframe()], tmp_path)
    assert FileArray(tmp_path, (2,)).to_array().tolist() == [1, 2]
    assert len(list((tmp_path / "commits").iterdir())) == 2


@pytest.mark.parametrize("data", ["ab", 3, None, np.float64(1).item()], ids=repr)
def test_data_without_a_shape(tmp_path, data):
    with pytest.raises(TypeError, match="no shape"):
        FileArray.from_data(data, tmp_path / "array")
    assert not (tmp_path / "array").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="a file is where the folder is to be") as caught:
        FileArray.from_data([1, 2], tmp_path / "file")
    assert "free there" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "kept"


def test_blocks_join(tmp_path, monkeypatch):
    monkeypatch.setattr(file_data, "NUMBERS", 7)
    monkeypatch.setattr(file_data, "OBJECTS", 3)
    values = [k if k % 10 < 5 else f"text {k}" for k in range(50)]
    assert FileArray.from_data(values, tmp_path).to_array().tolist() == values
    table = np.arange(30).reshape(5, 6)
    assert FileArray.from_data(table, tmp_path).to_array().tolist() == table.tolist()


def test_a_million_numbers_are_two_files_and_a_small_pickle(tmp_path):
    array = FileArray.from_data(np.arange(1_000_000), tmp_path)
    assert sum(len(files) for _, _, files in os.walk(tmp_path)) <= 4
    assert len(pickle.dumps(array)) <= 1000
    assert identical(array[(999_999,)], np.int64(999_999))
    assert len(pickle.dumps(array)) <= 1000
    for index in range(1000):
        assert array[(index,)] == index
