"""The cost of importing a package, measured in fresh interpreters.

The time of the importing thread counts: the BLAS library's threads, once started, spin for a while beside it.
"""

from __future__ import annotations

from benchmarks.child import run_child

SCRIPT = """
import sys, time
before = set(sys.modules)
started = time.thread_time()
import {package}
seconds = time.thread_time() - started
new = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
files = {{name: getattr(sys.modules.get(name), "__file__", None) or "" for name in new - {{"{package}"}}}}
print(seconds, *sorted(name for name, file in files.items() if "site-packages" in file))
"""


def run_import(package: str) -> list[str]:
    """Import a package in a fresh interpreter; return its seconds and the third parties it brought."""
    return run_child("-c", SCRIPT.format(package=package)).stdout.split()


def import_seconds(package: str) -> float:
    """Return the processor time of importing a package."""
    return float(run_import(package)[0])


def imported_third_parties(package: str) -> list[str]:
    """Return the third-party packages that importing a package brings."""
    return run_import(package)[1:]
