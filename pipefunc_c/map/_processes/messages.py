"""The messages between the driver of a run and its workers; a lease is tens of bytes, whatever the sweep."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c.map._engine.scheduler import Lease

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from pipefunc_c._storage.home import SharedHome

STAGE, LEASE, END, STAGE_REGION = 1, 2, 3, 4
# Longer ones go through shared memory: a worker that sends a report does not read what it is sent.
MAX_MESSAGE = 4096
_REGION = struct.Struct("<BQQ")
_LEASE = struct.Struct("<BIIQQIdI")
_REPORT = struct.Struct("<QQQdQ")


@dataclass(frozen=True)
class Report:
    """What a worker says when a lease is over.

    Parameters
    ----------
    reached
        First index that is not done; the one that failed, if there is an error.
    failed
        Elements whose error was stored.
    seconds
        Time that the lease took in the worker.
    objects
        Objects and errors of the lease, packed; empty if there are none.
    error
        What stopped the lease, pickled; empty if nothing did.
    """

    reached: int
    failed: int
    seconds: float
    objects: bytes = b""
    error: bytes = b""

    def parts(self) -> tuple[bytes, ...]:
        """Give the parts of the message."""
        header = _REPORT.pack(self.reached, self.failed, len(self.objects), self.seconds, len(self.error))
        return header, self.objects, self.error

    @classmethod
    def read(cls, data: Buffer) -> Report:
        """Read a message that ``parts`` made."""
        view = memoryview(data)
        reached, failed, n_objects, seconds, n_error = _REPORT.unpack_from(view)
        begin = _REPORT.size
        objects, error = view[begin : begin + n_objects], view[begin + n_objects :]
        assert error.nbytes == n_error
        return cls(reached, failed, seconds, bytes(objects), bytes(error))


def write_lease(lease: Lease, seconds: float, slot: int) -> bytes:
    """Give the message that grants a lease; ``slot`` is where the worker says what it is at."""
    return _LEASE.pack(LEASE, lease.run, lease.stage, lease.start, lease.stop, lease.attempt, seconds, slot)


def read_lease(data: Buffer) -> tuple[Lease, float, int]:
    """Read a message that ``write_lease`` made: lease, seconds, slot."""
    _, run, stage, start, stop, attempt, seconds, slot = _LEASE.unpack(data)
    return Lease(run, stage, start, stop, attempt), seconds, slot


def write_stage(news: Any, home: SharedHome) -> bytes:
    """Give the message that announces a stage or what became known of it."""
    data = pickle.dumps(news, protocol=pickle.HIGHEST_PROTOCOL)
    if len(data) <= MAX_MESSAGE:
        return bytes([STAGE]) + data
    home.allocate(len(data))[:] = np.frombuffer(data, dtype=np.uint8)
    return _REGION.pack(STAGE_REGION, home.last_offset, len(data))


def read_stage(data: Buffer, home: SharedHome | None) -> Any:
    """Read a message that ``write_stage`` made."""
    view = memoryview(data)
    if view[0] == STAGE:
        return pickle.loads(view[1:])
    _, offset, length = _REGION.unpack(view)
    assert home is not None
    return pickle.loads(home.attach(offset, length).tobytes())
