"""`Pipeline`: the object that users hold. Its methods delegate to the layers below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._function.pipefunc import PipeFunc, Revision
from pipefunc_c._graph.evaluate import run
from pipefunc_c._graph.select import functions_between
from pipefunc_c._pipeline.callable import PipelineFunction
from pipefunc_c._pipeline.editing import EditablePipeline
from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.map._run import run_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pipefunc_c._graph.graph import AnyFunc, OutputName
    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c.map._options import ErrorHandling, SchedulingStrategy
    from pipefunc_c.map._outputs import ResultDict
    from pipefunc_c.map._run_folder import ResumeValidation


class Pipeline(EditablePipeline):
    """Connect functions by the names of their parameters and outputs.

    Parameters
    ----------
    functions
        `PipeFunc` objects, plain functions (the output gets the name of the function), or tuples of one of
        them and a mapspec. Each is copied, so that changes here do not change the original.
    debug, print_error
        If not None, set for every function.
    scope
        Put before all names, as `update_scope` does.
    name, description
        For people.

    Raises
    ------
    GraphError
        If output names are not unique, functions depend on each other in a cycle, a scope is also a name, or
        functions have different defaults for the same input.
    MapSpecError
        If the mapspecs disagree.
    InvalidTypeError
        If a function is not callable.

    Examples
    --------
    >>> def y(x):
    ...     return x + 1
    >>> def z(y, k=2):
    ...     return k * y
    >>> pipeline = Pipeline([y, z])
    >>> pipeline(x=1), pipeline("y", x=1)
    (4, 2)

    """

    def __init__(  # noqa: PLR0913  the keywords are the public interface
        self,
        functions: Iterable[AnyFunc | Callable[..., Any] | tuple[Any, str | MapSpec]],
        *,
        debug: bool | None = None,
        print_error: bool | None = None,
        scope: str | None = None,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        self.name = name
        self.description = description
        self._callables: dict[object, PipelineFunction] = {}
        super().__init__(debug, print_error)
        self._rebuild([self._adopt(f) for f in functions])
        if scope is not None:
            self.update_scope(scope, "*", "*")

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
        return run(graph, output_name, kwargs)

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
        >>> def y(x):
        ...     return x + 1
        >>> Pipeline([y]).run("y", {"x": 1}, full_output=True)
        {'x': 1, 'y': 2}

        """
        graph = self.function_graph
        return run(graph, output_name, kwargs or {}, full_output=full_output, allow_unused=allow_unused)

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
        scheduling_strategy, sync, retry_errors
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

    def copy(self, **update: Any) -> Pipeline:
        """Return a copy, with other options if any are given.

        Parameters
        ----------
        **update
            Keywords of the constructor.

        Returns
        -------
        Pipeline
            The copy, with copies of the functions.

        """
        options = {
            "functions": self._functions,
            "debug": self._debug,
            "print_error": self._print_error,
            "name": self.name,
            "description": self.description,
        }
        return type(self)(**{**options, **update})

    def join(self, *pipelines: Pipeline | AnyFunc) -> Pipeline:
        """Return a pipeline with the functions of this one and of others.

        Parameters
        ----------
        *pipelines
            Pipelines or `PipeFunc` objects.

        Returns
        -------
        Pipeline
            A new pipeline.

        Raises
        ------
        InvalidTypeError
            If something else is given.
        GraphError, MapSpecError
            If the functions do not fit together.

        """
        functions = list(self._functions)
        others: tuple[object, ...] = pipelines
        for other in others:
            if isinstance(other, Pipeline):
                functions += other.functions
            elif isinstance(other, PipeFunc):
                functions.append(other)
            else:
                message = f"only pipelines and PipeFunc objects can be joined, got {other!r}"
                raise InvalidTypeError(message, detail=other)
        return self.copy(functions=functions)

    def __or__(self, other: Pipeline | AnyFunc) -> Pipeline:
        return self.join(other)

    def subpipeline(
        self,
        inputs: Iterable[str] | None = None,
        output_names: OutputName | Iterable[OutputName] | None = None,
    ) -> Pipeline:
        """Return the part that leads from some inputs to some outputs.

        Parameters
        ----------
        inputs
            Root arguments and intermediate outputs that will be given; None: all root arguments.
        output_names
            What will be wanted; None: the last outputs that depend on `inputs`.

        Returns
        -------
        Pipeline
            A new pipeline with copies of the functions of this part.

        Raises
        ------
        InputError
            If neither is given, an input does not exist, or the inputs are not enough.
        UnknownNameError
            If an output does not exist.

        """
        given = {inputs} if isinstance(inputs, str) else inputs if inputs is None else set(inputs)
        targets = [output_names] if isinstance(output_names, str | tuple) else output_names
        return self.copy(functions=functions_between(self.function_graph, given, targets))

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_graph", "_built", "_callables", "_revision")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _callables={}, _revision=Revision(), _built=-1)
