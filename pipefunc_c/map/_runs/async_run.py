"""The entry of a map that runs in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c.map._runs.async_map import AsyncMap
from pipefunc_c.map._runs.map_run import MapRun, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c.map._engine.options import ErrorHandling, SchedulingStrategy
    from pipefunc_c.map._run_folder.run_folder import ResumeValidation
    from pipefunc_c.map._runs.map_run import Mappable


def run_map_async(  # noqa: PLR0913  these are the options that users know
    pipeline: Mappable,
    inputs: Mapping[str, Any],
    run_folder: str | Path | None = None,
    internal_shapes: Mapping[str, Dimension | tuple[Dimension, ...]] | None = None,
    *,
    output_names: str | Iterable[str | tuple[str, ...]] | None = None,
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
    display_widgets: bool = True,
    start: bool = True,
) -> AsyncMap:
    """Run a pipeline over arrays in the background of an event loop.

    What is wrong with the options and the inputs is said at once. All else happens in a thread of its own and
    in worker processes, also for functions that are called once: the event loop stays free.

    Parameters
    ----------
    pipeline, inputs, run_folder, internal_shapes, output_names, executor, chunksizes, storage
        As for `pipefunc_c.map.run_map`.
    persist_memory, cleanup, resume, resume_validation, fixed_indices, auto_subpipeline
        As for `pipefunc_c.map.run_map`.
    return_results, error_handling, scheduling_strategy, sync, retry_errors, timeout
        As for `pipefunc_c.map.run_map`.
    show_progress
        As for `pipefunc_c.map.run_map`; unless it is False, counts are kept, and with a run folder written to
        ``pipefunc_status.json``.
    display_widgets
        In a notebook, whether to show the state of the map when it starts.
    start
        Whether to start it now. Where no event loop runs, it is not started and a warning says so.

    Returns
    -------
    AsyncMap
        ``await runner.task`` gives the results; ``runner.result()`` does where no event loop runs.

    Raises
    ------
    PipefuncError
        As `pipefunc_c.map.run_map`, as far as that is known before the run.

    Warns
    -----
    UserWarning
        If no event loop runs.

    Examples
    --------
    >>> from pipefunc_c import Pipeline, pipefunc
    >>> from pipefunc_c.map import run_map_async
    >>> @pipefunc("z", mapspec="x[i], y[j] -> z[i, j]")
    ... def product(x, y):
    ...     return x * y
    >>> async def main():
    ...     runner = run_map_async(Pipeline([product]), {"x": [1, 2], "y": [3, 4]})
    ...     results = await runner.task
    ...     print(results["z"].array)
    >>> import asyncio
    >>> asyncio.run(main())
    [[3 4]
     [6 8]]
    """
    plan = make_plan(
        pipeline,
        inputs,
        run_folder,
        output_names=output_names,
        auto_subpipeline=auto_subpipeline,
        cleanup=cleanup,
        copies=True,
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
    runner = AsyncMap(MapRun(plan, pipeline.cache, is_async=True), display_widgets=display_widgets)
    return runner.start() if start else runner
