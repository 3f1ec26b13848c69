"""A map as nested loops over plain dicts: slow and obvious, for the tests that compare the engine with it."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Axes = tuple[str, ...]


class Failure(Exception):
    """What the functions of the tests raise; its argument is the record of the call."""


@dataclass(frozen=True)
class Failed:
    """An element whose call raised."""

    record: Any


@dataclass(frozen=True)
class Skipped:
    """An element that was not computed because of an earlier error."""

    reason: str


@dataclass(frozen=True)
class Parameter:
    """How a function takes one value: ``axes`` None = whole; else per dimension an index or ":"."""

    native: str
    name: str
    axes: tuple[str, ...] | None = None
    bound: Any = None
    is_bound: bool = False
    default: Any = None
    has_default: bool = False


@dataclass(frozen=True)
class Function:
    """One function: it tells its arguments apart by exact type and makes its results out of that."""

    name: str
    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    axes: Axes | None  # of the outputs; None where an output is one value
    internal: Axes  # those of them that the function itself returns
    palette: tuple[str, ...]
    can_fail: bool = False

    @property
    def is_mapped(self) -> bool:
        return any(p.axes is not None for p in self.parameters)

    @property
    def mapspec(self) -> str | None:
        if self.axes is None:
            return None
        inputs = [f"{p.name}[{', '.join(p.axes)}]" for p in self.parameters if p.axes is not None]
        outputs = [f"{name}[{', '.join(self.axes)}]" for name in self.outputs]
        return f"{', '.join(inputs) or '...'} -> {', '.join(outputs)}"


@dataclass
class Case:
    """A pipeline with its inputs."""

    functions: list[Function]
    sizes: dict[str, int]
    inputs: dict[str, Any]
    array_axes: dict[str, Axes] = field(default_factory=dict)


def canonical(value: Any) -> Any:
    """Describe a value by exact types and values, in plain tuples."""
    if isinstance(value, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(value).ravel().tolist()
        return ("masked", mask, canonical(np.ma.getdata(value)))
    if isinstance(value, np.ndarray):
        flat = value.ravel()
        elements = tuple(canonical(flat[k]) for k in range(flat.size))
        return (type(value).__name__, str(value.dtype), value.shape, elements)
    if isinstance(value, list | tuple):
        return (type(value).__name__, tuple(map(canonical, value)))
    return (type(value).__name__, repr(value))


def make_value(kind: str, seed: int, shape: tuple[int, ...] = ()) -> Any:
    """Make a value of a kind out of a number; of a shape if one is given."""
    if kind == "nested":
        if not shape:
            return seed % 97
        return [make_value(kind, seed // 3 + k, shape[1:]) for k in range(shape[0])]
    if shape:
        dtype = {"int": np.int64, "np.float32": np.float32, "bool": np.bool_}.get(kind, np.float64)
        return ((np.arange(math.prod(shape)) + seed % 89) % 11).astype(dtype).reshape(shape)
    return {
        "float": lambda: seed / 7,
        "int": lambda: seed % 1000 - 500,
        "big int": lambda: 3**50 + seed,
        "bool": lambda: seed % 2 == 0,
        "None": lambda: None,
        "np.float64": lambda: np.float64(seed / 3),
        "np.float32": lambda: np.float32(seed / 3),
        "np.int8": lambda: np.int8(seed % 127),
        "np.bool": lambda: np.bool_(seed % 2),
        "complex": lambda: complex(seed, -1),
        "str": lambda: f"s{seed % 1000}",
        "list": lambda: [seed % 10, "x"],
        "tuple": lambda: (seed % 10, 0.5),
        "array": lambda: np.arange(3.0) + seed % 10,
        "ragged": lambda: np.arange(seed % 4),
        "int array": lambda: np.arange(4, dtype=np.int32).reshape(2, 2) + seed % 10,
    }[kind]()


def call(function: Function, sizes: dict[str, int], kwargs: dict[str, Any]) -> Any:
    """Do what the function does: fail, or give one value per output."""
    record = (function.name, tuple((name, canonical(kwargs[name])) for name in sorted(kwargs)))
    seed = zlib.crc32(repr(record).encode())
    if function.can_fail and seed % 4 == 0:
        raise Failure(record)
    shape = tuple(sizes[axis] for axis in function.internal)
    values = tuple(
        make_value(function.palette[(seed + k) % len(function.palette)], seed // 5 + k, shape)
        for k in range(len(function.outputs))
    )
    return values if len(values) > 1 else values[0]


def object_array(cells: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    flat = np.empty(len(cells), dtype=object)
    for k, cell in enumerate(cells):
        flat[k] = cell
    return flat.reshape(shape)


class Reference:
    """Evaluate a case: ``values`` by name, and of mapped outputs ``arrays``, {full index: element} by name.

    ``requested`` limits the elements: index or slice per axis; others are missing from ``arrays``.
    """

    def __init__(self, case: Case, requested: dict[str, int | slice] | None = None) -> None:
        self.case = case
        self.requested = {
            axis: {range(case.sizes[axis])[k]} if isinstance(k, int) else set(range(case.sizes[axis])[k])
            for axis, k in (requested or {}).items()
        }
        self.values: dict[str, Any] = dict(case.inputs)
        self.arrays: dict[str, dict[tuple[int, ...], Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.calls: list[Any] = []
        self.failures: list[tuple[str, int]] = []  # function, linear index
        for function in case.functions:
            (self._map if function.is_mapped else self._call)(function)

    # -- one function --------------------------------------------------------------------------------

    def _call(self, function: Function) -> None:
        result = self._element(function, {}, 0)
        for k, name in enumerate(function.outputs):
            is_error = isinstance(result, Failed | Skipped)
            self.values[name] = result[k] if len(function.outputs) > 1 and not is_error else result

    def _map(self, function: Function) -> None:
        sizes = self.case.sizes
        assert function.axes is not None
        external = [axis for axis in function.axes if axis not in function.internal]
        shape = tuple(sizes[axis] for axis in external)
        for name in function.outputs:
            self.arrays[name] = {}
            self.shapes[name] = tuple(sizes[axis] for axis in function.axes)
        for linear, place in enumerate(np.ndindex(shape)):
            at = dict(zip(external, place, strict=True))
            if any(at[axis] not in allowed for axis, allowed in self.requested.items() if axis in at):
                continue
            result = self._element(function, at, linear)
            for k, name in enumerate(function.outputs):
                is_error = isinstance(result, Failed | Skipped)
                value = result[k] if len(function.outputs) > 1 and not is_error else result
                self._store(function, name, at, value)

    def _store(self, function: Function, name: str, at: dict[str, int], value: Any) -> None:
        assert function.axes is not None
        internal_shape = tuple(self.case.sizes[axis] for axis in function.internal)
        for inner in np.ndindex(internal_shape):
            full = {**at, **dict(zip(function.internal, inner, strict=True))}
            is_whole = isinstance(value, Failed | Skipped) or not function.internal
            element = value if is_whole else np.asarray(value)[inner]
            self.arrays[name][tuple(full[axis] for axis in function.axes)] = element

    def _element(self, function: Function, at: dict[str, int], linear: int) -> Any:
        kwargs = {p.native: self._argument(p, at) for p in function.parameters}
        if any(isinstance(value, Failed | Skipped) for value in kwargs.values()):
            return Skipped("input_is_error")
        if any(self._contains_errors(value) for value in kwargs.values()):
            return Skipped("array_contains_errors")
        try:
            result = call(function, self.case.sizes, kwargs)
        except Failure as failure:
            self.failures.append((function.name, linear))
            self.calls.append(failure.args[0])
            return Failed(failure.args[0])
        record = (function.name, tuple((name, canonical(kwargs[name])) for name in sorted(kwargs)))
        self.calls.append(record)
        return result

    @staticmethod
    def _contains_errors(value: Any) -> bool:
        return (
            isinstance(value, np.ndarray)
            and value.dtype == object
            and any(isinstance(each, Failed | Skipped) for each in np.ma.getdata(value).ravel())
        )

    # -- one argument --------------------------------------------------------------------------------

    def _argument(self, parameter: Parameter, at: dict[str, int]) -> Any:
        name = parameter.name
        if parameter.is_bound:
            return parameter.bound
        if name not in self.values and name not in self.arrays:
            assert parameter.has_default
            return parameter.default
        if parameter.axes is None:
            return self.whole(name) if name in self.arrays else self.values[name]
        key = tuple(slice(None) if axis == ":" else at[axis] for axis in parameter.axes)
        if name in self.arrays:
            if not any(isinstance(k, slice) for k in key):
                return self.arrays[name][key]
            return self._part(name, key)
        value = self.values[name]
        if isinstance(value, Failed | Skipped):
            return value
        return value[key[0]] if len(key) == 1 else value[key]

    def _part(self, name: str, key: tuple[int | slice, ...]) -> np.ndarray:
        shape = self.shapes[name]
        kept = [axis for axis, k in enumerate(key) if isinstance(k, slice)]
        part = tuple(shape[axis] for axis in kept)
        cells, missing = [], []
        for place in np.ndindex(part):
            full = list(key)
            for axis, k in zip(kept, place, strict=True):
                full[axis] = k
            missing.append(tuple(full) not in self.arrays[name])
            cells.append(self.arrays[name].get(tuple(full)))
        array = object_array(cells, part)
        return np.ma.MaskedArray(array, mask=np.reshape(missing, part)) if any(missing) else array

    def whole(self, name: str) -> np.ndarray:
        """Give a mapped output as an object array, masked where elements are missing."""
        return self._part(name, (slice(None),) * len(self.shapes[name]))
