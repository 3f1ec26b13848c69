"""What stands for a callable in a key; the digest itself is tested with the identity of code."""

from __future__ import annotations

import functools
import gc
import math
import threading

import pytest

from pipefunc_c._hashing.identity import CodeHasher
from pipefunc_c.cache import compute_function_hash
from pipefunc_c.cache._function_hash import _tokens, callable_id, token_of


def add(x, k=1):
    return x + k


class Scale:
    def __init__(self, factor) -> None:
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    def method(self, x):
        return x


def with_closure(value):
    return lambda x: (x, value)


def test_the_hash_is_that_of_code_and_defaults():
    def make(k):
        def add(x, k=k):
            return x + k

        return add

    assert compute_function_hash(make(1)) == compute_function_hash(make(1))
    assert compute_function_hash(make(1)) != compute_function_hash(make(2))


def test_partials_are_told_apart_by_their_arguments():
    hashes = [compute_function_hash(functools.partial(add, k=k)) for k in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_builtins_are_known_by_name():
    assert compute_function_hash(len) == compute_function_hash(len) != compute_function_hash(sum)
    assert callable_id(math.sin, CodeHasher())[1]


@pytest.mark.parametrize("value", [3, None, "text"])
def test_what_cannot_be_called_has_no_hash(value):
    assert compute_function_hash(value) is None


STABLE = {
    "function": (add, add),
    "instance": (Scale(2), Scale(2)),
    "closure": (with_closure(2), with_closure(2)),
    "method": (Scale(2).method, Scale(2).method),
}


@pytest.mark.parametrize(("one", "other"), STABLE.values(), ids=STABLE)
def test_what_is_known_is_the_same_for_all_processes(one, other):
    text, is_stable = callable_id(one, CodeHasher())
    assert is_stable
    assert callable_id(other, CodeHasher()) == (text, True)


UNSTABLE = {
    "instance": lambda: Scale(threading.Lock()),
    "closure": lambda: with_closure(threading.Lock()),
    "method": lambda: Scale(threading.Lock()).method,
    "partial": lambda: functools.partial(add, k=threading.Lock()),
}


@pytest.mark.parametrize("make", UNSTABLE.values(), ids=UNSTABLE)
def test_what_is_not_known_stands_for_one_object(make):
    one, other = make(), make()
    first = callable_id(one, CodeHasher())
    assert not first[1]
    assert callable_id(one, CodeHasher()) == first
    assert callable_id(other, CodeHasher()) != first


LOG = threading.Lock()


def uses_a_global(x):
    return LOG, x


def test_a_global_of_unknown_content_leaves_the_id_stable():
    assert callable_id(uses_a_global, CodeHasher())[1]


def test_a_token_ends_with_its_object():
    held = Scale(1)
    token_of(held)
    number = id(held)
    assert number in _tokens
    del held
    gc.collect()
    assert number not in _tokens


def test_objects_that_cannot_be_referenced_weakly_have_tokens_too():
    value = [1]
    assert token_of(value) == token_of(value) != token_of([1])
