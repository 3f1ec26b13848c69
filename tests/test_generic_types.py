from __future__ import annotations

import collections.abc
import typing
from typing import Any, Generic, NotRequired, Protocol, TypedDict, TypeVar

import pytest
import typing_extensions

from pipefunc_c._generic_types import (
    base_arguments,
    is_derived,
    is_protocol,
    is_typed_dict,
    lacks_methods,
    required_keys,
)

K = TypeVar("K")
V = TypeVar("V")


class Swapped(dict[V, K], Generic[K, V]): ...


class Words(Swapped[int, str]): ...


class Counted(Words): ...


class Closes(Protocol):
    done: bool

    def close(self) -> None: ...


class ReadsAndCloses(Closes, Protocol):
    @property
    def size(self) -> int: ...

    def read(self) -> str: ...


class Reader:
    def read(self) -> str: ...


class File(Reader):
    def close(self) -> None: ...


class Refuses(type):
    def __subclasscheck__(cls, other: type) -> bool:
        raise TypeError("do not ask")


class Refusing(metaclass=Refuses): ...


def test_protocols_are_told_from_what_implements_them():
    assert is_protocol(Closes)
    assert not is_protocol(File)


def test_methods_of_all_protocols_are_asked_for():
    assert lacks_methods(File, ReadsAndCloses) == set()
    assert lacks_methods(Reader, ReadsAndCloses) == {"close"}
    assert lacks_methods(int, ReadsAndCloses) == {"close", "read"}


@pytest.mark.parametrize(
    ("kind", "base", "expected"),
    [
        (bool, int, True),
        (int, bool, False),
        (list, collections.abc.Sequence, True),
        (File, Closes, True),
        (Reader, Closes, False),
        (ReadsAndCloses, Closes, True),
        (int, Refusing, False),
        (Refusing, Refusing, True),
    ],
)
def test_is_derived(kind, base, expected):
    assert is_derived(kind, base) is expected


@pytest.mark.parametrize(
    ("annotation", "base", "expected"),
    [
        (list[int], list, (int,)),
        (list, list, None),
        (list[int], collections.abc.Iterable, (int,)),
        (dict[str, int], collections.abc.Mapping, (str, int)),
        (Swapped[int, str], dict, (str, int)),
        (Swapped, dict, None),
        (Words, dict, (str, int)),
        (Counted, dict, (str, int)),
        (Counted, Swapped, (int, str)),
        (collections.abc.ItemsView[int, str], collections.abc.Set, (tuple[int, str],)),
    ],
)
def test_base_arguments(annotation, base, expected):
    found = base_arguments(annotation, base)
    assert found == expected or (expected is None and set(found) == {Any})


@pytest.mark.parametrize("module", [typing, typing_extensions])
def test_typed_dicts_and_their_keys(module):
    point = module.TypedDict("point", {"x": int, "y": NotRequired[int]})
    assert is_typed_dict(point)
    assert required_keys(point) == {"x"}
    assert not is_typed_dict(dict)
    assert not is_typed_dict(dict[str, int])


def test_keys_of_a_typed_dict_that_needs_none():
    class Options(TypedDict, total=False):
        depth: int

    assert required_keys(Options) == set()
