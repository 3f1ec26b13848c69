"""Pickling that lets other threads run: a long list would hold up an event loop for as long as it takes."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

_LONG = 1 << 20
_LINE_STEP = 256


class _Parts(io.RawIOBase):
    """Collect what is written; each write is a call of Python code, in which the GIL may change hands."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: Buffer) -> int:
        self.parts.append(data if type(data) is bytes else bytes(data))
        return len(self.parts[-1])


def pickle_in_parts(
    value: object,
    pickler: type[pickle.Pickler] = pickle.Pickler,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
) -> list[bytes]:
    """Pickle a value; the parts in a row are the pickle, and each holds whole opcodes.

    Parameters
    ----------
    value
        The value.
    pickler
        The class that pickles it.
    buffer_callback
        Takes the buffers that are left out of the pickle.

    Returns
    -------
    list of bytes
        One for each 64 KiB or so.

    Examples
    --------
    >>> parts = pickle_in_parts(list(range(100_000)))
    >>> len(parts) > 1, len(pickle.loads(b"".join(parts)))
    (True, 100000)
    """
    file = _Parts()
    pickler(file, 5, buffer_callback=buffer_callback).dump(value)
    return file.parts


class _Source:
    """Give the bytes of a pickle in the pieces that the unpickler asks for."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        end = self._view.nbytes if size < 0 else self._position + size
        piece = bytes(self._view[self._position : end])
        self._position += len(piece)
        return piece

    def readline(self) -> bytes:
        data = self._view[self._position :]
        length = 0
        for step in range(0, data.nbytes, _LINE_STEP):  # names are short, what follows may be long
            found = bytes(data[step : step + _LINE_STEP]).find(b"\n")
            if found >= 0:
                length = step + found + 1
                break
        else:
            length = data.nbytes
        return self.read(length)


def unpickle(data: bytes) -> Any:
    """Load a pickle; of a long one, other threads run between its frames.

    Parameters
    ----------
    data
        The pickle. Nothing is checked: it must come from this program.

    Returns
    -------
    object

    Examples
    --------
    >>> unpickle(pickle.dumps([1, None]))
    [1, None]
    """
    if len(data) < _LONG:
        return pickle.loads(data)
    return pickle.Unpickler(_Source(data)).load()
