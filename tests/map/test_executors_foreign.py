"""The executors of other packages, for real: each is started here and passes the same checks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from map.executor_conformance import KINDS, SURVIVORS

from pipefunc_c.map import load_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.timeout(150), pytest.mark.slow, pytest.mark.long]

TESTS = Path(__file__).resolve().parents[1]
PACKAGES = {
    "loky": "loky",
    "dask": "distributed",
    "ipyparallel": "ipyparallel",
    "mpi": "mpi4py",
    "mpi-spawned": "mpi4py",
    "executorlib": "executorlib",
    "executorlib-per-call": "executorlib",
}


def environment() -> dict[str, str]:
    """Let children find the tests, and the programs that pip installed beside Python."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PATH": path, "PYTHONPATH": found}


def in_session(argv: list[str], seconds: float = 120) -> tuple[int, str]:
    """Run a program in a session of its own, of which nothing is left in the end."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return -signal.SIGKILL, f"still running after {seconds} s\n{output}"
    return process.returncode, output


def command(kind: str, *arguments: str) -> list[str]:
    """Give the command that runs a script for a kind of executor."""
    if kind == "mpi":
        mpiexec = shutil.which("mpiexec", path=environment()["PATH"])
        assert mpiexec is not None
        return [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", *arguments]
    return [sys.executable, *arguments]


def conform(kind: str, result: Path, *which: str) -> None:
    script = str(TESTS / "map" / "executor_conformance.py")
    code, output = in_session(command(kind, script, kind, str(result), *which))
    outcomes = json.loads(result.read_text()) if result.exists() else {}
    failed = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}
    assert not failed, "\n".join(f"{name}\n{text}" for name, text in failed.items()) + output[-4000:]
    assert code == 0, output[-6000:]
    assert outcomes, output[-6000:]


@pytest.mark.parametrize("kind", KINDS)
def test_it_conforms(kind: str, tmp_path: Path, require: Callable[..., None]) -> None:
    if kind in PACKAGES:
        require(PACKAGES[kind], reason=f"the executor {kind} is of that package")
    conform(kind, tmp_path / "outcomes.json")


@pytest.mark.parametrize("kind", SURVIVORS)
def test_a_dying_worker_is_traced_to_its_element(
    kind: str, tmp_path: Path, require: Callable[..., None]
) -> None:
    if kind in PACKAGES:
        require(PACKAGES[kind], reason=f"the executor {kind} is of that package")
    conform(kind, tmp_path / "outcomes.json", "deaths")


RESUMABLE = """
import os, sys
from mpi4py.futures import MPIPoolExecutor
from pipefunc_c import Pipeline, pipefunc

folder, is_deadly = sys.argv[1], sys.argv[2] == "deadly"


@pipefunc("y", mapspec="x[i] -> y[i]")
def f(x, is_deadly):
    if is_deadly and x == 90:
        os._exit(3)
    return x * 0.5


if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        inputs = {"x": range(100), "is_deadly": is_deadly}
        options = {"resume": True, "resume_validation": "skip"} if not is_deadly else {}
        results = Pipeline([f]).map(inputs, folder, executor=executor, chunksizes=5, **options)
    assert results["y"].output.tolist() == [x * 0.5 for x in range(100)]
"""


def test_a_rank_that_dies_ends_an_mpi_job_and_the_run_folder_goes_on(
    tmp_path: Path, require: Callable[..., None]
) -> None:
    require("mpi4py", reason="the executor is of that package")
    script = tmp_path / "script.py"
    script.write_text(RESUMABLE)
    code, output = in_session(command("mpi", str(script), str(tmp_path / "run"), "deadly"))
    assert code != 0, output
    kept = load_outputs("y", run_folder=tmp_path / "run")
    assert 50 <= 100 - np.ma.getmaskarray(kept).sum() < 100
    code, output = in_session(command("mpi", str(script), str(tmp_path / "run"), "again"))
    assert code == 0, output
