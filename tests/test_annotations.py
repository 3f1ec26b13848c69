from __future__ import annotations

import dataclasses
import pickle
import typing
from typing import Annotated, Any

import numpy as np
import pytest

from pipefunc_c._annotations import (
    Array,
    ArrayElementType,
    NoAnnotation,
    TypeCheckMemo,
    Unresolvable,
    resolved,
    split_array,
)

EMPTY = TypeCheckMemo()
OBJECTS = np.ndarray[Any, np.dtype[np.object_]]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, int),
        ("int", int),
        (typing.ForwardRef("list[int]"), list[int]),
        (None, type(None)),
        ("None", type(None)),
        (typing.Final[int], int),
        (typing.ClassVar["int"], int),
        (typing.NotRequired[int], int),
        (typing.LiteralString, str),
        (typing.Self, Any),
        (dataclasses.InitVar[int], int),
        (Array, Array[Any]),
        ("Nope", Unresolvable("Nope")),
        ("not an expression", Unresolvable("not an expression")),
        (Unresolvable("Nope"), Unresolvable("Nope")),
        (NoAnnotation, NoAnnotation),
    ],
    ids=str,
)
def test_resolved(annotation, expected):
    assert resolved(annotation, EMPTY) == expected


def test_names_come_from_the_memo():
    memo = TypeCheckMemo({"Node": int}, {"Leaf": str}, bytes)
    assert resolved("dict[Node, Leaf]", memo) == dict[int, str]
    assert resolved(typing.Self, memo) is bytes


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, (int, None)),
        (Annotated[int, "metres"], (int, None)),
        (Array[int], (OBJECTS, int)),
        (Array["int"], (OBJECTS, typing.ForwardRef("int"))),
        (Annotated[Array[int], "metres"], (OBJECTS, int)),
        (Array, (OBJECTS, Any)),
        ("Annotated[int, 1]", (Unresolvable("Annotated[int, 1]"), None)),
    ],
    ids=str,
)
def test_split_array(annotation, expected):
    assert split_array(annotation, EMPTY) == expected


def test_stand_ins_survive_pickling():
    for each in (NoAnnotation, Unresolvable("Nope"), Array, ArrayElementType):
        assert pickle.loads(pickle.dumps(each)) == each
