from __future__ import annotations

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.describe import BoundValue
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import GraphError, PipefuncError, UnknownNameError


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
    with pytest.raises(UnknownNameError, match="'x'"):
        pipeline.func_dependencies("x")
    with pytest.raises(UnknownNameError, match="'x'"):
        pipeline.func_dependents("x")


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
    lines = str(pipeline).splitlines()
    assert lines[0] == "Pipeline:"
    assert lines[1:3] == ["  y = <lambda>(x, n)", "    needs: n=2, x"]


def test_a_missing_package_is_named(pipeline, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "networkx", None)
    with pytest.raises(ImportError, match="networkx") as caught:
        _ = pipeline.graph
    assert isinstance(caught.value, PipefuncError)
