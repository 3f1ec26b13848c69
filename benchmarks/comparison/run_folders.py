"""What a run folder costs: while it runs, on disk, and when its results are wanted again."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pipefunc_c
from benchmarks import durable_runs, workloads
from comparison.timing import can_use_two_cores, least_costs, least_seconds, two_cores
from pipefunc_c.map import load_outputs, load_xarray_dataset
from report import Figure, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

ELEMENTS = 1_000_000


def durable() -> Iterator[Figure]:
    """Map numbers in memory and with a run folder."""
    pipeline, inputs = (
        workloads.element_wise(pipefunc_c, workloads.double),
        {"x": workloads.numbers(ELEMENTS)},
    )
    ways = {"sequential": workloads.map_sequentially}
    if can_use_two_cores():
        ways["2 workers"] = workloads.map_in_workers
    for name, run in ways.items():
        with tempfile.TemporaryDirectory() as folder, two_cores():
            costs = least_costs(
                {
                    "memory": (lambda run=run: run(pipeline, inputs, storage="array"), ELEMENTS),
                    "folder": (
                        lambda run=run, folder=folder: run(
                            pipeline, inputs, storage="file_array", run_folder=Path(folder, "run")
                        ),
                        ELEMENTS,
                    ),
                }
            )
        more = costs["folder"].cpu - costs["memory"].cpu
        detail = f"{duration(costs['folder'].cpu)}, in memory {duration(costs['memory'].cpu)}"
        yield Figure(f"run folder, {name}: cpu on top", more * 1e6, "us", 0.02, detail=detail)


def on_disk() -> Iterator[Figure]:
    """Count bytes and files."""
    with tempfile.TemporaryDirectory() as folder:
        during, after = durable_runs.files_of_run(ELEMENTS, Path(folder, "run"))
    yield Figure(
        "run folder: bytes per element", after.commit_bytes / ELEMENTS, "B", 10, detail="inputs not counted"
    )
    yield Figure("run folder: bytes per element while it runs", during.commit_bytes / ELEMENTS, "B", 10)
    detail = f"{after.files} with inputs, defaults, the lock and run_info.json"
    yield Figure("run folder: files of committed results", after.commit_files, "", 2, detail=detail)
    detail = "two per worker and two of the parent, for a stage of a single call"
    yield Figure("run folder: these files while it runs", during.commit_files, "", 6, detail=detail)


def resume_and_load() -> Iterator[Figure]:
    """Resume a finished run, and load what it holds."""
    pipeline, inputs = (
        workloads.element_wise(pipefunc_c, workloads.double),
        {"x": workloads.numbers(ELEMENTS)},
    )
    with tempfile.TemporaryDirectory() as folder:
        run_folder = Path(folder, "run")
        durable_runs.run(pipeline, inputs, run_folder)
        seconds = least_seconds(
            {
                "resume": (lambda: durable_runs.run(pipeline, inputs, run_folder, resume=True), 1),
                "load": (lambda: load_outputs("y", run_folder=run_folder), 1),
            }
        )
        labelled = None
        if importlib.util.find_spec("xarray") is not None:
            load_xarray_dataset(run_folder=run_folder)  # its import is not what is measured
            load = {"labelled": (lambda: load_xarray_dataset(run_folder=run_folder), 1)}
            labelled = least_seconds(load)["labelled"] * 1e3
    yield Figure("resume of a finished run of 1e6: cpu", seconds["resume"] * 1e3, "ms", 30)
    yield Figure("load_outputs of 1e6: cpu", seconds["load"] * 1e3, "ms", 10)
    yield Figure("load_xarray_dataset of 1e6: cpu", labelled, "ms", 50, detail="with the coordinate")
