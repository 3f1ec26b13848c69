"""The pipelines that are measured, written once for this package and for its peer.

``api`` is the module that gives ``PipeFunc`` and ``Pipeline``: both packages have the same ones.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


TEN_MICROSECONDS = 540  # turns of a loop


def double(x):
    """Double: the smallest task that does something."""
    return 2 * x


def clip(x):
    """Return a Python float or the argument itself: two scalar types in one output."""
    return max(0.0, x)


def multiply(x, y):
    """Multiply two arguments."""
    return x * y


def increment(y):
    """Add one."""
    return y + 1


def total(z):
    """Sum a whole array."""
    return z.sum()


def double_and_increment(x):
    """Return two results."""
    return 2 * x, x + 1


def fail(x):
    """Raise for every argument."""
    raise ValueError(x)


def identity(x):
    """Return the argument."""
    return x


def add(x, y):
    """Add two arguments."""
    return x + y


def as_dict(x):
    """Return a small dict."""
    return {"value": x, "known": True}


def ten_microseconds(x):
    """Compute for about ten microseconds."""
    total = float(x)
    for _ in range(TEN_MICROSECONDS):
        total = total * 0.5 + 1.0
    return total


def now(x):
    """Return the time, which all processes read from one clock."""
    return time.monotonic()


def mapped(api: Any, function: Callable[..., Any], output: str | tuple[str, ...], mapspec: str | None) -> Any:
    """Return a pipeline of one function."""
    return api.Pipeline([api.PipeFunc(function, output, mapspec=mapspec)])


def element_wise(api: Any, function: Callable[..., Any]) -> Any:
    """Return the pipeline ``x[i] -> y[i]``."""
    return mapped(api, function, "y", "x[i] -> y[i]")


def outer_product(api: Any) -> Any:
    """Return the pipeline ``x[i], y[j] -> z[i, j]``."""
    return mapped(api, multiply, "z", "x[i], y[j] -> z[i, j]")


def two_outputs(api: Any) -> Any:
    """Return a pipeline whose function gives two outputs."""
    return mapped(api, double_and_increment, ("y", "z"), "x[i] -> y[i], z[i]")


def chain_and_sum(api: Any) -> Any:
    """Return the pipeline x -> y -> z and the sum over z."""
    return api.Pipeline(
        [
            api.PipeFunc(double, "y", mapspec="x[i] -> y[i]"),
            api.PipeFunc(increment, "z", mapspec="y[i] -> z[i]"),
            api.PipeFunc(total, "total"),
        ]
    )


def distinct_functions(count: int) -> list[Callable[..., Any]]:
    """Return functions that share nothing, so that nothing known of one helps with the next."""

    def make() -> Callable[..., Any]:
        def scale(x):
            return 2 * x

        return scale

    return [make() for _ in range(count)]


def chain_of(api: Any, count: int) -> Any:
    """Return a pipeline of ``count`` functions, each fed by the one before."""
    return _chained(api, distinct_functions(count))


def _chained(api: Any, functions: list[Callable[..., Any]]) -> Any:
    names = ["x", *(f"y{position}" for position in range(len(functions)))]
    return api.Pipeline(
        [
            api.PipeFunc(function, output, renames={"x": given})
            for function, given, output in zip(functions, names, names[1:], strict=False)
        ]
    )


def wide(api: Any, count: int) -> Any:
    """Return a pipeline of ``count`` functions that all read one input."""
    functions = enumerate(distinct_functions(count))
    return api.Pipeline([api.PipeFunc(function, f"y{position}") for position, function in functions])


def annotated(api: Any, count: int) -> Any:
    """Return a chain of ``count`` functions with type annotations, which are compared."""
    functions = distinct_functions(count)
    for function in functions:
        function.__annotations__ = {"x": "float", "return": "float"}
    return _chained(api, functions)


def cached_chain(api: Any, count: int) -> tuple[Any, str]:
    """Return a chain of cached functions that was called with x=1, and its last output."""
    chain = chain_of(api, count)
    functions = [function.copy(cache=True) for function in chain.functions]
    pipeline, output = api.Pipeline(functions, cache_type="simple"), f"y{count - 1}"
    pipeline(output, x=1)
    return pipeline, output


def one_by_one(api: Any, functions: list[Any]) -> Any:
    """Add each function to an empty pipeline, replace each and drop each."""
    pipeline = api.Pipeline([])
    for function in functions:
        pipeline.add(function)
    for function in functions:
        pipeline.replace(function)
    for function in functions:
        pipeline.drop(output_name=function.output_name)
    return pipeline


# What is changed in a pipeline that `chain_of` or `wide` made.
UPDATES: dict[str, Callable[[Any], object]] = {
    "one default": lambda pipeline: pipeline.update_defaults({"x": 1}),
    "one rename": lambda pipeline: pipeline.update_renames({"y0": "first"}),
    "scope of all": lambda pipeline: pipeline.update_scope("s", inputs="*", outputs="*"),
    "one function": lambda pipeline: pipeline.replace(pipeline["y1"]),
}


def numbers(count: int) -> np.ndarray:
    """Return ``count`` floats, half of them negative, in no order."""
    return np.random.default_rng(7).standard_normal(count)


def map_sequentially(pipeline: Any, inputs: dict[str, Any], **options: Any) -> Any:
    """Map in this process, in memory, without a progress bar: what both packages can do."""
    return pipeline.map(inputs, parallel=False, show_progress=False, **{"storage": "dict", **options})


def map_in_workers(pipeline: Any, inputs: dict[str, Any], **options: Any) -> Any:
    """Map in worker processes that start for this map, one per core, without a progress bar."""
    return pipeline.map(inputs, parallel=True, show_progress=False, **options)


def first_in_workers(pipeline: Any, inputs: dict[str, Any], **options: Any) -> float:
    """Return the seconds between the call of map and the first call of `now` in a worker."""
    started = time.monotonic()
    results = map_in_workers(pipeline, inputs, **options)
    return float(results["y"].array.min()) - started
