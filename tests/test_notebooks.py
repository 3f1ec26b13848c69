"""The pages of the documentation as notebooks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from notebooks import need_jupyter, run_notebook
from source_tree import ROOT, fences

pytestmark = [pytest.mark.repository, pytest.mark.long]

SCRIPT = ROOT / "docs" / "get_notebooks.py"


def load():
    spec = importlib.util.spec_from_file_location("get_notebooks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


get_notebooks = load()
PAGES = sorted(get_notebooks.pages())


def sources(notebook, kind):
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_prose_and_code_become_cells():
    page = (
        "---\nkernelspec: x\n---\n# Title\n\nText.\n\n```python\nx = 1\n```\n\n```python\ny = 2\n```\n"
        "<!-- not executed: needs a cluster -->\n```python\nz\n```\n```text\nplain\n```\n"
        "```{code-cell} ipython3\nw = 3\n```\nEnd.\n"
    )
    notebook = get_notebooks.to_notebook(page)
    assert sources(notebook, "code") == ["x = 1", "y = 2", "w = 3"]
    first, second, last = sources(notebook, "markdown")
    assert first == "# Title\n\nText."
    assert "needs a cluster -->\n```python\nz\n```" in second
    assert "```text\nplain\n```" in second
    assert last == "End."
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


@pytest.mark.parametrize(
    ("script", "notebook"),
    [
        pytest.param("x = asyncio.run(main())", "x = await main()", id="assigned"),
        pytest.param("asyncio.run(a())\nasyncio.run(b(1))", "await a()\nawait b(1)", id="two"),
        pytest.param("y = [asyncio.run(a()), asyncio.run(b())]", "y = [await a(), await b()]", id="one line"),
        pytest.param("x = 'é'; asyncio.run(a('é'))", "x = 'é'; await a('é')", id="not ascii"),
        pytest.param("asyncio.run(\n    main()\n)\nz = 1", "await main()\nz = 1", id="several lines"),
        pytest.param(
            "def f():\n    asyncio.run(main())", "def f():\n    asyncio.run(main())", id="in a function"
        ),
        pytest.param("with a:\n    asyncio.run(main())", "with a:\n    await main()", id="in a block"),
    ],
)
def test_a_notebook_has_an_event_loop_of_its_own(script, notebook):
    assert get_notebooks.for_notebook(script) == notebook


@pytest.mark.parametrize("name", PAGES)
def test_each_block_of_a_page_is_a_cell(name):
    blocks = [each for each in fences(ROOT / "docs" / f"{name}.md") if each.language == "python"]
    notebook = get_notebooks.to_notebook((ROOT / "docs" / f"{name}.md").read_text())
    assert len(sources(notebook, "code")) == sum(each.reason is None for each in blocks)


def test_the_command_writes_them(tmp_path):
    command = [sys.executable, "-W", "error", str(SCRIPT), "-o", str(tmp_path / "there")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sorted(path.stem for path in (tmp_path / "there").iterdir()) == PAGES
    assert len(done.stdout.splitlines()) == len(PAGES)
    assert "tutorial" in PAGES
    one = subprocess.run([*command, "nothing"], capture_output=True, text=True, check=False)
    assert one.returncode == 2
    assert "no page 'nothing'" in one.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_notebook_runs(name, require, tmp_path):
    need_jupyter(require)
    page = (ROOT / "docs" / f"{name}.md").read_text()
    notebook = run_notebook(get_notebooks.to_notebook(page), tmp_path)
    json.dumps(notebook)
