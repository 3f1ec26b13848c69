"""A map in the background leaves the event loop free."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipefunc_c import PipeFunc, Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipefunc_c.map import AsyncMap

pytestmark = [pytest.mark.timeout(110), pytest.mark.slow]

TICK = 0.01
MAX_LATE = 0.1
TRIES = 4  # other programs make a ticker late too
N = 1_000_000


def pipeline(*functions: tuple[Any, str, str | None]) -> Pipeline:
    return Pipeline([PipeFunc(func, name, mapspec=mapspec) for func, name, mapspec in functions])


async def lateness(start: Callable[[], AsyncMap]) -> float:
    """Give by how much a ticker is late at most while a map runs, its call included."""
    loop, late = asyncio.get_running_loop(), [0.0]

    async def tick() -> None:
        while True:
            began = loop.time()
            await asyncio.sleep(TICK)
            late.append(loop.time() - began - TICK)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(5 * TICK)
    results = await start().task
    await asyncio.sleep(2 * TICK)
    ticker.cancel()
    assert results
    return max(late)


def double(x: Any) -> Any:
    return 2 * x


def total(y: Any) -> float:
    return float(sum(y))


def use_constant(x: int, constant: Any) -> float:
    return x + float(constant[0])


def as_dict(x: int) -> dict[str, int]:
    return {"x": x}


ARRAY_80_MB = np.zeros(10_000_000)
MAP = "x[i] -> y[i]"
CASES: dict[str, tuple[Pipeline, Callable[[], dict[str, Any]]]] = {
    "array of 80 MB": (
        pipeline((use_constant, "y", MAP)),
        lambda: {"x": range(20), "constant": ARRAY_80_MB},
    ),
    "list of 80 MB": (
        pipeline((use_constant, "y", MAP)),
        lambda: {"x": range(20), "constant": [0.5 * k for k in range(10_000_000)]},
    ),
    "elements of an array": (pipeline((double, "y", MAP)), lambda: {"x": np.arange(N)}),
    "elements of a list": (pipeline((double, "y", MAP)), lambda: {"x": list(range(N))}),
    "objects": (pipeline((as_dict, "y", MAP)), lambda: {"x": range(N // 4)}),
    "builtin": (Pipeline([PipeFunc(float, "y", mapspec=MAP)]), lambda: {"x": np.arange(N)}),
    "reduction": (pipeline((double, "y", MAP), (total, "total", None)), lambda: {"x": np.arange(N)}),
    "builtin as reduction": (
        Pipeline([PipeFunc(double, "y", mapspec=MAP), PipeFunc(sum, "total", renames={"iterable": "y"})]),
        lambda: {"x": np.arange(N)},
    ),
    "builtin called once": (
        Pipeline([PipeFunc(sorted, "y", renames={"iterable": "x"}, bound={"key": None, "reverse": False})]),
        lambda: {"x": np.random.default_rng(0).random(N).tolist()},
    ),
}


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("case", CASES)
async def test_the_event_loop_is_never_late(case, durable, tmp_path):
    made, make_inputs = CASES[case]
    inputs = make_inputs()
    late = []
    for number in range(TRIES):
        folder = tmp_path / str(number) if durable else None
        late.append(await lateness(lambda folder=folder: made.map_async(inputs, folder)))
        if late[-1] < MAX_LATE:
            break
    assert min(late) < MAX_LATE, late


@pytest.mark.parametrize("case", ["elements of an array", "builtin", "reduction"])
async def test_the_event_loop_is_never_late_beside_threads(case):
    made, make_inputs = CASES[case]
    inputs = make_inputs()
    with ThreadPoolExecutor(2) as executor:
        late = [await lateness(lambda: made.map_async(inputs, executor=executor)) for _ in range(TRIES)]
    assert min(late) < MAX_LATE, late
