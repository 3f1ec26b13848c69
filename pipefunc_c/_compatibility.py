"""Whether a value of one type may go where another type is asked for."""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
import warnings
from typing import Any, Literal, TypeVar

import numpy as np

from pipefunc_c._annotations import NoAnnotation, TypeCheckMemo, Unresolvable, split_array
from pipefunc_c._generic_types import base_arguments, is_derived, is_typed_dict, required_keys
from pipefunc_c._numpy_types import converts_without_loss


def is_type_compatible(incoming: Any, required: Any, memo: TypeCheckMemo | None = None) -> bool:
    """Tell whether a value annotated with one type may go where another is asked for.

    What is not known is no reason to refuse: ``Any``, missing annotations, missing type arguments and hints
    that do not resolve fit everything. A type variable fits if one of the types does that it may stand for.

    Parameters
    ----------
    incoming
        Type of the value.
    required
        Type that is asked for. An int is no float here, as subclassing decides.
    memo
        Names by which annotations that are strings are resolved.

    Returns
    -------
    bool
        Whether it may. ``Array[T]`` may go where ``NDArray[S]`` is asked for if T converts to S without loss.

    Warns
    -----
    UserWarning
        If an annotation does not resolve.

    Examples
    --------
    >>> is_type_compatible(int, int | str), is_type_compatible(int | str, int)
    (True, False)
    >>> is_type_compatible(list[bool], list[int]), is_type_compatible(list[int], dict)
    (True, False)
    >>> import numpy.typing as npt
    >>> from pipefunc_c.typing import Array
    >>> is_type_compatible(Array[int], npt.NDArray[np.float64])
    True

    """
    if incoming is required and isinstance(incoming, type):
        return True
    try:
        return _fits(incoming, required, memo or TypeCheckMemo())
    except RecursionError:  # aliases that contain themselves, each in its own way
        return True


def _fits(incoming: Any, required: Any, memo: TypeCheckMemo) -> bool:
    incoming, incoming_element = split_array(incoming, memo)
    required, required_element = split_array(required, memo)
    unknown = (Any, NoAnnotation, object)
    if required in unknown or incoming in unknown[:2] or incoming in (typing.Never, typing.NoReturn):
        return True
    for hint in (incoming, required):
        if isinstance(hint, Unresolvable):
            message = f"the type hint {hint.type_str!r} does not resolve, so it is not compared"
            warnings.warn(message, UserWarning, stacklevel=3)
            return True
    if incoming_element is not None or required_element is not None:
        return _fits_array(incoming, incoming_element, required, required_element, memo)
    if incoming is required:
        return True
    if isinstance(incoming, TypeVar):
        return _fits_variable(incoming, required, memo)
    if _is_union(incoming):
        return all(_fits(each, required, memo) for each in typing.get_args(incoming))
    if typing.get_origin(incoming) is Literal and len(typing.get_args(incoming)) > 1:
        return all(_fits(Literal[value], required, memo) for value in typing.get_args(incoming))
    if isinstance(required, TypeVar):
        return any(_fits(incoming, each, memo) for each in _choices(required))
    if _is_union(required):
        # First those that resolve, so that nothing is said if one of them fits.
        members = sorted(
            typing.get_args(required), key=lambda each: isinstance(each, str | typing.ForwardRef)
        )
        return any(_fits(incoming, each, memo) for each in members)
    return _fits_class(incoming, required, memo)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _choices(variable: TypeVar) -> tuple[Any, ...]:
    """Return the types that a type variable may stand for."""
    if variable.__constraints__:
        return variable.__constraints__
    return (Any if variable.__bound__ is None else variable.__bound__,)


def _fits_variable(incoming: TypeVar, required: Any, memo: TypeCheckMemo) -> bool:
    """Tell whether one of the types that a variable may stand for fits: which it is, only a call tells."""
    if any(_fits(each, required, memo) for each in _choices(incoming)):
        return True
    # The type that is asked for may be what stands for a bound, too.
    return incoming.__bound__ is not None and _fits(required, incoming.__bound__, memo)


def _fits_array(
    incoming: Any, incoming_element: Any, required: Any, required_element: Any, memo: TypeCheckMemo
) -> bool:
    if incoming_element is not None and required_element is not None:
        return _fits(incoming_element, required_element, memo)
    if incoming_element is not None and np.ndarray in (required, typing.get_origin(required)):
        return _fits_dtype(incoming_element, _scalar_of(required), memo)
    return _fits(incoming, required, memo)  # as the object array that it is


def _scalar_of(array: Any) -> Any:
    """Return the S of ``NDArray[S]``, Any if there is none."""
    dtype = typing.get_args(typing.get_args(array)[-1]) if typing.get_args(array) else ()
    return dtype[0] if dtype else Any


def _fits_dtype(element: Any, scalar: Any, memo: TypeCheckMemo) -> bool:
    element, scalar = split_array(element, memo)[0], split_array(scalar, memo)[0]
    if scalar in (Any, np.object_) or element in (Any, NoAnnotation) or isinstance(element, Unresolvable):
        return True
    if isinstance(element, TypeVar):
        return any(_fits_dtype(each, scalar, memo) for each in _choices(element))
    if _is_union(element):
        return all(_fits_dtype(each, scalar, memo) for each in typing.get_args(element))
    if typing.get_origin(element) is Literal:
        return all(_fits_dtype(type(value), scalar, memo) for value in typing.get_args(element))
    if isinstance(scalar, TypeVar):
        return any(_fits_dtype(element, each, memo) for each in _choices(scalar))
    if _is_union(scalar):
        return any(_fits_dtype(element, each, memo) for each in typing.get_args(scalar))
    kind, target = _supertype(element), typing.get_origin(scalar) or scalar
    return isinstance(kind, type) and isinstance(target, type) and converts_without_loss(kind, target)


def _supertype(annotation: Any) -> Any:
    """Return the class behind names that ``NewType`` gave it."""
    while isinstance(annotation, typing.NewType):
        annotation = annotation.__supertype__
    return typing.get_origin(annotation) or annotation


def _fits_class(incoming: Any, required: Any, memo: TypeCheckMemo) -> bool:
    if typing.get_origin(incoming) is Literal:
        (value,) = typing.get_args(incoming)
        if typing.get_origin(required) is not Literal:
            return _fits(type(value), required, memo)
        return any(type(value) is type(each) and value == each for each in typing.get_args(required))
    if typing.get_origin(required) is Literal:
        values = _all_values(incoming)
        return bool(values) and values <= {*typing.get_args(required)}
    if isinstance(required, typing.NewType):
        return isinstance(incoming, typing.NewType) and _fits(incoming.__supertype__, required, memo)
    if isinstance(incoming, typing.NewType):
        return _fits(incoming.__supertype__, required, memo)
    source = typing.get_origin(incoming) or incoming
    target = typing.get_origin(required) or required
    if not isinstance(source, type) or not isinstance(target, type):
        return True  # no class at all: the annotation says something else than a type
    if is_typed_dict(target) and issubclass(source, dict):
        return not is_typed_dict(source) or required_keys(target) <= required_keys(source)
    return is_derived(source, target) and _fits_arguments(incoming, required, target, memo)


def _all_values(kind: Any) -> set[Any]:
    """Return all values that a type has, if they can be counted."""
    if kind is type(None):
        return {None}
    if kind is bool:
        return {False, True}
    return set(kind) if isinstance(kind, enum.EnumType) else set()


_CALLABLE: tuple[Any, ...] = (collections.abc.Callable,)


def _fits_arguments(incoming: Any, required: Any, target: type, memo: TypeCheckMemo) -> bool:
    """Compare the type arguments of two types, where the class of the first derives from `target`."""
    wanted = typing.get_args(required)
    if not wanted:
        return True
    if issubclass(target, tuple):
        return _fits_tuple(base_arguments(incoming, tuple), wanted, memo)
    given = base_arguments(incoming, target)
    if given is None or getattr(target, "_is_protocol", False):
        return True
    source: Any = typing.get_origin(incoming) or incoming
    if target in _CALLABLE:
        return source not in _CALLABLE or _fits_callable(given, wanted, memo)
    if issubclass(source, tuple):
        members = [each for each in given if each is not Ellipsis]
        return all(_fits(each, wanted[0], memo) for each in members)
    return all(_fits(one, other, memo) for one, other in zip(given, wanted, strict=False))


def _fits_tuple(given: tuple[Any, ...] | None, wanted: tuple[Any, ...], memo: TypeCheckMemo) -> bool:
    if given is None or any(_is_unpacked(each) for each in (*given, *wanted)):
        return True
    if wanted[-1] is Ellipsis:
        return all(_fits(each, wanted[0], memo) for each in given if each is not Ellipsis)
    if given[-1] is Ellipsis:
        return given[0] is Any  # which has the right length for all that is known
    return len(given) == len(wanted) and all(map(lambda a, b: _fits(a, b, memo), given, wanted))


def _is_unpacked(annotation: Any) -> bool:
    """Tell whether an item of a tuple type stands for any number of items."""
    return typing.get_origin(annotation) is typing.Unpack or getattr(annotation, "__unpacked__", False)


def _fits_callable(given: tuple[Any, ...], wanted: tuple[Any, ...], memo: TypeCheckMemo) -> bool:
    """Compare callables: what is returned as usual, what they take the other way round."""
    (takes, returns), (gets, wants) = given, wanted
    if not _fits(returns, wants, memo):
        return False
    if not isinstance(takes, list) or not isinstance(gets, list):
        return True  # `...`, or a variable that stands for parameters
    return len(takes) == len(gets) and all(map(lambda a, b: _fits(a, b, memo), gets, takes))
