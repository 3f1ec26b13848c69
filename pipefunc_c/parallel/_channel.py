"""Messages between this process and one worker, over a pair of connected sockets."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from array import array
from collections import deque
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from pipefunc_c._describe import bytes_text
from pipefunc_c._platform import available_memory
from pipefunc_c.exceptions import OutOfMemoryError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LENGTH = struct.Struct("<Q")
_LARGE = 64 << 20  # from here on the room for a message is looked at first
_AT_ONCE = 64  # parts


class Channel:
    """Send and receive whole messages; the peer is a process that we started ourselves.

    Parameters
    ----------
    connection
        One end of a connected stream socket.
    waits
        Whether `send` waits until the peer takes the message. Else what it does not take yet stays here until
        `flush` is called: two peers that both send and wait would wait for ever.

    Attributes
    ----------
    sentinel : int or None
        Becomes readable when the peer has died: then nothing more is waited for, although somebody else may
        hold its end of the connection.

    Examples
    --------
    >>> ours, theirs = Channel.pair()
    >>> ours.send(b"two ", b"parts")
    >>> bytes(theirs.receive())
    b'two parts'
    >>> ours.close()
    >>> theirs.close()
    """

    def __init__(self, connection: socket.socket, *, waits: bool = True) -> None:
        self._socket = connection
        self._flags = 0 if waits else socket.MSG_DONTWAIT
        self._backlog: deque[memoryview | list[int]] = deque()  # bytes, or descriptors of ours
        self.sentinel: int | None = None
        self._identity = _identity(connection.fileno())

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make two channels that are connected with each other; the first does not wait to send."""
        ours, theirs = socket.socketpair()
        return cls(ours, waits=False), cls(theirs)

    @property
    def is_intact(self) -> bool:
        """Tell whether the descriptor is still that of the connection: somebody may have closed it."""
        return self.fileno() >= 0 and _identity(self.fileno()) == self._identity

    @property
    def is_behind(self) -> bool:
        """Tell whether there is something left to `flush`."""
        return bool(self._backlog)

    def send(self, *parts: Buffer) -> None:
        """Send one message, made of all parts.

        Raises
        ------
        BrokenPipeError, ConnectionError
            If the peer is gone.
        """
        views = [memoryview(part).cast("B") for part in parts]
        self._backlog.append(memoryview(_LENGTH.pack(sum(view.nbytes for view in views))))
        self._backlog.extend(views)
        self.flush()

    def flush(self) -> bool:
        """Send what the peer did not take yet; tell whether it has all.

        Raises
        ------
        BrokenPipeError, ConnectionError
            If the peer is gone.
        """
        try:
            while self._backlog:
                first = self._backlog[0]
                if isinstance(first, list):
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", first))
                    self._socket.sendmsg([b"d"], [rights], self._flags)
                    self._backlog.popleft()
                    _close_all(first)
                else:
                    self._send_views()
        except BlockingIOError:
            return False
        except ConnectionError:
            self._drop()
            raise
        return True

    def _send_views(self) -> None:
        views = takewhile(lambda each: isinstance(each, memoryview), islice(self._backlog, _AT_ONCE))
        sent = self._socket.sendmsg(list(views), [], self._flags)  # type: ignore[arg-type]  # all are views
        while self._backlog and isinstance(view := self._backlog[0], memoryview):
            if sent < view.nbytes:
                self._backlog[0] = view[sent:]
                return
            sent -= view.nbytes
            self._backlog.popleft()

    def _drop(self) -> None:
        for each in self._backlog:
            if isinstance(each, list):
                _close_all(each)
        self._backlog.clear()

    def receive(self) -> bytearray:
        """Wait for the next message.

        Raises
        ------
        EOFError
            If the peer is gone, also in the middle of a message.
        OutOfMemoryError
            If there is no room for it; what follows cannot be read then.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > _LARGE:
            free, limit = available_memory()
            if length > free:
                raise OutOfMemoryError(
                    f"a message of {bytes_text(length)} does not fit into the {bytes_text(free)} that are "
                    f"free: {limit}",
                    detail=(length, free),
                    hint="return less per call or element, or write large results to files",
                )
        return self._read(length)

    def send_descriptors(self, descriptors: list[int]) -> None:
        """Give the peer its own copies of descriptors; call `receive_descriptors` there."""
        self._backlog.append([os.dup(each) for each in descriptors])  # the caller may close its own soon
        self.flush()

    def receive_descriptors(self, most: int = 8) -> list[int]:
        """Take what `send_descriptors` sends.

        Raises
        ------
        EOFError
            If the peer is gone.
        """
        data, descriptors, _, _ = socket.recv_fds(self._socket, 1, most)
        if not data:
            raise EOFError("the peer of a channel is gone")
        for each in descriptors:
            os.set_inheritable(each, False)  # programs that are called later
        return descriptors

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            try:
                count = self._socket.recv_into(view, 0, self._flags)
            except BlockingIOError:
                self._await_more()
                continue
            except ConnectionError as error:
                raise EOFError("the peer of a channel is gone") from error
            if not count:
                raise EOFError("the peer of a channel is gone")
            view = view[count:]
        return data

    def _await_more(self) -> None:
        poll = select.poll()
        for each in (self.fileno(), self.sentinel):
            if each is not None:
                poll.register(each, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll()]
        if ready == [self.sentinel]:
            raise EOFError("the peer of a channel is dead")

    def fileno(self) -> int:
        """Give the file descriptor, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end. May be called again."""
        self._drop()
        self._socket.close()


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        stat = os.fstat(descriptor)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _close_all(descriptors: list[int]) -> None:
    for each in descriptors:
        with contextlib.suppress(OSError):
            os.close(each)
