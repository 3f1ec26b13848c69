from __future__ import annotations

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.describe import BoundValue, as_text, print_summary, summary, to_networkx
from pipefunc_c._graph.graph import FunctionGraph


def graph():
    return FunctionGraph(
        [
            PipeFunc(lambda x, k=2: (x, k), ("a", "b")),
            PipeFunc(lambda a, b, w: a, "c", bound={"w": 1}),
            PipeFunc(lambda: 0, "d"),
        ]
    )


SUMMARY = {
    "inputs": ("k", "x"),
    "required_inputs": ("x",),
    "optional_inputs": ("k",),
    "intermediate_outputs": ("a", "b"),
    "outputs": ("c", "d"),
}


def test_summary():
    assert summary(graph()) == SUMMARY


def test_the_table_has_all_of_it(capsys):
    print_summary(graph())
    table = capsys.readouterr().out
    for category, names in SUMMARY.items():
        line = next(
            line for line in table.splitlines() if line.startswith(f"│ {category.replace('_', ' ')} ")
        )
        assert ", ".join(names) in line


def test_text():
    assert as_text(graph()).splitlines() == [
        "  a, b = <lambda>(x, k)",
        "    needs: k=2, x",
        "  d = <lambda>()",
        "    needs: nothing",
        "  c = <lambda>(a, b, w)",
        "    needs: k=2, x",
    ]


def test_networkx():
    functions = graph().defined
    ab, c, d = functions
    result = to_networkx(FunctionGraph(functions))
    assert set(result.nodes) == {ab, c, d, "x", "k", BoundValue("w", "c")}
    assert {(u, v): data["arg"] for u, v, data in result.edges(data=True)} == {
        ("x", ab): "x",
        ("k", ab): "k",
        (ab, c): ("a", "b"),
        (BoundValue("w", "c"), c): "w",
    }
