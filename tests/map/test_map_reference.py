"""Random pipelines give what nested loops give: values, types, calls and errors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from kernels.values import identical
from map.cases import cases, make_functions
from reference_map import Case, Failed, Failure, Function, Reference, Skipped

from pipefunc_c import Pipeline
from pipefunc_c.exceptions import ErrorSnapshot, PropagatedErrorSnapshot
from pipefunc_c.map import ResultDict, storage_registry

STORAGES = sorted(name for name, each in storage_registry.items() if not each.requires_serialization)
LIMITS = settings(
    max_examples=300,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)

pytestmark = pytest.mark.timeout(100)


def given_inputs(case: Case, nested: bool) -> dict[str, Any]:
    if not nested:
        return dict(case.inputs)
    inside = {name.partition(".")[2]: value for name, value in case.inputs.items() if "." in name}
    rest = {name: value for name, value in case.inputs.items() if "." not in name}
    return {**rest, "s": inside} if inside else rest


def run(case: Case, data: st.DataObject, calls: list[Any], **options: Any) -> ResultDict:
    """Map a case with random options that change nothing of what comes out."""
    is_part = any(function.can_fail for function in case.functions) or "fixed_indices" in options
    is_empty = any(not case.sizes[axis] for function in case.functions for axis in function.axes or ())
    is_declared = is_part or is_empty or data.draw(st.booleans(), label="internal shapes declared")
    functions = make_functions(case, calls, declared=lambda _function: is_declared)
    ids = {f.outputs[0]: data.draw(st.sampled_from(STORAGES)) for f in case.functions}
    note(f"{[function.mapspec for function in case.functions]}")
    return Pipeline(functions).map(
        given_inputs(case, data.draw(st.booleans(), label="nested scope")),
        storage=data.draw(st.sampled_from([None, *STORAGES]) | st.just(ids), label="storage"),
        scheduling_strategy=data.draw(st.sampled_from(["generation", "eager"])),
        parallel=False,  # the calls are counted in this process
        **options,
    )


def agree(actual: Any, expected: Any) -> bool:
    """Compare an element; an error must be of the right kind and name the call."""
    if isinstance(expected, Failed):
        return (
            isinstance(actual, ErrorSnapshot)
            and type(actual.exception) is Failure
            and actual.exception.args[0] == expected.record
        )
    if isinstance(expected, Skipped):
        return isinstance(actual, PropagatedErrorSnapshot) and actual.reason == expected.reason
    return identical(actual, expected)


def check_output(results: ResultDict, reference: Reference, function: Function, name: str) -> None:
    output = results[name].output
    assert results[name].output_name == name
    assert results[name].function == function.name
    if not function.is_mapped:
        assert agree(output, reference.values[name]), (name, output, reference.values[name])
        return
    expected, shape = reference.arrays[name], reference.shapes[name]
    assert type(output) is np.ndarray
    assert output.dtype == object
    assert output.shape == shape
    array = results[name].array
    stored = results[name].store.to_array()
    assert array.shape == stored.shape == shape
    for index in np.ndindex(shape):
        if index in expected:
            assert agree(output[index], expected[index]), (name, index, output[index], expected[index])
            assert agree(np.ma.getdata(stored)[index], expected[index]), (name, index)
            assert not np.ma.getmaskarray(stored)[index]
        else:
            assert output[index] is None
            assert np.ma.getmaskarray(stored)[index]
            assert np.ma.getmaskarray(array)[index]
    if all(type(value) is np.float64 or type(value) is float for value in expected.values()) and expected:
        assert array.dtype == np.float64


def check(results: ResultDict, reference: Reference, calls: list[Any]) -> None:
    functions = reference.case.functions
    assert set(results) == {name for function in functions for name in function.outputs}
    for function in functions:
        for name in function.outputs:
            check_output(results, reference, function, name)
    assert Counter(calls) == Counter(reference.calls)


@LIMITS
@given(case=cases(), data=st.data())
def test_all_values_are_those_of_nested_loops(case, data):
    calls: list[Any] = []
    results = run(case, data, calls, error_handling=data.draw(st.sampled_from(["raise", "continue"])))
    check(results, Reference(case), calls)


@LIMITS
@given(case=cases(can_fail=True), data=st.data())
def test_errors_stay_in_their_places(case, data):
    calls: list[Any] = []
    results = run(case, data, calls, error_handling="continue")
    check(results, Reference(case), calls)


@LIMITS
@given(case=cases(can_fail=True), data=st.data())
def test_the_first_error_is_raised(case, data):
    reference = Reference(case)
    calls: list[Any] = []
    if not reference.failures:
        check(run(case, data, calls), reference, calls)
        return
    with pytest.raises(Failure) as caught:
        run(case, data, calls)
    first: dict[str, int] = {}
    for name, linear in reference.failures:
        first.setdefault(name, linear)
    failed = caught.value.args[0]
    assert failed[0] in first
    # The last call is the one that failed; before it, its function ran for the elements before it only.
    assert calls[-1] == failed
    own = [record for record in calls if record[0] == failed[0]]
    assert len(own) == first[failed[0]] + 1 or has_skipped(reference, failed[0])
    assert not Counter(calls) - Counter(reference.calls)
    assert any(failed[0] in line for line in caught.value.__notes__)


def has_skipped(reference: Reference, name: str) -> bool:
    function = next(each for each in reference.case.functions if each.name == name)
    found = [reference.arrays.get(name, {(): reference.values.get(name)}) for name in function.outputs]
    return any(isinstance(value, Skipped) for elements in found for value in elements.values())


@settings(LIMITS, max_examples=800)
@given(case=cases(), data=st.data())
def test_fixed_indices_run_a_part(case, data):
    named = {axis for f in case.functions for p in f.parameters for axis in p.axes or () if axis != ":"}
    axes = sorted(axis for axis in named if case.sizes[axis])
    if not axes:
        return
    axis = data.draw(st.sampled_from(axes), label="axis")
    size = case.sizes[axis]
    some = st.builds(slice, st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3))
    fixed = {axis: data.draw(st.integers(-size, size - 1) | some, label="fixed")}
    calls: list[Any] = []
    if is_reduced(case, axis):
        with pytest.raises(ValueError, match=axis):
            run(case, data, calls, fixed_indices=fixed)
        assert not calls
        return
    results = run(case, data, calls, fixed_indices=fixed)
    check(results, Reference(case, fixed), calls)


def is_reduced(case: Case, axis: str) -> bool:
    """Whether a function takes an array whole along an axis that is iterated over."""
    known: dict[str, list[str]] = {}
    for function in case.functions:
        pairs = [(p.name, p.axes) for p in function.parameters if p.axes is not None]
        pairs += [(name, function.axes) for name in function.outputs if function.axes is not None]
        for name, axes in pairs:
            found = known.setdefault(name, list(axes))
            known[name] = [b if a == ":" else a for a, b in zip(found, axes, strict=True)]
    for function in case.functions:
        for p in function.parameters:
            if axis in known.get(p.name, []) and axis not in (p.axes or ()):
                return True
    return False
