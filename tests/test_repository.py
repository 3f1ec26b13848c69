"""The repository itself: what is written once, what may not be written, what the commands need."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import DOCUMENTS, MODULES, ROOT, fences, pyproject

import pipefunc_c

pytestmark = pytest.mark.repository

TEXT_SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".md", ".toml", ".json", ".sh", ".in", ""}
SKIPPED_FOLDERS = {"build", "dist", "_build", "__pycache__"}
# Where and by whom a line was written says nothing to its reader; paths of one machine mislead the others.
FORBIDDEN = re.compile(
    "|".join(["issue" + r"\s*#?\d", "sessi" + r"on \d", "/wor" + "k/", r"\.\./sha" + "red"]), re.IGNORECASE
)


def own_files() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(ROOT):
        hidden = {name for name in folders if name.startswith(".") and name != ".ci"}
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS - hidden)
        found += [Path(folder, name) for name in names if Path(name).suffix in TEXT_SUFFIXES]
    return [path for path in found if not path.name.startswith(".coverage") and path.suffix != ".egg-info"]


def make_targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


def test_setup_py_holds_extensions_and_directives_only():
    assert len((ROOT / "setup.py").read_text().splitlines()) < 40


def test_version_is_written_once():
    assert pipefunc_c.__version__ == importlib.metadata.version("pipefunc_c")
    assert f"## {pyproject()['project']['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_build_requirements_agree():
    data = pyproject()
    assert data["dependency-groups"]["build"] == data["build-system"]["requires"]


def imported_third_parties() -> set[str]:
    """Return the third parties that the package imports, at the top or through ``require``."""
    pattern = re.compile(r"^(?:import|from) (\w+)|(?<!def )\brequire\(\"(\w+)", re.MULTILINE)
    sources = [path.read_text() for path in MODULES.values()]
    code = [re.sub(r"^ *>>> .*$", "", source, flags=re.MULTILINE) for source in sources]
    names = {first or second for source in code for first, second in pattern.findall(source)}
    return names - set(sys.stdlib_module_names) - {"pipefunc_c"}


def distributions(requirements: list[str]) -> set[str]:
    """Return the names in requirements, written as those of modules mostly are."""
    return {re.split(r"[^\w-]", text)[0].replace("-", "_").lower() for text in requirements}


def test_dependencies_are_what_the_package_imports():
    project = pyproject()["project"]
    needed = distributions(project["dependencies"])
    optional = {
        name
        for extra, requirements in project["optional-dependencies"].items()
        if extra not in ("test", "bench", "docs")
        for name in distributions(requirements)
    }
    imported = {name.lower() for name in imported_third_parties()}
    assert needed <= imported
    assert imported - needed <= optional


def test_extra_all_holds_every_extra_for_users():
    extras = pyproject()["project"]["optional-dependencies"]
    for_users = set(extras) - {"all", "test", "bench", "docs"}
    assert extras["all"] == [f"pipefunc_c[{','.join(sorted(for_users))}]"]


def test_no_line_tells_where_it_was_written():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in own_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert not found


@pytest.mark.parametrize("text", ["see \x69ssue #12", "\x69ssue 3", "in " + "/wor" + "k/main"])
def test_forbidden_words_are_found(text):
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_in_documents_exist(path):
    commands = [fence.text for fence in fences(path)] + re.findall(r"`([^`\n]+)`", path.read_text())
    named = {target for text in commands for target in re.findall(r"^\s*make ([a-z-]+)", text, re.MULTILINE)}
    assert named <= make_targets()


def test_readme_starts_with_the_two_commands():
    first = next(fence for fence in fences(ROOT / "README.md") if fence.language == "bash")
    assert re.findall(r"^make \w+", first.text, re.MULTILINE) == ["make demo", "make test"]


def test_readme_lists_each_extra():
    readme = (ROOT / "README.md").read_text()
    for extra in set(pyproject()["project"]["optional-dependencies"]) - {"bench", "docs"}:
        assert f"`{extra}`" in readme


TOOLS = ["python3", "gcc", "make", "uname"]


def install(folder: Path, tool: str, instead: str = "") -> None:
    """Put a program into a folder: it runs the lines given and, if these do not end it, the real one."""
    program = folder / tool
    program.write_text(f'#!/bin/sh\n{instead}\nPATH={os.environ["PATH"]} exec {shutil.which(tool)} "$@"\n')
    program.chmod(0o755)


def check_system(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the check of the system with only the programs of one folder on the path."""
    return subprocess.run(
        [shutil.which("sh") or "/bin/sh", str(ROOT / "scripts" / "check_system.sh")],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def system(tmp_path, leave_out):
    """Return a folder with everything that the build needs, each program replaceable on its own."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    for tool in TOOLS:
        if shutil.which(tool):
            install(tmp_path, tool)
    complete = check_system(tmp_path)
    if complete.returncode:
        leave_out(f"this system could not build: {complete.stderr}")
    return tmp_path


@pytest.mark.parametrize(
    ("program", "instead", "package"),
    [
        pytest.param("python3", None, "python3", id="no-python"),
        pytest.param("python3", 'case "$*" in *sys.exit*) exit 1;; esac', "python3", id="old-python"),
        pytest.param("python3", 'case "$*" in *ensurepip*) exit 1;; esac', "python3-venv", id="no-venv"),
        pytest.param(
            "python3", 'case "$*" in *sysconfig*) echo /none; exit;; esac', "python3-dev", id="no-headers"
        ),
        pytest.param("gcc", None, "gcc", id="no-compiler"),
        pytest.param("gcc", "exit 1", "libc6-dev", id="no-libc-headers"),
        pytest.param("make", None, "make", id="no-make"),
    ],
)
def test_what_the_system_lacks_is_named_with_its_package(system, program, instead, package):
    (system / program).unlink()
    if instead is not None:
        install(system, program, instead)
    result = check_system(system)
    assert result.returncode == 1
    assert f"(Debian package {package})" in result.stderr
    assert result.stderr.splitlines()[-1].endswith(f"apt-get install {package}")


def test_make_checks_the_system_before_it_builds(system, tmp_path):
    (system / "gcc").unlink()
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("Makefile", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "scripts", tree / "scripts")
    make = subprocess.run(
        [str(shutil.which("make")), "demo"],
        cwd=tree,
        env={"PATH": str(system)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert make.returncode != 0
    assert "(Debian package gcc)" in make.stderr
    assert not (tree / ".venv").exists()
