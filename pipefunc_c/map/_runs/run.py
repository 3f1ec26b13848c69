"""The entry of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c.map._engine.durable import DurableRun, describe_plan
from pipefunc_c.map._run_folder.run_info import register_creator
from pipefunc_c.map._runs.map_run import MapRun, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c.map._engine.options import ErrorHandling, SchedulingStrategy
    from pipefunc_c.map._results.outputs import ResultDict
    from pipefunc_c.map._run_folder.run_folder import ResumeValidation
    from pipefunc_c.map._run_folder.run_info import RunInfo
    from pipefunc_c.map._runs.map_run import Mappable


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
    timeout: float | Mapping[str | tuple[str, ...], float | None] | None = None,
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
        True shows a widget in a notebook and bars elsewhere, None a widget in a notebook and nothing
        elsewhere, "ipywidgets" a widget, "rich" bars, "headless" and False nothing.
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
    timeout
        Seconds that one element may take, or a dict of these by output. The worker of one that takes longer
        is killed and replaced, and the element fails with ElementTimeoutError; only worker processes of ours
        can do that.

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
    plan = make_plan(
        pipeline,
        inputs,
        run_folder,
        output_names=output_names,
        auto_subpipeline=auto_subpipeline,
        cleanup=cleanup,
        parallel=parallel,
        executor=executor,
        chunksizes=chunksizes,
        storage=storage,
        internal_shapes=internal_shapes,
        fixed_indices=fixed_indices,
        show_progress=show_progress,
        return_results=return_results,
        resume=resume,
        resume_validation=resume_validation,
        persist_memory=persist_memory,
        sync=sync,
        retry_errors=retry_errors,
        timeout=timeout,
        error_handling=error_handling,
        scheduling_strategy=scheduling_strategy,
    )
    return MapRun(plan, pipeline.cache).run()


def _create_run(
    run_folder: str | Path | None,
    pipeline: Mappable,
    inputs: Mapping[str, Any],
    internal_shapes: Mapping[str, Any] | None,
    options: dict[str, Any],
) -> RunInfo:
    """Do what `RunInfo.create` says."""
    plan = make_plan(pipeline, inputs, run_folder, internal_shapes=internal_shapes, **options)
    if plan.options.run_folder is None:
        return describe_plan(plan)
    durable = DurableRun(plan, plan.options.run_folder, plan.options)
    durable.close()
    return durable.info


register_creator(_create_run)
