from __future__ import annotations

import pytest

from pipefunc_c._function.names import check_name, check_output_name, flatten_scopes, scoped_renames
from pipefunc_c.exceptions import InputError, InvalidTypeError, InvalidValueError


@pytest.mark.parametrize("name", ["x", "s.x", "_1", "über", "s.über"])
def test_good_names(name):
    check_name(name, "name")
    check_output_name(name)
    check_output_name((name,))


@pytest.mark.parametrize("name", ["", "1x", "a-b", "a.b.c", ".a", "a.", "a b", "a\n", "a[i]"])
def test_malformed_names(name):
    with pytest.raises(InvalidValueError) as caught:
        check_output_name(name)
    assert repr(name) in str(caught.value)
    with pytest.raises(InvalidValueError):
        check_output_name(("ok", name))


@pytest.mark.parametrize("name", [None, 1, ["a"], ("a", 1), b"a"])
def test_names_of_a_wrong_type(name):
    with pytest.raises(InvalidTypeError, match="must be a str"):
        check_output_name(name)


@pytest.mark.parametrize("names", [(), ("a", "a")], ids=["none", "twice"])
def test_output_names_must_be_different(names):
    with pytest.raises(InvalidValueError, match="different names"):
        check_output_name(names)


@pytest.mark.parametrize(
    ("scope", "inputs", "outputs", "exclude", "expected"),
    [
        ("s", "*", "*", None, {"a": "s.a", "b": "s.b", "t.c": "s.c", "d": "s.d"}),
        ("s", {"a"}, None, None, {"a": "s.a"}),
        ("s", None, "*", None, {"d": "s.d"}),
        ("s", "*", None, {"a", "t.c"}, {"b": "s.b"}),
        ("t", {"t.c"}, None, None, {"t.c": "t.c"}),
        (None, {"t.c", "a"}, None, None, {"t.c": "c", "a": "a"}),
        ("s", None, None, None, {}),
    ],
    ids=["all", "one", "outputs", "exclude", "there already", "remove", "none"],
)
@pytest.mark.filterwarnings("ignore:the scope of 't.c' is replaced")
def test_scoped_renames(scope, inputs, outputs, exclude, expected):
    assert scoped_renames(scope, ("a", "b", "t.c"), ("d",), inputs, outputs, exclude) == expected


def test_replacing_a_scope_warns():
    with pytest.warns(UserWarning, match="'t.c' is replaced by 's'"):
        scoped_renames("s", ("t.c",), (), "*", None, None)


@pytest.mark.parametrize("scope", ["a", "c", "d"], ids=["parameter", "scoped parameter", "output"])
def test_a_scope_must_not_be_a_name(scope):
    with pytest.raises(InvalidValueError, match=f"the scope '{scope}' is also the name"):
        scoped_renames(scope, ("a", "t.c"), ("d",), {"a"}, None, None)


@pytest.mark.parametrize("scope", ["a.b", "1", ""])
def test_a_scope_must_be_an_identifier(scope):
    with pytest.raises(InvalidValueError, match="not an identifier") as caught:
        scoped_renames(scope, ("x",), (), "*", None, None)
    assert repr(scope) in str(caught.value)


def test_a_scope_must_be_a_str():
    with pytest.raises(InvalidTypeError, match="got 3"):
        scoped_renames(3, ("x",), (), "*", None, None)


@pytest.mark.parametrize("option", ["inputs", "outputs"])
def test_unknown_names_in_a_scope(option):
    options = {"inputs": None, "outputs": None, option: {"nope"}}
    with pytest.raises(InvalidValueError, match=f"`{option}` has 'nope'"):
        scoped_renames("s", ("x",), ("y",), exclude=None, **options)


def test_a_bare_str_is_not_a_set_of_names():
    with pytest.raises(InvalidValueError, match=r"got 'x'\n.*\{'x'\}"):
        scoped_renames("s", ("x",), (), "x", None, None)


def test_flatten_scopes():
    values = {"s": {"x": 1, "y": 2}, "t.z": 3, "w": {"k": 4}}
    assert flatten_scopes(values, {"s", "t"}) == {"s.x": 1, "s.y": 2, "t.z": 3, "w": {"k": 4}}
    assert flatten_scopes({"s": 5}, {"s"}) == {"s": 5}


def test_a_name_given_both_ways():
    with pytest.raises(InputError, match="'s.x' is given twice"):
        flatten_scopes({"s.x": 1, "s": {"x": 1}}, {"s"})


def test_values_must_have_names():
    with pytest.raises(InvalidTypeError, match=r"got \[1\]"):
        flatten_scopes([1], set())
