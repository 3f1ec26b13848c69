"""Run one task loop as the reference, as the fast loop and as the general loop, and compare."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import reference
from kernels.values import identical

from pipefunc_c._kernels import column, source, taskloop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Kit(NamedTuple):
    """One implementation of the kernels."""

    constant: Callable[..., Any]
    elements: Callable[..., Any]
    slices: Callable[..., Any]
    Column: Callable[..., Any]
    TaskLoop: Callable[..., Any]


KERNELS = Kit(source.constant, source.elements, source.slices, column.Column, taskloop.TaskLoop)
REFERENCE = Kit(
    reference.constant, reference.elements, reference.slices, reference.Column, reference.TaskLoop
)
both_loops = pytest.mark.parametrize("loop", ["fast", "general"])


@dataclasses.dataclass
class Failed:
    """An element of an input column that is an error."""

    exception: Exception


@dataclasses.dataclass
class Argument:
    """Where one argument comes from, for any kit."""

    kind: str
    value: Any
    axes: Sequence[int | None] = ()
    shape: Sequence[int] = ()
    layout: Any = None

    def source(self, kit: Kit) -> Any:
        if self.kind == "constant":
            return kit.constant(self.value)
        if self.kind == "elements":
            return kit.elements(self.value, self.axes)
        if self.kind == "slices":
            return kit.slices(self.value, self.axes)
        filled = kit.Column(len(self.value))
        if self.layout is not None:
            filled.fix_layout(*self.layout)
        for i, value in enumerate(self.value):
            if isinstance(value, Failed):
                filled.store_error(i, value.exception)
            else:
                filled.store(i, value)
        return kit.elements(filled, self.axes, tuple(self.shape))


def constant(value: object) -> Argument:
    return Argument("constant", value)


def elements(value: Any, *axes: int) -> Argument:
    return Argument("elements", value, axes)


def slices(value: Any, *axes: int | None) -> Argument:
    return Argument("slices", value, axes)


def from_column(values: Sequence[Any], *axes: int, shape: Sequence[int], layout: Any = None) -> Argument:
    return Argument("column", values, axes, shape, layout)


def numbers(n: int = 5) -> dict[str, Argument]:
    """Make the arguments of a loop over one list of n ints."""
    return {"x": elements(list(range(n)), 0)}


def general(function: Any, parameters: Sequence[str], n_positional: int, n_unpacked: int) -> Any:
    """Make the `invoke` that does what the fast loop does."""

    def invoke(index: int, kwargs: dict[str, object]) -> Sequence[object]:
        positional = [kwargs.pop(name) for name in parameters[:n_positional]]
        result = function(*positional, **kwargs)
        return tuple(result[k] for k in range(n_unpacked)) if n_unpacked else (result,)

    return invoke


def make_loop(
    kit: Kit,
    loop: str,
    function: Any,
    arguments: dict[str, Argument],
    shape: Sequence[int],
    *,
    n_columns: int = 1,
    **options: Any,
) -> tuple[Any, list[Any]]:
    """Build the loop and its columns; `loop` is "fast" or "general"."""
    columns = [kit.Column(math.prod(shape)) for _ in range(n_columns)]
    unpack = options.setdefault("unpack", n_columns > 1)
    if loop == "general":
        n_unpacked = n_columns if unpack else 0
        positional = options.get("n_positional", 0)
        options["invoke"] = general(function, tuple(arguments), positional, n_unpacked)
    sources = [argument.source(kit) for argument in arguments.values()]
    return kit.TaskLoop(function, tuple(arguments), sources, tuple(shape), columns, **options), columns


def kernel_loop(
    loop: str, function: Any, arguments: dict[str, Argument], shape: Sequence[int], **options: Any
) -> Any:
    return make_loop(KERNELS, loop, function, arguments, shape, **options)


def outputs(filled: Any) -> list[Any]:
    """Load every element; missing ones give Ellipsis."""
    return [filled.load(i, ...) for i in range(filled.size)]


@dataclasses.dataclass
class Outcome:
    """What a run left behind."""

    reached: int
    error: BaseException | None
    done: int
    failed: int
    tags: list[list[int]]
    values: list[list[Any]]


def execute(kit: Kit, loop: str, *case: Any, span: tuple[int, int] | None = None, **options: Any) -> Outcome:
    runner, columns = make_loop(kit, loop, *case, **options)
    error = None
    try:
        assert runner.run(*(span or (0, math.prod(case[2])))) == runner.reached
    except Exception as raised:
        error = raised
    tags = [filled.tags.tolist() for filled in columns]
    return Outcome(runner.reached, error, runner.done, runner.failed, tags, [outputs(c) for c in columns])


def agree(result: object, expected: object) -> bool:
    """Say whether two values are identical, or two errors that only the loops word themselves."""
    own = type(expected) in (IndexError, RuntimeError) and isinstance(result, type(expected))
    return own or identical(result, expected)


def compare(
    loop: str, function: Any, arguments: dict[str, Argument], shape: Sequence[int], **options: Any
) -> Outcome:
    """Check that the kernel does what the reference does: values, types, tags, errors, counts."""
    expected = execute(REFERENCE, "fast", function, arguments, shape, **options)
    result = execute(KERNELS, loop, function, arguments, shape, **options)
    assert agree(result.error, expected.error), (result.error, expected.error)
    assert result.reached == expected.reached
    assert result.tags == expected.tags
    for got, wanted in zip(result.values, expected.values, strict=True):
        for i, (left, right) in enumerate(zip(got, wanted, strict=True)):
            assert agree(left, right), (i, left, right)
    if expected.error is None:
        assert (result.done, result.failed) == (expected.done, expected.failed)
    return result
