"""What the operating system offers: how much memory may be taken, and files that processes share.

Everything that only Linux has stands here beside a portable means, which the environment variable
``PIPEFUNC_C_PORTABLE=1`` forces.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import select
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from pipefunc_c._describe import bytes_text
from pipefunc_c._optional import is_available, require
from pipefunc_c.exceptions import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator

UNLIMITED = sys.maxsize

_NO_ROOM = {errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG}
_NOT_OFFERED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL}
# Reserved in steps: a signal makes the kernel give back the whole step and start it again.
_RESERVE_STEP = 64 << 20
_ZEROS = bytes(1 << 20)


def prefer_portable() -> bool:
    """Say whether portable means are to be used although the system may have better ones.

    Returns
    -------
    bool
        True if the environment variable ``PIPEFUNC_C_PORTABLE`` is set to something but ``0``.

    """
    return os.environ.get("PIPEFUNC_C_PORTABLE", "0") not in ("", "0")


def available_memory(root: str | Path = "/") -> tuple[int, str]:
    """Find how many bytes this process can take, and what sets this limit.

    It is the smallest of the memory that the machine has available and the room in the memory cgroup of
    this process and in each cgroup above it (versions 1 and 2). File cache that the kernel would give back
    counts as room.

    Parameters
    ----------
    root
        Folder below which ``proc`` and the cgroup file systems are looked for.

    Returns
    -------
    tuple
        Bytes, and a text for people. Where neither ``/proc`` nor psutil can tell, the first is `UNLIMITED`.

    Notes
    -----
    Takes less than a millisecond: it reads some ten small files. Swap space is not counted.

    Examples
    --------
    >>> nbytes, limit = available_memory()
    >>> nbytes > 0
    True

    """
    limits = [*_machine_memory(Path(root)), *_cgroup_memory(Path(root))]
    return min(limits, key=lambda limit: limit[0], default=(UNLIMITED, "no known limit"))


def _machine_memory(root: Path) -> Iterator[tuple[int, str]]:
    if not prefer_portable():
        for line in _text(root / "proc/meminfo").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024, "the available memory of this machine"
                return
    if is_available("psutil"):
        yield int(require("psutil").virtual_memory().available), "the available memory of this machine"


def _cgroup_memory(root: Path) -> Iterator[tuple[int, str]]:
    for level in _memory_levels(root, _text(root / "proc/self/cgroup")):
        limit = _number(level.limit)
        usage = None if limit is None else _number(level.usage)
        if limit is None or usage is None:
            continue
        statistics = dict(line.split(" ", 1) for line in _text(level.statistics).splitlines() if " " in line)
        room = limit - usage + int(statistics.get(level.cache, 0))
        folder, name = os.path.split(level.limit)
        yield max(room, 0), f"the memory cgroup {folder} with its {name} of {bytes_text(limit)}"


def granted_cores(root: str | Path = "/") -> int:
    """Count the cores that the cgroups of this process grant, at all levels (versions 1 and 2).

    Parameters
    ----------
    root
        Folder below which ``proc`` and the cgroup file systems are looked for.

    Returns
    -------
    int
        At least 1; a part of a core counts as one. `UNLIMITED` where there is no limit.

    Examples
    --------
    >>> granted_cores() >= 1
    True

    """
    granted = UNLIMITED
    for line in _text(Path(root) / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = Path(root, "sys/fs/cgroup", controllers)
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):
            granted = min(granted, _granted_by(mount.joinpath(*parts[:depth]), is_first=bool(controllers)))
    return granted


def _granted_by(folder: Path, *, is_first: bool) -> int:
    """Read the limit of one cgroup: of version 1 or 2."""
    if is_first:
        quota = _text(folder / "cpu.cfs_quota_us").strip()
        period = _text(folder / "cpu.cfs_period_us").strip()
    else:
        quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return UNLIMITED
    return max(1, -(-int(quota) // int(period)))


class _MemoryLevel(NamedTuple):
    """Where a cgroup says what it may take, what it takes, and what of that could be given back."""

    limit: str
    usage: str
    statistics: str
    cache: str


@functools.lru_cache(maxsize=8)
def _memory_levels(root: Path, own_cgroups: str) -> tuple[_MemoryLevel, ...]:
    """Find all levels of the cgroups of this process; kept, for it seldom moves and mounts are many."""
    mounts = list(_cgroup_mounts(root))
    levels: list[_MemoryLevel] = []
    for line in own_cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        version = 1 if controllers else 2
        for kind, top, mount_point in mounts:
            if kind == version:
                levels += _levels(version, root / mount_point.lstrip("/"), _below(path, top))
    return tuple(levels)


def _cgroup_mounts(root: Path) -> Iterator[tuple[int, str, str]]:
    """Version, cgroup that is mounted, and where, of each mount that controls memory."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount, _, source = line.partition(" - ")
        top, mount_point = (_unescape(part) for part in mount.split()[3:5])
        kind, *_, options = source.split()
        if kind == "cgroup2":
            yield 2, top, mount_point
        elif kind == "cgroup" and "memory" in options.split(","):
            yield 1, top, mount_point


def _below(path: str, top: str) -> tuple[str, ...]:
    """Parts of a cgroup path below the cgroup that is mounted; none if it lies elsewhere."""
    parts = tuple(part for part in path.split("/") if part)
    head = tuple(part for part in top.split("/") if part)
    # A process outside of its cgroup namespace has a path with "..", which nothing mounted leads to.
    return parts[len(head) :] if parts[: len(head)] == head and ".." not in parts else ()


def _levels(version: int, mount_point: Path, parts: tuple[str, ...]) -> Iterator[_MemoryLevel]:
    limit, usage, cache = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if version == 1
        else ("memory.max", "memory.current", "inactive_file")
    )
    for depth in range(len(parts), -1, -1):
        folder = mount_point.joinpath(*parts[:depth])
        yield _MemoryLevel(str(folder / limit), str(folder / usage), str(folder / "memory.stat"), cache)


def _text(path: str | Path) -> str:
    try:
        with open(path, errors="surrogateescape") as file:
            return file.read()
    except OSError:  # another system, or not ours to read
        return ""


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None  # "max" is no limit


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def create_shared_file(name: str, *, portable: bool | None = None) -> int:
    """Open a new, empty file without a place in any folder, which vanishes with its last user.

    Parameters
    ----------
    name
        Shown by tools that list open files; need not be unique.
    portable
        True for a temporary file instead of memory; by default what `prefer_portable` says.

    Returns
    -------
    int
        A file descriptor that child processes inherit by fork but not by exec. The caller closes it.

    Raises
    ------
    OSError
        If no file can be opened, because too many are open for instance.

    Examples
    --------
    >>> descriptor = create_shared_file("example")
    >>> os.fstat(descriptor).st_size
    0
    >>> os.close(descriptor)

    """
    portable = prefer_portable() if portable is None else portable
    if sys.platform == "linux" and not portable:
        try:
            return os.memfd_create(name[:60], os.MFD_CLOEXEC)
        except OSError as error:
            if error.errno not in _NOT_OFFERED:  # an old kernel, or a sandbox
                raise
    with tempfile.TemporaryFile(prefix="pipefunc_c-") as file:
        return os.dup(file.fileno())


def reserve(descriptor: int, offset: int, nbytes: int, *, portable: bool | None = None) -> None:
    """Make a file longer and take the room for it now, so that writing to a mapping of it cannot fail.

    Parameters
    ----------
    descriptor
        The file.
    offset
        Where the new bytes begin, in bytes; not before the end of the file.
    nbytes
        How many there are; they read as zeros.
    portable
        True to write zeros instead of asking the system; by default what `prefer_portable` says.

    Raises
    ------
    OutOfMemoryError
        If there is no room. The file is as long as before.
    OSError
        If the file cannot be written for another reason.

    Examples
    --------
    >>> descriptor = create_shared_file("example")
    >>> reserve(descriptor, 0, 4096)
    >>> os.fstat(descriptor).st_size
    4096
    >>> os.close(descriptor)

    """
    portable = prefer_portable() if portable is None else portable
    before = os.fstat(descriptor).st_size
    try:
        for start in range(offset, offset + nbytes, _RESERVE_STEP):
            step = min(_RESERVE_STEP, offset + nbytes - start)
            if portable or not _allocate(descriptor, start, step):
                _write_zeros(descriptor, start, step)
    except BaseException as error:
        os.ftruncate(descriptor, before)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            message = f"cannot reserve {bytes_text(nbytes)} in a shared file: {error.strerror}"
            raise OutOfMemoryError(
                message, detail=nbytes, hint="Run with fewer elements or more room."
            ) from error
        raise


def _allocate(descriptor: int, offset: int, nbytes: int) -> bool:
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(descriptor, offset, nbytes)
    except OSError as error:
        if error.errno in _NOT_OFFERED:
            return False
        raise
    return True


def _write_zeros(descriptor: int, offset: int, nbytes: int) -> None:
    end = offset + nbytes
    while offset < end:
        offset += os.pwrite(descriptor, _ZEROS[: end - offset], offset)


def count_threads() -> int:
    """Count the threads of this process, those that Python knows nothing of included.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> count_threads() >= 1
    True

    """
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return int(require("psutil").Process().num_threads())


def die_with(descriptor: int, *, portable: bool | None = None) -> None:
    """End this process at once when the other end of a pipe is closed, even while it computes.

    Parameters
    ----------
    descriptor
        The read end of a pipe whose write end only the parent holds.
    portable
        True for a thread that waits in the place of a signal; by default decided by the platform and the
        environment variable ``PIPEFUNC_C_PORTABLE``.

    """
    if portable is None:
        portable = prefer_portable()
    if portable or sys.platform != "linux":
        threading.Thread(target=_die_at_end, args=(descriptor,), daemon=True).start()
        return
    # The kernel sends the signal; PR_SET_PDEATHSIG would fire when the forking thread ends.
    fcntl = require("fcntl")
    # The leader of a group takes along what it started.
    leads = os.getpgrp() == os.getpid()
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpid() if leads else os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()  # select.select takes no descriptor above 1023
    poll.register(descriptor, select.POLLIN)
    if poll.poll(0):  # closed before the signal was asked for
        os.kill(os.getpid(), signal.SIGKILL)


def _die_at_end(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    end_group()


def end_group() -> NoReturn:
    """End this process at once, and what it started if it leads a group of processes."""
    if hasattr(os, "getpgrp") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
