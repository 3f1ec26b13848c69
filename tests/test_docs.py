"""The documents: each Python block is executed, each link leads somewhere, each deviation has its test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from source_tree import DOCUMENTS, ROOT, fences

pytestmark = pytest.mark.repository

# Languages that hold no Python program; Sphinx itself fails on a broken directive.
PROSE = {
    "",
    "text",
    "console",
    "bash",
    "toml",
    "ini",
    "yaml",
    "{toctree}",
    "{eval-rst}",
    "{note}",
    "{warning}",
}


def relative_name(path) -> str:
    return str(path.relative_to(ROOT))


def program(path) -> str:
    """Return the Python blocks of a document as one program whose line numbers are the document's."""
    lines: list[str] = []
    for fence in fences(path):
        if fence.language == "python" and fence.reason is None:
            lines += [""] * (fence.line - len(lines)) + fence.text.splitlines()
    return "\n".join(lines)


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative_name)
def test_python_blocks_run(path, tmp_path):
    source = program(path)
    if not source:
        return
    script = tmp_path / "page.py"  # the line numbers of a traceback are those of the page
    script.write_text(source)
    result = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative_name)
def test_each_block_is_executed_or_says_why_not(path):
    for fence in fences(path):
        known = fence.language == "python" or fence.language in PROSE
        assert known, f"line {fence.line}: language {fence.language!r} is neither executed nor prose"
        assert fence.reason is None or len(fence.reason.split()) >= 3


def test_blocks_are_found_with_their_line_and_reason(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n```python\nx = 1\n```\n<!-- not executed: needs a cluster -->\n```python\ny\n```\n")
    first, second = fences(page)
    assert (first.line, first.text, first.reason) == (2, "x = 1\n", None)
    assert (second.line, second.reason) == (6, "needs a cluster")


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative_name)
def test_relative_links_lead_somewhere(path):
    prose = path.read_text()
    for fence in fences(path):
        prose = prose.replace(fence.text, "")
    for target in re.findall(r"\]\(([^)#\s]+)", prose):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{relative_name(path)} links to {target}"


def deviations() -> list[tuple[str, str]]:
    """Return (what deviates, name of its test) for each row of the tables of differences."""
    rows = re.findall(r"^\| (?!-)(.+) \|$", (ROOT / "docs" / "differences.md").read_text(), re.MULTILINE)
    cells = [row.split(" | ") for row in rows if not row.startswith("what | ")]
    return [(row[0], row[-1].strip("` ")) for row in cells]


@pytest.mark.parametrize(("deviation", "test"), deviations())
def test_each_deviation_has_its_test(deviation, test):
    file, _, name = test.partition("::")
    path = ROOT / file
    assert path.is_file(), f"{deviation}: no file {file}"
    names = {node.name for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "name")}
    assert set(name.split("::")) <= names, f"{deviation}: no {name} in {file}"


def test_the_tables_of_differences_are_read():
    assert len(deviations()) >= 20
