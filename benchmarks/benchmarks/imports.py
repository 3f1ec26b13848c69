"""The cost of importing a package, measured in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, time
before = set(sys.modules)
started = time.process_time()
import {package}
seconds = time.process_time() - started
new = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
files = {{name: getattr(sys.modules.get(name), "__file__", None) or "" for name in new - {{"{package}"}}}}
print(seconds, *sorted(name for name, file in files.items() if "site-packages" in file))
"""


def run_import(package: str) -> list[str]:
    """Import a package in a fresh interpreter; return its seconds and the third parties it brought."""
    command = [sys.executable, "-c", SCRIPT.format(package=package)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def import_seconds(package: str) -> float:
    """Return the processor time of importing a package."""
    return float(run_import(package)[0])


def imported_third_parties(package: str) -> list[str]:
    """Return the third-party packages that importing a package brings."""
    return run_import(package)[1:]
