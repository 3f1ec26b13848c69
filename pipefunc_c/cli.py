"""The command pipefunc-c: how far the runs in run folders are."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from pipefunc_c._optional import require
from pipefunc_c.exceptions import PipefuncError
from pipefunc_c.map._progress.run_status import RUNNING_STATES, list_runs, read_status
from pipefunc_c.map._progress.status import duration_text

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, FAILED, TIMED_OUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Those of the command line, without the name of the program.

    Returns
    -------
    int
        0 if all is well; 1 for an error, or a run that failed or was cancelled; 2 if `--timeout` is over.

    Examples
    --------
    >>> import tempfile
    >>> main(["list-runs", tempfile.mkdtemp()])
    []
    0

    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (PipefuncError, OSError) as error:
        print(json.dumps({"status": "error", "error": str(error)}))
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pipefunc-c", description="Say how far runs are. Prints JSON; exit code 0: all is well."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="say how far a run is")
    status.add_argument("run_folder", metavar="RUN_FOLDER")
    status.add_argument("--include-run-info", action="store_true", help="add what run_info.json says")
    status.set_defaults(command=_status)
    runs = commands.add_parser("list-runs", help="say how far the runs in a folder are")
    runs.add_argument("folder", metavar="FOLDER", nargs="?", default="runs")
    runs.add_argument("--max-runs", type=_count, metavar="N", help="list the last N that changed")
    runs.set_defaults(command=_list_runs)
    watch = commands.add_parser("watch", help="say how far a run is until it ends")
    watch.add_argument("run_folder", metavar="RUN_FOLDER")
    watch.add_argument("--interval", type=_seconds, default=5.0, metavar="SECONDS")
    watch.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="end after that with exit code 2")
    watch.set_defaults(command=_watch)
    for each in (status, runs, watch):
        each.add_argument("--pretty", action="store_true", help="print a table instead of JSON")
    return parser


def _count(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs; allowed are 0, 1, 2, ...")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} are no seconds; allowed are numbers of at least 0")
    return value


def _exit_code(status: dict[str, Any]) -> int:
    return FAILED if status["status"] in ("failed", "cancelled", "unreadable") else OK


def _status(options: argparse.Namespace) -> int:
    status = read_status(options.run_folder, include_run_info=options.include_run_info)
    _print(status, pretty=options.pretty)
    return _exit_code(status)


def _list_runs(options: argparse.Namespace) -> int:
    runs = list_runs(options.folder, options.max_runs)
    if options.pretty:
        _print_runs(runs)
    else:
        print(json.dumps(runs, indent=2))
    return OK


def _watch(options: argparse.Namespace) -> int:
    until = None if options.timeout is None else time.monotonic() + options.timeout
    while True:
        status = read_status(options.run_folder)
        _print(status, pretty=options.pretty, line=True)
        if status["status"] not in RUNNING_STATES:
            return _exit_code(status)
        left = float("inf") if until is None else until - time.monotonic()
        if left <= 0:
            return TIMED_OUT
        time.sleep(min(options.interval, left))


# -- tables ------------------------------------------------------------------------------------------


def _print(status: dict[str, Any], *, pretty: bool, line: bool = False) -> None:
    """Print a status; as one line for those that follow each other."""
    if pretty:
        _print_status(status)
    else:
        print(json.dumps(status, indent=None if line else 2), flush=True)


def _console() -> Any:
    # Wide: a terminal wraps what is too long, and who reads a file wants whole names.
    return require("rich.console", package="rich").Console(file=sys.stdout, width=1000)


def _table(*columns: str) -> Any:
    table = require("rich.table", package="rich").Table(box=None, pad_edge=False)
    for column in columns:
        is_number = column not in ("output", "run", "status", "last change")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    return table


def _print_status(status: dict[str, Any]) -> None:
    table = _table("output", "done", "total", "failed", "running", "elapsed", "left")
    for name, output in status["outputs"].items():
        done = output["n_completed"] + output["n_failed"]
        total = "?" if output["n_total"] is None else f"{output['n_total']:,}"
        remaining = "" if output["complete"] else duration_text(output["remaining_time"])
        table.add_row(
            _plain(name),
            f"{done:,}",
            total,
            f"{output['n_failed']:,}" if output["n_failed"] else "",
            f"{output['n_in_progress']:,}" if output["n_in_progress"] else "",
            duration_text(output["elapsed_time"]),
            remaining,
        )
    console = _console()
    share = f"{100 * status['progress_fraction']:.0f} %"
    console.print(f"{status['run_folder']}: {status['status']}, {share}", markup=False, highlight=False)
    if "error" in status:
        console.print(status["error"], markup=False, highlight=False)
    console.print(table)
    if "run_info" in status:
        console.print(json.dumps(status["run_info"], indent=2), markup=False, highlight=False)


def _print_runs(runs: list[dict[str, Any]]) -> None:
    table = _table("run", "status", "progress", "outputs", "last change")
    for run in runs:
        if run["status"] == "unreadable":
            table.add_row(_plain(run["run_folder"]), "unreadable", "", "", "")
            continue
        table.add_row(
            _plain(run["run_folder"]),
            run["status"],
            f"{100 * run['progress_fraction']:.0f} %",
            f"{run['n_outputs_completed']}/{run['n_outputs']}",
            run["last_modified"][:19].replace("T", " "),
        )
    _console().print(table)


def _plain(text: str) -> Any:
    return require("rich.text", package="rich").Text(text)


if __name__ == "__main__":
    sys.exit(main())
