from __future__ import annotations

import asyncio
import re
import threading

import pytest

from pipefunc_c.exceptions import InvalidValueError
from pipefunc_c.map._progress.progress import LiveProgress
from pipefunc_c.map._progress.progress_widget import MAX_ROWS, ProgressWidget, progress_table
from pipefunc_c.map._runs.map_widgets import AsyncTaskStatusWidget, MapTabs


@pytest.fixture(autouse=True)
def needed(require):
    require("ipywidgets", reason="these are widgets of it")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def cells(html):
    """Give the texts of a table, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row)] for row in rows]


class TestTable:
    def test_rows(self):
        clock = Clock()
        progress = LiveProgress([("y", 1000), ("a, b", None), ("s", 1)], clock=clock)
        progress.start()
        clock.now += 10
        progress.update(0, 500, 2, 20)
        progress.update(1, 7, 0)
        html = progress_table(progress, clock.now)
        assert cells(html) == [
            ["y", "", "500/1,000", "50.0/s", "0:00:10, 0:00:10 left", "2 failed, 20 running"],
            ["a, b", "", "7/?", "", "0:00:00, -:--:-- left", ""],
        ]
        assert 'aria-valuenow="50"' in html
        assert "1 not begun" in html
        clock.now += 10
        progress.update(0, 1000, 2)
        clock.now += 10
        progress.finish(error=True, reason=ValueError("x < 0"))
        html = progress_table(progress, clock.now)
        assert cells(html)[0] == ["y", "", "1,000/1,000", "50.0/s", "0:00:20", "2 failed"]
        assert cells(html)[1][-1] == "stopped"
        assert "<b>failed: ValueError: x &lt; 0</b>" in html

    def test_names_are_text(self):
        progress = LiveProgress([("<script>", 1)])
        progress.start()
        progress.update(0, 1, 0)
        progress.finish(error=False)
        assert "<script>" not in progress_table(progress, 0.0)
        assert "&lt;script&gt;" in progress_table(progress, 0.0)

    def test_of_many_functions_those_that_run_are_shown(self):
        n = MAX_ROWS + 5
        progress = LiveProgress([(f"y{k}", 2) for k in range(n)])
        progress.start()
        for k in range(n):
            progress.update(k, 1 if k in (3, n - 1) else 2, 0)
        html = progress_table(progress, 0.0)
        names = [row[0] for row in cells(html)]
        assert len(names) == MAX_ROWS
        assert "y3" in names
        assert "y0" not in names
        assert "5 more are done" in html
        progress.finish(error=False)


class TestProgressWidget:
    @pytest.fixture
    def shown(self, monkeypatch):
        shown = []
        monkeypatch.setattr("IPython.display.display", shown.append)
        return shown

    def test_it_is_shown_and_follows(self, shown):
        view = ProgressWidget()
        progress = LiveProgress([("y", 10)], [view])
        assert shown == []
        progress.start()
        assert shown == [view.widget]
        progress.update(0, 5, 0)
        assert "5/10" in view.widget.value
        progress.update(0, 10, 0)
        progress.finish(error=False)
        assert "10/10" in view.widget.value
        assert not ProgressWidget._threads

    def test_a_map_inside_of_a_map_shows_none(self, shown):
        outer, inner = ProgressWidget(), ProgressWidget()
        first, second = LiveProgress([("y", 1)], [outer]), LiveProgress([("z", 1)], [inner])
        first.start()
        second.start()
        second.update(0, 1, 0)
        second.finish(error=False)
        first.finish(error=False)
        assert shown == [outer.widget]

    def test_maps_in_other_threads_show_their_own(self, shown):
        views = [ProgressWidget() for _ in range(2)]
        first, second = (LiveProgress([("y", 1)], [view]) for view in views)
        first.start()
        thread = threading.Thread(target=second.start)
        thread.start()
        thread.join()
        assert shown == [view.widget for view in views]
        first.finish(error=False)
        second.finish(error=False)
        assert not ProgressWidget._threads

    def test_one_that_its_maker_shows(self, shown):
        progress = LiveProgress([("y", 1)], [ProgressWidget(display=False)])
        progress.start()
        progress.finish(error=False)
        assert shown == []

    def test_messages_are_few(self, monkeypatch):
        clock, view, sent = Clock(), ProgressWidget(display=False), []
        view.widget.observe(lambda change: sent.append(clock.now), "value")
        progress = LiveProgress([(f"y{k}", 10**6) for k in range(20)], [view], clock=clock)
        progress.start()
        for k in range(10_000):
            clock.now += 1e-4
            progress.update(k % 20, k, 0)
        progress.finish(error=False)
        assert len(sent) <= 7  # five a second, one at the start, one at the end


class TestStatus:
    @pytest.mark.parametrize(
        ("how", "state", "text"),
        [("return", "completed", "completed"), ("raise", "failed", "failed</b>: ValueError: a &lt; b")],
    )
    async def test_ends(self, how, state, text):
        async def work():
            await asyncio.sleep(0)
            if how == "raise":
                raise ValueError("a < b")

        status = AsyncTaskStatusWidget("<run>")
        assert (status.state, status._button.disabled) == ("pending", False)
        task = asyncio.create_task(work())
        status.attach_task(task)
        assert "&lt;run&gt;" in status._label.value
        assert status.state == "running"
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert (status.state, status._button.disabled) == (state, True)
        assert text in status._label.value

    async def test_the_button_cancels(self):
        status = AsyncTaskStatusWidget()
        status._button.click()  # nothing to cancel yet
        task = asyncio.create_task(asyncio.sleep(60))
        status.attach_task(task)
        status._button.click()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert status.state == "cancelled"

    def test_the_progress_stands_below(self):
        body = ProgressWidget(display=False).widget
        assert AsyncTaskStatusWidget("map", body).widget.children[1] is body


class TestTabs:
    def test_titles_say_how_maps_stand(self):
        tabs = MapTabs(["one", "two", "two"])
        assert tabs.widget.titles == ("… one", "… two (2)", "… two (3)")
        tabs.set_status(1, "running")
        assert tabs.widget.selected_index == 1, "the first that runs comes to the front"
        tabs.set_status(0, "running")
        assert tabs.widget.selected_index == 1, "and stays there"
        tabs.set_status(1, "failed")
        tabs.set_status(0, "completed")
        tabs.set_status(2, "cancelled")
        assert tabs.widget.titles == ("✔ one", "✘ two (2)", "■ two (3)")

    def test_contents(self):
        tabs = MapTabs(["one", "two"])
        body = ProgressWidget(display=False).widget
        tabs.fill(1, body)
        assert tabs.widget.children[1].children == (body,)

    @pytest.mark.parametrize(("limit", "left"), [(None, 4), (2, 2), (0, 0)])
    def test_those_that_are_over_go(self, limit, left):
        tabs = MapTabs("abcd", limit)
        for k in (2, 0, 3, 1):
            tabs.set_status(k, "running")
            tabs.set_status(k, "completed")
        assert len(tabs.widget.children) == len(tabs.widget.titles) == left
        if left == 2:
            assert tabs.widget.titles == ("✔ b", "✔ d"), "the last that ended stay, in order"

    async def test_follow(self):
        async def fail():
            raise ValueError

        async def succeed():
            pass

        tabs = MapTabs(["one", "two", "three"])
        tasks = [asyncio.create_task(each) for each in (succeed(), fail(), asyncio.sleep(60))]
        for number, task in enumerate(tasks):
            tabs.follow(number, task)
        assert tabs.widget.titles[0] == "▶ one"
        tasks[2].cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
        assert tabs.widget.titles == ("✔ one", "✘ two", "■ three")

    @pytest.mark.parametrize("limit", [-1, 1.5, "2", True], ids=repr)
    def test_a_limit_that_cannot_be(self, limit):
        with pytest.raises(InvalidValueError, match="max_completed_tabs"):
            MapTabs(["one"], limit)
