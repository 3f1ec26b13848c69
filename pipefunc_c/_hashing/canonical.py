"""Digests of values: equal keys give equal digests, in each process and on each day."""

from __future__ import annotations

import decimal
import fractions
import hashlib
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

from pipefunc_c._hashing.identity import code_identity

_NUMBERS = (bool, int, float, fractions.Fraction, decimal.Decimal, np.integer, np.floating, np.bool_)


def canonical_digest(value: object) -> str:
    """Digest a value by what it holds, not by how it would be pickled.

    A pickle also depends on which parts of a value are the same object and on the order of its sets, so that
    equal values have different pickles.

    Parameters
    ----------
    value
        Anything that could be pickled. Equal numbers of different types have the same digest, as they are
        the same key of a dict.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    Exception
        Whatever the reduction of an object raises that cannot be pickled.

    Examples
    --------
    >>> canonical_digest({"a": 1, "b": {2, 3}}) == canonical_digest({"b": {3, 2}, "a": 1.0})
    True
    >>> canonical_digest([1]) == canonical_digest((1,))
    False

    """
    return _digest(value, ()).hex()


def _digest(value: object, inside: tuple[int, ...]) -> bytes:
    return hashlib.md5(_content(value, inside), usedforsecurity=False).digest()


def _content(value: Any, inside: tuple[int, ...]) -> bytes:
    """Write a value as bytes; parts that hold others as their digests."""
    plain = _plain_content(value)
    if plain is not None:
        return plain
    if id(value) in inside:
        return f"the object {len(inside) - inside.index(id(value))} levels above".encode()
    inside = (*inside, id(value))
    kind = type(value)
    if kind in (tuple, list):
        return kind.__name__.encode() + b" " + b"".join([_digest(each, inside) for each in value])
    if kind in (set, frozenset):
        return b"set " + b"".join(sorted([_digest(each, inside) for each in value]))
    if kind is dict:
        pairs = [_digest(key, inside) + _digest(each, inside) for key, each in value.items()]
        return b"dict " + b"".join(sorted(pairs))
    return _reduced(value, inside)


def _plain_content(value: Any) -> bytes | None:
    """Write what holds no other values; None for the rest."""
    if type(value) is str:
        return b"str " + bytes(value, "utf-8", "surrogatepass")
    if type(value) is bytes:
        return b"bytes " + bytes(value)
    if value is None or value is Ellipsis or value is NotImplemented:
        return repr(value).encode()
    if isinstance(value, _NUMBERS):
        return b"number " + _number(value)
    if isinstance(value, complex):
        parts = _number(value.real), _number(value.imag)
        return b"number " + (b" + j ".join(parts) if value.imag else parts[0])
    if isinstance(value, type):
        return f"class {value.__module__}.{value.__qualname__}".encode()
    if isinstance(value, FunctionType):
        return f"function {value.__module__}.{value.__qualname__} {code_identity(value).digest}".encode()
    if type(value) is np.ndarray and not value.dtype.hasobject:
        return f"array {value.dtype!r} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, np.dtype):
        return f"dtype {value!r}".encode()
    return None


def _number(value: Any) -> bytes:
    try:
        numerator, denominator = (int(value), 1) if isinstance(value, np.bool_) else value.as_integer_ratio()
    except (OverflowError, ValueError):  # infinite, or no number
        return str(float(value)).encode()
    return b"%d/%d" % (numerator, denominator)


def _reduced(value: Any, inside: tuple[int, ...]) -> bytes:
    """Write an object by the parts that pickle would rebuild it from."""
    if isinstance(value, BuiltinFunctionType) and isinstance(value.__module__, str):
        return f"function {value.__module__}.{value.__qualname__}".encode()
    parts = value.__reduce_ex__(4)
    if isinstance(parts, str):
        return f"global {type(value).__module__}.{parts}".encode()
    # The items of containers come as iterators.
    rebuild = [list(part) if hasattr(part, "__next__") else part for part in parts]
    head = f"object {type(value).__module__}.{type(value).__qualname__} ".encode()
    return head + b"".join([_digest(each, inside) for each in rebuild])
