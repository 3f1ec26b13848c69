"""Annotations of pipefunc_c's own, and what a single annotation means once its wrappers are gone."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")


class NoAnnotation:
    """Stand in for the type of a parameter or output that has no annotation."""


@dataclass(frozen=True)
class Unresolvable:
    """Stand in for an annotation that is a string and does not evaluate.

    Parameters
    ----------
    type_str
        The annotation as it was written.

    Examples
    --------
    >>> Unresolvable("Missing")
    Unresolvable(type_str='Missing')

    """

    type_str: str


class ArrayElementType(Generic[T]):
    """Mark the type of the elements of an object array, inside of ``Annotated``."""


if TYPE_CHECKING:

    class Array(np.ndarray[Any, np.dtype[np.object_]], Generic[T]):
        """An object array whose elements have type ``T``."""

else:

    class Array:
        """Annotate an object array whose elements have a given type.

        Examples
        --------
        >>> typing.get_args(Array[int])[0]
        numpy.ndarray[typing.Any, numpy.dtype[numpy.object_]]

        """

        def __class_getitem__(cls, element: Any) -> Any:
            """Return the annotation of an object array with elements of this type."""
            return Annotated[np.ndarray[Any, np.dtype[np.object_]], ArrayElementType[element]]


class TypeCheckMemo(NamedTuple):
    """Names by which annotations that are strings are resolved.

    Parameters
    ----------
    globals, locals
        Values per name, as for ``eval``.
    self_type
        What ``typing.Self`` stands for.

    Examples
    --------
    >>> memo = TypeCheckMemo({"Number": int}, None)
    >>> resolved("list[Number]", memo)
    list[int]

    """

    globals: dict[str, Any] | None = None
    locals: dict[str, Any] | None = None
    self_type: type | None = None


def split_array(annotation: Any, memo: TypeCheckMemo) -> tuple[Any, Any]:
    """Return the type inside of ``Annotated``, and the type of the elements that stands there.

    Parameters
    ----------
    annotation
        Any annotation.
    memo
        Names by which strings are resolved.

    Returns
    -------
    tuple
        The type as from `resolved`; and the T of ``Array[T]``, None for all others.

    Examples
    --------
    >>> split_array(Array[int], TypeCheckMemo())
    (numpy.ndarray[typing.Any, numpy.dtype[numpy.object_]], <class 'int'>)

    """
    annotation = resolved(annotation, memo)
    if typing.get_origin(annotation) is not Annotated:
        return annotation, None
    primary, *extras = typing.get_args(annotation)
    elements = [typing.get_args(extra)[0] for extra in extras if typing.get_origin(extra) is ArrayElementType]
    primary, inner = split_array(primary, memo)
    return primary, elements[0] if elements else inner


_WRAPPERS = (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired)


def resolved(annotation: Any, memo: TypeCheckMemo) -> Any:
    """Return the type that an annotation stands for, which may be written in many ways.

    Parameters
    ----------
    annotation
        Any annotation; strings, aliases, ``None``, ``Final`` and their like are replaced by what they mean.
    memo
        Names by which strings are resolved.

    Returns
    -------
    Any
        The type; `Unresolvable` for a string that does not evaluate.

    Examples
    --------
    >>> resolved(None, TypeCheckMemo()), resolved("Missing", TypeCheckMemo())
    (<class 'NoneType'>, Unresolvable(type_str='Missing'))

    """
    if isinstance(annotation, str | typing.ForwardRef):
        annotation = _evaluated(annotation, memo)
    if annotation is Array:
        return Array[Any]
    if annotation is None:
        return type(None)
    if annotation is typing.Self:
        return memo.self_type or Any
    if annotation is typing.LiteralString:
        return str
    if isinstance(annotation, dataclasses.InitVar):
        return resolved(annotation.type, memo)
    origin = typing.get_origin(annotation)
    if origin in _WRAPPERS:
        return resolved(typing.get_args(annotation)[0], memo)
    alias = annotation if origin is None else origin
    if hasattr(alias, "__value__") and not isinstance(alias, type):  # made by a `type` statement
        value = alias.__value__
        return resolved(value if origin is None else value[typing.get_args(annotation)], memo)
    return annotation


def _evaluated(annotation: str | typing.ForwardRef, memo: TypeCheckMemo) -> Any:
    text = annotation if isinstance(annotation, str) else annotation.__forward_arg__
    holder = types.SimpleNamespace(__annotations__={"hint": text})
    try:
        hints = typing.get_type_hints(holder, memo.globals or {}, memo.locals, include_extras=True)
    except Exception:  # a hint is any expression of the user's
        return Unresolvable(text)
    return hints["hint"]
