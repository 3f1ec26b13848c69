from __future__ import annotations

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.describe import as_text
from pipefunc_c._graph.networkx_graph import BoundValue, ResourcesValue
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import GraphError, PipefuncError, UnknownNameError
from pipefunc_c.typing import NoAnnotation


@pytest.fixture
def pipeline():
    return Pipeline(
        [
            PipeFunc(lambda a, w: a, "z", bound={"w": 1}),
            PipeFunc(lambda y, k: (y, k), ("a", "b"), renames={"k": "s.k"}),
            PipeFunc(lambda x, n=2: x, "y"),
        ]
    )


def test_look_up(pipeline):
    assert pipeline["a"] is pipeline["b"] is pipeline[("a", "b")] is pipeline.functions[1]
    assert all(name in pipeline for name in ("a", ("a", "b"), "z"))
    assert not any(name in pipeline for name in ("x", ("a",), 3, None))
    with pytest.raises(UnknownNameError, match="there is no output 'nope'") as caught:
        pipeline["nope"]
    assert isinstance(caught.value, KeyError)


def test_functions_and_names(pipeline):
    z, ab, y = pipeline.functions
    assert pipeline.sorted_functions == [y, ab, z]
    assert pipeline.output_to_func == {"z": z, ("a", "b"): ab, "a": ab, "b": ab, "y": y}
    assert pipeline.all_output_names == {"a", "b", "y", "z"}
    assert pipeline.topological_generations == (["n", "s.k", "x"], [[y], [ab], [z]])
    assert pipeline.topological_generations.root_args == ["n", "s.k", "x"]
    assert pipeline.leaf_nodes == [z]
    assert pipeline.unique_leaf_node is z
    assert pipeline.defaults == {"n": 2}
    assert pipeline.scopes == {"s"}


def test_results_are_copies(pipeline):
    pipeline.functions.clear()
    pipeline.output_to_func.clear()
    pipeline.defaults.clear()
    pipeline.all_output_names.clear()
    assert len(pipeline.functions) == 3
    assert pipeline.defaults == {"n": 2}


def test_root_args(pipeline):
    assert pipeline.root_args() == ("n", "s.k", "x")
    assert pipeline.root_args("y") == ("n", "x")
    assert pipeline.root_args(["y", "z"]) == ("n", "s.k", "x")
    with pytest.raises(UnknownNameError, match="'nope'"):
        pipeline.root_args("nope")


def test_dependencies(pipeline):
    assert pipeline.func_dependencies("z") == [("a", "b"), "y"]
    assert pipeline.func_dependencies("y") == []
    assert pipeline.func_dependents("y") == [("a", "b"), "z"]
    assert pipeline.func_dependents("b") == ["z"]
    assert pipeline.func_dependencies(pipeline["z"]) == [("a", "b"), "y"]
    assert pipeline.func_dependents(name=pipeline["b"]) == ["z"]
    for unknown in ("nope", ("x",)):
        with pytest.raises(UnknownNameError, match="nope|x"):
            pipeline.func_dependencies(unknown)
        with pytest.raises(UnknownNameError, match="nope|x"):
            pipeline.func_dependents(unknown)


def test_dependencies_of_inputs():
    pipeline = Pipeline(
        [
            PipeFunc(lambda a: a, "c"),
            PipeFunc(lambda c, d: d, "e"),
            PipeFunc(lambda a, b: a, "f", bound={"a": 1, "b": 2}),
        ]
    )
    assert pipeline.func_dependents("a") == ["c", "e"]
    assert pipeline.func_dependents("d") == ["e"]
    assert pipeline.func_dependencies("a") == pipeline.func_dependencies("d") == []
    with pytest.raises(KeyError, match="'b'"):  # bound, so that it is no input
        pipeline.func_dependents("b")


def test_several_leaves_and_none():
    with pytest.raises(
        GraphError, match=r"2 leaf functions, not one; their outputs are \['b', 'a'\]"
    ) as caught:
        _ = Pipeline([PipeFunc(lambda: 0, "b"), PipeFunc(lambda: 0, "a")]).unique_leaf_node
    assert isinstance(caught.value, ValueError)
    with pytest.raises(GraphError, match="0 leaf functions"):
        _ = Pipeline([]).unique_leaf_node


def test_mapspecs():
    pipeline = Pipeline(
        [
            PipeFunc(lambda y: y, "z", mapspec="y[i, :] -> z[i]"),
            PipeFunc(lambda x, v: x, "y", mapspec="x[i], v[j] -> y[i, j]"),
        ]
    )
    first, second = pipeline.mapspecs()
    assert [first, second] == [pipeline["y"].mapspec, pipeline["z"].mapspec]
    assert pipeline.mapspecs(ordered=False) == [second, first]
    assert pipeline.mapspecs_as_strings == ["x[i], v[j] -> y[i, j]", "y[i, :] -> z[i]"]
    assert pipeline.mapspec_axes == {"x": ("i",), "v": ("j",), "y": ("i", "j"), "z": ("i",)}
    assert pipeline.mapspec_dimensions == {"x": 1, "v": 1, "y": 2, "z": 1}
    assert pipeline.mapspec_names == {"x", "v", "y", "z"}


def test_networkx_graph(pipeline):
    z, ab, y = pipeline.functions
    graph = pipeline.graph
    assert graph.edges[ab, z]["arg"] == "a"
    assert set(graph.predecessors(z)) == {ab, BoundValue("w", "z")}
    assert set(graph.predecessors(ab)) == {y, "s.k"}


def test_info(pipeline, capsys):
    info = pipeline.info()
    assert info["required_inputs"] == ("s.k", "x")
    assert info["outputs"] == ("z",)
    assert capsys.readouterr().out == ""
    assert pipeline.info(print_table=True) is None
    assert "required inputs" in capsys.readouterr().out


def test_text(pipeline):
    assert str(pipeline) == as_text(pipeline.function_graph)


def test_a_missing_package_is_named(pipeline, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "networkx", None)
    with pytest.raises(ImportError, match="networkx") as caught:
        _ = pipeline.graph
    assert isinstance(caught.value, PipefuncError)


def test_nodes_by_name(pipeline):
    z, ab, y = pipeline.functions
    roots = {name: name for name in ("n", "s.k", "x")}
    assert pipeline.node_mapping == {"z": z, ("a", "b"): ab, "a": ab, "b": ab, "y": y, **roots}
    assert set(pipeline.node_mapping.values()) == set(pipeline.graph.nodes) - {BoundValue("w", "z")}


def test_root_nodes(pipeline):
    constant = pipeline.add(PipeFunc(lambda: 0, "constant"))
    pipeline.add(PipeFunc(lambda res: 0, "r", resources={"cpus": 1}, resources_variable="res"))
    expected = {"n", "s.k", "x", constant, BoundValue("w", "z"), ResourcesValue("res", "r")}
    assert set(pipeline.root_nodes) == expected


def test_all_root_args(pipeline):
    assert pipeline.all_root_args == {"z": ("n", "s.k", "x"), ("a", "b"): ("n", "s.k", "x"), "y": ("n", "x")}


def test_argument_combinations(pipeline):
    assert pipeline.arg_combinations("y") == {("n", "x")}
    assert pipeline.arg_combinations("z") == {("a", "b"), ("s.k", "y"), ("n", "s.k", "x")}
    assert pipeline.all_arg_combinations == {
        "y": {("n", "x")},
        ("a", "b"): {("s.k", "y"), ("n", "s.k", "x")},
        "z": pipeline.arg_combinations("z"),
    }
    with pytest.raises(UnknownNameError, match="'x'"):
        pipeline.arg_combinations("x")


def test_every_combination_is_enough_to_run(pipeline):
    for names in pipeline.arg_combinations("z"):
        # Of a function with several outputs all are named, whether they are needed or not.
        assert pipeline.run("z", dict.fromkeys(names, 1), allow_unused=True) == 1


def test_annotations():
    def y(x: int, k: float, u) -> str:
        return ""

    def z(y: str, x: int, k: bytes):
        return y

    pipeline = Pipeline([PipeFunc(y, "y"), PipeFunc(z, "z", bound={"k": b""})])
    assert pipeline.parameter_annotations == {"x": int, "k": float, "y": str}
    assert pipeline.output_annotations == {"y": str, "z": NoAnnotation}


def test_independent_axes():
    pipeline = Pipeline(
        [
            PipeFunc(lambda x, v: x, "y", mapspec="x[i], v[j] -> y[i, j]"),
            PipeFunc(lambda y: y, "row", mapspec="y[i, :] -> row[i]"),
            PipeFunc(lambda row: row, "total"),
        ]
    )
    assert pipeline.independent_axes_in_mapspecs("y") == {"i", "j"}
    assert pipeline.independent_axes_in_mapspecs("row") == {"i"}
    assert pipeline.independent_axes_in_mapspecs("total") == set()
    with pytest.raises(UnknownNameError, match="'x'"):
        pipeline.independent_axes_in_mapspecs("x")


def test_generations_are_a_named_tuple(pipeline):
    generations = pipeline.topological_generations
    assert generations._fields == ("root_args", "function_lists")
    root_args, function_lists = generations
    assert [[f.output_name for f in functions] for functions in function_lists] == [
        ["y"],
        [("a", "b")],
        ["z"],
    ]
    assert root_args == ["n", "s.k", "x"]
