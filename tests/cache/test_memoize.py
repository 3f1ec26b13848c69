"""`memoize`: which calls are made, and which are remembered."""

from __future__ import annotations

import numpy as np
import pytest

from pipefunc_c.cache import DiskCache, HybridCache, LRUCache, SimpleCache, UnhashableError, memoize


def counted(**options):
    calls = []

    @memoize(**options)
    def function(*args, **kwargs):
        """Say something."""
        calls.append((args, kwargs))
        return args, kwargs

    return function, calls


def test_equal_calls_are_made_once():
    function, calls = counted()
    for _ in range(3):
        assert function([1], k={"a": 1}) == (([1],), {"k": {"a": 1}})
    assert len(calls) == 1
    function([2])
    assert len(calls) == 2
    assert isinstance(function.cache, SimpleCache)
    assert len(function.cache) == 2
    assert function.__doc__ == "Say something."
    assert function.__wrapped__ is not function


def test_equal_numbers_of_different_types_are_different_arguments():
    function, calls = counted()
    assert [type(function(x)[0][0]) for x in (1, 1.0, True, (1,))] == [int, float, bool, tuple]
    assert function((1.0,)) != function((True,)) or len(calls) == 6


def test_none_is_a_result_like_any_other():
    calls = []
    function = memoize()(lambda: calls.append(1))
    function()
    function()
    assert calls == [1]


@pytest.mark.parametrize("kind", [SimpleCache, LRUCache, HybridCache, DiskCache])
def test_each_cache_can_be_used(kind, tmp_path):
    cache = DiskCache(tmp_path) if kind is DiskCache else kind()
    function, calls = counted(cache=cache)
    assert function(1) == function(1)
    assert len(calls) == 1
    assert function.cache is cache


def test_a_function_for_the_key():
    function, calls = counted(key_func=lambda x: x % 2)
    assert function(1) == function(3)
    assert len(calls) == 1
    assert function.cache.cache == {1: ((1,), {})}


class Refusing:
    __hash__ = None

    def __getstate__(self):
        raise RuntimeError("no pickle")

    def __deepcopy__(self, memo):
        return self


def test_arguments_that_can_be_no_key():
    function, calls = counted()
    with pytest.raises(UnhashableError, match="Refusing"):
        function(Refusing())
    function, calls = counted(unhashable_action="warning")
    for _ in range(2):
        with pytest.warns(UserWarning, match="counted.<locals>.function"):
            function([Refusing()])
    assert len(calls) == 2
    function, calls = counted(unhashable_action="ignore")
    function(Refusing())
    function(Refusing())
    assert len(calls) == 2
    assert len(function.cache) == 0
    function, calls = counted(fallback_to_pickle=False)
    with pytest.raises(UnhashableError, match="`fallback_to_pickle` is False"):
        function(np.poly1d([1]))


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="'raise'"):
        memoize(unhashable_action="raise")
    with pytest.raises(TypeError, match="parentheses"):
        memoize(len)


def test_an_error_is_not_kept():
    calls = []

    @memoize()
    def fail():
        calls.append(1)
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            fail()
    assert len(calls) == 2
