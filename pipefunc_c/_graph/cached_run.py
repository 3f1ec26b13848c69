"""Running a graph with a cache.

The key of a cached function is made of the values of the root arguments that it depends on, and of all that
happens between them and its result: the code, wiring, bound values and pickers of the functions on the way.
So a change anywhere upstream makes another key. A hit spares the calls upstream of it too.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c._graph.steps import run_steps
from pipefunc_c._hashing.canonical import canonical_digest
from pipefunc_c._hashing.identity import CodeHasher
from pipefunc_c.cache._base import MISSING, CacheBase
from pipefunc_c.cache._function_hash import callable_id, token_of
from pipefunc_c.cache._hashable import exact_key
from pipefunc_c.cache._key import RunKey

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph
    from pipefunc_c._graph.steps import RunPlan, Step, Values


class Caching(NamedTuple):
    """What a plan knows about its cached functions."""

    keys: tuple[RunKey | None, ...]  # per step, None if it is not cached
    upstream: tuple[tuple[int, ...], ...]  # per step, those whose results it takes
    targets: tuple[int, ...]  # the steps whose results were asked for
    first: RunKey | None  # key of the only target
    unstable: tuple[str, ...]  # functions whose results no other process can find


def plan_caching(
    graph: FunctionGraph, steps: Sequence[Step], targets: Sequence[AnyFunc], constants: Values
) -> Caching | None:
    """Work out the keys of the cached functions of a plan.

    Parameters
    ----------
    graph
        The functions.
    steps
        The calls of the plan.
    targets
        Functions whose results were asked for.
    constants
        Bound values and defaults, under their keys.

    Returns
    -------
    Caching or None
        None if no function is cached.

    """
    if not any(step.function.cache for step in steps):
        return None
    producers = {
        name: number
        for number, step in enumerate(steps)
        for name in (step.outputs if step.store is None else (step.store,))
    }
    upstream = tuple(
        tuple(dict.fromkeys([producers[key] for key in step.keys.values() if key in producers]))
        for step in steps
    )
    positions = {step.function: number for number, step in enumerate(steps)}
    needed = tuple(dict.fromkeys(positions[function] for function in targets))
    describe = _Describer(constants)
    keys: list[RunKey | None] = []
    for number, step in enumerate(steps):
        key = None
        if step.function.cache:
            cone = _cone(number, upstream)
            taken = {key for k in cone for key in steps[k].keys.values() if isinstance(key, str)}
            names = tuple(sorted(taken - producers.keys()))
            # Where an intermediate output was given, the root arguments do not tell what it is.
            if not graph.producers.keys() & set(names):
                prefix = describe.prefix(step, [steps[k] for k in cone])
                key = RunKey(prefix, names)
        keys.append(key)
    first = keys[needed[0]] if len(needed) == 1 else None
    return Caching(tuple(keys), upstream, needed, first, tuple(describe.unstable))


def _cone(number: int, upstream: Sequence[Sequence[int]]) -> list[int]:
    found, pending = {number}, [number]
    while pending:
        for each in upstream[pending.pop()]:
            if each not in found:
                found.add(each)
                pending.append(each)
    return sorted(found)


class _Describer:
    """Describe what functions do and how they are connected; each function once per plan."""

    def __init__(self, constants: Values) -> None:
        self._constants = constants
        self._hasher = CodeHasher()
        self._known: dict[AnyFunc, str] = {}
        self.unstable: dict[str, None] = {}

    def prefix(self, step: Step, cone: Sequence[Step]) -> str:
        """Return what stands for all that happens up to the result of a step."""
        lines = [self._described(each) for each in cone]
        return f"{','.join(step.function.output_names)}-{canonical_digest(lines)}"

    def _described(self, step: Step) -> str:
        function = step.function
        known = self._known.get(function)
        if known is None:
            parts = [str(function.output_name), self._callable(function, function.func)]
            if function.output_picker is not None:
                parts.append(self._callable(function, function.output_picker))
            if function.resources_variable is not None:
                used = function.resources
                parts.append(
                    self._callable(function, used) if callable(used) else self._value(function, used)
                )
            for native, key in step.keys.items():
                source = key if isinstance(key, str) else self._value(function, self._constants[key])
                parts.append(f"{native} {type(key).__name__} {source}")
            known = self._known[function] = canonical_digest(parts)
        return known

    def _callable(self, function: AnyFunc, item: Callable[..., Any]) -> str:
        text, is_stable = callable_id(item, self._hasher)
        if not is_stable:
            self.unstable[function.__name__] = None
        return text

    def _value(self, function: AnyFunc, value: Any) -> str:
        try:
            return canonical_digest(exact_key(value))
        except Exception:  # whatever a user's class raises
            self.unstable[function.__name__] = None
            return token_of(value)


def find_in_cache(
    plan: RunPlan, caching: Caching, cache: CacheBase, values: Values, *, everything: bool
) -> tuple[list[int], dict[int, Hashable], bool]:
    """Look for results, from the last functions upwards; what is found is stored.

    Parameters
    ----------
    plan, caching
        What to run.
    cache
        Where to look.
    values
        What is known; gets what is found.
    everything
        Whether the results upstream of what is found are wanted too.

    Returns
    -------
    tuple
        The steps to run, in reverse; the keys of those that are cached; whether anything was found.

    """
    if caching.unstable and cache.is_lasting:
        names = ", ".join(caching.unstable)
        message = (
            f"What {names} holds has no digest, so no other process will find its results in {cache!r}. Give "
            "it a method `__pipefunc_hash__` that returns a str."
        )
        warnings.warn(message, UserWarning, stacklevel=4)
    needed = [everything] * len(plan.steps)
    for number in caching.targets:
        needed[number] = True
    to_run: list[int] = []
    keys: dict[int, Hashable] = {}
    found = False
    for number in range(len(plan.steps) - 1, -1, -1):
        if not needed[number]:
            continue
        make_key = caching.keys[number]
        if make_key is not None:
            key = make_key(values)
            result = cache.lookup(key, MISSING)
            if result is not MISSING:
                found = True
                plan.steps[number].store_result(values, result)
                continue
            keys[number] = key
        to_run.append(number)
        for each in caching.upstream[number]:
            needed[each] = True
    return to_run, keys, found


def run_and_keep(
    plan: RunPlan, cache: CacheBase, values: Values, to_run: Sequence[int], keys: Mapping[int, Hashable]
) -> None:
    """Run what was not found, and keep the results of cached functions.

    Parameters
    ----------
    plan, cache, values
        As for `find_in_cache`.
    to_run, keys
        What that returned.

    """
    for number in reversed(to_run):
        step = plan.steps[number]
        key = keys.get(number)
        if key is None:
            run_steps((step,), values)
            continue
        # The whole result is kept, also where only parts of it are wanted now.
        whole = step if step.store is not None else step._replace(raw=_RAW)
        started = time.perf_counter()
        run_steps((whole,), values)
        seconds = time.perf_counter() - started
        result = values[step.store] if step.store is not None else values.pop(_RAW)
        if step.raw is not None:
            values[step.raw] = result
        cache.keep(key, result, seconds)


_RAW = ("", "")  # no output has this name
