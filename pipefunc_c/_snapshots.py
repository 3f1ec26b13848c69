"""What is kept of an error that a user function raised, and of what it caused."""

from __future__ import annotations

import os
import platform
import tempfile
import traceback as traceback_module
from collections.abc import Callable, Sequence  # noqa: TC003  the hints of dataclasses must resolve
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipefunc_c._describe import (
    arguments_text,
    callable_name,
    current_directory,
    ip_address,
    message_of,
    timestamp_now,
    user_name,
)
from pipefunc_c._errors import InvalidTypeError
from pipefunc_c._frozen_exception import FrozenException
from pipefunc_c._optional import require


@dataclass
class ErrorSnapshot:
    """Hold everything needed to reproduce an error that a user function raised.

    Parameters
    ----------
    function
        The callable that raised.
    exception
        What it raised.
    args, kwargs
        The arguments of the call, under the native names of the callable.
    traceback
        The formatted traceback; taken from `exception` if not given.
    timestamp, user, machine, ip_address, current_directory
        When, by whom and where it ran; filled in if not given.

    Examples
    --------
    >>> try:
    ...     round("a")
    ... except TypeError as error:
    ...     snapshot = ErrorSnapshot(round, error, ("a",), {})
    >>> snapshot.exception
    TypeError("type str doesn't define __round__ method")
    >>> snapshot.reproduce()
    Traceback (most recent call last):
        ...
    TypeError: type str doesn't define __round__ method

    """

    function: Callable[..., Any]
    exception: BaseException
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    traceback: str = ""
    timestamp: str = field(default_factory=timestamp_now)
    user: str = field(default_factory=user_name)
    machine: str = field(default_factory=platform.node)
    ip_address: str = field(default_factory=ip_address)
    current_directory: str = field(default_factory=current_directory)

    def __post_init__(self) -> None:
        if not self.traceback:
            self.traceback = "".join(traceback_module.format_exception(self.exception))

    def reproduce(self) -> Any:
        """Call the function again with the arguments that made it fail.

        Returns
        -------
        Any
            What the function returns, if it does not fail this time.

        """
        return self.function(*self.args, **self.kwargs)

    def save_to_file(self, filename: str | Path) -> None:
        """Write the snapshot to a file, replacing it in one step.

        Parameters
        ----------
        filename
            Where to write; its folder must exist.

        """
        path = Path(filename)
        data = require("cloudpickle").dumps(self)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load_from_file(cls, filename: str | Path) -> ErrorSnapshot:
        """Read a snapshot that `save_to_file` wrote. Like any pickle, the file must be trusted.

        Parameters
        ----------
        filename
            The file to read.

        Returns
        -------
        ErrorSnapshot
            The snapshot.

        Raises
        ------
        InvalidTypeError
            If the file holds something else.

        """
        snapshot = require("cloudpickle").loads(Path(filename).read_bytes())
        if not isinstance(snapshot, cls):
            message = f"{str(filename)!r} holds a {type(snapshot).__qualname__}, not an ErrorSnapshot"
            raise InvalidTypeError(message, detail=str(filename), hint="Pass a file that save_to_file wrote.")
        return snapshot

    def __str__(self) -> str:
        arguments = {f"args[{i}]": value for i, value in enumerate(self.args)} | self.kwargs
        return (
            f"ErrorSnapshot\n"
            f"  function: {callable_name(self.function)}\n"
            f"  exception: {type(self.exception).__qualname__}: {message_of(self.exception)}\n"
            f"  arguments:{arguments_text(arguments)}\n"
            f"  when: {self.timestamp}\n"
            f"  who and where: {self.user}@{self.machine} ({self.ip_address}) in {self.current_directory}\n"
            f"Call .reproduce() to run it again; .traceback, .args and .kwargs hold the rest;\n"
            f"keep it with .save_to_file(filename) and ErrorSnapshot.load_from_file(filename)."
        )

    def __getstate__(self) -> dict[str, Any]:
        state = {item.name: getattr(self, item.name) for item in fields(self)}
        # Functions and arguments are often lambdas or live in __main__, which plain pickle refuses.
        call = (state.pop("function"), state.pop("args"), state.pop("kwargs"))
        state["exception"] = tuple(FrozenException.of(self.exception))
        return {**state, "call": require("cloudpickle").dumps(call)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = dict(state)
        self.function, self.args, self.kwargs = require("cloudpickle").loads(values.pop("call"))
        values["exception"] = FrozenException(*values["exception"]).load()
        for name, value in values.items():
            setattr(self, name, value)


@dataclass(frozen=True, eq=False)
class ErrorInfo:
    """Say how one argument of a skipped call was affected by an earlier error.

    Parameters
    ----------
    type
        ``"full"``: the argument itself is an error; ``"partial"``: it is an array that contains errors.
    error
        The error, if `type` is ``"full"``.
    shape, error_indices, error_count
        Shape of the array, indices of the errors in it and their number, if `type` is ``"partial"``. The
        indices are as `numpy.nonzero` gives them, an array per axis: ``array[info.error_indices]`` has the
        errors.

    Examples
    --------
    >>> info = ErrorInfo.from_partial_errors((2, 3), [(0, 1), (1, 2)])
    >>> info.error_count, info.error_indices
    (2, (array([0, 1]), array([1, 2])))

    """

    type: Literal["full", "partial"]
    error: ErrorSnapshot | PropagatedErrorSnapshot | None = None
    shape: tuple[int, ...] | None = None
    error_indices: tuple[npt.NDArray[np.int64], ...] | None = None
    error_count: int | None = None

    @classmethod
    def from_full_error(cls, error: ErrorSnapshot | PropagatedErrorSnapshot) -> ErrorInfo:
        """Describe an argument that is itself an error."""
        return cls("full", error=error)

    @classmethod
    def from_partial_errors(
        cls, shape: tuple[int, ...], error_indices: Sequence[tuple[int, ...]]
    ) -> ErrorInfo:
        """Describe an array argument of this shape that has errors at these indices."""
        indices = np.array(error_indices, dtype=np.int64).reshape(len(error_indices), len(shape))
        return cls("partial", shape=shape, error_indices=tuple(indices.T), error_count=len(indices))

    def __eq__(self, other: object) -> bool:
        """Compare all fields."""
        if not isinstance(other, ErrorInfo):
            return NotImplemented
        return self._compared() == other._compared()

    __hash__ = None  # type: ignore[assignment]  # the errors have none

    def _compared(self) -> tuple[Any, ...]:
        indices = self.error_indices
        lists = None if indices is None else [np.asarray(axis).tolist() for axis in indices]
        return self.type, self.error, self.shape, lists, self.error_count


@dataclass
class PropagatedErrorSnapshot:
    """Stand in for the result of a call that was skipped because an argument was an error.

    Parameters
    ----------
    error_info
        Per affected parameter, how it was affected.
    skipped_function
        The callable that was not called.
    reason
        ``"input_is_error"`` if any argument is itself an error, else ``"array_contains_errors"``.
    attempted_kwargs
        The arguments that the call would have had.
    timestamp
        When it was skipped; filled in if not given.

    """

    error_info: dict[str, ErrorInfo]
    skipped_function: Callable[..., Any]
    reason: Literal["input_is_error", "array_contains_errors"]
    attempted_kwargs: dict[str, Any]
    timestamp: str = field(default_factory=timestamp_now)

    def get_root_causes(self) -> list[ErrorSnapshot]:
        """Find the original errors, each once, following arguments that are themselves errors.

        Returns
        -------
        list
            The snapshots of the calls that raised. Errors inside of arrays are not followed.

        """
        causes: list[ErrorSnapshot] = []
        seen: set[int] = set()  # in a diamond the same error arrives on many ways
        pending: list[ErrorSnapshot | PropagatedErrorSnapshot | None] = [self]
        while pending:
            error = pending.pop()
            # A map builds a snapshot each time that it is looked at; the exception in it is always the same.
            identity = id(error.exception if isinstance(error, ErrorSnapshot) else error)
            if error is None or identity in seen:
                continue
            seen.add(identity)
            if isinstance(error, ErrorSnapshot):
                causes.append(error)
            else:
                infos = reversed(error.error_info.values())
                pending.extend(info.error for info in infos if info.type == "full")
        return causes

    def __str__(self) -> str:
        lines = []
        for name, info in self.error_info.items():
            if isinstance(info.error, ErrorSnapshot):
                exception = info.error.exception
                lines.append(f"{name} is an error: {type(exception).__qualname__}: {message_of(exception)}")
            elif info.type == "full":
                lines.append(f"{name} was itself not computed because of an earlier error")
            else:
                lines.append(f"{name} of shape {info.shape} contains {info.error_count} errors")
        return (
            f"PropagatedErrorSnapshot\n"
            f"  skipped function: {callable_name(self.skipped_function)}\n"
            f"  reason: {self.reason}\n"
            f"  affected arguments:{''.join(f'{chr(10)}    {line}' for line in lines)}\n"
            f"  when: {self.timestamp}\n"
            f"Call .get_root_causes() for the errors that started it."
        )

    def __getstate__(self) -> dict[str, Any]:
        state = {item.name: getattr(self, item.name) for item in fields(self)}
        call = (state.pop("skipped_function"), state.pop("attempted_kwargs"))
        return {**state, "call": require("cloudpickle").dumps(call)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = dict(state)
        self.skipped_function, self.attempted_kwargs = require("cloudpickle").loads(values.pop("call"))
        for name, value in values.items():
            setattr(self, name, value)
