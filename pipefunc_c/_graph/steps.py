"""The calls of a run, and how they are made one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c._function.failure import record_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipefunc_c._graph.cached_run import Caching
    from pipefunc_c._graph.graph import AnyFunc, OutputName

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

    def store_result(self, values: Values, result: Any) -> None:
        """Put a result, or its parts, where later steps find it."""
        if self.store is not None:
            values[self.store] = result
            return
        if self.raw is not None:
            values[self.raw] = result
        for name in self.outputs:
            values[name] = self.function.pick(result, name)

    def pick_rest(self, values: Values) -> None:
        """Take all outputs out of what the function returned, as far as it was stored."""
        for name in self.function.output_names if self.raw is not None else ():
            if name not in values:
                values[name] = self.function.pick(values[self.raw], name)


class RunPlan(NamedTuple):
    """What a run does for one output and one set of given names."""

    steps: tuple[Step, ...]
    constants: Values
    fetch: Any  # key of the result
    several: Callable[[Values], tuple[Any, ...]] | None  # gets all results of a list of outputs
    computed: tuple[OutputName, ...]
    unused: tuple[str, ...]
    caching: Caching | None  # if a function is cached


def run_steps(steps: Iterable[Step], values: Values) -> None:
    """Make calls in order; arguments come from the values, and results go there."""
    for call, single, positional, keywords, named, store, function, keys, outputs, raw in steps:
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
        # As `store_result`, without a call.
        if store is not None:
            values[store] = result
        else:
            if raw is not None:
                values[raw] = result
            for name in outputs:
                values[name] = function.pick(result, name)
