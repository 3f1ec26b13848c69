"""How the function of a stage is called: the same for every driver and in every process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pipefunc_c._function.resource_use import by_present_names
from pipefunc_c._kernels.source import Source, constant, elements, slices
from pipefunc_c._kernels.taskloop import FailedValue, InputIsError, TaskLoop
from pipefunc_c.map._stages.failures import PROPAGATED, OriginTable, error_info
from pipefunc_c.map._stages.given import opened
from pipefunc_c.map._stages.resources_error import ResourcesError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._kernels.column import Column
    from pipefunc_c.map._stages.cached_calls import CachedCalls
    from pipefunc_c.resources import Resources


@dataclass(frozen=True)
class Input:
    """Say what one argument is taken from.

    Parameters
    ----------
    value
        The argument itself, or what it is an element or a slice of.
    axes
        None for an argument that is the same for all elements; else the task axis that indexes each
        dimension of ``value``, None for a dimension that is taken whole.
    shape
        Dimensions of a column.
    copied
        Whether slices go out as copies.
    """

    value: Any
    axes: tuple[int | None, ...] | None = None
    shape: tuple[int, ...] | None = None
    copied: bool = False

    def source(self) -> Source:
        """Give the source of the kernel."""
        value, shape = opened(self.value, self.shape)
        if self.axes is None:
            return constant(value)
        if None in self.axes:
            return slices(value, self.axes, copied=self.copied or value is not self.value)
        return elements(value, self.axes, shape)


@dataclass(frozen=True)
class Call:
    """Say how a function is called.

    Parameters
    ----------
    func
        The function.
    names
        Native names of its arguments, in order.
    n_positional
        How many of them go by position.
    is_mapped
        Whether it has mapped inputs.
    checked
        Whether arguments may be errors that only a look at them shows.
    keeps_going
        Whether errors are stored.
    cached
        Where calls are looked up first; None if they are not.
    refused
        Why it cannot be called: each call raises that.
    """

    func: PipeFunc[..., Any]
    names: tuple[str, ...]
    n_positional: int
    is_mapped: bool
    checked: bool
    keeps_going: bool
    cached: CachedCalls | None = None
    refused: Exception | None = None

    def for_other_processes(self) -> Call:
        """Give what goes to processes that are not forked from this one."""
        if self.cached is None or self.cached.cache.shared:
            return self
        return replace(self, cached=None)

    def loop(  # noqa: PLR0913, PLR0917  the parts of a loop
        self,
        sources: Sequence[Source],
        shape: tuple[int, ...],
        columns: Sequence[Column],
        origins: OriginTable,
        runs: npt.NDArray[np.int64] | None = None,
    ) -> tuple[TaskLoop, Invocation]:
        """Make the loop over elements; the fast one where nothing but the function is to be called."""
        func = self.func
        invocation = Invocation(self)
        is_general = (
            self.checked
            or func.observed
            or func.output_picker is not None
            or self.cached is not None
            or self.refused is not None
        )
        loop = TaskLoop(
            func.call_target,
            self.names,
            sources,
            shape,
            columns,
            n_positional=self.n_positional,
            unpack=isinstance(func.output_name, tuple),
            runs=runs,
            capture_errors=self.keeps_going,
            invoke=invocation if is_general else None,
            propagate=_propagated if self.keeps_going else None,
            intern_origin=origins.intern,
        )
        return loop, invocation

    def argument_loop(self, sources: Mapping[str, Source], shape: tuple[int, ...]) -> TaskLoop:
        """Make a loop that is never run: it gives arguments of elements, each from its source."""
        return TaskLoop(self.func.call_target, tuple(sources), list(sources.values()), shape, (), unpack=True)


def _propagated(_index: int) -> object:
    return PROPAGATED


class Invocation:
    """Call a function the general way: with hooks, debug lines and pickers.

    Attributes
    ----------
    in_hook : bool
        Whether the last call ended in a hook: what that raises is not the function's error.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._picks = call.is_mapped or not isinstance(call.func.output_name, str)
        self.in_hook = False

    def __call__(self, _index: int, kwargs: dict[str, Any]) -> list[Any]:
        """Give one value per output, for arguments by native names."""
        func = self._call.func
        self.in_hook = False
        if self._call.checked and any(error_info(value) is not None for value in kwargs.values()):
            raise InputIsError
        if self._call.refused is not None:
            raise self._call.refused
        positional, keywords = func.split_arguments(kwargs)
        received: dict[str, Any] = {}
        target = func.call_target
        if func.evaluates_resources:
            resources = self._resources(kwargs)
            received, target = {str(func.resources_variable): resources}, func.target_with(resources)
        compute = partial(target, *positional, **keywords)
        cached = self._call.cached
        result, is_new = (compute(), True) if cached is None else cached.call(kwargs, compute)
        if is_new and func.observed:
            self.in_hook = True
            func.observe(result, {**kwargs, **received})
            self.in_hook = False
        if not self._picks:
            return [result]
        return [self._pick(result, name) for name in func.output_names]

    def _resources(self, kwargs: dict[str, Any]) -> Resources | None:
        func = self._call.func
        try:
            return func.evaluate_resources(by_present_names(func.binding, kwargs))
        except ResourcesError:  # they were worked out before, for the whole map
            raise
        except Exception as error:
            if not self._call.keeps_going:
                raise
            raise ResourcesError(error) from error

    def _pick(self, result: Any, name: str) -> Any:
        try:
            return self._call.func.pick(result, name)
        except Exception as error:
            if not self._call.keeps_going:
                raise
            return FailedValue(error)
