"""Pipelines of plain functions, mapped over arrays at the speed of a loop."""

# Layers, lowest first; each imports only from itself and from those before it (tests/test_layers.py):
#   exceptions, typing, resources, and what they need: _describe, _faults, _optional, _platform, ...
#   _kernels     compiled: index arithmetic, columns, the element-task loop
#   _spec        mapspecs and shapes
#   _function    PipeFunc
#   _storage     arrays of results, in memory and in files
#   _hashing     the identity of code and of values
#   cache, lazy  results that are kept, calls that are put off
#   _graph       functions that depend on each other, as data
#   parallel     worker processes
#   map          runs over arrays: plan, scheduler, drivers
#   _pipeline    Pipeline and VariantPipeline, the facade
#   helpers, sweep, testing    tools

from typing import TYPE_CHECKING

from pipefunc_c import cache, lazy, resources
from pipefunc_c import exceptions as exceptions  # not in __all__: `import *` is to leave builtins alone
from pipefunc_c import map as map  # noqa: A004  the name that users know
from pipefunc_c import typing as typing
from pipefunc_c._function.decorator import pipefunc
from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c._optional import require as _require
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c._pipeline.variants import VariantPipeline
from pipefunc_c.exceptions import ErrorSnapshot

if TYPE_CHECKING:
    from pipefunc_c import sweep, testing

    __version__: str

__all__ = [
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
]

_TOOLS = frozenset({"sweep", "testing"})


def __getattr__(name: str) -> object:
    # Looked up when asked for: each takes milliseconds that few programs need to spend.
    if name == "__version__":
        return str(_require("importlib.metadata").version("pipefunc_c"))
    if name in _TOOLS:
        return _require(f"pipefunc_c.{name}")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
