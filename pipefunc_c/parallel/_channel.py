"""Messages between this process and one worker, over a pair of connected sockets."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LENGTH = struct.Struct("<Q")


class Channel:
    """Send and receive whole messages; the peer is a process that we started ourselves.

    Parameters
    ----------
    connection
        One end of a connected stream socket.

    Examples
    --------
    >>> ours, theirs = Channel.pair()
    >>> ours.send(b"two ", b"parts")
    >>> bytes(theirs.receive())
    b'two parts'
    >>> ours.close()
    >>> theirs.close()
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make two channels that are connected with each other."""
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    def send(self, *parts: Buffer) -> None:
        """Send one message, made of all parts.

        Raises
        ------
        BrokenPipeError, ConnectionError
            If the peer is gone.
        """
        views = [memoryview(part).cast("B") for part in parts]
        pending = [memoryview(_LENGTH.pack(sum(view.nbytes for view in views))), *views]
        while pending:
            sent = self._socket.sendmsg(pending[:64])
            while pending and sent >= pending[0].nbytes:
                sent -= pending.pop(0).nbytes
            if pending:
                pending[0] = pending[0][sent:]

    def receive(self) -> bytearray:
        """Wait for the next message.

        Raises
        ------
        EOFError
            If the peer is gone, also in the middle of a message.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return self._read(length)

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            try:
                count = self._socket.recv_into(view)
            except ConnectionError as error:
                raise EOFError("the peer of a channel is gone") from error
            if not count:
                raise EOFError("the peer of a channel is gone")
            view = view[count:]
        return data

    def fileno(self) -> int:
        """Give the file descriptor, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end. May be called again."""
        self._socket.close()
