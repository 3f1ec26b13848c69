"""The options of a map: which forms are allowed, what they do, what is refused before anything runs."""

from __future__ import annotations

import concurrent.futures
import warnings

import pytest
from map.record import MEMORY_IDS
from map.refuse import refuse

from pipefunc_c import PipeFunc, Pipeline, pipefunc
from pipefunc_c.map import MemoryArray, StorageBase, run_map, storage_registry

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def calls():
    return []


@pytest.fixture
def product(calls):
    @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
    def product(x, y, factor=1):
        calls.append((x, y))
        return x * y * factor

    return Pipeline([product])


@pytest.fixture
def chain(calls):
    """A map, a map with two outputs and a reduction."""

    @pipefunc("y", mapspec="x[i] -> y[i]")
    def first(x):
        calls.append(x)
        return x

    @pipefunc(("low", "high"), mapspec="y[i] -> low[i], high[i]")
    def second(y):
        return y - 1, y + 1

    @pipefunc("total")
    def total(low, high):
        return sum(low) + sum(high)

    return Pipeline([first, second, total])


class TestStorage:
    INPUTS = {"x": [1, 2]}

    def test_unknown_id(self, chain, calls):
        refuse(chain, self.INPUTS, ValueError, "'disk'", *storage_registry, storage="disk")
        refuse(chain, self.INPUTS, ValueError, "'disk'", storage={"": "array", "y": "disk"})
        assert not calls

    def test_unknown_id_of_the_default_that_nobody_uses(self, chain):
        every = dict.fromkeys(["y", "low", "total"], "array")
        refuse(chain, self.INPUTS, ValueError, "'disk'", storage={**every, "": "disk"})

    @pytest.mark.parametrize("storage", [5, StorageBase, ["array"]], ids=repr)
    def test_another_type(self, chain, calls, storage):
        refuse(chain, self.INPUTS, (ValueError, TypeError), storage=storage)
        assert not calls

    @pytest.mark.parametrize("key", [("low", "high"), "low", "high"], ids=str)
    def test_an_entry_by_any_name_counts_for_all_outputs(self, chain, key):
        results = chain.map(self.INPUTS, parallel=False, storage={key: "dict", "": "shared_array"})
        ids = {name: results[name].store.storage_id for name in ("y", "low", "high")}
        assert ids == {"y": "shared_array", "low": "dict", "high": "dict"}

    @pytest.mark.parametrize(
        "keys", [["low", "high"], [("low", "high"), "low"], [("low", "high"), "high"]], ids=str
    )
    def test_two_entries_for_one_function(self, chain, calls, keys):
        storage = {**dict.fromkeys(keys, "dict"), "": "array"}
        refuse(chain, self.INPUTS, ValueError, "low", "high", storage=storage)
        assert not calls

    def test_no_entry_and_no_default(self, chain, calls):
        refuse(chain, self.INPUTS, ValueError, "'y'", storage={"low": "dict", "total": "dict"})
        assert not calls

    def test_all_entries_and_no_default(self, chain):
        results = chain.map(
            self.INPUTS, parallel=False, storage={"y": "dict", "high": "array", "total": "dict"}
        )
        assert results["high"].store.storage_id == "array"

    @pytest.mark.parametrize("key", ["x", "q", ("high", "low"), ("low",)], ids=str)
    def test_an_entry_that_is_no_output(self, chain, calls, key):
        refuse(chain, self.INPUTS, ValueError, repr(key), storage={key: "dict", "": "array"})
        assert not calls

    def test_a_registered_one(self, chain, monkeypatch):
        class Mine(MemoryArray):
            storage_id = "mine"

        monkeypatch.setitem(storage_registry, "mine", Mine)
        results = chain.map(self.INPUTS, parallel=False, storage="mine")
        assert type(results["y"].store) is Mine
        assert results["total"].output == 6

    @pytest.mark.parametrize("storage", MEMORY_IDS)
    def test_each_id_gives_the_same(self, chain, storage):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            results = chain.map(self.INPUTS, parallel=False, storage=storage)
        assert results["low"].output.tolist() == [0, 1]
        assert results["high"].output.tolist() == [2, 3]
        assert results["total"].output == 6


class TestChunksizes:
    INPUTS = {"x": [1, 2, 3]}
    GOOD = {
        "None": None,
        "int": 2,
        "by output": {"y": 1, "low": 2},
        "by tuple": {("low", "high"): 2, "": 1},
        "callable": {"y": lambda n: n, "": None},
        "default": {"": 2},
        "empty": {},
        "more than there are": 10**9,
    }
    BAD = {
        "zero": 0,
        "negative": -1,
        "float": 2.0,
        "str": "3",
        "bool": True,
        "in a dict": {"y": 0},
        "in the default": {"": -2},
        "no output": {"q": 1},
        "twice": {"low": 1, "high": 1},
        "tuple and name": {("low", "high"): 1, "high": 1},
    }

    @pytest.mark.parametrize("chunksizes", GOOD.values(), ids=GOOD)
    def test_good_ones(self, chain, chunksizes):
        results = chain.map(self.INPUTS, parallel=False, chunksizes=chunksizes)
        assert results["total"].output == 12

    @pytest.mark.parametrize("chunksizes", BAD.values(), ids=BAD)
    def test_bad_ones(self, chain, calls, chunksizes):
        refuse(chain, self.INPUTS, ValueError, "chunk", chunksizes=chunksizes)
        assert not calls


class TestFixedIndices:
    BAD = {
        "unknown axis": ({"q": 0}, ValueError),
        "too large": ({"j": 2}, IndexError),
        "too small": ({"j": -3}, IndexError),
        "of the second stage": ({"k": 99}, IndexError),
        "str": ({"i": "0"}, TypeError),
        "float": ({"i": 0.0}, TypeError),
        "None": ({"i": None}, TypeError),
        "list": ({"i": [0]}, TypeError),
        "slice of str": ({"i": slice("a", None)}, TypeError),
        "no dict": ([("i", 0)], TypeError),
    }

    @pytest.mark.parametrize(("fixed", "error"), BAD.values(), ids=BAD)
    def test_bad_ones_are_refused_before_anything_runs(self, product, calls, fixed, error):
        product.add(PipeFunc(lambda z, w: z + w, "v", mapspec="z[i, j], w[k] -> v[i, j, k]"))
        refuse(product, {"x": [1], "y": [1, 2], "w": [3]}, error, fixed_indices=fixed)
        assert not calls


class TestOtherOptions:
    def test_an_executor_without_parallel(self, product, calls):
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            for given in (executor, {"": executor}, {"z": executor}):
                refuse(product, {"x": [1], "y": [1]}, ValueError, "parallel=False", executor=given)
        assert not calls

    @pytest.mark.parametrize("option", ["error_handling", "scheduling_strategy"])
    @pytest.mark.parametrize("value", ["skip", None, True, ["raise"]], ids=repr)
    def test_words_that_are_not_allowed(self, product, calls, option, value):
        allowed = {"error_handling": "'continue'", "scheduling_strategy": "'eager'"}[option]
        refuse(product, {"x": [1], "y": [1]}, ValueError, option, repr(value), allowed, **{option: value})
        assert not calls

    def test_progress_that_is_not_allowed(self, product, calls):
        refuse(product, {"x": [1], "y": [1]}, ValueError, "'loud'", "'rich'", show_progress="loud")
        assert not calls

    @pytest.mark.parametrize("names", ["q", {"z", "q"}, [("z", "q")]], ids=["a name", "a set", "a tuple"])
    def test_unknown_output_names(self, product, calls, names):
        with pytest.raises((ValueError, KeyError)) as caught:
            product.map({"x": [1], "y": [1]}, output_names=names, parallel=False)
        assert "'q'" in str(caught.value)
        assert not calls

    def test_an_unknown_option(self, product):
        with pytest.raises(TypeError, match="storrage"):
            product.map({"x": [1], "y": [1]}, storrage="dict")

    def test_run_map_is_the_same(self, product):
        results = run_map(product, {"x": [1, 2], "y": [3]}, parallel=False)
        assert results["z"].output.tolist() == [[3], [6]]
        with pytest.raises(ValueError, match="missing"):
            run_map(product, {"x": [1]}, parallel=False)
