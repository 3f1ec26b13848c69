"""What cannot be sent to workers: the error names it."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._storage.home import SharedHome
from pipefunc_c.exceptions import InvalidTypeError, OutOfMemoryError
from pipefunc_c.map._engine.options import RunOptions
from pipefunc_c.map._processes import pool_driver
from pipefunc_c.map._processes.refused import refused_recipe
from pipefunc_c.map._processes.worker import Recipe
from pipefunc_c.parallel import WorkerPool

pytestmark = pytest.mark.timeout(60)


class Stubborn:
    def __reduce__(self):
        raise LookupError("not me")


def mapped(func):
    return Pipeline([PipeFunc(func, "y", mapspec="x[i] -> y[i]")])


STUBBORN = Stubborn()
LOCK = threading.Lock()
CASES = {
    "constant": ({"x": [1], "k": LOCK}, lambda x, k: x, "the input 'k', of type 'lock', cannot be pickled"),
    "mapped": ({"x": [1, LOCK]}, lambda x: x, "the input 'x', of type 'list', cannot be pickled: TypeError"),
    "raises": ({"x": [1], "k": STUBBORN}, lambda x, k: x, "'Stubborn', cannot be pickled: LookupError: no"),
    "default": ({"x": [1]}, lambda x, k=STUBBORN: x, "the function '<lambda>' of 'y' cannot be pickled"),
}


@pytest.mark.parametrize(("inputs", "func", "said"), CASES.values(), ids=CASES)
def test_by_its_name(inputs, func, said):
    with WorkerPool(1) as pool, pytest.raises(InvalidTypeError, match=re.escape(said)) as caught:
        mapped(func).map(inputs, executor=pool)
    assert caught.value.__cause__ is not None


def test_what_is_neither_an_input_nor_a_function():
    recipe = Recipe(tuple(mapped(abs).functions), {}, RunOptions(), (0, 0), None, {})
    error = refused_recipe(recipe, LookupError("no reason"))
    assert "something of the run cannot be pickled: LookupError: no reason" in str(error)


def test_inputs_for_which_there_is_no_room_are_no_matter_of_pickling(monkeypatch):
    class Small(SharedHome):
        def allocate(self, nbytes):
            if nbytes > 1 << 20:
                raise OutOfMemoryError("no room")
            return super().allocate(nbytes)

    monkeypatch.setattr(pool_driver, "SharedHome", Small)
    with WorkerPool(1) as pool, pytest.raises(OutOfMemoryError, match="no room"):
        mapped(lambda x, big: x).map({"x": [1], "big": np.zeros(1 << 20)}, executor=pool)
