"""Run pipelines over arrays."""

from pipefunc_c._spec.arrayspec import ArraySpec
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c._storage.base import StorageBase, register_storage, storage_registry
from pipefunc_c._storage.memory import DictArray, MemoryArray, SharedArray, SharedMemoryDictArray
from pipefunc_c.map._outputs import Result, ResultDict
from pipefunc_c.map._run import run_map

__all__ = [
    "ArraySpec",
    "DictArray",
    "MapSpec",
    "MemoryArray",
    "Result",
    "ResultDict",
    "SharedArray",
    "SharedMemoryDictArray",
    "StorageBase",
    "register_storage",
    "run_map",
    "storage_registry",
]
