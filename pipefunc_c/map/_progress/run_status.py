"""How far a run is, as its folder tells: by the heartbeat, or by what is committed."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.tags import ERROR, MISSING
from pipefunc_c._storage.commits import CommittedRun
from pipefunc_c._storage.compaction import COMPACTED
from pipefunc_c._storage.records import COMMITS, TAGS, ledger_paths
from pipefunc_c._storage.run_lock import holder_of, is_held
from pipefunc_c.exceptions import InvalidValueError, OutOfBoundsError, PipefuncError
from pipefunc_c.map._progress.heartbeat import STALE_SECONDS, STATUS_FILE, output_status, run_status
from pipefunc_c.map._progress.status import Status
from pipefunc_c.map._run_folder.run_info import RUN_INFO, RunInfo, to_json
from pipefunc_c.map._stages.fixed import requested_elements
from pipefunc_c.map._stages.requested import Requested

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipefunc_c._spec.mapspec import MapSpec

RUNNING_STATES = ("pending", "running")
STATES = (*RUNNING_STATES, "completed", "failed", "cancelled")


def read_status(run_folder: str | Path, *, include_run_info: bool = False) -> dict[str, Any]:
    """Tell how far a run is.

    Parameters
    ----------
    run_folder
        The folder of the run, which may still go on.
    include_run_info
        Whether to add what ``run_info.json`` says.

    Returns
    -------
    dict
        For JSON. ``status_source`` says where the counts come from: ``"heartbeat"``, or ``"ledger"`` where
        there is no heartbeat, or none that can be believed.

    Raises
    ------
    RunFolderNotFoundError
        If there is no run.
    DamagedFileError
        If run_info.json is damaged.

    Examples
    --------
    >>> read_status("no/such/folder")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    pipefunc_c.map._run_folder.run_info.RunFolderNotFoundError: there is no run in 'no/such/folder': ...

    """
    folder = Path(os.path.abspath(run_folder))
    info = RunInfo.load(folder)
    status = _believed_heartbeat(folder) or _status_of_ledgers(folder, info)
    if include_run_info:
        status["run_info"] = to_json(info)
    return status


def list_runs(folder: str | Path, max_runs: int | None = None) -> list[dict[str, Any]]:
    """Tell how far the runs in a folder are.

    Parameters
    ----------
    folder
        The folder of run folders.
    max_runs
        How many to list at most.

    Returns
    -------
    list of dict
        The status of each run, the one that changed last first. A run that cannot be read has the status
        ``"unreadable"`` and an error.

    Raises
    ------
    InvalidValueError
        If the folder is none, or `max_runs` is negative.

    """
    if max_runs is not None and max_runs < 0:
        raise InvalidValueError(f"max_runs is {max_runs!r}", detail=max_runs, hint="allowed are 0 and more")
    path = Path(os.path.abspath(folder))
    if not path.is_dir():
        raise InvalidValueError(
            f"{str(path)!r} is no folder", detail=path, hint="give the parent of run folders"
        )
    found = [each for each in path.iterdir() if (each / RUN_INFO).is_file()]
    found.sort(key=lambda each: (-_last_change(each), each.name))
    return [_status_or_error(each) for each in found[:max_runs]]


def _status_or_error(folder: Path) -> dict[str, Any]:
    try:
        return read_status(folder)
    except (PipefuncError, OSError) as error:
        return {"run_folder": str(folder), "status": "unreadable", "error": str(error)}


def _last_change(folder: Path) -> float:
    """Give when something of a run was last written, in seconds since the epoch."""
    paths = [folder / RUN_INFO, folder / STATUS_FILE, folder / COMMITS, *ledger_paths(folder)]
    times = [0.0]
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:  # not there, or not any more
            continue
    return max(times)


# -- by the heartbeat --------------------------------------------------------------------------------


def read_heartbeat(folder: Path) -> dict[str, Any] | None:
    """Read the heartbeat of a run folder; None if there is none, or only a part of one."""
    try:
        status = json.loads((folder / STATUS_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(status, dict) or status.get("status") not in STATES:
        return None
    outputs = status.get("outputs")
    fits = isinstance(outputs, dict) and all(isinstance(each, dict) for each in outputs.values())
    return status if fits and isinstance(status.get("updated_at"), str) else None


def _believed_heartbeat(folder: Path) -> dict[str, Any] | None:
    status = read_heartbeat(folder)
    if status is None:
        return None
    status["run_folder"] = str(folder)  # it may have been moved
    if status["status"] in RUNNING_STATES:
        return status if _may_be_running(folder, status) else None
    # Else a later map has gone on in this folder, without a heartbeat.
    written = (folder / STATUS_FILE).stat().st_mtime
    is_last = not is_held(folder) and _last_change(folder) <= written + 1.0
    return status if is_last else None


def _may_be_running(folder: Path, status: dict[str, Any]) -> bool:
    try:
        age = time.time() - datetime.fromisoformat(status["updated_at"]).timestamp()
    except ValueError:
        return False
    is_fresh = age <= STALE_SECONDS
    if is_held(folder):
        holder = holder_of(folder)
        is_same = holder.get("pid") == status.get("pid") or holder.get("host") != platform.node()
        return is_fresh and is_same
    # Locks of other machines may be invisible here.
    return is_fresh and holder_of(folder).get("host") not in (None, platform.node())


# -- by the ledgers ----------------------------------------------------------------------------------


def _status_of_ledgers(folder: Path, info: RunInfo) -> dict[str, Any]:
    is_running = is_held(folder)
    run = CommittedRun(folder)
    mapspecs = {name: spec for spec in info.mapspecs if spec.inputs for name in spec.output_names}
    began = _started(folder)
    modified = _last_change(folder)
    outputs: dict[str, dict[str, Any]] = {}
    for number, names in enumerate(info.stages):
        spec = mapspecs.get(names[0])
        requested = Requested(1) if spec is None else _requested(info, spec, names[0])
        status = count_committed(run, number, names, requested)
        if status.n_attempted and began is not None:
            status.start_time, status.end_time = 0.0, None if is_running else max(modified - began, 0.0)
        now = (time.time() if is_running else modified) - (began or modified)
        for name in names:
            outputs[name] = output_status(", ".join(names), status, max(now, 0.0))
            outputs[name]["elapsed_time"] = outputs[name]["elapsed_time"] if status.n_attempted else 0.0
    reason = ""
    if is_running:
        state = "running"
    elif all(each["complete"] for each in outputs.values()) or _ended_well(folder):
        state = "completed"
    else:
        state, reason = "failed", "it ended before everything was done; go on with resume=True"
    return run_status(folder, state, outputs, source="ledger", modified=modified, reason=reason)


def _started(folder: Path) -> float | None:
    try:
        return datetime.fromisoformat(holder_of(folder)["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _ended_well(folder: Path) -> bool:
    """Tell whether the last map in a folder came to its end: then it leaves one compact ledger."""
    return [path.stem for path in ledger_paths(folder)] == [COMPACTED]


def _requested(info: RunInfo, mapspec: MapSpec, name: str) -> Requested | None:
    """Give the elements that the last map was to compute; None while their number is not known."""
    pairs = zip(info.resolved_shapes[name], info.shape_masks[name], strict=True)
    external = tuple(size for size, is_external in pairs if is_external)
    if "?" in external:
        return None
    shape = tuple(int(size) for size in external)
    try:
        return requested_elements(mapspec, shape, info.fixed_indices)
    except OutOfBoundsError:  # that is why it failed
        return Requested(math.prod(shape))


def count_committed(
    run: CommittedRun, stage: int, names: Sequence[str], requested: Requested | None
) -> Status:
    """Count the elements of a function that are committed.

    Parameters
    ----------
    run
        What is committed.
    stage
        Number of the function.
    names
        Its outputs.
    requested
        The elements that count; None for all, if their number is not known.

    Returns
    -------
    Status
        Failed are those that are an error in any output.

    """
    total = None if requested is None else requested.size
    pieces = run.pieces(stage, len(names), total, checked=False)
    size = max((piece.stop for outputs in pieces for piece in outputs), default=0) if total is None else total
    present, failed = np.ones(size, dtype=bool), np.zeros(size, dtype=bool)
    for k in range(len(names)):
        tags = np.full(size, MISSING, dtype=np.uint8)
        for outputs in pieces:
            outputs[k].lay_over(TAGS, 0, size, tags)
        present &= tags != MISSING
        failed |= tags == ERROR
    if requested is not None and requested.runs is not None:
        present &= requested.mask()
    failed &= present
    n_failed = int(failed.sum())
    n_total = None if requested is None else len(requested)
    return Status(n_total, n_completed=int(present.sum()) - n_failed, n_failed=n_failed)
