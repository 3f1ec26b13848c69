from __future__ import annotations

import pytest

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.combinations import argument_combinations
from pipefunc_c._graph.describe import WIDTH, as_text, print_summary, some_combinations, summary
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c.exceptions import MissingDependencyError


def graph():
    return FunctionGraph(
        [
            PipeFunc(lambda x, k=2: (x, k), ("a", "b")),
            PipeFunc(lambda a, b, w: a, "c", bound={"w": 1}),
            PipeFunc(lambda: 0, "d"),
        ]
    )


def mapped():
    def double(x: float) -> float: ...

    return FunctionGraph(
        [
            PipeFunc(double, "y", mapspec="x[i] -> y[i]"),
            PipeFunc(lambda y: y, "z"),
        ]
    )


def chain(n):
    functions = [PipeFunc(lambda v, p: v, "v0", renames={"v": "start"})]
    for k in range(1, n):
        functions.append(PipeFunc(lambda v, p: v, f"v{k}", renames={"v": f"v{k - 1}", "p": f"p{k}"}))
    return FunctionGraph(functions)


SUMMARY = {
    "inputs": ("k", "x"),
    "required_inputs": ("x",),
    "optional_inputs": ("k",),
    "intermediate_outputs": ("a", "b"),
    "outputs": ("c", "d"),
}


def test_summary():
    assert summary(graph()) == SUMMARY


def rows(capsys):
    """Return the cells of a printed table, with the kind in each row."""
    kind, cells = "", []
    for line in capsys.readouterr().out.splitlines()[2:]:
        first, rest = line[:21].strip(), line[21:].split()
        kind = first or kind
        if rest and not set(line) <= {" ", "─"}:
            cells.append((kind, *rest))
    return cells


def test_the_table_has_all_of_it(capsys):
    print_summary(graph())
    assert rows(capsys) == [
        ("required inputs", "x"),
        ("optional inputs", "k", "2"),
        ("intermediate outputs", "a", "<lambda>"),
        ("intermediate outputs", "b", "<lambda>"),
        ("outputs", "c", "<lambda>"),
        ("outputs", "d", "<lambda>"),
    ]


def test_the_table_has_axes_which_are_no_markup(capsys):
    print_summary(mapped())
    cells = rows(capsys)
    assert cells[0] == ("required inputs", "x[i]", "float")
    assert cells[1] == ("intermediate outputs", "y[i]", "float", "double")


def test_names_in_the_table_stay_whole_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    name = "a_name_of_thirty_characters_ok"
    print_summary(FunctionGraph([PipeFunc(lambda x=["z" * 30]: x, name)]))
    lines = capsys.readouterr().out.splitlines()
    assert any(name in line for line in lines)
    assert max(map(len, lines)) <= 70


def test_the_table_of_nothing(capsys):
    print_summary(FunctionGraph([]))
    assert rows(capsys) == []


def test_rich_is_named_where_it_is_missing(monkeypatch):
    for module in ("rich", "rich.text"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingDependencyError, match="rich"):
        print_summary(graph())


def test_text():
    assert as_text(graph(), "fit", "First line.\nSecond line.").splitlines() == [
        "Pipeline 'fit': 3 functions",
        "First line.",
        "Second line.",
        "",
        "Inputs",
        "  k = 2",
        "  x",
        "",
        "Functions",
        "  a, b = <lambda>(x, k)",
        "  d = <lambda>()",
        "  c = <lambda>(a, b, w=1)",
        "      or from (k, x)",
        "",
        "Outputs",
        "  c",
        "  d",
    ]


def test_text_has_indices_as_in_the_mapspecs():
    lines = as_text(mapped()).splitlines()
    assert "  y[i] = double(x[i])" in lines
    assert "  z = <lambda>(y[:])" in lines


def test_text_of_nothing():
    assert as_text(FunctionGraph([])) == "Pipeline: 0 functions"


def test_a_long_list_of_combinations_is_cut_short_but_ends_with_the_root_arguments():
    text = as_text(chain(8))
    last = text[text.index("  v7 = ") : text.index("Outputs")]
    assert "…" in last
    words = " ".join(last.split())
    assert words.endswith(f"({', '.join(sorted(chain(8).root_args))})")
    assert max(map(len, text.splitlines())) <= WIDTH


def test_text_never_walks_exponentially_many_combinations():
    # Two functions per step: the combinations are exponentially many.
    functions = [PipeFunc(lambda x: x, "a0"), PipeFunc(lambda x: x, "b0")]
    for k in range(1, 40):
        names = {"a": f"a{k - 1}", "b": f"b{k - 1}"}
        functions += [PipeFunc(lambda a, b: a, f"{letter}{k}", renames=names) for letter in "ab"]
    assert len(as_text(FunctionGraph(functions)).splitlines()) < 400


@pytest.mark.parametrize("n", [1, 2, 4])
def test_some_combinations_are_all_if_there_are_few(n):
    g = chain(n)
    target = g.find(f"v{n - 1}")
    found = some_combinations(g, target, 100)
    assert {tuple(sorted(names)) for names in found} == argument_combinations(g, target.output_name)
    assert len(found) == len(set(found)) == n


def test_some_combinations_are_a_part_of_all_and_have_the_first_and_the_last():
    g = chain(6)
    found = some_combinations(g, g.find("v5"), 3)
    assert len(found) == 3
    assert {tuple(sorted(names)) for names in found} < argument_combinations(g, "v5")
    assert (found[0], found[-1]) == (frozenset({"v4", "p5"}), frozenset(g.root_args))


def test_a_function_of_root_arguments_has_one_combination():
    g = graph()
    assert some_combinations(g, g.find("a"), 4) == [frozenset({"x", "k"})]


def test_a_function_without_parameters_has_the_empty_combination():
    g = graph()
    assert some_combinations(g, g.find("d"), 4) == [frozenset()]
