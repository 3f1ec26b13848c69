"""What workers compute is what this process computes: values, types, tags and dtypes."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kernels.values import SCALARS, identical
from map.alone import alone, start
from map.cases import cases, make_functions
from map.test_map_reference import STORAGES, agree, check_output, is_reduced
from reference_map import Case, Reference

from pipefunc_c import PipeFunc, Pipeline

if TYPE_CHECKING:
    from pipefunc_c.map import ResultDict

pytestmark = pytest.mark.timeout(100)

# Each example starts workers.
LIMITS = settings(
    max_examples=120,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def func(body: Any, output: Any = "y", mapspec: str | None = "x[i] -> y[i]", **options: Any) -> PipeFunc:
    return PipeFunc(body, output, mapspec=mapspec, print_error=False, **options)


def of_x(body: Any) -> Any:
    """Name the parameter of a function x."""

    def function(x):
        return body(x)

    return function


def tags(results: ResultDict, name: str) -> list[int]:
    return results[name].store.column.tags.tolist()


def same(parallel: ResultDict, sequential: ResultDict) -> None:
    """Compare all that users can see of two runs."""
    assert list(parallel) == list(sequential)
    for name, result in sequential.items():
        found = parallel[name]
        if not isinstance(result.output, np.ndarray) or result.output.dtype != object:
            assert identical(found.output, result.output), name
            continue
        assert found.output.shape == result.output.shape, name
        for one, other in zip(found.output.ravel(), result.output.ravel(), strict=True):
            assert identical(one, other), (name, one, other)
        assert type(found.array) is type(result.array), name
        assert found.array.dtype == result.array.dtype, (name, found.array.dtype, result.array.dtype)


def check(functions: list[PipeFunc], inputs: dict[str, Any], **options: Any) -> ResultDict:
    """Map in workers, twice, and in this process."""
    expected = Pipeline(functions).map(inputs, parallel=False, **options)
    for _ in range(2):
        found = Pipeline(functions).map(inputs, **options)
        same(found, expected)
    return found


def ragged(x: int) -> Any:
    return np.arange(x % 4)


def late(value: Any, *, after: int, otherwise: Any = float) -> Any:
    """Make a function that gives another kind of value late, and leaves time for the other worker."""

    def body(x):
        time.sleep(0.0005)
        return value if x >= after else otherwise(x)

    return body


def object_at(x: int) -> Any:
    return [{"a": x}, (x, "text"), [x], f"{x}", None, 2**70 + x, b"x" * x][x % 7]


def mixed(x: int) -> Any:
    kinds = list(SCALARS.values())
    return kinds[x % len(kinds)]


N = 120
BODIES = {
    "float": float,
    "float32": np.float32,
    "mixture of all scalars": mixed,
    "complex": complex,
    "first complex late": late(1 + 2j, after=90),
    "first complex64 late": late(np.complex64(1 + 2j), after=119),
    "arrays of one layout": lambda x: np.arange(3.0) + x,
    "arrays of two axes": lambda x: np.full((2, 3), x, dtype=np.int16),
    "arrays without axes": lambda x: np.array(x * 0.5),
    "complex arrays": lambda x: np.arange(3) * 1j,
    "ragged arrays": ragged,
    "arrays in another memory order": lambda x: np.asfortranarray(np.arange(6.0).reshape(2, 3) + x),
    "arrays in another byte order": lambda x: np.arange(3, dtype=">f8") + x,
    "arrays of objects": lambda x: np.array([x, "a", None], dtype=object),
    "first array late": late(np.arange(4), after=80),
    "arrays after an array of another shape": lambda x: np.arange(2 if x else 5),
    "arrays and numbers": lambda x: np.arange(3.0) if x % 3 else x,
    "empty arrays": lambda x: np.zeros((0, 2)),
    "masked arrays": lambda x: np.ma.MaskedArray([x, 1], mask=[True, False]),
    "structured": lambda x: np.array([(x, 0.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "objects": object_at,
    "large objects": lambda x: "text" * 50_000,
}


@pytest.mark.parametrize("name", BODIES)
@alone
def test_one_output(name):
    body = BODIES[name]
    check([func(of_x(body))], {"x": range(N)})


@pytest.mark.parametrize("storage", ["shared_array", "dict", "array", "file_array"])
@alone
def test_storages(storage, tmp_path):
    for number, body in enumerate((float, mixed, ragged, object_at)):
        folder = tmp_path / str(number) if storage == "file_array" else None
        check([func(of_x(body))], {"x": range(50)}, storage=storage, run_folder=folder)


@alone
def test_tags_are_those_of_one_process():
    for body in (float, mixed, complex, object_at, lambda x: np.arange(2.0)):
        pipeline = Pipeline([func(of_x(body))])
        runs = [pipeline.map({"x": range(N)}, parallel=parallel) for parallel in (True, False, True)]
        assert tags(runs[0], "y") == tags(runs[1], "y") == tags(runs[2], "y"), body


@alone
def test_several_outputs_reductions_slices_and_transposed_axes():
    functions = [
        func(lambda x, y: (x * y, np.arange(2.0) + x), ("p", "q"), "x[i], y[j] -> p[i, j], q[i, j]"),
        func(lambda p, q: (float(sum(p)), len(q)), "row", "p[i, :], q[i, :] -> row[i]"),
        func(lambda p: p + 0.5, "turned", "p[i, j] -> turned[j, i]"),
        func(lambda turned: turned.shape, "shape", None),
        func(lambda row, shape: (list(row), shape), "all", None),
    ]
    check(functions, {"x": range(7), "y": np.arange(5.0)})
    check(functions, {"x": range(7), "y": np.arange(5.0)}, scheduling_strategy="eager")
    check(functions, {"x": [], "y": np.arange(5.0)})


@alone
def test_internal_axes_known_and_unknown():
    functions = [
        func(lambda x: [x, float(x), "t"], "y", "x[i] -> y[i, j]"),
        func(lambda y: y, "z", "y[i, j] -> z[j, i]"),
        func(lambda n: list(range(n)), "k", "... -> k[m]"),
        func(lambda k: k * 1j, "w", "k[m] -> w[m]"),
    ]
    inputs = {"x": range(9), "n": 4}
    check(functions, inputs, internal_shapes={"y": 3, "k": 4})
    check(functions, inputs, internal_shapes={"y": "?", "k": "?"})
    check(functions, inputs)


@alone
def test_fixed_indices():
    functions = [
        func(lambda x, y: (x, y), "p", "x[i], y[j] -> p[i, j]"),
        func(lambda p: p[0] * 1j, "q", "p[i, j] -> q[j, i]"),
        func(lambda p: np.arange(2), "r", "p[i, j] -> r[i, j]"),
    ]
    for fixed in ({"i": 3}, {"j": slice(None, None, 2)}, {"i": slice(2, 7), "j": -1}, {"i": slice(5, 5)}):
        check(functions, {"x": range(9), "y": range(6)}, fixed_indices=fixed)


@alone
def test_errors_go_on_through_later_functions():
    def broken(x):
        if x % 5 == 2:
            raise ValueError(x)
        return x / 2

    functions = [
        func(broken, "s", "x[i] -> s[i]"),
        func(lambda s: s + 1, "u", "s[i] -> u[i]"),
        func(lambda u: 0.0 + sum(u), "total", None),
        func(object_at, "o", "x[i] -> o[i]"),
    ]
    results = Pipeline(functions).map({"x": range(40)}, error_handling="continue")
    for x in range(40):
        s, u = results["s"].output[x], results["u"].output[x]
        if x % 5 == 2:
            assert s.exception.args == (x,)
            assert s.kwargs == {"x": x}
            assert "in broken" in s.traceback
            assert u.reason == "input_is_error"
            assert u.error_info["s"].error.exception.args == (x,)
        else:
            assert (s, u) == (x / 2, x / 2 + 1)
    assert results["total"].output.reason == "array_contains_errors"
    assert results["total"].output.error_info["u"].error_count == 8


class Counted:
    """Counts how often it is read back in this process."""

    read = 0

    def __init__(self, x: int) -> None:
        self.x = x

    def __setstate__(self, state: Any) -> None:
        Counted.read += 1
        self.__dict__ = state


@alone
def test_objects_stay_packed_until_they_are_looked_at():
    functions = [
        func(of_x(Counted)),
        func(lambda y: y.x, "z", "y[i] -> z[i]"),
        func(lambda y: sum(each.x for each in y), "n", None),
    ]
    results = Pipeline(functions).map({"x": range(1000)})
    assert Counted.read == 0
    assert results["z"].array.tolist() == list(range(1000))
    assert results["n"].output == sum(range(1000))
    assert Counted.read == 0
    assert results["y"].store.get_from_index(0).x == 0
    assert Counted.read > 0
    assert [each.x for each in results["y"].output] == list(range(1000))
    assert results["y"].output[7] is results["y"].output[7]


@alone
def test_uneven_work_gives_the_same_every_time():
    pause = random.Random(3).choices([0, 0, 0, 0.004], k=200)

    def uneven(x):
        time.sleep(pause[x])
        return mixed(x) if x % 2 else np.arange(x % 3 + 1)

    check([func(uneven)], {"x": range(200)})


@alone
def test_inputs_of_all_kinds():
    objects = np.empty(6, dtype=object)
    objects[:] = [1, "a", None, (1,), [2], np.arange(2)]
    for x in ([1, 2.0, "a", None, np.int8(3), [4]], np.arange(6)[::-1], objects, np.array(list("abcdef"))):
        check([func(lambda x: x), func(lambda x: type(x).__name__, "t", "x[i] -> t[i]")], {"x": x})


# -- random pipelines --------------------------------------------------------------------------------


def map_case(case: Case, data: st.DataObject, **options: Any) -> tuple[ResultDict, ResultDict]:
    """Map a case in workers and in this process."""
    is_part = any(function.can_fail for function in case.functions) or "fixed_indices" in options
    is_empty = any(not case.sizes[axis] for function in case.functions for axis in function.axes or ())
    is_declared = is_part or is_empty or data.draw(st.booleans())
    functions = make_functions(case, [], declared=lambda _function: is_declared)
    options["storage"] = data.draw(st.sampled_from([None, *STORAGES]))
    options["scheduling_strategy"] = data.draw(st.sampled_from(["generation", "eager"]))
    pipeline = Pipeline(functions)
    return pipeline.map(dict(case.inputs), **options), pipeline.map(
        dict(case.inputs), parallel=False, **options
    )


def compare_case(case: Case, reference: Reference, found: ResultDict, expected: ResultDict) -> None:
    for function in case.functions:
        for name in function.outputs:
            check_output(found, reference, function, name)
            if function.is_mapped:
                assert found[name].array.dtype == expected[name].array.dtype


@LIMITS
@given(case=cases(), data=st.data())
def random_values(case, data):
    compare_case(case, Reference(case), *map_case(case, data))


@LIMITS
@given(case=cases(can_fail=True), data=st.data())
def random_errors(case, data):
    compare_case(case, Reference(case), *map_case(case, data, error_handling="continue"))


@LIMITS
@given(case=cases(), data=st.data())
def random_parts(case, data):
    named = {axis for f in case.functions for p in f.parameters for axis in p.axes or () if axis != ":"}
    axes = sorted(axis for axis in named if case.sizes[axis] and not is_reduced(case, axis))
    if axes:
        axis = data.draw(st.sampled_from(axes))
        some = st.builds(slice, st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3))
        fixed = {axis: data.draw(st.integers(0, case.sizes[axis] - 1) | some)}
        compare_case(case, Reference(case, fixed), *map_case(case, data, fixed_indices=fixed))


def run_random(name: str) -> int:
    globals()[name]()
    return os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random_values", "random_errors", "random_parts"])
def test_random_pipelines(name):
    with start(run_random, name) as process:
        assert process.value(60) == process.pid


def test_the_comparison_tells_values_apart():
    assert not agree(1.0, 1)
    assert not agree(np.float64(1), 1.0)
