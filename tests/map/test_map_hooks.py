"""What a map does around each call: hooks, pickers, debug lines, defaults, and every kind of callable."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from typing import NamedTuple

import numpy as np
import pytest
from kernels.values import identical

from pipefunc_c import ErrorSnapshot, PipeFunc, Pipeline

pytestmark = pytest.mark.timeout(30)


class HookError(Exception):
    """Raised by a hook."""


def sequential(functions, inputs, **options):
    return Pipeline(functions).map(inputs, parallel=False, **options)


def add(a, b=10, c=100):
    return a + b + c


@pytest.fixture
def calls():
    return []


@pytest.fixture
def hook(calls):
    def hook(func, result, kwargs):
        calls.append((func, result, kwargs))

    return hook


class TestHook:
    def test_native_names_with_defaults_and_bound_values(self, calls, hook):
        options = {"renames": {"a": "x", "b": "k"}, "bound": {"c": 1000}, "post_execution_hook": hook}
        function = PipeFunc(add, "y", mapspec="x[i] -> y[i]", **options)
        results = sequential([function], {"x": [1, 2]})
        assert results["y"].output.tolist() == [1011, 1012]
        assert [kwargs for _, _, kwargs in calls] == [
            {"a": 1, "b": 10, "c": 1000},
            {"a": 2, "b": 10, "c": 1000},
        ]
        assert [result for _, result, _ in calls] == [1011, 1012]
        assert all(isinstance(func, PipeFunc) and func.output_name == "y" for func, _, _ in calls)

    def test_in_a_scope(self, calls, hook):
        function = PipeFunc(add, "y", mapspec="a[i] -> y[i]", scope="s", post_execution_hook=hook)
        sequential([function], {"s": {"a": [1]}})
        assert [(func.output_name, kwargs) for func, _, kwargs in calls] == [
            ("s.y", {"a": 1, "b": 10, "c": 100})
        ]

    def test_after_a_single_call(self, calls, hook):
        sequential([PipeFunc(add, "y", post_execution_hook=hook)], {"a": 1})
        assert [result for _, result, _ in calls] == [111]

    def test_only_for_what_is_asked_for(self, calls, hook):
        function = PipeFunc(add, "y", mapspec="a[i] -> y[i]", post_execution_hook=hook)
        sequential([function], {"a": range(5)}, fixed_indices={"i": slice(1, 3)})
        assert [kwargs["a"] for _, _, kwargs in calls] == [1, 2]

    def test_it_sees_what_was_returned_and_before_the_picker(self):
        order, made = [], []

        def make(a):
            made.append({"p": a, "q": -a})
            return made[-1]

        def pick(result, name):
            order.append(("pick", name))
            return result[name]

        def hook(func, result, kwargs):
            assert result is made[-1]
            order.append(("hook", kwargs["a"]))

        options = {"output_picker": pick, "post_execution_hook": hook}
        function = PipeFunc(make, ("p", "q"), mapspec="a[i] -> p[i], q[i]", **options)
        results = sequential([function], {"a": [1, 2]})
        assert order == [("hook", 1), ("pick", "p"), ("pick", "q"), ("hook", 2), ("pick", "p"), ("pick", "q")]
        assert results["q"].output.tolist() == [-1, -2]

    def test_it_is_not_called_for_an_element_that_failed(self, calls, hook):
        options = {"print_error": False, "post_execution_hook": hook}
        function = PipeFunc(lambda a: 1 / a, "y", mapspec="a[i] -> y[i]", **options)
        results = sequential([function], {"a": [1, 0, 2]}, error_handling="continue")
        assert [result for _, result, _ in calls] == [1.0, 0.5]
        assert type(results["y"].output[1]) is ErrorSnapshot

    @pytest.mark.parametrize("what", ["numpy scalars", "objects"])
    def test_what_it_keeps_does_not_change(self, calls, hook, what):
        values = np.arange(50) / 2 if what == "numpy scalars" else [[k] for k in range(50)]
        function = PipeFunc(lambda a: a, "y", mapspec="a[i] -> y[i]", post_execution_hook=hook)
        sequential([function], {"a": values})
        for value, (_, result, kwargs) in zip(values, calls, strict=True):
            assert identical(kwargs["a"], value)
            assert identical(result, value)


class TestFailingHook:
    @pytest.fixture
    def function(self):
        def hook(func, result, kwargs):
            if kwargs["a"] % 2:
                raise HookError(kwargs["a"])

        return PipeFunc(lambda a: 10 * a, "y", mapspec="a[i] -> y[i]", post_execution_hook=hook)

    def test_raise_is_not_an_error_of_the_function(self, function, capsys):
        pipeline = Pipeline([function])
        with pytest.raises(HookError) as caught:
            pipeline.map({"a": [0, 1, 2, 3]}, parallel=False)
        assert caught.value.args == (1,)
        assert not getattr(caught.value, "__notes__", [])
        assert capsys.readouterr() == ("", "")
        assert pipeline.functions[0].error_snapshot is None
        assert pipeline.error_snapshot is None

    def test_raise_after_a_single_call(self, capsys):
        def hook(func, result, kwargs):
            raise HookError

        pipeline = Pipeline([PipeFunc(add, "y", post_execution_hook=hook)])
        with pytest.raises(HookError):
            pipeline.map({"a": 1}, parallel=False)
        assert capsys.readouterr() == ("", "")
        assert pipeline.error_snapshot is None

    def test_continue_stores_it(self, function):
        after = PipeFunc(lambda y: -y, "z", mapspec="y[i] -> z[i]")
        results = sequential([function, after], {"a": [0, 1, 2, 3]}, error_handling="continue")
        output = results["y"].output
        assert [output[0], output[2]] == [0, 20]
        assert [type(output[k]) for k in (1, 3)] == [ErrorSnapshot, ErrorSnapshot]
        assert [type(output[k].exception) for k in (1, 3)] == [HookError, HookError]
        assert output[3].exception.args == (3,)
        assert output[3].kwargs == {"a": 3}
        assert results["z"].output[2] == -20
        assert results["z"].output[1].get_root_causes()[0].exception.args == (1,)

    def test_an_error_of_the_function_after_one_of_the_hook_is_recorded(self):
        """The memory that a hook failed must not outlive its element."""

        def hook(func, result, kwargs):
            if kwargs["a"] == 0:
                raise HookError

        def fail(a):
            if a:
                raise ValueError(a)

        options = {"print_error": False, "post_execution_hook": hook}
        pipeline = Pipeline([PipeFunc(fail, "y", mapspec="a[i] -> y[i]", **options)])
        with pytest.raises(HookError):
            pipeline.map({"a": [0]}, parallel=False)
        with pytest.raises(ValueError, match="1") as caught:
            pipeline.map({"a": [1]}, parallel=False)
        assert len(caught.value.__notes__) == 1
        assert pipeline.error_snapshot.kwargs == {"a": 1}

    def test_interrupt_in_a_hook_stops_in_both_modes(self):
        def hook(func, result, kwargs):
            raise KeyboardInterrupt

        function = PipeFunc(add, "y", mapspec="a[i] -> y[i]", post_execution_hook=hook)
        for error_handling in ("raise", "continue"):
            with pytest.raises(KeyboardInterrupt):
                sequential([function], {"a": [1]}, error_handling=error_handling)


class TestPicker:
    def test_it_gets_the_new_names(self):
        names = []

        def pick(result, name):
            names.append(name)
            return result[name.removeprefix("new_")]

        options = {"renames": {"p": "new_p", "q": "new_q"}, "output_picker": pick}
        function = PipeFunc(
            lambda a: {"p": a, "q": -a}, ("p", "q"), mapspec="a[i] -> new_p[i], new_q[i]", **options
        )
        results = sequential([function], {"a": [3]})
        assert names == ["new_p", "new_q"]
        assert (results["new_p"].output[0], results["new_q"].output[0]) == (3, -3)

    def test_scoped_names(self):
        pick = operator.getitem
        function = PipeFunc(lambda a: {"s.p": a, "s.q": -a}, ("p", "q"), scope="s", output_picker=pick)
        assert sequential([function], {"s.a": 3})["s.q"].output == -3

    def test_several_outputs_of_a_single_call(self):
        function = PipeFunc(lambda a: {"p": a, "q": -a}, ("p", "q"), output_picker=operator.getitem)
        results = sequential([function], {"a": 3})
        assert (results["p"].output, results["q"].output) == (3, -3)

    def test_one_name_is_picked_for_elements_only(self):
        def make(a):
            return {"y": a}

        options = {"output_name": "y", "output_picker": operator.getitem}
        mapped = sequential([PipeFunc(make, mapspec="a[i] -> y[i]", **options)], {"a": [1, 2]})
        assert mapped["y"].output.tolist() == [1, 2]
        assert sequential([PipeFunc(make, **options)], {"a": 1})["y"].output == {"y": 1}

    def test_outputs_with_an_internal_axis(self):
        function = PipeFunc(
            lambda a: {"p": [a, a + 1], "q": [-a, -a]},
            ("p", "q"),
            mapspec="a[i] -> p[i, k], q[i, k]",
            output_picker=operator.getitem,
        )
        results = sequential([function], {"a": [1, 5]})
        assert results["p"].output.tolist() == [[1, 2], [5, 6]]
        assert results["q"].output.tolist() == [[-1, -1], [-5, -5]]


class TestDebug:
    def test_a_line_per_element(self, capsys):
        function = PipeFunc(lambda a: 10 * a, "y", mapspec="a[i] -> y[i]", debug=True)
        sequential([function], {"a": [101, 102]})
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        for line, a in zip(lines, (101, 102), strict=True):
            assert "y" in line
            assert f"{a}" in line
            assert f"{10 * a}" in line

    def test_none_without_it(self, capsys):
        sequential([PipeFunc(add, "y", mapspec="a[i] -> y[i]")], {"a": [1]})
        assert capsys.readouterr() == ("", "")

    def test_it_may_be_switched_between_maps(self, capsys):
        pipeline = Pipeline([PipeFunc(add, "y", mapspec="a[i] -> y[i]")])
        pipeline.map({"a": [1]}, parallel=False)
        pipeline.functions[0].debug = True
        pipeline.map({"a": [1]}, parallel=False)
        assert len(capsys.readouterr().out.splitlines()) == 1


@dataclasses.dataclass
class Record:
    a: int
    items: list = dataclasses.field(default_factory=list)
    factor: int = 2


class Pair(NamedTuple):
    a: int
    b: int = 5


class Times:
    """Called as an instance, a bound method, a class method and a static method."""

    def __init__(self, factor=3):
        self.factor = factor

    def __call__(self, a):
        return self.factor * a

    def method(self, a):
        return self.factor * a

    @classmethod
    def of_class(cls, a):
        return cls().factor * a

    @staticmethod
    def static(a):
        return 3 * a


class TestDefaults:
    def test_factories_make_them_anew_per_element(self):
        output = sequential([PipeFunc(Record, "y", mapspec="a[i] -> y[i]")], {"a": [1, 2, 3]})["y"].output
        assert [record.a for record in output] == [1, 2, 3]
        assert len({id(record.items) for record in output}) == 3
        output[0].items.append(1)
        assert output[1].items == []

    def test_a_given_value_is_shared(self):
        items = []
        function = PipeFunc(Record, "y", mapspec="a[i] -> y[i]")
        output = sequential([function], {"a": [1, 2], "items": items})["y"].output
        assert output[0].items is output[1].items is items

    def test_a_default_of_the_signature_is_the_same_object(self):
        shared = []
        function = PipeFunc(lambda a, b=shared: b, "y", mapspec="a[i] -> y[i]")
        output = sequential([function], {"a": [1, 2]})["y"].output
        assert output[0] is output[1] is shared

    def test_the_users_defaults_win(self):
        function = PipeFunc(add, "y", mapspec="a[i] -> y[i]", defaults={"b": 0})
        assert sequential([function], {"a": [1]})["y"].output.tolist() == [101]

    def test_inputs_win_over_defaults_and_bound_values_over_all(self):
        function = PipeFunc(add, "y", mapspec="a[i] -> y[i]", bound={"c": 0})
        assert sequential([function], {"a": [1], "b": 7})["y"].output.tolist() == [8]

    def test_a_bound_value_hides_an_earlier_output(self):
        first = PipeFunc(lambda a: 1 / 0, "b", mapspec="a[i] -> b[i]", print_error=False)
        second = PipeFunc(add, "y", mapspec="a[i] -> y[i]", bound={"b": 1})
        results = sequential([first, second], {"a": [1]}, output_names={"y"})
        assert results["y"].output.tolist() == [102]


CALLABLES = {
    "builtin": (math.sqrt, "x", [4.0, 9.0], [2.0, 3.0]),
    "builtin with keywords only by name": (sorted, "iterable", [[2, 1]], [[1, 2]]),
    "class": (complex, "real", [1.5], [1.5 + 0j]),
    "dataclass": (functools.partial(Record, items=()), "a", [1], [Record(1, ())]),
    "NamedTuple": (Pair, "a", [1], [Pair(1, 5)]),
    "instance": (Times(), "a", [1, 2], [3, 6]),
    "bound method": (Times(4).method, "a", [1, 2], [4, 8]),
    "class method": (Times.of_class, "a", [1, 2], [3, 6]),
    "static method": (Times.static, "a", [1, 2], [3, 6]),
    "partial by position": (functools.partial(operator.sub, 10), "b", [1, 2], [9, 8]),
    "partial by name": (functools.partial(add, b=1), "a", [1, 2], [102, 103]),
    "lambda": (lambda a, /, *, b=1: a + b, "a", [1, 2], [2, 3]),
}


class TestCallables:
    @pytest.mark.parametrize("observed", [False, True], ids=["plain", "with a hook"])
    @pytest.mark.parametrize(("function", "name", "values", "expected"), CALLABLES.values(), ids=CALLABLES)
    def test_elements(self, calls, hook, function, name, values, expected, observed):
        options = {"post_execution_hook": hook} if observed else {}
        mapped = PipeFunc(function, "out", renames={name: "v"}, mapspec="v[i] -> out[i]", **options)
        output = sequential([mapped], {"v": values})["out"].output
        assert len(output) == len(expected)
        for value, wanted in zip(output, expected, strict=True):
            assert type(value) is type(wanted)
            assert value == wanted
        assert len(calls) == observed * len(values)

    def test_the_fields_of_a_named_tuple_as_outputs(self):
        function = PipeFunc(Pair, ("p", "q"), mapspec="a[i] -> p[i], q[i]")
        results = sequential([function], {"a": [1, 2]})
        assert results["p"].output.tolist() == [1, 2]
        assert results["q"].output.tolist() == [5, 5]

    def test_by_position_only_with_a_default_in_between(self):
        def function(a, b=2, /, c=3, *, d=4):
            return (a, b, c, d)

        for given, expected in [
            ({}, (1, 2, 3, 4)),
            ({"c": 7}, (1, 2, 7, 4)),
            ({"b": 8, "d": 9}, (1, 8, 3, 9)),
        ]:
            mapped = PipeFunc(function, "y", mapspec="a[i] -> y[i]")
            assert sequential([mapped], {"a": [1], **given})["y"].output[0] == expected

    def test_an_instance_is_not_copied(self):
        class Counts:
            n = 0

            def __call__(self, a):
                self.n += 1
                return self.n

        counts = Counts()
        assert (
            sequential([PipeFunc(counts, "y", mapspec="a[i] -> y[i]")], {"a": range(3)})["y"].output[2] == 3
        )
        assert counts.n == 3
