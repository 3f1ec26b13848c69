"""What is paid once per call, per pipeline or per process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import pipefunc_c
from benchmarks import imports, workloads
from benchmarks.calls import first_element_seconds
from comparison.peer import peer, peer_figure
from comparison.timing import TURNS, least_seconds
from report import Figure, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from comparison.timing import Work

ELEMENTS = 1_000_000
PEER_FUNCTIONS = 100


def construction() -> Iterator[Figure]:
    """Build pipelines of different size; the peer's thousand functions would take half a minute."""

    def work(api: Any, shape: Callable[[Any, int], Any], count: int) -> Work:
        return lambda: shape(api, count), 1

    for shape in (workloads.chain_of, workloads.wide, workloads.annotated):
        name = shape.__name__.removesuffix("_of")
        seconds = least_seconds(
            {
                "100": work(pipefunc_c, shape, 100),
                "1000": work(pipefunc_c, shape, 1000),
                "peer": work(peer, shape, PEER_FUNCTIONS) if peer else None,
            }
        )
        yield Figure(f"construction of 1,000 functions, {name}: cpu", seconds["1000"] * 1e3, "ms", 200)
        yield Figure(
            f"construction, {name}: 1,000 functions against 100", seconds["1000"] / seconds["100"], "x", 12
        )
        yield peer_figure(
            f"construction of {PEER_FUNCTIONS}, {name}", {**seconds, "ours": seconds["100"]}, None
        )


def updates() -> Iterator[Figure]:
    """Change pipelines that exist; each turn changes one of its own, for a name changes once."""

    def work(api: Any, shape: Callable[[Any, int], Any], update: Callable[[Any], object], count: int) -> Work:
        waiting = [shape(api, count) for _ in range(TURNS)]
        return lambda: update(waiting.pop()), 1

    for shape in (workloads.chain_of, workloads.wide):
        name = shape.__name__.removesuffix("_of")
        for kind, update in workloads.UPDATES.items():
            seconds = least_seconds(
                {
                    "1000": work(pipefunc_c, shape, update, 1000),
                    "ours": work(pipefunc_c, shape, update, PEER_FUNCTIONS),
                    "peer": work(peer, shape, update, PEER_FUNCTIONS) if peer else None,
                }
            )
            yield Figure(f"update of 1,000, {kind}, {name}: cpu", seconds["1000"] * 1e3, "ms", 50)
            yield peer_figure(f"update of {PEER_FUNCTIONS}, {kind}, {name}", seconds, None)


def one_by_one() -> Iterator[Figure]:
    """Add, replace and drop functions in calls of their own."""

    def work(api: Any, shape: Callable[[Any, int], Any], count: int) -> Work:
        functions = shape(api, count).functions
        return lambda: workloads.one_by_one(api, functions), 1

    for shape in (workloads.chain_of, workloads.wide):
        name = shape.__name__.removesuffix("_of")
        seconds = least_seconds(
            {
                "1000": work(pipefunc_c, shape, 1000),
                "ours": work(pipefunc_c, shape, PEER_FUNCTIONS),
                "peer": work(peer, shape, PEER_FUNCTIONS) if peer else None,
            }
        )
        yield Figure(f"1,000 adds, replaces and drops, {name}: cpu", seconds["1000"] * 1e3, "ms", 200)
        ratio = seconds["1000"] / seconds["ours"]
        yield Figure(f"adds, replaces and drops, {name}: 1,000 against 100", ratio, "x", 15)
        yield peer_figure(f"{PEER_FUNCTIONS} adds, replaces and drops, {name}", seconds, None)


def cache_hits() -> Iterator[Figure]:
    """Call pipelines whose functions are all cached, with what they were called with before."""
    count = 2000
    for functions in (1, 10):

        def work(api: Any, functions: int = functions) -> Work:
            pipeline, output = workloads.cached_chain(api, functions)
            return lambda: [pipeline(output, x=1) for _ in range(count)], count

        seconds = least_seconds({"ours": work(pipefunc_c), "peer": work(peer) if peer else None})
        yield Figure(f"cache hit, {functions} in a chain: cpu", seconds["ours"] * 1e6, "us", 3)
        yield peer_figure(f"cache hit, {functions} in a chain", seconds, None)


def function_calls() -> Iterator[Figure]:
    """Call a `PipeFunc` that is in no pipeline."""
    count = 10_000

    def work(api: Any) -> Work:
        function = api.PipeFunc(workloads.double, "y")
        return lambda: [function(x=1) for _ in range(count)], count

    seconds = least_seconds({"ours": work(pipefunc_c), "peer": work(peer) if peer else None})
    yield Figure("PipeFunc.__call__: cpu", seconds["ours"] * 1e6, "us", 0.8)
    yield peer_figure("PipeFunc.__call__", seconds, None)


def calls() -> Iterator[Figure]:
    """Call pipelines without mapping."""
    count = 2000
    for functions, budget in ((1, 2), (10, 8)):

        def work(api: Any, functions: int = functions) -> Work:
            pipeline, output = workloads.chain_of(api, functions), f"y{functions - 1}"
            return lambda: [pipeline(output, x=1) for _ in range(count)], count

        seconds = least_seconds({"ours": work(pipefunc_c), "peer": work(peer) if peer else None})
        yield Figure(f"pipeline(...), {functions} in a chain: cpu", seconds["ours"] * 1e6, "us", budget)
        yield peer_figure(f"pipeline(...), {functions} in a chain", seconds, None)


def first_element() -> Iterator[Figure]:
    """Measure from the call of map to the first call of the function."""
    array = np.ones(ELEMENTS)
    for kind, values, budget in (("ndarray", array, 20), ("list", array.tolist(), None)):
        measured = min(first_element_seconds(pipefunc_c, {"x": values}) for _ in range(TURNS))
        yield Figure(f"first of 1e6 elements, {kind}: cpu", measured * 1e3, "ms", budget)


def importing() -> Iterator[Figure]:
    """Import the package in fresh interpreters."""
    seconds = {
        name: min(imports.import_seconds(name) for _ in range(TURNS)) for name in ("pipefunc_c", "numpy")
    }
    detail = f"of it NumPy {duration(seconds['numpy'])}"
    yield Figure("import pipefunc_c: cpu", seconds["pipefunc_c"], "s", 0.2, detail=detail)
    others = set(imports.imported_third_parties("pipefunc_c")) - {"numpy"}
    detail = ", ".join(sorted(others)) or "NumPy alone"
    yield Figure("import pipefunc_c: third parties beside NumPy", len(others), "", 0, detail=detail)
