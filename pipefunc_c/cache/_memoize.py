"""`memoize`: a cache around any function."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

from pipefunc_c._describe import callable_name
from pipefunc_c.cache._base import MISSING, CacheBase
from pipefunc_c.cache._hashable import (
    UnhashableAction,
    UnhashableError,
    check_unhashable_action,
    exact_key,
    to_hashable,
    unhashable,
)
from pipefunc_c.cache._simple import SimpleCache
from pipefunc_c.exceptions import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Memoized(Protocol[P, R_co]):
    """A function that remembers what it returned."""

    cache: CacheBase
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return what the function returned for these arguments before, or call it."""


def memoize(
    cache: CacheBase | None = None,
    key_func: Callable[..., Hashable] | None = None,
    *,
    fallback_to_pickle: bool = True,
    unhashable_action: UnhashableAction = "error",
) -> Callable[[Callable[P, R]], Memoized[P, R]]:
    """Make a decorator that keeps what a function returns.

    Parameters
    ----------
    cache
        Where to keep it; by default a `SimpleCache` per function. It is the attribute ``cache`` of the
        function. Functions that share a cache share results, unless `key_func` tells them apart.
    key_func
        Called with the arguments, returns the key; by default made of all arguments as they are written, so
        that 1, 1.0 and True are different.
    fallback_to_pickle
        Whether arguments that are not hashable may be told apart by a digest of their pickle.
    unhashable_action
        What to do with arguments that cannot be told apart: ``"error"`` raises, ``"warning"`` warns and calls
        the function, ``"ignore"`` calls it.

    Returns
    -------
    Callable
        The decorator.

    Raises
    ------
    UnhashableError
        From the function, as `unhashable_action` says.
    InvalidTypeError
        If `cache` is no cache of this module.
    InvalidValueError
        If `unhashable_action` is unknown.

    Examples
    --------
    >>> @memoize()
    ... def double(x):
    ...     print("called")
    ...     return 2 * x
    >>> double([1]), double([1])
    called
    ([1, 1], [1, 1])

    """
    given: object = cache
    if given is not None and not isinstance(given, CacheBase):
        message = f"`cache` must be a cache of pipefunc_c.cache or None, got {given!r}"
        raise InvalidTypeError(message, detail=given, hint="Write @memoize() with parentheses.")
    check_unhashable_action(unhashable_action)

    def decorate(func: Callable[P, R]) -> Memoized[P, R]:
        kept = SimpleCache() if cache is None else cache
        where = callable_name(func)

        def key_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if key_func is not None:
                return key_func(*args, **kwargs)
            try:
                if fallback_to_pickle:
                    return exact_key((args, kwargs))
                return to_hashable((args, kwargs), fallback_to_pickle=False)
            except UnhashableError as error:
                return unhashable(error, unhashable_action, where)

        @functools.wraps(func)
        def memoized(*args: P.args, **kwargs: P.kwargs) -> R:
            key = key_of(args, kwargs)
            if key is UnhashableError:
                return func(*args, **kwargs)
            value = kept.lookup(key, MISSING)
            if value is not MISSING:
                return cast("R", value)
            started = time.perf_counter()
            result = func(*args, **kwargs)
            kept.keep(key, result, time.perf_counter() - started)
            return result

        memoized.cache = kept  # type: ignore[attr-defined]  # see Memoized
        return cast("Memoized[P, R]", memoized)

    return decorate
