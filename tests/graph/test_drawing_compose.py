from __future__ import annotations

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.drawing.combinable import combinable
from pipefunc_c._graph.drawing.compose import compose
from pipefunc_c._graph.drawing.picture import Arrow, Kind
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c.exceptions import (
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    NotAvailableError,
    UnknownNameError,
)


def scale(x: float, k: int = 2) -> float:
    """Multiply.

    More of it.
    """


def graph():
    return FunctionGraph(
        [
            PipeFunc(scale, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(lambda y, w: (y, w), ("a", "b"), bound={"w": 1}),
            PipeFunc(lambda a, b, k=2: a, "c"),
        ]
    )


def scoped():
    first = PipeFunc(lambda x: x, "raw", scope="s")
    second = PipeFunc(lambda raw, gain=1: raw, "signal", scope="s")
    last = PipeFunc(lambda signal: signal, "out", renames={"signal": "s.signal"})
    return FunctionGraph([first, second, last])


def box(picture, key):
    return next(box for box in picture.boxes if box.key == key)


def arrows(picture):
    return {(arrow.source, arrow.target, arrow.name) for arrow in picture.arrows}


def test_each_input_and_function_has_a_box():
    picture = compose(graph())
    assert [(b.key, b.kind) for b in picture.boxes] == [
        ("k", Kind.INPUT),
        ("w of a, b", Kind.BOUND),
        ("x", Kind.INPUT),
        ("y", Kind.MAPPED),
        ("a, b", Kind.FUNCTION),
        ("c", Kind.FUNCTION),
    ]


def test_each_value_that_goes_on_has_an_arrow():
    assert arrows(compose(graph())) == {
        ("x", "y", "x"),
        ("k", "y", "k"),
        ("y", "a, b", "y"),
        ("w of a, b", "a, b", "w"),
        ("a, b", "c", "a"),
        ("a, b", "c", "b"),
        ("k", "c", "k"),
    }


def test_an_arrow_knows_at_which_of_several_outputs_it_begins():
    entries = {a.name: a.entry for a in compose(graph()).arrows if a.source == "a, b"}
    assert entries == {"a": 0, "b": 1}


def test_boxes_have_axes_types_and_defaults():
    picture = compose(graph())
    assert [str(box(picture, key).entries[0]) for key in ("x", "k", "y", "w of a, b")] == [
        "x[i]: float",
        "k: int = 2",
        "y[i]: float",
        "w = 1",
    ]


def test_an_array_that_is_taken_whole_is_labelled():
    labels = {a.name: a.label for a in compose(graph()).arrows}
    assert labels["y"] == "y[:]"
    assert labels["x"] == ""


def test_an_array_that_is_taken_by_row_is_labelled():
    functions = [
        PipeFunc(lambda x: x, "y", mapspec="x[i, j] -> y[i, j]"),
        PipeFunc(lambda y: y, "z", mapspec="y[i, :] -> z[i]"),
    ]
    assert [a.label for a in compose(FunctionGraph(functions)).arrows if a.name == "y"] == ["y[i, :]"]


def test_the_functions_whose_outputs_nobody_takes_are_final():
    assert [b.key for b in compose(graph()).boxes if b.final] == ["c"]


def test_the_mapspec_is_in_the_box_if_asked_for():
    assert box(compose(graph()), "y").notes == ()
    assert box(compose(graph(), include_full_mapspec=True), "y").notes == ("x[i] -> y[i]",)


def test_the_tooltip_has_signature_mapspec_and_first_line_of_the_documentation():
    assert box(compose(graph()), "y").tooltip.splitlines() == ["scale(x, k) → y", "x[i] -> y[i]", "Multiply."]


def test_inputs_with_defaults_are_left_out_if_asked_for():
    picture = compose(graph(), hide_default_args=True)
    assert "k" not in {b.key for b in picture.boxes}
    assert all(arrow.source != "k" for arrow in picture.arrows)


@pytest.mark.parametrize(("size", "grouped"), [(None, False), (3, True), (4, False), (1, True)])
def test_inputs_of_one_function_share_a_box_if_there_are_enough(size, grouped):
    functions = [PipeFunc(lambda a, b, c, shared: a, "y"), PipeFunc(lambda y, shared: y, "z")]
    picture = compose(FunctionGraph(functions), min_arg_group_size=size)
    inputs = [b.key for b in picture.boxes if b.kind is Kind.INPUT]
    assert inputs == (["a, b, c", "shared"] if grouped else ["a", "b", "c", "shared"])
    if grouped:
        assert Arrow("a, b, c", "y", "b", 1) in picture.arrows


def test_a_nested_function_lists_what_is_in_it():
    inner = [PipeFunc(scale, "y"), PipeFunc(lambda y: y, "z")]
    picture = compose(FunctionGraph([NestedPipeFunc(inner, "z", "both")]))
    nested = box(picture, "z")
    assert (nested.kind, nested.title) == (Kind.NESTED, "both")
    assert nested.notes == ("scale → y", "<lambda> → z")


def test_the_resources_that_a_function_receives_have_a_box():
    function = PipeFunc(lambda x, res: x, "y", resources={"cpus": 2}, resources_variable="res")
    picture = compose(FunctionGraph([function]))
    assert box(picture, "res of y").kind is Kind.RESOURCES
    assert ("res of y", "y", "res") in arrows(picture)


def test_boxes_belong_to_the_scope_of_their_names():
    picture = compose(scoped())
    assert {b.key: b.scope for b in picture.boxes} == {
        "s.gain": "s",
        "s.x": "s",
        "s.raw": "s",
        "s.signal": "s",
        "out": "",
    }
    assert [b.key for b in picture.scopes["s"]] == ["s.gain", "s.x", "s.raw", "s.signal"]


@pytest.mark.parametrize("chosen", [True, ["s"], {"s"}, "s"], ids=["all", "list", "set", "name"])
def test_a_collapsed_scope_is_one_box(chosen):
    picture = compose(scoped(), collapse_scopes=chosen)
    scope = box(picture, "s")
    assert (scope.kind, scope.notes) == (Kind.SCOPE, ("2 functions",))
    assert [entry.name for entry in scope.entries] == ["s.signal"]
    assert arrows(picture) == {("s.x", "s", "s.x"), ("s.gain", "s", "s.gain"), ("s", "out", "s.signal")}
    assert picture.scopes == {}


def test_no_scope_is_collapsed_by_an_empty_list():
    assert compose(scoped(), collapse_scopes=[]) == compose(scoped())


def test_scopes_that_take_from_each_other_may_both_be_collapsed():
    functions = [
        PipeFunc(lambda x: x, "a", scope="s"),
        PipeFunc(lambda a: a, "b", renames={"a": "s.a", "b": "t.b"}),
        PipeFunc(lambda b: b, "c", renames={"b": "t.b", "c": "s.c"}),
    ]
    picture = compose(FunctionGraph(functions), collapse_scopes=True)
    assert arrows(picture) == {("s.x", "s", "s.x"), ("s", "t", "s.a"), ("t", "s", "t.b")}


def test_an_unknown_scope_is_named():
    with pytest.raises(InvalidValueError, match="'nowhere'") as caught:
        compose(scoped(), collapse_scopes=["s", "nowhere"])
    assert caught.value.detail == "nowhere"


@pytest.mark.parametrize(
    ("size", "error"), [(0, InvalidValueError), ("2", InvalidTypeError), (True, InvalidTypeError)]
)
def test_a_wrong_group_size_is_named(size, error):
    with pytest.raises(error, match=f"min_arg_group_size .*{size!r}"):
        compose(graph(), min_arg_group_size=size)


def test_an_empty_graph_is_an_empty_picture():
    picture = compose(FunctionGraph([]))
    assert (picture.boxes, picture.arrows, picture.kinds) == ((), (), ())


def test_kinds_are_those_that_occur_in_the_order_of_a_legend():
    assert compose(graph()).kinds == (Kind.INPUT, Kind.BOUND, Kind.FUNCTION, Kind.MAPPED)


def combining():
    functions = [
        PipeFunc(lambda x: x, "y"),
        PipeFunc(lambda y: y, "z"),
        PipeFunc(lambda z, k: z, "w"),
    ]
    return FunctionGraph(functions)


def test_combinable_functions_are_those_with_the_same_root_arguments():
    assert combinable(combining(), None, conservatively_combine=False) == [["y", "z"]]


def test_nothing_may_be_combinable():
    assert combinable(combining(), "y", conservatively_combine=False) == []


def test_combinable_wants_one_output():
    functions = [*combining().defined, PipeFunc(lambda u: u, "v")]
    with pytest.raises(GraphError, match="2 leaf functions"):
        combinable(FunctionGraph(functions), None, conservatively_combine=False)
    with pytest.raises(UnknownNameError, match="nowhere"):
        combinable(combining(), "nowhere", conservatively_combine=False)


def test_mapped_functions_cannot_be_combined():
    with pytest.raises(NotAvailableError, match="mapspec"):
        combinable(graph(), None, conservatively_combine=False)
