"""One run of a map: planned where it was called, run in this thread or in another."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipefunc_c._describe import short_repr
from pipefunc_c._function.names import flatten_scopes
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._storage.base import storage_class
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.map._engine.cancel import CancelToken, RunCancelledError
from pipefunc_c.map._engine.driver import run_inline
from pipefunc_c.map._engine.durable import DurableRun, describe_plan
from pipefunc_c.map._engine.options import RunOptions, options_of_part
from pipefunc_c.map._engine.plan import Plan
from pipefunc_c.map._executors.executor_driver import ExecutorDriver
from pipefunc_c.map._processes.pool_driver import PoolDriver
from pipefunc_c.map._progress.progress_choice import make_progress
from pipefunc_c.map._results.origin import MapOrigin
from pipefunc_c.map._results.outputs import Result, ResultDict
from pipefunc_c.map._stages.cached_calls import cached_calls
from pipefunc_c.parallel._environment import available_cores, can_start_workers, is_worker
from pipefunc_c.parallel._forkserver import fork_server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipefunc_c.cache._base import CacheBase
    from pipefunc_c.map._run_folder.run_info import RunInfo

RunState = Literal["pending", "running", "completed", "failed", "cancelled"]


class Mappable(Protocol):
    """What a map needs of a pipeline."""

    @property
    def function_graph(self) -> FunctionGraph:
        """The functions."""

    @property
    def scopes(self) -> set[str]:
        """The scopes of their parameters."""

    @property
    def cache(self) -> CacheBase | None:
        """Where results of cached functions are kept."""

    def subpipeline(self, inputs: set[str] | None = None, output_names: set[str] | None = None) -> Mappable:
        """Give the part between these inputs and outputs."""


def make_plan(
    pipeline: Mappable,
    inputs: Mapping[str, Any],
    run_folder: str | Path | None = None,
    *,
    output_names: str | Iterable[str | tuple[str, ...]] | None = None,
    auto_subpipeline: bool = False,
    cleanup: bool | None = None,
    copies: bool = False,
    **options: Any,
) -> Plan:
    """Check what a map was given, and plan it; nothing is computed or written.

    Parameters
    ----------
    pipeline, inputs, run_folder, output_names, auto_subpipeline, cleanup
        As for `pipefunc_c.map.run_map`.
    copies
        Whether to plan with copies of the functions, so that the pipeline may be changed meanwhile.
    options
        Those of `RunOptions`.

    Returns
    -------
    Plan
        For a `MapRun`.
    """
    if cleanup is not None:
        warnings.warn("cleanup is deprecated; use resume=not cleanup", DeprecationWarning, stacklevel=4)
        options["resume"] = not cleanup
    given = _inputs_by_name(inputs, pipeline.scopes)
    graph = pipeline.function_graph
    if (auto_subpipeline or output_names is not None) and any(name in graph.producers for name in given):
        wanted = None if output_names is None else _single_names(output_names)
        graph = pipeline.subpipeline(inputs=set(given), output_names=wanted).function_graph
    elif output_names is not None:
        graph = graph.subgraph(_single_names(output_names))
    options = options_of_part(options, pipeline.function_graph.functions, graph.functions)
    checked = RunOptions(run_folder=_needed_folder(run_folder, options.get("storage")), **options)
    if not copies:
        return Plan(graph, given, checked)
    plan = Plan(FunctionGraph([func.copy() for func in graph.defined]), given, checked)
    plan.originals = graph.functions
    return plan


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
            stacklevel=5,
        )
    return run_folder


def _inputs_by_name(inputs: Any, scopes: set[str]) -> dict[str, Any]:
    if hasattr(type(inputs), "model_fields"):
        inputs = {name: getattr(inputs, name) for name in type(inputs).model_fields}
    if not isinstance(inputs, Mapping):
        raise InvalidTypeError(f"inputs are {short_repr(inputs)}, expected a dict or a pydantic model")
    return flatten_scopes(inputs, scopes)


def _single_names(names: str | Iterable[str | tuple[str, ...]]) -> set[str]:
    given = [names] if isinstance(names, str) else list(names)
    return {single for name in given for single in (name if isinstance(name, tuple) else (name,))}


class MapRun:
    """Run a plan once: open its folder, drive it, complete the folder, collect the results.

    Parameters
    ----------
    plan
        What to run.
    cache
        Where results of functions with ``cache=True`` are kept.
    is_async
        Whether the run goes on beside an event loop. Functions then run in worker processes also where
        nothing is gained by that: here a builtin could hold up the loop, and nothing could stop it.

    Attributes
    ----------
    state : str
        ``"pending"``, ``"running"``, ``"completed"``, ``"failed"`` or ``"cancelled"``.
    """

    def __init__(self, plan: Plan, cache: CacheBase | None = None, *, is_async: bool = False) -> None:
        self.plan = plan
        self.name = ", ".join(plan.stages[-1].func.output_names) if plan.stages else "map"
        self.state: RunState = "pending"
        self._cache = cache
        self._info: RunInfo | None = None  # when it is over
        folder = plan.options.run_folder
        self._folder = None if folder is None else Path(folder).absolute()
        options, functions = plan.options, plan.graph.functions
        brings_workers = options.worker_pool is not None or options.executor is not None
        self._n_workers = 0 if brings_workers else worker_count(plan, is_async=is_async)
        if (self._n_workers or brings_workers) and any(func.profile for func in functions):
            warnings.warn(
                "functions with profile=True run in other processes or threads, whose cost is not measured "
                "here; run with parallel=False to measure it",
                UserWarning,
                stacklevel=4,
            )
        bars = [(", ".join(stage.func.output_names), None) for stage in plan.stages]
        self.progress = make_progress(
            plan.options.show_progress,
            bars,
            background=is_async,
            run_folder=plan.options.run_folder,
            display=not is_async,  # an AsyncMap shows it below its own state
        )

    @property
    def info(self) -> RunInfo:
        """What is known of the run: without digests of files before its folder is open."""
        if self._info is not None:
            return self._info
        if self.plan.durable is not None:
            return self.plan.durable.info
        return dataclasses.replace(describe_plan(self.plan), run_folder=self.folder)

    @property
    def folder(self) -> Path | None:
        """The absolute path of the run folder."""
        return self._folder

    def warm_up(self) -> None:
        """Start what starts workers where there are threads, while this run gets its folder ready."""
        if self._n_workers:
            fork_server()

    def run(self, token: CancelToken | None = None) -> ResultDict:
        """Run the plan in this thread, or from this thread in workers.

        Parameters
        ----------
        token
            Stops the run from another thread.

        Returns
        -------
        ResultDict
            One result per output; empty if the options say so.

        Raises
        ------
        RunCancelledError
            If it was told to stop.
        """
        token = CancelToken() if token is None else token
        self.state = "running"
        try:
            self._run(token)
            results = collect_results(self.plan) if self.plan.options.return_results else ResultDict()
        except BaseException as error:
            cancelled = isinstance(error, RunCancelledError)
            self.state = "cancelled" if cancelled else "failed"
            # Where it has not begun, nobody has told the progress yet.
            self.progress.finish(error=True, cancelled=cancelled, reason=None if cancelled else error)
            for original, func in zip(self.plan.originals, self.plan.graph.functions, strict=True):
                if original is not func and func.error_snapshot is not None:
                    original.error_snapshot = func.error_snapshot
            raise
        finally:
            self.plan.release()
        self.state = "completed"
        return results

    def _run(self, token: CancelToken) -> None:
        plan, options, progress = self.plan, self.plan.options, self.progress
        token.check()
        if self._cache is not None:
            plan.cached = cached_calls(plan.graph.functions, self._cache, options.error_handling)
        if options.run_folder is not None:
            plan.durable = DurableRun(plan, options.run_folder, options)
        outcome: BaseException | None = None
        progress.start()
        try:
            token.check()
            self._drive(token)
            if plan.durable is not None:
                plan.durable.complete()
        except KeyboardInterrupt as interrupt:
            outcome = interrupt
            if plan.durable is not None:
                again = f"run_folder={str(options.run_folder)!r}, resume=True"
                interrupt.add_note(
                    f"What was finished is kept; the same map goes on from there with {again}."
                )
            raise
        except BaseException as error:
            outcome = error
            raise
        finally:
            is_cancelled = isinstance(outcome, RunCancelledError | KeyboardInterrupt)
            reason = None if isinstance(outcome, RunCancelledError) else outcome
            progress.finish(outcome is not None, cancelled=is_cancelled, reason=reason)
            outcome = reason = None  # else the traceback would hold this frame, and with it itself
            if plan.durable is not None:
                plan.durable.close()
                self._info = plan.durable.info

    def _drive(self, token: CancelToken) -> None:
        plan, options = self.plan, self.plan.options
        functions = plan.graph.functions
        if options.worker_pool is not None:
            PoolDriver(plan, self.progress, options.worker_pool).run(token)
        elif options.executor is not None:
            ExecutorDriver(plan, self.progress, options.executor_of(functions)).run(token)
        elif self._n_workers:
            PoolDriver(plan, self.progress, self._n_workers).run(token)
        else:
            run_inline(plan, self.progress, token)


def worker_count(plan: Plan, *, is_async: bool = False) -> int:
    """Give the number of worker processes that a run is worth; 0 to run it in this thread.

    Nothing is gained where no two elements can run at once, on a single core, and inside of a worker, whose
    neighbours use the other cores already. Beside an event loop there is one at least, where there can be.
    """
    is_limited = any(plan.options.timeout_of(plan.graph.functions).values())
    if not plan.options.parallel or is_worker() or not can_start_workers():
        if is_limited:
            raise InvalidValueError(
                f"timeout={plan.options.timeout!r} was given where no worker processes can be started",
                hint="leave timeout out in a worker of another map, and on systems without worker processes",
            )
        return 0
    generations = plan.graph.generations
    can_overlap = any(stage.is_mapped for stage in plan.stages) or any(len(each) > 1 for each in generations)
    useful = available_cores() if can_overlap else 1
    return useful if useful > 1 or is_async or is_limited else 0


def collect_results(plan: Plan) -> ResultDict:
    """Give a Result for each output of a plan that has run."""
    results = ResultDict()
    results.origin = MapOrigin(plan.graph.functions, plan.values)
    for stage in plan.stages:
        func = stage.func
        kwargs = {
            name: func.bound[name]
            if name in func.bound
            else plan.values[name]
            if name in plan.values
            else plan.kept(name)
            for name in func.parameters
            if name in func.bound or name in plan.values or name in plan.stores
        }
        for name in func.output_names:
            results[name] = Result(func.__name__, kwargs, name, plan.kept(name), is_mapped=stage.is_mapped)
    return results
