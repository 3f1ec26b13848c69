"""The run folder of a driver: whose it is, cleared or resumed, and kept up to date."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._faults import fault_point
from pipefunc_c._storage.run_lock import LOCK_NAME, RunLock, is_ours
from pipefunc_c.exceptions import InvalidValueError, OperationError
from pipefunc_c.map._run_folder.referenced import data_digests
from pipefunc_c.map._run_folder.resume import check_resume, file_contents
from pipefunc_c.map._run_folder.run_files import prepared, write_json, write_prepared
from pipefunc_c.map._run_folder.run_info import RUN_INFO, RunInfo, own_version, read_run_info
from pipefunc_c.map._stages.polars import parquet_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from pipefunc_c._function.pipefunc import PipeFunc

ResumeValidation = Literal["auto", "strict", "skip"]

_SHOWN_NAMES = 3


class RunFolder:
    """A run folder that this process drives: it holds the lock until it is closed.

    Parameters
    ----------
    info
        The run.
    lock
        The lock, held.
    resumed
        Whether the results in the folder are to be kept.
    sync
        Whether to wait for the disk at each write.
    """

    def __init__(self, info: RunInfo, lock: RunLock, *, resumed: bool, sync: bool = False) -> None:
        self.info = info
        self.lock = lock
        self.resumed = resumed
        self._sync = sync

    @property
    def path(self) -> Path:
        """The folder."""
        return self.info.folder

    def record_shapes(self, shapes: Mapping[str, Sequence[Any]]) -> None:
        """Note full shapes that became known, so that those who open the folder know them too."""
        if self.info.with_resolved(shapes):
            self.info.dump(sync=self._sync)

    def export(self, values: Mapping[str, Any]) -> None:
        """Write outputs of single calls to where users look for them: outputs/<name>.cloudpickle.

        Frames of polars are written in the parquet format, which other programs can read.
        """
        for name, value in values.items():
            path = self.path / "outputs" / f"{name}.cloudpickle"
            content = parquet_of(value) or prepared(value, f"the output {name!r}")
            write_prepared(path, content, sync=self._sync)

    def close(self) -> None:
        """Give the folder free; a second time does nothing."""
        self.lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_run_folder(  # noqa: PLR0913  each is an option of the run
    run_folder: str | Path,
    info: RunInfo,
    functions: Iterable[PipeFunc[..., Any]],
    *,
    resume: bool = False,
    resume_validation: ResumeValidation = "auto",
    sync: bool = False,
) -> RunFolder:
    """Make a run folder ready for a run: new, cleared or resumed.

    Parameters
    ----------
    run_folder
        The folder; it is made if need be.
    info
        What is to be run, from `describe_run`.
    functions
        The functions, in the order of ``info.stages``.
    resume
        Keep the results of an earlier run, if there is one.
    resume_validation
        "auto" refuses other inputs and warns of edited functions, "strict" refuses these and what cannot be
        compared as well, "skip" looks at neither.
    sync
        Wait for the disk at each write, so that it survives a power failure.

    Returns
    -------
    RunFolder
        It holds the lock of the folder; close it when the run is over.

    Raises
    ------
    InvalidValueError
        If the folder holds something else than a run of ours: nothing in it is touched. If the run cannot be
        resumed; the message says why.
    DamagedFileError
        If a file that is needed to resume is damaged.
    RunFolderInUseError
        If another driver holds the lock.
    """
    if resume_validation not in ("auto", "strict", "skip"):
        raise InvalidValueError(
            f"resume_validation is {resume_validation!r}", hint="allowed are 'auto', 'strict', 'skip'"
        )
    folder = Path(os.path.abspath(run_folder))
    functions = list(functions)
    check_is_ours(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidValueError(f"the run_folder {str(folder)!r} cannot be made: {error}") from error
    lock = RunLock(folder)
    lock.acquire()
    try:
        check_is_ours(folder)  # somebody may have been faster
        state, _ = read_run_info(folder)
        resumed = resume and state in ("valid", "damaged")
        if resumed:
            info = check_resume(folder, info, functions, resume_validation, sync=sync)
        else:
            info = _start_over(folder, info, functions, sync=sync)
    except BaseException:
        lock.release()
        raise
    return RunFolder(info, lock, resumed=resumed, sync=sync)


# -- whose it is -------------------------------------------------------------------------------------


def check_is_ours(folder: Path) -> None:
    """Refuse a folder that is neither empty nor made by us; nothing is written.

    Parameters
    ----------
    folder
        The folder, which need not exist.

    Raises
    ------
    InvalidValueError
        If it holds something else.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InvalidValueError(f"the run_folder {str(folder)!r} is a file", detail=folder) from None
    except OSError as error:
        raise InvalidValueError(f"the run_folder {str(folder)!r} cannot be read: {error}") from error
    if not names:
        return
    # Through a link we would take another folder's mark for this one's.
    is_linked = (folder / RUN_INFO).is_symlink()
    state = "absent" if is_linked else read_run_info(folder)[0]
    if state == "pipefunc":
        raise InvalidValueError(
            f"the run_folder {str(folder)!r} was written by pipefunc; it was not touched",
            detail=folder,
            hint="give another run_folder, or remove this one yourself",
        )
    if state in ("valid", "tombstone") or _is_locked_by_us(folder):
        return
    shown = ", ".join(map(repr, names[:_SHOWN_NAMES])) + (", ..." if len(names) > _SHOWN_NAMES else "")
    raise InvalidValueError(
        f"the run_folder {str(folder)!r} holds something else than a run ({shown}); it was not touched",
        detail=folder,
        hint="give a new or empty folder: without resume=True a run folder is cleared",
    )


def _is_locked_by_us(folder: Path) -> bool:
    path = folder / LOCK_NAME
    if path.is_symlink() or not path.is_file():
        return False
    # An empty one is left by a kill while it was made.
    return is_ours(folder) or path.stat().st_size == 0


# -- starting over -----------------------------------------------------------------------------------


def _start_over(folder: Path, info: RunInfo, functions: list[PipeFunc[..., Any]], *, sync: bool) -> RunInfo:
    contents = file_contents(info, functions)  # what cannot be pickled is refused before anything is deleted
    clear(folder, sync=sync)
    digests = {file: write_prepared(folder / file, content, sync=sync) for file, content in contents}
    fault_point("before_run_info")
    digests |= data_digests(info.inputs)
    info = dataclasses.replace(info, run_folder=folder, digests=digests, pipefunc_version=own_version())
    info.dump(sync=sync)
    return info


def clear(folder: Path, *, sync: bool = False) -> None:
    """Delete all but the lock from a run folder of ours.

    A tombstone takes the place of run_info.json first, so that a run that dies here leaves a folder that is
    known to be ours and to hold nothing. Links are removed, never followed.

    Parameters
    ----------
    folder
        The folder.
    sync
        Whether to wait for the disk.

    Raises
    ------
    OperationError
        If something cannot be deleted.
    """
    with os.scandir(folder) as entries:
        found = sorted(
            (entry for entry in entries if not entry.name.startswith(LOCK_NAME)), key=lambda entry: entry.name
        )
    if not found:
        return
    if (folder / RUN_INFO).is_dir() and not (folder / RUN_INFO).is_symlink():
        shutil.rmtree(folder / RUN_INFO)
    write_json(folder / RUN_INFO, {"tombstone": True}, sync=sync)
    for entry in found:
        if entry.name == RUN_INFO:
            continue
        fault_point("mid_clear")
        try:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OperationError(
                f"{entry.path!r} of the last run cannot be deleted: {error}",
                detail=entry.path,
                hint="delete the folder yourself, or give another run_folder",
            ) from error
