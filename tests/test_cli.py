from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest
from source_tree import pyproject

from pipefunc_c import Pipeline, cli, pipefunc
from pipefunc_c._storage.run_lock import RunLock


@pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
def double(x):
    if x < 0:
        raise ValueError("negative")
    return 2 * x


@pytest.fixture
def done(tmp_path):
    folder = tmp_path / "runs" / "done"
    Pipeline([double]).map({"x": range(2000)}, run_folder=folder, parallel=False)
    return folder


@pytest.fixture
def failed(tmp_path):
    folder = tmp_path / "runs" / "failed"
    with pytest.raises(ValueError, match="negative"):
        Pipeline([double]).map({"x": [1, -1]}, run_folder=folder, parallel=False)
    return folder


def call(capsys, *arguments):
    """Give exit code and what was printed."""
    code = cli.main([str(each) for each in arguments])
    return code, capsys.readouterr().out


class TestStatus:
    def test_json(self, done, capsys):
        code, text = call(capsys, "status", done)
        status = json.loads(text)
        assert code == 0
        assert (status["status"], status["outputs"]["y"]["n_completed"]) == ("completed", 2000)
        assert "run_info" not in status

    def test_with_run_info(self, done, capsys):
        code, text = call(capsys, "status", done, "--include-run-info")
        assert code == 0
        assert json.loads(text)["run_info"]["mapspecs_as_strings"] == ["x[i] -> y[i]"]

    def test_table(self, done, capsys):
        code, text = call(capsys, "status", done, "--pretty")
        title, heads, row = text.splitlines()
        assert code == 0
        assert title == f"{done}: completed, 100 %"
        assert heads.split() == ["output", "done", "total", "failed", "running", "elapsed", "left"]
        assert row.split()[:3] == ["y", "2,000", "2,000"]
        code, text = call(capsys, "status", done, "--pretty", "--include-run-info")
        assert '"mapspecs_as_strings"' in text

    def test_one_that_failed(self, failed, capsys):
        code, text = call(capsys, "status", failed)
        assert (code, json.loads(text)["status"]) == (1, "failed")
        code, text = call(capsys, "status", failed, "--pretty")
        assert code == 1
        assert "failed, 50 %\nit ended before everything was done; go on with resume=True\n" in text

    def test_no_run(self, tmp_path, capsys):
        code, text = call(capsys, "status", tmp_path)
        assert code == 1
        assert json.loads(text)["status"] == "error"
        assert "there is no run" in json.loads(text)["error"]


class TestListRuns:
    def test_json(self, done, failed, capsys):
        code, text = call(capsys, "list-runs", done.parent)
        assert code == 0
        assert {os.path.basename(each["run_folder"]): each["status"] for each in json.loads(text)} == {
            "done": "completed",
            "failed": "failed",
        }
        code, text = call(capsys, "list-runs", done.parent, "--max-runs", "1")
        assert len(json.loads(text)) == 1

    def test_table(self, done, failed, capsys):
        (done.parent / "bad").mkdir()
        (done.parent / "bad" / "run_info.json").write_text("{")
        code, text = call(capsys, "list-runs", done.parent, "--pretty")
        assert code == 0
        lines = text.splitlines()
        assert lines[0].split() == ["run", "status", "progress", "outputs", "last", "change"]
        assert re.search(
            rf"^{re.escape(str(done))} +completed +100 % +1/1 +\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d", text, re.M
        )
        assert re.search(rf"^{re.escape(str(failed))} +failed +50 % +0/1", text, re.M)
        assert re.search(rf"^{re.escape(str(done.parent / 'bad'))} +unreadable", text, re.M)

    def test_the_folder_is_runs_by_default(self, done, capsys, monkeypatch):
        monkeypatch.chdir(done.parent.parent)
        assert len(json.loads(call(capsys, "list-runs")[1])) == 1

    def test_no_folder(self, tmp_path, capsys):
        code, text = call(capsys, "list-runs", tmp_path / "nothing")
        assert code == 1
        assert "is no folder" in json.loads(text)["error"]


class TestWatch:
    @pytest.mark.parametrize(("name", "code"), [("done", 0), ("failed", 1)])
    def test_one_that_is_over(self, name, code, request, capsys):
        found, text = call(capsys, "watch", request.getfixturevalue(name))
        assert found == code
        assert len(text.splitlines()) == 1
        json.loads(text)

    def test_until_the_time_is_over(self, done, capsys):
        with RunLock(done):
            code, text = call(capsys, "watch", done, "--interval", "0.05", "--timeout", "0.2")
        assert code == 2
        lines = [json.loads(line) for line in text.splitlines()]
        assert len(lines) >= 3
        assert {each["status"] for each in lines} == {"running"}

    def test_until_the_run_ends(self, done, capsys):
        lock = RunLock(done).acquire()
        timer = threading.Timer(0.3, lock.release)
        timer.start()
        began = time.monotonic()
        code, text = call(capsys, "watch", done, "--interval", "0.05", "--pretty")
        timer.join()
        assert code == 0
        assert time.monotonic() - began < 5
        assert "running" in text
        assert f"{done}: completed" in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["status"],
        ["stop", "run"],
        ["list-runs", ".", "--max-runs", "-1"],
        ["list-runs", ".", "--max-runs", "many"],
        ["watch", ".", "--interval", "-1"],
        ["watch", ".", "--interval", "nan"],
        ["watch", ".", "--timeout", "soon"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_refused_with_a_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: pipefunc-c" in capsys.readouterr().err


def test_interrupted(done, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "read_status", interrupt)
    assert cli.main(["watch", str(done)]) == 1


@pytest.mark.repository
def test_the_command_is_installed():
    module, _, name = pyproject()["project"]["scripts"]["pipefunc-c"].partition(":")
    assert getattr(importlib.import_module(module), name) is cli.main


def test_as_a_module(done):
    command = [sys.executable, "-W", "error", "-m", "pipefunc_c.cli", "status", str(done), "--pretty"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert f"{done}: completed, 100 %" in run.stdout
