from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import cloudpickle
import pytest

from pipefunc_c._function.pipefunc import PipeFunc, Revision
from pipefunc_c.exceptions import (
    InvalidTypeError,
    InvalidValueError,
)


def add(a, b=2):
    """Add."""
    return a + b


# -- copies and pickles


def lambdas():
    return PipeFunc(
        lambda a, b=2: (a, b),
        ("x", "y"),
        renames={"a": "s.a", "y": "z"},
        defaults={"s.a": 5},
        bound={"b": 7},
        mapspec="s.a[i] -> x[i], z[i]",
        internal_shape=(2,),
        output_picker=lambda result, name: result[1],
        post_execution_hook=lambda func, result, kwargs: None,
        print_error=False,
        debug=False,
    )


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_pickle_round_trip(pickler):
    function = lambdas()
    again = pickle.loads(pickler.dumps(function))
    for name in ("output_name", "parameters", "renames", "defaults", "bound", "mapspec", "internal_shape"):
        assert getattr(again, name) == getattr(function, name), name
    assert again(**{"s.a": 1}) == (1, 7)
    assert again.pick((1, 2), "x") == 2
    assert again.print_error is False
    assert again.revision is None


def test_an_error_snapshot_is_pickled_along():
    function = PipeFunc(lambda x: 1 / x, "y", print_error=False)
    with pytest.raises(ZeroDivisionError):
        function(0)
    again = pickle.loads(pickle.dumps(function))
    assert isinstance(again.error_snapshot.exception, ZeroDivisionError)
    assert again.error_snapshot.kwargs == {"x": 0}


@pytest.mark.parametrize("duplicate", [PipeFunc.copy, copy.copy, copy.deepcopy])
def test_a_copy_is_independent(duplicate):
    function = lambdas()
    other = duplicate(function)
    other.update_renames({"x": "w"})
    other.update_defaults({"s.a": 6})
    assert function.output_name == ("x", "z")
    assert function.defaults == {"s.a": 5}
    assert other.defaults == {"s.a": 6}
    assert other != function
    assert hash(function) == object.__hash__(function)


def test_copy_drops_snapshot_and_revision():
    function = PipeFunc(lambda x: 1 / x, "y", print_error=False)
    function.revision = Revision()
    with pytest.raises(ZeroDivisionError):
        function(0)
    other = function.copy()
    assert other.error_snapshot is None
    assert other.revision is None


def test_copy_with_other_options():
    function = PipeFunc(add, "y", renames={"a": "z", "y": "out"}, defaults={"z": 1}, bound={"b": 3})
    other = function.copy(renames={"a": "w"}, print_error=False)
    assert (other.parameters, other.output_name) == (("w", "b"), "y")
    assert (other.defaults, other.bound) == ({"w": 1}, {"b": 3})
    assert other.print_error is False
    named = function.copy(output_name="new")
    assert (named.parameters, named.output_name) == (("z", "b"), "new")
    assert function.copy(renames=None).parameters == ("a", "b")
    assert function.copy(func=lambda a, b: a - b)(z=10) == 7
    with pytest.raises(InvalidTypeError, match=r"no options \['nope'\]"):
        function.copy(nope=1)


# -- updates


def test_updates_count_as_changes_of_the_revision():
    function = PipeFunc(add, "y", mapspec="a[i] -> y[i]")
    function.revision = revision = Revision()
    function.update_defaults({"b": 3})
    function.update_renames({"b": "c"})
    function.update_scope("s", inputs={"a"})
    function.update_mapspec_axes({"i": "j", "unknown": "k"})
    assert str(function.mapspec) == "s.a[j] -> y[j]"
    count = revision.number
    assert count >= 4
    function.error_snapshot = None
    function.print_error = False
    assert revision.number == count
    for name, value in (("debug", True), ("output_picker", add), ("func", add), ("mapspec", None)):
        setattr(function, name, value)
    assert revision.number == count + 4


@pytest.mark.parametrize(
    "update",
    [
        lambda f: f.update_defaults({"nope": 1}),
        lambda f: f.update_defaults({"b": 1}),
        lambda f: f.update_bound({"a": 1}),
        lambda f: f.update_renames({"a": "y"}),
        lambda f: f.update_scope("a", "*"),
        lambda f: setattr(f, "mapspec", "a[i] -> z[i]"),
    ],
    ids=["unknown", "bound", "mapped", "taken", "scope", "mapspec"],
)
def test_a_refused_update_changes_nothing(update):
    function = PipeFunc(add, "y", bound={"b": 3}, mapspec="a[i] -> y[i]")
    function.revision = revision = Revision()
    before = function.binding
    with pytest.raises(InvalidValueError):
        update(function)
    assert function.binding is before
    assert revision.number == 0


def test_update_mapspec_axes_without_mapspec():
    function = PipeFunc(add, "y")
    function.update_mapspec_axes({"i": "j"})
    assert function.mapspec is None


def test_update_scope_and_back():
    function = PipeFunc(add, "y", defaults={"b": 4}, mapspec="a[i] -> y[i]")
    function.update_scope("s", inputs="*", outputs="*", exclude={"b"})
    assert (function.parameters, function.output_name) == (("s.a", "b"), "s.y")
    function.update_scope(None, inputs="*", outputs="*")
    assert (function.parameters, function.output_name) == (("a", "b"), "y")
    assert str(function.mapspec) == "a[i] -> y[i]"


SCRIPT = """
from __future__ import annotations
import sys
import cloudpickle
import numpy as np
import numpy.typing as npt
from pipefunc_c import PipeFunc

class Mine:
    pass

def mean(y: npt.NDArray[np.float64], other: Mine) -> float:
    return float(y.mean())

function = PipeFunc(mean, "m", renames={"y": "z"})
open(sys.argv[1], "wb").write(cloudpickle.dumps(function))
print(function.parameter_annotations["z"])
"""


def test_annotations_are_known_where_a_function_is_pickled_by_value(tmp_path):
    # The names in them are no part of the code, so they do not go along with it.
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", tmp_path / "function"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    function = pickle.loads((tmp_path / "function").read_bytes())
    assert str(function.parameter_annotations["z"]) == shown.strip()
    assert function.parameter_annotations["other"].__name__ == "Mine"
    assert function.output_annotation == {"m": float}
    assert pickle.loads(pickle.dumps(function)).output_annotation == {"m": float}
