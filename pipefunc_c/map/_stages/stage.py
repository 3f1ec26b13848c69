"""A stage: one function of the run, with its sources, its columns and its loop."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pipefunc_c._describe import message_of
from pipefunc_c._function.failure import record_failure
from pipefunc_c._kernels.source import Source, constant
from pipefunc_c._kernels.tags import ERROR
from pipefunc_c._storage.object_chunks import KeptError
from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.map._stages.call import Call, Input, Invocation
from pipefunc_c.map._stages.failures import OriginTable, is_error, snapshot
from pipefunc_c.map._stages.fixed import requested_elements
from pipefunc_c.map._stages.generators import held_generators, redraw
from pipefunc_c.map._stages.given import mapped_given, noted, whole_given
from pipefunc_c.map._stages.layouts import first_shape, fix_layouts
from pipefunc_c.map._stages.not_loaded import NotLoaded
from pipefunc_c.map._stages.regions import (
    AttachedColumn,
    ColumnRegions,
    OwnedColumn,
    StageNews,
    attach_objects,
    publish_objects,
)
from pipefunc_c.map._stages.requested import Requested
from pipefunc_c.map._stages.stage_resources import StageResources
from pipefunc_c.map._stages.unkeepable import pickling
from pipefunc_c.map._stages.values import element_array, sliced_array, stretched, whole_array
from pipefunc_c.parallel._environment import is_prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._kernels.column import Column
    from pipefunc_c._kernels.taskloop import TaskLoop
    from pipefunc_c._storage.base import Size
    from pipefunc_c._storage.column_array import ColumnArray
    from pipefunc_c._storage.commits import Committer
    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._stages.sinks import Sink

T = TypeVar("T")


class Stage:
    """Run one function over its elements; a function without mapped inputs has one.

    Parameters
    ----------
    func
        The function.
    plan
        The run that it belongs to: inputs and the stores of all outputs.
    stores
        One storage per output, in order.
    sinks
        Where the user chose a storage that is no column: one per output, else none.
    """

    def __init__(
        self, func: PipeFunc[..., Any], plan: Plan, stores: Sequence[ColumnArray], sinks: Sequence[Sink] = ()
    ) -> None:
        self.func = func
        self.plan = plan
        self.stores = tuple(stores)
        self.sinks = tuple(sinks)
        self.is_mapped = func.mapspec is not None and bool(func.mapspec.inputs)
        self.shape: tuple[int, ...] = ()
        self.columns: tuple[Column, ...] = ()
        self.requested = Requested(0)
        self.chunksize: int | None = None  # for executors that do not cut their work by time
        self.number = -1  # in commit records
        self.origins = OriginTable()
        self.failed = 0
        self.layout_is_open = False
        self.stream: tuple[int, ...] | None = None  # in a worker: for copies of random generators
        self._unknown: dict[str, frozenset[int]] = {}  # by output: axes whose size is only a stand-in
        self.is_stand_in = False  # whether that is so of axes that it runs along: nothing is kept of it then
        self._keeps_going = plan.error_handling == "continue"
        self._resources = StageResources(func)
        self._refused: Exception | None = None  # why the function cannot be called, if errors are kept
        self._inputs: dict[str, Input] | None = None
        self._sources: list[Source] | None = None
        self._owned: list[OwnedColumn] = []
        self._attached: dict[str, AttachedColumn] = {}
        self._published: dict[str, list[tuple[int, int, int, int, int]]] = {}

    # -- made ready ----------------------------------------------------------------------------------

    def prepare(self) -> Requested:
        """Resolve the shapes and make the columns; the stages before must be done."""
        if self.is_mapped:
            self._resolve_shapes()
        self._use_columns([self._make_column(store) for store in self.stores])
        mapspec = self.func.mapspec if self.is_mapped else None
        self.requested = requested_elements(mapspec, self.shape, self._fixed_indices())
        durable = self.plan.durable
        for name, sink, store in zip(self.func.output_names, self.sinks, self.stores, strict=False):
            # What was stored while nobody knew how much there would be is nothing but errors.
            is_empty = durable is None or not durable.is_resumed or not durable.knew_axes(name)
            sink.prepare(self.shape, store.internal_shape, empty=is_empty)
        if durable is not None:
            self.requested = durable.restore(self)
            durable.record_shapes(self)
        self.layout_is_open = self.is_mapped and all(column.layout is None for column in self.columns)
        if self._resources.are_due and len(self.requested):
            self._resources.evaluate(self._whole_inputs(), keeps_going=self._keeps_going)
        self.chunksize = self.plan.chunksize(self.func, len(self.requested))
        return self.requested

    def _whole_inputs(self) -> dict[str, Any]:
        """Give what each parameter is taken from, by present names: inputs as given, storages of outputs."""
        func, plan = self.func, self.plan
        values: dict[str, Any] = {}
        for name in func.parameters:
            if name in func.bound:
                continue
            if name in plan.values:
                values[name] = plan.values[name]
            elif name in plan.stores:
                values[name] = plan.single_value(name) if plan.is_single(name) else plan.stores[name]
        return values

    def _make_column(self, store: ColumnArray) -> Column:
        shared = self.plan.shared
        if shared is None:
            store.attach(store.column)  # what is in it is committed by the run, not by the storage
            return store.column
        owned = OwnedColumn(shared, store.size)
        self._owned.append(owned)
        store.attach(owned.column)
        column: Column = owned.column
        return column

    def _use_columns(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        for column in self.columns:
            column.read_error = self._read_error

    # -- announced to workers ------------------------------------------------------------------------

    def news(self) -> StageNews:
        """Tell workers what they need to run this stage, or what became known of it since."""
        number, plan = self.plan.stages.index(self), self.plan
        names = [*self.func.output_names, *(name for name in self.func.parameters if name in plan.stores)]
        stages = {name: plan.stage_of(name) for name in names}
        return StageNews(
            number,
            self.shape,
            {name: (plan.stores[name].shape, plan.stores[name].internal_shape) for name in names},
            {name: stages[name].regions(name) for name in names},
            {name: stages[name].published(name) for name in names if stages[name] is not self},
            self.requested.runs,
            {name: stages[name].failed for name in names},
            self._resources.dump(),
            self.is_stand_in,
        )

    def regions(self, name: str) -> ColumnRegions:
        """Give the place of an output in the shared file."""
        return self._owned[self.func.output_names.index(name)].regions()

    def published(self, name: str) -> list[tuple[int, int, int, int, int]]:
        """Put the objects of an output into the shared file, once; give the place of each chunk."""
        if name not in self._published:
            shared = self.plan.shared
            assert shared is not None
            column = self.columns[self.func.output_names.index(name)]
            self._published[name] = publish_objects(shared, column)
        return self._published[name]

    def start_over(self) -> None:
        """Forget, in a worker, what this process had made ready before it was forked."""
        self._inputs = self._sources = None
        self._attached, self._published = {}, {}
        vars(self).pop("call", None)

    def let_go(self) -> None:
        """Forget everything, in a worker, when the run is over."""
        for attached in self._attached.values():
            attached.column = None  # they refer to each other
        vars(self).clear()

    def adopt(self, news: StageNews) -> None:
        """Take in, in a worker, what the parent announced."""
        plan = self.plan
        self.layout_is_open = False  # the parent alone makes regions
        for name, (shape, internal_shape) in news.stores.items():
            store, stage = plan.stores[name], plan.stage_of(name)
            store.shape, store.internal_shape = shape, internal_shape
            stage.failed = news.failed[name]
            stage._attach(name, news.columns[name], news.objects.get(name, []))
        self._resources.adopt(news.resources)
        self.is_stand_in = news.is_stand_in
        if self._inputs is None:
            self.shape = news.shape
            self.requested = Requested(self.stores[0].size, news.runs)
            self._use_columns([self._attached[name].column for name in self.func.output_names])

    def _attach(self, name: str, regions: ColumnRegions, chunks: Sequence[tuple[int, ...]]) -> None:
        shared, store = self.plan.shared, self.plan.stores[name]
        assert shared is not None
        attached = self._attached.get(name)
        if attached is None:
            attached = self._attached[name] = AttachedColumn(shared, regions)
            store.attach(attached.column)
        else:
            attached.update(regions)
        if chunks and name not in self._published:
            self._published[name] = []
            attach_objects(shared, attached.column, chunks)

    def _resolve_shapes(self) -> None:
        mapspec = self.func.mapspec
        assert mapspec is not None
        full, mask = mapspec.shape(
            {name: self.plan.shape_of(name) for name in mapspec.input_names},
            self.plan.internal_shapes_of(self.func),
        )
        axes = list(enumerate(zip(full, mask, strict=True)))
        unknown = frozenset(k for k, (size, external) in axes if external and size == "?")
        self._unknown = dict.fromkeys(self.func.output_names, unknown)
        self.is_stand_in = bool(unknown)
        # Nothing was computed that has a size: one error stands for all along the axis, or there is nothing.
        stand_in = int(any(self.plan.may_hold_errors(name) for name in mapspec.input_names))
        self.shape = tuple(stand_in if size == "?" else int(size) for _, (size, external) in axes if external)
        internal: tuple[Size, ...] = tuple(size for _, (size, external) in axes if not external)
        for store in self.stores:
            store.shape = self.shape
            store.internal_shape = internal

    def known_shape(self, name: str) -> tuple[Size, ...]:
        """Give the shape of an output; "?" for sizes that nothing tells: where all failed, or nothing ran."""
        unknown = self._unknown.get(name, frozenset())
        store = self.stores[self.func.output_names.index(name)]
        return tuple("?" if k in unknown else size for k, size in enumerate(store.full_shape))

    def _fixed_indices(self) -> Mapping[str, Any] | None:
        """Give the fixed indices but for axes whose size is only a stand-in."""
        fixed, mapspec = self.plan.fixed_indices, self.func.mapspec
        if not fixed or mapspec is None:
            return fixed
        unknown = self._unknown.get(self.func.output_names[0], frozenset())
        stand_ins = {mapspec.output_indices[k] for k in unknown}
        return {axis: index for axis, index in fixed.items() if axis not in stand_ins}

    # -- called --------------------------------------------------------------------------------------

    @property
    def inputs(self) -> dict[str, Input]:
        """What each argument is taken from, by native name; whole arrays are made when first asked for."""
        if self._inputs is None:
            with noted(self.func):
                self._inputs = self._find_inputs()
        return self._inputs

    def _find_inputs(self) -> dict[str, Input]:
        """Find the inputs; defaults that the callable makes are left out."""
        func, plan = self.func, self.plan
        axes = func.mapspec.task_axes if func.mapspec is not None else {}
        inputs = {}
        for name, native in func.native_names.items():
            if name in func.bound:
                inputs[native] = Input(func.bound[name])
            elif name in axes:
                inputs[native] = self._mapped_input(name, axes[name])
            elif name in func.own_defaults and name not in plan.given and name not in plan.stores:
                continue
            elif name in plan.values:
                inputs[native] = Input(whole_given(plan.values[name], func, name))
            elif name in plan.stores:
                inputs[native] = Input(self._whole_output(name))
        return inputs

    def _whole_output(self, name: str) -> Any:
        """Give a whole output; one that does not fit its annotation is a reason not to call the function."""
        store = self.plan.stores[name]
        try:
            return whole_array(store, self.func, name)
        except InvalidTypeError as error:
            if not self._keeps_going:
                raise
            self._refused = error
            array = store.to_array()
            return array if np.ma.is_masked(array) else np.ma.getdata(array)

    def _mapped_input(self, name: str, axes: tuple[int | None, ...]) -> Input:
        plan = self.plan
        if name in plan.values:
            return Input(mapped_given(plan.values[name], axes, self.func, name), axes)
        if plan.is_single(name):
            value = plan.stores[name].get_from_index(0)
            # No part of an array that failed is more than its error.
            return Input(value) if is_error(value) else Input(value, axes)
        store = plan.stores[name]
        sizes = tuple(None if axis is None else self.shape[axis] for axis in axes)
        if None in axes:
            array, writable = sliced_array(store, self.func, name)
            return Input(stretched(array, sizes), axes, copied=writable)
        if not store.internal_shape and store.resolved_shape == sizes:
            return Input(store.column, axes, store.resolved_shape)
        return Input(stretched(element_array(store), sizes), axes)

    @cached_property
    def call(self) -> Call:
        """How the function is called."""
        func, plan = self._resources.fixed(), self.plan
        omitted = [k for k, native in enumerate(func.original_parameters) if native not in self.inputs]
        return Call(
            func,
            tuple(self.inputs),
            min([func.n_positional, *omitted]),
            self.is_mapped,
            # Only columns tell the fast loop that an element is an error.
            checked=self._keeps_going and any(plan.may_hold_errors(name) for name in func.parameters),
            keeps_going=self._keeps_going,
            cached=plan.cached.get(func.output_names),
            refused=self._refused,
        )

    def loop(self) -> tuple[TaskLoop, Invocation]:
        """Make a loop over the elements; each lease has its own, so that leases may overlap in threads."""
        sources = self._opened_sources()  # first: it tells whether the function can be called
        return self.call.loop(sources, self.shape, self.columns, self.origins, self.requested.runs)

    def _opened_sources(self) -> list[Source]:
        if self._sources is None:
            inputs = self.inputs.values()
            with noted(self.func):
                self._sources = [self._opened(each) for each in inputs]
            if self.stream is not None:
                self._redraw(self.stream)
        return self._sources

    def _opened(self, given: Input) -> Source:
        try:
            return given.source()
        except Exception as error:  # a file that cannot be read
            if not self._keeps_going:
                raise
            self._refused = error
            return constant(NotLoaded("an input", f"{type(error).__name__}: {message_of(error)}"))

    def _redraw(self, stream: tuple[int, ...]) -> None:
        """Let the random generators that this process has copies of go on with streams of its own."""
        constants = {name: each.value for name, each in self.inputs.items() if each.axes is None}
        held = held_generators(self.func.func, constants)
        chosen = [each.generator for each in held if not (each.is_global and is_prepared())]
        redraw(chosen, (*stream, self.plan.stages.index(self)))

    # -- running -------------------------------------------------------------------------------------

    def record(self, error: Exception, index: int) -> None:
        """Make an error of the function known: a note that names the element, the snapshot, the print."""
        record_failure(self.func, error, self.arguments(index), where=self.where(index))

    def settle(self, start: int, stop: int) -> None:
        """Find the layout of arrays, as the first elements say, if that is not known yet."""
        if self.layout_is_open:
            self.layout_is_open = not fix_layouts(self.columns, start, stop)

    def commit(
        self, committer: Committer, start: int, stop: int, attempt: int, runs: npt.NDArray[np.int64] | None
    ) -> None:
        """Write elements to disk: one record for all outputs."""
        committer.commit(
            self.number,
            start,
            stop,
            attempt,
            self.columns,
            runs,
            origin_of=self.origins.__getitem__,
            outputs=self.func.output_names,
        )

    def fill_sinks(self, start: int, stop: int) -> None:
        """Hand what was computed to storages that are no columns."""
        for sink, column in zip(self.sinks, self.columns, strict=False):
            sink.take(column, start, stop, self.requested.runs)

    def pickling(self, act: Callable[[], T], start: int, stop: int) -> tuple[T, int]:
        """Pickle these elements; give for how many it is their error now that they cannot be pickled."""
        if not self._keeps_going:
            return act(), 0
        return pickling(act, self.columns, self.func.output_names, (start, stop), self.origins)

    # -- done ----------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Resolve internal sizes that only the results tell: those of the first element decide."""
        for name, store, column in zip(self.func.output_names, self.stores, self.columns, strict=True):
            if "?" in store.internal_shape:
                store.internal_shape = first_shape(column, store.internal_shape)
                unknown = {k for k, size in enumerate(store.full_shape) if size == "?"}
                self._unknown[name] = self._unknown.get(name, frozenset()) | unknown
                store.internal_shape = tuple(1 if size == "?" else size for size in store.internal_shape)
        for sink, store in zip(self.sinks, self.stores, strict=False):
            sink.storage.internal_shape = store.internal_shape
        if self.plan.durable is not None:
            self.plan.durable.record_shapes(self)

    @property
    def has_errors(self) -> bool:
        """Whether any of its results is an error."""
        return any(column.count(ERROR) for column in self.columns)

    def release(self) -> None:
        """Forget all but what errors need when they are looked at; no column refers to itself then."""
        reader = self._read_error if self.has_errors else None
        for column in self.columns:
            column.read_error = reader
        self.start_over()
        self.columns, self.stores, self.sinks = (), (), ()
        for owned in self._owned:
            owned.column = None  # they refer to each other
        self._owned = []
        if reader is None:
            del self.plan
        else:
            self.plan = self.plan.for_arguments(self.func)

    # -- failures ------------------------------------------------------------------------------------

    def arguments(self, index: int) -> dict[str, Any]:
        """Give the arguments of one element by native names."""
        sources = dict(zip(self.inputs, self._opened_sources(), strict=True))
        try:
            return self.call.argument_loop(sources, self.shape).arguments(index)
        except Exception:  # one of them cannot be read, which may be what the error is about
            return {name: self._argument(name, source, index) for name, source in sources.items()}

    def _argument(self, name: str, source: Source, index: int) -> Any:
        try:
            return self.call.argument_loop({name: source}, self.shape).arguments(index)[name]
        except Exception as error:
            return NotLoaded(name, f"{type(error).__name__}: {message_of(error)}")

    def _read_error(self, index: int, stored: Any, origin_id: int) -> Any:
        if isinstance(stored, KeptError):
            stored, origin = stored.error, stored.origin
        else:
            origin = self.origins[origin_id]
        return snapshot(self.func, stored, origin, self.arguments(index), self._whole_inputs)

    def where(self, index: int) -> str:
        """Name an element for messages: its position on the axes and its linear index."""
        if not self.is_mapped:
            return ""
        assert self.func.mapspec is not None
        position = np.unravel_index(index, self.shape)
        named = zip(self.func.mapspec.external_indices, position, strict=True)
        axes = ", ".join(f"{axis}={int(k)}" for axis, k in named)
        return f"element {index} of {math.prod(self.shape)} ({axes})"
