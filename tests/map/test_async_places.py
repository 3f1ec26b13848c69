"""Maps in the background of a plain script and of a notebook."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings

import pytest

pytestmark = pytest.mark.timeout(60)


SCRIPT = """
import asyncio
from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.helpers import gather_maps

class Own:
    def __init__(self, x):
        self.x = x

@pipefunc("y", mapspec="x[i] -> y[i]")
def own(x):
    return Own(x)

pipeline = Pipeline([own])

async def main():
    results = await pipeline.map_async({"x": range(3)}).task
    more = await gather_maps(*(pipeline.map_async({"x": [k]}, start=False) for k in range(3)))
    return [each.x for each in results["y"].output] + [each["y"].output[0].x for each in more]

print(asyncio.run(main()))
print(pipeline.map_async({"x": range(2)}, start=False).result()["y"].output[1].x)
"""


@pytest.mark.parametrize("as_file", [True, False])
def test_a_plain_script_without_a_main_guard(tmp_path, as_file):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    arguments = [str(path)] if as_file else ["-c", SCRIPT]
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[0, 1, 2, 0, 1, 2]\n1\n", done.stderr
    assert done.stderr == ""


def test_a_cell_of_a_notebook(require, tmp_path):
    require("nbclient", reason="runs a notebook")
    require("ipykernel", reason="runs a notebook")
    import nbformat
    from nbclient import NotebookClient

    cells = [
        """
        from pipefunc_c import Pipeline, pipefunc
        from pipefunc_c.helpers import launch_maps
        @pipefunc("y", mapspec="x[i] -> y[i]")
        def double(x):
            return 2 * x
        runner = Pipeline([double]).map_async({"x": range(3)}, display_widgets=False)
        """,
        "print((await runner.task)['y'].output.tolist())",
        "task = launch_maps(*(Pipeline([double]).map_async({'x': [k]}, start=False) for k in range(3)))",
        "print([each['y'].output.tolist() for each in await task])",
        """
        try:
            Pipeline([double]).map_async({"x": [1]}, start=False).result()
        except RuntimeError as error:
            print("refused")
        """,
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(textwrap.dedent(each).strip()) for each in cells]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the client
        NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        each.get("text", "")
        for cell in notebook.cells
        for each in cell.outputs
        if each.output_type == "stream"
    )
    assert printed == "[0, 2, 4]\n[[0], [2], [4]]\nrefused\n"
    require("ipywidgets", reason="shows the tabs of launched maps")
    shown = [each.data for each in notebook.cells[2].outputs if each.output_type == "display_data"]
    assert len(shown) == 1
    assert "application/vnd.jupyter.widget-view+json" in shown[0]
