"""What worker processes print, log and warn of, on its way to their parent.

What they print comes through two pipes, which take the places of their standard output and standard error: so
programs and libraries that they call are heard as well, and what was printed before a crash is not lost. Log
records and warnings come through a socket as what they are, and are handled by the loggers and filters of the
parent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from pipefunc_c._optional import require
from pipefunc_c.parallel._whole_lines import NAMES, keep_lines_whole, whole_lines

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_BYTES = 1 << 16
MAX_RECORD_BYTES = 1 << 15
# A notebook server drops all messages of a kernel that sends more than a million bytes a second.
BYTES_PER_SECOND, BURST_BYTES = 200_000, 400_000


class RateLimit:
    r"""Let through so many bytes per second, after a burst; count the lines that are left out.

    Parameters
    ----------
    clock
        Gives the time in seconds.

    Examples
    --------
    >>> limit = RateLimit(lambda: 0.0)
    >>> limit.admit("line\n" * 5) == "line\n" * 5
    True
    >>> limit.admit("line\n" * 100_000), limit.left_out
    ('', 100000)
    >>> print(limit.admit("more"))
    [100,000 lines of output were left out here]
    more
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._allowance = float(BURST_BYTES)
        self.left_out = 0

    def admit(self, text: str) -> str:
        """Give the text, after a note on what was left out before it; or nothing if it is too much."""
        now = self._clock()
        self._allowance = min(BURST_BYTES, self._allowance + (now - self._last) * BYTES_PER_SECOND)
        self._last = now
        # Once something was left out, wait until there is room for more than a line.
        if len(text) > self._allowance or (self.left_out and self._allowance < BURST_BYTES / 8):
            self.left_out += text.count("\n")
            return ""
        self._allowance -= len(text)
        return self.note() + text

    def note(self) -> str:
        """Say how many lines were left out, and forget it."""
        count, self.left_out = self.left_out, 0
        return f"[{count:,} lines of output were left out here]\n" if count else ""


class OutputRelay:
    """Bring what workers print, log and warn of to this process.

    Parameters
    ----------
    redraws
        Whether something on the terminal is drawn again and again: then prints must not come in between.

    Notes
    -----
    A stream is left alone where the workers may well write to it themselves: where nothing is drawn, and the
    stream of this process leads to where its descriptor does.
    """

    def __init__(self, *, redraws: bool = False) -> None:
        self._limits = {name: RateLimit() for name in NAMES}
        self._tails = dict.fromkeys(NAMES, b"")
        self._pipes: dict[str, tuple[int, int]] = {}
        for number, name in enumerate(NAMES, 1):
            if _is_relayed(getattr(sys, name), number, redraws=redraws):
                self._pipes[name] = os.pipe()
                os.set_blocking(self._pipes[name][0], False)
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        for each in (self._ours, self._theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * MAX_RECORD_BYTES)
        self._warned: set[tuple[str, str, str, int]] = set()
        self._owner = os.getpid()

    # -- in the parent -------------------------------------------------------------------------------

    @property
    def sources(self) -> dict[int, Callable[[], object]]:
        """Per descriptor that may become readable, what to call then."""
        sources: dict[int, Callable[[], object]] = {self._ours.fileno(): self._take_records}
        for name, (read, _) in self._pipes.items():
            sources[read] = lambda name=name: self._take_output(name)  # type: ignore[misc]
        return sources

    def _take_output(self, name: str) -> bool:
        """Pass on whole lines; tell whether there was anything."""
        try:
            data = os.read(self._pipes[name][0], BLOCK_BYTES)
        except BlockingIOError:
            return False
        whole, newline, rest = (self._tails[name] + data).rpartition(b"\n")
        if len(rest) > BLOCK_BYTES:  # who never ends a line is heard nevertheless
            whole, newline, rest = rest, b"\n", b""
        self._tails[name] = rest
        if newline:
            self._write(name, self._limits[name].admit((whole + newline).decode(errors="backslashreplace")))
        return bool(data)

    @staticmethod
    def _write(name: str, text: str) -> None:
        stream = getattr(sys, name)
        if text and stream is not None:
            with contextlib.suppress(Exception):  # of the stream; the run goes on
                stream.write(text)
                stream.flush()

    def _take_records(self) -> bool:
        try:
            data = self._ours.recv(2 * MAX_RECORD_BYTES)
        except BlockingIOError:
            return False
        with contextlib.suppress(Exception):  # of a handler of the user
            kind, content = pickle.loads(data)
            if kind == "log":
                logger = logging.getLogger(content["name"])
                logger.handle(logging.makeLogRecord(content))
            else:
                # The filters had their say in the worker. Of several workers one is enough to warn.
                message, category, filename, line = content
                key = (str(message), category.__qualname__, filename, line)
                if key not in self._warned:
                    self._warned.add(key)
                    warnings.showwarning(message, category, filename, line)
        return True

    def drain(self) -> None:
        """Take in all that is there, without waiting."""
        while self._take_records():
            pass
        for name in self._pipes:
            while self._take_output(name):
                pass

    def close(self) -> None:
        """Take in what is there, what has no end of line too, and close. May be called again."""
        if self._ours.fileno() < 0:
            return
        if os.getpid() == self._owner:
            self.drain()
            for name in self._pipes:
                rest = self._tails[name].decode(errors="backslashreplace")
                self._write(name, self._limits[name].note() + rest)
        self._ours.close()
        self._theirs.close()
        for pair in self._pipes.values():
            for each in pair:
                os.close(each)
        self._pipes = {}

    # -- to the workers ------------------------------------------------------------------------------

    def descriptors(self) -> list[int]:
        """Give the descriptors that a worker needs that is not forked from this process."""
        return [self._theirs.fileno(), *(write for _, write in self._pipes.values())]

    def recipe(self) -> bytes:
        """Give what `enter_relay` needs beside the descriptors; pickled, with the filters of warnings."""
        levels = {
            name: (logger.level, logger.disabled)
            for name, logger in list(logging.root.manager.loggerDict.items())
            if isinstance(logger, logging.Logger)
        }
        filters = [each for each in warnings.filters if _is_picklable(each)]
        everywhere = (logging.root.level, logging.root.manager.disable)
        return pickle.dumps((tuple(self._pipes), levels, *everywhere, filters))

    def enter(self) -> None:
        """Send what this process, a fork of the parent, prints, logs and warns of to the parent."""
        _redirect({name: write for name, (_, write) in self._pipes.items()})
        _send_records(self._theirs)
        for read, write in self._pipes.values():
            os.close(read)
            os.close(write)
        self._pipes = {}
        self._ours.close()


def enter_relay(recipe: bytes, descriptors: list[int]) -> None:
    """Send what this process prints, logs and warns of to its parent; for one that is no fork of it.

    Parameters
    ----------
    recipe, descriptors
        From the relay of the parent.
    """
    names, levels, root_level, disabled, filters = pickle.loads(recipe)
    for name, (level, is_disabled) in levels.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.disabled = is_disabled
    logging.root.setLevel(root_level)
    logging.disable(disabled)
    warnings.resetwarnings()
    for action, message, category, module, line in reversed(filters):
        with contextlib.suppress(Exception):  # what no call could have made
            warnings.filterwarnings(action, _pattern(message), category, _pattern(module), line)
    _redirect(dict(zip(names, descriptors[1:], strict=True)))
    _send_records(socket.socket(fileno=descriptors[0]))
    for each in descriptors[1:]:
        os.close(each)


def _pattern(expression: Any) -> str:
    return "" if expression is None else getattr(expression, "pattern", expression)


def _is_relayed(stream: Any, number: int, *, redraws: bool) -> bool:
    if stream is None:
        return False
    try:
        leads_elsewhere = stream.fileno() != number
    except (AttributeError, OSError, ValueError):  # in memory, or closed
        leads_elsewhere = True
    return leads_elsewhere or (redraws and bool(stream.isatty()))


def _is_picklable(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def _redirect(pipes: dict[str, int]) -> None:
    """Let streams, and their descriptors, lead into pipes; the others write whole lines too."""
    for number, name in enumerate(NAMES, 1):
        if name in pipes:
            os.dup2(pipes[name], number)
            options = {"encoding": "utf-8", "errors": "backslashreplace", "line_buffering": True}
            setattr(sys, name, whole_lines(number, name, **options))
        else:
            keep_lines_whole(number, name)


class _Sender(logging.Handler):
    """Send log records to the parent."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        content = dict(record.__dict__)
        # As it would be shown: arguments and tracebacks may not be picklable.
        content.update(msg=record.getMessage(), args=None, exc_info=None)
        if record.exc_info and not record.exc_text:
            content["exc_text"] = logging.Formatter().formatException(record.exc_info)
        try:
            data = pickle.dumps(("log", content))
        except Exception:  # what the user added to the record
            plain = {k: v for k, v in content.items() if isinstance(v, str | int | float | None)}
            data = pickle.dumps(("log", plain))
        if len(data) > MAX_RECORD_BYTES:
            short = {**content, "msg": content["msg"][: MAX_RECORD_BYTES // 16] + " ... (cut)"}
            for key in ("exc_text", "stack_info"):
                short[key] = short[key] and short[key][: MAX_RECORD_BYTES // 16]
            plain = {k: v for k, v in short.items() if isinstance(v, str | int | float | None)}
            data = pickle.dumps(("log", plain))[:MAX_RECORD_BYTES]
        self.send(data)

    def send(self, data: bytes) -> None:
        """Send a record; waits while the parent is behind."""
        with contextlib.suppress(OSError):  # the parent is gone, or it is too long for this system
            self._connection.send(data)


def _send_records(connection: socket.socket) -> None:
    """Let log records and warnings of this process go to the parent alone."""
    sender = _Sender(connection)
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            # The parent's loggers have the handlers; here each record is to come to the root.
            logger.handlers, logger.propagate = [], True
    logging.root.handlers = [sender]

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *_others: Any
    ) -> None:
        data = b""
        for dump in (pickle.dumps, require("cloudpickle").dumps):
            with contextlib.suppress(Exception):  # one that is no part of a module
                data = data or dump(("warning", (message, category, filename, lineno)))
        if not 0 < len(data) <= MAX_RECORD_BYTES:
            text = str(message)[: MAX_RECORD_BYTES // 16]
            data = pickle.dumps(("warning", (text, RuntimeWarning, filename, lineno)))
        sender.send(data)

    warnings.showwarning = show  # type: ignore[assignment]
