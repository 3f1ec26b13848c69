"""Checks of the containers that users give: what is none of the right kind is named with its option."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipefunc_c.exceptions import InvalidTypeError


def as_mapping(value: Any, option: str, per: str = "a value per name") -> Mapping[Any, Any]:
    """Return a mapping as it is; refuse all else.

    Parameters
    ----------
    value
        What was given.
    option
        Name of the option, for the message.
    per
        What it holds.

    Returns
    -------
    Mapping
        The value.

    Raises
    ------
    InvalidTypeError
        If it is no mapping.

    Examples
    --------
    >>> as_mapping({"x": 1}, "defaults")
    {'x': 1}
    >>> as_mapping(["x"], "defaults")
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.InvalidTypeError: `defaults` must be a dict with a value per name, got ['x']

    """
    # Most are dicts, and asking whether one is a Mapping takes longer.
    if type(value) is not dict and not isinstance(value, Mapping):
        raise InvalidTypeError(f"`{option}` must be a dict with {per}, got {value!r}", detail=value)
    return value


def as_iterable(value: Any, option: str, what: str = "a set of names") -> Iterable[Any]:
    """Return what can be iterated over as it is; refuse all else.

    Parameters
    ----------
    value
        What was given.
    option
        Name of the option, for the message.
    what
        What it must be.

    Returns
    -------
    Iterable
        The value.

    Raises
    ------
    InvalidTypeError
        If it is not iterable.

    Examples
    --------
    >>> as_iterable(3, "exclude")
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.InvalidTypeError: `exclude` must be a set of names, got 3

    """
    if not isinstance(value, Iterable):
        raise InvalidTypeError(f"`{option}` must be {what}, got {value!r}", detail=value)
    return value


def as_names(value: Any, option: str) -> set[str]:
    """Return names as a set; refuse all else.

    Parameters
    ----------
    value
        What was given.
    option
        Name of the option, for the message.

    Returns
    -------
    set
        The names.

    Raises
    ------
    InvalidTypeError
        If it is not iterable, or something in it is no str.

    Examples
    --------
    >>> sorted(as_names(["x", "y"], "inputs"))
    ['x', 'y']

    """
    names = list(as_iterable(value, option))
    for name in names:
        if not isinstance(name, str):
            message = f"`{option}` must be a set of names, got {value!r}, in which {name!r} is no str"
            raise InvalidTypeError(message, detail=name)
    return set(names)


def as_callable_or_none(value: Any, option: str) -> Any:
    """Return a callable or None as it is; refuse all else.

    Parameters
    ----------
    value
        What was given.
    option
        Name of the option, for the message.

    Returns
    -------
    callable or None
        The value.

    Raises
    ------
    InvalidTypeError
        If it is neither.

    Examples
    --------
    >>> as_callable_or_none(3, "exclude")
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.InvalidTypeError: `exclude` must be callable or None, got 3

    """
    if value is not None and not callable(value):
        raise InvalidTypeError(f"`{option}` must be callable or None, got {value!r}", detail=value)
    return value
