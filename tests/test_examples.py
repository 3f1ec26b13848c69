"""The example scripts, run as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from source_tree import ROOT

pytestmark = [pytest.mark.repository, pytest.mark.slow]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ARGUMENTS = {"quickstart.py": ["100"]}


def run_example(name: str, *arguments: str, cwd) -> subprocess.CompletedProcess[str]:
    script = ROOT / "examples" / name
    return subprocess.run(
        [sys.executable, "-W", "error", str(script), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_example_runs(name, tmp_path):
    result = run_example(name, *ARGUMENTS.get(name, []), cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_quickstart_prints_its_cost_and_writes_a_picture(require, tmp_path):
    require("matplotlib", reason="the quickstart draws its picture with it")
    result = run_example("quickstart.py", "60", "--picture", "small.png", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3,600 elements" in result.stdout
    ratio = re.search(r"ratio\s+([\d.]+)", result.stdout)
    assert ratio is not None
    assert 0.1 < float(ratio[1]) < 100
    assert re.search(r"again with resume=True: [\d.]+ ms, nothing was computed", result.stdout)
    picture = (tmp_path / "small.png").read_bytes()
    assert picture.startswith(PNG_SIGNATURE)
    assert len(picture) > 20_000


def test_quickstart_goes_on_in_a_kept_folder(tmp_path):
    chaotic = r"chaotic: .*"
    first = run_example("quickstart.py", "40", "--run-folder", "kept", cwd=tmp_path)
    for path in (tmp_path / "kept" / "commits").glob("*.ledger"):
        path.unlink()
    second = run_example("quickstart.py", "40", "--run-folder", "kept", cwd=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "1,600 elements; what kept did not hold yet took" in second.stdout
    assert re.findall(chaotic, second.stdout) == re.findall(chaotic, first.stdout) != []


def test_quickstart_refuses_a_grid_of_one_point(tmp_path):
    result = run_example("quickstart.py", "1", cwd=tmp_path)
    assert result.returncode == 2
    assert "size must be 2 or more, got 1" in result.stderr
