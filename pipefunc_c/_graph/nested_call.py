"""The callable of a nested function: it runs the inner functions with their graph."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipefunc_c._function.signature import NativeSignature, named_parameter
from pipefunc_c._graph.evaluate import run
from pipefunc_c._graph.validate import build_graph
from pipefunc_c._hashing.identity import code_identity
from pipefunc_c.cache._bounded import LRUCache
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError
from pipefunc_c.typing import NoAnnotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph, OutputName
    from pipefunc_c.cache._base import CacheBase
    from pipefunc_c.resources import Resources, ResourcesCallable

_pipeline_factories: list[Callable[[list[AnyFunc]], Any]] = []


def register_pipeline_factory(factory: Callable[[list[AnyFunc]], Any]) -> None:
    """Say how to make a pipeline of functions, which the layer of pipelines does when it is imported.

    Parameters
    ----------
    factory
        Called with a list of functions, returns a pipeline of copies of them, with a ``function_graph``.

    """
    _pipeline_factories[:] = [factory]


class NestedCall:
    """Compute outputs of several functions from keywords.

    Parameters
    ----------
    functions
        The functions; they are copied without their mapspecs. They print no errors: who calls this does.
    output_name
        The output, or a tuple of them; None means all, in topological order.
    given_name
        Its name; by default one is made of the outputs.

    Attributes
    ----------
    output_name
        The output, or the tuple of outputs.
    all_outputs
        Outputs of all functions, in topological order.

    Raises
    ------
    GraphError
        If the functions do not fit together.
    InvalidTypeError, InvalidValueError
        If an output name is no str, or does not exist; if the types of what is handed on do not fit.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> call = NestedCall([PipeFunc(lambda x: x + 1, "y"), PipeFunc(lambda y: 2 * y, "z")])
    >>> call.output_name, call(x=1)
    (('y', 'z'), (2, 4))

    """

    def __init__(
        self,
        functions: Iterable[AnyFunc],
        output_name: OutputName | None = None,
        given_name: str | None = None,
    ) -> None:
        self._functions = tuple(_inner_copy(function) for function in functions)
        self._graph: FunctionGraph | None = build_graph(self._functions, annotations=True)
        self._pipeline: Any = None
        self._cache = self._new_cache()
        self.all_outputs = tuple(name for f in self.graph.functions for name in f.output_names)
        self.output_name = self._checked(output_name)
        self.given_name = given_name
        self.__name__ = self.__qualname__ = given_name or "_".join(["NestedPipeFunc", *self.output_names])

    def _checked(self, output_name: object) -> OutputName:
        if output_name is None:
            return self.all_outputs
        if not isinstance(output_name, str | tuple):
            message = f"the output name must be a str, a tuple of str or None, got {output_name!r}"
            raise InvalidTypeError(message, detail=output_name)
        names = (output_name,) if isinstance(output_name, str) else output_name
        unknown = [name for name in names if name not in self.all_outputs]
        if unknown:
            message = f"{unknown} are no outputs of the nested functions, which are {self.all_outputs}"
            raise InvalidValueError(message, detail=unknown)
        return output_name

    def _new_cache(self) -> CacheBase | None:
        # Of this process alone: a shared one would start a process, here and in each worker.
        is_cached = any(function.cache for function in self._functions)
        return LRUCache(shared=False) if is_cached else None

    @property
    def functions(self) -> tuple[AnyFunc, ...]:
        """The functions, in the order in which they were given."""
        return self._functions if self._pipeline is None else tuple(self._pipeline.functions)

    @property
    def graph(self) -> FunctionGraph:
        """The graph of the functions."""
        if self._pipeline is not None:
            graph: FunctionGraph = self._pipeline.function_graph
            return graph
        if self._graph is None:
            self._graph = build_graph(self._functions)
        return self._graph

    @property
    def pipeline(self) -> Any:
        """The functions as a pipeline, made when first asked for, and used by calls from then on."""
        if self._pipeline is None:
            if not _pipeline_factories:
                message = "nothing was registered to make pipelines of functions"
                raise OperationError(message, hint="Import pipefunc_c.")
            pipeline = _pipeline_factories[0](list(self._functions))
            for function, copy in zip(self._functions, pipeline.functions, strict=True):
                copy.error_snapshot = function.error_snapshot
            self._pipeline = pipeline
        return self._pipeline

    def hand_on(self, resources: Resources | ResourcesCallable | None) -> None:
        """Give resources to all functions, in the place of their own.

        Parameters
        ----------
        resources
            The resources.

        """
        for function in self.functions:
            function.resources = resources
        if self._graph is not None:
            self._graph.plans.clear()  # which know how each function was called before

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs, always as a tuple."""
        return (self.output_name,) if isinstance(self.output_name, str) else self.output_name

    def __call__(self, /, **kwargs: Any) -> Any:
        """Run all functions.

        Parameters
        ----------
        **kwargs
            Values of the root arguments.

        Returns
        -------
        Any
            The output, or a tuple of them.

        """
        values = run(self.graph, None, kwargs, full_output=True, cache=self._cache)
        if isinstance(self.output_name, str):
            return values[self.output_name]
        return tuple([values[name] for name in self.output_name])

    @cached_property
    def native_signature(self) -> NativeSignature:
        """The root arguments, sorted; they are all given by keyword."""
        graph = self.graph
        factories = frozenset(name for f in graph.functions for name in f.own_defaults)
        kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
        parameters = {
            name: named_parameter(name, kind, graph.defaults.get(name, empty)) for name in graph.root_args
        }
        defaults = {name: graph.defaults[name] for name in graph.root_args if name in graph.defaults}
        return NativeSignature(parameters, defaults, factories & defaults.keys(), (), open_ended=False)

    @cached_property
    def __signature__(self) -> inspect.Signature:
        hints = {name: hint for f in reversed(self.graph.functions) for name, hint in _free_hints(f).items()}
        parameters = [
            named_parameter(name, parameter.kind, parameter.default, hints.get(name))
            for name, parameter in self.native_signature.parameters.items()
        ]
        produced = {name: hint for f in self.graph.functions for name, hint in f.output_annotation.items()}
        returned: Any = inspect.Signature.empty
        if not isinstance(self.output_name, str):
            returned = tuple[tuple(produced[name] for name in self.output_name)]  # type: ignore[misc]
        elif produced[self.output_name] is not NoAnnotation:
            returned = produced[self.output_name]
        return inspect.Signature(parameters, return_annotation=returned)

    def copy(self) -> NestedCall:
        """Return a copy with copies of the functions."""
        new = object.__new__(NestedCall)
        new.__setstate__(self.__getstate__())
        new._functions = tuple(function.copy() for function in self.functions)
        return new

    @property
    def code_parts(self) -> tuple[Any, ...]:
        """All that decides what a call does: per function the callable, and how it is connected."""
        return tuple(
            (
                _identified(f.func),
                f.output_names,
                list(f.native_names.items()),
                list(f.binding.native_bound.items()),
                list(f.binding.native_defaults.items()),
                f.output_picker,
                *([] if f.resources_variable is None else [f.resources_variable, repr(f.resources)]),
            )
            for f in self.functions
        )

    def __pipefunc_hash__(self) -> str:
        """Return a digest of `code_parts`, for caches."""
        return f"{self.output_name!r} {code_identity(self).digest}"

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_graph", "_pipeline", "_cache", "native_signature", "__signature__")
        state = {name: value for name, value in self.__dict__.items() if name not in derived}
        return {**state, "_functions": self.functions}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _graph=None, _pipeline=None)
        self._cache = self._new_cache()


def _inner_copy(function: AnyFunc) -> AnyFunc:
    copy = function.copy()
    copy.mapspec = None
    copy.print_error = False
    return copy


def _free_hints(function: AnyFunc) -> dict[str, Any]:
    hints = function.parameter_annotations
    return {name: hint for name, hint in hints.items() if name not in function.bound}


def _identified(func: Callable[..., Any]) -> Any:
    own = getattr(func, "__pipefunc_hash__", None)
    return func if own is None or isinstance(func, NestedCall) else own()
