"""The widgets of maps, as a browser shows them: JupyterLab in a headless Chromium."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from notebooks import make_notebook, quiet_packages

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

TOKEN = "only-for-this-test"
PATIENCE = 60.0
NEWS = "@jupyterlab/apputils-extension:announcements"  # it asks a question

DEFINE = """
import time
from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.helpers import launch_maps

@pipefunc("y", mapspec="x[i] -> y[i]")
def slow(x):
    time.sleep(0.02)
    if x % 50 == 0:
        print("the worker says", x)
    return 2 * x

@pipefunc("z", mapspec="y[i] -> z[i]")
def quick(y):
    return y + 1

pipeline = Pipeline([slow, quick])
"""
SYNC = """results = pipeline.map({"x": range(200)}, storage="dict")"""
CANCELLED = """
endless = pipeline.map_async({"x": range(100_000)})
print("the cell is over")
"""
TABS = """
runners = [pipeline.map_async({"x": range(20 * n)}, start=False) for n in (1, 2, 3)]
all_of_them = launch_maps(*runners, max_concurrent=2)
"""


@pytest.fixture(scope="module")
def needed():
    from conftest import require_component

    for name in ("jupyterlab", "ipywidgets", "selenium", "chromium", "chromedriver"):
        require_component(name, reason="it shows a notebook in a browser")


@pytest.fixture(scope="module")
def lab(needed, tmp_path_factory):
    """Start JupyterLab on a notebook; give its address."""
    folder = tmp_path_factory.mktemp("lab")
    import nbformat

    with quiet_packages():
        nbformat.write(make_notebook(DEFINE, SYNC, CANCELLED, TABS), folder / "maps.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--port={port}", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}"]
    command += [f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0"]
    config = folder / "config" / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"disabledExtensions": {NEWS: True}}))
    own = {"HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_PREFER_ENV_PATH": "1"}
    environment = {**os.environ, **own}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    log = open(folder / "lab.log", "wb")  # noqa: SIM115  it is open as long as the server lives
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=5) as answer:
                    json.load(answer)
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    pytest.fail(f"JupyterLab did not start\n{(folder / 'lab.log').read_text()[-3000:]}")
                time.sleep(0.1)
        yield f"{address}/lab/tree/maps.ipynb?token={TOKEN}&reset"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        log.close()


class Page:
    """The notebook in the browser."""

    def __init__(self, driver, folder):
        self.driver, self.folder = driver, folder

    def until(self, script, what, seconds=PATIENCE):
        """Wait until a piece of JavaScript is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.driver.execute_script(f"return Boolean({script})")
            if found:
                return
            time.sleep(0.05)
        self.picture("failure")
        pytest.fail(f"no {what} in {seconds} s; the page says {self.text()[-1500:]}")

    def text(self):
        return self.driver.execute_script("return document.body.innerText")

    def run_cell(self, number):
        self.driver.execute_script(
            "const p = jupyterapp.shell.currentWidget.content; p.activeCellIndex = arguments[0];"
            "jupyterapp.commands.execute('notebook:run-cell')",
            number,
        )

    def output(self, number):
        """Give the text below a cell."""
        return self.driver.execute_script(
            "const c = document.querySelectorAll('.jp-CodeCell')[arguments[0]];"
            "const o = c && c.querySelector('.jp-Cell-outputWrapper'); return o ? o.innerText : ''",
            number,
        )

    def until_output(self, number, *parts, seconds=PATIENCE):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.output(number)
            if all(part in found for part in parts):
                return found
            time.sleep(0.05)
        self.picture("failure")
        return pytest.fail(f"{parts} not in {self.output(number)!r}")

    def click(self, number, selector):
        self.driver.execute_script(
            "document.querySelectorAll('.jp-CodeCell')[arguments[0]].querySelector(arguments[1]).click()",
            number,
            selector,
        )

    def picture(self, name):
        self.driver.save_screenshot(str(Path(self.folder, f"{name}.png")))


@pytest.fixture(scope="module")
def page(lab, tmp_path_factory):
    from selenium import webdriver

    folder = os.environ.get("PIPEFUNC_C_SCREENSHOTS") or tmp_path_factory.mktemp("pictures")
    Path(folder).mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "disable-dev-shm-usage",
    ):
        options.add_argument(f"--{flag}")
    options.add_argument("--window-size=1200,1100")
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with quiet_packages():
        driver = webdriver.Chrome(options=options, service=service)
        try:
            driver.get(lab)
            page = Page(driver, folder)
            page.until("window.jupyterapp && jupyterapp.shell.currentWidget", "notebook")
            session = "jupyterapp.shell.currentWidget?.sessionContext?.session"
            page.until(f"{session}?.kernel?.status === 'idle'", "kernel that is idle")
            page.run_cell(0)
            yield page
        finally:
            driver.quit()


def test_a_map_shows_a_table_that_moves_and_what_workers_print(page):
    page.run_cell(1)
    page.until_output(1, "/200", "running", "left")
    page.picture("running")
    page.until_output(1, "200/200\t", "the worker says 150")
    rows = "[...document.querySelectorAll('.pipefunc-c-progress')[0].rows].map(row => row.cells[0].innerText)"
    page.until(f"{rows}.join() === 'y,z'", "two rows")
    bars = "document.querySelectorAll('.jp-CodeCell')[1].querySelectorAll('[role=progressbar]')"
    full = f"[...{bars}].length === 2 && [...{bars}].every(each => each.ariaValueNow === '100')"
    page.until(full, "two full bars")
    width = page.driver.execute_script(f"return {bars}[0].firstChild.getBoundingClientRect().width")
    assert width > 100, "the bar is drawn"
    page.picture("done")


def test_the_button_cancels_a_map_in_the_background(page):
    page.run_cell(2)
    page.until_output(2, "the cell is over", "running", "/100,000")
    page.picture("background")
    page.click(2, ".pipefunc-c-cancel")
    page.until_output(2, "cancelled", "stopped", seconds=10)
    disabled = "document.querySelectorAll('.jp-CodeCell')[2].querySelector('.pipefunc-c-cancel').disabled"
    page.until(disabled, "button that is off")
    page.picture("cancelled")


def test_tabs_for_several_maps(page):
    page.run_cell(3)
    titles = (
        "[...document.querySelectorAll('.jp-CodeCell')[3].querySelectorAll('.lm-TabBar-tabLabel, "
        ".p-TabBar-tabLabel')].map(each => each.innerText)"
    )
    page.until(f"{titles}.length === 3", "three tabs")
    page.picture("tabs")
    page.until(f"{titles}.every(each => each.startsWith('✔'))", "three maps that are over")
    assert [each[2:] for each in page.driver.execute_script(f"return {titles}")] == [
        "z (1)",
        "z (2)",
        "z (3)",
    ]
    page.until_output(3, "completed")
    page.picture("tabs-done")
