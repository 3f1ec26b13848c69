"""The plan of a run: its inputs, its stores, its stages and what each waits for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._spec.shapes import MapShapes, array_shape, map_shapes
from pipefunc_c._storage.base import StorageBase, storage_class
from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c._storage.memory import DictArray, MemoryArray, SharedArray
from pipefunc_c.exceptions import InputError, InvalidValueError, ShapeError
from pipefunc_c.map._engine.scheduler import Scheduler
from pipefunc_c.map._stages.failures import is_error
from pipefunc_c.map._stages.fixed import check_bounds, check_fixed_indices
from pipefunc_c.map._stages.given import kept_apart
from pipefunc_c.map._stages.sinks import Sink
from pipefunc_c.map._stages.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._graph.graph import FunctionGraph
    from pipefunc_c._spec.dimensions import Dimension, Shape
    from pipefunc_c._storage.home import SharedHome
    from pipefunc_c.map._engine.durable import DurableRun
    from pipefunc_c.map._engine.options import RunOptions
    from pipefunc_c.map._engine.scheduler import Lease
    from pipefunc_c.map._stages.cached_calls import CachedCalls


class Plan:
    """Hold all that a run needs to know; nothing is computed when it is made.

    Parameters
    ----------
    graph
        The functions.
    inputs
        Values of the root arguments, by full names.
    options
        The options of the map.

    Raises
    ------
    InputError
        If inputs are missing or unknown.
    ShapeError, InvalidTypeError
        If a mapped input has no shape, or sizes do not match.
    """

    def __init__(self, graph: FunctionGraph, inputs: Mapping[str, Any], options: RunOptions) -> None:
        self.graph = graph
        self.originals = graph.functions  # those of the user, where the graph holds copies of them
        self.cached: Mapping[tuple[str, ...], CachedCalls] = {}  # of cached functions, by output names
        self.options = options
        self.error_handling = options.error_handling
        self.fixed_indices = options.fixed_indices
        self.given = frozenset(inputs)
        self.values = _complete_inputs(graph, inputs)
        self.stores: dict[str, ColumnArray] = {}
        self.stages: list[Stage] = []
        self.shared: SharedHome | None = None  # memory of the columns, if worker processes are to see them
        self.durable: DurableRun | None = None  # if the run is kept on disk
        self._stage_of: dict[str, Stage] = {}
        if options.fixed_indices:
            check_fixed_indices(options.fixed_indices, graph.functions)
        # What cannot be is refused before the run folder is touched.
        self._chunksizes = options.chunksize_of(graph.functions)
        for spread in (options.executor_of, options.timeout_of):
            spread(graph.functions)
        self._check_internal_shapes()
        self.shapes = self._infer_shapes()
        self.storage_ids = options.storage_of(graph.functions)
        self._check_fixed_bounds()
        for func in graph.functions:
            self._add_stage(func, self.shapes, storage_class(self.storage_ids[func]))

    def make_scheduler(self) -> Scheduler:
        """Make a scheduler of the stages: by generations, or with "eager" by what each stage needs."""
        numbers = {func: k for k, func in enumerate(self.graph.functions)}
        if self.options.scheduling_strategy == "eager":
            needs = self.graph.dependencies
            return Scheduler([[numbers[each] for each in needs[func]] for func in numbers])
        return Scheduler.by_generation([[numbers[func] for func in each] for each in self.graph.generations])

    def _add_stage(
        self,
        func: PipeFunc[..., Any],
        shapes: MapShapes,
        kind: type[StorageBase],
    ) -> None:
        stores: list[ColumnArray] = []
        sinks: list[Sink] = []
        for name in func.output_names:
            if func.requires_mapping:
                shape, mask = shapes.shapes[name], shapes.masks[name]
                external = tuple(size for size, is_external in zip(shape, mask, strict=True) if is_external)
                internal = tuple(
                    size for size, is_external in zip(shape, mask, strict=True) if not is_external
                )
                # The sizes are set when the stage is prepared: some storages take their memory then.
                folder = Path(self.options.run_folder, "outputs", name) if self.options.run_folder else None
                working: type[ColumnArray] = MemoryArray
                if issubclass(kind, ColumnArray):
                    working = kind
                else:
                    sinks.append(Sink(kind, name, folder, mask))
                stores.append(working(folder, ("?",) * len(external), internal, mask))
            else:
                stores.append(MemoryArray(None, ()))
            self.stores[name] = stores[-1]
            stores[-1].output_name = name
        stage = Stage(func, self, stores, sinks)
        self.stages.append(stage)
        self._stage_of.update(dict.fromkeys(func.output_names, stage))

    # -- shapes --------------------------------------------------------------------------------------

    def _infer_shapes(self) -> MapShapes:
        """Infer all shapes as far as they are known, so that what cannot fit is refused before the run."""
        mapspecs = [func.mapspec for func in self.graph.functions if func.mapspec is not None]
        mapped = {name for mapspec in mapspecs for name in mapspec.input_names}
        inputs = {name: array_shape(self.values[name], name) for name in mapped if name in self.values}
        return map_shapes(mapspecs, inputs, self.options.internal_shapes, self.declared_shapes)

    def _check_fixed_bounds(self) -> None:
        """Refuse fixed indices that are on no axis, as far as the sizes are known."""
        for func in self.graph.functions if self.fixed_indices else ():
            if func.mapspec is not None and func.mapspec.inputs:
                shape, mask = (each[func.output_names[0]] for each in (self.shapes.shapes, self.shapes.masks))
                external = [size for size, is_external in zip(shape, mask, strict=True) if is_external]
                check_bounds(func.mapspec, external, self.fixed_indices or {})

    def _check_internal_shapes(self) -> None:
        for name in self.options.internal_shapes or {}:
            if name not in self.graph.producers:
                raise InputError(
                    f"internal_shapes has an entry for {name!r}, which is no output",
                    hint=f"outputs are {', '.join(sorted(self.graph.producers))}",
                )

    @property
    def declared_shapes(self) -> dict[str, Dimension | tuple[Dimension, ...]]:
        """Internal shapes that the functions declare, by output."""
        return {
            name: func.internal_shape
            for func in self.graph.functions
            if func.internal_shape is not None
            for name in func.output_names
        }

    def internal_shapes_of(self, func: PipeFunc[..., Any]) -> Mapping[str, Any]:
        """Give the internal shapes of the outputs of a function, as far as they were given."""
        given = self.options.internal_shapes or {}
        return given if any(name in given for name in func.output_names) else self.declared_shapes

    def shape_of(self, name: str) -> Shape:
        """Give the shape of an array; outputs must be there already."""
        if name in self.values:
            return array_shape(self.values[name], name)
        if self.is_single(name):
            value = self.stores[name].get_from_index(0)
            if is_error(value):
                return self.shapes.shapes[name]
            shape = array_shape(value, name, is_output=True)
            self._check_declared(name, shape)
            return shape
        return self._stage_of[name].known_shape(name)  # type: ignore[return-value]  # "?" is the only str in it

    def _check_declared(self, name: str, shape: Shape) -> None:
        """Refuse the array of a single call that is not as its internal shape says."""
        declared = self.shapes.shapes[name]
        if any(size not in ("?", found) for size, found in zip(declared, shape, strict=False)):
            raise ShapeError(
                f"{name!r} has shape {shape!r}, its internal shape was said to be {declared!r}",
                detail=name,
                hint='correct internal_shape or internal_shapes; "?" stands for an unknown size',
            )

    def chunksize(self, func: PipeFunc[..., Any], count: int) -> int | None:
        """Give the number of elements per task of an executor that was asked for; None if nothing was.

        Parameters
        ----------
        func
            The function.
        count
            How many elements it has to compute.

        Raises
        ------
        InvalidValueError
            If a callable that was given says something else than a positive int or None.
        """
        wanted = self._chunksizes[func]
        if not count or not callable(wanted):
            return None if callable(wanted) else wanted
        try:
            size = wanted(count)
        except Exception as error:
            error.add_note(f"The callable raised it that gives the chunk size of {func.output_name!r}.")
            raise
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise InvalidValueError(
                f"the chunk size of {func.output_name!r} for {count} elements is {size!r}",
                detail=size,
                hint="the callable must give a positive int or None",
            )
        return size

    # -- what is done ---------------------------------------------------------------------------------

    def is_committed(self, stage: Stage) -> bool:
        """Tell whether the results of a stage go to disk while it runs, not only at the end."""
        in_memory = (MemoryArray, DictArray, SharedArray)
        return not stage.is_mapped or not isinstance(stage.stores[0], in_memory)

    def keep(self, stage: Stage, lease: Lease, reached: int) -> None:
        """Commit what a lease computed, and hand it to storages that are no columns."""
        if self.durable is not None:
            self.durable.commit(stage, lease, reached)
        if self.shared is None:
            stage.fill_sinks(lease.start, reached)

    # -- outputs -------------------------------------------------------------------------------------

    def kept(self, name: str) -> StorageBase:
        """Give the storage of an output that the user chose."""
        stage = self._stage_of[name]
        return stage.sinks[stage.func.output_names.index(name)].storage if stage.sinks else self.stores[name]

    def stage_of(self, name: str) -> Stage:
        """Give the stage that computes an output."""
        return self._stage_of[name]

    def is_single(self, name: str) -> bool:
        """Tell whether an output comes from a single call."""
        return not self._stage_of[name].is_mapped

    def single_value(self, name: str) -> Any:
        """Give the output of a single call; in the place of an array that failed, one of its errors."""
        value = self.stores[name].get_from_index(0)
        if is_error(value) and name in self.shapes.shapes:
            shape = tuple(1 if size == "?" else size for size in self.shapes.shapes[name])
            errors = np.empty(shape, dtype=object)
            errors[...] = value
            return errors
        return value

    # -- when it is over -----------------------------------------------------------------------------

    def release(self) -> None:
        """Forget what only the run needed, so that results live as long as somebody has them, and no longer.

        Errors read their arguments again when they are looked at: of inputs as they were in the run.
        """
        if any(stage.has_errors for stage in self.stages):
            specs = [func.mapspec for func in self.graph.functions if func.mapspec is not None]
            mapped = {name for mapspec in specs for name in mapspec.input_names}
            self.values = {
                name: kept_apart(value) if name in mapped else value for name, value in self.values.items()
            }
        for stage in self.stages:
            stage.release()
        self.stages.clear()
        self.stores.clear()
        self._stage_of.clear()
        self.cached, self.shared, self.durable = {}, None, None

    def for_arguments(self, func: PipeFunc[..., Any]) -> Plan:
        """Give what is needed of the plan to read the arguments of one function."""
        part = copy.copy(self)
        part.stages, part.cached, part.shared, part.durable = [], {}, None, None
        part.stores = {name: self.stores[name] for name in func.parameters if name in self.stores}
        part._stage_of = {name: self._stage_of[name] for name in part.stores}
        return part

    def may_hold_errors(self, name: str) -> bool:
        """Tell whether an argument may contain errors of an earlier stage."""
        return name not in self.values and name in self._stage_of and self._stage_of[name].failed > 0


def _complete_inputs(graph: FunctionGraph, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults and check that nothing is missing or unknown."""
    roots = set(graph.root_args)
    unknown = [name for name in inputs if name not in roots]
    if unknown:
        raise InputError(
            f"unknown inputs: {', '.join(map(repr, unknown))}", hint=f"the pipeline takes {sorted(roots)}"
        )
    defaults = {name: value for name, value in graph.defaults.items() if name in roots}
    values = {**defaults, **inputs}
    optional = {name for func in graph.functions for name in func.own_defaults}
    missing = sorted(roots - values.keys() - optional)
    if missing:
        raise InputError(
            f"missing inputs: {', '.join(map(repr, missing))}", hint=f"the pipeline takes {sorted(roots)}"
        )
    return values
