"""The stubs of the compiled modules say what the modules hold, and the package type-checks for its users."""

from __future__ import annotations

import subprocess
import sys

import pytest
from source_tree import KERNELS, PACKAGE, ROOT

pytestmark = [pytest.mark.repository, pytest.mark.slow, pytest.mark.long]

USER_CODE = """
from pipefunc_c import PipeFunc, Pipeline, pipefunc

@pipefunc("y", mapspec="x[i] -> y[i]")
def double(x: float) -> float:
    return 2 * x

pipeline: Pipeline = Pipeline([double])
function: PipeFunc[..., float] = double
wrong: int = Pipeline([double])
"""


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_each_compiled_module_has_a_stub(kernel):
    public = not kernel.stem.startswith("_")
    assert kernel.with_suffix(".pyi").exists() or not public


def test_stubs_agree_with_the_compiled_modules(require):
    require("mypy", reason="stubtest compares the stubs with the modules")
    allowed = ["--allowlist", str(ROOT / "tests" / "stubtest_allowlist.txt"), "--ignore-unused-allowlist"]
    allowed += ["--mypy-config-file", str(ROOT / "pyproject.toml")]
    options = ["--ignore-disjoint-bases", "--concise", *allowed]
    result = run_module("mypy.stubtest", *options, "pipefunc_c._kernels")
    assert result.returncode == 0, result.stdout + result.stderr


def test_user_code_is_checked(require, tmp_path):
    require("mypy", reason="it checks the user's code")
    script = tmp_path / "user_code.py"
    script.write_text(USER_CODE)
    result = run_module("mypy", "--strict", "--cache-dir", str(tmp_path), str(script))
    errors = [line for line in result.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, result.stdout + result.stderr
    assert ":10: error:" in errors[0]


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()
