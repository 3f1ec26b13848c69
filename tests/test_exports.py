"""The public names: sorted, documented, and each in one place."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
from source_tree import MODULES, ROOT

FACADES = ["pipefunc_c", "pipefunc_c.cache", "pipefunc_c.map", "pipefunc_c.parallel", "pipefunc_c.sweep"]
EXPORTS = [(facade, name) for facade in FACADES for name in importlib.import_module(facade).__all__]
PUBLIC_MODULES = [
    name
    for name in MODULES
    if not any(part.startswith("_") for part in name.split(".")) and name != "pipefunc_c"
]


IMPORTED = {"annotations", "TYPE_CHECKING"}  # what a facade may import for itself


def exported(facade: str, name: str) -> object:
    return getattr(importlib.import_module(facade), name)


def documented_names() -> set[str]:
    """Return what the directives of the reference pages document, modules by way of their names too."""
    pages = [path.read_text() for path in (ROOT / "docs" / "reference").rglob("*.md")]
    kinds = "class|function|data|exception|module|decorator"
    directive = re.compile(rf"^\.\. (?:auto|py:)(?:{kinds}):: ([\w.]+)", re.MULTILINE)
    names = {name for page in pages for name in directive.findall(page)}
    return names | {name.rpartition(".")[0] for name in names}


# What scripts written for pipefunc import from its top level.
SCRIPTS_IMPORT = (
    "ErrorSnapshot",
    "NestedPipeFunc",
    "PipeFunc",
    "Pipeline",
    "VariantPipeline",
    "__version__",
    "cache",
    "lazy",
    "pipefunc",
    "resources",
    "sweep",
    "testing",
)


@pytest.mark.parametrize("name", SCRIPTS_IMPORT)
def test_what_scripts_import_is_there(name):
    module = importlib.import_module("pipefunc_c")
    assert name in module.__all__
    assert getattr(module, name) is not None


@pytest.mark.parametrize("facade", FACADES)
def test_all_is_sorted_and_complete(facade):
    module = importlib.import_module(facade)
    assert list(module.__all__) == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("facade", FACADES)
def test_all_names_everything_public(facade):
    module = importlib.import_module(facade)
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name not in IMPORTED
    }
    assert public <= set(module.__all__)


@pytest.mark.parametrize(("facade", "name"), EXPORTS)
def test_each_export_has_a_docstring(facade, name):
    value = exported(facade, name)
    if inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value):
        assert inspect.getdoc(value)
        assert inspect.getdoc(value) != inspect.getdoc(object)


@pytest.mark.repository
@pytest.mark.parametrize(("facade", "name"), EXPORTS)
def test_each_export_is_in_the_reference(facade, name):
    if not name.startswith("__"):
        assert f"{facade}.{name}" in documented_names()


def test_nothing_is_exported_twice():
    places: dict[int, list[str]] = {}
    for facade, name in EXPORTS:
        value = exported(facade, name)
        if inspect.isroutine(value) or inspect.isclass(value):
            places.setdefault(id(value), []).append(f"{facade}.{name}")
    assert not [names for names in places.values() if len(names) > 1]


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_each_public_module_has_a_docstring(module):
    assert importlib.import_module(module).__doc__


def test_a_star_import_leaves_builtins_and_the_standard_library_alone():
    names: dict[str, object] = {}
    exec("from pipefunc_c import *", names)
    assert not {"map", "typing", "exceptions"} & set(names)
    assert {"Pipeline", "pipefunc", "sweep", "__version__"} <= set(names)
