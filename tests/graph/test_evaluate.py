from __future__ import annotations

import dataclasses
import gc
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.evaluate import run
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.run_plan import MAXIMUM_PLANS
from pipefunc_c.exceptions import (
    InputError,
    InvalidTypeError,
    InvalidValueError,
    OperationError,
    UnusedParametersError,
)


def chain():
    return FunctionGraph(
        [
            PipeFunc(lambda x, k=1: x + k, "y", print_error=False),
            PipeFunc(lambda y: (y, -y), ("a", "b")),
            PipeFunc(lambda a, b, k: (a, b, k), "z"),
        ]
    )


# -- what is returned


def test_one_output_of_each_kind():
    graph = chain()
    assert run(graph, "y", {"x": 1}) == 2
    assert run(graph, "b", {"x": 1}) == -2
    assert run(graph, ("a", "b"), {"x": 1}) == (2, -2)
    assert run(graph, "z", {"x": 1, "k": 5}) == (6, -6, 5)
    assert run(graph, None, {"x": 1}) == (2, -2, 1)


def test_several_outputs():
    graph = chain()
    assert run(graph, ["z", "y", ("a", "b"), "a"], {"x": 1}) == ((2, -2, 1), 2, (2, -2), 2)
    assert run(graph, ["y"], {"x": 1}) == (2,)
    assert run(graph, [], {}) == ()


def test_all_leaves():
    graph = FunctionGraph([PipeFunc(lambda x: x, "b"), PipeFunc(lambda x: (x, x), ("a", "c"))])
    assert run(graph, None, {"x": 1}) == (1, (1, 1))
    assert run(FunctionGraph([]), None, {}) == ()


def test_full_output_holds_what_was_given_and_computed():
    graph = chain()
    assert run(graph, "b", {"x": 1}, full_output=True) == {"x": 1, "y": 2, "a": 2, "b": -2}
    everything = run(graph, "z", {"x": 1, "more": 0}, full_output=True, allow_unused=True)
    assert everything == {"x": 1, "more": 0, "y": 2, "a": 2, "b": -2, "z": (2, -2, 1)}
    assert run(graph, ("a", "b"), {"y": 1}, full_output=True) == {
        "y": 1,
        "a": 1,
        "b": -1,
        ("a", "b"): (1, -1),
    }


def test_the_result_for_a_tuple_of_names_need_not_have_parts():
    graph = FunctionGraph([PipeFunc(lambda x: None, ("a", "b"))])
    assert run(graph, ("a", "b"), {"x": 1}) is None


def test_the_picker_is_for_single_names_of_several_only():
    picker = {"a": 10, "b": 20, "c": 30}
    graph = FunctionGraph(
        [
            PipeFunc(lambda x: x, ("a", "b"), output_picker=lambda result, name: result + picker[name]),
            PipeFunc(lambda x: x, "c", output_picker=lambda result, name: result + picker[name]),
        ]
    )
    assert run(graph, "a", {"x": 1}) == 11
    assert run(graph, "b", {"x": 1}) == 21
    assert run(graph, ("a", "b"), {"x": 1}) == 1
    assert run(graph, "c", {"x": 1}) == 1


def test_given_values_are_not_changed():
    given = {"x": 1}
    run(chain(), "z", given, full_output=True)
    assert given == {"x": 1}


# -- where arguments come from


def test_a_bound_value_goes_first():
    graph = FunctionGraph(
        [PipeFunc(lambda x: x, "y"), PipeFunc(lambda y, x: (y, x), "z", bound={"y": 7}), PipeFunc(abs, "w")]
    )
    assert run(graph, "z", {"x": 1}) == (7, 1)
    assert run(graph, "z", {"x": 1, "y": 2}) == (7, 1)
    assert run(graph, "z", {"x": 1, "y": 2}, full_output=True) == {"x": 1, "y": 2, "z": (7, 1)}
    with pytest.raises(UnusedParametersError, match="'y'"):  # no function that runs has it
        run(graph, "w", {"x": 1, "y": 2})


def test_a_given_value_goes_before_the_upstream_function():
    graph = chain()
    assert run(graph, "z", {"y": 5}) == (5, -5, 1)
    assert run(graph, "z", {"a": 0, "x": 1}) == (0, -2, 1)
    assert run(graph, "z", {"a": 0, "x": 1}, full_output=True)["a"] == 0
    assert run(graph, "z", {"a": 0, "b": 1}) == (0, 1, 1)


def test_an_upstream_function_goes_before_a_default():
    graph = FunctionGraph([PipeFunc(lambda: 1, "y"), PipeFunc(lambda y=2: y, "z")])
    assert run(graph, "z", {}) == 1


def test_a_default_of_one_function_is_that_of_all():
    graph = FunctionGraph([PipeFunc(lambda x=3: x, "y"), PipeFunc(lambda x, y: (x, y), "z")])
    assert run(graph, "z", {}) == (3, 3)
    assert run(graph, "z", {"x": 4}) == (4, 4)


def test_values_of_a_scope_may_be_given_together():
    graph = FunctionGraph([PipeFunc(lambda a, b: (a, b), "y", renames={"a": "s.a", "b": "s.b"})])
    assert run(graph, "y", {"s": {"a": 1, "b": 2}}) == (1, 2)
    assert run(graph, "y", {"s": {"b": 2}, "s.a": 1}) == (1, 2)
    assert run(graph, "y", {"s.a": 1, "s.b": 2}, full_output=True) == {"s.a": 1, "s.b": 2, "y": (1, 2)}
    with pytest.raises(InputError, match="'s.a' is given twice"):
        run(graph, "y", {"s": {"a": 1, "b": 2}, "s.a": 1})


def test_a_plan_does_not_confuse_a_scope_with_a_name():
    graph = FunctionGraph([PipeFunc(lambda a=0: a, "y", renames={"a": "s.a"})])
    assert run(graph, "y", {"s": 5}, allow_unused=True) == 0
    assert run(graph, "y", {"s": {"a": 1}}) == 1


@dataclasses.dataclass
class Record:
    x: int
    items: list = dataclasses.field(default_factory=list)


def test_a_default_factory_makes_a_new_value_in_each_run():
    graph = FunctionGraph([PipeFunc(Record, "r")])
    assert run(graph, "r", {"x": 1}).items is not run(graph, "r", {"x": 1}).items
    given = []
    assert run(graph, "r", {"x": 1, "items": given}).items is given


def mixed(a, b=2, /, c=3, *, d=4):
    return a, b, c, d


KINDS = {
    "positional-only": (mixed, {"a": 1, "c": 5}, (1, 2, 5, 4)),
    "builtin": (math.sin, {"x": 0.0}, 0.0),
    "builtin with options": (sorted, {"iterable": [1, 2], "reverse": True}, [2, 1]),
    "no parameters": (lambda: 3, {}, 3),
    "class": (Record, {"x": 1}, Record(1)),
    "keyword-only": (lambda *, x: x, {"x": 1}, 1),
}


@pytest.mark.parametrize(("func", "kwargs", "result"), KINDS.values(), ids=KINDS)
def test_kinds_of_parameters(func, kwargs, result):
    assert run(FunctionGraph([PipeFunc(func, "out")]), "out", kwargs) == result
    renames = {name: f"new_{name}" for name in kwargs}
    graph = FunctionGraph([PipeFunc(func, "out", renames=renames)])
    assert run(graph, "out", {renames[name]: value for name, value in kwargs.items()}) == result


def test_each_function_runs_once():
    calls = []
    graph = FunctionGraph(
        [
            PipeFunc(lambda x: calls.append("y") or x, "y"),
            PipeFunc(lambda y: calls.append("a") or y, "a"),
            PipeFunc(lambda y: calls.append("b") or y, "b"),
            PipeFunc(lambda a, b: calls.append("z") or a + b, "z"),
            PipeFunc(lambda y: calls.append("never") or y, "w"),
        ]
    )
    assert run(graph, "z", {"x": 1}) == 2
    assert calls == ["y", "a", "b", "z"]


def test_hook_and_debug_run_too(capsys):
    seen = []
    function = PipeFunc(
        lambda x, k=2: x * k, "y", post_execution_hook=lambda *args: seen.append(args), debug=True
    )
    assert run(FunctionGraph([function]), "y", {"x": 3}) == 6
    assert seen == [(function, 6, {"x": 3, "k": 2})]
    assert "'y' = <lambda>(x=3, k=2) → 6" in capsys.readouterr().out


# -- errors


def test_an_output_that_does_not_exist():
    for name in ("nope", ("a",), ["y", "nope"]):
        with pytest.raises(InvalidValueError, match="there is no output"):
            run(chain(), name, {"x": 1})


@pytest.mark.parametrize("name", [3, {"y"}, {"y": 1}])
def test_an_output_name_of_a_wrong_type(name):
    with pytest.raises(InvalidTypeError) as caught:
        run(chain(), name, {"x": 1})
    assert repr(name) in str(caught.value)


def test_the_output_is_given():
    with pytest.raises(InputError, match="the output 'y' is to be computed and was also given"):
        run(chain(), "y", {"x": 1, "y": 2})
    with pytest.raises(InputError, match="'z'"):
        run(chain(), None, {"x": 1, "z": 2})


def test_missing_arguments_are_all_named():
    graph = FunctionGraph([PipeFunc(lambda x, w, k=1: x, "y"), PipeFunc(lambda y, v: y, "z")])
    with pytest.raises(InputError, match=r"\('v', 'w'\) are missing to compute 'z'") as caught:
        run(graph, "z", {"x": 1})
    assert "('k', 'v', 'w', 'x')" in str(caught.value)


def test_unused_arguments_are_named():
    with pytest.raises(UnusedParametersError, match=r"\('p', 'q'\) are not needed to compute 'y'") as caught:
        run(chain(), "y", {"p": 1, "x": 1, "q": 1})
    assert isinstance(caught.value, ValueError)
    assert run(chain(), "y", {"p": 1, "x": 1}, allow_unused=True) == 2


def test_functions_with_a_mapspec_are_refused():
    graph = FunctionGraph(
        [PipeFunc(lambda x: x, "y", mapspec="x[i] -> y[i]"), PipeFunc(lambda y: y, "z"), PipeFunc(abs, "w")]
    )
    with pytest.raises(OperationError, match=r"'x\[i\] -> y\[i\]'.*\n.*pipeline.map") as caught:
        run(graph, "z", {"x": [1]})
    assert isinstance(caught.value, RuntimeError)
    assert run(graph, "w", {graph.find("w").parameters[0]: -1}) == 1
    assert run(graph, "z", {"y": 3}) == 3  # given, so nothing is mapped


def test_values_must_have_names():
    with pytest.raises(InvalidTypeError, match="given as a dict"):
        run(chain(), "y", [1])


@pytest.mark.parametrize("hook", [None, lambda *args: None], ids=["fast", "with a hook"])
def test_an_error_is_recorded_and_comes_through_unchanged(hook, capsys):
    function = PipeFunc(lambda x, k=2: x / 0, "y", renames={"x": "z"}, post_execution_hook=hook)
    with pytest.raises(ZeroDivisionError) as caught:
        run(FunctionGraph([function]), "y", {"z": 1})
    assert function.error_snapshot.exception is caught.value
    assert function.error_snapshot.kwargs == {"x": 1, "k": 2}
    assert caught.value.__notes__ == ["Error in <lambda>(x=1, k=2), which computes 'y'."]
    assert capsys.readouterr().out.count("An error occurred") == 1


def test_an_error_of_the_picker_is_not_one_of_the_function():
    function = PipeFunc(lambda x: x, ("a", "b"))
    with pytest.raises(ValueError, match="no item 1") as caught:
        run(FunctionGraph([PipeFunc(lambda x: x, ("a", "b"), output_picker=_refuse)]), "a", {"x": 1})
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(IndexError, match="no item 1 for the output 'b'"):
        run(FunctionGraph([function]), "a", {"x": (1,)})
    assert function.error_snapshot is None


def _refuse(result, name):
    raise ValueError("no item 1")


# -- plans


def test_a_plan_is_made_once_per_set_of_names():
    graph = chain()
    for x in range(3):
        run(graph, "y", {"x": x})
        run(graph, "y", {"x": x, "k": x})
        run(graph, None, {"x": x})
    assert len(graph.plans) == 3


def test_plans_are_limited():
    graph = FunctionGraph([PipeFunc(lambda x: x, "y")])
    for k in range(2 * MAXIMUM_PLANS):
        run(graph, "y", {"x": 1, f"unused{k}": 1}, allow_unused=True)
    assert 0 < len(graph.plans) <= MAXIMUM_PLANS


def test_a_refused_run_leaves_no_plan():
    graph = chain()
    with pytest.raises(InputError):
        run(graph, "y", {})
    assert not graph.plans


# -- against the obvious


ROOTS = ["r0", "r1", "r2"]


@st.composite
def pipelines(draw):
    """Functions that return what they got; some parameters bound, with a default, keyword-only or renamed."""
    known = list(ROOTS)
    defaults = draw(st.dictionaries(st.sampled_from(ROOTS), st.integers(0, 9), max_size=2))
    functions = []
    for k in range(draw(st.integers(1, 6))):
        parameters = draw(st.lists(st.sampled_from(known), unique=True, max_size=4))
        bound = draw(
            st.dictionaries(st.sampled_from(parameters), st.integers(), max_size=2)
            if parameters
            else st.just({})
        )
        names = [f"o{k}", f"p{k}"][: draw(st.integers(1, 2))]
        natives = [f"n{j}" for j in range(len(parameters))]
        star = draw(st.integers(0, len(natives)))
        heads = [*natives[:star], *(["*"] if star < len(natives) else []), *natives[star:]]
        result = f"({k}, {''.join(f'{n}, ' for n in natives)})"
        if len(names) == 2:
            result = f"(('first', {result}), ('second', {result}))"
        functions.append(
            PipeFunc(
                eval(f"lambda {', '.join(heads)}: {result}"),
                names[0] if len(names) == 1 else tuple(names),
                renames=dict(zip(natives, parameters, strict=True)),
                bound=bound,
                defaults={p: defaults[p] for p in parameters if p in defaults and p not in bound},
                debug=False,
                post_execution_hook=draw(st.sampled_from([None, lambda *args: None])),
            )
        )
        known += names
    given = draw(st.dictionaries(st.sampled_from(known), st.integers(100, 999), max_size=5))
    target = draw(st.sampled_from([name for f in functions for name in {f.output_name, *f.output_names}]))
    return draw(st.permutations(functions)), given, target


class Missing(Exception):  # noqa: N818
    pass


def obvious(functions, given, target):
    """Compute an output by asking for each argument in turn; also return the names that were used."""
    defaults = {}
    for function in functions:
        defaults.update(function.defaults)
    used = set()

    def call(function):
        arguments = {}
        for name, native in function.native_names.items():
            if name in function.bound:
                arguments[native] = function.bound[name]
                used.update({name} & given.keys())  # it may be given, though the bound value goes first
            else:
                arguments[native] = value(name)
        return function.func(**arguments)

    def value(name):
        if name in given:
            used.add(name)
            return given[name]
        for function in functions:
            if name in function.output_names:
                result = call(function)
                several = isinstance(function.output_name, tuple)
                return result[function.output_names.index(name)] if several else result
        if name in defaults:
            return defaults[name]
        raise Missing(name)

    if isinstance(target, tuple):
        return call(next(f for f in functions if f.output_name == target)), used
    if target in given:
        raise Missing(target)
    return value(target), used


@pytest.mark.slow
@settings(max_examples=300)
@given(pipelines())
def test_runs_give_what_the_obvious_evaluation_gives(drawn):
    functions, given_values, target = drawn
    graph = FunctionGraph(functions)
    try:
        expected, used = obvious(functions, given_values, target)
    except Missing as missing:
        with pytest.raises(InputError, match=f"'{missing.args[0]}'"):
            run(graph, target, given_values, allow_unused=True)
        return
    for _ in range(2):  # the second time from the plan that was kept
        assert run(graph, target, given_values, allow_unused=True) == expected
    assert run(graph, [target], given_values, allow_unused=True) == (expected,)
    full = run(graph, target, given_values, allow_unused=True, full_output=True)
    assert full[target] == expected
    assert {name: full[name] for name in given_values} == given_values
    if used != set(given_values):
        with pytest.raises(UnusedParametersError):
            run(graph, target, given_values)
    else:
        assert run(graph, target, given_values) == expected


@pytest.mark.slow
def test_a_run_costs_little_more_than_its_calls():
    functions = [PipeFunc(eval(f"lambda x{k}: x{k}"), f"x{k + 1}") for k in range(10)]
    graph = FunctionGraph(functions)
    bare = functions[0].func

    def best(call):
        times = []
        for _ in range(7):
            started = time.process_time()
            for _ in range(2_000):
                call()
            times.append(time.process_time() - started)
        return min(times)

    gc.collect()
    # Measured: about 4 calls per function, and 12 for what does not depend on their number.
    assert best(lambda: run(graph, "x10", {"x0": 1})) < 250 * best(lambda: bare(1))
