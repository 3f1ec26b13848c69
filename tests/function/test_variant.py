from __future__ import annotations

import pickle

import pytest

from pipefunc_c._function.decorator import pipefunc
from pipefunc_c._function.pipefunc import PipeFunc, Revision
from pipefunc_c._function.variant import as_variant
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError


def add(a, b=2):
    return a + b


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (None, {}),
        ("fast", {None: "fast"}),
        ({"method": "fast"}, {"method": "fast"}),
        ({None: "a", "g": "b"}, {None: "a", "g": "b"}),
        ({}, {}),
    ],
    ids=["none", "name", "group", "both", "empty"],
)
def test_what_may_be_given(variant, expected):
    assert as_variant(variant) == expected
    assert PipeFunc(add, "y", variant=variant).variant == expected


@pytest.mark.parametrize("variant", [3, ["fast"], {"g": 3}, {3: "fast"}], ids=repr)
def test_other_types_are_refused(variant):
    with pytest.raises(InvalidTypeError, match="a variant must be a str, or a dict") as caught:
        PipeFunc(add, "y", variant=variant)
    assert repr(variant) in str(caught.value)


def test_variant_group_is_refused_with_what_to_write_instead():
    with pytest.raises(
        InvalidValueError, match="`variant_group` is no option any more, got 'method'"
    ) as caught:
        PipeFunc(add, "y", variant="fast", variant_group="method")
    assert "variant={'method': 'fast'}" in caught.value.hint


def test_the_given_dict_is_copied():
    given = {"g": "a"}
    function = PipeFunc(add, "y", variant=given)
    given["g"] = "b"
    assert function.variant == {"g": "a"}


def test_copies_pickles_and_the_decorator_keep_variant_and_cache():
    function = PipeFunc(add, "y", variant="fast", cache=True)
    decorated = pipefunc("y", variant="fast", cache=True)(add)
    renamed = function.copy(output_name="z")
    for other in (function.copy(), renamed, pickle.loads(pickle.dumps(function)), decorated):
        assert other.variant == {None: "fast"}
        assert other.cache is True
    assert function.copy(variant=None, cache=False).variant == {}
    assert PipeFunc(add, "y").cache is False


def test_variant_and_cache_may_be_set():
    function = PipeFunc(add, "y")
    function.revision = revision = Revision()
    function.variant = "slow"
    assert function.variant == {None: "slow"}
    function.cache = True
    assert revision.number == 1  # pipelines look at it anew
