"""Which functions a run calls, in which order, with which arguments from where.

This depends only on the output that is asked for and on the *names* of what is given. So it is worked out
once, and holds until the graph changes.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from pipefunc_c._graph.cached_run import plan_caching
from pipefunc_c._graph.steps import RunPlan, Step
from pipefunc_c.exceptions import (
    InputError,
    InvalidTypeError,
    InvalidValueError,
    OperationError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph, OutputName
    from pipefunc_c._graph.steps import Values

MAXIMUM_PLANS = 256  # per graph; each combination of given names has its own


def make_plan(
    graph: FunctionGraph, output_name: OutputName | list[OutputName] | None, given: Collection[str]
) -> RunPlan:
    """Make a plan, and let the graph keep it.

    Parameters
    ----------
    graph
        The functions.
    output_name
        As for `pipefunc_c._graph.evaluate.run`.
    given
        Names of the given values.

    Returns
    -------
    RunPlan
        The plan.

    Raises
    ------
    InvalidTypeError, InvalidValueError, InputError, OperationError
        As for `pipefunc_c._graph.evaluate.run`.

    """
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
        message = f"the arguments {missing} are missing to compute {asked(graph, output_name)}"
        needed = graph.roots_of(steps)
        raise InputError(f"{message}, which needs {needed}; got {tuple(given)}", detail=missing)
    mapped = [function for function in steps if function.mapspec is not None]
    if mapped:
        specs = ", ".join(f"{f.__name__} with {str(f.mapspec)!r}" for f in mapped)
        message = f"cannot run {asked(graph, output_name)}: it needs {specs}, which map over arrays"
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


def asked(graph: FunctionGraph, output_name: Any) -> str:
    """Name what is asked for, for messages."""
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
            if name in given:
                used.add(name)  # also if it is bound, which goes before what is given
            if name in binding.bound or name in given:
                continue
            if name in graph.producers:
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
        plan_caching(graph, steps, [graph.find(target) for target in targets], constants),
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
