"""The benchmarks: all that is meant to run is discovered, and the comparison judges as it says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import pytest
from source_tree import ROOT

pytestmark = pytest.mark.repository

SUITES = ROOT / "benchmarks" / "benchmarks"
MEASURED = re.compile(r"^(time|track|peakmem)_")
DISCOVERED = 44


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def suite_methods() -> dict[str, list[str]]:
    """Return the public methods of each benchmark class but for setup and teardown."""
    classes = [
        node
        for path in sorted(SUITES.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    preparation = {"setup", "teardown", "setup_cache"}
    return {
        node.name: [f.name for f in node.body if isinstance(f, ast.FunctionDef) and f.name not in preparation]
        for node in classes
    }


def test_every_method_of_a_suite_is_measured():
    unmeasured = {
        name: methods for name, methods in suite_methods().items() if not all(map(MEASURED.match, methods))
    }
    assert not unmeasured


def test_asv_discovers_all_benchmarks(require, benchmarks):
    require("asv_runner", reason="it discovers the benchmarks")
    from asv_runner.discovery import disc_benchmarks

    discovered = [benchmark.name for benchmark in disc_benchmarks(str(SUITES))]
    assert len(discovered) == DISCOVERED
    methods = [name.rsplit(".", 1)[1] for name in discovered]
    assert sorted(methods) == sorted(method for names in suite_methods().values() for method in names)
    assert {method.partition("_")[0] for method in methods} == {"time", "track", "peakmem"}


@pytest.mark.parametrize(
    ("measured", "budget", "at_least", "verdict"),
    [
        pytest.param(1.0, 1.0, False, "met", id="exactly"),
        pytest.param(1.2, 1.0, False, "missed", id="within-a-quarter"),
        pytest.param(1.26, 1.0, False, "MISSED", id="beyond-a-quarter"),
        pytest.param(150.0, 150.0, True, "met", id="at-least-exactly"),
        pytest.param(120.0, 150.0, True, "missed", id="at-least-within-a-quarter"),
        pytest.param(100.0, 150.0, True, "MISSED", id="at-least-beyond-a-quarter"),
        pytest.param(1.0, 0.0, False, "MISSED", id="nothing-allowed"),
        pytest.param(None, 150.0, True, "not judged", id="peer-missing"),
        pytest.param(3.0, None, False, "", id="no-budget"),
    ],
)
def test_a_figure_is_judged_by_its_budget(benchmarks, measured, budget, at_least, verdict):
    from report import Figure, misses

    figure = Figure("work", measured, "x", budget, at_least=at_least)
    assert figure.verdict == verdict
    assert bool(misses([figure])) == (verdict == "MISSED")


def test_a_figure_that_others_may_have_spoiled_is_not_judged(benchmarks):
    from report import Figure, misses

    figure = Figure("work", 3.0, "x", 1.0, judged=False)
    assert figure.verdict == "not judged"
    assert not misses([figure])


def test_each_section_is_a_function(benchmarks):
    import compare

    for name, place in compare.SECTIONS.items():
        module, function = place.split(".")
        tree = ast.parse((ROOT / "benchmarks" / "comparison" / f"{module}.py").read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


@pytest.mark.parametrize(
    ("turns", "wall", "cores_were_free"),
    [
        pytest.param([(2.0, False), (3.0, False)], 2.0, False, id="never-free"),
        pytest.param([(2.0, False), (3.0, True), (4.0, True)], 3.0, True, id="only-free-turns-count"),
        pytest.param([(3.0, True), (2.0, False)], 3.0, True, id="busy-later"),
    ],
)
def test_time_that_passes_counts_where_cores_were_free(benchmarks, turns, wall, cores_were_free):
    from comparison.timing import Cost

    cost = Cost()
    for seconds, free in turns:
        cost.add(1.0, 0.5, seconds, cores_were_free=free)
    assert (cost.wall, cost.cores_were_free) == (wall, cores_were_free)
    assert (cost.cpu, cost.own_cpu) == (1.0, 0.5)


def test_the_messages_of_a_map_are_counted(benchmarks, leave_out):
    if len(os.sched_getaffinity(0)) < 2:
        leave_out("a single core runs everything in one process")
    script = (
        "from benchmarks.messages import traffic_of as t; r = t(1000); print(len(r.leases), len(r.reports))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "benchmarks",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    leases, reports = map(int, result.stdout.split())
    assert leases == reports > 1


def test_the_table_replaces_what_stands_between_the_markers(benchmarks, tmp_path):
    from report import BEGIN, END, Figure, markdown_table, write_between_markers

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between_markers(page, markdown_table([Figure("a loop", 0.5, "x", 0.95, detail="50 ns")]))
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "old" not in lines
    assert "| a loop | 0.5 x | <= 0.95 x | met | 50 ns |" in lines


def test_only_rows_that_were_not_judged_are_filled_in(benchmarks, tmp_path):
    from report import BEGIN, END, Figure, judge_rows, markdown_table, write_between_markers

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    first = [Figure("wall", 0.9, "x", 1, judged=False), Figure("cpu", 3.0, "x", 1), Figure("b", 1.0, "x", 1)]
    write_between_markers(page, f"today\n\n{markdown_table(first)}")
    again = [Figure("wall", 0.8, "x", 1), Figure("cpu", 0.5, "x", 1), Figure("b", 1, "x", 1, judged=False)]
    with pytest.raises(ValueError, match="renew all"):
        judge_rows(page, "tomorrow", again)
    judge_rows(page, "today", again)
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "| wall | 0.8 x | <= 1 x | met |  |" in lines
    assert "| cpu | 3 x | <= 1 x | MISSED |  |" in lines
    assert "| b | 1 x | <= 1 x | met |  |" in lines


def test_a_page_without_markers_is_refused(benchmarks, tmp_path):
    from report import write_between_markers

    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match="lacks the markers"):
        write_between_markers(page, "table")


def test_the_committed_table_holds_the_figures_and_their_date():
    page = (ROOT / "docs" / "performance.md").read_text()
    rows = re.findall(r"^\| (?!work|---)(.+) \|$", page, re.MULTILINE)
    assert len(rows) >= 20, "renew it: python benchmarks/compare.py --write docs/performance.md"
    assert re.search(r"^20\d\d-\d\d-\d\d: pipefunc_c ", page, re.MULTILINE)
