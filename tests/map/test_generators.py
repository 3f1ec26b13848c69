"""Random generators that functions hold: no two workers repeat a stream, no two maps do."""

from __future__ import annotations

import functools
import random
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from map.alone import alone

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.map._stages.generators import held_generators, redraw
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)

GENERATOR = np.random.default_rng(1)
LEGACY = np.random.RandomState(1)  # noqa: NPY002  it is one that users have
PLAIN = random.Random(1)
DEFAULT = np.random.default_rng(5)
TABLE = {"rng": np.random.default_rng(2)}


def helper() -> float:
    return float(GENERATOR.random())


def by_helper(x):
    time.sleep(0.001)
    return helper()


class Noise:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, x):
        time.sleep(0.001)
        return self.rng.random()

    def method(self, x):
        return self(x)


def drawn(function, executor=None, n=40, **inputs):
    pipeline = Pipeline([PipeFunc(function, "y", mapspec="x[i] -> y[i]")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(
            pipeline.map({"x": range(n), **inputs}, executor=executor, show_progress=False)["y"].output
        )


def slowly(draw):
    """Give both workers something to do."""

    def function(x):
        time.sleep(0.001)
        return draw()

    return function


def global_generator(x):
    time.sleep(0.001)
    return float(GENERATOR.random())


HOLDERS = {
    "global": global_generator,
    "helper": by_helper,
    "closure": slowly(np.random.default_rng(3).random),
    "bound": slowly(functools.partial(np.random.default_rng(4).normal, 0.0, 1.0)),
    "default": lambda x, rng=DEFAULT: (time.sleep(0.001), rng.random())[1],
    "instance": Noise(6),
    "method": Noise(7).method,
    "legacy": slowly(LEGACY.random_sample),
    "plain": slowly(PLAIN.random),
    "container": lambda x: (time.sleep(0.001), float(TABLE["rng"].random()))[1],
    "philox": slowly(np.random.Generator(np.random.Philox(1)).random),
}


def all_differ(*runs) -> bool:
    numbers = [number for run in runs for number in run]
    return len(set(numbers)) == len(numbers)


@alone
def test_fresh_workers_never_repeat():
    for holder in HOLDERS.values():
        assert all_differ(*(drawn(holder) for _ in range(2)))


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
@alone
def test_a_worker_pool_never_repeats(start_method):
    with WorkerPool(2, start_method=start_method) as pool:
        for holder in HOLDERS.values():
            assert all_differ(*(drawn(holder, pool) for _ in range(2)))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@alone
def test_executors_of_others_never_repeat(start_method):
    with ProcessPoolExecutor(2, mp_context=get_context(start_method)) as executor:
        for holder in HOLDERS.values():
            assert all_differ(*(drawn(holder, executor) for _ in range(2)))


@alone
def test_a_generator_among_the_inputs():
    rng = np.random.default_rng(8)

    def noise(x, rng):
        time.sleep(0.001)
        return float(rng.random())

    with WorkerPool(2) as pool:
        runs = [drawn(noise, executor, rng=rng) for executor in (None, pool, None, pool)]
    assert all_differ(*runs, rng.random(1000).tolist())


def prepare() -> None:
    global GENERATOR  # noqa: PLW0603  what initializers do
    GENERATOR = np.random.default_rng(10)


@alone
def test_what_an_initializer_seeds_is_left_to_it():
    with WorkerPool(1, initializer=prepare) as pool:
        assert drawn(global_generator, pool, n=5) == np.random.default_rng(10).random(5).tolist()


@alone
def test_sequential_maps_and_threads_draw_from_the_generator_itself():
    expected = np.random.default_rng(11).random(10).tolist()
    rng = np.random.default_rng(11)
    pipeline = Pipeline([PipeFunc(lambda x: float(rng.random()), "y", mapspec="x[i] -> y[i]")])
    assert list(pipeline.map({"x": range(10)}, parallel=False)["y"].output) == expected


@pytest.mark.parametrize("name", ["GENERATOR", "LEGACY", "PLAIN"])
def test_generators_are_found_once_with_their_name(name):
    source = f"lambda x: ({name}, {name})"
    held = held_generators(eval(source, globals()), {})  # noqa: S307  the source is two lines above
    assert [(each.name, each.is_global) for each in held] == [(name, True)]


def test_what_has_no_stream_is_left_alone():
    dice = random.SystemRandom()
    assert held_generators(lambda x: dice.random(), {"dice": dice}) == []


def test_functions_of_other_packages_are_not_looked_into():
    assert held_generators(random.choice, {}) == []
    assert held_generators(np.mean, {}) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: random.Random(1),
        lambda: np.random.default_rng(1),
        lambda: np.random.RandomState(1),  # noqa: NPY002  it is one that users have
        lambda: np.random.RandomState(np.random.PCG64(1)),  # noqa: NPY002  the same on another source
        lambda: np.random.Generator(np.random.MT19937(1)),
        lambda: np.random.Generator(np.random.SFC64(1)),
        lambda: np.random.Generator(np.random.PCG64DXSM(1)),
    ],
)
def test_a_stream_depends_on_state_and_key_alone(make):
    def numbers(key):
        generator = make()
        if isinstance(generator, np.random.RandomState):
            generator.normal()  # keeps the second number of a pair
        redraw([generator], key)
        normal = getattr(generator, "normal", None) or generator.normalvariate
        return [float(normal(0, 1)), *(float(generator.random()) for _ in range(5))]

    assert numbers((1, 2)) == numbers((1, 2))
    assert all_differ(numbers((1, 2)), numbers((1, 3)), [float(make().random())])
