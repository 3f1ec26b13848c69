from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import warnings

import pytest

from pipefunc_c.map._progress import progress_bars as progress_bars_module
from pipefunc_c.map._progress.progress import LiveProgress
from pipefunc_c.map._progress.progress_bars import RichBars, Screen

rich_console = pytest.importorskip("rich.console")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=[False, True], ids=["file", "terminal"])
def console(request):
    return rich_console.Console(file=io.StringIO(), force_terminal=request.param, width=120)


@pytest.fixture
def terminal():
    return rich_console.Console(file=io.StringIO(), force_terminal=True, width=120)


@pytest.fixture(autouse=True)
def nothing_stays_up():
    yield
    assert Screen._current is None, "a test left its display up"


def bars(stages, console, clock):
    return LiveProgress(stages, [RichBars(console)], clock=clock)


def last_lines(console, n):
    """What is on the screen at the end, without colours."""
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue()).replace("\r", "\n").split("\n")
    return [line.rstrip() for line in lines if line.strip()][-n:]


class TestRich:
    def test_last_state_stays(self, console, clock):
        progress = bars([("y", 100), ("a, b", None), ("never", 5)], console, clock)
        progress.start()
        for k in range(10):
            clock.now += 0.5
            progress.update(0, 10 * (k + 1), 0)
        clock.now += 1
        progress.update(1, 2000, 3)
        progress.set_total(1, 4000)
        clock.now += 1
        progress.finish(error=False)
        y, z = last_lines(console, 2)
        assert re.search(r"^y .* 100/100 .*20\.0/s .*0:00:05", y)
        assert re.search(r"^a, b .* 2000/4000 .*1\.0k/s .*0:00:02.* 3 failed$", z)
        assert "never" not in console.file.getvalue()

    def test_rate_of_a_stage_that_is_over_stays(self, terminal, clock):
        progress = bars([("y", 100), ("z", 9)], terminal, clock)
        progress.start()
        clock.now += 1
        progress.update(0, 50, 0)
        clock.now += 0.01  # too soon to be drawn
        progress.update(0, 100, 0)
        clock.now += 50
        progress.update(1, 9, 0)
        progress.finish(error=False)
        assert "99.0/s" in last_lines(terminal, 2)[0]

    def test_nothing_is_written_to_a_file_before_the_end(self, clock):
        console = rich_console.Console(file=io.StringIO(), force_terminal=False, width=120)
        progress = bars([("y", 100)], console, clock)
        progress.start()
        for k in range(50):
            clock.now += 1
            progress.update(0, k + 1, 0)
        assert console.file.getvalue() == ""
        progress.finish(error=False)
        assert console.file.getvalue().count("\n") == 1

    def test_error_marks_what_was_not_done(self, console, clock):
        progress = bars([("y", 2), ("z", 3)], console, clock)
        progress.start()
        progress.update(0, 2, 0)
        progress.update(1, 1, 1)
        progress.finish(error=True)
        y, z = last_lines(console, 2)
        assert "stopped" not in y
        assert z.endswith("1 failed, stopped")

    def test_name_that_looks_like_markup(self, console, clock):
        progress = bars([("x[bold]", 2)], console, clock)
        progress.start()
        progress.update(0, 2, 0)
        progress.finish(error=False)
        assert last_lines(console, 1)[0].startswith("x[bold] ")

    def test_a_million_updates_draw_ten_times_a_second(self, terminal, clock, monkeypatch):
        progress = bars([("y", 1_000_000)], terminal, clock)
        progress.start()
        draws = []
        monkeypatch.setattr(progress._views[0]._screen.display, "refresh", lambda: draws.append(clock.now))
        for k in range(20_000):
            clock.now = 100 + k * 1e-4
            progress.update(0, 50 * (k + 1), 0)
        progress.finish(error=False)
        assert 18 <= len(draws) <= 21
        assert all(b - a >= 0.0999 for a, b in zip(draws, draws[1:], strict=False))

    def test_slow_drawing_becomes_rare(self, terminal, clock, monkeypatch):
        progress = bars([("y", None)], terminal, clock)
        progress.start()
        draws = []

        def draw():
            draws.append(clock.now)
            clock.now += 0.05

        monkeypatch.setattr(progress._views[0]._screen.display, "refresh", draw)
        for k in range(1000):
            clock.now += 0.01
            progress.update(0, k + 1, 0)
        progress.finish(error=False)
        assert len(draws) * 0.05 <= 0.015 * (clock.now - 100)

    def test_finished_bars_make_room(self, terminal, clock):
        n = progress_bars_module.MAX_BARS + 5
        progress = bars([(f"y{k}", 1) for k in range(n)], terminal, clock)
        progress.start()
        for k in range(n):
            clock.now += 1
            progress.update(k, 1, 0)
        visible = [task.description for task in progress._views[0]._screen.display.tasks if task.visible]
        progress.finish(error=False)
        assert visible == [f"y{k}" for k in range(5, n)]

    def test_start_and_finish_again(self, console, clock):
        progress = bars([("y", 2)], console, clock)
        progress.finish(error=False)
        progress.start()
        progress.start()
        progress.update(0, 2, 0)
        progress.finish(error=False)
        size = len(console.file.getvalue())
        progress.finish(error=True)
        progress.update(0, 1, 0)
        assert len(console.file.getvalue()) == size
        assert progress.statuses[0].n_completed == 1

    def test_second_display_counts_without_drawing(self, terminal, clock):
        other = rich_console.Console(file=io.StringIO(), force_terminal=True)
        outer = bars([("outer", 2)], terminal, clock)
        outer.start()
        inner = bars([("inner", 2)], other, clock)
        inner.start()
        inner.update(0, 2, 0)
        inner.finish(error=False)
        outer.update(0, 2, 0)
        outer.finish(error=False)
        assert other.file.getvalue() == ""
        assert inner.statuses[0].n_completed == 2
        assert "outer" in last_lines(terminal, 1)[0]


def test_maps_in_several_threads_share_the_screen(terminal, clock):
    other = rich_console.Console(file=io.StringIO(), force_terminal=True)
    first, second = bars([("first", 2)], terminal, clock), bars([("second", 2)], other, clock)
    first.start()
    thread = threading.Thread(target=second.start)
    thread.start()
    thread.join()
    clock.now += 1
    first.update(0, 2, 0)
    clock.now += 1
    second.update(0, 1, 0)
    clock.now += 1
    first.finish(error=False)
    assert Screen._current is not None
    second.update(0, 2, 0)
    second.finish(error=False)
    assert other.file.getvalue() == ""
    one, two = last_lines(terminal, 2)
    assert one.startswith("first ")
    assert two.startswith("second ")
    assert all("2/2" in each for each in (one, two))


class Broken(io.StringIO):
    """A stream that fails after a number of writes."""

    def __init__(self, left):
        super().__init__()
        self.left = left

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise OSError("the terminal is gone")
        return super().write(text)


class TestBrokenDisplay:
    @pytest.mark.parametrize("left", [0, 1, 3, 10])
    def test_warns_once_and_goes_on(self, left, clock):
        console = rich_console.Console(file=Broken(left), force_terminal=True)
        streams = sys.stdout, sys.stderr
        progress = bars([("y", 100), ("z", 100)], console, clock)

        def run():
            progress.start()
            for k in range(100):
                clock.now += 1
                progress.update(k % 2, k // 2 + 1, 0)
            progress.finish(error=False)

        with pytest.warns(RuntimeWarning, match="OSError: the terminal is gone") as caught:
            run()
        assert len(caught) == 1
        assert [status.n_completed for status in progress.statuses] == [50, 50]
        assert (sys.stdout, sys.stderr) == streams

    def test_goes_on_where_warnings_are_errors(self, clock):
        console = rich_console.Console(file=Broken(3), force_terminal=True)
        progress = bars([("y", 100)], console, clock)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            progress.start()
            for k in range(100):
                clock.now += 1
                progress.update(0, k + 1, 0)
            progress.finish(error=False)
        assert progress.statuses[0].n_completed == 100

    def test_interrupt_is_not_swallowed(self, terminal, clock, monkeypatch):
        progress = bars([("y", 100)], terminal, clock)
        progress.start()

        def interrupt():
            raise KeyboardInterrupt

        monkeypatch.setattr(progress._views[0]._screen.display, "refresh", interrupt)
        with pytest.raises(KeyboardInterrupt):
            progress.update(0, 1, 0)
        monkeypatch.undo()
        progress.finish(error=True)


SCRIPT = """
import sys
from pipefunc_c.map._progress.progress_choice import make_progress
progress = make_progress(True, [("y", 30)])
progress.start()
for k in range(30):
    progress.update(0, k + 1, 0)
    print("printed", k)
progress.finish(False)
"""


def run_on_terminal(stdout):
    """Run the script with standard error on a terminal; give what the terminal got."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", SCRIPT]
    process = subprocess.Popen(command, stdout=stdout or theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # Linux tells so that the other side is closed
        pass
    assert process.wait() == 0
    os.close(ours)
    return shown.decode()


@pytest.mark.slow
def test_prints_stay_in_their_file(tmp_path):
    with open(tmp_path / "out", "wb") as out:
        shown = run_on_terminal(out)
    assert (tmp_path / "out").read_text() == "".join(f"printed {k}\n" for k in range(30))
    assert "30/30" in shown
    assert "printed" not in shown


@pytest.mark.slow
def test_prints_stand_above_the_bars():
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", run_on_terminal(None)).replace("\r", "\n")
    lines = [line.strip() for line in shown.split("\n") if line.strip()]
    assert [line for line in lines if line.startswith("printed")] == [f"printed {k}" for k in range(30)]
    assert "30/30" in lines[-1]


@pytest.mark.slow
def test_into_a_pipe():
    finished = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert finished.stdout == "".join(f"printed {k}\n" for k in range(30))
    assert finished.stderr.count("\n") == 1
    assert "30/30" in finished.stderr
    assert "\x1b" not in finished.stderr
