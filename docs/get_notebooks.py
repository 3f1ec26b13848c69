"""Write the pages of this folder as notebooks: prose becomes cells of Markdown, Python becomes cells of code.

``python docs/get_notebooks.py`` writes all pages with Python into docs/notebooks, and
``python docs/get_notebooks.py -o there async`` one page into another folder.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
SKIPPED = "not executed: "

_FENCE = re.compile(
    r"^(?:<!-- (?P<reason>not executed: [^\n]+) -->\n)?"
    r"^(?P<ticks>`{3,})(?P<language>python|\{code-cell\}[^\n]*)\n(?P<text>.*?)^(?P=ticks)[ ]*$\n?",
    re.MULTILINE | re.DOTALL,
)
_HEADER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def for_notebook(source: str) -> str:
    r"""Write what a script does with ``asyncio.run`` as a notebook does, whose event loop runs already.

    Parameters
    ----------
    source
        A block of Python.

    Returns
    -------
    str
        The block, with ``await`` in the place of calls of ``asyncio.run`` outside of functions.

    Examples
    --------
    >>> for_notebook("x = asyncio.run(main())")
    'x = await main()'
    >>> for_notebook("def run():\n    asyncio.run(main())")
    'def run():\n    asyncio.run(main())'
    """
    lines = [line.encode() for line in source.splitlines()]
    calls = [call for statement in ast.parse(source).body for call in _asyncio_runs(statement)]
    # From the end on, so that places before stay what they are.
    for call in sorted(calls, key=lambda each: (each.lineno, each.col_offset), reverse=True):
        argument = ast.get_source_segment(source, call.args[0])
        head, tail = lines[call.lineno - 1], lines[call.end_lineno - 1]
        line = head[: call.col_offset] + f"await {argument}".encode() + tail[call.end_col_offset :]
        lines[call.lineno - 1 : call.end_lineno] = [line]
    return b"\n".join(lines).decode()


def _asyncio_runs(node: ast.AST) -> list[Any]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return []
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.run" and len(node.args) == 1:
        return [node]
    return [call for child in ast.iter_child_nodes(node) for call in _asyncio_runs(child)]


def to_notebook(text: str) -> dict[str, Any]:
    """Turn a page into a notebook.

    Parameters
    ----------
    text
        Markdown.

    Returns
    -------
    dict
        For JSON, in version 4.5 of the format.
    """
    text = _HEADER.sub("", text)
    cells: list[dict[str, Any]] = []
    position = 0
    for fence in _FENCE.finditer(text):
        if fence["reason"] is not None:
            continue  # stays in the prose, with its reason
        _add_prose(cells, text[position : fence.start()])
        code = {"cell_type": "code", "execution_count": None, "outputs": []}
        _add(cells, for_notebook(fence["text"].rstrip("\n")), code)
        position = fence.end()
    _add_prose(cells, text[position:])
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _add_prose(cells: list[dict[str, Any]], text: str) -> None:
    if text.strip():
        _add(cells, text.strip("\n"), {"cell_type": "markdown"})


def _add(cells: list[dict[str, Any]], source: str, cell: dict[str, Any]) -> None:
    cells.append({"id": f"cell-{len(cells)}", "metadata": {}, "source": source.splitlines(True), **cell})


def pages() -> dict[str, Path]:
    """Give the pages that hold Python, by name."""
    found = {path.stem: path for path in sorted(DOCS.glob("*.md"))}
    return {name: path for name, path in found.items() if _FENCE.search(path.read_text(encoding="utf-8"))}


def main(arguments: list[str] | None = None) -> int:
    """Write notebooks; give the exit code."""
    known = pages()
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="PAGE", help=f"one of {', '.join(known)}; by default all")
    folder = DOCS / "notebooks"
    parser.add_argument("-o", "--output", type=Path, default=folder, help="the folder to write to")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no page {unknown[0]!r} with Python; there are {', '.join(known)}")
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.names or known:
        path = options.output / f"{name}.ipynb"
        notebook = to_notebook(known[name].read_text(encoding="utf-8"))
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
