"""A small run in a folder, made without the engine: what the tests of run folders start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c import PipeFunc, pipefunc
from pipefunc_c._kernels.column import Column
from pipefunc_c._spec.shapes import MapShapes, map_shapes
from pipefunc_c._storage.commits import Committer
from pipefunc_c.map._run_folder.run_folder import RunFolder, open_run_folder
from pipefunc_c.map._run_folder.run_info import RunInfo, describe_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@pipefunc("y", mapspec="x[i] -> y[i]")
def double(x, factor=2):
    return factor * x


@pipefunc("total")
def add(y):
    return sum(y)


FUNCTIONS: tuple[PipeFunc[..., Any], ...] = (double, add)
X = np.array([1.0, 2.0, 3.0])


def describe(
    inputs: Mapping[str, Any] | None = None,
    functions: Sequence[PipeFunc[..., Any]] = FUNCTIONS,
    defaults: Mapping[str, Any] | None = None,
    **options: Any,
) -> RunInfo:
    """Describe a run as a map does."""
    inputs = {"x": X} if inputs is None else inputs
    mapspecs = [func.mapspec for func in functions if func.mapspec is not None]
    sizes = {name: np.shape(inputs[name]) for name in inputs if np.ndim(inputs[name])}
    used = {name for mapspec in mapspecs for name in mapspec.input_names}
    shapes = map_shapes(
        mapspecs, {name: sizes[name] for name in sizes if name in used}, options.get("internal_shapes")
    )
    return describe_run(
        functions,
        inputs,
        {"factor": 2} if defaults is None else defaults,
        MapShapes(shapes.shapes, shapes.masks),
        **{"storage": "file_array", **options},
    )


def opened(folder: Path, info: RunInfo | None = None, functions=FUNCTIONS, **options: Any) -> RunFolder:
    """Open a folder for a run."""
    return open_run_folder(
        folder, describe(functions=functions) if info is None else info, functions, **options
    )


def started(folder: Path, info: RunInfo | None = None, functions=FUNCTIONS) -> RunInfo:
    """Start a run in a folder, and leave it."""
    with opened(folder, info, functions) as run:
        return run.info


def commit(info: RunInfo, name: str, values: Mapping[int, Any], size: int = 1, writer: str = "w") -> None:
    """Commit elements of the only output of a function."""
    column = Column(size)
    for index, value in values.items():
        column.store(index, value)
    committer = Committer(info.folder, writer)
    committer.commit(info.stage_number((name,)), 0, size, 0, [column])
    committer.close()


def content(folder: Path) -> dict[str, bytes | str]:
    """Read everything in a folder; where links point to."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
