"""Calls of a cached function: what was computed for the same arguments before is not computed again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipefunc_c.cache._base import MISSING
from pipefunc_c.cache._key import function_cache_id, map_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c.cache._base import CacheBase


@dataclass(frozen=True)
class FailedCall:
    """Stand in a cache for a call that raised."""

    error: Exception


@dataclass(frozen=True)
class CachedCalls:
    """Look calls of one function up before they are made.

    Parameters
    ----------
    cache
        Where results are kept.
    func_id
        What stands for the function in keys.
    error_handling
        That of the map. Errors are kept too where they do not stop it, so each mode has keys of its own.
    """

    cache: CacheBase
    func_id: str
    error_handling: str

    def call(self, arguments: Mapping[str, Any], compute: Callable[[], Any]) -> tuple[Any, bool]:
        """Give the result of a call, and whether it was made now.

        Parameters
        ----------
        arguments
            Values by original names.
        compute
            Makes the call.

        Raises
        ------
        Exception
            What the function raised, now or when it was called with these arguments before.
        """
        key = map_key(self.func_id, self.error_handling, arguments)
        if key is None:
            return compute(), True
        found = self.cache.lookup(key, MISSING)
        if found is not MISSING:
            if isinstance(found, FailedCall):
                raise found.error
            return found, False
        started = time.perf_counter()
        try:
            result = compute()
        except Exception as error:
            if self.error_handling == "continue":
                self.cache.keep(key, FailedCall(error), time.perf_counter() - started)
            raise
        self.cache.keep(key, result, time.perf_counter() - started)
        return result, True


def cached_calls(
    functions: Iterable[PipeFunc[..., Any]], cache: CacheBase, error_handling: str
) -> dict[tuple[str, ...], CachedCalls]:
    """Give the cached calls of the functions that want them, by output names.

    Parameters
    ----------
    functions
        The functions of a run.
    cache
        Where results are kept.
    error_handling
        That of the map.
    """
    return {
        func.output_names: CachedCalls(cache, function_cache_id(func), error_handling)
        for func in functions
        if func.cache
    }


def visible_elsewhere(
    cached: Mapping[tuple[str, ...], CachedCalls],
) -> dict[tuple[str, ...], CachedCalls]:
    """Give those whose cache is seen by other processes too."""
    return {names: each for names, each in cached.items() if each.cache.shared}
