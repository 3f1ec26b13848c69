"""What a function receives of an input that stands for data elsewhere: a `FileValue` or a storage.

It is read where it is needed, by the process that calls the function: as a whole, once, or by its elements.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._storage.base import StorageBase
from pipefunc_c._storage.column_array import ColumnArray
from pipefunc_c._storage.file_value import FileValue
from pipefunc_c.map._stages.polars import as_annotated
from pipefunc_c.map._stages.values import sliced_array, whole_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipefunc_c._function.pipefunc import PipeFunc


_making_locks = threading.Lock()
if hasattr(os, "register_at_fork"):  # it is held for no longer than a lock is made
    os.register_at_fork(
        before=_making_locks.acquire,
        after_in_parent=_making_locks.release,
        after_in_child=_making_locks.release,
    )


@contextlib.contextmanager
def noted(func: PipeFunc[..., Any]) -> Iterator[None]:
    """Say in a note of an error whose inputs could not be made ready."""
    try:
        yield
    except Exception as error:
        error.add_note(f"This happened while the inputs of {func.__name__} were made ready.")
        raise


class Deferred:
    """Stand for an argument that is read when a process first needs it.

    Parameters
    ----------
    reference
        A `FileValue` or a storage.
    func, name
        The function that receives it, and its parameter: the annotation decides the kind of array.
    sliced
        Whether it receives slices of it.
    """

    def __init__(self, reference: Any, func: PipeFunc[..., Any], name: str, *, sliced: bool = False) -> None:
        self._reference = reference
        self._func = func
        self._name = name
        self._sliced = sliced
        self._loaded: tuple[Any] | None = None
        self._lock: threading.Lock | None = None
        self._lock_owner = 0

    def load(self) -> Any:
        """Give the argument, or what slices are taken of."""
        if self._loaded is None:
            with self._own_lock():  # threads share what one of them reads
                if self._loaded is None:
                    self._loaded = (self._read(),)
        return self._loaded[0]

    def _read(self) -> Any:
        if self._sliced:
            return sliced_array(self._reference, self._func, self._name)[0]
        return given_value(self._reference, self._func, self._name)

    def _own_lock(self) -> threading.Lock:
        lock = self._lock
        if (
            lock is None or self._lock_owner != os.getpid()
        ):  # a thread of the parent may hold its lock for ever
            with _making_locks:
                if self._lock is None or self._lock_owner != os.getpid():
                    self._lock, self._lock_owner = threading.Lock(), os.getpid()
                lock = self._lock
        return lock

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was read: another process reads it again."""
        return {**self.__dict__, "_loaded": None, "_lock": None}


def given_value(value: Any, func: PipeFunc[..., Any], name: str) -> Any:
    """Give what a function receives of a whole input; what stands for data elsewhere is read."""
    if isinstance(value, FileValue):
        value = value.load()
    elif isinstance(value, StorageBase):
        value = whole_array(value, func, name)
    return as_annotated(value, func, name)


def whole_given(value: Any, func: PipeFunc[..., Any], name: str) -> Any:
    """Give an input that is the same for all elements, or a `Deferred` for it."""
    if isinstance(value, (FileValue, StorageBase)):
        return Deferred(value, func, name)
    return as_annotated(value, func, name)


def mapped_given(value: Any, axes: tuple[int | None, ...], func: PipeFunc[..., Any], name: str) -> Any:
    """Give an input that is mapped over, or a `Deferred` for slices of a storage."""
    if isinstance(value, StorageBase) and None in axes:
        return Deferred(value, func, name, sliced=True)
    return value


def opened(value: Any, shape: tuple[int, ...] | None) -> tuple[Any, tuple[int, ...] | None]:
    """Read what an input stands for, in the process that needs it.

    Parameters
    ----------
    value
        An input.
    shape
        Its dimensions, if it is a column.

    Returns
    -------
    tuple
        The input and its dimensions; the column of a storage from which nothing is missing.
    """
    if isinstance(value, Deferred):
        return value.load(), shape
    if isinstance(value, ColumnArray) and not value.internal_shape and value.is_complete():
        return value.column, value.resolved_shape
    return value, shape


def kept_apart(value: Any) -> Any:
    """Give a mapped input as it is now, whatever becomes of the list or array that the user has."""
    if isinstance(value, np.ndarray):
        return value.copy()
    return list(value) if type(value) is list else value


def is_by_reference(value: Any) -> bool:
    """Tell whether an input is a storage whose small pickle is enough for any process to read it."""
    return isinstance(value, StorageBase) and value.requires_serialization and not value.internal_shape


def elements_of(storage: StorageBase, indices: Iterable[int]) -> list[Any]:
    """Read elements of a storage by their linear indices."""
    complete, _ = opened(storage, None)
    load = storage.get_from_index if complete is storage else complete.load
    return [load(int(index)) for index in indices]
