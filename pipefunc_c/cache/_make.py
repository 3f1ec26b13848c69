"""The cache of a pipeline, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pipefunc_c._containers import as_mapping
from pipefunc_c.cache._bounded import HybridCache, LRUCache
from pipefunc_c.cache._disk import DiskCache
from pipefunc_c.cache._simple import SimpleCache
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipefunc_c.cache._base import CacheBase

CacheType: TypeAlias = Literal["lru", "hybrid", "disk", "simple"]

DEFAULT_FOLDER: Final = ".pipefunc_c_cache"

_KINDS: Final[dict[str, Callable[..., CacheBase]]] = {
    "disk": DiskCache,
    "hybrid": HybridCache,
    "lru": LRUCache,
    "simple": SimpleCache,
}


def make_cache(
    cache_type: CacheType | None, cache_kwargs: Mapping[str, Any] | None, any_function_cached: bool
) -> CacheBase | None:
    """Make the cache of a pipeline.

    Parameters
    ----------
    cache_type
        ``"lru"``, ``"hybrid"``, ``"disk"`` or ``"simple"``; None: ``"lru"`` if a function is cached, else no
        cache.
    cache_kwargs
        Arguments of the class. For ``"disk"`` the default of ``cache_dir`` is ``".pipefunc_c_cache"``.
    any_function_cached
        Whether a function of the pipeline is cached.

    Returns
    -------
    CacheBase or None
        The cache.

    Raises
    ------
    InvalidValueError
        If the type is unknown, or an argument has a wrong value.
    InvalidTypeError
        If `cache_kwargs` is no dict, or the class has no such argument.

    Examples
    --------
    >>> make_cache("lru", {"max_size": 4}, False).max_size
    4
    >>> make_cache(None, None, False) is None
    True

    """
    as_mapping({} if cache_kwargs is None else cache_kwargs, "cache_kwargs", "arguments of the cache by name")
    kind = cache_type
    if kind is None:
        if not any_function_cached:
            return None
        kind = "lru"
    given: object = kind
    if not isinstance(given, str) or given not in _KINDS:
        message = f"`cache_type` must be one of {sorted(_KINDS)} or None, got {given!r}"
        raise InvalidValueError(message, detail=given)
    options = dict(cache_kwargs or {})
    if kind == "disk":
        options.setdefault("cache_dir", DEFAULT_FOLDER)
    try:
        return _KINDS[kind](**options)
    except TypeError as error:
        if isinstance(error, InvalidTypeError):
            raise
        message = f"`cache_kwargs` {options} do not fit a cache of type {kind!r}: {error}"
        raise InvalidTypeError(message, detail=options) from None
