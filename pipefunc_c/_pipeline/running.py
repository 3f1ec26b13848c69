"""Running a pipeline: once, as a function, or over arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._graph.evaluate import run
from pipefunc_c._pipeline.callable import PipelineFunction
from pipefunc_c._pipeline.joining import JoiningMethods
from pipefunc_c.cache._make import make_cache
from pipefunc_c.map._runs.async_run import run_map_async
from pipefunc_c.map._runs.run import run_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pipefunc_c._graph.graph import FunctionGraph, OutputName
    from pipefunc_c._pipeline.options import FunctionOptions
    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c.cache._base import CacheBase
    from pipefunc_c.cache._make import CacheType
    from pipefunc_c.map._engine.options import ErrorHandling, SchedulingStrategy
    from pipefunc_c.map._results.outputs import ResultDict
    from pipefunc_c.map._run_folder.run_folder import ResumeValidation
    from pipefunc_c.map._runs.async_map import AsyncMap


class RunningMethods(JoiningMethods):
    """Run a pipeline; a base of `Pipeline`."""

    def __init__(
        self,
        options: FunctionOptions,
        *,
        validate_type_annotations: bool,
        lazy: bool,
        cache_type: CacheType | None,
        cache_kwargs: Mapping[str, Any] | None,
    ) -> None:
        self.lazy = lazy
        self._cache_type = cache_type
        self._cache_kwargs = cache_kwargs
        self._cache = make_cache(cache_type, cache_kwargs, any_function_cached=False)
        self._callables: dict[object, PipelineFunction] = {}
        super().__init__(options, validate_type_annotations)

    def _use(self, graph: FunctionGraph) -> None:
        super()._use(graph)
        if self._cache is None and any(function.cache for function in graph.defined):
            self._cache = make_cache(None, self._cache_kwargs, any_function_cached=True)

    @property
    def cache(self) -> CacheBase | None:
        """The cache of the functions with ``cache=True``; None if there is none."""
        if self._built != self._revision.number:
            _ = self.function_graph  # a function that came with a change may be the first one
        return self._cache

    def __call__(self, output_name: OutputName | list[OutputName] | None = None, /, **kwargs: Any) -> Any:
        """Compute an output; short for `run`.

        Parameters
        ----------
        output_name
            As for `run`.
        **kwargs
            Values by name.

        Returns
        -------
        Any
            The output.

        """
        graph = self._graph if self._built == self._revision.number else self.function_graph
        return run(graph, output_name, kwargs, cache=self._cache, lazy=self.lazy)

    def run(
        self,
        output_name: OutputName | list[OutputName] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        full_output: bool = False,
        allow_unused: bool = False,
    ) -> Any:
        """Compute outputs by calling each needed function once.

        Parameters
        ----------
        output_name
            A name; a tuple of all names of one function, for what it returned; a list of those; None for
            the outputs that no other function takes.
        kwargs
            Value per root argument; also per intermediate output, which is then not computed. Those of a
            scope may be given together as a dict. For each parameter a bound value goes before a given one,
            that before an upstream output, and that before a default.
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
            If a function that would run has a mapspec; use `map`.

        Examples
        --------
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> def y(x):
        ...     return x + 1
        >>> Pipeline([y]).run("y", {"x": 1}, full_output=True)
        {'x': 1, 'y': 2}

        """
        graph = self.function_graph
        return run(
            graph,
            output_name,
            kwargs or {},
            full_output=full_output,
            allow_unused=allow_unused,
            cache=self._cache,
            lazy=self.lazy,
        )

    def map(  # noqa: PLR0913  these are the options that users know
        self,
        inputs: Mapping[str, Any],
        run_folder: str | Path | None = None,
        internal_shapes: Mapping[str, Dimension | tuple[Dimension, ...]] | None = None,
        *,
        output_names: str | Iterable[OutputName] | None = None,
        parallel: bool = True,
        executor: Any = None,
        chunksizes: Any = None,
        storage: str | Mapping[OutputName, str] | None = None,
        persist_memory: bool = True,
        cleanup: bool | None = None,
        resume: bool = False,
        resume_validation: ResumeValidation = "auto",
        fixed_indices: Mapping[str, int | slice] | None = None,
        auto_subpipeline: bool = False,
        show_progress: bool | str | None = None,
        return_results: bool = True,
        error_handling: ErrorHandling = "raise",
        scheduling_strategy: SchedulingStrategy = "generation",
        sync: float | None = None,
        retry_errors: bool = False,
        timeout: float | Mapping[str | tuple[str, ...], float | None] | None = None,
    ) -> ResultDict:
        """Run the pipeline over arrays; all arguments are those of `pipefunc_c.map.run_map`.

        Parameters
        ----------
        inputs, run_folder, internal_shapes, output_names
            As for `pipefunc_c.map.run_map`.
        parallel, executor, chunksizes, storage, persist_memory, cleanup, resume, resume_validation
            As for `pipefunc_c.map.run_map`.
        fixed_indices, auto_subpipeline, show_progress, return_results, error_handling
            As for `pipefunc_c.map.run_map`.
        scheduling_strategy, sync, retry_errors, timeout
            As for `pipefunc_c.map.run_map`.

        Returns
        -------
        ResultDict
            One result per output.

        Raises
        ------
        PipefuncError
            As `pipefunc_c.map.run_map`.

        Examples
        --------
        >>> from pipefunc_c._function.pipefunc import PipeFunc
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> pipeline = Pipeline([(PipeFunc(lambda x: 2 * x, "y"), "x[i] -> y[i]")])
        >>> pipeline.map({"x": [1, 2, 3]})["y"].output.tolist()
        [2, 4, 6]

        """
        return run_map(
            self,
            inputs,
            run_folder,
            internal_shapes,
            output_names=output_names,
            parallel=parallel,
            executor=executor,
            chunksizes=chunksizes,
            storage=storage,
            persist_memory=persist_memory,
            cleanup=cleanup,
            resume=resume,
            resume_validation=resume_validation,
            fixed_indices=fixed_indices,
            auto_subpipeline=auto_subpipeline,
            show_progress=show_progress,
            return_results=return_results,
            error_handling=error_handling,
            scheduling_strategy=scheduling_strategy,
            sync=sync,
            retry_errors=retry_errors,
            timeout=timeout,
        )

    def map_async(  # noqa: PLR0913  these are the options that users know
        self,
        inputs: Mapping[str, Any],
        run_folder: str | Path | None = None,
        internal_shapes: Mapping[str, Dimension | tuple[Dimension, ...]] | None = None,
        *,
        output_names: str | Iterable[OutputName] | None = None,
        executor: Any = None,
        chunksizes: Any = None,
        storage: str | Mapping[OutputName, str] | None = None,
        persist_memory: bool = True,
        cleanup: bool | None = None,
        resume: bool = False,
        resume_validation: ResumeValidation = "auto",
        fixed_indices: Mapping[str, int | slice] | None = None,
        auto_subpipeline: bool = False,
        show_progress: bool | str | None = None,
        return_results: bool = True,
        error_handling: ErrorHandling = "raise",
        scheduling_strategy: SchedulingStrategy = "generation",
        sync: float | None = None,
        retry_errors: bool = False,
        timeout: float | Mapping[str | tuple[str, ...], float | None] | None = None,
        display_widgets: bool = True,
        start: bool = True,
    ) -> AsyncMap:
        """Run the pipeline over arrays in the background of an event loop.

        Parameters
        ----------
        inputs, run_folder, internal_shapes, output_names
            As for `pipefunc_c.map.run_map`.
        executor, chunksizes, storage, persist_memory, cleanup, resume, resume_validation
            As for `pipefunc_c.map.run_map`.
        fixed_indices, auto_subpipeline, show_progress, return_results, error_handling
            As for `pipefunc_c.map.run_map`.
        scheduling_strategy, sync, retry_errors, timeout
            As for `pipefunc_c.map.run_map`.
        display_widgets, start
            As for `pipefunc_c.map.run_map_async`.

        Returns
        -------
        AsyncMap
            ``await runner.task`` gives the results; ``runner.result()`` does where no event loop runs.

        Raises
        ------
        PipefuncError
            As `pipefunc_c.map.run_map_async`.

        Examples
        --------
        >>> from pipefunc_c._function.pipefunc import PipeFunc
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> pipeline = Pipeline([(PipeFunc(lambda x: 2 * x, "y"), "x[i] -> y[i]")])
        >>> pipeline.map_async({"x": [1, 2, 3]}, start=False).result()["y"].output.tolist()
        [2, 4, 6]

        """
        return run_map_async(
            self,
            inputs,
            run_folder,
            internal_shapes,
            output_names=output_names,
            executor=executor,
            chunksizes=chunksizes,
            storage=storage,
            persist_memory=persist_memory,
            cleanup=cleanup,
            resume=resume,
            resume_validation=resume_validation,
            fixed_indices=fixed_indices,
            auto_subpipeline=auto_subpipeline,
            show_progress=show_progress,
            return_results=return_results,
            error_handling=error_handling,
            scheduling_strategy=scheduling_strategy,
            sync=sync,
            retry_errors=retry_errors,
            timeout=timeout,
            display_widgets=display_widgets,
            start=start,
        )

    def func(self, output_name: OutputName | list[OutputName] | None = None) -> PipelineFunction:
        """Return a function that computes an output from keywords.

        Parameters
        ----------
        output_name
            As for `run`.

        Returns
        -------
        PipelineFunction
            The function; the same object for the same output.

        Raises
        ------
        UnknownNameError
            If there is no such output.

        """
        key = ("list", *output_name) if isinstance(output_name, list) else output_name
        function = self._callables.get(key)
        if function is None:
            if output_name is not None:
                self.function_graph.needed(output_name)
            function = self._callables[key] = PipelineFunction(self, output_name)
        return function
