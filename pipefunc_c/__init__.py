"""Pipelines of plain functions, mapped over arrays at the speed of a loop."""

# Layers, lowest first; each imports only from itself and from those before it (tests/test_layers.py):
#   exceptions, typing, _describe, _faults, _optional, _platform
#   _kernels     compiled: index arithmetic, columns, the element-task loop
#   _spec        mapspecs and shapes
#   _function    PipeFunc
#   _storage     arrays of results, in memory and in files
#   _hashing     the identity of code
#   _graph       functions that depend on each other, as data
#   parallel     worker processes
#   map          runs over arrays: plan, scheduler, drivers
#   _pipeline    Pipeline, the facade

from typing import TYPE_CHECKING

from pipefunc_c import exceptions, map, typing  # noqa: A004  the name that users know
from pipefunc_c._function.pipefunc import PipeFunc, pipefunc
from pipefunc_c._optional import require as _require
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c.exceptions import ErrorSnapshot

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "ErrorSnapshot",
    "PipeFunc",
    "Pipeline",
    "__version__",
    "exceptions",
    "map",
    "pipefunc",
    "typing",
]


def __getattr__(name: str) -> str:
    # Looked up when asked for: reading the metadata takes milliseconds.
    if name == "__version__":
        return str(_require("importlib.metadata").version("pipefunc_c"))
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
