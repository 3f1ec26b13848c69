"""What stands for a function in the key of a cache."""

from __future__ import annotations

import uuid
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import callable_name
from pipefunc_c._hashing.identity import CodeHasher

if TYPE_CHECKING:
    from collections.abc import Callable

# Objects that no digest describes, by id; each holds its object, weakly if possible, so that the id stays.
_tokens: dict[int, tuple[object, str]] = {}


def compute_function_hash(func: Callable[..., Any]) -> str | None:
    """Return a digest of what a callable does.

    Parameters
    ----------
    func
        A function, partial, method, class, callable instance or builtin.

    Returns
    -------
    str or None
        It changes when the code, a default, a closure value or what is called may have changed; comments,
        docstrings and moved lines do not change it. None for what is not callable.

    Examples
    --------
    >>> compute_function_hash(lambda x: x + 1) == compute_function_hash(lambda x: x + 1)
    True
    >>> compute_function_hash(lambda x: x + 1) == compute_function_hash(lambda x: x + 2)
    False

    """
    return _digest(func, CodeHasher())


def _digest(func: Callable[..., Any], hasher: CodeHasher) -> str | None:
    given: object = func
    if not callable(given):
        return None
    try:
        return hasher.identity(func).digest
    except Exception:  # a proxy or an attribute that raises
        return None


def callable_id(func: Callable[..., Any], hasher: CodeHasher) -> tuple[str, bool]:
    """Return what stands for a callable, and whether it is the same in other processes.

    Parameters
    ----------
    func
        The callable. Its method ``__pipefunc_hash__``, if it has one, says what stands for it.
    hasher
        Remembers what several callables have in common.

    Returns
    -------
    tuple
        A text, and whether it is made of nothing but the code and known values. If it is not, it stands for
        this one object, as long as it lives.

    """
    own = getattr(func, "__pipefunc_hash__", None)
    if own is not None and not isinstance(func, type):
        return str(own()), True
    digest = _digest(func, hasher)
    if digest is None:
        message = (
            f"{callable_name(func)} cannot be told apart from a changed version of it, so results of this "
            "object are found by it alone. Give it a method `__pipefunc_hash__` that returns a str."
        )
        warnings.warn(message, UserWarning, stacklevel=2)
        return token_of(func), False
    # Two objects with the same code may hold different things that no digest describes.
    if hasher.unknown_state(func):
        return f"{digest}-{token_of(func)}", False
    return digest, True


def token_of(item: object) -> str:
    """Return a text that stands for one object as long as it lives, and for no other in any process."""
    owner = getattr(item, "__self__", item)  # a method is made anew each time that it is asked for
    known = _tokens.get(id(owner))
    if known is None:
        number = id(owner)
        try:
            holder: object = weakref.ref(owner, lambda _: _tokens.pop(number, None))
        except TypeError:
            holder = owner
        known = _tokens[number] = (holder, uuid.uuid4().hex)
    return known[1]
