"""A stage: one function of the run, with its sources, its columns and its loop."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._function.failure import record_failure
from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.source import Source, constant, elements, slices
from pipefunc_c._kernels.tags import ARRAY, ERROR, MISSING, OBJECT
from pipefunc_c._kernels.taskloop import FailedValue, InputIsError, TaskLoop
from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c._storage.object_chunks import KeptError
from pipefunc_c.exceptions import OutOfMemoryError
from pipefunc_c.map._failures import PROPAGATED, TracebackTable, error_info, snapshot, user_frames
from pipefunc_c.map._fixed import requested_elements
from pipefunc_c.map._regions import (
    AttachedColumn,
    ColumnRegions,
    OwnedColumn,
    StageNews,
    attach_objects,
    publish_objects,
)
from pipefunc_c.map._requested import Requested
from pipefunc_c.map._values import element_array, sliced_array, whole_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from typing_extensions import Buffer

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._storage.base import Size, StorageBase
    from pipefunc_c._storage.commits import Committer
    from pipefunc_c.map._plan import Plan
    from pipefunc_c.map._scheduler import Lease


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
    """

    def __init__(self, func: PipeFunc[..., Any], plan: Plan, stores: Sequence[StorageBase]) -> None:
        self.func = func
        self.plan = plan
        self.stores = tuple(stores)
        self.is_mapped = func.mapspec is not None and bool(func.mapspec.inputs)
        self.shape: tuple[int, ...] = ()
        self.columns: tuple[Column, ...] = ()
        self.requested = Requested(0)
        self.number = -1  # in commit records
        self.tracebacks = TracebackTable()
        self.failed = 0
        self.layout_is_open = False
        self.reached = 0  # the first index that the last lease did not do
        self.is_running = False
        self.in_hook = False  # what a hook raises is not the function's error
        self._loop: TaskLoop | None = None
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
        self.requested = requested_elements(mapspec, self.shape, self.plan.fixed_indices)
        if self.plan.durable is not None:
            self.requested = self.plan.durable.restore(self)
            self.plan.durable.record_shapes(self)
        self.layout_is_open = self.is_mapped and all(column.layout is None for column in self.columns)
        return self.requested

    def _make_column(self, store: StorageBase) -> Column:
        shared = self.plan.shared
        if shared is None:
            return store.column if isinstance(store, ColumnArray) else Column(store.size)
        owned = OwnedColumn(shared, store.size)
        self._owned.append(owned)
        if isinstance(store, ColumnArray):
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

    def adopt(self, news: StageNews) -> None:
        """Take in, in a worker, what the parent announced."""
        plan = self.plan
        for name, (shape, internal_shape) in news.stores.items():
            store, stage = plan.stores[name], plan.stage_of(name)
            store.shape, store.internal_shape = shape, internal_shape
            stage.failed = news.failed[name]
            stage._attach(name, news.columns[name], news.objects.get(name, []))
        if self._loop is None:
            self.shape = news.shape
            self.requested = Requested(self.stores[0].size, news.runs)
            self._use_columns([self._attached[name].column for name in self.func.output_names])

    def _attach(self, name: str, regions: ColumnRegions, chunks: Sequence[tuple[int, ...]]) -> None:
        shared, store = self.plan.shared, self.plan.stores[name]
        assert shared is not None
        attached = self._attached.get(name)
        if attached is None:
            attached = self._attached[name] = AttachedColumn(shared, regions)
            if isinstance(store, ColumnArray):
                store.attach(attached.column)
        else:
            attached.update(regions)
        attach_objects(shared, attached.column, chunks)

    def _resolve_shapes(self) -> None:
        mapspec = self.func.mapspec
        assert mapspec is not None
        full, mask = mapspec.shape(
            {name: self.plan.shape_of(name) for name in mapspec.input_names},
            self.plan.internal_shapes_of(self.func),
        )
        self.shape = tuple(int(size) for size, external in zip(full, mask, strict=True) if external)
        internal: tuple[Size, ...] = tuple(
            size for size, external in zip(full, mask, strict=True) if not external
        )
        for store in self.stores:
            store.shape = self.shape
            store.internal_shape = internal

    def _make_loop(self) -> TaskLoop:
        func, plan = self.func, self.plan
        sources = self._sources()
        natives = list(sources)
        omitted = [native for native in func.original_parameters if native not in sources]
        n_positional = func.n_positional
        if omitted:
            n_positional = min(n_positional, list(func.original_parameters).index(omitted[0]))
        keeps_going = plan.error_handling == "continue"
        # Only columns tell the fast loop that an element is an error.
        checked = keeps_going and any(plan.may_hold_errors(name) for name in func.parameters)
        is_general = checked or func.observed or func.output_picker is not None
        return TaskLoop(
            func.call_target,
            natives,
            list(sources.values()),
            self.shape,
            self.columns,
            n_positional=n_positional,
            unpack=isinstance(func.output_name, tuple),
            runs=self.requested.runs,
            capture_errors=keeps_going,
            invoke=partial(self._invoke, checked) if is_general else None,
            propagate=(lambda _index: PROPAGATED) if keeps_going else None,
            intern_traceback=self.tracebacks.intern,
        )

    def _sources(self) -> dict[str, Source]:
        """Give the source of each argument by native name; defaults that the callable makes are left out."""
        func, plan = self.func, self.plan
        axes = func.mapspec.task_axes if func.mapspec is not None else {}
        sources = {}
        for name, native in func.native_names.items():
            if name in func.bound:
                sources[native] = constant(func.bound[name])
            elif name in axes:
                sources[native] = self._mapped_source(name, axes[name])
            elif name in func.own_defaults and name not in plan.given and name not in plan.stores:
                continue
            elif name in plan.values:
                sources[native] = constant(plan.values[name])
            elif name in plan.stores:
                sources[native] = constant(whole_array(plan.stores[name], func, name))
        return sources

    def _mapped_source(self, name: str, axes: tuple[int | None, ...]) -> Source:
        store = self.plan.stores.get(name)
        whole = None in axes
        if name in self.plan.values or store is None or self.plan.is_single(name):
            value = self.plan.values[name] if name in self.plan.values else self.plan.single_value(name)
            return slices(value, axes) if whole else elements(value, axes)
        if whole:
            array, writable = sliced_array(store, self.func, name)
            return slices(array, axes, copied=writable)
        if isinstance(store, ColumnArray) and not store.internal_shape:
            return elements(store.column, axes, store.resolved_shape)
        return elements(element_array(store), axes)

    # -- running -------------------------------------------------------------------------------------

    @property
    def loop(self) -> TaskLoop:
        """The loop, made when first used; the stage must be prepared."""
        if self._loop is None:
            self._loop = self._make_loop()
        return self._loop

    def run(self, lease: Lease, deadline: float, stop_flag: Buffer | None = None) -> int:
        """Run a lease until ``deadline`` (``time.monotonic()``, seconds); give the first index not done.

        What is done is kept, also when an element raises.
        """
        self.reached, self.is_running = lease.start, False
        try:
            loop = self.loop
        except Exception as error:
            error.add_note(f"This happened while the inputs of {self.func.__name__} were made ready.")
            raise
        self.is_running = True
        try:
            self.reached = int(loop.run(lease.start, lease.stop, deadline=deadline, stop_flag=stop_flag))
            self.is_running = False
        except BaseException as error:
            self.reached = loop.reached
            error.__traceback__ = user_frames(error.__traceback__)
            raise
        finally:
            self.failed += loop.failed
            if self.layout_is_open:
                self._fix_layouts(lease.start, self.reached)
            self.plan.keep(self, lease, self.reached)
        return self.reached

    @property
    def is_to_blame(self) -> bool:
        """Whether it was the function that raised in the last lease: not a hook, nor the means to run it."""
        return self.is_running and not self.in_hook

    def record(self, error: Exception, index: int) -> None:
        """Make an error of the function known: a note that names the element, the snapshot, the print."""
        record_failure(self.func, error, self.arguments(index), where=self.where(index))

    def _invoke(self, checked: bool, _index: int, kwargs: dict[str, Any]) -> list[Any]:
        """Call the function the general way: hooks, debug lines and pickers."""
        func = self.func
        self.in_hook = False
        if checked and any(error_info(value) is not None for value in kwargs.values()):
            raise InputIsError
        positional, keywords = func.split_arguments(kwargs)
        result = func.call_target(*positional, **keywords)
        if func.observed:
            self.in_hook = True
            func.observe(result, kwargs)
            self.in_hook = False
        if isinstance(func.output_name, str) and not self.is_mapped:
            return [result]
        return [self._pick(result, name) for name in func.output_names]

    def _pick(self, result: Any, name: str) -> Any:
        try:
            return self.func.pick(result, name)
        except Exception as error:
            if self.plan.error_handling == "raise":
                raise
            return FailedValue(error)

    def _fix_layouts(self, start: int, stop: int) -> None:
        """Lay arrays out in a slab, as the first of them says; one that does not fit stays an object."""
        for column in self.columns:
            tags = column.tags[start:stop]
            present = np.flatnonzero((tags != MISSING) & (tags != ERROR))
            if not len(present):
                continue
            self.layout_is_open = False
            index = start + int(present[0])
            first = column.load(index) if column.tag(index) == OBJECT else None
            if type(first) is not np.ndarray or first.dtype.kind not in "biufc" or not first.dtype.isnative:
                continue
            try:
                column.fix_layout(first.dtype, first.shape)
            except OutOfMemoryError:
                continue
            column.store(index, first)

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
            traceback_text=self.tracebacks.__getitem__,
            outputs=self.func.output_names,
        )

    def dump(self, start: int, stop: int) -> None:
        """Hand what was computed to storages that are not columns themselves."""
        for store, column in zip(self.stores, self.columns, strict=True):
            if isinstance(store, ColumnArray):
                continue
            for index in range(start, stop):
                if column.tag(index) != MISSING:
                    store.dump(tuple(int(k) for k in np.unravel_index(index, self.shape)), column.load(index))

    # -- done ----------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Resolve internal sizes that only the results tell: those of the first element decide."""
        for store, column in zip(self.stores, self.columns, strict=True):
            if "?" in store.internal_shape:
                store.internal_shape = self._first_shape(column, store.internal_shape)
        if self.plan.durable is not None:
            self.plan.durable.record_shapes(self)

    @staticmethod
    def _first_shape(column: Column, internal: tuple[Size, ...]) -> tuple[Size, ...]:
        tags = column.tags
        present = np.flatnonzero((tags != MISSING) & (tags != ERROR))
        found: tuple[int, ...] = ()
        if len(present) and column.layout is not None and column.tag(int(present[0])) == ARRAY:
            found = column.layout[1]
        elif len(present):
            found = np.shape(column.load(int(present[0])))
        sizes = [*found[: len(internal)], *[1] * (len(internal) - len(found))]
        return tuple(new if old == "?" else old for old, new in zip(internal, sizes, strict=True))

    # -- failures ------------------------------------------------------------------------------------

    def arguments(self, index: int) -> dict[str, Any]:
        """Give the arguments of one element by native names."""
        return dict(self.loop.arguments(index))

    def _read_error(self, index: int, stored: Any, traceback_number: int) -> Any:
        text = ""
        if isinstance(stored, KeptError):
            stored, text = stored.error, stored.traceback
        elif isinstance(stored, BaseException):
            text = self.tracebacks[traceback_number]
        return snapshot(self.func, stored, text, self.arguments(index))

    def where(self, index: int) -> str:
        """Name an element for messages: its position on the axes and its linear index."""
        if not self.is_mapped:
            return ""
        assert self.func.mapspec is not None
        position = np.unravel_index(index, self.shape)
        named = zip(self.func.mapspec.external_indices, position, strict=True)
        axes = ", ".join(f"{axis}={int(k)}" for axis, k in named)
        return f"element {index} of {math.prod(self.shape)} ({axes})"
