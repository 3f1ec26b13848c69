"""What classes tell about their type arguments and, if they are protocols, about their methods."""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any, Generic, Protocol

# Set on every protocol by `typing` itself; no class has to define them.
_OF_PROTOCOLS = frozenset(
    {"__init__", "__new__", "__subclasshook__", "__class_getitem__", "__annotate__", "__annotate_func__"}
)


def is_protocol(kind: type) -> bool:
    """Tell whether a class is a protocol, and not merely derived from one.

    Parameters
    ----------
    kind
        A class.

    Returns
    -------
    bool
        Whether it is one.

    Examples
    --------
    >>> is_protocol(typing.SupportsFloat), is_protocol(float)
    (True, False)

    """
    return bool(getattr(kind, "_is_protocol", False))


def is_typed_dict(kind: Any) -> bool:
    """Tell whether a class is a ``TypedDict``, that of ``typing_extensions`` included.

    Parameters
    ----------
    kind
        A class.

    Returns
    -------
    bool
        Whether it is one.

    Examples
    --------
    >>> is_typed_dict(typing.TypedDict("Point", {"x": int})), is_typed_dict(dict)
    (True, False)

    """
    return isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def required_keys(kind: Any) -> frozenset[str]:
    """Return the keys that a ``TypedDict`` always has.

    Parameters
    ----------
    kind
        A ``TypedDict`` class.

    Returns
    -------
    frozenset
        The keys.

    Examples
    --------
    >>> sorted(required_keys(typing.TypedDict("Point", {"x": int, "y": typing.NotRequired[int]})))
    ['x']

    """
    return frozenset(kind.__required_keys__)


def lacks_methods(kind: type, protocol: type) -> set[str]:
    """Return the methods of a protocol that a class does not have.

    Attributes that are no methods may be set when an object is made, so they are not looked at.

    Parameters
    ----------
    kind
        A class.
    protocol
        A protocol.

    Returns
    -------
    set
        Names of methods.

    Examples
    --------
    >>> lacks_methods(str, typing.SupportsFloat)
    {'__float__'}

    """
    parts = [base for base in protocol.__mro__ if is_protocol(base) and base is not Protocol]
    methods = {name for part in parts for name, value in vars(part).items() if callable(value)}
    return {name for name in methods - _OF_PROTOCOLS if not hasattr(kind, name)}


def is_derived(kind: type, base: type) -> bool:
    """Tell whether a class derives from another; from a protocol, whether it has all methods.

    Parameters
    ----------
    kind
        A class.
    base
        A class.

    Returns
    -------
    bool
        Whether it does.

    Examples
    --------
    >>> is_derived(bool, int), is_derived(int, typing.SupportsFloat), is_derived(str, typing.SupportsFloat)
    (True, True, False)

    """
    if base in getattr(kind, "__mro__", ()):
        return True
    if is_protocol(base):
        return not lacks_methods(kind, base)
    try:
        return issubclass(kind, base)
    except TypeError:  # some classes refuse to be asked
        return False


def base_arguments(annotation: Any, base: type) -> tuple[Any, ...] | None:
    """Return the type arguments that a type gives to one of its base classes.

    Parameters
    ----------
    annotation
        A class, or a class with type arguments.
    base
        A generic class from which it derives.

    Returns
    -------
    tuple or None
        The arguments; None if nothing is known about them.

    Examples
    --------
    >>> class Table(dict[str, list[int]]): ...
    >>> base_arguments(Table, dict), base_arguments(list[int], collections.abc.Sequence)
    ((<class 'str'>, list[int]), (<class 'int'>,))
    >>> base_arguments(list, collections.abc.Sequence) is None
    True

    """
    origin = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if origin is base or not isinstance(origin, type):
        return arguments or None
    declared = vars(origin).get("__orig_bases__")
    if declared is None and arguments:
        # Generic classes of the standard library do not tell; nearly all have the arguments of their bases.
        return (types.GenericAlias(tuple, arguments),) if origin is collections.abc.ItemsView else arguments
    own = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
    for parent in declared or origin.__bases__:
        parent_class = typing.get_origin(parent) or parent
        if parent_class in (Generic, Protocol) or not isinstance(parent_class, type):
            continue
        if is_derived(parent_class, base):
            return base_arguments(_filled_in(parent, own), base)
    return None


def _filled_in(alias: Any, values: dict[Any, Any]) -> Any:
    variables = getattr(alias, "__parameters__", ()) if typing.get_origin(alias) is not None else ()
    if not variables:
        return alias
    try:
        return alias[tuple(values.get(variable, Any) for variable in variables)]
    except TypeError:  # variables that stand for any number of types
        return typing.get_origin(alias)
