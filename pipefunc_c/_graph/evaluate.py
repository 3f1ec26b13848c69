"""Running a graph once, without maps: from the plan to the output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._function.names import flatten_scopes
from pipefunc_c._graph.cached_run import find_in_cache, run_and_keep
from pipefunc_c._graph.lazy_run import run_lazily
from pipefunc_c._graph.run_plan import asked, make_plan
from pipefunc_c._graph.steps import run_steps
from pipefunc_c.cache._base import MISSING
from pipefunc_c.exceptions import UnusedParametersError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipefunc_c._graph.cached_run import Caching
    from pipefunc_c._graph.graph import FunctionGraph, OutputName
    from pipefunc_c._graph.steps import RunPlan, Values
    from pipefunc_c.cache._base import CacheBase


def run(  # noqa: PLR0913  the keywords are those of Pipeline.run
    graph: FunctionGraph,
    output_name: OutputName | list[OutputName] | None,
    given: Mapping[str, Any],
    *,
    full_output: bool = False,
    allow_unused: bool = False,
    cache: CacheBase | None = None,
    lazy: bool = False,
) -> Any:
    """Compute outputs from given values.

    Parameters
    ----------
    graph
        The functions.
    output_name
        A name; a tuple of all names of one function, for what it returned; a list of those; None for what
        no other function takes.
    given
        Value per root argument, and possibly per intermediate output. For each parameter a bound value goes
        before a given one, that before an upstream output, and that before a default.
    full_output
        Whether to return all that was given or computed, as a dict.
    allow_unused
        Whether values may be given that nothing needs. They also may if a result comes from the cache.
    cache
        Where results of functions with ``cache=True`` are looked up and kept; None: nowhere.
    lazy
        Whether to return a lazy object, whose ``evaluate`` computes the output, in the place of each output.

    Returns
    -------
    Any
        The output; a tuple of them for a list, or for None if there are several.

    Raises
    ------
    InvalidValueError
        If the output does not exist.
    InputError
        If values are missing or given twice, or the output itself is given.
    UnusedParametersError
        If something is given that nothing needs.
    OperationError
        If a function that would run has a mapspec.
    UnhashableError
        If a function is cached that depends on a root argument whose value can be no key.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> graph = FunctionGraph([PipeFunc(lambda x: x + 1, "y"), PipeFunc(lambda y: 2 * y, "z")])
    >>> run(graph, "z", {"x": 1}), run(graph, "z", {"y": 1})
    (4, 2)

    """
    try:
        plan = graph.plans[(output_name, *given)]
    except (KeyError, TypeError):
        given = flatten_scopes(given, graph.scopes)
        plan = make_plan(graph, output_name, given)
    is_cached = plan.caching is not None and cache is not None and not lazy
    if plan.unused and not (allow_unused or is_cached):
        raise _unused(graph, plan, output_name)
    values = {**plan.constants, **given}
    if lazy:
        run_lazily(plan, values, cache)
    elif plan.caching is None or cache is None:
        run_steps(plan.steps, values)
    else:
        first = plan.caching.first
        if first is not None and not full_output:
            # The way of most hits: the output itself is in the cache.
            result = cache.lookup(first(values), MISSING)
            if result is not MISSING:
                return _picked(plan, plan.caching, result)
        to_run, keys, found = find_in_cache(plan, plan.caching, cache, values, everything=full_output)
        if plan.unused and not (allow_unused or found):
            raise _unused(graph, plan, output_name)
        run_and_keep(plan, cache, values, to_run, keys)
    if full_output:
        if not lazy:
            for step in plan.steps:
                step.pick_rest(values)
        return {**given, **{name: values[name] for name in plan.computed}}
    return values[plan.fetch] if plan.several is None else plan.several(values)


def _picked(plan: RunPlan, caching: Caching, result: Any) -> Any:
    """Take what was asked for out of the result of the only target."""
    step = plan.steps[caching.targets[0]]
    if plan.several is None and plan.fetch in (step.store, step.raw):
        return result
    values: Values = {}
    step.store_result(values, result)
    return values[plan.fetch] if plan.several is None else plan.several(values)


def _unused(graph: FunctionGraph, plan: RunPlan, output_name: Any) -> UnusedParametersError:
    message = f"the given parameters {plan.unused} are not needed to compute {asked(graph, output_name)}"
    hint = "Leave them out, or pass allow_unused=True to pipeline.run."
    return UnusedParametersError(message, detail=plan.unused, hint=hint)
