"""The heartbeat of a map in the background: a small file in its run folder that says how far it is."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipefunc_c.map._progress.progress import View
from pipefunc_c.map._run_folder.run_files import replaced_file
from pipefunc_c.map._run_folder.run_info import own_version

if TYPE_CHECKING:
    from pipefunc_c.map._progress.progress import LiveProgress
    from pipefunc_c.map._progress.status import Status

STATUS_FILE = "pipefunc_status.json"
HEARTBEAT_SECONDS = 30.0
STALE_SECONDS = 60.0


class Heartbeat(View):
    """Write the counts to ``pipefunc_status.json`` in the run folder, in one step.

    Parameters
    ----------
    run_folder
        The folder. Nothing is written while it does not hold a run.

    """

    interval = 1.0
    share = 0.005
    tick_seconds = HEARTBEAT_SECONDS

    def __init__(self, run_folder: str | Path) -> None:
        self.run_folder = Path(os.path.abspath(run_folder))
        self._progress: LiveProgress | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.run_folder / STATUS_FILE

    def open(self, progress: LiveProgress) -> None:
        """Keep the progress; the folder may not be ours yet."""
        self._progress = progress

    def draw(self, now: float) -> None:
        """Write the file."""
        # Before run_info.json is there, the folder may be somebody else's.
        if self._progress is not None and (self.run_folder / "run_info.json").is_file():
            text = json.dumps(status_of(self._progress, self.run_folder, now), indent=1)
            with replaced_file(self.path) as file:
                file.write(text.encode())

    close = draw


def status_of(progress: LiveProgress, run_folder: Path, now: float) -> dict[str, Any]:
    """Describe how far a map is.

    Parameters
    ----------
    progress
        The counts.
    run_folder
        The folder of the run.
    now
        The time of the progress, in seconds.

    Returns
    -------
    dict
        What is written as JSON.

    """
    outputs: dict[str, dict[str, Any]] = {}
    for names, status in progress.progress_dict.items():
        for name in names.split(", "):
            outputs[name] = output_status(names, status, now)
    return run_status(
        run_folder,
        progress.state,
        outputs,
        source="heartbeat",
        modified=time.time(),
        reason=progress.reason,
    ) | {"pid": os.getpid()}


def output_status(function_name: str, status: Status, now: float) -> dict[str, Any]:
    """Describe how far one output is, with times in seconds."""
    return {
        "function_name": function_name,
        "progress": status.progress,
        "complete": status.complete,
        "n_total": status.n_total,
        "n_in_progress": status.n_in_progress,
        "n_completed": status.n_completed,
        "n_failed": status.n_failed,
        "elapsed_time": status.elapsed_time(now),
        "remaining_time": status.remaining_time(now),
    }


def run_status(  # noqa: PLR0913  each is a field of the file
    run_folder: Path,
    state: str,
    outputs: dict[str, dict[str, Any]],
    *,
    source: str,
    modified: float,
    reason: str = "",
) -> dict[str, Any]:
    """Describe a run, whoever counted.

    Parameters
    ----------
    run_folder
        The folder.
    state
        ``"pending"``, ``"running"``, ``"completed"``, ``"failed"`` or ``"cancelled"``.
    outputs
        How far each output is.
    source
        ``"heartbeat"`` or ``"ledger"``.
    modified
        When the counts were those, in seconds since the epoch.
    reason
        Why the run failed or was cancelled.

    Returns
    -------
    dict
        What is written as JSON.

    """
    # Outputs of one function share their counts: they weigh as one.
    functions = {output["function_name"]: output for output in outputs.values()}
    parts = [each["progress"] for each in functions.values()]
    active = [
        name
        for name, each in outputs.items()
        if state == "running" and not each["complete"] and (each["n_in_progress"] or each["progress"])
    ]
    status = {
        "run_folder": str(run_folder),
        "status": state,
        "status_source": source,
        "all_complete": all(each["complete"] for each in outputs.values()),
        "progress_fraction": sum(parts) / len(parts) if parts else 1.0,
        "n_outputs": len(outputs),
        "n_outputs_completed": sum(each["complete"] for each in outputs.values()),
        "outputs": outputs,
        "functions": sorted(functions),
        "active_outputs": active,
        "active_functions": sorted({outputs[name]["function_name"] for name in active}),
        "updated_at": iso_time(time.time()),
        "last_modified": iso_time(modified),
        "heartbeat_interval_seconds": HEARTBEAT_SECONDS,
        "stale_after_seconds": STALE_SECONDS,
        "pipefunc_version": own_version(),
    }
    return status | {"error": reason} if reason else status


def iso_time(seconds: float) -> str:
    """Write a time as text.

    Parameters
    ----------
    seconds
        Since the epoch.

    Returns
    -------
    str
        In UTC, as ISO 8601 says.

    Examples
    --------
    >>> iso_time(0)
    '1970-01-01T00:00:00+00:00'

    """
    return datetime.fromtimestamp(seconds, UTC).isoformat()
