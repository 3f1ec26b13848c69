"""What a map in worker processes sends and pickles: counts, the same on every run of the same work."""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import numpy as np

import pipefunc_c
from benchmarks import workloads

SLOTS = 4096  # each process counts in a slot of its own
COUNTER = struct.Struct("Q")
FRAME = 8  # the length that goes before each message


@dataclass
class Traffic:
    """The messages of one map, as the parent saw them, in bytes, and the pickles of all its processes."""

    leases: list[int] = field(default_factory=list)
    stages: list[int] = field(default_factory=list)
    reports: list[int] = field(default_factory=list)
    pickles: int = 0


def bytes_per_lease(traffic):
    """Return the mean length of a lease and its report."""
    return (sum(traffic.leases) + sum(traffic.reports)) / len(traffic.leases)


@contextmanager
def counted_messages(traffic):
    """Count the messages that this process sends and receives."""
    from pipefunc_c.map._processes.messages import LEASE, STAGE
    from pipefunc_c.parallel._channel import Channel

    send, receive, parent = Channel.send, Channel.receive, os.getpid()

    def counting_send(channel, *parts):
        if os.getpid() == parent:
            kind = bytes(parts[0][:1])[0]
            counts = {LEASE: traffic.leases, STAGE: traffic.stages}.get(kind, [])
            counts.append(FRAME + sum(map(len, parts)))
        send(channel, *parts)

    def counting_receive(channel):
        data = receive(channel)
        if os.getpid() == parent:
            traffic.reports.append(FRAME + len(data))
        return data

    with mock.patch.multiple(Channel, send=counting_send, receive=counting_receive):
        yield


@contextmanager
def counted_pickles(traffic):
    """Count what this process and its children pickle and unpickle."""
    counters = mmap.mmap(-1, SLOTS * COUNTER.size)

    def counting(function):
        def call(*arguments, **options):
            place = os.getpid() % SLOTS * COUNTER.size
            (count,) = COUNTER.unpack_from(counters, place)
            COUNTER.pack_into(counters, place, count + 1)
            return function(*arguments, **options)

        return call

    names = ("dump", "dumps", "load", "loads")
    with mock.patch.multiple(pickle, **{name: counting(getattr(pickle, name)) for name in names}):
        yield
    traffic.pickles = sum(count for (count,) in COUNTER.iter_unpack(counters))
    counters.close()


def scale(x, table):
    """Use a large constant."""
    return table[0] * x


def traffic_of(elements, constant_bytes=0):
    """Map numbers in workers; return what was sent and pickled."""
    pipeline, inputs = workloads.element_wise(pipefunc_c, workloads.double), {"x": np.ones(elements)}
    if constant_bytes:
        pipeline = workloads.element_wise(pipefunc_c, scale)
        inputs["table"] = np.ones(constant_bytes // 8)
    traffic = Traffic()
    with counted_messages(traffic), counted_pickles(traffic):
        workloads.map_in_workers(pipeline, inputs)
    return traffic
