"""Keys: what stands for values that cannot be hashed."""

from __future__ import annotations

import array
import collections
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._hashing.canonical import canonical_digest
from pipefunc_c.cache import UnhashableError, to_hashable, try_to_hashable
from pipefunc_c.cache._hashable import MARKER, exact_key


class Unhashable:
    __hash__ = None

    def __init__(self, content=0):
        self.content = content


class Refusing(Unhashable):
    def __getstate__(self):
        raise RuntimeError("no pickle")


@pytest.mark.parametrize("value", [1, "a", (1, "b"), frozenset({1}), None, len], ids=repr)
def test_hashable_objects_are_unchanged(value):
    assert to_hashable(value) is value


CONTAINERS = {
    "list": [1, [2]],
    "tuple": (1, [2]),
    "dict": {"a": [1], "b": 2},
    "set": {1, 2},
    "mixed set": {1, "a"},
    "OrderedDict": collections.OrderedDict(b=1, a=2),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "Counter": collections.Counter("aab"),
    "deque": collections.deque([1], maxlen=3),
    "bytearray": bytearray(b"ab"),
    "array": array.array("i", [1, 2]),
    "ndarray": np.arange(3),
    "large ndarray": np.arange(1000),
    "object ndarray": np.array([[1, [2]], [None, "a"]], dtype=object),
    "structured ndarray": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "masked array": np.ma.MaskedArray([1, 2], mask=[True, False]),
    "object": Unhashable(),
}


@pytest.mark.parametrize("value", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize("make", [to_hashable, exact_key])
def test_containers_become_tuples_of_marker_type_and_content(make, value):
    key = make(value)
    if isinstance(key, tuple) and key[0] == MARKER:
        assert key[1] is type(value)
        assert len(key) == 3
    assert hash(key) == hash(make(value))
    assert key == make(value)
    others = [make(other) for other in CONTAINERS.values() if other is not value]
    assert key not in others


def test_equal_values_have_equal_keys():
    assert to_hashable({"a": [1], "b": 2}) == to_hashable({"b": 2, "a": [1]})
    assert to_hashable({1, "a"}) == to_hashable({"a", 1})
    assert to_hashable(np.arange(6).reshape(2, 3)) == to_hashable(
        np.arange(6).reshape(3, 2).ravel().reshape(2, 3)
    )
    assert to_hashable(np.arange(10)[::2]) == to_hashable(np.array([0, 2, 4, 6, 8]))
    assert to_hashable(collections.OrderedDict(a=1, b=2)) != to_hashable(collections.OrderedDict(b=2, a=1))
    assert to_hashable(np.arange(6)) != to_hashable(np.arange(6).reshape(2, 3))
    assert to_hashable(np.arange(3, dtype="i4")) != to_hashable(np.arange(3, dtype="i8"))
    assert to_hashable(np.ma.MaskedArray([1, 2], mask=[1, 0])) != to_hashable(np.ma.MaskedArray([1, 2]))


def test_series_and_frames(require):
    require("pandas", reason="keys of data frames")
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for value in (frame, frame["a"], frame["b"], frame.index, frame["b"].astype("category")):
        assert to_hashable(value) == to_hashable(value.copy())
        assert to_hashable(value)[1] is type(value)
    assert to_hashable(frame) != to_hashable(frame.rename(columns={"a": "c"}))
    assert to_hashable(frame) != to_hashable(frame.set_index("b"))
    assert to_hashable(frame["a"]) != to_hashable(frame["a"] + 1)


def test_polars_series_and_frames(require):
    require("polars", reason="keys of data frames")
    import polars as pl

    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    for value in (frame, frame["a"]):
        assert to_hashable(value) == to_hashable(value.clone())
    assert to_hashable(frame) != to_hashable(frame.rename({"a": "c"}))
    assert to_hashable(frame["a"]) != to_hashable(frame["a"].cast(pl.Int8))


def frames():
    import pandas as pd
    import polars as pl

    pairs = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    return {
        "text": pd.DataFrame({"a": ["x", None], "b": [1, 2]}),
        "categories": pd.DataFrame({"a": pd.Categorical(["x", None])}),
        "ordered categories": pd.Series(pd.Categorical(["x", "y"], ordered=True)),
        "categories in another order": pd.Series(pd.Categorical(["x", "y"], categories=["y", "x"])),
        "text series": pd.Series(["x", "y"]),
        "text index": pd.Index(["x", "y"]),
        "several levels": pairs,
        "rows with several levels": pd.DataFrame({"a": [1, 2]}, index=pairs),
        "names of levels": pairs.set_names(["p", "q"]),
        "missing ints": pd.Series([1, None], dtype="Int64"),
        "missing bools": pd.Series([True, None], dtype="boolean"),
        "NaN": pd.Series([1.0, None]),
        "objects": pd.Series([[1], {"a": 2}]),
        "mixed": pd.Series([1, "a", None, math.nan, pd.NA]),
        "no value": pd.Series([1, "a", None, None, pd.NA]),
        "times": pd.Series(pd.date_range("2020", periods=2, tz="UTC")),
        "periods": pd.Series(pd.period_range("2020", periods=2, freq="D")),
        "intervals": pd.Series(pd.interval_range(0, 2)),
        "array": pd.array([1, None], dtype="Int64"),
        "polars": pl.DataFrame({"a": ["x", None], "b": [[1], [2]], "c": [{"q": 1}, {"q": 2}]}),
        "polars categories": pl.DataFrame({"a": ["x"]}, schema={"a": pl.Categorical}),
        "polars enum": pl.Series(["x"], dtype=pl.Enum(["x", "y"])),
        "polars NaN": pl.Series([math.nan, None, 0.0]),
        "polars zero": pl.Series([math.nan, 0.0, 0.0]),
        "polars plan": pl.DataFrame({"a": [1]}).lazy(),
        "polars expression": pl.col("a") + 1,
    }


def test_frames_and_series_of_any_type_need_no_pickle(require):
    require("pandas", reason="keys of data frames")
    require("polars", reason="keys of data frames")
    keys = {}
    for (name, value), again in zip(frames().items(), frames().values(), strict=True):
        key = keys[name] = to_hashable(value, fallback_to_pickle=False)
        assert key[:2] == (MARKER, type(value)), name
        assert isinstance(key[2], tuple), name
        assert hash(key) == hash(to_hashable(again, fallback_to_pickle=False)), name
        assert key == to_hashable(again, fallback_to_pickle=False), name
    for one, other in itertools.combinations(keys, 2):
        assert keys[one] != keys[other], (one, other)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": (v,)}], ids=["list", "dict"])
def test_an_error_names_what_was_given_and_what_in_it_is_refused(wrap):
    for key_of, value in ((lambda v: to_hashable(v, False), Unhashable()), (exact_key, Refusing())):
        given = wrap(value)
        with pytest.raises(UnhashableError) as caught:
            key_of(given)
        message = caught.value.args[0]
        assert message.startswith(f"a {type(given).__name__} can be no key, for a {type(value).__name__} is")
        assert caught.value.detail is value


def test_other_objects_by_a_digest_of_their_pickle():
    key = to_hashable(Unhashable(1))
    assert key[:2] == (MARKER, Unhashable)
    assert len(bytes.fromhex(key[2])) == 16
    assert key == to_hashable(Unhashable(1)) != to_hashable(Unhashable(2))


def test_a_list_that_contains_itself():
    loop = [1]
    loop.append(loop)
    assert hash(to_hashable(loop)) == hash(to_hashable(loop))


@pytest.mark.parametrize(
    ("value", "fallback"),
    [
        pytest.param(Unhashable(), False, id="no-fallback"),
        pytest.param([Unhashable()], False, id="inside"),
        pytest.param(Refusing(), True, id="no-pickle"),
        pytest.param({"a": [Refusing()]}, True, id="no-pickle-inside"),
    ],
)
def test_what_can_be_no_key_is_named(value, fallback):
    with pytest.raises(UnhashableError, match="Unhashable|Refusing") as caught:
        to_hashable(value, fallback)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value.detail, Unhashable)
    with pytest.raises(UnhashableError):
        try_to_hashable(value, fallback)
    with pytest.warns(UserWarning, match="'my function'"):
        assert try_to_hashable(value, fallback, "warning", where="my function") is UnhashableError
    assert try_to_hashable(value, fallback, unhashable_action="ignore") is UnhashableError
    assert try_to_hashable(1) == 1


def test_an_unknown_action_is_named():
    with pytest.raises(ValueError, match="'raise'"):
        try_to_hashable(1, unhashable_action="raise")


def test_exact_keys_tell_equal_numbers_apart():
    values = [0, 0.0, -0.0, False, 0j, np.float64(0), np.float32(0), np.int64(0), np.bool_(False), math.nan]
    for wrap in (lambda v: v, lambda v: (v,), lambda v: [v], lambda v: {"a": (v,)}, lambda v: frozenset([v])):
        keys = [exact_key(wrap(value)) for value in values]
        assert len(set(keys)) == len(values)
        assert keys == [exact_key(wrap(value)) for value in values]


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner, max_size=3),
)


@given(NESTED, NESTED)
def test_keys_are_equal_for_equal_values_only(one, other):
    assert (to_hashable(one) == to_hashable(other)) == (one == other)
    assert (canonical_digest(one) == canonical_digest(other)) == (one == other)
    if exact_key(one) == exact_key(other):
        assert one == other


def test_digests_of_equal_keys_are_equal():
    assert canonical_digest(1) == canonical_digest(1.0) == canonical_digest(True) == canonical_digest(1 + 0j)
    assert canonical_digest(("ab", "ab")) == canonical_digest(("".join("ab"), "".join(["a", "b"])))
    assert canonical_digest(math.inf) != canonical_digest(-math.inf)
    assert canonical_digest(np.arange(3)) != canonical_digest(np.arange(3.0))
    assert (
        canonical_digest(Unhashable(1)) == canonical_digest(Unhashable(1)) != canonical_digest(Unhashable(2))
    )
    assert canonical_digest(len) != canonical_digest(max)
    assert canonical_digest(int) != canonical_digest(float)
    assert canonical_digest(lambda: 1) != canonical_digest(lambda: 2)


def test_digests_are_the_same_in_each_process():
    code = (
        "from pipefunc_c._hashing.canonical import canonical_digest as d\n"
        "print(d({'b': {'x', 'y', 'z'}, 'a': (1, 2.5, b'c', None)}), d(frozenset(['p', 'q', 'r'])))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    }
    assert len(printed) == 1
