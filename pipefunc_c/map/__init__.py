"""Run pipelines over arrays."""

from pipefunc_c._spec.arrayspec import ArraySpec
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c._storage.base import StorageBase, register_storage, storage_registry
from pipefunc_c._storage.file import FileArray
from pipefunc_c._storage.memory import DictArray, MemoryArray, SharedArray, SharedMemoryDictArray
from pipefunc_c._storage.zarr import ZarrFileArray, ZarrMemoryArray, ZarrSharedMemoryArray
from pipefunc_c.map._results.load_labelled import load_dataframe, load_xarray_dataset
from pipefunc_c.map._results.outputs import Result, ResultDict
from pipefunc_c.map._run_folder.load import load_all_outputs, load_outputs
from pipefunc_c.map._run_folder.run_info import RunInfo
from pipefunc_c.map._runs.async_map import AsyncMap
from pipefunc_c.map._runs.async_run import run_map_async
from pipefunc_c.map._runs.run import run_map

__all__ = [
    "ArraySpec",
    "AsyncMap",
    "DictArray",
    "FileArray",
    "MapSpec",
    "MemoryArray",
    "Result",
    "ResultDict",
    "RunInfo",
    "SharedArray",
    "SharedMemoryDictArray",
    "StorageBase",
    "ZarrFileArray",
    "ZarrMemoryArray",
    "ZarrSharedMemoryArray",
    "load_all_outputs",
    "load_dataframe",
    "load_outputs",
    "load_xarray_dataset",
    "register_storage",
    "run_map",
    "run_map_async",
    "storage_registry",
]
