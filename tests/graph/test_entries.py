from __future__ import annotations

import numpy as np
import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.entries import Entries, Entry, shortened, type_text, value_text
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c.typing import Unresolvable


def scale(x: float, k: int = 2) -> float: ...


def both(y: list[float], x) -> tuple[int, str]: ...


def entries():
    return Entries(
        FunctionGraph(
            [
                PipeFunc(scale, "y", mapspec="x[i, j] -> y[i, j]"),
                PipeFunc(both, ("a", "b"), mapspec="y[i, :] -> a[i], b[i]", bound={"x": 70e9}),
            ]
        )
    )


def test_an_input_has_axes_type_and_default():
    assert entries().input("x") == Entry("x", "[i, j]", "float")
    assert str(entries().input("k")) == "k: int = 2"


def test_the_type_of_an_input_is_that_of_the_first_function_that_has_one():
    functions = [PipeFunc(lambda x: x, "a"), PipeFunc(scale, "y")]
    assert Entries(FunctionGraph(functions)).input("x").type == "float"


def test_outputs_have_axes_and_types():
    made = entries()
    assert made.outputs(made.graph.find("a")) == (Entry("a", "[i]", "int"), Entry("b", "[i]", "str"))


def test_a_bound_parameter_has_its_value():
    made = entries()
    assert str(made.bound(made.graph.find("a"), "x")) == "x = 7e+10"


def test_a_bound_parameter_is_no_input():
    made = entries()
    assert [str(function) for function in made.takers["x"]] == ["scale(...) → y"]


@pytest.mark.parametrize(
    ("output", "name", "taken"),
    [("y", "x", "[i, j]"), ("a", "y", "[i, :]"), ("y", "k", ""), ("whole", "y", "[:, :]")],
)
def test_how_a_function_takes_an_array(output, name, taken):
    graph = FunctionGraph([*entries().graph.defined, PipeFunc(lambda y: y, "whole")])
    assert Entries(graph).taken(graph.find(output), name) == taken


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(1.0, "1.0", id="short-float"),
        pytest.param(1 / 3, "0.3333333333333333", id="a-float-is-never-rounded"),
        pytest.param(70e9, "7e+10", id="long-float"),
        pytest.param("a\nb", r"'a\nb'", id="line-break"),
        pytest.param(np.arange(3), "array([0, 1, 2])", id="array"),
        pytest.param("a" * 99, "'" + "a" * 15 + "…" + "a" * 6 + "'", id="long"),
    ],
)
def test_values_are_short(value, text):
    assert value_text(value) == text


def test_a_value_whose_repr_raises_does_no_harm():
    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert "Broken" in value_text(Broken())


def test_unknown_types_are_empty_and_unresolvable_ones_as_written():
    assert type_text({}, "x") == ""
    assert type_text({"x": Unresolvable("Missing")}, "x") == "Missing"


@pytest.mark.parametrize("length", [1, 2, 5, 9, 10])
def test_shortened_has_this_length(length):
    assert len(shortened("abcdefghij", length)) == length
