from __future__ import annotations

import pytest

from pipefunc_c import PipeFunc
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c.exceptions import (
    GraphError,
    InputError,
    InvalidTypeError,
    InvalidValueError,
)


def first(x: int, a: int = 1) -> int:
    return x + a


def second(y: int, b: float) -> float:
    return y * b


def divide(y, b):
    return y / b


def functions(first_spec=None, second_spec=None):
    return [PipeFunc(first, "y", mapspec=first_spec), PipeFunc(second, "z", mapspec=second_spec)]


# -- refused


def test_fewer_than_two_functions():
    with pytest.raises(InvalidValueError, match="two functions.*first"):
        NestedPipeFunc(functions()[:1])
    with pytest.raises(ValueError, match="got 0"):
        NestedPipeFunc([])


@pytest.mark.parametrize("pipefuncs", [[first, second], [PipeFunc(first, "y"), 3], PipeFunc(first, "y"), 3])
def test_what_is_no_pipefunc(pipefuncs):
    with pytest.raises(InvalidTypeError) as caught:
        NestedPipeFunc(pipefuncs)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("output_name", ["q", ("z", "q"), ("q",)])
def test_an_output_that_does_not_exist(output_name):
    with pytest.raises(InvalidValueError, match="'q'"):
        NestedPipeFunc(functions(), output_name)


@pytest.mark.parametrize("output_name", [["z"], 3])
def test_an_output_name_of_another_type(output_name):
    with pytest.raises(InvalidTypeError, match="output name"):
        NestedPipeFunc(functions(), output_name)


@pytest.mark.parametrize("output_name", [(), ("z", "z")])
def test_no_or_repeated_outputs(output_name):
    with pytest.raises(InvalidValueError, match="different names"):
        NestedPipeFunc(functions(), output_name)


def test_functions_that_do_not_fit():
    with pytest.raises(GraphError, match="cycle"):
        NestedPipeFunc([PipeFunc(lambda z: z, "y"), PipeFunc(lambda y: y, "z")])
    with pytest.raises(GraphError, match="'y' is produced twice"):
        NestedPipeFunc([PipeFunc(lambda u: u, "y"), PipeFunc(lambda v: v, "y")])
    with pytest.raises(GraphError, match="'k' has different defaults"):
        NestedPipeFunc([PipeFunc(lambda k=1: k, "y"), PipeFunc(lambda k=2: k, "z")])


def test_a_missing_or_unknown_argument():
    nested = NestedPipeFunc(functions())
    nested.print_error = False
    with pytest.raises(InputError, match="'x'"):
        nested(b=1)
    with pytest.raises(InputError, match="'y' is no parameter"):
        nested(x=1, y=3)


def test_variant_group_is_refused():
    with pytest.raises(ValueError, match="variant_group"):
        NestedPipeFunc(functions(), variant="a", variant_group="g")


def test_types_that_do_not_fit():
    def text(y: str) -> str:
        return y

    with pytest.raises(InvalidTypeError, match="'first' returns 'y' as int.*'text' takes it as str"):
        NestedPipeFunc([PipeFunc(first, "y"), PipeFunc(text, "z")])
