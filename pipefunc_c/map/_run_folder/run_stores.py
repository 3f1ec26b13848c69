"""The storages of a run folder, opened by someone who has neither the pipeline nor the inputs at hand."""

from __future__ import annotations

import math
import pickle
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.tags import ERROR, MISSING
from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c._storage.commits import CommittedRun
from pipefunc_c._storage.file import FileArray
from pipefunc_c._storage.memory import MemoryArray
from pipefunc_c.exceptions import ErrorSnapshot, OperationError, PropagatedErrorSnapshot
from pipefunc_c.map._run_folder.run_files import read_value
from pipefunc_c.map._stages.failures import snapshot
from pipefunc_c.map._stages.given import given_value
from pipefunc_c.map._stages.not_loaded import NotLoaded
from pipefunc_c.map._stages.values import whole_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._spec.dimensions import Shape
    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c._storage.base import StorageBase
    from pipefunc_c._storage.object_chunks import KeptError
    from pipefunc_c.map._run_folder.run_info import RunInfo

FUNCTIONS = "functions.cloudpickle"


def open_stores(info: RunInfo, names: Iterable[str] | None = None) -> dict[str, StorageBase]:
    """Open storages of outputs.

    Parameters
    ----------
    info
        The run.
    names
        The outputs; by default all.

    Returns
    -------
    dict
        Per name a storage that holds what is committed now.
    """
    opener = StoreOpener(info)
    return {name: opener.store(name) for name in (info.all_output_names if names is None else names)}


class StoreOpener:
    """Open the storages of a run one by one, and build what users see of its errors.

    Parameters
    ----------
    info
        The run.
    """

    def __init__(self, info: RunInfo) -> None:
        self.info = info
        self._stores: dict[str, StorageBase] = {}
        self._stage_of = {name: number for number, names in enumerate(info.stages) for name in names}
        self._mapspec_of: dict[str, MapSpec] = {
            name: mapspec for mapspec in info.mapspecs for name in mapspec.output_names if mapspec.inputs
        }

    def is_mapped(self, name: str) -> bool:
        """Tell whether an output has an element per index, rather than being the value of one call."""
        return name in self._mapspec_of

    @cached_property
    def _run(self) -> CommittedRun:
        return CommittedRun(self.info.folder)

    def store(self, name: str) -> StorageBase:
        """Open the storage of an output, together with those of the other outputs of its function."""
        if name not in self._stores:
            number = self._stage_of[name]
            self._open(number, self.info.stages[number])
        return self._stores[name]

    def _shapes(self, name: str) -> tuple[Shape, Shape, tuple[bool, ...]]:
        if not self.is_mapped(name):
            return (), (), ()
        shape, mask = self.info.resolved_shapes[name], self.info.shape_masks[name]
        pairs = list(zip(shape, mask, strict=True))
        external = tuple(size for size, is_external in pairs if is_external)
        return external, tuple(size for size, is_external in pairs if not is_external), mask

    def _open(self, number: int, names: Sequence[str]) -> None:
        external = self._shapes(names[0])[0]
        kinds = [self.info.storage_class(name) if self.is_mapped(name) else MemoryArray for name in names]
        foreign = not all(issubclass(kind, ColumnArray) for kind in kinds)
        if self.info.run_folder is None or "?" in external or foreign:
            for name, kind in zip(names, kinds, strict=True):
                folder = None if self.info.run_folder is None else self._own_folder(name)
                self._stores[name] = kind(folder, *self._shapes(name))
            return
        columns = [Column(math.prod(int(size) for size in external)) for _ in names]
        self._run.restore(number, columns)
        for name, column in zip(names, columns, strict=True):
            store = self._stores[name] = self._opened(name, column)
            if column.count(ERROR):  # else nothing refers to what opened it
                store.column.read_error = partial(self._read_error, name)

    def _own_folder(self, name: str) -> Any:
        return self.info.folder / "outputs" / name

    def _opened(self, name: str, column: Column) -> FileArray:
        own = self._own_folder(name)
        is_committed = not np.all(column.tags == MISSING)
        if not is_committed and own.is_dir():  # persisted on its own
            return FileArray(own, *self._shapes(name))
        return FileArray.of_column(column, self.info.folder, *self._shapes(name))

    # -- errors --------------------------------------------------------------------------------------

    def _read_error(self, name: str, index: int, kept: KeptError, _origin_id: int) -> Any:
        stored, origin = kept.error, kept.origin
        func = self._function(name)
        if func is not None:
            whole_inputs = partial(self._whole_inputs, func)
            return snapshot(func, stored, origin, self._arguments(func, index), whole_inputs)
        lost = partial(_raise_lost, name)
        if isinstance(stored, BaseException):
            return ErrorSnapshot(lost, stored, (), {}, *origin)
        return PropagatedErrorSnapshot({}, lost, "input_is_error", {}, origin.timestamp)

    @cached_property
    def _functions(self) -> dict[str, PipeFunc[..., Any] | None]:
        digest = self.info.digests.get(FUNCTIONS)
        if digest is None:
            return {}
        try:
            table = read_value(self.info.folder / FUNCTIONS, digest)
        except Exception:  # damaged: the results are worth having without it
            return {}
        functions: dict[str, PipeFunc[..., Any] | None] = {}
        for key, data in table.items():
            try:
                functions[key] = pickle.loads(data)
            except Exception:  # its module is not there any more
                functions[key] = None
        return functions

    def _function(self, name: str) -> PipeFunc[..., Any] | None:
        return self._functions.get(",".join(self.info.stages[self._stage_of[name]]))

    def _arguments(self, func: PipeFunc[..., Any], index: int) -> dict[str, Any]:
        """Give the arguments of an element by native names, as far as they can be read."""
        keys: dict[str, tuple[int | slice, ...]] = {}
        if func.mapspec is not None and func.mapspec.inputs:
            keys = func.mapspec.input_keys(self._shapes(func.output_names[0])[0], index)
        arguments = {}
        for name, native in func.native_names.items():
            if name in func.bound:
                arguments[native] = func.bound[name]
                continue
            try:
                arguments[native] = self._argument(func, name, keys.get(name))
            except KeyError:  # a default that the function fills in
                continue
            except Exception as error:
                arguments[native] = NotLoaded(name, f"{type(error).__name__}: {error}")
        return arguments

    def _whole_inputs(self, func: PipeFunc[..., Any]) -> dict[str, Any]:
        """Give what each parameter is taken from, by present names, as far as it can be read."""
        values = {}
        for name in func.parameters:
            try:
                values[name] = self._whole_input(name)
            except KeyError:  # a default that the function fills in, or a bound value
                continue
            except Exception as error:
                values[name] = NotLoaded(name, f"{type(error).__name__}: {error}")
        return values

    def _whole_input(self, name: str) -> Any:
        if name in self._stage_of:
            return self.store(name) if self.is_mapped(name) else self.store(name).get_from_index(0)
        return self.info.inputs[name] if name in self.info.inputs else self.info.defaults[name]

    def _argument(self, func: PipeFunc[..., Any], name: str, key: tuple[int | slice, ...] | None) -> Any:
        if name in self._stage_of:
            store = self.store(name)
            if self.is_mapped(name) and key is not None:
                return store[key]
            value = whole_array(store, func, name)
        else:
            value = self._whole_input(name)
        if key is None:
            return given_value(value, func, name)
        return value[key[0] if len(key) == 1 else key]


def _raise_lost(name: str, *_args: object, **_kwargs: object) -> NoReturn:
    raise OperationError(
        f"the function that computes {name!r} could not be read back from the run folder",
        hint="call it with the arguments yourself",
    )
