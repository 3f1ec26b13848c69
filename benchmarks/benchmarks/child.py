"""Measuring in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent


def run_child(
    *arguments: str, before: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, after the words of ``before``; a failure shows what the child said."""
    result = subprocess.run(
        [*before, sys.executable, *arguments],
        cwd=FOLDER,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(
            f"{arguments} ended with status {result.returncode}:\n{result.stdout}{result.stderr}"
        )
    return result
