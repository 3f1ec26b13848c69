"""What is known of a run before it starts: kept in run_info.json, beside its inputs and defaults."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._hashing.identity import CodeHasher, CodeIdentity
from pipefunc_c._optional import require
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c._spec.shapes import MapShapes, array_shape, map_shapes
from pipefunc_c._storage.base import StorageBase, storage_class
from pipefunc_c.exceptions import InvalidValueError, PipefuncError, UnknownNameError
from pipefunc_c.map._run_folder.run_files import (
    DamagedFileError,
    FileDigest,
    StoredDict,
    StoredValues,
    parse_json,
    write_json,
)
from pipefunc_c.map._run_folder.run_stores import open_stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._spec.dimensions import Shape

RUN_INFO = "run_info.json"
DEFAULTS = "defaults/defaults.cloudpickle"

RunInfoState = Literal["absent", "tombstone", "valid", "pipefunc", "damaged"]


class RunFolderNotFoundError(PipefuncError, FileNotFoundError):
    """Report a folder that holds no run."""


def own_version() -> str:
    """Give the version of this package; the first call takes ten milliseconds."""
    return str(require("importlib.metadata").version("pipefunc_c"))


@dataclass(frozen=True, eq=False)
class RunInfo:
    """Describe a run.

    Attributes
    ----------
    inputs, defaults : mapping
        What was given, and the defaults of the pipeline. Of a loaded run they are read when asked for.
    all_output_names : set of str
        Names of the outputs.
    shapes, resolved_shapes : dict
        Shape per array name, as far as known before the run, and as far as known now; ``"?"`` if unknown.
    internal_shapes : dict or None
        The internal shapes that were given.
    shape_masks : dict
        Per array name, True for each external axis.
    run_folder : Path or None
        The folder, as an absolute path.
    mapspecs_as_strings : list of str
        The mapspecs in topological order.
    storage : str or dict
        Id of the storage, or one per output.
    error_handling : str
        ``"raise"`` or ``"continue"``.
    pipefunc_version : str
        The version of this package that wrote the folder; empty before.
    stages : tuple
        Output names of each function; the position is the number of its stage, which a resumed run keeps.
    code : dict
        Per function, by its output names joined with commas, the identities of the code that was run.
    digests : dict
        Per file of the folder, what it must hold.
    fixed_indices : dict or None
        Per axis the index or slice that the last map in the folder was restricted to.

    Examples
    --------
    >>> from pipefunc_c import pipefunc
    >>> from pipefunc_c._spec.shapes import map_shapes
    >>> @pipefunc("y", mapspec="x[i] -> y[i]")
    ... def double(x):
    ...     return 2 * x
    >>> shapes = map_shapes([double.mapspec], {"x": (3,)})
    >>> info = describe_run([double], {"x": [1, 2, 3]}, {}, shapes, storage={"y": "array"})
    >>> info.shapes["y"], info.stage_number(("y",)), info.mapspecs_as_strings
    ((3,), 0, ['x[i] -> y[i]'])
    """

    inputs: Mapping[str, Any]
    defaults: Mapping[str, Any]
    all_output_names: set[str]
    shapes: dict[str, Shape]
    resolved_shapes: dict[str, Shape]
    internal_shapes: dict[str, Shape] | None
    shape_masks: dict[str, tuple[bool, ...]]
    run_folder: Path | None
    mapspecs_as_strings: list[str]
    storage: str | dict[str, str]
    error_handling: Literal["raise", "continue"] = "raise"
    pipefunc_version: str = ""
    stages: tuple[tuple[str, ...], ...] = ()
    code: dict[str, tuple[CodeIdentity, ...]] = field(default_factory=dict)
    digests: dict[str, FileDigest] = field(default_factory=dict)
    fixed_indices: dict[str, int | slice] | None = None

    # -- files ---------------------------------------------------------------------------------------

    @staticmethod
    def path(run_folder: str | Path) -> Path:
        """Give the path of run_info.json."""
        return Path(run_folder) / RUN_INFO

    @property
    def folder(self) -> Path:
        """The run folder; InvalidValueError if there is none."""
        if self.run_folder is None:
            raise InvalidValueError("this run has no run_folder", hint="pass run_folder= to keep it on disk")
        return self.run_folder

    @property
    def input_paths(self) -> dict[str, Path]:
        """The file of each input; InvalidValueError without a run folder."""
        return {name: self.folder / input_file(name) for name in self.inputs}

    @property
    def defaults_path(self) -> Path:
        """The file of the defaults; InvalidValueError without a run folder."""
        return self.folder / DEFAULTS

    def dump(self, *, sync: bool = False) -> None:
        """Write run_info.json; nothing without a run folder."""
        if self.run_folder is not None:
            write_json(self.path(self.run_folder), to_json(self), sync=sync)

    @classmethod
    def load(cls, run_folder: str | Path) -> RunInfo:
        """Read run_info.json; inputs and defaults are read when asked for.

        Parameters
        ----------
        run_folder
            The folder, which may have been moved.

        Returns
        -------
        RunInfo

        Raises
        ------
        RunFolderNotFoundError
            If there is no run.
        DamagedFileError
            If run_info.json does not hold what was written to it.
        InvalidValueError
            If the folder was written by pipefunc.
        """
        folder = Path(run_folder).absolute()
        path = cls.path(folder)
        state, data = read_run_info(folder)
        if state in ("absent", "tombstone"):
            raise RunFolderNotFoundError(
                f"there is no run in {str(folder)!r}: it has no {RUN_INFO}",
                detail=folder,
                hint="a run writes it after its inputs; give the run_folder of a map that has started",
            )
        if state == "pipefunc":
            raise InvalidValueError(
                f"{str(path)!r} was written by pipefunc, which has another layout", detail=path
            )
        if state == "damaged":
            raise DamagedFileError(
                f"{str(path)!r} is damaged",
                detail=path,
                hint="run again with resume=False to start over; the folder is cleared then",
            )
        return _from_json(data, folder)

    @classmethod
    def create(  # noqa: PLR0913  these are the options that users know
        cls,
        run_folder: str | Path | None,
        pipeline: Any,
        inputs: Mapping[str, Any],
        internal_shapes: Mapping[str, Any] | None = None,
        *,
        executor: Any = None,
        storage: str | Mapping[str, str] | None = None,
        error_handling: Literal["raise", "continue"] = "raise",
        cleanup: bool | None = None,
        resume: bool = False,
        resume_validation: Literal["auto", "strict", "skip"] = "auto",
    ) -> RunInfo:
        """Describe a run that is to come, and make its folder ready; nothing is computed.

        Parameters
        ----------
        run_folder
            The folder; None to write nothing.
        pipeline
            The pipeline.
        inputs, internal_shapes, executor, storage, error_handling, cleanup, resume, resume_validation
            As for `pipefunc_c.map.run_map`.

        Returns
        -------
        RunInfo
            What `load` gives afterwards.

        Raises
        ------
        PipefuncError
            As `pipefunc_c.map.run_map`, as far as that is known before a run.

        Examples
        --------
        >>> from pipefunc_c import PipeFunc, Pipeline
        >>> from pipefunc_c.map import RunInfo
        >>> pipeline = Pipeline([PipeFunc(lambda x: 2 * x, "y", mapspec="x[i] -> y[i]")])
        >>> RunInfo.create(None, pipeline, {"x": [1, 2, 3]}).shapes["y"]
        (3,)
        """
        options = {
            "executor": executor,
            "storage": storage,
            "error_handling": error_handling,
            "cleanup": cleanup,
            "resume": resume,
            "resume_validation": resume_validation,
        }
        info: RunInfo = _creator[0](run_folder, pipeline, inputs, internal_shapes, options)
        return info

    # -- parts ---------------------------------------------------------------------------------------

    @property
    def mapspecs(self) -> list[MapSpec]:
        """The mapspecs."""
        return [MapSpec.from_string(text) for text in self.mapspecs_as_strings]

    def storage_class(self, output_name: str) -> type[StorageBase]:
        """Give the storage class of an output.

        Raises
        ------
        InvalidValueError
            If there is no entry for it, or the id is not registered.
        """
        if isinstance(self.storage, str):
            return storage_class(self.storage)
        storage_id = self.storage.get(output_name, self.storage.get(""))
        if storage_id is None:
            raise InvalidValueError(f"no storage was given for {output_name!r}, only {self.storage!r}")
        return storage_class(storage_id)

    def init_store(self) -> dict[str, StorageBase]:
        """Open the storages of all outputs: with what is committed in the run folder, else new ones."""
        return open_stores(self)

    def stage_number(self, output_names: tuple[str, ...]) -> int:
        """Give the number by which commit records call a function."""
        if output_names not in self.stages:
            raise UnknownNameError(f"no function has the outputs {output_names!r}, only {self.stages!r}")
        return self.stages.index(output_names)

    def with_resolved(self, shapes: Mapping[str, Sequence[Any]]) -> bool:
        """Note shapes that became known; tell whether one was not known before."""
        new = {name: tuple(shape) for name, shape in shapes.items()}
        changed = any(self.resolved_shapes.get(name) != shape for name, shape in new.items())
        self.resolved_shapes.update(new)
        return changed

    def resolve_downstream_shapes(
        self,
        output_name: str,
        store: Mapping[str, StorageBase],
        output: Any | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Work out the shapes that follow from one that became known.

        Parameters
        ----------
        output_name
            The output.
        store
            Storages by output name; their shapes are set.
        output, shape
            The output or its full shape.
        """
        known = tuple(shape) if shape is not None else array_shape(output, output_name, is_output=True)
        internal: dict[str, Any] = dict(self.internal_shapes or {})
        for name, mask in self.shape_masks.items():
            resolved = known if name == output_name else self.resolved_shapes[name]
            sizes = tuple(size for size, external in zip(resolved, mask, strict=False) if not external)
            if sizes and (name == output_name or "?" not in sizes):
                internal[name] = sizes
        produced = {name for mapspec in self.mapspecs for name in mapspec.output_names}
        roots = {name: shape for name, shape in self.resolved_shapes.items() if name not in produced}
        resolved_shapes = map_shapes(self.mapspecs, roots, internal).shapes
        for name in resolved_shapes.keys() & store.keys():
            mask = self.shape_masks[name]
            pairs = list(zip(resolved_shapes[name], mask, strict=True))
            store[name].shape = tuple(size for size, external in pairs if external)
            store[name].internal_shape = tuple(size for size, external in pairs if not external)
        if self.with_resolved(resolved_shapes):
            self.dump()


# A run is planned by modules that describe runs by this one.
_creator: list[Callable[..., RunInfo]] = []


def register_creator(create: Callable[..., RunInfo]) -> None:
    """Say what `RunInfo.create` calls."""
    _creator[:] = [create]


def input_file(name: str) -> str:
    """Give the path of an input in the run folder."""
    return f"inputs/{name}.cloudpickle"


def describe_run(  # noqa: PLR0913  each is another part of the run
    functions: Iterable[PipeFunc[..., Any]],
    inputs: Mapping[str, Any],
    defaults: Mapping[str, Any],
    shapes: MapShapes,
    *,
    internal_shapes: Mapping[str, Any] | None = None,
    storage: str | Mapping[str, str] = "file_array",
    error_handling: Literal["raise", "continue"] = "raise",
    fixed_indices: Mapping[str, int | slice] | None = None,
) -> RunInfo:
    """Describe a run that has not started; nothing is written.

    Parameters
    ----------
    functions
        The functions in topological order.
    inputs
        What was given, by full names.
    defaults
        The defaults of root arguments.
    shapes
        Shapes and masks of all arrays.
    internal_shapes
        Those that were given, and those that functions declare.
    storage
        Id of a storage, or one per output name.
    error_handling, fixed_indices
        As for a map.

    Returns
    -------
    RunInfo
    """
    hasher = CodeHasher()
    functions = list(functions)
    code: dict[str, tuple[CodeIdentity, ...]] = {
        ",".join(func.output_names): (
            hasher.identity(
                func.func,
                names=dict(func.native_names),
                bound=dict(func.bound),
                output_picker=func.output_picker,
            ),
        )
        for func in functions
    }
    internal = {
        name: shape if isinstance(shape, tuple) else (shape,)
        for name, shape in (internal_shapes or {}).items()
    }
    return RunInfo(
        inputs=dict(inputs),
        defaults=dict(defaults),
        all_output_names={name for func in functions for name in func.output_names},
        shapes=dict(shapes.shapes),
        resolved_shapes=dict(shapes.shapes),
        internal_shapes=internal or None,
        shape_masks=dict(shapes.masks),
        run_folder=None,
        mapspecs_as_strings=[str(func.mapspec) for func in functions if func.mapspec is not None],
        storage=storage if isinstance(storage, str) else dict(storage),
        error_handling=error_handling,
        stages=tuple(func.output_names for func in functions),
        code=code,
        fixed_indices=dict(fixed_indices) if fixed_indices else None,
    )


# -- JSON --------------------------------------------------------------------------------------------


def read_run_info(folder: Path) -> tuple[RunInfoState, dict[str, Any]]:
    """Read run_info.json and tell whose it is.

    Parameters
    ----------
    folder
        The run folder.

    Returns
    -------
    tuple of str and dict
        ``"absent"``; ``"tombstone"`` of a folder that is being cleared; ``"valid"``, with the content;
        ``"pipefunc"`` if the original wrote it; ``"damaged"`` for all else.
    """
    path = folder / RUN_INFO
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return "absent", {}
    except NotADirectoryError:
        return "absent", {}
    except OSError:
        return "damaged", {}
    data = parse_json(text)
    if data is not None:
        return ("tombstone" if "tombstone" in data else "valid"), data
    try:
        other = json.loads(text)
    except (ValueError, RecursionError):
        return "damaged", {}
    # Ours has this key too, and two marks, of which damage may have hit one.
    if isinstance(other, dict) and "pipefunc_version" in other and not {"format", "crc32"} & other.keys():
        return "pipefunc", {}
    return "damaged", {}


def to_json(info: RunInfo) -> dict[str, Any]:
    data = {item.name: getattr(info, item.name) for item in dataclasses.fields(info)}
    data.update(
        inputs=None,
        defaults=None,
        all_output_names=sorted(info.all_output_names),
        run_folder=str(info.folder.absolute()),
        input_paths={name: input_file(name) for name in info.inputs},
        defaults_path=DEFAULTS,
        code={name: [dataclasses.astuple(each) for each in seen] for name, seen in info.code.items()},
        digests={name: [digest.size, f"{digest.crc32:08x}"] for name, digest in info.digests.items()},
        fixed_indices=_fixed_to_json(info.fixed_indices),
    )
    return {name: value for name, value in data.items() if name not in ("inputs", "defaults")}


def _from_json(data: dict[str, Any], folder: Path) -> RunInfo:
    digests = {name: FileDigest(size, int(crc, 16)) for name, (size, crc) in data["digests"].items()}
    inputs = {name: (path, digests[path]) for name, path in data["input_paths"].items()}
    internal, fixed = data["internal_shapes"], data.get("fixed_indices")
    return RunInfo(
        inputs=StoredValues(folder, inputs),
        defaults=StoredDict(folder / DEFAULTS, digests[DEFAULTS]),
        all_output_names=set(data["all_output_names"]),
        shapes=_tuples(data["shapes"]),
        resolved_shapes=_tuples(data["resolved_shapes"]),
        internal_shapes=None if internal is None else _tuples(internal),
        shape_masks=_tuples(data["shape_masks"]),
        run_folder=folder,
        mapspecs_as_strings=data["mapspecs_as_strings"],
        storage=data["storage"],
        error_handling=data["error_handling"],
        pipefunc_version=data["pipefunc_version"],
        stages=tuple(tuple(names) for names in data["stages"]),
        code={
            name: tuple(CodeIdentity(digest, python, tuple(unknown)) for digest, python, unknown in seen)
            for name, seen in data["code"].items()
        },
        digests=digests,
        fixed_indices=fixed and {k: slice(*i) if isinstance(i, list) else i for k, i in fixed.items()},
    )


def _fixed_to_json(fixed: Mapping[str, int | slice] | None) -> dict[str, Any] | None:
    return None if fixed is None else {axis: _index_to_json(index) for axis, index in fixed.items()}


def _index_to_json(index: int | slice) -> int | list[int | None]:
    if not isinstance(index, slice):
        return index.__index__()
    return [None if part is None else part.__index__() for part in (index.start, index.stop, index.step)]


def _tuples(lists: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(each) for name, each in lists.items()}
