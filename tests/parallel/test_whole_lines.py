from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c.parallel import _whole_lines
from pipefunc_c.parallel._whole_lines import (
    ATOMIC_BYTES,
    WholeLines,
    flush_streams,
    keep_lines_whole,
    whole_lines,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no worker processes")
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


class Ends:
    """A descriptor, and what was written to it: write by write."""

    def __init__(self):
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self.number = self._theirs.fileno()

    def writes(self):
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._ours.recv(1 << 20))
        return found

    def close(self):
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def ends():
    ends = Ends()
    yield ends
    ends.close()


piece = st.one_of(
    st.text("ab\n", max_size=20),
    st.builds(lambda text, count: text * count, st.sampled_from(["x", "line\n", "\n"]), st.integers(0, 6000)),
)


@given(st.lists(piece, max_size=8), st.booleans())
def test_each_write_ends_at_a_line_and_nothing_is_lost(pieces, flushes):
    ends = Ends()
    lines = WholeLines(ends.number, "<test>")
    for each in pieces:
        assert lines.write(each.encode()) == len(each)
        if flushes:
            lines.flush()
    before = ends.writes()
    lines.write_rest()
    after = ends.writes()
    ends.close()
    text = "".join(pieces).encode()
    assert b"".join(before + after) == text
    assert b"".join(before) == text[: text.rfind(b"\n") + 1]
    assert after in ([], [text[text.rfind(b"\n") + 1 :]])
    for each in before:
        assert each.endswith(b"\n")
        assert len(each) <= ATOMIC_BYTES or each.count(b"\n") == 1


def test_a_print_is_one_write(ends):
    stream = whole_lines(ends.number, "test", encoding="utf-8", line_buffering=True)
    print("line", 7, file=stream)
    print("no end", end="", file=stream, flush=True)
    print(" of it, until now", file=stream)
    assert ends.writes() == [b"line 7\n", b"no end of it, until now\n"]


def test_many_prints_are_few_writes(ends):
    stream = whole_lines(ends.number, "test", encoding="utf-8")
    for k in range(2000):
        print("line", k, file=stream)
    stream.flush()
    writes = ends.writes()
    assert b"".join(writes) == b"".join(b"line %d\n" % k for k in range(2000))
    assert len(writes) <= 10


def test_a_bar_that_is_drawn_again_is_seen(ends):
    lines = WholeLines(ends.number, "<test>")
    for each in (b"\r10 %", b"\r20 %", b"\r30 %"):
        lines.write(each)
    assert b"".join(ends.writes()) == b"\r10 %\r20 %\r"
    lines.write(b"\r")  # half the end of a line, perhaps
    lines.write(b"\nnext\r\n")
    assert ends.writes() == [b"30 %\r\nnext\r\n"]


def test_a_line_without_end_is_not_kept_for_ever(ends, monkeypatch):
    monkeypatch.setattr(_whole_lines, "MAX_REST_BYTES", 1000)
    lines = WholeLines(ends.number, "<test>")
    for _ in range(11):
        lines.write(b"x" * 100)
    assert ends.writes() == [b"x" * 1100]


def test_a_descriptor_that_does_not_wait_loses_nothing():
    read, write = os.pipe()
    os.set_blocking(write, False)
    lines, received = WholeLines(write, "<test>"), []

    def receive():
        while block := os.read(read, 1 << 16):
            received.append(block)

    reader = threading.Thread(target=receive)
    text = b"".join(b"line %d\n" % k for k in range(100_000))
    writer = threading.Thread(target=lambda: (lines.write(text), os.close(write)))
    writer.start()
    reader.start()
    writer.join(20)
    reader.join(20)
    assert b"".join(received) == text
    os.close(read)


def test_threads_do_not_mix_lines(ends):
    lines = WholeLines(ends.number, "<test>")

    def work(name):
        for k in range(500):
            lines.write(b"%s %d begins, " % (name, k))
            lines.write(b"and ends\n" * 3)

    threads = [threading.Thread(target=work, args=(name,)) for name in (b"a", b"b")]
    received = []
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        received += ends.writes()
    received += ends.writes()
    text = b"".join(received)
    assert text.count(b"\n") == 3000
    assert text.count(b"begins, ") == 1000


@forks
def test_processes_share_a_pipe():
    read, write = os.pipe()
    children = []
    for name in "ab":
        pid = os.fork()
        if pid == 0:
            try:
                os.close(read)
                stream = whole_lines(write, "test", encoding="utf-8")
                for k in range(20_000):
                    print(name * 10, k, file=stream)
                stream.flush()
            finally:
                os._exit(0)
        children.append(pid)
    os.close(write)
    with open(read) as file:
        lines = file.read().splitlines()
    for pid in children:
        os.waitpid(pid, 0)
    assert sorted(lines) == sorted(f"{name * 10} {k}" for name in "ab" for k in range(20_000))


@forks
def test_a_fork_repeats_nothing_and_flushes_as_usual(ends):
    lines = WholeLines(ends.number, "<test>")
    lines.write(b"of the parent")
    with lines._lock:  # as another thread may, at that moment
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            lines.write(b"of the child")
            lines.flush()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    lines.write(b"\n")
    assert ends.writes() == [b"of the child", b"of the parent\n"]


class TestKeepLinesWhole:
    @pytest.fixture(autouse=True)
    def _streams(self, monkeypatch):
        monkeypatch.setattr(_whole_lines, "_replaced", [])

    @staticmethod
    def stream(number, **options):
        return io.TextIOWrapper(io.FileIO(number, "w", closefd=False), **options)

    def test_it_takes_the_place_of_the_stream(self, ends, monkeypatch):
        old = self.stream(ends.number, encoding="latin-1", errors="replace")
        monkeypatch.setattr(sys, "stdout", old)
        monkeypatch.setattr(sys, "__stdout__", old)
        keep_lines_whole(ends.number, "stdout")
        new = sys.stdout
        assert sys.__stdout__ is new is not old
        assert (new.encoding, new.errors, new.fileno(), new.name) == (
            "latin-1",
            "replace",
            ends.number,
            "<stdout>",
        )
        assert not new.isatty()
        print("ä €", end="")
        old.write("by who held the old one")
        assert ends.writes() == []
        flush_streams()
        assert ends.writes() == [b"\xe4 ?", b"by who held the old one"]

    def test_what_was_not_buffered_goes_out_line_by_line(self, ends, monkeypatch):
        monkeypatch.setattr(sys, "stdout", self.stream(ends.number, encoding="utf-8", write_through=True))
        keep_lines_whole(ends.number, "stdout")
        print("line", 1)
        print("line", 2)
        assert ends.writes() == [b"line 1\n", b"line 2\n"]

    def test_it_leaves_alone_what_it_does_not_know(self, ends, monkeypatch):
        other = self.stream(os.dup(ends.number), encoding="utf-8")
        wide = self.stream(ends.number, encoding="utf-16")
        memory = io.StringIO()
        for stream in (None, memory, other, wide):
            monkeypatch.setattr(sys, "stdout", stream)
            keep_lines_whole(ends.number, "stdout")
            assert sys.stdout is stream
        os.close(other.fileno())

    def test_a_terminal_is_left_alone(self, monkeypatch):
        pty = pytest.importorskip("pty")
        ours, theirs = pty.openpty()
        for write_through in (False, True):
            stream = self.stream(theirs, encoding="utf-8", write_through=write_through)
            monkeypatch.setattr(sys, "stdout", stream)
            keep_lines_whole(theirs, "stdout")
            assert (sys.stdout is stream) is not write_through
        os.close(ours)
        os.close(theirs)
