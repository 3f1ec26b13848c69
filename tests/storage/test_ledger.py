from __future__ import annotations

import errno
import itertools
import os
import struct
import subprocess
import sys
import tempfile
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._kernels.column import Column
from pipefunc_c._storage import ledger
from pipefunc_c._storage.commits import Committer, restore
from pipefunc_c._storage.ledger import LedgerWriter
from pipefunc_c._storage.packing import pack
from pipefunc_c._storage.records import (
    CELLS,
    OBJECTS,
    Output,
    Part,
    Record,
    decode_records,
    encode_record,
    read_ledgers,
)
from pipefunc_c.exceptions import OperationError, RunFolderWriteError

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

unsigned = st.integers(0, 2**64 - 1)
signed = st.integers(0, 2**63 - 1)
parts = st.builds(
    Part, st.integers(0, 255), signed, signed, unsigned, unsigned, unsigned, st.integers(0, 2**32 - 1)
)
outputs = st.builds(
    Output,
    st.sampled_from(["", "<f8", "|i1"]),
    st.lists(signed, max_size=3).map(tuple),
    st.lists(parts, max_size=3).map(tuple),
)
records = st.builds(
    Record, unsigned, st.just("writer"), unsigned, st.integers(0, 2**32 - 1), signed, signed,
    st.lists(outputs, max_size=3).map(tuple),
)  # fmt: skip


def numbers(n=4, at=0.5):
    column = Column(n)
    for index in range(n):
        column.store(index, at + index)
    return column


def packed(column):
    return [pack(column, 0, column.size)]


# -- records -------------------------------------------------------------------------------------------


@given(st.lists(records, max_size=4))
def test_records_come_back(written):
    data = b"".join(map(encode_record, written))
    assert [record for record, _ in decode_records(data, "writer")] == written
    assert list(decode_records(data, "someone else")) == []


@given(record=records, before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_a_record_is_found_among_garbage(record, before, after):
    data = before + encode_record(record) + after + encode_record(record)
    found = [record for record, _ in decode_records(data, "writer")]
    assert found == [record, record]


@given(record=records, data=st.data())
def test_a_torn_or_flipped_record_is_none(record, data):
    whole = encode_record(record)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert list(decode_records(whole[:cut], "writer")) == []
    flipped = bytearray(whole)
    flipped[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert list(decode_records(bytes(flipped), "writer")) == []


def test_a_record_of_another_version_is_passed_over():
    record = Record(0, "w", 0, 0, 0, 1, ())
    data = bytearray(encode_record(record))
    data[4] += 1
    data[-4:] = struct.pack("<I", zlib.crc32(data[:-4]))
    assert list(decode_records(bytes(data) + encode_record(record), "w"))[0][0] == record


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab")), max_size=8))
def test_records_are_ordered_by_attempt_writer_and_sequence(commits):
    with tempfile.TemporaryDirectory() as folder:
        writers = {name: LedgerWriter(folder, name) for name in "ab"}
        expected, sequences = [], {"a": 0, "b": 0}
        for attempt, name in commits:
            writers[name].append(0, attempt, packed(numbers(1)))
            expected.append((attempt, name, sequences[name]))
            sequences[name] += 1
        assert [record[:3] for record in read_ledgers(folder)] == sorted(expected)


# -- the writer ----------------------------------------------------------------------------------------


def test_one_pair_of_files_per_writer(tmp_path):
    writer = LedgerWriter(tmp_path, "w")
    for _ in range(5):
        writer.append(0, 0, packed(numbers()))
    writer.close()
    writer.close()
    assert sorted(path.name for path in (tmp_path / "commits").iterdir()) == ["w.data", "w.ledger"]
    assert (tmp_path / "commits" / "w.data").stat().st_size == 5 * 4 * 8


def test_a_name_that_is_taken_is_made_unique(tmp_path):
    (tmp_path / "commits").mkdir()
    (tmp_path / "commits" / "w-1.data").write_bytes(b"left over")
    writers = [LedgerWriter(tmp_path, "w") for _ in range(3)]
    assert [writer.writer for writer in writers] == ["w", "w-2", "w-3"]
    assert (tmp_path / "commits" / "w-1.data").read_bytes() == b"left over"


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_a_name_that_is_none(tmp_path, name):
    with pytest.raises(ValueError, match="writer name") as caught:
        LedgerWriter(tmp_path, name)
    assert repr(name) in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "commits").write_text("a file")
    with pytest.raises(OSError, match="commits") as caught:
        LedgerWriter(tmp_path, "w")
    assert isinstance(caught.value, RunFolderWriteError)
    assert "a file is where the folder is to be" in str(caught.value)


@pytest.mark.parametrize(
    ("number", "said", "unsaid"),
    [
        (errno.ENOSPC, ["are free there", "make room"], "see to"),
        (errno.EDQUOT, ["are free there", "make room"], "see to"),
        (errno.EIO, ["see to the folder"], "free there"),
        (errno.EROFS, ["see to the folder"], "make room"),
    ],
    ids=["full", "quota", "broken", "read-only"],
)
def test_only_a_full_disk_needs_room(tmp_path, monkeypatch, number, said, unsaid):
    writer = LedgerWriter(tmp_path, "w")

    def pwrite(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(RunFolderWriteError) as caught:
        writer.append(0, 0, packed(numbers(2)))
    assert caught.value.errno == number
    assert all(each in str(caught.value) for each in said)
    assert unsaid not in str(caught.value)


def test_a_closed_writer(tmp_path):
    writer = LedgerWriter(tmp_path, "w")
    writer.close()
    with pytest.raises(OperationError, match="closed"):
        writer.append(0, 0, packed(numbers()))


@pytest.mark.parametrize(
    ("sync", "expected"), [(None, 0), (0.0, 4), (1000.0, 2)], ids=["never", "always", "at the end"]
)
def test_sync(tmp_path, monkeypatch, sync, expected):
    calls = []
    monkeypatch.setattr(os, "fdatasync", calls.append, raising=False)
    writer = LedgerWriter(tmp_path, "w", sync)
    data, records_ = writer._descriptors
    writer.append(0, 0, packed(numbers()))
    writer.close()
    assert calls == [data, records_] * (expected // 2)


def test_large_writes_come_in_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "_MAX_WRITE", 5)
    writer = LedgerWriter(tmp_path, "w")
    writer.append(0, 0, packed(numbers()))
    other = Column(4)
    assert restore(tmp_path, {0: [other]})[0].all()
    assert other.objects().tolist() == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize("which", ["data", "record"])
@pytest.mark.parametrize("how", ["error", "short", "nothing"])
def test_a_write_that_fails_leaves_nothing_and_the_next_one_works(tmp_path, monkeypatch, which, how):
    writer = LedgerWriter(tmp_path, "w")
    writer.append(0, 0, packed(numbers(2)))
    real, failing = os.pwrite, writer._descriptors[which == "record"]
    failed = []

    def pwrite(descriptor, data, offset):
        if descriptor != failing:
            return real(descriptor, data, offset)
        if how == "nothing":
            return 0
        if how == "error" or failed:
            raise OSError(errno.ENOSPC, "No space left on device")
        failed.append(True)
        return real(descriptor, data[:7], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space left") as caught:
        writer.append(0, 0, packed(numbers(4, 10.5)))
    monkeypatch.undo()
    assert isinstance(caught.value, RunFolderWriteError)
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "commits" / "w.data").stat().st_size == (16 if which == "data" else 48)
    assert len((tmp_path / "commits" / "w.ledger").read_bytes()) == writer._ledger_end
    assert f"w.{'data' if which == 'data' else 'ledger'}" in str(caught.value)
    column = Column(4)
    assert restore(tmp_path, {0: [column]})[0].tolist() == [True, True, False, False]
    assert column.objects().tolist() == [0.5, 1.5, None, None]
    writer.append(0, 0, packed(numbers(4, 20.5)))
    assert restore(tmp_path, {0: [column]})[0].all()
    assert column.load(3) == 23.5


@fork
@pytest.mark.timeout(30)
def test_a_forked_child_does_not_write_through_the_writer(tmp_path):
    writer = LedgerWriter(tmp_path, "w")
    committer = Committer(tmp_path, "c")
    committer.commit(0, 0, 1, 0, [numbers(1)])
    unused = Committer(tmp_path, "u")
    pid = os.fork()
    if pid == 0:
        code = 0
        for use in (
            lambda: writer.append(0, 0, packed(numbers(1))),
            writer.flush,
            lambda: committer.commit(0, 0, 1, 0, [numbers(1)]),
            lambda: unused.commit(0, 0, 1, 0, [numbers(1)]),
        ):
            try:
                use()
                code = 1
            except OperationError:
                pass
        writer.close()
        committer.close()
        os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    writer.append(0, 0, packed(numbers(1)))
    assert len(read_ledgers(tmp_path)) == 2


@pytest.mark.timeout(60)
def test_two_writers_at_once(tmp_path):
    program = (
        "import sys\n"
        "from pipefunc_c._kernels.column import Column\n"
        "from pipefunc_c._storage.commits import Committer\n"
        "column, own = Column(400), int(sys.argv[2])\n"
        "committer = Committer(sys.argv[1], 'same')\n"
        "for index in range(own, 400, 2):\n"
        "    column.store(index, index if index % 4 else str(index))\n"
        "    committer.commit(0, index, index + 1, 0, [column])\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen([*command, str(own)]) for own in (0, 1)]
    assert [process.wait(timeout=50) for process in running] == [0, 0]
    column = Column(400)
    assert restore(tmp_path, {0: [column]})[0].all()
    assert column.objects().tolist() == [index if index % 4 else str(index) for index in range(400)]


def commit_until_full(committer, column, attempts):
    for attempt in itertools.islice(attempts, 100):
        committer.commit(0, 0, column.size, attempt, [column])


@pytest.mark.timeout(60)
def test_a_full_disk(tmp_path, leave_out):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        leave_out("no mount program: a small disk cannot be made")
    if done.returncode:
        leave_out(f"mounting is not permitted: {done.stderr}")
    try:
        committer = Committer(disk, "w")
        column = numbers(20_000)
        attempts = itertools.count()
        with pytest.raises(OSError, match=r"w\.data|w\.ledger") as caught:
            commit_until_full(committer, column, attempts)
        committed = next(attempts) - 1
        assert caught.value.errno == errno.ENOSPC
        assert "; 0 bytes are free" in str(caught.value)  # when it failed, not afterwards
        assert "resume=True" in caught.value.hint
        assert 0 < committed < 10
        other = Column(20_000)
        assert restore(disk, {0: [other]})[0].all()
        assert np.array_equal(other.cells, column.cells)
        assert len(read_ledgers(disk)) == committed
        committer.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], timeout=20, check=False)


@pytest.mark.timeout(60)
def test_readers_while_a_writer_appends(tmp_path):
    writer, failures = LedgerWriter(tmp_path, "w"), []
    done = threading.Event()

    def read():
        while not done.is_set():
            column = Column(4)
            present = restore(tmp_path, {0: [column]})[0]
            values = column.objects().tolist()
            if present.any() and [value - values[0] for value in values] != [0, 1, 2, 3]:
                failures.append(values)

    reader = threading.Thread(target=read)
    reader.start()
    for attempt in range(200):
        writer.append(0, attempt, packed(numbers(4, attempt)))
    done.set()
    reader.join()
    assert failures == []


def test_the_parts_of_a_record(tmp_path):
    column = Column(3)
    for index, value in enumerate([1.5, "a", 2.5]):
        column.store(index, value)
    LedgerWriter(tmp_path, "w").append(4, 2, packed(column))
    [record] = read_ledgers(tmp_path)
    assert (record.stage, record.start, record.stop, record.attempt, record.writer) == (4, 0, 3, 2, "w")
    [output] = record.outputs
    kinds = [part.kind for part in output.parts]
    assert kinds[1:] == [CELLS, OBJECTS]
    assert (output.parts[-1].first, output.parts[-1].last) == (1, 2)
    assert output.parts[-1].offset == output.parts[1].offset + output.parts[1].length
