from __future__ import annotations

import sys
import types
import typing

import numpy as np
import numpy.typing as npt
import pytest

from pipefunc_c.typing import (
    Array,
    NoAnnotation,
    Unresolvable,
    is_object_array_type,
    safe_get_type_hints,
    type_as_string,
)


def test_array_is_an_annotated_object_array():
    primary, element = typing.get_args(Array[int])
    assert typing.get_origin(primary) is np.ndarray
    assert typing.get_args(element) == (int,)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Array[float], True),
        (npt.NDArray[np.object_], True),
        (npt.NDArray[np.float64], False),
        (np.ndarray, False),
        (list[int], False),
        (typing.Annotated[int, "x"], False),
        (None, False),
    ],
)
def test_is_object_array_type(annotation, expected):
    assert is_object_array_type(annotation) is expected


def good(x: int, y: Array[int]) -> str: ...


def half(x: int, y: nope, z: list[nope]) -> str: ...  # noqa: F821


class Half:
    x: int
    y: nope  # noqa: F821

    def method(self, x: nope, y: float): ...  # noqa: F821


def test_hints_that_resolve():
    assert safe_get_type_hints(good)["x"] is int
    assert typing.get_origin(safe_get_type_hints(good)["y"]) is np.ndarray
    assert safe_get_type_hints(good, include_extras=True)["y"] == Array[int]


def test_hints_that_do_not_resolve_do_not_spoil_the_others():
    expected = {"x": int, "y": Unresolvable("nope"), "z": Unresolvable("list[nope]"), "return": str}
    assert safe_get_type_hints(half) == expected
    assert safe_get_type_hints(Half) == {"x": int, "y": Unresolvable("nope")}
    assert safe_get_type_hints(Half().method) == {"x": Unresolvable("nope"), "y": float}


def test_annotations_that_cannot_be_read():
    class Broken:
        __module__ = "no.such.module"

        @property
        def __annotations__(self):
            raise NameError("nope")

    assert safe_get_type_hints(Broken()) == {}
    assert safe_get_type_hints(types.SimpleNamespace(__annotations__={"x": "int"})) == {"x": int}
    assert "no.such.module" not in sys.modules


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (list[int], "list[int]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (dict[str, list[float]], "dict[str, list[float]]"),
        (int | None, "int | None"),
        (typing.Optional[int], "int | None"),  # noqa: UP045  the old spelling
        (typing.Any, "Any"),
        (Array[int], "Array[int]"),
        (Array[list[int]], "Array[list[int]]"),
        (typing.Annotated[int, "metres"], "Annotated[int, 'metres']"),
        (typing.Literal["a", 1], "Literal['a', 1]"),
        (typing.Callable[[int, str], float], "Callable[[int, str], float]"),
        (typing.Callable[..., float], "Callable[..., float]"),
        (npt.NDArray[np.float64], "NDArray[float64]"),
        (np.ndarray[tuple[int, int], np.dtype[np.int64]], "ndarray[tuple[int, int], dtype[int64]]"),
        (np.ndarray, "ndarray"),
        (typing.TypeVar("T"), "T"),
        (typing.NewType("UserId", int), "UserId"),
        (typing.ForwardRef("Node"), "Node"),
        ("text", "text"),
        (list["Node"], "list[Node]"),  # noqa: F821
        (tuple[()], "tuple[]"),
        (Unresolvable("Missing"), "Missing"),
        (NoAnnotation, "—"),
    ],
)
def test_type_as_string(annotation, text):
    assert type_as_string(annotation) == text
