"""Words for error reports: short names of values, callables and places, none of which may fail."""

from __future__ import annotations

import datetime
import functools
import getpass
import os
import reprlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_short = reprlib.Repr()
_short.maxlevel, _short.maxdict, _short.maxlist, _short.maxtuple = 6, 50, 50, 50
_short.maxset = _short.maxfrozenset = _short.maxdeque = _short.maxarray = 50
_short.maxstring = _short.maxlong = _short.maxother = 500


def short_repr(value: object) -> str:
    """Return the repr of a value, shortened in the middle if it is long; a broken repr does no harm.

    Parameters
    ----------
    value
        Anything, also a user's object whose ``__repr__`` raises.

    Returns
    -------
    str
        About 500 characters per item at most.

    Examples
    --------
    >>> short_repr([1, "a"])
    "[1, 'a']"
    >>> len(short_repr("a" * 10_000))
    500

    """
    # reprlib picks its method by the name of the type, so a user's class `array` can break it.
    try:
        return _short.repr(value)
    except Exception:  # a report must not fail because a user's __repr__ does
        return object.__repr__(value)


def message_of(exception: BaseException) -> str:
    """Return the message of an exception, also if its ``__str__`` raises.

    Parameters
    ----------
    exception
        Any exception.

    Returns
    -------
    str
        Its message, in full.

    Examples
    --------
    >>> message_of(ValueError("too small"))
    'too small'

    """
    try:
        return str(exception)
    except Exception:  # see short_repr
        return f"<no message: str() of {type(exception).__qualname__} failed>"


def callable_name(function: object) -> str:
    """Name a callable with its module, also if it has no ``__qualname__``.

    Parameters
    ----------
    function
        A function, method, class, partial or instance.

    Returns
    -------
    str
        A name for people, not for look-ups.

    Examples
    --------
    >>> callable_name(len)
    'builtins.len'
    >>> callable_name(functools.partial(round, 2.5))
    'functools.partial of builtins.round'

    """
    if isinstance(function, functools.partial):
        return f"functools.partial of {callable_name(function.func)}"
    wrapped = getattr(function, "__wrapped__", None)
    if callable(wrapped) and not hasattr(function, "__qualname__"):
        return callable_name(wrapped)
    owner: object = function if hasattr(function, "__qualname__") else type(function)
    name = f"{getattr(owner, '__module__', None) or 'builtins'}.{getattr(owner, '__qualname__', '?')}"
    return name if owner is function else f"instance of {name}"


def arguments_text(arguments: Mapping[str, object]) -> str:
    r"""List arguments, one indented line each.

    Parameters
    ----------
    arguments
        Name to value.

    Returns
    -------
    str
        The lines, each with a line break before it; ``" none"`` if there are none.

    Examples
    --------
    >>> arguments_text({"x": 1})
    '\n    x = 1'

    """
    return "".join(f"\n    {name} = {short_repr(value)}" for name, value in arguments.items()) or " none"


def timestamp_now() -> str:
    """Return the present local time with its offset, in ISO format."""
    return datetime.datetime.now().astimezone().isoformat()


@functools.cache
def user_name() -> str:
    """Return the name of the user, or ``"unknown"``."""
    # A container may run under a user id that has no name (KeyError before Python 3.13).
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


@functools.cache
def ip_address() -> str:
    """Return the address other machines see this one under, or ``"127.0.0.1"``; asked once per process."""
    # Connecting a datagram socket sends nothing: it asks the routing table which address would be used.
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("10.255.255.255", 1))
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def current_directory() -> str:
    """Return the working directory, or ``"unknown"`` if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return "unknown"


def bytes_text(nbytes: int) -> str:
    """Write a number of bytes with a unit, and exactly.

    Parameters
    ----------
    nbytes
        The number.

    Returns
    -------
    str
        For people.

    Examples
    --------
    >>> bytes_text(512), bytes_text(3 * 2**29)
    ('512 bytes', '1.5 GiB (1610612736 bytes)')

    """
    if nbytes < 1024:
        return f"{nbytes} bytes"
    power = min((nbytes.bit_length() - 1) // 10, 6)
    return f"{nbytes / 1024**power:.1f} {'KMGTPE'[power - 1]}iB ({nbytes} bytes)"
