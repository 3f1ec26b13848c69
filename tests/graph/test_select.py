from __future__ import annotations

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.select import functions_between
from pipefunc_c.exceptions import GraphError, InputError, UnknownNameError


def graph():
    return FunctionGraph(
        [
            PipeFunc(lambda y, k=1: y, "z"),
            PipeFunc(lambda x: x, "y"),
            PipeFunc(lambda y, w: (y, w), ("a", "b")),
            PipeFunc(lambda a, b: a, "c"),
            PipeFunc(lambda v: v, "u"),
        ]
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        (None, ["z"], ["z", "y"]),
        (None, ["c", "u"], ["y", ("a", "b"), "c", "u"]),
        (None, [("a", "b")], ["y", ("a", "b")]),
        ({"x"}, ["z"], ["z", "y"]),
        ({"x", "k"}, ["z"], ["z", "y"]),
        ({"y"}, ["z"], ["z"]),
        ({"y", "w"}, None, ["z", ("a", "b"), "c"]),
        ({"v"}, None, ["u"]),
        ({"a", "b"}, None, ["c"]),
        ({"a", "x", "w"}, ["c"], ["y", ("a", "b"), "c"]),
        ({"y", "x"}, ["z"], ["z"]),
    ],
    ids=[
        "output",
        "outputs",
        "several outputs",
        "root",
        "roots",
        "intermediate",
        "all behind",
        "own part",
        "both parts",
        "one of two parts",
        "intermediate and root",
    ],
)
def test_what_lies_between(inputs, outputs, expected):
    assert [f.output_name for f in functions_between(graph(), inputs, outputs)] == expected


def test_neither_is_given():
    with pytest.raises(InputError, match="neither `inputs` nor `output_names`"):
        functions_between(graph(), None, None)


@pytest.mark.parametrize(
    ("inputs", "outputs", "missing"),
    [({"x"}, ["c"], "w"), ({"x"}, None, "w"), ({"a", "w"}, ["c"], "x"), (set(), ["z"], "x")],
    ids=["output", "leaves", "one of two parts", "none"],
)
def test_not_enough_inputs(inputs, outputs, missing):
    with pytest.raises(InputError, match=rf"which needs \['{missing}'\] too") as caught:
        functions_between(graph(), inputs, outputs)
    assert str(sorted(inputs)) in str(caught.value)


def test_unknown_names():
    with pytest.raises(InputError, match=r"\['nope'\] are neither"):
        functions_between(graph(), {"nope", "x"}, None)
    with pytest.raises(UnknownNameError, match="'nope'") as caught:
        functions_between(graph(), None, ["nope"])
    assert isinstance(caught.value, ValueError)


def test_inputs_that_nothing_takes():
    with pytest.raises(GraphError, match=r"no function takes any of the inputs \['z'\]"):
        functions_between(graph(), {"z"}, None)
