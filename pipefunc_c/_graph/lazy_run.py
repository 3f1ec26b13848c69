"""Running a graph lazily: calls are noted down, and made when a result is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pipefunc_c.cache._base import MISSING, CacheBase
from pipefunc_c.lazy import LazyFunction, contains_lazy, task_graph

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pipefunc_c._graph.graph import AnyFunc
    from pipefunc_c._graph.steps import RunPlan, Values


class NativeCall:
    """Call a function with arguments by native names, and keep the result if there is a key for it.

    Parameters
    ----------
    function
        The function.
    cache, key
        Where to look for the result first, and to keep it; None: nowhere.

    """

    def __init__(self, function: AnyFunc, cache: CacheBase | None = None, key: Hashable = None) -> None:
        self.function = function
        self.cache = cache
        self.key = key
        self.__name__ = function.__name__

    def __call__(self, /, **arguments: Any) -> Any:
        """Return the result."""
        if self.cache is None or self.key is None:
            return self.function.call_native(arguments)
        started = time.perf_counter()
        result = self.function.call_native(arguments)
        self.cache.keep(self.key, result, time.perf_counter() - started)
        return result

    def find(self) -> Any:
        """Return the result if it is in the cache, else `MISSING`."""
        return MISSING if self.cache is None or self.key is None else self.cache.lookup(self.key, MISSING)


def run_lazily(plan: RunPlan, values: Values, cache: CacheBase | None) -> None:
    """Put lazy objects in the place of all results of a plan.

    A cached function is looked up when it is evaluated. While a task graph is made, a call of it with the
    same root arguments stands there once.

    Parameters
    ----------
    plan
        What to run.
    values
        What is known, possibly lazy itself; gets the lazy results.
    cache
        Where evaluated results of cached functions are kept.

    """
    graph = task_graph()
    for number, step in enumerate(plan.steps):
        make_key = None if plan.caching is None or cache is None else plan.caching.keys[number]
        key = None
        if make_key is not None and not any(contains_lazy(values[name]) for name in make_key.names):
            key = make_key(values)
        result = MISSING if graph is None or key is None else graph.cache.lookup(key, MISSING)
        if result is MISSING:
            call = NativeCall(step.function, cache, key)
            arguments = {native: values[place] for native, place in step.keys.items()}
            result = LazyFunction(call, kwargs=arguments, find=call.find if key is not None else None)
            if graph is not None and key is not None:
                graph.cache.put(key, result)
        if step.store is not None:
            values[step.store] = result
            continue
        if step.raw is not None:
            values[step.raw] = result
        for name in step.function.output_names if step.raw is not None else step.outputs:
            if step.raw is None or name not in values:
                values[name] = LazyFunction(_Pick(step.function, name), (result,))


class _Pick:
    """Take one output out of a result."""

    def __init__(self, function: AnyFunc, name: str) -> None:
        self.function = function
        self.name = name
        self.__name__ = f"pick {name} of {function.__name__}"

    def __call__(self, result: Any) -> Any:
        return self.function.pick(result, self.name)
