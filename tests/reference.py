"""The slow, obvious version of each kernel, for the tests that compare."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MISSING, FLOAT, INT, BOOL, NONE = range(5)
FLOAT64, FLOAT32, FLOAT16 = range(5, 8)
INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64 = range(8, 16)
NUMPY_BOOL, COMPLEX, COMPLEX128, COMPLEX64, ARRAY, OBJECT, ERROR = range(16, 23)

TAG_OF_TYPE: dict[type, int] = {
    float: FLOAT,
    int: INT,
    bool: BOOL,
    type(None): NONE,
    np.float64: FLOAT64,
    np.float32: FLOAT32,
    np.float16: FLOAT16,
    np.int8: INT8,
    np.int16: INT16,
    np.int32: INT32,
    np.int64: INT64,
    np.uint8: UINT8,
    np.uint16: UINT16,
    np.uint32: UINT32,
    np.uint64: UINT64,
    np.bool_: NUMPY_BOOL,
    complex: COMPLEX,
    np.complex128: COMPLEX128,
    np.complex64: COMPLEX64,
}
DTYPE_OF_TAG = {tag: np.dtype(kind) for kind, tag in TAG_OF_TYPE.items() if kind is not type(None)}


# ---- index -------------------------------------------------------------------------------------


def axis_strides(strides: Sequence[int], axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Add up the strides of the dimensions that each task axis indexes."""
    return tuple(sum(s for s, a in zip(strides, axes, strict=True) if a == axis) for axis in range(ndim))


def walk(shape: Sequence[int], strides: Sequence[Sequence[int]], start: int, stop: int) -> np.ndarray:
    """Compute the offset of each input for each task from its unravelled index."""
    if not 0 <= start <= stop <= math.prod(shape):
        raise ValueError((start, stop))
    offsets = np.zeros((len(strides), stop - start), dtype=np.int64)
    for task in range(start, stop):
        index = np.unravel_index(task, tuple(shape)) if len(shape) else ()
        for row, steps in enumerate(strides):
            offsets[row, task - start] = sum(int(i) * s for i, s in zip(index, steps, strict=True))
    return offsets


def intersect_runs(runs: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Keep the elements of the runs that lie in [start, stop)."""
    clipped = [(max(int(b), start), min(int(e), stop)) for b, e in runs]
    return np.array([(b, e) for b, e in clipped if b < e], dtype=np.int64).reshape(-1, 2)


def runs_of(mask: np.ndarray) -> np.ndarray:
    """List the runs of True."""
    runs: list[list[int]] = []
    for i, present in enumerate(mask):
        if present and runs and runs[-1][1] == i:
            runs[-1][1] = i + 1
        elif present:
            runs.append([i, i + 1])
    return np.array(runs, dtype=np.int64).reshape(-1, 2)


# ---- column ------------------------------------------------------------------------------------


def tag_of(value: object, layout: tuple[np.dtype, tuple[int, ...]] | None = None) -> int:
    """Name the tag under which a column keeps the value."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        return OBJECT
    if layout and type(value) is np.ndarray and (value.dtype, value.shape) == layout:
        return ARRAY
    return TAG_OF_TYPE.get(type(value), OBJECT)


class Column:
    """A dict from index to (tag, value)."""

    def __init__(self, size: int, home: object = None) -> None:
        self.size = size
        self.home = home
        self.kept: dict[int, tuple[int, Any]] = {}
        self.layout: tuple[np.dtype, tuple[int, ...]] | None = None
        self.read_error: Callable[[int, object, int], object] | None = None
        self.closed = False

    def _check(self, index: int) -> None:
        if self.closed:
            raise ValueError("closed")
        if not 0 <= index < self.size:
            raise IndexError(index)

    def store(self, index: int, value: object) -> None:
        self._check(index)
        tag = tag_of(value, self.layout)
        self.kept[index] = (tag, value.copy() if tag == ARRAY else value)  # type: ignore[attr-defined]

    def load(self, index: int, default: object = None) -> object:
        self._check(index)
        tag, value = self.kept.get(index, (MISSING, default))
        if tag == ERROR and self.read_error:
            return self.read_error(index, *value)
        if tag == ERROR:
            return value[0]
        return value.copy() if tag == ARRAY else value

    def tag(self, index: int) -> int:
        self._check(index)
        return self.kept.get(index, (MISSING, None))[0]

    def clear(self, index: int) -> None:
        self._check(index)
        self.kept.pop(index, None)

    def store_error(self, index: int, exception: object, origin_id: int = 0) -> None:
        self._check(index)
        self.kept[index] = (ERROR, (exception, origin_id))

    def load_error(self, index: int) -> tuple[object, int]:
        if self.tag(index) != ERROR:
            raise ValueError(index)
        return self.kept[index][1]

    def fix_layout(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        if self.layout is not None:
            raise ValueError("twice")
        self.layout = (np.dtype(dtype), tuple(shape))

    @property
    def tags(self) -> np.ndarray:
        return np.array([self.tag(i) for i in range(self.size)], dtype=np.uint8)

    def tag_set(self, start: int = 0, stop: int | None = None) -> int:
        return sum(1 << int(tag) for tag in set(self.tags[start:stop].tolist()))

    def count(self, tag: int, start: int = 0, stop: int | None = None) -> int:
        return self.tags[start:stop].tolist().count(tag)

    def typed(self) -> np.ndarray | None:
        dtypes = {DTYPE_OF_TAG.get(tag) for tag, _ in self.kept.values()}
        if len(dtypes) != 1 or None in dtypes:
            return None
        result = np.zeros(self.size, dtype=dtypes.pop())
        for i, (_, value) in self.kept.items():
            result[i] = value
        return result

    def slab(self) -> np.ndarray | None:
        if self.layout is None or {tag for tag, _ in self.kept.values()} != {ARRAY}:
            return None
        result = np.zeros((self.size, *self.layout[1]), dtype=self.layout[0])
        for i, (_, value) in self.kept.items():
            result[i] = value
        return result

    def objects(self, start: int = 0, stop: int | None = None, default: object = None) -> np.ndarray:
        indices = range(self.size)[start:stop]
        result = np.empty(len(indices), dtype=object)
        for k, i in enumerate(indices):
            result[k] = self.load(i, default)
        return result

    def close(self) -> None:
        self.closed = True


# ---- taskloop ----------------------------------------------------------------------------------

Source = Any  # a function from the task's index to the argument
IS_ERROR = object()


def constant(value: object) -> Source:
    """Give the same object for each element."""
    return lambda index: value


def elements(value: Any, axes: Sequence[int], shape: Sequence[int] | None = None) -> Source:
    """Give value[index]."""

    def fetch(index: tuple[int, ...]) -> object:
        own = tuple(index[axis] for axis in axes)
        if isinstance(value, Column):
            linear = sum(i * math.prod(shape[d + 1 :]) for d, i in enumerate(own))  # type: ignore[index]
            return IS_ERROR if value.tag(linear) == ERROR else value.load(linear)
        return value[own[0] if len(own) == 1 else own]

    return fetch


def slices(value: Any, axes: Sequence[int | None]) -> Source:
    """Give value[index] with whole axes."""
    return lambda index: value[tuple(slice(None) if axis is None else index[axis] for axis in axes)]


class TaskLoop:
    """A plain for loop over the requested elements."""

    def __init__(
        self,
        function: Callable[..., Any],
        parameters: Sequence[str],
        sources: Sequence[Source],
        shape: Sequence[int],
        columns: Sequence[Column],
        *,
        n_positional: int = 0,
        unpack: bool = False,
        runs: np.ndarray | None = None,
        capture_errors: bool = False,
        invoke: Callable[[int, dict[str, object]], Sequence[object]] | None = None,
        propagate: Callable[[int], object] | None = None,
    ) -> None:
        self.function, self.parameters, self.sources = function, list(parameters), list(sources)
        self.shape, self.columns = tuple(shape), list(columns)
        self.n_positional, self.unpack, self.runs = n_positional, unpack, runs
        self.capture_errors, self.invoke, self.propagate = capture_errors, invoke, propagate
        self.reached = self.done = self.failed = 0
        self.seconds = 0.0

    def _requested(self, start: int, stop: int) -> Iterator[int]:
        runs = np.array([[start, stop]]) if self.runs is None else self.runs
        for begin, end in intersect_runs(runs, start, stop):
            yield from range(int(begin), int(end))

    def _values(self, task: int) -> list[object]:
        index = tuple(int(i) for i in np.unravel_index(task, self.shape)) if self.shape else ()
        arguments = [source(index) for source in self.sources]
        if any(argument is IS_ERROR for argument in arguments):
            return [IS_ERROR]
        named = dict(zip(self.parameters[self.n_positional :], arguments[self.n_positional :], strict=True))
        if self.invoke:
            return list(self.invoke(task, dict(zip(self.parameters, arguments, strict=True))))
        result = self.function(*arguments[: self.n_positional], **named)
        return [result[k] for k in range(len(self.columns))] if self.unpack else [result]

    def _store_error(self, task: int, error: object) -> None:
        self.done += 1
        self.failed += 1
        for column in self.columns:
            column.store_error(task, error)

    def run(
        self,
        start: int,
        stop: int,
        *,
        deadline: float = math.inf,
        max_bytes: int = 1 << 26,
        stop_flag: Any = None,
    ) -> int:
        if not 0 <= start <= stop <= math.prod(self.shape):
            raise ValueError((start, stop))
        began = time.monotonic()
        self.done = self.failed = n_bytes = 0
        for task in self._requested(start, stop):
            self.reached = task
            started = task if self.done else start
            late = time.monotonic() >= deadline or n_bytes >= max_bytes
            if (stop_flag is not None and stop_flag[0]) or (late and self.done):
                self.reached = started
                return started
            try:
                values = self._values(task)
                if values[0] is IS_ERROR and self.propagate is None:
                    raise RuntimeError(task)
            except Exception as error:
                if not self.capture_errors:
                    raise
                self._store_error(task, error)
                continue
            if values[0] is IS_ERROR:
                self._store_error(task, self.propagate(task))  # type: ignore[misc]
                continue
            for column, value in zip(self.columns, values, strict=True):
                column.store(task, value)
                n_bytes += value.nbytes if isinstance(value, np.ndarray) else 9
            self.done += 1
        self.seconds = time.monotonic() - began
        self.reached = stop
        return stop
