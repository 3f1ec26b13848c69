"""Runs in a folder, and what they leave there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pipefunc_c
from benchmarks import workloads


@dataclass
class Files:
    """What stands in a run folder."""

    files: int
    commit_files: int
    commit_bytes: int


def look(y, folder):
    """Count the files of the run that is going on."""
    return files_in(folder)


def files_in(folder):
    """Count the files of a run folder."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    committed = [path for path in paths if path.parent.name == "commits"]
    return Files(len(paths), len(committed), sum(path.stat().st_size for path in committed))


def run(pipeline, inputs, run_folder, **options):
    """Map on all cores with a run folder."""
    return workloads.map_in_workers(pipeline, inputs, run_folder=run_folder, **options)


def files_of_run(elements, run_folder):
    """Run a map of numbers; return its files while it runs and afterwards."""
    pipeline = pipefunc_c.Pipeline(
        [
            pipefunc_c.PipeFunc(workloads.double, "y", mapspec="x[i] -> y[i]"),
            pipefunc_c.PipeFunc(look, "files"),
        ]
    )
    inputs = {"x": workloads.numbers(elements), "folder": str(run_folder)}
    results = run(pipeline, inputs, run_folder)
    return results["files"].output, files_in(run_folder)
