"""What it costs to get the results of a run folder as labelled arrays and as frames."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import pipefunc_c
from benchmarks import durable_runs, workloads
from pipefunc_c.map import load_dataframe, load_xarray_dataset

ELEMENTS = 1_000_000


class LabelledRun:
    """A folder with a finished run of a million numbers."""

    def setup(self):
        if importlib.util.find_spec("xarray") is None:
            raise NotImplementedError  # nothing to measure without it
        self.pipeline = workloads.element_wise(pipefunc_c, workloads.double)
        self.folder = tempfile.TemporaryDirectory()
        self.run_folder = Path(self.folder.name, "run")
        durable_runs.run(self.pipeline, {"x": workloads.numbers(ELEMENTS)}, self.run_folder)
        load_dataframe(run_folder=self.run_folder)  # the import of the packages is not what is measured

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def time_load_xarray_dataset(self):
        load_xarray_dataset(run_folder=self.run_folder)

    def time_load_dataframe(self):
        load_dataframe(run_folder=self.run_folder)
