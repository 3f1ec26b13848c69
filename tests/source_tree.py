"""The files of the repository, for the tests that read them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pipefunc_c"


def module_name(path: Path) -> str:
    """Return the dotted name of a Python file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
KERNELS = sorted(PACKAGE.glob("_kernels/*.pyx"))
SOURCES = sorted([*MODULES.values(), *PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxd")])
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for path in ROOT.glob("docs/**/*.md") if "_build" not in path.parts)]
)


def pyproject() -> dict[str, Any]:
    """Return the parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


class Fence(NamedTuple):
    """One fenced block of a Markdown file."""

    line: int
    language: str
    text: str
    reason: str | None  # why it is not executed, from the comment above it


FENCE = re.compile(
    r"^(?:<!-- not executed: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<ticks>`{3,})(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=ticks)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


def fences(path: Path) -> list[Fence]:
    """Return the fenced blocks of a Markdown file in order."""
    text = path.read_text()
    return [
        Fence(text.count("\n", 0, m.start("ticks")) + 1, m["language"].strip(), m["text"], m["reason"])
        for m in FENCE.finditer(text)
    ]
