from __future__ import annotations

import subprocess
import sys

import pytest

from pipefunc_c._optional import is_available, require
from pipefunc_c.exceptions import MissingDependencyError


def test_require_imports_submodules():
    assert require("numpy.linalg") is sys.modules["numpy.linalg"]


@pytest.mark.parametrize(
    ("options", "package", "command"),
    [
        ({}, "nothing_here", "pip install nothing_here"),
        ({"package": "nothing-here"}, "nothing-here", "pip install nothing-here"),
        ({"extra": "plot"}, "nothing_here", 'pip install "pipefunc_c[plot]"'),
        ({"package": "nothing-here", "extra": "plot"}, "nothing-here", 'pip install "pipefunc_c[plot]"'),
    ],
    ids=["module", "package", "extra", "both"],
)
def test_missing_package_and_extra_are_named(options, package, command):
    with pytest.raises(MissingDependencyError) as caught:
        require("nothing_here.inside", **options)
    assert isinstance(caught.value, ImportError)
    assert repr(package) in str(caught.value)
    assert command in str(caught.value)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_missing_submodule_is_not_called_a_missing_package():
    with pytest.raises(MissingDependencyError, match=r"module 'numpy\.nothing_here'.*'numpy'.*version lacks"):
        require("numpy.nothing_here")


def test_error_inside_of_a_package_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import a_dependency_of_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_dependency_of_it") as caught:
        require("broken_package")
    assert not isinstance(caught.value, MissingDependencyError)


@pytest.mark.parametrize(
    ("module", "expected"),
    [("numpy", True), ("numpy.linalg", True), ("nothing_here", False), ("nothing_here.inside", False)],
)
def test_is_available(module, expected):
    assert is_available(module) is expected


def test_is_available_sees_what_was_blocked(monkeypatch):
    monkeypatch.setitem(sys.modules, "colorsys", None)
    assert not is_available("colorsys")


def test_is_available_does_not_import(tmp_path, monkeypatch):
    (tmp_path / "loud_package.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert is_available("loud_package")
    assert "loud_package" not in sys.modules


def test_base_layer_imports_no_third_party_package():
    code = (
        "import sys, pipefunc_c.exceptions, pipefunc_c._optional, pipefunc_c._platform\n"
        "print({'cloudpickle', 'psutil', 'rich', 'networkx'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
