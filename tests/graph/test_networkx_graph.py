from __future__ import annotations

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._graph.networkx_graph import BoundValue, ResourcesValue, to_networkx


def test_nodes_and_edges():
    functions = [
        PipeFunc(lambda x, k=2: (x, k), ("a", "b")),
        PipeFunc(lambda a, b, w: a, "c", bound={"w": 1}),
        PipeFunc(lambda: 0, "d"),
    ]
    ab, c, d = functions
    result = to_networkx(FunctionGraph(functions))
    assert set(result.nodes) == {ab, c, d, "x", "k", BoundValue("w", "c")}
    assert {(u, v): data["arg"] for u, v, data in result.edges(data=True)} == {
        ("x", ab): "x",
        ("k", ab): "k",
        (ab, c): ("a", "b"),
        (BoundValue("w", "c"), c): "w",
    }


def test_a_marker_for_the_resources_of_a_function():
    y = PipeFunc(lambda x, res: x, "y", resources={"cpus": 2}, resources_variable="res")
    z = PipeFunc(lambda y: y, "z", resources={"cpus": 2})
    result = to_networkx(FunctionGraph([y, z]))
    marker = ResourcesValue("res", "y")
    assert set(result.nodes) == {"x", y, z, marker}
    assert set(result.predecessors(y)) == {"x", marker}


def test_markers_of_the_same_parameter_differ():
    functions = [PipeFunc(lambda x, k: x, name, bound={"k": 1}) for name in ("y", "z")]
    result = to_networkx(FunctionGraph(functions))
    assert {BoundValue("k", "y"), BoundValue("k", "z")} <= set(result.nodes)
