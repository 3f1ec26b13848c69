"""The options of a map: checked once, carried as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._describe import short_repr
from pipefunc_c._storage.base import storage_class
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.parallel._worker_pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pipefunc_c._function.pipefunc import PipeFunc

ErrorHandling = Literal["raise", "continue"]
SchedulingStrategy = Literal["generation", "eager"]

# Options that may be dicts by output.
_BY_OUTPUT = {"executor", "chunksizes", "storage", "internal_shapes", "timeout"}

DEFAULT_STORAGE = "array"
DEFAULT_DURABLE_STORAGE = "file_array"


@dataclass(frozen=True)
class RunOptions:
    """Options of a map; ``Pipeline.map`` says what they mean.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If an option has a value that is not allowed; the message lists the allowed ones.
    """

    parallel: bool = True
    executor: Any = None
    chunksizes: Any = None
    storage: Any = None
    internal_shapes: Mapping[str, Any] | None = None
    fixed_indices: Mapping[str, int | slice] | None = None
    show_progress: bool | str | None = None
    return_results: bool = True
    run_folder: str | Path | None = None
    resume: bool = False
    resume_validation: Literal["auto", "strict", "skip"] = "auto"
    persist_memory: bool = True
    sync: float | None = None
    retry_errors: bool = False
    timeout: float | Mapping[str | tuple[str, ...], float | None] | None = None
    error_handling: ErrorHandling = "raise"
    scheduling_strategy: SchedulingStrategy = "generation"

    def __post_init__(self) -> None:
        _one_of("error_handling", self.error_handling, ("raise", "continue"))
        _one_of("resume_validation", self.resume_validation, ("auto", "strict", "skip"))
        is_number = isinstance(self.sync, int | float) and not isinstance(self.sync, bool)
        if self.sync is not None and not (is_number and self.sync >= 0):
            raise InvalidValueError(
                f"sync is {self.sync!r}", hint="allowed are seconds, at least 0, and None"
            )
        if self.retry_errors and not self.resume:
            raise InvalidValueError(
                "retry_errors=True was given without resume=True",
                hint="errors that are stored can only be computed again where the results are kept",
            )
        if self.run_folder is not None and not str(self.run_folder):
            raise InvalidValueError(
                "run_folder is ''", hint="give a path, for example '.', or None to keep no results"
            )
        _one_of("scheduling_strategy", self.scheduling_strategy, ("generation", "eager"))
        for option in ("internal_shapes", "fixed_indices"):
            value = getattr(self, option)
            if value is not None and not isinstance(value, Mapping):
                raise InvalidTypeError(f"{option} is {value!r}, expected a dict or None")
        if self.executor is not None and not self.parallel:
            raise InvalidValueError(
                f"executor={self.executor!r} was given with parallel=False",
                hint="leave one of the two out: an executor is only used when the map is parallel",
            )
        executors = self.executor.values() if isinstance(self.executor, Mapping) else (self.executor,)
        for executor in executors:
            if isinstance(executor, type) and hasattr(executor, "submit"):
                raise InvalidTypeError(
                    f"executor is the class {executor.__qualname__}, not an executor",
                    hint=f"call it: executor={executor.__qualname__}()",
                )
            if not (executor is self.executor is None) and not callable(getattr(executor, "submit", None)):
                raise InvalidTypeError(
                    f"executor is {short_repr(executor)}, which has no submit()",
                    hint="allowed are concurrent.futures executors and a dict of these by output",
                )
        self._check_timeout()
        if not isinstance(self.storage, str | Mapping | None):
            raise InvalidTypeError(
                f"storage is {self.storage!r}", hint="allowed are an id, a dict of these by output, and None"
            )
        for storage in self.storage.values() if isinstance(self.storage, Mapping) else (self.storage,):
            if storage is not None:
                storage_class(storage)

    def _check_timeout(self) -> None:
        if self.timeout is None:
            return
        for limit in self.timeout.values() if isinstance(self.timeout, Mapping) else (self.timeout,):
            is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if limit is not None and not (is_number and limit > 0):
                raise InvalidValueError(
                    f"timeout is {self.timeout!r}",
                    hint="allowed are seconds, more than 0, a dict of these by output, and None",
                )
        if not self.parallel:
            raise InvalidValueError(
                f"timeout={self.timeout!r} was given with parallel=False",
                hint="an element can only be ended with the process that runs it",
            )
        if self.executor is not None and self.worker_pool is None:
            raise InvalidValueError(
                f"timeout={self.timeout!r} was given with {short_repr(self.executor)}, which cannot end "
                "a task",
                hint="leave executor out, or pass a pipefunc_c.parallel.WorkerPool",
            )

    @property
    def worker_pool(self) -> WorkerPool | None:
        """The pool of ours that runs everything; None if there is none, or other executors beside it."""
        given = self.executor.values() if isinstance(self.executor, Mapping) else [self.executor]
        found = {id(each): each for each in given}
        only = next(iter(found.values())) if len(found) == 1 else None
        return only if isinstance(only, WorkerPool) else None

    def timeout_of(self, functions: Iterable[PipeFunc[..., Any]]) -> dict[PipeFunc[..., Any], float | None]:
        """Give the time limit of an element of each function."""
        given = {"": None, **self.timeout} if isinstance(self.timeout, Mapping) else self.timeout
        return per_function("timeout", given, list(functions))

    def storage_of(self, functions: Iterable[PipeFunc[..., Any]]) -> dict[PipeFunc[..., Any], str]:
        """Give the storage id of each function."""
        default = DEFAULT_STORAGE if self.run_folder is None else DEFAULT_DURABLE_STORAGE
        chosen = default if self.storage is None else self.storage
        return per_function("storage", chosen, list(functions))

    def executor_of(self, functions: Iterable[PipeFunc[..., Any]]) -> dict[PipeFunc[..., Any], Any]:
        """Give the executor of each function."""
        return per_function("executor", self.executor, list(functions))

    def chunksize_of(self, functions: Iterable[PipeFunc[..., Any]]) -> dict[PipeFunc[..., Any], Any]:
        """Give the chunk size option of each function: None, an int or a callable."""
        given = {"": None, **self.chunksizes} if isinstance(self.chunksizes, Mapping) else self.chunksizes
        sizes = per_function("chunksizes", given, list(functions))
        for func, size in sizes.items():
            positive = isinstance(size, int) and not isinstance(size, bool) and size > 0
            if not (size is None or positive or callable(size)):
                raise InvalidValueError(
                    f"the chunk size of {func.output_name!r} is {size!r}",
                    hint="allowed are a positive int, a callable that gives one, and None",
                )
        return sizes


def options_of_part(
    options: Mapping[str, Any],
    whole: Iterable[PipeFunc[..., Any]],
    part: Iterable[PipeFunc[..., Any]],
) -> dict[str, Any]:
    """Leave out of options what they say of outputs that do not run.

    Parameters
    ----------
    options
        Options of a map, as they were given.
    whole
        The functions of the pipeline.
    part
        Those that run.

    Returns
    -------
    dict
        The options. What is no output of the pipeline stays, to be refused.

    Examples
    --------
    >>> from pipefunc_c import PipeFunc
    >>> u, y = PipeFunc(lambda x: x, "u"), PipeFunc(lambda u: u, "y")
    >>> options_of_part({"storage": {"u": "dict", "": "array"}, "resume": True}, [u, y], [y])
    {'storage': {'': 'array'}, 'resume': True}
    """
    running = {name for func in part for name in func.output_names}
    idle = {
        name
        for func in whole
        if running.isdisjoint(func.output_names)
        for name in (*func.output_names, func.output_name)
    }
    return {
        option: {key: each for key, each in value.items() if key not in idle}
        if option in _BY_OUTPUT and isinstance(value, Mapping)
        else value
        for option, value in options.items()
    }


def _one_of(option: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidValueError(f"{option} is {value!r}", hint=f"allowed are {', '.join(map(repr, allowed))}")


def per_function(
    option: str, value: Any, functions: list[PipeFunc[..., Any]]
) -> dict[PipeFunc[..., Any], Any]:
    """Spread an option over the functions.

    Parameters
    ----------
    option
        Its name, for messages.
    value
        One value for all, or a dict by output name: a name, any one name of several outputs, or the tuple of
        them; the key ``""`` stands for all others.
    functions
        The functions of the run.

    Returns
    -------
    dict
        The value of each function.

    Raises
    ------
    InvalidValueError
        If a function has two entries, or none and there is no ``""``, or if a key is no output.
    """
    if not isinstance(value, Mapping):
        return dict.fromkeys(functions, value)
    entries: dict[PipeFunc[..., Any], list[Any]] = {}
    owners = {name: func for func in functions for name in (*func.output_names, func.output_name)}
    for key in value:
        if key == "":
            continue
        if key not in owners:
            known = ", ".join(repr(name) for name in owners if isinstance(name, str))
            raise InvalidValueError(
                f"{option} has an entry for {key!r}, which is no output", hint=f"outputs are {known}"
            )
        entries.setdefault(owners[key], []).append(key)
    chosen = {}
    for func in functions:
        keys = entries.get(func, [""])
        if len(keys) > 1:
            raise InvalidValueError(
                f"{option} has {len(keys)} entries for one function: {keys!r}",
                hint="give the tuple of its outputs or one of them",
            )
        if keys[0] not in value:
            raise InvalidValueError(
                f"{option} has no entry for {func.output_name!r}",
                hint='add one, or one for "" as the default',
            )
        chosen[func] = value[keys[0]]
    return chosen
