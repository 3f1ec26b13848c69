"""Compare this package with pipefunc, other pools and bare loops, each figure beside its budget.

    python benchmarks/compare.py                                  # print the table
    python benchmarks/compare.py --write docs/performance.md      # and put it between the markers of a page
    python benchmarks/compare.py --only chain import              # some of the sections

Each section is measured in a process of its own, its competitors in turns, and the least processor time of
several turns counts: absolute times move with the machine, ratios of one run hardly do. Where the time that
passes is the question, it is judged only if a probe saw two free cores around the measurement. The exit
status is 1 when a judged figure misses its budget by more than a quarter.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import pipefunc_c
from comparison import timing
from report import Figure, judge_rows, markdown_table, misses, write_between_markers

if TYPE_CHECKING:
    from collections.abc import Iterator

# The function that gives the rows of each section, below the package `comparison`.
SECTIONS = {
    "sequential": "sequential.sequential",
    "mixed": "sequential.mixed_types",
    "outer": "sequential.outer_product",
    "chain": "sequential.chain",
    "outputs": "sequential.two_outputs",
    "options": "whole_maps.options",
    "growth": "whole_maps.growth",
    "uneven": "whole_maps.uneven",
    "memory": "sequential.memory",
    "failing": "sequential.failing",
    "pool": "processes.small_tasks",
    "tasks": "processes.longer_tasks",
    "dicts": "processes.dict_results",
    "messages": "processes.messages",
    "pool-memory": "processes.memory",
    "pools": "live_pools.pools",
    "deaths": "live_pools.deaths",
    "constant": "live_pools.constant",
    "other-pools": "live_pools.other_pools",
    "async": "background_maps.starting",
    "status": "background_maps.status",
    "at-once": "background_maps.at_once",
    "event-loop": "background_maps.event_loop",
    "durable": "run_folders.durable",
    "disk": "run_folders.on_disk",
    "resume": "run_folders.resume_and_load",
    "construction": "calls.construction",
    "updates": "calls.updates",
    "one-by-one": "calls.one_by_one",
    "calls": "calls.calls",
    "function-calls": "calls.function_calls",
    "cache-hits": "calls.cache_hits",
    "first": "calls.first_element",
    "import": "calls.importing",
}
PEERS = ("pipefunc", "joblib", "loky", "mpire", "distributed")


def conditions() -> str:
    """Say under which conditions the figures were taken."""
    packages = [f"pipefunc_c {pipefunc_c.__version__}", *map(version, PEERS)]
    packages += [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    return f"{datetime.date.today()}: {', '.join(packages)}, {platform.machine()}, {os.cpu_count()} cores."


def version(package: str) -> str:
    """Name a peer with its version."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


def print_section(name: str) -> None:
    """Measure a section in this process; print a line of JSON per figure."""
    module, _, function = SECTIONS[name].partition(".")
    for figure in getattr(importlib.import_module(f"comparison.{module}"), function)():
        print(json.dumps(dataclasses.asdict(figure)), flush=True)


def measure(name: str) -> Iterator[Figure]:
    """Measure a section in a fresh process, so that nothing of the others is in its way."""
    command = [sys.executable, __file__, "--section", name]
    environment = {**os.environ, timing.SPIN_ALONE: str(max(timing.alone() for _ in range(10)))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Figure(**json.loads(line))
    if process.returncode:
        raise SystemExit(f"section {name!r} ended with status {process.returncode}")


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description="Compare this package with its peers and with bare loops.")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="the sections to measure"
    )
    parser.add_argument(
        "--write",
        type=Path,
        help="a Markdown page whose table is replaced, between its markers; with --only, rows of the same "
        "day that were not judged are filled in",
    )
    parser.add_argument(
        "--patience", type=float, default=0, help="seconds to wait for two free cores before each section"
    )
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.section:
        print_section(options.section)
        return 0
    figures: list[Figure] = []
    for name in options.only:
        timing.wait_for_free_cores(options.patience)
        for figure in measure(name):
            figures.append(figure)
            print(figure.line(), flush=True)
    if options.write and options.only != list(SECTIONS):
        judge_rows(options.write, conditions(), figures)
    elif options.write:
        write_between_markers(options.write, f"{conditions()}\n\n{markdown_table(figures)}")
    missed = misses(figures)
    for figure in missed:
        print(f"missed by more than a quarter: {figure.line()}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
