"""A value in a file, given to a map by its place."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipefunc_c._describe import message_of
from pipefunc_c._storage.object_pickle import dump
from pipefunc_c.exceptions import InvalidTypeError


@dataclass(frozen=True)
class FileValue:
    """Stand for a value in a file: an input of a map that each process reads when it needs it.

    Parameters
    ----------
    path
        The file, which `from_data` wrote; the absolute path is kept.

    Raises
    ------
    InvalidTypeError
        If `path` is no path.

    Notes
    -----
    Like any pickle, the file must be trusted.

    Examples
    --------
    >>> import tempfile
    >>> value = FileValue.from_data({"a": 1}, Path(tempfile.mkdtemp(), "value.pickle"))
    >>> value.load()
    {'a': 1}
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", _absolute(self.path))

    @classmethod
    def from_data(cls, data: Any, path: str | Path) -> FileValue:
        """Write a value to a file, in one step.

        Parameters
        ----------
        data
            Anything that pickle or cloudpickle takes.
        path
            The file; what is missing of its folder is made.

        Returns
        -------
        FileValue

        Raises
        ------
        InvalidTypeError
            If the value cannot be pickled, or `path` is no path; a file that is there stays as it is.
        """
        target = _absolute(path)
        try:
            pickled = dump(data, portable=True)
        except MemoryError:
            raise
        except Exception as error:  # __reduce__ may raise anything
            raise InvalidTypeError(
                f"a {type(data).__qualname__} cannot be pickled: {message_of(error)}",
                hint="give data, and make the object in the function",
            ) from error
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(pickled)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        return cls(target)

    def load(self) -> Any:
        """Read the value.

        Returns
        -------
        object

        Raises
        ------
        FileNotFoundError
            If the file is gone.
        """
        with open(self.path, "rb") as file:
            return pickle.load(file)


def _absolute(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidTypeError(f"path is {path!r}, expected a str or a Path", detail=path)
    return Path(path).absolute()
