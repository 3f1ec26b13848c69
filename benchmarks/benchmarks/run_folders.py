"""What a run folder costs: while it runs, on disk, and when its results are wanted again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pipefunc_c
from benchmarks import durable_runs, workloads
from pipefunc_c._hashing.identity import code_identity
from pipefunc_c.map import load_outputs

ELEMENTS = 1_000_000


class RunFolder:
    """A sequential map of numbers, with and without a folder."""

    params = ("array", "file_array")
    param_names = ("storage",)

    def setup(self, storage):
        self.pipeline = workloads.element_wise(pipefunc_c, workloads.double)
        self.inputs = {"x": workloads.numbers(ELEMENTS)}
        self.folder = tempfile.TemporaryDirectory()
        self.options = {"run_folder": Path(self.folder.name, "run")} if storage == "file_array" else {}

    def teardown(self, storage):
        self.folder.cleanup()

    def time_map(self, storage):
        workloads.map_sequentially(self.pipeline, self.inputs, storage=storage, **self.options)


class CodeIdentity:
    """What a resumed run compares the code of a function by."""

    def time_code_identity(self):
        code_identity(workloads.ten_microseconds)


class FinishedRun:
    """A folder with a finished run of a million numbers."""

    def setup(self):
        self.pipeline = workloads.element_wise(pipefunc_c, workloads.double)
        self.inputs = {"x": workloads.numbers(ELEMENTS)}
        self.folder = tempfile.TemporaryDirectory()
        self.run_folder = Path(self.folder.name, "run")
        durable_runs.run(self.pipeline, self.inputs, self.run_folder)

    def teardown(self):
        self.folder.cleanup()

    def time_resume(self):
        durable_runs.run(self.pipeline, self.inputs, self.run_folder, resume=True)

    def time_load_outputs(self):
        load_outputs("y", run_folder=self.run_folder)

    def track_bytes_per_element(self):
        return durable_runs.files_in(self.run_folder).commit_bytes / ELEMENTS

    track_bytes_per_element.unit = "bytes"

    def track_files(self):
        return durable_runs.files_in(self.run_folder).files

    track_files.unit = "files"
