"""What a guide to parallel runs of pipefunc shows, in words of our own and with what it prints.

The blocks run in order as one script without a main guard, while the thread pool of the first is still alive,
and as the cells of a notebook.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import pytest
from notebooks import make_notebook, need_jupyter, printed, run_notebook, widgets

pytestmark = pytest.mark.slow

# Calls one function in three ways.
RUN = """
from pipefunc_c import Pipeline, pipefunc

@pipefunc(output_name="total")
def add_up(price, tax):
    return price + tax

shop = Pipeline([add_up])
as_function = shop.func("total")
by_run = shop.run("total", kwargs={"price": 10, "tax": 2})
print(by_run, shop("total", price=10, tax=2), as_function(price=10, tax=2))
"""

# Threads for what waits, processes for what computes; a storage for each.
MIXED = """
import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
from pipefunc_c import Pipeline, pipefunc

@pipefunc(output_name="page", mapspec="address[k] -> page[k]")
def fetch(address):
    time.sleep(0.3)
    return threading.current_thread().name

@pipefunc(output_name="spectrum", mapspec="address[k] -> spectrum[k]")
def diagonalise(address):
    np.linalg.eigvals(np.random.rand(10, 10))
    return multiprocessing.current_process().name

site = Pipeline([fetch, diagonalise])
mixed = {"page": ThreadPoolExecutor(max_workers=2), "": ProcessPoolExecutor(max_workers=2)}
results = site.map(
    {"address": [1, 2, 3]},
    run_folder="kept",
    executor=mixed,
    storage={"spectrum": "file_array", "": "dict"},
)
print(f"threads: {results['page'].output.tolist()}")
print(f"processes: {results['spectrum'].output.tolist()}")
"""

HOOK = """
from pipefunc_c import Pipeline, pipefunc

def report(function, value, arguments):
    print(f"{function.__name__} gave {value} for {arguments}")

@pipefunc(output_name="area", post_execution_hook=report)
def rectangle(width, height):
    return width * height

rectangle(width=3, height=4)

@pipefunc(output_name="volume")
def prism(area):
    return area * 10

print(Pipeline([rectangle, prism])(width=3, height=4))
"""

LAUNCH = """
from pipefunc_c import Pipeline, pipefunc
from pipefunc_c.helpers import launch_maps

@pipefunc(output_name="twice", mapspec="n[i] -> twice[i]")
def double(n: int) -> int:
    return 2 * n

doubling = Pipeline([double])
few, more = {"n": [1, 2, 3]}, {"n": [4, 5, 6, 7]}
runners = [doubling.map_async(few, start=False), doubling.map_async(more, start=False)]
task = launch_maps(*runners, max_concurrent=2)
"""

AWAIT = """
found = await task
print(found[0]["twice"].output)
print(found[1]["twice"].output)
"""

ONE_BY_ONE = """
runners = [doubling.map_async(given, start=False) for given in (few, more)]
task = launch_maps(*runners, max_concurrent=1)
print([each["twice"].output.tolist() for each in await task])
"""


def check_sequential(text):
    assert text == "12 12 12\n"


def check_mixed(text):
    threads, processes = (eval(line.partition(": ")[2]) for line in text.splitlines())
    assert len(threads) == len(processes) == 3
    assert all(re.fullmatch(r"ThreadPoolExecutor-\d+_[01]", name) for name in threads)
    assert len(set(threads)) == 2
    assert all(re.fullmatch(r"(Fork|ForkServer|Spawn)?Process-[\d:]+", name) for name in processes)


def check_hook(text):
    line = "rectangle gave 12 for {'width': 3, 'height': 4}\n"
    assert text == line * 2 + "120\n"


def check_await(text):
    assert text == "[2 4 6]\n[8 10 12 14]\n"


def check_one_by_one(text):
    assert text == "[[2, 4, 6], [8, 10, 12, 14]]\n"


CHECKS = [
    (RUN, check_sequential),
    (MIXED, check_mixed),
    (HOOK, check_hook),
    (LAUNCH, lambda text: None),
    (AWAIT, check_await),
    (ONE_BY_ONE, check_one_by_one),
]
MARK = "-- next block --"


def script() -> str:
    """Join the blocks; those that need an event loop become one coroutine."""
    plain = f'\nprint("{MARK}")\n'.join([RUN, MIXED, HOOK])
    waiting = f'\nprint("{MARK}")\n'.join(["", LAUNCH, AWAIT, ONE_BY_ONE])
    coroutine = (
        f"import asyncio\nasync def main():\n{textwrap.indent(waiting, '    ')}\nasyncio.run(main())\n"
    )
    alive = 'import threading\nassert any("ThreadPool" in each.name for each in threading.enumerate())\n'
    return f"{plain}\n{alive}\n{coroutine}\n{alive}"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="ProcessPoolExecutor needs a main guard since 3.14")
def test_as_a_script_without_a_main_guard(tmp_path):
    (tmp_path / "guide.py").write_text(script())
    # Python itself warns of forks beside threads, which the pool of the first block may make.
    flags = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    run = subprocess.run(
        [sys.executable, *flags, "guide.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    texts = run.stdout.split(f"{MARK}\n")
    for text, (_, check) in zip(texts, CHECKS, strict=True):
        check(text)


def test_as_a_notebook(require, tmp_path):
    need_jupyter(require)
    notebook = run_notebook(make_notebook(*(block for block, _ in CHECKS)), tmp_path)
    for cell, (_, check) in zip(notebook.cells, CHECKS, strict=True):
        check(printed(cell))
    shown = [len(widgets(cell)) for cell in notebook.cells]
    assert shown[1] == 1, "a map shows its progress in a notebook"
    assert shown[3] == shown[5] == 1, "launch_maps shows one widget with a tab for each map"
