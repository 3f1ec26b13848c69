"""Run code in the kernel of a notebook."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS_PER_CELL = 60


@contextlib.contextmanager
def quiet_packages() -> Iterator[None]:
    """Let the packages of Jupyter warn of each other: that is no matter of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def run_notebook(notebook: Any, folder: Path) -> Any:
    """Execute all cells in one kernel; fail with what a cell raised."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    with quiet_packages():
        node = nbformat.reads(json.dumps(notebook), as_version=4)
        environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        client = nbclient.NotebookClient(
            node,
            timeout=SECONDS_PER_CELL,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )
        try:
            asyncio.run(client.async_execute(env=environment))
        except nbclient.exceptions.CellExecutionError as error:
            pytest.fail(str(error))
    return node


def make_notebook(*cells: str) -> Any:
    """Make a notebook of code cells."""
    nbformat = pytest.importorskip("nbformat")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    code = [nbformat.v4.new_code_cell(each.strip("\n")) for each in cells]
    return nbformat.v4.new_notebook(cells=code, metadata={"kernelspec": kernel})


def printed(cell: Any, name: str = "stdout") -> str:
    """Give what a cell printed."""
    return "".join(each.text for each in cell.outputs if each.output_type == "stream" and each.name == name)


def widgets(cell: Any) -> list[Any]:
    """Give the widgets that a cell showed."""
    kind = "application/vnd.jupyter.widget-view+json"
    return [each.data[kind] for each in cell.outputs if kind in each.get("data", {})]


def need_jupyter(require: Any) -> None:
    """Leave the test out where there is no kernel."""
    for name in ("nbclient", "nbformat", "ipykernel", "ipywidgets"):
        require(name, reason="it runs code in the kernel of a notebook")
