"""What functions print, log and warn of in worker processes arrives, and tears no bar."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings

import pytest
from map.alone import alone

from pipefunc_c import Pipeline, pipefunc

BOTH = pytest.mark.parametrize("threads", [False, True], ids=["forked", "served"])


@contextlib.contextmanager
def other_thread(wanted):
    """Let this process have a thread, so that its workers are not forked from it."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if wanted:
            thread.join()


@pipefunc("y", mapspec="x[i] -> y[i]")
def talk(x):
    print(f"x is {x}")
    if x == 3:
        os.system("echo from a program")
        logging.getLogger("lab.talk").info("at %s", x)
        warnings.warn("rough model", UserWarning, stacklevel=1)
    return os.getpid()


@pytest.mark.slow
@BOTH
@alone
def test_prints_logs_and_warnings_reach_the_parent(threads):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("lab").addHandler(handler)
    logging.getLogger("lab").setLevel(logging.INFO)
    with (
        other_thread(threads),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        pids = Pipeline([talk]).map({"x": range(20)})["y"].output
    assert os.getpid() not in pids
    lines = printed.getvalue().splitlines()
    assert sorted(lines) == sorted([*(f"x is {x}" for x in range(20)), "from a program"])
    assert [(each.name, each.getMessage()) for each in records] == [("lab.talk", "at 3")]
    assert [(str(each.message), each.category) for each in caught] == [("rough model", UserWarning)]


@pytest.mark.slow
@BOTH
@alone
def test_a_filter_that_makes_errors_of_warnings_holds_in_workers(threads):
    with other_thread(threads), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        with contextlib.suppress(UserWarning):
            Pipeline([talk]).map({"x": range(20)})
            raise AssertionError("the warning was no error")


@pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
def talk_and_fail(x):
    print(f"x is {x}")
    if x == 10:
        print("this is the last line", end="")
        raise ValueError("no")
    return x


@pytest.mark.slow
@BOTH
@alone
def test_what_was_printed_before_an_error_arrives(threads):
    with other_thread(threads), contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            Pipeline([talk_and_fail]).map({"x": range(20)})
        except ValueError:
            pass
        else:
            raise AssertionError
    assert "x is 10\n" in printed.getvalue()
    assert printed.getvalue().count("this is the last line") == 1


@pipefunc("y", mapspec="x[i] -> y[i]")
def chatter(x):
    for k in range(5000):
        print("a line of some length, again and again", x, k)
    return x


@pytest.mark.slow
@alone
def test_floods_are_cut_and_say_so():
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert Pipeline([chatter]).map({"x": range(20)})["y"].output.tolist() == list(range(20))
    text = printed.getvalue()
    notes = re.findall(r"\[([\d,]+) lines of output were left out here\]", text)
    assert len(text) < 2_500_000
    assert sum(int(each.replace(",", "")) for each in notes) + text.count("a line of some") == 100_000


@pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
def stuck_in_print(x):
    while True:
        print("x" * 1000)


@pytest.mark.slow
@alone
def test_a_flood_does_not_hold_up_an_interrupt():
    import _thread

    timer = threading.Timer(1.0, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(KeyboardInterrupt):
        Pipeline([stuck_in_print]).map({"x": range(2)})
        raise AssertionError
    assert time.monotonic() - began < 5
    timer.join()


LINES = """
import os, sys, threading, time
from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.parallel import WorkerPool

@pipefunc("y", mapspec="x[i] -> y[i]")
def talk(x):
    print("line", x)
    if x % 1000 == 0:
        print("part of line", x, end=" ")
        print("of error", x, file=sys.stderr, flush=True)
        print("and the rest of it")
    return x

crew = sys.argv[1]
if crew == "served":
    threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
pool = WorkerPool(2, start_method=crew) if crew in ("fork", "forkserver", "spawn") else None
print("begun")
Pipeline([talk]).map({"x": range(20_000)}, executor=pool, show_progress=False)
print("over")
"""


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("crew", ["own", "served", "fork", "forkserver", "spawn"])
def test_lines_that_workers_print_to_one_pipe_stay_whole(crew, unbuffered):
    done = subprocess.run(
        [sys.executable, "-c", LINES, crew],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    begun, *lines, over = done.stdout.splitlines()
    assert (begun, over) == ("begun", "over")
    wanted = [f"line {x}" for x in range(20_000)]
    wanted += [f"part of line {x} and the rest of it" for x in range(0, 20_000, 1000)]
    assert sorted(lines) == sorted(wanted)
    assert sorted(done.stderr.splitlines()) == sorted(f"of error {x}" for x in range(0, 20_000, 1000))


REST = """
import os, sys
from pipefunc_c import Pipeline, pipefunc

@pipefunc("y", mapspec="x[i] -> y[i]")
def talk(x):
    if x < 10:
        print(x, "has no end of line", end=";")
    print("flushed" * (x == 11), end="", flush=True)
    return x

@pipefunc("z", mapspec="y[i] -> z[i]")
def leave(y):
    if y == 500:
        os._exit(1)
    print(y)
    return y

results = Pipeline([talk, leave]).map({"x": range(1000)}, error_handling="continue")
assert "WorkerDied" in repr(results["z"].output[500])
"""


def test_what_has_no_end_of_line_arrives_and_a_worker_that_dies_repeats_nothing():
    done = subprocess.run([sys.executable, "-c", REST], capture_output=True, text=True, check=True)
    for x in range(10):
        assert done.stdout.count(f"{x} has no end of line;") == 1
    assert done.stdout.count("flushed") == 1
    numbers = re.findall(r"^\d+$", done.stdout, re.MULTILINE)
    assert len(set(numbers)) == len(numbers)
    assert {str(y) for y in range(600, 1000)} - set(numbers) == set()


SCRIPT = """
import os, sys, threading, time
from pipefunc_c import Pipeline, pipefunc

@pipefunc("y", mapspec="x[i] -> y[i]")
def talk(x):
    time.sleep(0.01)
    if x % 20 == 0:
        print(f"printed {x}")
    return x

if sys.argv[1] == "served":
    threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
Pipeline([talk]).map({"x": range(200)}, show_progress=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["forked", "served"])
def test_prints_of_workers_stand_above_the_bars(how):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, how], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux tells so that the other side is closed
        while block := os.read(ours, 4096):
            shown += block
    assert process.wait() == 0
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    printed = [line for line in lines if "printed" in line]
    assert sorted(printed) == sorted(f"printed {x}" for x in range(0, 200, 20)), "each on a line of its own"
    assert "200/200" in lines[-1]
    assert any("running" in line for line in lines)
