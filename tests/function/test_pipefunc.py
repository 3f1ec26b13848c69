from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import math
from typing import NamedTuple
from unittest.mock import MagicMock

import numpy as np
import pytest

from pipefunc_c._function.decorator import pipefunc
from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c.exceptions import (
    ErrorSnapshot,
    InputError,
    InvalidTypeError,
    InvalidValueError,
    OutOfBoundsError,
)
from pipefunc_c.typing import NoAnnotation


def add(a, b=2):
    """Add."""
    return a + b


class Scaler:
    """The class, not its instances."""

    def __init__(self, factor=3):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    def method(self, x):
        return self.factor * x

    @classmethod
    def of(cls, factor):
        return cls(factor)

    def __eq__(self, other):
        return isinstance(other, Scaler) and self.factor == other.factor

    def __hash__(self):
        return hash(self.factor)


@dataclasses.dataclass
class Record:
    x: int
    items: list = dataclasses.field(default_factory=list)
    size: int = 3


class Point(NamedTuple):
    x: int
    y: int


@functools.wraps(add)
def wrapped(*args, **kwargs):
    return add(*args, **kwargs)


def open_ended(x, *args, y=1, **kwargs):
    return x, args, y, kwargs


def positional_only(a, b=2, /, c=3, *, d=4):
    return a, b, c, d


CALLS = {
    "function": (add, {"a": 1}, 3),
    "builtin": (math.sin, {"x": 0.0}, 0.0),
    "builtin with options": (sorted, {"iterable": [2, 1], "reverse": True}, [2, 1]),
    "partial": (functools.partial(add, b=5), {"a": 1}, 6),
    "bound method": (Scaler().method, {"x": 2}, 6),
    "class method": (Scaler.of, {"factor": 4}, Scaler(4)),
    "instance": (Scaler(), {"x": 2}, 6),
    "class": (Scaler, {"factor": 7}, Scaler(7)),
    "dataclass": (Record, {"x": 1}, Record(1, [], 3)),
    "named tuple": (Point, {"x": 1, "y": 2}, Point(1, 2)),
    "wrapped": (wrapped, {"a": 1}, 3),
    "open-ended": (open_ended, {"x": 1}, (1, (), 1, {})),
    "positional-only": (positional_only, {"a": 1}, (1, 2, 3, 4)),
    "positional-only with a gap": (positional_only, {"a": 1, "c": 0}, (1, 2, 0, 4)),
    "pipefunc": (PipeFunc(add, "s", renames={"a": "s.x"}), {"s.x": 1}, 3),
}
# Before NumPy 2.4 ufuncs do not tell their parameters.
UFUNC_SIGNATURES = np.lib.NumpyVersion(np.__version__) >= "2.4.0"
if UFUNC_SIGNATURES:
    CALLS["ufunc"] = (np.sqrt, {"x": 4.0}, 2.0)


@pytest.mark.parametrize(("func", "kwargs", "result"), CALLS.values(), ids=CALLS)
def test_calls_by_name_and_by_position(func, kwargs, result):
    function = PipeFunc(func, "result")
    assert function(**kwargs) == result
    if list(kwargs) == list(function.parameters[: len(kwargs)]):
        assert function(*kwargs.values()) == result


@pytest.mark.parametrize(("func", "kwargs", "result"), CALLS.values(), ids=CALLS)
def test_calls_under_other_names(func, kwargs, result):
    renames = {name: f"scope.n{k}" for k, name in enumerate(PipeFunc(func, "result").parameters)}
    function = PipeFunc(func, "result", renames=renames)
    given = {renames[name]: value for name, value in kwargs.items()}
    assert function(**given) == result
    assert function(scope={name.partition(".")[2]: value for name, value in given.items()}) == result


def test_a_parameter_may_be_called_self():
    def f(self, args):
        return self, args

    assert PipeFunc(f, "y")(self=1, args=2) == (1, 2)
    assert PipeFunc(f, "y", renames={"args": "kwargs"})(self=1, kwargs=2) == (1, 2)


def test_a_missing_positional_only_argument_is_an_error_of_the_call():
    with pytest.raises(TypeError, match="'a'"):
        PipeFunc(positional_only, "y", print_error=False)(b=1)


def test_keyword_only_parameters_may_be_given_by_position():
    def f(a, *, b):
        return a, b

    assert PipeFunc(f, "y")(1, 2) == (1, 2)
    assert PipeFunc(positional_only, "y")(1, 5, 6, 7) == (1, 5, 6, 7)


def test_values_go_in_the_order_default_given_bound():
    function = PipeFunc(lambda a, b=1, c=1, d=1: (a, b, c, d), "y", defaults={"b": 2, "c": 2}, bound={"d": 4})
    assert function(a=0) == (0, 2, 2, 4)
    assert function(a=0, c=3, d=3) == (0, 2, 3, 4)
    assert function(0, 3) == (0, 3, 2, 4)


VARIANTS = {"direct": {}, "renamed": {"renames": {"a": "z"}}, "bound": {"bound": {"b": 1}}}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((1,), {"nope": 2}, "'nope' is no parameter of add"),
        ((1, 2, 3), {}, "given 3 arguments by position"),
        ((1, 2), {"b": 3}, "'b' was given to add twice"),
    ],
    ids=["unknown", "too many", "twice"],
)
def test_arguments_that_do_not_fit(options, args, kwargs, text, capsys):
    function = PipeFunc(add, "y", **options)
    with pytest.raises(InputError, match=text):
        function(*args, **kwargs)
    assert function.error_snapshot is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_a_missing_argument_is_an_error_of_the_call(options):
    function = PipeFunc(add, "y", print_error=False, **options)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        function()
    assert function.error_snapshot is not None


def test_a_type_error_of_the_body_is_not_taken_for_wrong_arguments():
    function = PipeFunc(lambda x: x + "a", "y", print_error=False)
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        function(x=1)
    assert function.error_snapshot.exception is caught.value


def test_a_name_given_flat_and_in_its_scope():
    function = PipeFunc(add, "y", scope="s")
    assert function.parameters == ("s.a", "s.b")
    assert function.output_name == "s.y"
    with pytest.raises(InputError, match="'s.a' is given twice"):
        function(s={"a": 1}, **{"s.a": 2})


def test_a_default_factory_makes_a_new_value_in_each_call():
    function = PipeFunc(Record, "r")
    assert function.defaults == {"items": [], "size": 3}
    assert function.own_defaults == {"items"}
    assert function(x=1).items is not function(x=1).items
    shared = []
    function.update_defaults({"items": shared})
    assert function(x=1).items is function(x=1).items is shared
    assert not function.own_defaults


# -- outputs


def test_pick_by_position_follows_renames():
    function = PipeFunc(lambda: (1, 2), ("a", "b"), renames={"a": "c", "b": "a"})
    assert [function.pick(("first", "second"), name) for name in ("c", "a")] == ["first", "second"]


def test_the_picker_gets_the_new_name_and_is_not_applied_by_a_call():
    function = PipeFunc(lambda: {"c": 1}, "a", renames={"a": "c"}, output_picker=dict.__getitem__)
    assert function.pick({"c": 1}, "c") == 1
    assert function() == {"c": 1}


def test_one_output_is_the_whole_result():
    assert PipeFunc(lambda: (1, 2), "a").pick((1, 2), "a") == (1, 2)
    assert PipeFunc(lambda: (1, 2), ("a",)).pick((1, 2), "a") == 1


def test_an_error_snapshot_is_every_output():
    snapshot = ErrorSnapshot(add, ValueError(), (), {})
    assert PipeFunc(add, ("x", "y")).pick(snapshot, "y") is snapshot


@pytest.mark.parametrize(
    ("result", "error"),
    [((1,), OutOfBoundsError), (None, InvalidTypeError), ({"a": 1}, InvalidTypeError)],
    ids=["short", "none", "dict"],
)
def test_results_without_that_many_outputs(result, error):
    with pytest.raises(error, match=r"<lambda> returned .* no item 1 for the output 'b'") as caught:
        PipeFunc(lambda: result, ("a", "b")).pick(result, "b")
    assert "output_picker" in str(caught.value)


# -- what it tells about itself


def test_names_and_texts():
    function = PipeFunc(add, ("x", "s.y"), renames={"a": "z"})
    assert str(function) == "add(...) → x, s.y"
    assert repr(function) == "PipeFunc(add)"
    assert function.__name__ == "add"
    assert function.__doc__ == "Add."
    assert function.__wrapped__ is function.func is add
    assert PipeFunc(Scaler(), "y").__doc__ is None
    assert PipeFunc.__test__ is False


def test_properties_are_copies():
    function = PipeFunc(add, "y", bound={"a": 1}, renames={"b": "c"})
    for name in ("renames", "defaults", "bound", "native_names", "original_parameters"):
        value = getattr(function, name)
        value.clear()
        assert getattr(function, name)
    with pytest.raises(AttributeError):
        function.bound = {}


def test_scopes():
    function = PipeFunc(add, "y", renames={"a": "s.a"})
    assert function.parameter_scopes == {"s"}
    assert function.unscoped_parameters == ("a", "b")


@pytest.mark.parametrize(
    ("mapspec", "mapped"), [(None, False), ("... -> y[i]", False), ("a[i] -> y[i]", True)]
)
def test_requires_mapping(mapspec, mapped):
    assert PipeFunc(add, "y", mapspec=mapspec).requires_mapping is mapped


def typed(a: int, b: str = "b") -> tuple[int, str]:
    return a, b


def test_annotations_and_signature():
    function = PipeFunc(typed, ("x", "y"), renames={"a": "s.a"}, defaults={"s.a": 1})
    assert function.parameter_annotations == {"s.a": int, "b": str}
    assert function.output_annotation == {"x": int, "y": str}
    signature = inspect.signature(function)
    assert str(signature) == "(s.a: int = 1, b: str = 'b') -> tuple[int, str]"
    assert {p.kind for p in signature.parameters.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def test_signature_leaves_out_bound_parameters_and_unknown_results():
    assert str(inspect.signature(PipeFunc(typed, "x", bound={"b": "c"}))) == "(a: int) -> tuple[int, str]"
    picked = PipeFunc(typed, ("x", "y"), output_picker=lambda result, name: result)
    assert str(inspect.signature(picked)) == "(a: int, b: str = 'b')"
    assert picked.output_annotation == {"x": NoAnnotation, "y": NoAnnotation}
    assert PipeFunc(add, "x").output_annotation == {"x": NoAnnotation}
    assert PipeFunc(Record, "r").output_annotation == {"r": Record}
    default_first = PipeFunc(lambda a, b: a, "y", defaults={"a": 1})
    assert str(inspect.signature(default_first)) == "(a=1, b)"


# -- hook and debug


def test_the_hook_gets_native_names_with_defaults_and_bound_values():
    calls = []
    function = PipeFunc(
        lambda a, b=2, c=3: a,
        "y",
        renames={"a": "z"},
        bound={"c": 9},
        post_execution_hook=lambda *args: calls.append(args),
    )
    assert function(z=1) == 1
    assert calls == [(function, 1, {"a": 1, "b": 2, "c": 9})]


def test_an_error_of_the_hook_is_not_one_of_the_function(capsys):
    def hook(func, result, kwargs):
        raise RuntimeError("hook")

    function = PipeFunc(add, "y", post_execution_hook=hook)
    with pytest.raises(RuntimeError, match="hook"):
        function(1)
    assert function.error_snapshot is None
    assert capsys.readouterr().out == ""


def test_debug_prints_a_line_and_may_be_switched(capsys):
    function = PipeFunc(add, "y", debug=True)
    function(1)
    line = capsys.readouterr().out
    assert "'y' = add(a=1, b=2) → 3" in line
    assert line.count("\n") == 1
    function.debug = False
    function(1)
    assert capsys.readouterr().out == ""


def test_hook_picker_and_callable_may_be_replaced():
    seen = []
    function = PipeFunc(add, "y")
    function.post_execution_hook = lambda *args: seen.append(args[1])
    function.func = lambda a, b: a * b
    assert function(a=2, b=5) == 10
    assert seen == [10]
    function.post_execution_hook = None
    function(a=1, b=1)
    assert seen == [10]


# -- what the engine uses


@pytest.mark.parametrize(
    ("func", "n_positional"),
    [(add, 2), (math.sin, 1), (positional_only, 3), (Scaler(), 1), (Scaler, 0), (wrapped, 0), (sorted, 1)],
    ids=["function", "builtin", "positional-only", "instance", "class", "wrapped", "options"],
)
def test_how_to_call_per_element(func, n_positional):
    function = PipeFunc(func, "y")
    assert function.n_positional == n_positional
    value = [1] if func is sorted else 1
    arguments = {name: value for name, p in function.original_parameters.items() if p.default is p.empty}
    positional, keywords = function.split_arguments(arguments)
    assert function.call_target(*positional, **keywords) == func(*arguments.values())


def test_a_callable_in_the_place_of_another_gets_its_arguments_by_name():
    function = PipeFunc(add, "y")
    function.func = lambda b, a: (a, b)
    assert function.n_positional == 0
    assert function(a=1, b=2) == function(1, 2) == (1, 2)
    function.func = mock = MagicMock(return_value=3)
    assert function(a=1, b=2) == 3
    mock.assert_called_once_with(a=1, b=2)


def test_the_target_follows_the_callable():
    function = PipeFunc(add, "y")
    function.func = Scaler(2)
    assert function.call_target(4) == 8
    assert function.call_target.__self__ is function.func


# -- the decorator


def test_the_decorator_passes_everything_on():
    @pipefunc(
        ("x", "y"),
        output_picker=getattr,
        renames={"a": "z"},
        defaults={"z": 1},
        bound={"b": 2},
        debug=True,
        print_error=False,
        mapspec=MapSpec.from_string("... -> x[i], y[i]"),
        internal_shape="?",
        post_execution_hook=print,
    )
    def f(a, b):
        return a, b

    assert isinstance(f, PipeFunc)
    assert (f.output_name, f.renames, f.defaults, f.bound) == (("x", "y"), {"a": "z"}, {"z": 1}, {"b": 2})
    assert (f.debug, f.print_error, f.internal_shape) == (True, False, "?")
    assert (f.output_picker, f.post_execution_hook) == (getattr, print)
    assert str(f.mapspec) == "... -> x[i], y[i]"
    assert pipefunc("y", scope="s")(add).parameters == ("s.a", "s.b")


def test_the_decorator_has_the_keywords_of_the_class():
    own = inspect.signature(pipefunc).parameters
    of_class = dict(itertools.islice(inspect.signature(PipeFunc.__init__).parameters.items(), 2, None))
    assert {n: p.default for n, p in own.items()} == {n: p.default for n, p in of_class.items()}
    assert [p.kind for p in own.values()] == [p.kind for p in of_class.values()]


@pytest.mark.parametrize(
    ("func", "output_name", "error"),
    [
        (3, "y", InvalidTypeError),
        (add, 3, InvalidTypeError),
        (add, ["y"], InvalidTypeError),
        (add, "1y", InvalidValueError),
        (add, "a", InvalidValueError),
        (add, ("y", "y"), InvalidValueError),
    ],
    ids=["no callable", "no name", "list", "malformed", "parameter", "twice"],
)
def test_wrong_construction(func, output_name, error):
    with pytest.raises(error) as caught:
        PipeFunc(func, output_name)
    offender = func if func == 3 else output_name[0] if isinstance(output_name, tuple) else output_name
    assert repr(offender) in str(caught.value)
