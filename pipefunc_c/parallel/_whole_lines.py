"""Standard streams of worker processes that lead to one place: what each prints arrives in whole lines."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

NAMES = ("stdout", "stderr")
# No other process writes in between where a pipe gets so many bytes at once.
ATOMIC_BYTES = getattr(select, "PIPE_BUF", 512)
MAX_REST_BYTES = 1 << 16
_replaced: list[Any] = []


class WholeLines(io.BufferedIOBase):
    r"""Write bytes to a descriptor in blocks that end where a line ends, also when flushed.

    A block is no longer than what a pipe takes as one piece, unless it is one line. The end of a line is
    that of a bar as well, which is drawn again after a carriage return. In a process that is forked from
    this one a flush writes everything, as usual: nobody there calls `write_rest`.

    Parameters
    ----------
    number
        The descriptor.
    name
        What the stream is called.

    Examples
    --------
    >>> import os
    >>> read, write = os.pipe()
    >>> lines = WholeLines(write, "<example>")
    >>> lines.write(b"first\nsec")
    9
    >>> lines.flush()
    >>> os.read(read, 100)
    b'first\n'
    >>> lines.write_rest()
    >>> os.read(read, 100)
    b'sec'
    >>> lines.close()
    >>> os.close(read)
    >>> os.close(write)
    """

    closed = False  # not by way of the base class: a text stream looks here at each write

    def __init__(self, number: int, name: str) -> None:
        self.name = name
        self._number = number
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._lock = threading.RLock()
        self._is_forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock, self._is_forked = threading.RLock(), True  # another thread may have held the old one
        self._rest, self._rest_bytes = [], 0  # the parent prints it

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._number

    def isatty(self) -> bool:
        """Tell whether it leads to a terminal."""
        return os.isatty(self._number)

    def write(self, data: Buffer) -> int:
        """Take bytes; write those up to the last end of a line."""
        new = bytes(data)
        if new[-1:] == b"\n" and len(new) <= ATOMIC_BYTES and not self._rest:  # as a print does
            self._write_all(new)
            return len(new)
        with self._lock:
            # A carriage return that ends the bytes may be half the end of a line.
            end = max(new.rfind(b"\n"), new.rfind(b"\r", 0, -1)) + 1
            if end:
                whole = b"".join((*self._rest, new[:end])) if self._rest else new[:end]
                self._rest, self._rest_bytes = [], 0
            if end < len(new):
                self._rest.append(new[end:])
                self._rest_bytes += len(new) - end
            if end:
                self._write_lines(whole)
            if self._rest_bytes > MAX_REST_BYTES:  # who never ends a line is heard nevertheless
                self.write_rest()
        return len(new)

    def flush(self) -> None:
        """Do nothing: whole lines are written already, and the rest waits for its end."""
        if self._is_forked:
            self.write_rest()

    def write_rest(self) -> None:
        """Write what has no end of line too."""
        with self._lock:
            rest, self._rest, self._rest_bytes = self._rest, [], 0
            if rest:
                self._write_all(b"".join(rest))

    def close(self) -> None:
        """Write what is left; the descriptor stays open."""
        if not self.closed:
            with contextlib.suppress(OSError):
                self.write_rest()
        self.closed = True

    def _write_lines(self, lines: bytes) -> None:
        begin = 0
        while len(lines) - begin > ATOMIC_BYTES:
            end = lines.rfind(b"\n", begin, begin + ATOMIC_BYTES) + 1
            if not end:  # a line that is longer goes alone
                end = lines.find(b"\n", begin) + 1 or len(lines)
            self._write_all(lines[begin:end])
            begin = end
        if begin < len(lines):
            self._write_all(lines[begin:] if begin else lines)

    def _write_all(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._number, data) :]
            except BlockingIOError:  # of the user, who does not want to wait: here it loses nothing
                poll = select.poll()
                poll.register(self._number, select.POLLOUT)
                poll.poll()


def whole_lines(number: int, name: str, **options: Any) -> io.TextIOWrapper:
    """Make a text stream of `WholeLines`; options are those of `io.TextIOWrapper`."""
    return io.TextIOWrapper(WholeLines(number, f"<{name}>"), **options)


def keep_lines_whole(number: int, name: str) -> None:
    """Let a standard stream of this process, a worker, write whole lines.

    One on a terminal that is flushed at each end of a line is left alone, and so is one of the user. One
    that was not buffered at all is flushed at each end of a line.
    """
    stream = getattr(sys, name)
    if not _leads_to(stream, number):
        return
    if (stream.isatty() and not stream.write_through) or "\n".encode(stream.encoding) != b"\n":
        return
    lines = whole_lines(
        number,
        name,
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering or stream.write_through,
    )
    _replaced.append(stream)  # others may hold it, and print to it
    setattr(sys, name, lines)
    if getattr(sys, f"__{name}__") is stream:
        setattr(sys, f"__{name}__", lines)


def _leads_to(stream: Any, number: int) -> bool:
    """Tell whether a stream of Python's own kind leads to a descriptor."""
    try:
        return type(stream) is io.TextIOWrapper and bool(stream.fileno() == number)
    except (OSError, ValueError):  # closed
        return False


def flush_shared() -> None:
    """Write what this process has printed to where its workers print too: they begin new lines then."""
    for number, name in enumerate(NAMES, 1):
        stream = getattr(sys, name)
        if _leads_to(stream, number):
            with contextlib.suppress(OSError):
                stream.flush()


def flush_streams() -> None:
    """Write all that this process, a worker, has printed, also what has no end of line."""
    for stream in _streams():
        with contextlib.suppress(Exception):  # a user's stream may be closed, or None
            stream.flush()
            if isinstance(lines := getattr(stream, "buffer", None), WholeLines):
                lines.write_rest()


def _streams() -> Iterator[Any]:
    yield sys.stdout
    yield sys.stderr
    yield from _replaced
