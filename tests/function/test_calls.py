"""The many ways to pass arguments, against a plain binding of names; and what a call costs."""

from __future__ import annotations

import gc
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c import Pipeline
from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c.exceptions import InputError


def plain(a, b, c=3):
    return a, b, c


def by_position(a, b, c=3, /):
    return a, b, c


def mixed(a, /, b, *, c=3):
    return a, b, c


def by_keyword(*, a, b, c=3):
    return a, b, c


def open_ended(a, b, c=3, *args, **kwargs):
    assert not args
    assert not kwargs
    return a, b, c


def two(a, b):
    return a, b


def root(x):
    return math.sqrt(x)


FUNCTIONS = {f.__name__: f for f in (plain, by_position, mixed, by_keyword, open_ended, two)}
NAMES = ("a", "b", "c", "nope")


def expected(names, args, kwargs, defaults, bound):
    """Return what a call gives, or the error that it ends in."""
    if len(args) > len(names) or any(name not in names for name in kwargs):
        return InputError
    given_values = dict(zip(names, args, strict=False))
    if given_values.keys() & kwargs.keys():
        return InputError
    values = {**defaults, **given_values, **kwargs, **bound}
    return tuple(values[name] for name in names) if values.keys() == set(names) else TypeError


@given(st.data())
def test_calls_against_a_plain_binding_of_names(data):
    func = FUNCTIONS[data.draw(st.sampled_from(sorted(FUNCTIONS)))]
    native = ("a", "b") if func is two else ("a", "b", "c")
    present = {name: data.draw(st.sampled_from([name, f"s.{name}", f"new_{name}"])) for name in native}
    names = tuple(present.values())
    options = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from(["default", "bound"])))
    defaults = {name: f"default of {name}" for name, kind in options.items() if kind == "default"}
    bound = {name: f"bound {name}" for name, kind in options.items() if kind == "bound"}
    function = PipeFunc(func, "result", renames=present, defaults=defaults, bound=bound, print_error=False)
    args = tuple(data.draw(st.lists(st.integers(0, 9), max_size=4)))
    kwargs = data.draw(st.dictionaries(st.sampled_from((*names, "nope")), st.integers(10, 19), max_size=4))
    own = {} if func is two else {names[2]: 3}
    result = expected(names, args, kwargs, {**own, **defaults}, bound)
    nested = data.draw(st.booleans())
    if nested:
        in_scope = {name[2:]: value for name, value in kwargs.items() if name.startswith("s.")}
        kwargs = {name: value for name, value in kwargs.items() if not name.startswith("s.")}
        kwargs.update({"s": in_scope} if in_scope else {})
    if isinstance(result, tuple):
        assert function(*args, **kwargs) == result
        assert function.error_snapshot is None
        return
    with pytest.raises(result):
        function(*args, **kwargs)
    assert (function.error_snapshot is None) == (result is InputError)


@pytest.mark.parametrize(
    ("func", "renames"),
    [(math.sqrt, {}), (root, {"x": "z"}), (root, {"x": "s.x"})],
    ids=["positional-only", "renamed", "scope"],
)
@pytest.mark.parametrize("by_name", [False, True], ids=["position", "keyword"])
def test_an_error_of_a_fast_call_is_recorded(func, renames, by_name, capsys):
    function = PipeFunc(func, "y", renames=renames)
    with pytest.raises(ValueError, match="math domain error|nonnegative"):
        function(**{function.parameters[0]: -1.0}) if by_name else function(-1.0)
    snapshot = function.error_snapshot
    assert (snapshot.args, snapshot.kwargs) in [((-1.0,), {}), ((), {"x": -1.0})]
    assert capsys.readouterr().out.count("An error occurred while calling") == 1
    with pytest.raises(ValueError, match="math domain error|nonnegative"):
        snapshot.reproduce()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "name", "times"),
    [
        (PipeFunc(lambda x: x, "y"), "x", 25),  # measured: 5
        (PipeFunc(lambda x: x, "y", renames={"x": "z"}), "z", 25),  # 6
        (PipeFunc(math.sin, "y"), "x", 25),  # 6
        (PipeFunc(lambda x, k: x, "y", bound={"k": 1}), "x", 50),  # 15
    ],
    ids=["plain", "renamed", "builtin", "bound"],
)
def test_a_call_costs_less_than_a_microsecond_more_or_less(function, name, times):
    def best(call, name):
        found = []
        arguments = {name: 1}
        for _ in range(15):
            started = time.process_time()
            for _ in range(5_000):
                call(**arguments)
            found.append(time.process_time() - started)
        return min(found)

    gc.collect()
    assert best(function, name) < times * best(lambda x: x, "x")


def test_section_14_point_5_options_use_new_names_and_reports_native_ones():
    seen = []

    def fail_at_zero(a, b=2, c=3):
        return {"new": 1 / a, "z": b}

    function = PipeFunc(
        fail_at_zero,
        ("y", "z"),
        renames={"a": "s.x", "b": "k", "y": "new"},
        defaults={"k": 5},
        bound={"c": 6},
        mapspec="s.x[i] -> new[i], z[i]",
        output_picker=lambda result, name: result[name],
        post_execution_hook=lambda func, result, kwargs: seen.append(kwargs),
        print_error=False,
    )
    result = function(s={"x": 1})
    assert seen == [{"a": 1, "b": 5, "c": 6}]
    assert [function.pick(result, name) for name in function.output_name] == [1.0, 5]
    with pytest.raises(ZeroDivisionError) as caught:
        function(**{"s.x": 0})
    assert function.error_snapshot.kwargs == {"a": 0, "b": 5, "c": 6}
    assert "fail_at_zero(a=0, b=5, c=6)" in caught.value.__notes__[0]
    for option in ("defaults", "bound"):
        with pytest.raises(ValueError, match="'b'"):
            function.copy(**{option: {"b": 1}})
    with pytest.raises(ValueError, match="'a'"):
        function.copy(mapspec="a[i] -> new[i], z[i]")


def test_section_14_point_6_a_bound_value_goes_before_a_given_one_and_before_an_upstream_output():
    upstream = PipeFunc(lambda x: x, "b")
    function = PipeFunc(two, "y", bound={"b": "bound"})
    assert function(a=1, b=2) == function(1, 2) == (1, "bound")
    pipeline = Pipeline([upstream, function])
    assert pipeline("y", a=1) == (1, "bound")
    assert pipeline.root_args("y") == ("a",)
