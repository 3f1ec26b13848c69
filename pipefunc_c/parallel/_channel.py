"""Messages between this process and one worker, over a pair of connected sockets."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from pipefunc_c._describe import bytes_text
from pipefunc_c._platform import available_memory
from pipefunc_c.exceptions import OutOfMemoryError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LENGTH = struct.Struct("<Q")
_LARGE = 64 << 20  # from here on the room for a message is looked at first


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
        socket.send_fds(self._socket, [b"d"], descriptors)

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
        return descriptors

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
