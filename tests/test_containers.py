"""What is no container of the right kind is refused with the name of the option and the value."""

from __future__ import annotations

import pytest

from pipefunc_c import PipeFunc, Pipeline, VariantPipeline
from pipefunc_c._containers import as_callable_or_none, as_iterable, as_mapping, as_names
from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.sweep import Sweep, count_sweep, generate_sweep


def f(a, b=1):
    return a


def function():
    return PipeFunc(f, "c")


def pipeline():
    return Pipeline([PipeFunc(f, "c")])


WRONG = {
    "renames": (lambda: PipeFunc(f, "c", renames=["a"]), "`renames`", "['a']"),
    "defaults": (lambda: PipeFunc(f, "c", defaults=3), "`defaults`", "3"),
    "bound": (lambda: PipeFunc(f, "c", bound=3), "`bound`", "3"),
    "output_picker": (lambda: PipeFunc(f, "c", output_picker="x"), "`output_picker`", "'x'"),
    "post_execution_hook": (lambda: PipeFunc(f, "c", post_execution_hook=3), "`post_execution_hook`", "3"),
    "update_defaults": (lambda: function().update_defaults(None), "`defaults`", "None"),
    "update_bound": (lambda: function().update_bound(["a"]), "`bound`", "['a']"),
    "update_renames": (lambda: function().update_renames(3), "`renames`", "3"),
    "update_mapspec_axes": (lambda: function().update_mapspec_axes(3), "`renames`", "3"),
    "update_scope inputs": (lambda: function().update_scope("s", 3), "`inputs`", "3"),
    "update_scope outputs": (lambda: function().update_scope("s", outputs=3), "`outputs`", "3"),
    "update_scope exclude": (lambda: function().update_scope("s", "*", exclude=3), "`exclude`", "3"),
    "functions": (lambda: Pipeline(None), "`functions`", "None"),
    "one function": (lambda: Pipeline(f), "`functions`", "function f"),
    "cache_kwargs": (lambda: Pipeline([f], cache_kwargs=3), "`cache_kwargs`", "3"),
    "pipeline defaults": (lambda: pipeline().update_defaults(None), "`defaults`", "None"),
    "pipeline renames": (lambda: pipeline().update_renames(["a"]), "`renames`", "['a']"),
    "pipeline axes": (lambda: pipeline().update_mapspec_axes(3), "`renames`", "3"),
    "pipeline scope": (lambda: pipeline().update_scope("s", 3), "`inputs`", "3"),
    "subpipeline inputs": (lambda: pipeline().subpipeline(inputs=3), "`inputs`", "3"),
    "subpipeline lists in inputs": (lambda: pipeline().subpipeline(inputs=[["a"]]), "`inputs`", "['a']"),
    "subpipeline outputs": (lambda: pipeline().subpipeline(output_names=3), "`output_names`", "3"),
    "root_args": (lambda: pipeline().root_args(3), "`output_name`", "3"),
    "variants": (lambda: VariantPipeline(3), "`functions`", "3"),
    "sweep": (lambda: Sweep(3), "`items`", "3"),
    "generate_sweep": (lambda: generate_sweep(3), "`items`", "3"),
    "sweep values": (lambda: Sweep({"a": 3}), "`items`", "3"),
    "sweep dims": (lambda: Sweep({"a": [1]}, dims=3), "`dims`", "3"),
    "sweep exclude": (lambda: Sweep({"a": [1]}, exclude=3), "`exclude`", "3"),
    "sweep constants": (lambda: Sweep({"a": [1]}, constants=3), "`constants`", "3"),
    "sweep derivers": (lambda: Sweep({"a": [1]}, derivers=3), "`derivers`", "3"),
    "sweep deriver": (lambda: Sweep({"a": [1]}, derivers={"b": 3}), "`derivers`", "3"),
    "filtered_sweep": (lambda: Sweep({"a": [1]}).filtered_sweep(3), "`keys`", "3"),
    "count_sweep": (lambda: count_sweep("c", [3], pipeline()), "`sweep`", "3"),
}


@pytest.mark.parametrize(("call", "option", "value"), WRONG.values(), ids=WRONG)
def test_the_option_and_the_value_are_named(call, option, value):
    with pytest.raises(InvalidTypeError) as caught:
        call()
    message = caught.value.args[0]
    assert option in message
    assert value in message


def test_a_refused_change_leaves_everything_as_it_was():
    changed = pipeline()
    for change in (changed.update_defaults, changed.update_renames):
        with pytest.raises(InvalidTypeError):
            change(3)
    assert (changed.defaults, changed(a=2)) == ({"b": 1}, 2)


def test_what_is_empty_is_nothing():
    assert PipeFunc(f, "c", renames=[], defaults=None, bound=())(a=3) == 3


def test_what_is_right_is_returned():
    assert as_mapping({"a": 1}, "x") == {"a": 1}
    assert as_iterable("ab", "x") == "ab"
    assert as_names(iter("ab"), "x") == {"a", "b"}
    assert as_callable_or_none(None, "x") is None
    assert as_callable_or_none(len, "x") is len
