"""Which types fit which; a slow reference decides by values."""

from __future__ import annotations

import collections.abc
import enum
import itertools
import types
import typing
from dataclasses import InitVar
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Generic,
    Literal,
    LiteralString,
    Never,
    NewType,
    NotRequired,
    Optional,
    ParamSpec,
    Protocol,
    Self,
    TypedDict,
    TypeVar,
    Union,
)

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c.typing import Array, NoAnnotation, TypeCheckMemo, Unresolvable, is_type_compatible

T = TypeVar("T")
Bounded = TypeVar("Bounded", bound=int)
Constrained = TypeVar("Constrained", int, str)
P = ParamSpec("P")
UserId = NewType("UserId", int)
AdminId = NewType("AdminId", UserId)


class Animal: ...


class Dog(Animal): ...


AnyAnimal = TypeVar("AnyAnimal", bound=Animal)
NumberOrArray = TypeVar("NumberOrArray", float, np.ndarray)
NumberOrString = TypeVar("NumberOrString", float, str)


class Box(Generic[T]): ...


class IntBox(Box[int]): ...


class Pairs(dict[str, T], Generic[T]): ...


class OwnArgument(list, Generic[T]): ...  # type: ignore[type-arg]


class Named(Protocol):
    name: str

    def rename(self, name: str) -> None: ...


class HasName:
    def rename(self, name: str) -> None: ...


# Not as classes: there the strings that hints are in this file would hide what is not required.
Point = TypedDict("Point", {"x": int, "y": NotRequired[int]})  # noqa: UP013
Point3 = TypedDict("Point3", {"x": int, "z": int})  # noqa: UP013


class Colour(enum.Enum):
    RED = 1


class TwoInts(typing.NamedTuple):
    a: int
    b: int


FIT = {
    "the same": (int, int),
    "subclass": (Dog, Animal),
    "bool is an int": (bool, int),
    "any type to object": (int, object),
    "any type to Any": (int, Any),
    "Any to any type": (Any, int),
    "no annotation to any type": (NoAnnotation, int),
    "any type to no annotation": (int, NoAnnotation),
    "never returns": (Never, int),
    "None": (None, None),
    "None and its type": (None, type(None)),
    "None to optional": (None, int | None),
    "member of a union": (int, int | str),
    "union in a union": (int | str, int | str | float),
    "old spelling of a union": (Union[int, str], str | int),  # noqa: UP007
    "optional": (Optional[int], None | int),  # noqa: UP045
    "union with Any": (int | Any, int),
    "argument of the same": (list[int], list[int]),
    "arguments are not asked for": (list[int], list),
    "arguments are not known": (list, list[int]),
    "argument by subclass": (list[bool], list[int]),
    "old spelling of a list": (typing.List[int], list[int]),  # noqa: UP006
    "origin by subclass": (list[int], collections.abc.Sequence[int]),
    "origin is typing's": (list[int], typing.Sequence[int]),  # noqa: UP006
    "mapping": (dict[str, int], collections.abc.Mapping[str, int]),
    "Any as an argument": (dict[str, int], dict[str, Any]),
    "argument is Any": (list[Any], list[int]),
    "items of a dict": (collections.abc.ItemsView[str, int], collections.abc.Iterable[tuple[str, int]]),
    "generator": (collections.abc.Generator[int, None, None], collections.abc.Iterable[int]),
    "class without arguments": (str, collections.abc.Sequence[str]),
    "own generic": (Box[Dog], Box[Animal]),
    "arguments of a base": (IntBox, Box[int]),
    "arguments filled into a base": (Pairs[int], dict[str, int]),
    "arguments of a base that has none": (OwnArgument[int], list[str]),
    "tuple": (tuple[int, str], tuple[int, str]),
    "tuple to one of any length": (tuple[int, bool], tuple[int, ...]),
    "tuples of any length": (tuple[bool, ...], tuple[int, ...]),
    "tuple of any length and type": (tuple[Any, ...], tuple[int, str]),
    "bare tuple": (tuple, tuple[int, str]),
    "tuple to a sequence": (tuple[int, bool], collections.abc.Sequence[int]),
    "tuple with an unpacked part": (tuple[int, *tuple[str, ...]], tuple[int, str]),
    "named tuple": (TwoInts, tuple[int, int]),
    "type variable": (int, T),
    "from a type variable": (T, int),
    "bound of a type variable": (bool, Bounded),
    "from a bound": (Bounded, int),
    "constraint": (str, Constrained),
    "from constraints": (Constrained, int | str),
    "from one of the constraints": (Constrained, int),
    "from a constraint that is a class": (NumberOrArray, float),
    "from text of either kind": (typing.AnyStr, str),
    "from a variable as an argument": (list[NumberOrArray], list[float]),
    "from a bound to a subclass": (AnyAnimal, Dog),
    "from a bound to a variable": (AnyAnimal, typing.TypeVar("AnyDog", bound=Dog)),
    "from constraints to constraints": (Constrained, NumberOrString),
    "from a variable in a union": (Constrained | None, int | None),
    "the same type variable": (Bounded, Bounded),
    "annotated": (Annotated[int, "unit"], int),
    "to annotated": (int, Annotated[int, "unit"]),
    "annotated in other ways": (Annotated[int, "a"], Annotated[int, "b"]),
    "literal": (Literal["a"], Literal["a", "b"]),
    "literal to its type": (Literal["a", 1], str | int),
    "all values of a type": (bool, Literal[True, False]),
    "all members of an enum": (Colour, Literal[Colour.RED]),
    "None as a literal": (None, Literal[None]),
    "literal string": (LiteralString, str),
    "new type": (UserId, int),
    "new type of a new type": (AdminId, UserId),
    "the same new type": (UserId, UserId),
    "class as a value": (type[Dog], type[Animal]),
    "class as any value": (type[Dog], type),
    "callable": (typing.Callable[[int], int], collections.abc.Callable),
    "callable returns a subclass": (typing.Callable[[int], bool], typing.Callable[[int], int]),
    "callable takes more": (typing.Callable[[object], int], typing.Callable[[int], int]),
    "callable takes anything": (typing.Callable[..., int], typing.Callable[[int], int]),
    "callable takes a ParamSpec": (typing.Callable[P, int], typing.Callable[[int], int]),
    "protocol": (HasName, Named),
    "protocol of typing": (int, typing.SupportsFloat),
    "typed dict": (Point, Point),
    "typed dict has all keys": (Point3, Point),
    "typed dict is a dict": (Point, dict),
    "dict may be a typed dict": (dict[str, int], Point),
    "final": (Final[int], int),
    "init var": (InitVar[int], int),
    "self": (Self, int),
    "not a type at all": (3, int),
    "string": ("int", int),
    "forward reference": (ForwardRef("list[int]"), list[int]),
}
DO_NOT_FIT = {
    "other type": (int, str),
    "an int is no float": (int, float),
    "base class": (Animal, Dog),
    "object": (object, int),
    "optional": (int | None, int),
    "one member of a union": (int | str, int),
    "None": (None, int),
    "in no union": (float, int | str),
    "argument": (list[int], list[str]),
    "argument of a base": (list[int], collections.abc.Sequence[str]),
    "second argument": (dict[str, int], dict[str, str]),
    "union as an argument": (list[int | str], list[int]),
    "origin": (set[int], list[int]),
    "origin by superclass": (collections.abc.Iterable[int], list[int]),
    "own generic": (Box[int], Box[str]),
    "arguments of a base": (IntBox, Box[str]),
    "arguments filled into a base": (Pairs[int], dict[str, str]),
    "items of a dict": (collections.abc.ItemsView[str, int], collections.abc.Iterable[int]),
    "shorter tuple": (tuple[int], tuple[int, int]),
    "longer tuple": (tuple[int, str], tuple[int]),
    "item of a tuple": (tuple[int, str], tuple[int, int]),
    "item of a tuple of any length": (tuple[int, str], tuple[int, ...]),
    "length that is not known": (tuple[int, ...], tuple[int, int]),
    "tuple to a sequence": (tuple[int, str], collections.abc.Sequence[int]),
    "bound of a type variable": (str, Bounded),
    "from a bound": (Bounded, str),
    "constraint": (float, Constrained),
    "from constraints": (Constrained, float),
    "to a bound from a base class": (object, Bounded),
    "from text of either kind": (typing.AnyStr, int),
    "from a bound to a stranger": (AnyAnimal, int),
    "annotated": (Annotated[int, "unit"], str),
    "literal": (Literal["c"], Literal["a", "b"]),
    "literal of another type": (Literal[1], Literal[True]),
    "literal to another type": (Literal["a", 1], str),
    "type to a literal": (str, Literal["a"]),
    "some values of a type": (bool, Literal[True]),
    "not a new type": (int, UserId),
    "class as a value": (type[int], type[str]),
    "callable takes something else": (typing.Callable[[int], int], typing.Callable[[str], int]),
    "callable takes more values": (typing.Callable[[int, int], int], typing.Callable[[int], int]),
    "callable returns something else": (typing.Callable[[int], int], typing.Callable[[int], str]),
    "not callable": (int, typing.Callable[[int], int]),
    "protocol": (Animal, Named),
    "protocol of typing": (list[int], typing.SupportsFloat),
    "typed dict lacks a key": (Point, Point3),
    "no dict": (list[int], Point),
    "final": (Final[int], str),
    "string": ("int", str),
}


class TestTypes:
    @pytest.mark.parametrize(("incoming", "required"), FIT.values(), ids=FIT)
    def test_what_fits(self, incoming, required):
        assert is_type_compatible(incoming, required)

    @pytest.mark.parametrize(("incoming", "required"), DO_NOT_FIT.values(), ids=DO_NOT_FIT)
    def test_what_does_not_fit(self, incoming, required):
        assert not is_type_compatible(incoming, required)


OBJECTS = npt.NDArray[np.object_]
ARRAYS_THAT_FIT = {
    "the same": (Array[int], Array[int]),
    "elements by subclass": (Array[bool], Array[int]),
    "elements in elements": (Array[list[bool]], Array[list[int]]),
    "array of anything": (Array[int], Array),
    "anything to elements": (Array, Array[int]),
    "to an array": (Array[int], np.ndarray),
    "to any dtype": (Array[int], npt.NDArray[Any]),
    "to objects": (Array[int], OBJECTS),
    "from objects": (OBJECTS, Array[int]),
    "from an array": (np.ndarray, Array[int]),
    "annotated once more": (Annotated[Array[int], "metres"], Array[int]),
    "to a member of a union": (Array[int], list[int] | Array[int]),
    "array-like": (Array[int], npt.ArrayLike),
    "ints as floats": (Array[int], npt.NDArray[np.float64]),
    "bools as floats": (Array[bool], npt.NDArray[np.float64]),
    "constraints as floats": (Array[Constrained], npt.NDArray[np.int64]),
    "ints or floats as floats": (Array[int | float], npt.NDArray[np.float64]),
    "floats as complex": (Array[float], npt.NDArray[np.complex128]),
    "np.float32 as float64": (Array[np.float32], npt.NDArray[np.float64]),
    "np.float64 as itself": (Array[np.float64], npt.NDArray[np.float64]),
    "literals as ints": (Array[Literal[1, 2]], npt.NDArray[np.int64]),
    "new type as ints": (Array[UserId], npt.NDArray[np.int64]),
    "abstract dtype": (Array[int], npt.NDArray[np.integer]),
    "abstract dtype after conversion": (Array[int], npt.NDArray[np.floating]),
    "anything as floats": (Array[Any], npt.NDArray[np.float64]),
    "one of several dtypes": (Array[int], npt.NDArray[np.str_ | np.float64]),
    "shape is given": (Array[int], np.ndarray[tuple[int, int], np.dtype[np.int64]]),
    "dtype": (npt.NDArray[np.float64], npt.NDArray[np.float64]),
    "dtype by subclass": (npt.NDArray[np.float64], npt.NDArray[np.floating[Any]]),
    "dtype is not asked for": (npt.NDArray[np.float64], np.ndarray),
    "dtype is not known": (np.ndarray, npt.NDArray[np.float64]),
    "shape is not known": (npt.NDArray[np.float64], np.ndarray[tuple[int, int], np.dtype[np.float64]]),
    "shape is not asked for": (np.ndarray[tuple[int, int], np.dtype[np.float64]], npt.NDArray[np.float64]),
    "masked array is an array": (np.ma.MaskedArray, np.ndarray),
}
ARRAYS_THAT_DO_NOT_FIT = {
    "elements": (Array[int], Array[str]),
    "elements in elements": (Array[list[int]], Array[list[str]]),
    "not an array": (Array[int], list[int]),
    "not an array of elements": (int, Array[int]),
    "typed array": (npt.NDArray[np.float64], Array[float]),
    "to a masked array": (Array[int], np.ma.MaskedArray),
    "strings as floats": (Array[str], npt.NDArray[np.float64]),
    "some as floats": (Array[int | str], npt.NDArray[np.float64]),
    "None as floats": (Array[float | None], npt.NDArray[np.float64]),
    "floats as ints": (Array[float], npt.NDArray[np.int64]),
    "floats as float32": (Array[float], npt.NDArray[np.float32]),
    "complex as floats": (Array[complex], npt.NDArray[np.float64]),
    "ints as bools": (Array[int], npt.NDArray[np.bool_]),
    "arrays as floats": (Array[npt.NDArray[np.float64]], npt.NDArray[np.float64]),
    "lists as floats": (Array[list[float]], npt.NDArray[np.float64]),
    "strings as strings": (Array[str], npt.NDArray[np.str_]),
    "abstract dtype": (Array[float], npt.NDArray[np.integer]),
    "dtype": (npt.NDArray[np.float64], npt.NDArray[np.int64]),
    "number of axes": (
        np.ndarray[tuple[int], np.dtype[np.float64]],
        np.ndarray[tuple[int, int], np.dtype[np.float64]],
    ),
}


class TestArrays:
    @pytest.mark.parametrize(("incoming", "required"), ARRAYS_THAT_FIT.values(), ids=ARRAYS_THAT_FIT)
    def test_what_fits(self, incoming, required):
        assert is_type_compatible(incoming, required)

    @pytest.mark.parametrize(
        ("incoming", "required"), ARRAYS_THAT_DO_NOT_FIT.values(), ids=ARRAYS_THAT_DO_NOT_FIT
    )
    def test_what_does_not_fit(self, incoming, required):
        assert not is_type_compatible(incoming, required)


class TestHintsThatDoNotResolve:
    @pytest.mark.parametrize(
        ("incoming", "required"),
        [
            (Unresolvable("Nope"), int),
            (int, Unresolvable("Nope")),
            ("Nope", int),
            (list[int], list["Nope"]),  # noqa: F821
        ],
        ids=["incoming", "required", "string", "argument"],
    )
    def test_they_fit_with_a_warning_that_names_them(self, incoming, required):
        with pytest.warns(UserWarning, match="'Nope'"):
            assert is_type_compatible(incoming, required)

    def test_nothing_is_said_where_nothing_is_compared(self):
        assert is_type_compatible(Unresolvable("Nope"), Any)
        assert is_type_compatible(NoAnnotation, Unresolvable("Nope"))
        assert is_type_compatible(int, Union["Nope", int])  # noqa: F821

    def test_elements_of_an_array(self):
        assert is_type_compatible(Array["Nope"], npt.NDArray[np.float64])  # noqa: F821
        with pytest.warns(UserWarning, match="'Nope'"):
            assert is_type_compatible(Array["Nope"], Array[int])  # noqa: F821


class TestMemo:
    memo = TypeCheckMemo(globals={"Pet": Animal}, locals={"Puppy": Dog}, self_type=Dog)

    def test_strings_are_looked_up(self):
        assert is_type_compatible("Puppy", "Pet", self.memo)
        assert not is_type_compatible("Pet", "Puppy", memo=self.memo)
        assert is_type_compatible(list["Puppy"], list[Animal], self.memo)  # noqa: F821

    def test_self(self):
        assert is_type_compatible(Self, Animal, self.memo)
        assert not is_type_compatible(Self, int, self.memo)

    def test_names_are_positional_too(self):
        assert TypeCheckMemo({}, None) == ({}, None, None)


def alias_of(value, *parameters):
    """Stand in for what a ``type`` statement makes, which Python 3.11 does not have."""

    class Alias:
        __value__ = value

        def __getitem__(self, arguments):
            return types.GenericAlias(self, arguments)

    return Alias()


def test_an_alias_stands_for_its_value():
    assert is_type_compatible(alias_of(int), int)
    assert not is_type_compatible(alias_of(int), str)
    assert is_type_compatible(alias_of(list[T])[int], list[int])
    assert not is_type_compatible(alias_of(list[T])[int], list[str])


def test_aliases_that_contain_themselves_fit():
    first, second = alias_of(None), alias_of(None)
    type(first).__value__, type(second).__value__ = list[first], list[second]
    assert is_type_compatible(first, second)


LEAVES = {bool: [True], int: [True, 7], float: [0.5], str: ["a"], type(None): [None]}


def combined(inner):
    pairs = st.tuples(inner, inner)
    return (
        inner.map(lambda t: types.GenericAlias(list, (t,)))
        | inner.map(lambda t: types.GenericAlias(tuple, (t, ...)))
        | pairs.map(lambda ts: types.GenericAlias(tuple, ts))
        | pairs.map(lambda ts: types.GenericAlias(dict, ts))
        | pairs.map(lambda ts: Union[ts])  # noqa: UP007
    )


TYPES = st.recursive(st.sampled_from([*LEAVES]), combined, max_leaves=4)


def values_of(annotation) -> list:
    """Return values that tell a type from all others."""
    if annotation in LEAVES:
        return LEAVES[annotation]
    arguments, origin = typing.get_args(annotation), typing.get_origin(annotation)
    if origin is list:
        return [[value] for value in values_of(arguments[0])]
    if origin is dict:
        return [[(key, value)] for key in values_of(arguments[0]) for value in values_of(arguments[1])]
    if origin is not tuple:
        return [value for each in arguments for value in values_of(each)]
    if arguments[-1] is ...:
        values = values_of(arguments[0])
        return [tuple(each) for n in range(3) for each in itertools.product(values, repeat=n)]
    return [*itertools.product(*map(values_of, arguments))]


def is_value_of(value, annotation) -> bool:
    """Tell whether a value has a type; dicts are given as lists of pairs, which no other type has here."""
    if annotation in LEAVES:
        return isinstance(value, annotation)
    arguments, origin = typing.get_args(annotation), typing.get_origin(annotation)
    if origin is list:
        return isinstance(value, list) and all(is_value_of(each, arguments[0]) for each in value)
    if origin is dict:
        pair = types.GenericAlias(tuple, arguments)
        return isinstance(value, list) and all(is_value_of(each, pair) for each in value)
    if origin is not tuple:
        return any(is_value_of(value, each) for each in arguments)
    if not isinstance(value, tuple):
        return False
    if arguments[-1] is ...:
        return all(is_value_of(each, arguments[0]) for each in value)
    return len(value) == len(arguments) and all(map(is_value_of, value, arguments))


def tells_apart(annotation) -> bool:
    """Tell whether a type has no union, which may fit part by part, and no dict, which looks like a list."""
    return all(text not in str(annotation) for text in ("Union", "Optional", " | ", "dict"))


class TestAgainstValues:
    @given(TYPES, TYPES)
    def test_what_fits_has_values_of_the_other_type_only(self, incoming, required):
        if is_type_compatible(incoming, required):
            assert all(is_value_of(value, required) for value in values_of(incoming))

    @given(TYPES, TYPES.filter(tells_apart))
    def test_what_does_not_fit_has_a_value_that_is_not_of_the_other_type(self, incoming, required):
        if "dict" not in str(incoming) and not is_type_compatible(incoming, required):
            assert not all(is_value_of(value, required) for value in values_of(incoming))

    @given(TYPES)
    def test_each_type_fits_itself_and_more(self, annotation):
        assert is_type_compatible(annotation, annotation)
        assert is_type_compatible(annotation, Optional[annotation])  # noqa: UP045
        assert is_type_compatible(Annotated[annotation, "x"], annotation)

    @given(TYPES, TYPES, TYPES)
    def test_what_fits_fits_on(self, one, two, three):
        if is_type_compatible(one, two) and is_type_compatible(two, three):
            assert is_type_compatible(one, three)
