"""The layers of the package: a module imports from its own layer and from those before it, never upwards."""

from __future__ import annotations

import ast
import graphlib
import re

import pytest
from source_tree import KERNELS, MODULES, PACKAGE, SOURCES

pytestmark = pytest.mark.repository

MAXIMUM_LINES = 500

# From the ground up; each layer is a set of top-level names of the package.
LAYERS = (
    {"exceptions", "typing", "resources"}
    | {
        "_annotations",
        "_by_value",
        "_compatibility",
        "_containers",
        "_describe",
        "_errors",
        "_failure_origin",
        "_faults",
        "_frozen_exception",
        "_generic_types",
        "_notebook",
        "_numpy_types",
        "_optional",
        "_platform",
        "_quantities",
        "_remote_failure",
        "_snapshots",
    },
    {"_kernels"},
    {"_spec"},
    {"_function", "_storage", "_hashing", "cache", "lazy"},
    {"_graph", "parallel"},
    {"map"},
    {"_pipeline"},
    {"helpers", "sweep", "testing", "mpi", "cli"},
    {"__init__"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
STRANGERS = {"_graph", "parallel"}  # they stand side by side and know nothing of each other


# The folders of `map`, from the ground up; those at one height know nothing of each other.
MAP_LAYERS = (
    {"_stages"},
    {"_run_folder"},
    {"_results"},
    {"_progress"},
    {"_engine"},
    {"_processes", "_executors"},
    {"_runs"},
)
MAP_RANK = {name: rank for rank, layer in enumerate(MAP_LAYERS) for name in layer}


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def runtime_nodes(node: ast.AST):
    """Walk a tree without the bodies of ``if TYPE_CHECKING:``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from runtime_nodes(other)
        else:
            yield from runtime_nodes(child)


def own_imports(source: str) -> set[str]:
    """Return the modules of the package that a module imports when it runs."""
    names = set()
    for node in runtime_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "pipefunc_c"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pipefunc_c":
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {name for name in submodules if name in MODULES or layer_of(name) == "_kernels"}
            names |= known | ({str(node.module)} if known != submodules else set())
    return names


def wrong_imports(module: str, imports: set[str], *, facade: bool) -> list[str]:
    """Return the imports that leave the layers a module may see, or that go through a facade."""
    own, wrong = layer_of(module), []
    for name in sorted(imports):
        other = layer_of(name)
        upwards = RANK[other] > RANK[own] or {own, other} == STRANGERS
        through_facade = not facade and name in MODULES and MODULES[name].name == "__init__.py"
        if upwards or through_facade:
            wrong.append(name)
    return wrong


def wrong_imports_in_map(module: str, imports: set[str]) -> list[str]:
    """Return the imports of a module in a folder of `map` that go upwards or sideways."""
    own, wrong = module.split(".")[2], []
    for name in sorted(imports):
        parts = name.split(".")
        other = parts[2] if parts[:2] == ["pipefunc_c", "map"] and len(parts) > 2 else own
        if other != own and MAP_RANK.get(other, len(MAP_LAYERS)) >= MAP_RANK[own]:
            wrong.append(name)
    return wrong


def imports_inside_functions(source: str) -> list[int]:
    """Return the line of every import that stands inside a function."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    imports = (ast.Import, ast.ImportFrom)
    return [node.lineno for f in functions for node in ast.walk(f) if isinstance(node, imports)]


def test_every_module_has_a_layer():
    unknown = sorted(module for module in MODULES if layer_of(module) not in RANK)
    assert not unknown, f"give these a place in LAYERS: {unknown}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards_to_the_defining_module(module):
    path = MODULES[module]
    assert not wrong_imports(module, own_imports(path.read_text()), facade=path.name == "__init__.py")


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("pipefunc_c.map._")])
def test_imports_go_downwards_in_map_too(module):
    assert not wrong_imports_in_map(module, own_imports(MODULES[module].read_text()))


def test_what_counts_as_a_wrong_import_in_map():
    def wrong(module: str, name: str) -> bool:
        return bool(wrong_imports_in_map(f"pipefunc_c.map.{module}", {f"pipefunc_c.{name}"}))

    assert wrong("_engine.plan", "map._runs.run")
    assert wrong("_executors.chunk", "map._processes.worker")
    assert wrong("_runs.run", "map.xarray")
    assert not wrong("_runs.run", "map._engine.plan")
    assert not wrong("_engine.plan", "map._engine.scheduler")
    assert not wrong("_engine.plan", "_graph.graph")


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_kernels_import_from_kernels_and_base_only(kernel):
    modules = re.findall(r"^(?:from|c?import) (pipefunc_c[\w.]*)", kernel.read_text(), re.MULTILINE)
    assert not [name for name in modules if name == "pipefunc_c" or RANK[layer_of(name)] > RANK["_kernels"]]


@pytest.mark.parametrize(
    ("module", "statement", "wrong"),
    [
        pytest.param(
            "_spec.mapspec", "from pipefunc_c.map._engine.plan import x", ["map._engine.plan"], id="upwards"
        ),
        pytest.param(
            "_spec.mapspec", "import pipefunc_c._pipeline.pipeline", ["_pipeline.pipeline"], id="import"
        ),
        pytest.param("parallel.pool", "import pipefunc_c._graph.graph", ["_graph.graph"], id="strangers"),
        pytest.param("map._engine.plan", "from pipefunc_c._kernels.index import walk", [], id="downwards"),
        pytest.param(
            "map._engine.plan", "if TYPE_CHECKING:\n    import pipefunc_c.cli", [], id="for-type-checkers"
        ),
    ],
)
def test_what_counts_as_a_wrong_import(module, statement, wrong):
    found = wrong_imports(f"pipefunc_c.{module}", own_imports(statement), facade=False)
    assert found == [f"pipefunc_c.{name}" for name in wrong]


def test_an_import_from_the_facade_is_wrong():
    assert wrong_imports("pipefunc_c.map._engine.plan", {"pipefunc_c"}, facade=False) == ["pipefunc_c"]


def test_no_import_cycle():
    sources = {module: path.read_text() for module, path in MODULES.items()}
    imports = {module: own_imports(source) - {module} for module, source in sources.items()}
    graphlib.TopologicalSorter(imports).prepare()


@pytest.mark.parametrize("module", [name for name in MODULES if name != "pipefunc_c._optional"])
def test_no_import_inside_a_function(module):
    lines = imports_inside_functions(MODULES[module].read_text())
    assert not lines, f"lines {lines}; third-party extras go through _optional.py"


def test_an_import_inside_a_function_is_found():
    assert imports_inside_functions("import a\ndef f():\n    if True:\n        import b\n") == [4]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_too_long(path):
    assert len(path.read_text().splitlines()) <= MAXIMUM_LINES


def test_the_walk_sees_the_package():
    assert {"pipefunc_c", "pipefunc_c._kernels", "pipefunc_c.exceptions"} <= set(MODULES)
    assert {"index.pyx", "column.pyx", "taskloop.pyx"} <= {path.name for path in KERNELS}
