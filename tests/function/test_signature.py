from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
from typing import NamedTuple
from unittest.mock import MagicMock

import numpy as np
import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._function.signature import (
    annotations_of,
    call_target,
    count_positional,
    documentation,
    function_name,
    is_compiled,
    read_signature,
    split_output_type,
)
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.typing import NoAnnotation, Unresolvable


def plain(a: int, b: float = 1.5, *, c: str = "c") -> bool:
    """Say plain."""
    return bool(a and b and c)


class Adder:
    """Add; not the docstring of an instance."""

    def __init__(self, start: int = 0) -> None:
        self.start = start

    def __call__(self, x: int, y: int = 2) -> int:
        return self.start + x + y

    def method(self, x: int) -> int:
        return self.start + x

    @classmethod
    def make(cls, start: int) -> Adder:
        return cls(start)


class Point(NamedTuple):
    x: int
    y: str = "y"


@dataclasses.dataclass
class Record:
    """A record."""

    x: int
    items: list[int] = dataclasses.field(default_factory=list)
    size: int = 3


@functools.wraps(plain)
def wrapped(*args, **kwargs):
    return plain(*args, **kwargs)


def open_ended(x, *args, y=1, **kwargs):
    return x, args, y, kwargs


def positional_only(a, b=2, /, c=3):
    return a, b, c


CALLABLES = {
    "function": (plain, ("a", "b", "c"), {"b": 1.5, "c": "c"}, 2),
    "lambda": (lambda x: x, ("x",), {}, 1),
    "builtin": (math.sin, ("x",), {}, 1),
    "ufunc with options": (sorted, ("iterable", "key", "reverse"), {"key": None, "reverse": False}, 1),
    "partial": (functools.partial(plain, b=2.0), ("a", "b", "c"), {"b": 2.0, "c": "c"}, 0),
    "bound method": (Adder(1).method, ("x",), {}, 1),
    "class method": (Adder.make, ("start",), {}, 1),
    "instance": (Adder(1), ("x", "y"), {"y": 2}, 2),
    "class": (Adder, ("start",), {"start": 0}, 0),
    "named tuple": (Point, ("x", "y"), {"y": "y"}, 0),
    "dataclass": (Record, ("x", "items", "size"), {"items": [], "size": 3}, 0),
    "wrapped": (wrapped, ("a", "b", "c"), {"b": 1.5, "c": "c"}, 0),
    "open-ended": (open_ended, ("x", "y"), {"y": 1}, 1),
    "positional-only": (positional_only, ("a", "b", "c"), {"b": 2, "c": 3}, 3),
    "pipefunc": (PipeFunc(plain, "y", renames={"a": "z"}), ("z", "b", "c"), {"b": 1.5, "c": "c"}, 0),
}


@pytest.mark.parametrize(("func", "names", "defaults", "n_positional"), CALLABLES.values(), ids=CALLABLES)
def test_parameters_of_all_kinds_of_callables(func, names, defaults, n_positional):
    signature = read_signature(func)
    assert tuple(signature.parameters) == names
    assert signature.defaults == defaults
    assert count_positional(func, signature) == n_positional


def test_positional_only_names():
    assert read_signature(positional_only).positional_only == ("a", "b")
    assert read_signature(math.sin).positional_only == ("x",)
    assert read_signature(plain).positional_only == ()


def test_what_is_open_ended():
    assert read_signature(open_ended).open_ended
    assert not read_signature(plain).open_ended


@pytest.mark.parametrize("value", [3, None, "x"])
def test_not_callable(value):
    with pytest.raises(InvalidTypeError, match=f"callable, got {value!r}"):
        read_signature(value)


@pytest.mark.parametrize("func", [max, dict], ids=["max", "dict"])
def test_no_signature(func):
    with pytest.raises(InvalidValueError, match="does not tell its parameters") as caught:
        read_signature(func)
    assert repr(func) in str(caught.value)
    assert "def f(x)" in str(caught.value)


def test_a_default_factory_is_made_anew_by_the_class():
    assert read_signature(Record).own_defaults == {"items"}


def test_compiled_callables_keep_their_defaults():
    assert read_signature(sorted).own_defaults == {"key", "reverse"}
    if np.lib.NumpyVersion(np.__version__) >= "2.4.0":  # before, ufuncs do not tell their parameters
        assert read_signature(np.sin).own_defaults >= {"out", "dtype", "signature"}
    assert not read_signature(plain).own_defaults
    assert not read_signature(float).own_defaults  # x is positional-only
    assert not read_signature(functools.partial(plain, b=2.0)).own_defaults


@pytest.mark.parametrize(
    ("func", "compiled"),
    [(plain, False), (np.sin, True), (sorted, True), (Adder(), False), (Adder, False), (wrapped, False)],
    ids=["function", "ufunc", "builtin", "instance", "class", "wrapped"],
)
def test_is_compiled(func, compiled):
    assert is_compiled(func) is compiled


def test_a_dataclass_without_the_generated_init():
    @dataclasses.dataclass(init=False)
    class Own:
        x: int = 1
        items: list[int] = dataclasses.field(default_factory=list)

        def __init__(self, x, items=None):
            self.x, self.items = x, items

    assert read_signature(Own).defaults == {"items": None}
    assert not read_signature(Own).own_defaults


def test_pydantic_models(require):
    require("pydantic", reason="pydantic models are functions too")
    import pydantic

    class Model(pydantic.BaseModel):
        x: int
        size: int = 3
        items: list[int] = pydantic.Field(default_factory=lambda: [1])
        other: int = pydantic.Field(5, alias="alias")
        double: int = pydantic.Field(default_factory=lambda data: 2 * data["x"])

    signature = read_signature(Model)
    assert tuple(signature.parameters) == ("x", "size", "items", "alias", "double")
    assert signature.defaults == {"size": 3, "items": [1], "alias": 5}
    assert signature.own_defaults == {"items"}
    assert annotations_of(Model)["items"] == list[int]
    function = PipeFunc(Model, "model", defaults={"double": 0})
    assert function(x="1", alias=7) == Model(x=1, alias=7, double=0)


def test_pydantic_1_models(require):
    require("pydantic", reason="it ships version 1")
    v1 = pytest.importorskip("pydantic.v1")

    class Old(v1.BaseModel):
        x: int = 3

    with pytest.warns(UserWarning, match="defaults of Old .* pydantic 1"):
        assert read_signature(Old).defaults == {}


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (plain, "plain"),
        (math.sin, "sin"),
        (Adder(), "Adder"),
        (Adder, "Adder"),
        (Adder().method, "Adder.method"),
        (Adder.make, "Adder.make"),
        (functools.partial(plain), "partial"),
        (PipeFunc(Adder().method, "y"), "Adder.method"),
        (types.MethodType(functools.partial(plain), 1), "method"),
    ],
    ids=[
        "function",
        "builtin",
        "instance",
        "class",
        "method",
        "class method",
        "partial",
        "pipefunc",
        "odd method",
    ],
)
def test_names(func, name):
    assert function_name(func) == name


def test_documentation_is_the_callables_own():
    assert documentation(plain) == "Say plain."
    assert documentation(Record) == "A record."
    assert documentation(Adder()) is None
    assert documentation(functools.partial(plain)) is None


def test_call_target_of_an_instance_is_its_method():
    adder = Adder(1)
    target = call_target(adder)
    assert isinstance(target, types.MethodType)
    assert target.__self__ is adder
    assert target(1) == adder(1) == 4


@pytest.mark.parametrize("func", [plain, math.sin, Adder, Adder().method, functools.partial(plain, 1)])
def test_call_target_of_others_is_itself(func):
    assert call_target(func) is func


def test_call_target_of_a_mock():
    mock = MagicMock(return_value=3)
    assert call_target(mock)(1, x=2) == 3
    mock.assert_called_once_with(1, x=2)


def test_a_declared_signature_goes_by_keyword():
    def liar(*args, **kwargs):
        return args, kwargs

    liar.__signature__ = inspect.signature(lambda x, y: None)
    assert count_positional(liar, read_signature(liar)) == 0


@pytest.mark.parametrize(
    ("func", "hints"),
    [
        (plain, {"a": int, "b": float, "c": str, "return": bool}),
        (Adder(), {"x": int, "y": int, "return": int}),
        (Adder().method, {"x": int, "return": int}),
        (functools.partial(plain, 1), {"a": int, "b": float, "c": str, "return": bool}),
        (Record, {"x": int, "items": list[int], "size": int, "return": Record}),
        (Point, {"x": int, "y": str, "return": Point}),
        (lambda x: x, {}),
        (math.sin, {}),
        (PipeFunc(plain, "y", renames={"a": "z"}), {"z": int, "b": float, "c": str, "return": bool}),
    ],
    ids=[
        "function",
        "instance",
        "method",
        "partial",
        "dataclass",
        "named tuple",
        "none",
        "builtin",
        "pipefunc",
    ],
)
def test_annotations(func, hints):
    assert annotations_of(func) == hints


def test_annotations_of_an_ordinary_class():
    assert annotations_of(Adder) == {"start": int, "return": Adder}


def test_annotations_that_do_not_resolve():
    def f(x: Missing, y: int): ...  # noqa: F821

    assert annotations_of(f) == {"x": Unresolvable("Missing"), "y": int}


@pytest.mark.parametrize(
    ("hint", "parts"),
    [
        (tuple[int, str], {"a": int, "b": str}),
        (tuple[int, ...], {"a": int, "b": int}),
        (Point, {"a": int, "b": str}),
        (tuple[int, str, float], {"a": NoAnnotation, "b": NoAnnotation}),
        (list[int], {"a": NoAnnotation, "b": NoAnnotation}),
        (NoAnnotation, {"a": NoAnnotation, "b": NoAnnotation}),
    ],
    ids=["tuple", "any length", "named tuple", "too many", "list", "unknown"],
)
def test_types_of_several_outputs(hint, parts):
    assert split_output_type(hint, ("a", "b")) == parts
