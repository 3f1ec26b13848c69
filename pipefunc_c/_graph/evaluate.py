"""Running a graph once, without maps.

Which functions run, in which order, with which arguments from where, depends only on the output that is
asked for and on the *names* of what is given. So it is worked out once as a plan, which holds until the graph
changes; per run there is only: fetch arguments, call, store.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c._function.failure import record_failure
from pipefunc_c._function.names import flatten_scopes
from pipefunc_c.exceptions import (
    InputError,
    InvalidTypeError,
    InvalidValueError,
    OperationError,
    UnknownNameError,
    UnusedParametersError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph, OutputName

MAXIMUM_PLANS = 256  # per graph; each combination of given names has its own

Values = dict[Any, Any]


class Step(NamedTuple):
    """One call of a plan. Values are found under names; those of bound parameters under keys of their own."""

    call: Callable[..., Any] | None  # None: through call_native
    single: Any  # key of the only argument, by position
    positional: Callable[[Values], tuple[Any, ...]] | None
    keywords: tuple[str, ...]
    named: Callable[[Values], tuple[Any, ...]] | None
    store: str | None  # the only output
    function: AnyFunc
    keys: dict[str, Any]  # key per native parameter
    outputs: tuple[str, ...]  # outputs to pick, of a function with several
    raw: OutputName | None  # where to store what a function with several outputs returned


class RunPlan(NamedTuple):
    """What a run does for one output and one set of given names."""

    steps: tuple[Step, ...]
    constants: Values
    fetch: Any  # key of the result
    several: (
        Callable[[Values], tuple[Any, ...]] | None
    )  # gets all results, if a list of outputs was asked for
    computed: tuple[OutputName, ...]
    unused: tuple[str, ...]


def run(
    graph: FunctionGraph,
    output_name: OutputName | list[OutputName] | None,
    given: Mapping[str, Any],
    *,
    full_output: bool = False,
    allow_unused: bool = False,
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
        Whether values may be given that nothing needs.

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
        plan = _plan(graph, output_name, given)
    if plan.unused and not allow_unused:
        message = f"the given parameters {plan.unused} are not needed to compute {_asked(graph, output_name)}"
        hint = "Leave them out, or pass allow_unused=True to pipeline.run."
        raise UnusedParametersError(message, detail=plan.unused, hint=hint)
    values = _execute(plan, given)
    if full_output:
        _pick_all(plan, values)
        return {**given, **{name: values[name] for name in plan.computed}}
    return values[plan.fetch] if plan.several is None else plan.several(values)


def _execute(plan: RunPlan, given: Mapping[str, Any]) -> Values:
    values = {**plan.constants, **given}
    for call, single, positional, keywords, named, store, function, keys, outputs, raw in plan.steps:
        if call is None:
            result = function.call_native({native: values[key] for native, key in keys.items()})
        else:
            try:
                if single is not None:
                    result = call(values[single])
                elif named is None:
                    result = call(*positional(values))  # type: ignore[misc]  # given where single is not
                else:
                    arguments = dict(zip(keywords, named(values), strict=True))
                    result = call(*positional(values), **arguments)  # type: ignore[misc]  # see above
            except Exception as error:
                record_failure(function, error, {native: values[key] for native, key in keys.items()})
                raise
        if store is not None:
            values[store] = result
        else:
            if raw is not None:
                values[raw] = result
            for name in outputs:
                values[name] = function.pick(result, name)
    return values


def _pick_all(plan: RunPlan, values: Values) -> None:
    for step in plan.steps:
        for name in step.function.output_names if step.raw is not None else ():
            if name not in values:
                values[name] = step.function.pick(values[step.raw], name)


def _plan(
    graph: FunctionGraph, output_name: OutputName | list[OutputName] | None, given: Collection[str]
) -> RunPlan:
    several = output_name is None and len(graph.leaf_functions) != 1
    targets = _targets(graph, output_name)
    functions = []
    for target in targets:
        try:
            functions.append(graph.find(target))
        except UnknownNameError as error:
            raise InvalidValueError(str(error), detail=target) from None
        if target in given:
            message = f"the output {target!r} is to be computed and was also given"
            raise InputError(message, detail=target, hint="Ask for another output, or do not give its value.")
    steps, missing, used = _needed(graph, functions, given)
    if missing:
        message = f"the arguments {missing} are missing to compute {_asked(graph, output_name)}"
        needed = graph.roots_of(steps)
        raise InputError(f"{message}, which needs {needed}; got {tuple(given)}", detail=missing)
    mapped = [function for function in steps if function.mapspec is not None]
    if mapped:
        specs = ", ".join(f"{f.__name__} with {str(f.mapspec)!r}" for f in mapped)
        message = f"cannot run {_asked(graph, output_name)}: it needs {specs}, which map over arrays"
        raise OperationError(message, detail=mapped[0].output_name, hint="Use pipeline.map.")
    plan = _assemble(graph, steps, targets, several or isinstance(output_name, list), given, used)
    # Names in another order make another plan: sorting them would cost more than it saves. A key that is
    # also a scope may next time hold a dict of values in that scope.
    if not isinstance(output_name, list) and not graph.scopes.intersection(given):
        if len(graph.plans) >= MAXIMUM_PLANS:
            graph.plans.clear()
        graph.plans[(output_name, *given)] = plan
    return plan


def _targets(graph: FunctionGraph, output_name: Any) -> list[OutputName]:
    if output_name is None:
        return [function.output_name for function in graph.leaf_functions]
    if isinstance(output_name, list):
        return output_name
    if not isinstance(output_name, str | tuple):
        message = f"an output name must be a str, a tuple or list of str, or None, got {output_name!r}"
        raise InvalidTypeError(message, detail=output_name)
    return [output_name]


def _asked(graph: FunctionGraph, output_name: Any) -> str:
    return ", ".join(map(repr, _targets(graph, output_name)))


def _needed(
    graph: FunctionGraph, targets: list[AnyFunc], given: Collection[str]
) -> tuple[list[AnyFunc], tuple[str, ...], set[str]]:
    """Return the functions that run, what is missing for them, and what of the given they use."""
    pending = list(targets)
    found = set(targets)
    missing: set[str] = set()
    used: set[str] = set()
    while pending:
        binding = pending.pop().binding
        for name in binding.parameters:
            if name in binding.bound:
                continue
            if name in given:
                used.add(name)
            elif name in graph.producers:
                producer = graph.producers[name]
                if producer not in found:
                    found.add(producer)
                    pending.append(producer)
            elif name not in graph.defaults:
                missing.add(name)
    return sorted(found, key=graph.position.__getitem__), tuple(sorted(missing)), used


def _assemble(  # noqa: PLR0913  it is what the caller found out
    graph: FunctionGraph,
    functions: list[AnyFunc],
    targets: list[OutputName],
    several: bool,
    given: Collection[str],
    used: set[str],
) -> RunPlan:
    constants: Values = {}
    steps = []
    computed: list[OutputName] = []
    taken = {name for function in functions for name in function.parameters} | {*targets}
    for index, function in enumerate(functions):
        keys = _argument_keys(graph, function, given, index, constants)
        store, raw = None, None
        outputs: tuple[str, ...] = ()
        if isinstance(function.output_name, str):
            store = function.output_name
            computed.append(store)
        else:
            outputs = tuple(name for name in function.output_names if name not in given)
            computed.extend(outputs)
            if function.output_name in taken:
                # What is asked for whole need not have parts.
                raw = function.output_name
                outputs = tuple(name for name in outputs if name in taken)
                computed.append(raw)
        steps.append(_step(function, keys, store, outputs, raw))
    fetch = targets[0] if len(targets) == 1 and not several else None
    return RunPlan(
        tuple(steps),
        constants,
        fetch,
        _getter(targets) if fetch is None else None,
        tuple(computed),
        tuple(name for name in given if name not in used),
    )


def _argument_keys(
    graph: FunctionGraph, function: AnyFunc, given: Collection[str], index: int, constants: Values
) -> dict[str, Any]:
    binding = function.binding
    keys: dict[str, Any] = {}
    for name, native in binding.native_names.items():
        if name in binding.bound:
            keys[native] = (index, native)
            constants[keys[native]] = binding.bound[name]
        elif name in given or name in graph.producers:
            keys[native] = name
        elif name not in binding.own_defaults:
            keys[native] = name
            constants[name] = graph.defaults[name]
    return keys


def _step(
    function: AnyFunc,
    keys: dict[str, Any],
    store: str | None,
    outputs: tuple[str, ...],
    raw: OutputName | None,
) -> Step:
    if function.observed:
        return Step(None, None, None, (), None, store, function, keys, outputs, raw)
    natives = tuple(keys)
    n = function.n_positional
    single = keys[natives[0]] if n == 1 and len(natives) == 1 else None
    positional = _getter([keys[native] for native in natives[:n]])
    named = _getter([keys[native] for native in natives[n:]]) if len(natives) > n else None
    return Step(
        function.call_target, single, positional, natives[n:], named, store, function, keys, outputs, raw
    )


def _getter(keys: list[Any]) -> Callable[[Values], tuple[Any, ...]]:
    if len(keys) > 1:
        return operator.itemgetter(*keys)
    return lambda values: tuple([values[key] for key in keys])
