from __future__ import annotations

import sys
import threading
import time

import pytest

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, MissingDependencyError
from pipefunc_c.map._progress import progress_choice as progress_choice_module
from pipefunc_c.map._progress.heartbeat import Heartbeat
from pipefunc_c.map._progress.progress import LiveProgress, Progress, View
from pipefunc_c.map._progress.progress_bars import RichBars
from pipefunc_c.map._progress.progress_choice import make_progress
from pipefunc_c.map._progress.status import Status

rich_console = pytest.importorskip("rich.console")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


class TestMakeProgress:
    @pytest.mark.parametrize("show", [None, False])
    @pytest.mark.parametrize("background", [False, True])
    def test_off(self, show, background):
        progress = make_progress(show, [("y", 10)], background=background)
        keeps_counts = background and show is None
        assert type(progress) is (LiveProgress if keeps_counts else Progress)
        progress.start()
        progress.set_total(0, 5)
        progress.granted(0, 1)
        progress.update(0, 1, 0)
        progress.tick()
        progress.finish(error=True)

    @pytest.mark.parametrize("show", [True, "rich"])
    def test_bars(self, show):
        (view,) = make_progress(show, [("y", 10)])._views
        assert type(view) is RichBars

    def test_headless(self):
        progress = make_progress("headless", [("y", 10)])
        assert progress._views == []
        assert progress.progress_dict == {"y": Status(10)}

    @pytest.mark.parametrize("show", [None, True, "rich", "headless"])
    def test_maps_in_the_background_with_a_run_folder_write_a_heartbeat(self, show, tmp_path):
        progress = make_progress(show, [("y", 10)], background=True, run_folder=tmp_path)
        assert isinstance(progress.heartbeat, Heartbeat)
        assert progress.heartbeat.path == tmp_path / "pipefunc_status.json"

    @pytest.mark.parametrize(("show", "background"), [(False, True), (None, False), (True, False)])
    def test_others_write_none(self, show, background, tmp_path):
        assert make_progress(show, [], background=background, run_folder=tmp_path).heartbeat is None

    def test_other_text_is_refused_with_what_is_allowed(self):
        with pytest.raises(InvalidValueError, match="'loud'; allowed are True, False, None") as caught:
            make_progress("loud", [])
        assert isinstance(caught.value, ValueError)
        assert all(repr(kind) in str(caught.value) for kind in ("rich", "ipywidgets", "headless"))

    @pytest.mark.parametrize("show", [1, 0, 2.5, ["rich"]], ids=repr)
    def test_other_type_is_refused(self, show):
        with pytest.raises(InvalidTypeError, match="allowed are True") as caught:
            make_progress(show, [])
        assert repr(show) in str(caught.value)

    def test_missing_rich_is_named(self, monkeypatch):
        for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "rich", None)
        with pytest.raises(MissingDependencyError, match="'rich'") as caught:
            make_progress(True, [("y", 10)])
        assert isinstance(caught.value, ModuleNotFoundError)
        with pytest.raises(ModuleNotFoundError, match="'rich'"):
            make_progress("rich", [("y", 10)])
        assert isinstance(make_progress("headless", []), LiveProgress)

    def test_missing_ipywidgets_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        with pytest.raises(ModuleNotFoundError, match="ipywidgets"):
            make_progress("ipywidgets", [("y", 10)])

    @pytest.mark.parametrize("background", [False, True])
    def test_in_a_notebook_without_ipywidgets(self, monkeypatch, background):
        monkeypatch.setattr(progress_choice_module, "in_notebook", lambda: True)
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        assert type(make_progress(True, [], background=background)._views[0]) is RichBars
        assert make_progress(None, [], background=background).widget is None

    def test_in_a_notebook(self, monkeypatch, require):
        require("ipywidgets", reason="it shows the widget")
        monkeypatch.setattr(progress_choice_module, "in_notebook", lambda: True)
        for show in (None, True, "ipywidgets"):
            assert make_progress(show, [("y", 10)]).widget is not None
        for show in (False, "rich", "headless"):
            assert make_progress(show, [("y", 10)]).widget is None

    def test_maps_in_threads_of_a_notebook_show_nothing_unasked(self, monkeypatch):
        monkeypatch.setattr(progress_choice_module, "in_notebook", lambda: True)
        made = []
        thread = threading.Thread(target=lambda: made.append(make_progress(None, [("y", 10)])))
        thread.start()
        thread.join()
        assert type(made[0]) is Progress


def test_counts():
    progress = make_progress("headless", [("y", None), ("z", 4)])
    progress.start()
    progress.granted(0, 3)
    assert progress.progress_dict["y"].n_in_progress == 3
    progress.update(0, 3, 1, 2)
    progress.update(0, 5, 1, 4)
    progress.set_total(0, 10)
    progress.update(1, 4, 4)
    y, z = progress.statuses
    assert (y.n_total, y.n_in_progress, y.n_completed, y.n_failed, y.n_left) == (10, 4, 4, 1, 5)
    assert (z.n_total, z.n_completed, z.n_failed, z.progress, z.complete) == (4, 0, 4, 1.0, True)
    progress.finish(error=False)
    assert (progress.state, y.n_in_progress) == ("completed", 0)


def test_the_element_at_which_a_run_stops():
    progress = LiveProgress([("y", 3)])
    progress.start()
    progress.update(0, 2, 1)
    progress.raised(0)
    y = progress.statuses[0]
    assert (y.n_completed, y.n_failed, y.n_left, y.progress, y.complete) == (1, 2, 0, 1.0, False)
    progress.update(0, 2, 1)
    assert (y.n_completed, y.n_failed) == (1, 2)
    progress.finish(error=True)


@pytest.mark.parametrize(
    ("options", "state", "reason"),
    [
        ({"error": False}, "completed", ""),
        ({"error": True, "reason": ValueError("no")}, "failed", "ValueError: no"),
        ({"error": True, "cancelled": True}, "cancelled", ""),
        ({"error": True, "cancelled": True, "reason": KeyboardInterrupt()}, "cancelled", "KeyboardInterrupt"),
    ],
    ids=["completed", "failed", "cancelled", "interrupted"],
)
def test_how_it_ended(options, state, reason):
    progress = LiveProgress([("y", 3)])
    progress.start()
    progress.finish(**options)
    progress.finish(error=True)
    assert (progress.state, progress.reason) == (state, reason)


def test_times(clock):
    progress = LiveProgress([("y", 10), ("z", 10)], clock=clock)
    progress.start()
    clock.now += 1
    progress.granted(0, 1)  # its time counts from here
    clock.now += 2
    y, z = progress.statuses
    assert (y.elapsed_time(clock.now), y.remaining_time(clock.now)) == (2, None)
    progress.update(0, 5, 1)
    assert (y.remaining_time(clock.now), y.rate(clock.now)) == (2, 2.5)
    clock.now += 1
    progress.update(0, 10, 1)
    clock.now += 50
    assert (y.elapsed_time(clock.now), y.remaining_time(clock.now)) == (3, 0)
    assert (z.elapsed_time(clock.now), z.remaining_time(clock.now)) == (0, None)


def test_a_stage_without_elements_is_complete_at_once():
    progress = LiveProgress([("y", None)])
    progress.start()
    progress.set_total(0, 0)
    assert (progress.statuses[0].complete, progress.statuses[0].progress) == (True, 1.0)


class Recorder(View):
    def __init__(self, tick_seconds=None):
        self.tick_seconds = tick_seconds
        self.calls = []

    def open(self, progress):
        self.calls.append("open")

    def draw(self, now):
        self.calls.append("draw")

    def close(self, now):
        self.calls.append("close")


class TestViews:
    def test_open_draw_close(self, clock):
        view = Recorder()
        progress = LiveProgress([("y", 10)], [view], clock=clock)
        assert progress.state == "pending"
        progress.start()
        progress.start()
        for k in range(10):
            clock.now += view.interval / 2
            progress.update(0, k + 1, 0)
        progress.finish(error=False)
        assert view.calls == ["open", *["draw"] * 5, "close"]

    def test_one_that_comes_later(self, clock):
        view = Recorder()
        progress = LiveProgress([("y", 10)], clock=clock)
        progress.start()
        progress.add_view(view)
        progress.update(0, 1, 0)
        progress.finish(error=False)
        assert view.calls == ["open", "draw", "close"]

    def test_forced(self, clock):
        view = Recorder()
        progress = LiveProgress([("y", 10)], [view], clock=clock)
        progress.start()
        progress.update(0, 1, 0)
        progress.update_progress()
        assert view.calls == ["open", "draw"]
        progress.update_progress(force=True)
        assert view.calls == ["open", "draw", "draw"]
        progress.finish(error=False)

    def test_callback(self, clock):
        seen = []
        progress = LiveProgress([("y", 10)], clock=clock)
        progress.on_update(lambda each: seen.append((each.state, each.progress_dict["y"].n_completed)))
        progress.start()
        progress.update(0, 4, 0)
        progress.finish(error=True)
        assert seen == [("running", 4), ("failed", 4)]

    def test_an_exception_in_a_progress_callback_never_stops_a_run(self, clock):
        calls, good = [], Recorder()
        progress = LiveProgress([("y", 10)], clock=clock)

        def callback(progress):
            calls.append(1)
            raise LookupError("broken callback")

        progress.on_update(callback)
        progress.add_view(good)
        progress.start()
        with pytest.warns(RuntimeWarning, match="LookupError: broken callback"):
            progress.update(0, 1, 0)
        for k in range(9):
            clock.now += 1
            progress.update(0, k + 2, 0)
        progress.finish(error=False)
        assert calls == [1]
        assert good.calls[-1] == "close"
        assert progress.progress_dict["y"].n_completed == 10

    def test_ticks_of_a_map_in_the_background(self):
        view = Recorder(tick_seconds=0.01)
        view.interval = 0.0
        progress = LiveProgress([("y", 10)], [view], background=True)
        assert progress.tick_seconds is None
        progress.start()
        deadline = time.monotonic() + 10
        while view.calls.count("draw") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        progress.finish(error=False)
        assert view.calls[:4] == ["open", "draw", "draw", "draw"]
        assert not any(each.name == "pipefunc_c-progress" for each in threading.enumerate())

    def test_ticks_of_others_are_left_to_the_driver(self):
        progress = LiveProgress([("y", 10)], [Recorder(tick_seconds=3.0), Recorder(tick_seconds=0.5)])
        progress.start()
        assert progress.tick_seconds == 0.5
        assert not any(each.name == "pipefunc_c-progress" for each in threading.enumerate())
        progress.finish(error=False)
        assert LiveProgress([("y", 10)]).tick_seconds is None

    def test_two_threads(self):
        view = Recorder()
        view.interval = 0.0
        progress = LiveProgress([("y", 10)], [view])
        progress.start()
        threads = [
            threading.Thread(target=lambda: [progress.update(0, 1, 0) for _ in range(2000)]) for _ in range(3)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        progress.finish(error=False)
        assert view.calls.count("close") == 1
