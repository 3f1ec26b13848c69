from __future__ import annotations

import dataclasses
import inspect
import pickle

import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c.exceptions import (
    InputError,
    InvalidTypeError,
)
from pipefunc_c.resources import Resources
from pipefunc_c.typing import NoAnnotation


def first(x: int, a: int = 1) -> int:
    return x + a


def second(y: int, b: float) -> float:
    return y * b


def divide(y, b):
    return y / b


def functions(first_spec=None, second_spec=None):
    return [PipeFunc(first, "y", mapspec=first_spec), PipeFunc(second, "z", mapspec=second_spec)]


# -- names, parameters, results


def test_all_outputs_in_topological_order_by_default():
    nested = NestedPipeFunc(functions()[::-1])
    assert nested.output_name == ("y", "z")
    assert nested(x=1, b=2) == (2, 4)


def test_the_parameters_are_the_inner_inputs_sorted():
    nested = NestedPipeFunc(functions())
    assert nested.parameters == ("a", "b", "x")
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in nested.original_parameters.values())
    assert nested.defaults == {"a": 1}
    assert nested(1, 2, 3) == (4, 8)  # by position in this order, as any PipeFunc


@pytest.mark.parametrize(
    ("output_name", "expected"),
    [("z", 4), ("y", 2), (("z",), (4,)), (("z", "y"), (4, 2)), (("y", "z"), (2, 4))],
)
def test_chosen_outputs(output_name, expected):
    nested = NestedPipeFunc(functions(), output_name)
    assert nested.output_name == output_name
    assert nested(x=1, b=2) == expected


def test_outputs_of_a_function_with_several():
    pair = PipeFunc(lambda x: (x, -x), ("p", "q"))
    other = PipeFunc(lambda q: 10 * q, "r")
    assert NestedPipeFunc([pair, other])(x=1) == (1, -1, -10)
    assert NestedPipeFunc([pair, other], ("p", "q"))(x=1) == (1, -1)
    assert NestedPipeFunc([pair, other], ("r", "p"))(x=1) == (-10, 1)


def test_an_inner_output_picker_is_used():
    pair = PipeFunc(lambda x: {"p": x, "q": -x}, ("p", "q"), output_picker=lambda result, name: result[name])
    assert NestedPipeFunc([pair, PipeFunc(lambda q: q, "r")])(x=1) == (1, -1, -1)


def test_all_functions_run_also_those_that_no_output_needs():
    seen = []
    nested = NestedPipeFunc([PipeFunc(lambda x: x, "y"), PipeFunc(lambda y: [seen.append(y)], "save")], "y")
    assert nested(x=1) == 1
    assert seen == [1]


def test_functions_that_are_not_connected():
    nested = NestedPipeFunc([PipeFunc(lambda x: x, "y"), PipeFunc(lambda u: -u, "v")])
    assert nested.output_name == ("v", "y")  # as in a generation of a pipeline: by name
    assert nested(x=1, u=2) == (-2, 1)


def test_no_parameters():
    nested = NestedPipeFunc([PipeFunc(lambda: 1, "y"), PipeFunc(lambda y: y + 1, "z")], "z")
    assert nested() == 2
    assert Pipeline([nested])() == 2
    nested.print_error = False
    with pytest.raises(InputError, match="nope"):
        nested(nope=1)


def test_a_parameter_called_self():
    def odd(self):
        return self

    nested = NestedPipeFunc([PipeFunc(odd, "y"), PipeFunc(lambda y: y, "z")], "z")
    assert nested(**{"self": 3}) == 3
    assert Pipeline([nested])("z", **{"self": 3}) == 3


@pytest.mark.parametrize(
    ("output_name", "function_name", "name"),
    [(None, None, "NestedPipeFunc_y_z"), ("z", None, "NestedPipeFunc_z"), ("z", "mine", "mine")],
)
def test_the_name(output_name, function_name, name):
    nested = NestedPipeFunc(functions(), output_name, function_name)
    assert nested.__name__ == name
    assert str(nested).startswith(f"{name}(...) → ")
    assert repr(nested) == "NestedPipeFunc(pipefuncs=[PipeFunc(first), PipeFunc(second)])"


def test_renames_of_parameters_and_outputs():
    nested = NestedPipeFunc(functions(), renames={"x": "X", "z": "Z"})
    assert nested.parameters == ("a", "b", "X")
    assert nested.output_name == ("y", "Z")
    assert nested(X=1, b=2) == (2, 4)
    assert Pipeline([nested])("Z", X=1, b=2) == 4


def test_bound_values():
    nested = NestedPipeFunc(functions(), "z", bound={"b": 5})
    assert nested(x=1) == 10
    assert Pipeline([nested]).root_args() == ("a", "x")
    assert Pipeline([nested])(x=1) == 10


def test_inner_bound_values_are_no_parameters():
    inner = [PipeFunc(first, "y", bound={"a": 7}), PipeFunc(second, "z")]
    nested = NestedPipeFunc(inner, "z")
    assert nested.parameters == ("b", "x")
    assert nested(x=1, b=1) == 8


def test_an_inner_bound_value_shadows_an_inner_output():
    inner = [PipeFunc(lambda x: x, "y"), PipeFunc(lambda y: y, "z", bound={"y": 100})]
    assert NestedPipeFunc(inner)(x=1) == (1, 100)


def test_defaults_can_be_changed_outside():
    nested = NestedPipeFunc(functions(), "z")
    nested.update_defaults({"b": 3, "a": 0})
    assert nested(x=2) == 6
    pipeline = Pipeline([nested])
    pipeline.update_defaults({"b": 4})
    assert pipeline(x=2) == 8
    assert nested(x=2) == 6


def test_scopes_of_the_inner_functions():
    inner = [PipeFunc(first, "y", scope="s"), PipeFunc(second, "z", renames={"y": "s.y"})]
    nested = NestedPipeFunc(inner)
    assert nested.parameters == ("b", "s.a", "s.x")
    assert nested.output_name == ("s.y", "z")
    assert nested(b=2, s={"x": 1}) == nested(b=2, **{"s.x": 1}) == (2, 4)
    assert Pipeline([nested])("z", b=2, s={"x": 1}) == 4


def test_the_signature_has_scoped_names():
    inner = [PipeFunc(first, "y", scope="s"), PipeFunc(second, "z", renames={"y": "s.y"})]
    nested = NestedPipeFunc(inner, "z")
    assert str(inspect.signature(nested)) == "(b: float, s.a: int = 1, s.x: int) -> float"
    assert nested.parameter_annotations == {"b": float, "s.a": int, "s.x": int}
    outer = NestedPipeFunc([nested, PipeFunc(lambda z: z, "w")], "w")
    assert [*inspect.signature(outer).parameters] == ["b", "s.a", "s.x"]


def test_a_scope_around_the_nested_function():
    pipeline = Pipeline([NestedPipeFunc(functions(), "z")], scope="t")
    assert pipeline.root_args() == ("t.a", "t.b", "t.x")
    assert pipeline("t.z", t={"x": 1, "b": 2}) == 4
    pipeline.update_scope(None, "*", "*")
    assert pipeline(x=1, b=2) == 4


def test_a_default_factory_makes_a_value_for_each_call():
    @dataclasses.dataclass
    class Box:
        x: int
        items: list = dataclasses.field(default_factory=list)

    nested = NestedPipeFunc([PipeFunc(Box, "box"), PipeFunc(lambda box: box.items, "items_out")], "items_out")
    pipeline = Pipeline([nested])
    assert nested(x=1) is not nested(x=1)
    assert pipeline(x=1) is not pipeline(x=1)
    given = []
    assert pipeline(x=1, items=given) is given


def test_annotations():
    nested = NestedPipeFunc(functions())
    assert nested.parameter_annotations == {"a": int, "b": float, "x": int}
    assert nested.output_annotation == {"y": int, "z": float}
    assert str(inspect.signature(nested)) == "(a: int = 1, b: float, x: int) -> tuple[int, float]"
    assert str(inspect.signature(NestedPipeFunc(functions(), "z"))).endswith("-> float")


def test_the_annotation_of_a_bound_parameter_is_not_that_of_an_input():
    def bound(x: str) -> int:
        return len(x)

    nested = NestedPipeFunc([PipeFunc(bound, "n", bound={"x": "abc"}), PipeFunc(first, "y")])
    assert nested.parameter_annotations == {"a": int, "x": int}
    assert nested(x=1) == (3, 2)


def test_annotations_that_are_not_known():
    nested = NestedPipeFunc([PipeFunc(first, "y"), PipeFunc(divide, "z")])
    assert nested.parameter_annotations == {"a": int, "x": int}
    assert nested.output_annotation == {"y": int, "z": NoAnnotation}
    assert inspect.signature(nested).return_annotation is inspect.Signature.empty
    single = NestedPipeFunc([PipeFunc(first, "y"), PipeFunc(divide, "z")], "z")
    assert single.output_annotation == {"z": NoAnnotation}


def test_nested_in_nested():
    inner = NestedPipeFunc(functions(), "z")
    outer = NestedPipeFunc([inner, PipeFunc(lambda z, c: z + c, "w")], "w")
    assert outer.parameters == ("a", "b", "c", "x")
    assert outer(x=1, b=2, c=3) == 7
    assert pickle.loads(pickle.dumps(outer))(x=1, b=2, c=3) == 7
    assert Pipeline([outer]).map({"x": 1, "b": 2, "c": 3}, parallel=False)["w"].output == 7


# -- what the inner functions are


def test_the_inner_functions_are_copies_without_mapspecs():
    given = functions("x[i] -> y[i]", "y[i] -> z[i]")
    nested = NestedPipeFunc(given)
    assert [f.mapspec for f in nested.pipefuncs] == [None, None]
    assert all(f.mapspec is not None for f in given)
    given[0].update_bound({"a": 100})
    assert nested(x=1, b=2) == (2, 4)


def test_the_inner_pipeline():
    nested = NestedPipeFunc(functions(), "z")
    assert isinstance(nested.pipeline, Pipeline)
    assert nested.pipeline is nested.pipeline
    assert nested.pipeline("z", x=1, b=2) == 4
    assert nested(x=1, b=2) == 4
    assert [f.output_name for f in nested.pipefuncs] == ["y", "z"]


def test_calls_go_through_the_inner_pipeline_once_there_is_one():
    nested = NestedPipeFunc(functions(), "z")
    nested.pipeline.replace(PipeFunc(lambda y, b: -y * b, "z"))
    assert nested(x=1, b=2) == -4
    assert pickle.loads(pickle.dumps(nested))(x=1, b=2) == -4
    assert nested.copy()(x=1, b=2) == -4


def test_a_copy_shares_nothing_that_changes():
    nested = NestedPipeFunc([PipeFunc(first, "y"), PipeFunc(divide, "z")], "z", "mine")
    copy = nested.copy()
    assert copy.__name__ == "mine"
    with pytest.raises(ZeroDivisionError):
        copy(x=1, b=0)
    assert copy.error_snapshot is not None
    assert copy.pipeline.error_snapshot is not None
    assert nested.error_snapshot is None
    assert nested.pipeline.error_snapshot is None
    assert copy.copy().pipeline.error_snapshot is None


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"output_name": "y"}, (("a", "b", "X"), "y", "mine", "X[i] -> y[i]")),
        ({"output_name": None}, (("a", "b", "X"), ("y", "z"), "mine", "X[i] -> y[i], z[i]")),
        ({"function_name": "other"}, (("a", "b", "X"), "z", "other", "X[i] -> z[i]")),
        ({"function_name": None}, (("a", "b", "X"), "z", "NestedPipeFunc_z", "X[i] -> z[i]")),
        ({"renames": {"x": "V", "z": "Z"}}, (("a", "b", "V"), "Z", "mine", "V[i] -> Z[i]")),
        ({"mapspec": "X[j] -> z[j]"}, (("a", "b", "X"), "z", "mine", "X[j] -> z[j]")),
        ({"mapspec": None}, (("a", "b", "X"), "z", "mine", "X[i] -> z[i]")),
        ({"bound": {"a": 0}}, (("a", "b", "X"), "z", "mine", "X[i] -> z[i]")),
        ({"defaults": {"b": 0}}, (("a", "b", "X"), "z", "mine", "X[i] -> z[i]")),
    ],
    ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_a_copy_with_other_options(update, expected):
    specs = ("x[i] -> y[i]", "y[i] -> z[i]")
    nested = NestedPipeFunc(functions(*specs), "z", "mine", renames={"x": "X"})
    nested.update_defaults({"b": 7})
    copy = nested.copy(**update)
    mapspec = None if copy.mapspec is None else str(copy.mapspec)
    if update == {"mapspec": None}:
        expected = (*expected[:3], None)
    assert (copy.parameters, copy.output_name, copy.__name__, mapspec) == expected
    assert copy.bound == update.get("bound", {})
    assert copy.defaults["b"] == update.get("defaults", {"b": 7})["b"]


def test_a_copy_with_plain_options():
    hooked = []
    nested = NestedPipeFunc(functions(), "z", cache=True, resources={"cpus": 2}, variant="v")
    copy = nested.copy(print_error=False, post_execution_hook=lambda *args: hooked.append(args))
    assert (copy.cache, copy.resources.cpus, copy.variant) == (True, 2, {None: "v"})
    assert copy.print_error is False
    assert copy(x=1, b=2) == 4
    assert hooked == [(copy, 4, {"a": 1, "b": 2, "x": 1})]
    assert nested.copy(cache=False, resources={"cpus": 3}).resources == Resources(cpus=3)


def test_an_unknown_option_of_a_copy():
    with pytest.raises(InvalidTypeError, match="nope"):
        NestedPipeFunc(functions()).copy(nope=1)


def test_pickle():
    offset = 5
    nested = NestedPipeFunc(
        [PipeFunc(lambda x: x + offset, "y"), PipeFunc(lambda y, k=2: k * y, "z")], "z", renames={"x": "X"}
    )
    nested.pipeline  # noqa: B018  it must not go along
    loaded = pickle.loads(pickle.dumps(nested))
    assert type(loaded) is NestedPipeFunc
    assert (loaded.parameters, loaded.output_name, loaded.__name__) == (("k", "X"), "z", "NestedPipeFunc_z")
    assert loaded(X=1) == 12
