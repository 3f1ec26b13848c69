from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import subprocess
import sys
import warnings

import pytest

from pipefunc_c.parallel import _output
from pipefunc_c.parallel._output import BURST_BYTES, BYTES_PER_SECOND, OutputRelay, RateLimit

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no worker processes")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class TestRateLimit:
    def test_little_passes(self):
        clock = Clock()
        limit = RateLimit(clock)
        for k in range(100):
            clock.now += 1
            assert limit.admit(f"line {k}\n" * 1000) == f"line {k}\n" * 1000

    def test_much_is_left_out_and_counted(self):
        clock = Clock()
        limit = RateLimit(clock)
        block = "x" * 99 + "\n"
        passed = sum(len(limit.admit(block * 100)) for _ in range(1000))
        assert passed <= BURST_BYTES
        assert limit.left_out == 100_000 - passed // 100
        clock.now += 10
        note, newline, text = limit.admit("more\n").partition("\n")
        assert note == f"[{100_000 - passed // 100:,} lines of output were left out here]"
        assert (newline, text, limit.left_out) == ("\n", "more\n", 0)

    def test_over_time_the_rate_holds(self):
        clock = Clock()
        limit = RateLimit(clock)
        passed = 0
        for _ in range(1000):
            clock.now += 0.01
            passed += len(limit.admit("x" * 9_999 + "\n"))
        assert passed <= BURST_BYTES + 10 * BYTES_PER_SECOND + 1000 * 60
        assert passed >= 5 * BYTES_PER_SECOND


def in_child(relay, action):
    """Do something in a fork that is a worker of the relay; give its exit code."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            relay.enter()
            action()
            status = 0
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def relay(capsys):
    relay = OutputRelay()
    yield relay
    relay.close()


# pytest has threads of its own at times; the children do little and end.
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@forks
class TestPrints:
    def test_both_streams(self, relay, capsys):
        def action():
            print("out", 1)
            print("err", 2, file=sys.stderr)

        assert in_child(relay, action) == 0
        relay.drain()
        assert capsys.readouterr() == ("out 1\n", "err 2\n")

    def test_programs_and_descriptors(self, relay, capsys):
        def action():
            os.write(1, b"by number\n")
            subprocess.run(["echo", "by a program"], check=True)

        assert in_child(relay, action) == 0
        relay.drain()
        assert capsys.readouterr().out == "by number\nby a program\n"

    def test_what_was_said_before_a_crash(self, relay, capsys):
        def action():
            print("last words")
            os.kill(os.getpid(), 9)

        assert in_child(relay, action) == -9
        relay.drain()
        assert capsys.readouterr().out == "last words\n"

    def test_lines_are_kept_whole(self, relay, capsys):
        assert in_child(relay, lambda: os.write(1, b"first\nsec")) == 0
        relay.drain()
        assert capsys.readouterr().out == "first\n"
        assert in_child(relay, lambda: os.write(1, b"ond\nthird")) == 0
        relay.close()
        assert capsys.readouterr().out == "second\nthird"

    def test_text_that_is_none(self, relay, capsys):
        assert in_child(relay, lambda: (os.write(1, b"\xff\xfe\n"), print("ü €", "\ud800"))) == 0
        relay.drain()
        assert capsys.readouterr().out == "\\xff\\xfe\nü € \\ud800\n"

    def test_a_line_that_never_ends(self, relay, capsys, monkeypatch):
        monkeypatch.setattr(_output, "BLOCK_BYTES", 1000)
        assert in_child(relay, lambda: os.write(1, b"x" * 3000)) == 0
        relay.drain()
        assert len(capsys.readouterr().out) >= 1000

    def test_a_stream_that_fails_is_no_matter(self, relay, monkeypatch):
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, "stdout", closed)
        assert in_child(relay, lambda: print("unheard")) == 0
        relay.drain()


class Keep(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def keep():
    handler, logger = Keep(), logging.getLogger("tests.output")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def log_things():
    logger = logging.getLogger("tests.output")
    logger.debug("too quiet")
    logger.info("%d of %d", 1, 2, extra={"unpicklable": lambda: 0, "kept": 3})
    try:
        raise LookupError("lost")
    except LookupError:
        logger.exception("it failed")
    logger.warning("x" * 1_000_000)


@forks
class TestRecords:
    def test_log_records_come_to_the_handlers_of_the_parent(self, relay, keep):
        assert in_child(relay, log_things) == 0
        relay.drain()
        first, failed, long = keep.records
        assert (first.getMessage(), first.levelname, first.name) == ("1 of 2", "INFO", "tests.output")
        assert first.process != os.getpid()
        assert first.kept == 3
        assert "LookupError: lost" in failed.exc_text
        assert long.getMessage().startswith("xxxx")
        assert long.getMessage().endswith("... (cut)")

    def test_a_handler_that_fails_is_no_matter(self, relay, keep, monkeypatch):
        monkeypatch.setattr(keep, "emit", lambda record: 1 / 0)
        assert in_child(relay, lambda: logging.getLogger("tests.output").info("hello")) == 0
        relay.drain()

    def test_a_warning_comes_once(self, relay):
        class OwnWarning(UserWarning):
            pass

        def action():
            warnings.simplefilter("always")
            for _ in range(3):
                warnings.warn("careful", UserWarning, stacklevel=1)
            warnings.warn(OwnWarning("of a class that has no module"), stacklevel=1)

        with warnings.catch_warnings(record=True) as caught:
            assert in_child(relay, action) == 0
            assert in_child(relay, action) == 0
            relay.drain()
        assert [str(each.message) for each in caught] == ["careful", "of a class that has no module"]
        assert caught[0].filename == __file__

    def test_who_is_no_fork_gets_levels_and_filters(self, capsys, keep):
        program = (
            "import sys, logging, warnings; from pipefunc_c.parallel._output import enter_relay\n"
            "enter_relay(bytes.fromhex(sys.argv[1]), [int(each) for each in sys.argv[2:]])\n"
            "logger = logging.getLogger('tests.output'); logger.debug('no'); logger.info('yes')\n"
            "print('printed')\n"
            "warnings.warn('ignored', ImportWarning)\n"
            "try:\n    warnings.warn('raised', UserWarning)\n"
            "except UserWarning as error:\n    print('raised', error, file=sys.stderr)\n"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ImportWarning)
            relay = OutputRelay()
            numbers = relay.descriptors()
            command = [sys.executable, "-c", program, relay.recipe().hex(), *map(str, numbers)]
            subprocess.run(command, pass_fds=numbers, check=True, timeout=60)
        relay.close()
        assert capsys.readouterr() == ("printed\n", "raised raised\n")
        assert [record.getMessage() for record in keep.records] == ["yes"]

    def test_the_recipe_is_small_and_plain(self, relay):
        names, *_ = pickle.loads(relay.recipe())
        assert names == ("stdout", "stderr")
        assert len(relay.recipe()) < 100_000


class TestWhatIsRelayed:
    def test_a_stream_that_is_no_descriptor_of_the_system_and_one_that_is_none(self, monkeypatch, tmp_path):
        with open(tmp_path / "out", "w") as file:
            monkeypatch.setattr(sys, "stdout", file)
            monkeypatch.setattr(sys, "stderr", None)
            relay = OutputRelay()
            assert list(relay._pipes) == ["stdout"]  # the file is not descriptor 1
            relay.close()

    def test_a_plain_script(self):
        program = (
            "from pipefunc_c.parallel._output import OutputRelay; relay = OutputRelay(redraws=True); "
            "print(list(relay._pipes), len(relay.sources)); relay.close(); relay.close()"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "[] 1\n"

    def test_nothing_stays_open(self, capsys):
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for _ in range(20):
            relay = OutputRelay()
            relay.close()
        after = len(os.listdir("/proc/self/fd")) if before else 0
        assert after == before
