"""Types along edges, from the function that returns to the one that takes."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from timing import assert_grows_less

from pipefunc_c import PipeFunc, Pipeline, pipefunc
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.type_checks import check_types
from pipefunc_c.exceptions import InvalidTypeError
from pipefunc_c.typing import Array, NoAnnotation

OBJECTS = npt.NDArray[np.object_]


def connect(returned, accepted, first=None, second=None, **options):
    """Return the graph of two functions: y = producer(a), z = consumer(y)."""

    def producer(a): ...

    def consumer(y): ...

    if returned is not NoAnnotation:
        producer.__annotations__["return"] = returned
    if accepted is not NoAnnotation:
        consumer.__annotations__["y"] = accepted
    one = PipeFunc(producer, "y", mapspec=first, **options)
    return FunctionGraph([one, PipeFunc(consumer, "z", mapspec=second)])


def assert_refused(graph, *said):
    with pytest.raises(TypeError) as caught:
        check_types(graph)
    for text in ("'producer'", "'consumer'", "'y'", *said):
        assert text in str(caught.value)
    assert caught.value.detail == "y"
    assert "validate_type_annotations=False" in caught.value.hint


class TestSingleCalls:
    @pytest.mark.parametrize(
        ("returned", "accepted"),
        [
            (int, int),
            (bool, int),
            (int, int | None),
            (None, int | None),
            (int, Any),
            (Any, int),
            (int, NoAnnotation),
            (NoAnnotation, int),
            (Array[int], npt.NDArray[np.float64]),
        ],
    )
    def test_what_fits(self, returned, accepted):
        check_types(connect(returned, accepted))

    def test_the_error_names_both_functions_the_parameter_and_both_types(self):
        assert_refused(connect(list[int], str | None), "as list[int]", "as str | None")

    def test_types_of_numpy(self):
        assert_refused(connect(npt.NDArray[np.float64], npt.NDArray[np.int64]), "NDArray[float64]")

    @pytest.mark.parametrize(("returned", "accepted"), [("Nope", int), (int, "Nope")])
    def test_a_hint_that_does_not_resolve_is_named_in_a_warning(self, returned, accepted):
        with pytest.warns(UserWarning, match="'Nope'"):
            check_types(connect(returned, accepted))

    @pytest.mark.parametrize(("returned", "accepted"), [("Nope", NoAnnotation), (Any, "Nope")])
    def test_nothing_is_said_where_nothing_is_compared(self, returned, accepted):
        check_types(connect(returned, accepted))


class Named(typing.NamedTuple):
    y: str


def number(a) -> int: ...


def text(y: str): ...


WRAPPED = {
    "partial": lambda: (functools.partial(number), text),
    "lru_cache": lambda: (functools.lru_cache(number), text),
    "PipeFunc": lambda: (PipeFunc(number, "q"), text),
    "named tuple": lambda: (number, Named),
}


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)
def test_callables_have_the_types_of_what_they_call(make):
    producer, consumer = make()
    with pytest.raises(InvalidTypeError, match="returns 'y' as int, but .* takes it as str"):
        Pipeline([PipeFunc(producer, "y"), PipeFunc(consumer, "z")])
    Pipeline([PipeFunc(producer, "y"), PipeFunc(consumer, "z")], validate_type_annotations=False)


def test_a_type_variable_fits_if_one_of_its_types_does():
    def low(x: typing.AnyStr) -> typing.AnyStr:
        return x.lower()

    assert Pipeline([PipeFunc(low, "y"), PipeFunc(text, "z")])("y", x="A") == "a"
    with pytest.raises(InvalidTypeError, match="'low'"):
        Pipeline([PipeFunc(low, "y"), PipeFunc(half, "z")])


def half(y: int): ...


ELEMENT = ("a[i] -> y[i]", "y[i] -> z[i]")
REDUCTION = ("a[i] -> y[i]", None)
SLICE = ("a[i, j] -> y[i, j]", "y[i, :] -> z[i]")


class TestMaps:
    @pytest.mark.parametrize(("first", "second"), [ELEMENT], ids=["element"])
    def test_elements(self, first, second):
        check_types(connect(int, int, first, second))
        assert_refused(connect(int, str, first, second), "as int", "as str")
        assert_refused(connect(int, Array[int], first, second), "as Array[int]")

    @pytest.mark.parametrize(("first", "second"), [REDUCTION, SLICE], ids=["whole", "slice"])
    @pytest.mark.parametrize(
        "accepted",
        [
            Array[int],
            Array,
            np.ndarray,
            OBJECTS,
            npt.NDArray[np.int64],
            npt.NDArray[np.float64],
            np.ma.MaskedArray,
            np.ma.MaskedArray[Any, np.dtype[np.object_]],
            Any,
            NoAnnotation,
        ],
    )
    def test_reductions_take_arrays(self, first, second, accepted):
        check_types(connect(int, accepted, first, second))

    @pytest.mark.parametrize(("first", "second"), [REDUCTION, SLICE], ids=["whole", "slice"])
    @pytest.mark.parametrize(
        "accepted", [int, list[int], Array[str], npt.NDArray[np.float32], npt.NDArray[np.str_]], ids=str
    )
    def test_reductions_refuse_others(self, first, second, accepted):
        assert_refused(connect(int, accepted, first, second), "as Array[int]", repr(first))

    def test_elements_that_are_not_annotated(self):
        check_types(connect(NoAnnotation, list[int], *REDUCTION))
        check_types(connect(Any, Array[int], *REDUCTION))

    def test_elements_that_do_not_convert(self):
        assert_refused(connect(str, npt.NDArray[np.float64], *REDUCTION), "Array[str]", "NDArray[float64]")

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("... -> y[i]", "y[i] -> z[i]"),
            ("... -> y[i]", None),
            ("a[i] -> y[i, j]", "y[i, j] -> z[i, j]"),
            ("a[i] -> y[i, j]", "y[i, :] -> z[i]"),
            ("a[i] -> y[i, j]", None),
        ],
    )
    def test_functions_that_make_axes_are_not_checked(self, first, second):
        check_types(connect(list[int], str, first, second))

    def test_functions_whose_mapspec_will_be_generated_are_not_checked(self):
        check_types(connect(list[int], str, None, "y[i] -> z[i]"))

    def test_an_out_of_date_generated_mapspec_is_not_looked_at(self):
        pipeline = Pipeline(connect(list[int], NoAnnotation, None, "y[i] -> z[i]").defined)
        assert pipeline["y"].mapspec.generated

        def consumer(y: str): ...

        with pytest.raises(TypeError, match="'consumer'"):
            pipeline.replace(PipeFunc(consumer, "z"))

    @pytest.mark.parametrize("which", ["y", "z"])
    def test_generated_mapspecs_with_inputs_are_not_checked(self, which):
        graph = connect(int, str, *ELEMENT)
        function = graph.producers[which]
        function.mapspec = dataclasses.replace(function.mapspec, generated=True)
        check_types(graph)


class TestNames:
    def test_outputs_are_checked_one_by_one(self):
        def producer(a) -> tuple[int, str]: ...

        def consumer(y: str): ...

        def other(w: str): ...

        two = PipeFunc(producer, ("y", "w"))
        check_types(FunctionGraph([two, PipeFunc(other, "z")]))
        assert_refused(FunctionGraph([two, PipeFunc(consumer, "z")]))

    def test_a_picker_makes_types_unknown(self):
        def producer(a) -> tuple[int, str]: ...

        def consumer(y: str): ...

        two = PipeFunc(producer, ("y", "w"), output_picker=lambda output, name: str(output))
        check_types(FunctionGraph([two, PipeFunc(consumer, "z")]))

    def test_new_names_count(self):
        def producer(a) -> int: ...

        def consumer(b: str): ...

        functions = [PipeFunc(producer, "y"), PipeFunc(consumer, "z", renames={"b": "y"})]
        assert_refused(FunctionGraph(functions))
        functions[1].update_scope("s", inputs="*")
        check_types(FunctionGraph(functions))

    def test_a_bound_parameter_takes_nothing_from_upstream(self):
        graph = connect(int, str)
        graph.producers["z"].update_bound({"y": "text"})
        check_types(FunctionGraph(graph.defined))


def producer_of_int(a) -> int:
    return a


def consumer_of_str(y: str) -> str:
    return y


class TestPipelines:
    def test_the_constructor_checks(self):
        with pytest.raises(TypeError, match="'producer_of_int'.*'consumer_of_str'"):
            Pipeline([PipeFunc(producer_of_int, "y"), PipeFunc(consumer_of_str, "z")])

    def test_it_can_be_switched_off(self):
        functions = [PipeFunc(producer_of_int, "y"), PipeFunc(consumer_of_str, "z")]
        assert Pipeline(functions, validate_type_annotations=False)(a=1) == 1

    def test_a_refused_add_leaves_the_pipeline_as_it_was(self):
        pipeline = Pipeline([PipeFunc(producer_of_int, "y")])
        with pytest.raises(TypeError):
            pipeline.add(PipeFunc(consumer_of_str, "z"))
        assert [f.output_name for f in pipeline.functions] == ["y"]
        assert "z" not in pipeline

    def test_a_refused_rename_leaves_the_pipeline_as_it_was(self):
        pipeline = Pipeline([PipeFunc(producer_of_int, "x"), PipeFunc(consumer_of_str, "z")])
        with pytest.raises(TypeError):
            pipeline.update_renames({"x": "y"})
        assert pipeline.root_args() == ("a", "y")
        assert "x" in pipeline

    def test_axes_that_are_added_are_exempt(self):
        @pipefunc("total")
        def total(y: list[int]) -> int:
            return sum(y)

        @pipefunc("y")
        def values(a: int) -> list[int]:
            return [a, a]

        pipeline = Pipeline([values, total])
        pipeline.add_mapspec_axis("a", axis="i")
        assert pipeline.map({"a": [1, 2]}, parallel=False)["total"].output.tolist() == [2, 4]


def test_hints_of_a_function_are_read_once(monkeypatch):
    graph = connect(int, int)
    check_types(graph)

    def refuse(*args):
        raise AssertionError("read again")

    monkeypatch.setattr("pipefunc_c._function.named.annotations_of", refuse)
    check_types(graph)
    check_types(FunctionGraph(function.copy() for function in graph.defined))


def test_hints_that_do_not_resolve_are_read_again():
    names: dict[str, Any] = {}
    exec("def producer(a) -> 'Later': ...", names)

    def consumer(y: int): ...

    graph = FunctionGraph([PipeFunc(names["producer"], "y"), PipeFunc(consumer, "z")])
    with pytest.warns(UserWarning, match="'Later'"):
        check_types(graph)
    names["Later"] = str
    assert_refused(graph)


def test_another_callable_brings_its_own_hints():
    graph = connect(int, int)
    check_types(graph)

    def producer(a) -> str: ...

    graph.producers["y"].func = producer
    assert_refused(graph, "as str")


def test_checks_are_linear():
    def make(count):
        functions = []
        for k in range(count):
            names: dict[str, Any] = {}
            exec(f"def f(x{k}: 'float', y: 'list[float]' = ()) -> 'float': ...", names)
            functions.append(PipeFunc(names["f"], f"x{k + 1}"))
        graph = FunctionGraph(functions)
        return lambda: check_types(graph)

    assert_grows_less(make, 200, 1000, 10)  # 5 if linear, 25 if quadratic
