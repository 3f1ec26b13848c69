"""The entry of a map."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pipefunc_c._describe import short_repr
from pipefunc_c._function.names import flatten_scopes
from pipefunc_c._storage.base import storage_class
from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.map._driver import run_inline
from pipefunc_c.map._durable import DurableRun
from pipefunc_c.map._executor_driver import ExecutorDriver
from pipefunc_c.map._options import ErrorHandling, RunOptions, SchedulingStrategy
from pipefunc_c.map._outputs import Result, ResultDict
from pipefunc_c.map._plan import Plan
from pipefunc_c.map._pool_driver import PoolDriver
from pipefunc_c.map._progress import make_progress
from pipefunc_c.parallel._environment import available_cores, can_start_workers, is_worker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pipefunc_c._graph.graph import FunctionGraph
    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c.map._run_folder import ResumeValidation


class Mappable(Protocol):
    """What a map needs of a pipeline."""

    @property
    def function_graph(self) -> FunctionGraph:
        """The functions."""

    @property
    def scopes(self) -> set[str]:
        """The scopes of their parameters."""

    def subpipeline(self, inputs: set[str] | None = None, output_names: set[str] | None = None) -> Mappable:
        """Give the part between these inputs and outputs."""


def run_map(  # noqa: PLR0913  these are the options that users know
    pipeline: Mappable,
    inputs: Mapping[str, Any],
    run_folder: str | Path | None = None,
    internal_shapes: Mapping[str, Dimension | tuple[Dimension, ...]] | None = None,
    *,
    output_names: str | Iterable[str | tuple[str, ...]] | None = None,
    parallel: bool = True,
    executor: Any = None,
    chunksizes: Any = None,
    storage: str | Mapping[str | tuple[str, ...], str] | None = None,
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
    """Run a pipeline over arrays.

    Parameters
    ----------
    pipeline
        The pipeline.
    inputs
        Value per root argument: a list, a range or anything with a shape where it is mapped over. Arguments
        in a scope may be given as ``{"scope": {"name": value}}``. A pydantic model will do as well.
    run_folder
        Folder for the results. What is computed is committed to it lease by lease and survives a crash.
    internal_shapes
        Per output, sizes of the axes that the function itself returns; ``"?"`` for unknown. Wins over
        ``PipeFunc.internal_shape``.
    output_names
        Compute only these outputs and what they need.
    parallel
        Run in worker processes on all cores. In a worker, on a single core, and where nothing can run at
        once, the map runs in this thread.
    executor
        Where to run: a ``concurrent.futures.Executor`` or a dict of these by output with ``""`` for all
        others. Threads share the memory of this process; other executors get pickled chunks. An executor that
        was passed in is not shut down.
    chunksizes
        Elements per task of an executor: an int, a callable that gives one for a number of elements, None, or
        a dict of these by output. Our own workers cut their work by time and do not need it.
    storage
        Id of a storage, or a dict of these by output with ``""`` for all others; by default ``"array"``, with
        a run folder ``"file_array"``.
    persist_memory
        Write what storages hold in memory to the run folder at the end.
    cleanup
        Deprecated: ``resume=not cleanup``.
    resume
        Keep the results in the run folder and compute only what is missing; else the folder is cleared, if it
        holds a run of ours and nothing else.
    resume_validation
        "auto" refuses other inputs and warns of edited functions, "strict" refuses these and what cannot be
        compared as well, "skip" looks at neither.
    fixed_indices
        Run only these indices: an int or a slice per axis name. Other elements are missing.
    auto_subpipeline
        Allow outputs among the inputs: what they need is not computed.
    show_progress
        True or "rich" shows bars, "headless" only counts, None and False do nothing.
    return_results
        Give an empty ResultDict if False.
    error_handling
        "raise" stops at the first error. "continue" stores an ErrorSnapshot in the place of a failed element
        and a PropagatedErrorSnapshot where an input was an error.
    scheduling_strategy
        "generation" starts functions when the whole generation before is done, "eager" each function when
        what it needs is.
    sync
        Force what is committed to the disk at most this often, in seconds, against power failures; None
        leaves that to the system. A crash of the program needs no sync.
    retry_errors
        With ``resume=True``, also compute again the elements whose stored result is an error.

    Returns
    -------
    ResultDict
        One result per output.

    Raises
    ------
    InputError
        If inputs are missing or unknown.
    ShapeError
        If sizes of axes do not match.
    InvalidTypeError
        If a mapped input is a scalar, str or tuple.
    InvalidValueError
        If an option has a value that is not allowed.
    Exception
        What the first failing element raised, with a note that names it.

    Examples
    --------
    >>> from pipefunc_c import Pipeline, pipefunc
    >>> from pipefunc_c.map import run_map
    >>> @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
    ... def product(x, y):
    ...     return x * y
    >>> run_map(Pipeline([product]), {"x": [1, 2], "y": [3, 4]})["z"].array
    array([[3, 4],
           [6, 8]])
    """
    options = RunOptions(
        parallel=parallel,
        executor=executor,
        chunksizes=chunksizes,
        storage=storage,
        internal_shapes=internal_shapes,
        fixed_indices=fixed_indices,
        show_progress=show_progress,
        return_results=return_results,
        run_folder=_needed_folder(run_folder, storage),
        resume=resume if cleanup is None else _resume_of(cleanup),
        resume_validation=resume_validation,
        persist_memory=persist_memory,
        sync=sync,
        retry_errors=retry_errors,
        error_handling=error_handling,
        scheduling_strategy=scheduling_strategy,
    )
    given = _inputs_by_name(inputs, pipeline.scopes)
    graph = pipeline.function_graph
    if auto_subpipeline and any(name in graph.producers for name in given):
        wanted = None if output_names is None else _single_names(output_names)
        graph = pipeline.subpipeline(inputs=set(given), output_names=wanted).function_graph
    elif output_names is not None:
        graph = graph.subgraph(_single_names(output_names))
    return map_graph(graph, given, options)


def _needed_folder(
    run_folder: str | Path | None, storage: str | Mapping[str | tuple[str, ...], str] | None
) -> str | Path | None:
    """Give the run folder, or a temporary one for a storage that cannot do without."""
    ids = storage.values() if isinstance(storage, Mapping) else [storage]
    if run_folder is None and any(storage_class(each).requires_serialization for each in ids if each):
        run_folder = tempfile.mkdtemp(prefix="pipefunc_c-")
        warnings.warn(
            f"storage {storage!r} needs a run_folder; using the temporary folder {run_folder!r}",
            UserWarning,
            stacklevel=4,
        )
    return run_folder


def _resume_of(cleanup: bool) -> bool:
    warnings.warn("cleanup is deprecated; use resume=not cleanup", DeprecationWarning, stacklevel=4)
    return not cleanup


def _inputs_by_name(inputs: Any, scopes: set[str]) -> dict[str, Any]:
    if hasattr(type(inputs), "model_fields"):
        inputs = {name: getattr(inputs, name) for name in type(inputs).model_fields}
    if not isinstance(inputs, Mapping):
        raise InvalidTypeError(f"inputs are {short_repr(inputs)}, expected a dict or a pydantic model")
    return flatten_scopes(inputs, scopes)


def _single_names(names: str | Iterable[str | tuple[str, ...]]) -> set[str]:
    given = [names] if isinstance(names, str) else list(names)
    return {single for name in given for single in (name if isinstance(name, tuple) else (name,))}


def map_graph(graph: FunctionGraph, inputs: Mapping[str, Any], options: RunOptions) -> ResultDict:
    """Run a graph of functions over arrays.

    Parameters
    ----------
    graph
        The functions.
    inputs
        Values of the root arguments, by full names.
    options
        The options.

    Returns
    -------
    ResultDict
        One result per output; empty if the options say so.
    """
    plan = Plan(graph, inputs, options)
    if options.run_folder is not None:
        plan.durable = DurableRun(plan, options.run_folder, options)
    bars = [(", ".join(stage.func.output_names), None) for stage in plan.stages]
    progress = make_progress(options.show_progress, bars)
    completed = False
    progress.start()
    try:
        n_workers = worker_count(plan)
        if options.executor is not None:
            executors = options.executor_of(graph.functions)
            ExecutorDriver(plan, progress, executors, options.chunksize_of(graph.functions)).run()
        elif n_workers:
            PoolDriver(plan, progress, n_workers).run()
        else:
            run_inline(plan, progress)
        if plan.durable is not None:
            plan.durable.complete()
        completed = True
    finally:
        progress.finish(error=not completed)
        if plan.durable is not None:
            plan.durable.close()
    return collect_results(plan) if options.return_results else ResultDict()


def worker_count(plan: Plan) -> int:
    """Give the number of worker processes that a run is worth; 0 to run it in this thread.

    Nothing is gained where no two elements can run at once, on a single core, and inside of a worker, whose
    neighbours use the other cores already.
    """
    generations = plan.graph.generations
    can_overlap = any(stage.is_mapped for stage in plan.stages) or any(len(each) > 1 for each in generations)
    if not plan.options.parallel or not can_overlap or is_worker() or not can_start_workers():
        return 0
    cores = available_cores()
    return cores if cores > 1 else 0


def collect_results(plan: Plan) -> ResultDict:
    """Give a Result for each output of a plan that has run."""
    results = ResultDict()
    for stage in plan.stages:
        func = stage.func
        kwargs = {
            name: func.bound[name] if name in func.bound else plan.values.get(name, plan.stores.get(name))
            for name in func.parameters
            if name in func.bound or name in plan.values or name in plan.stores
        }
        for name in func.output_names:
            results[name] = Result(func.__name__, kwargs, name, plan.stores[name], is_mapped=stage.is_mapped)
    return results
