"""One driver at a time per run folder."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import timestamp_now
from pipefunc_c._optional import is_available, require
from pipefunc_c._platform import prefer_portable
from pipefunc_c._storage.ledger import DISK_IS_FULL, write_error
from pipefunc_c.exceptions import OperationError, RunFolderInUseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

LOCK_NAME = "driver.lock"
MAGIC = "pipefunc_c driver lock"

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


class RunLock:
    """Hold a run folder.

    The folder is free again when the last process that has the descriptor is dead: by default this one alone,
    and those forked inside `keep_in_child`. Every other child closes it.

    Parameters
    ----------
    folder
        The run folder; made if it is not there.
    portable
        True for a file that says who holds the folder instead of a lock of the system; by default where the
        system has none, or `prefer_portable` says so.

    Notes
    -----
    The file ``driver.lock`` is never deleted: it marks a run folder as ours. Without locks of the system a
    second file is made and removed, children do not count, and a holder on another machine that died must be
    cleared by hand.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with RunLock(folder):
    ...     RunLock(folder).acquire()  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.RunFolderInUseError: the run folder ... is in use: ...
    >>> RunLock(folder).acquire().release()
    """

    def __init__(self, folder: str | Path, *, portable: bool | None = None) -> None:
        self.folder = Path(folder)
        self.descriptor = -1
        self._keeper: int | None = None  # the thread that forks children which keep the lock
        self._held_file: Path | None = None
        self._owner = os.getpid()
        by_default = prefer_portable() or not is_available("fcntl")
        self._portable = by_default if portable is None else portable

    @property
    def path(self) -> Path:
        """The file that is locked."""
        return self.folder / LOCK_NAME

    @property
    def is_held(self) -> bool:
        """Whether this object holds the folder in this process."""
        return self.descriptor >= 0 or (self._held_file is not None and os.getpid() == self._owner)

    def acquire(self) -> RunLock:
        """Take the folder.

        Returns
        -------
        RunLock
            This lock.

        Raises
        ------
        RunFolderInUseError
            If another run holds it; the message names it.
        RunFolderWriteError
            If the disk is full.
        OperationError
            If this lock holds it already.
        """
        if self.is_held:
            raise OperationError(f"this lock holds {str(self.folder)!r} already")
        try:
            return self._acquire()
        except OSError as error:
            if error.errno in DISK_IS_FULL:
                raise write_error(self.path, error) from error
            raise

    def _acquire(self) -> RunLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._owner = os.getpid()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            if self._portable or not _lock(descriptor):
                self._take_file()
            elif self._is_replaced(descriptor):
                raise self._in_use(describe_holder(self.path))
            _write(descriptor, _own_text())
        except BlockingIOError:
            os.close(descriptor)
            raise self._in_use(describe_holder(self.path)) from None
        except BaseException:
            os.close(descriptor)
            raise
        if self._held_file is not None:
            os.close(descriptor)
        else:
            self.descriptor = descriptor
        _held.add(self)
        return self

    def _is_replaced(self, descriptor: int) -> bool:
        """Tell whether the file was deleted meanwhile, by hand, and another one stands in its place."""
        try:
            return not os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return True

    @classmethod
    def adopt(cls, folder: str | Path, descriptor: int) -> RunLock:
        """Hold a folder through a descriptor that came from its holder.

        Parameters
        ----------
        folder
            The run folder.
        descriptor
            The descriptor; it belongs to the new lock from now on.

        Returns
        -------
        RunLock
        """
        lock = cls(folder, portable=False)
        lock.descriptor = descriptor
        os.set_inheritable(descriptor, False)
        _held.add(lock)
        return lock

    def release(self) -> None:
        """Let go in this process; others that have the descriptor still hold it. May be called again."""
        # Only closed, never unlocked: that would unlock it for those that were forked as well.
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        held, self._held_file = self._held_file, None
        if held is not None and os.getpid() == self._owner:
            held.unlink(missing_ok=True)
        _held.discard(self)

    @contextmanager
    def keep_in_child(self) -> Iterator[None]:
        """Let the children that this thread forks meanwhile hold the folder too."""
        self._keeper = threading.get_ident()
        try:
            yield
        finally:
            self._keeper = None

    def _after_fork(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper != threading.get_ident():
            self.release()

    def __enter__(self) -> RunLock:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    # -- without locks of the system -----------------------------------------------------------------

    def _take_file(self) -> None:
        """Put down a numbered file; who finds another living one beside it withdraws."""
        own = self.folder / f"{LOCK_NAME}.{os.getpid()}-{os.urandom(4).hex()}"
        own.write_text(_own_text())
        try:
            while self._held_file is None:
                self._refuse_if_living(self._holders())
                number = max(self._holders(), default=0) + 1
                claimed = self._claim(number)
                if _link(own, claimed):
                    self._held_file = claimed
        finally:
            own.unlink(missing_ok=True)
        others = {number: path for number, path in self._holders().items() if path != self._held_file}
        try:
            # Of two that come at once, the second to put its file down sees that of the first.
            self._refuse_if_living(others)
        except RunFolderInUseError:
            self._held_file.unlink(missing_ok=True)
            self._held_file = None
            raise
        for path in others.values():
            path.unlink(missing_ok=True)

    def _claim(self, number: int) -> Path:
        return self.folder / f"{LOCK_NAME}.held-{number}"

    def _holders(self) -> dict[int, Path]:
        prefix = self._claim(0).name[:-1]
        names = [name for name in os.listdir(self.folder) if name.startswith(prefix)]
        numbers = [int(name[len(prefix) :]) for name in names if name[len(prefix) :].isdecimal()]
        return {number: self._claim(number) for number in numbers}

    def _refuse_if_living(self, holders: dict[int, Path]) -> None:
        for path in holders.values():
            holder = _read(path)
            if path.exists() and not _is_dead(holder):
                raise self._in_use(_describe(holder))

    def _in_use(self, holder: str) -> RunFolderInUseError:
        return RunFolderInUseError(
            f"the run folder {str(self.folder)!r} is in use: {holder}",
            detail=str(self.folder),
            hint="wait until it is done, or give another run_folder",
        )


def _lock(descriptor: int) -> bool:
    """Lock a file; False where the file system has no locks. BlockingIOError if another process has it."""
    fcntl = require("fcntl")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _link(source: Path, target: Path) -> bool:
    """Give a file its name if nothing has it, in one step."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:  # no hard links here
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        _write(descriptor, source.read_text())
        os.close(descriptor)
    return True


def _own_text() -> str:
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": timestamp_now()}
    return f"{MAGIC}\n{json.dumps(holder)}\n"


def _write(descriptor: int, text: str) -> None:
    data = text.encode()
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, data)
    os.ftruncate(descriptor, len(data))


def _read(path: Path) -> dict[str, Any]:
    """Read who holds a folder; empty if the file does not say."""
    try:
        magic, _, text = path.read_text(errors="replace").partition("\n")
        holder = json.loads(text) if magic == MAGIC else {}
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_dead(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process holds it"
    return f"process {holder.get('pid')} on {holder.get('host')} holds it since {holder.get('started')}"


def describe_holder(path: str | Path) -> str:
    """Say who holds a lock file, for messages."""
    return _describe(_read(Path(path)))


def holder_of(folder: str | Path) -> dict[str, Any]:
    """Say who holds a folder, or held it last: host, pid, and when it started.

    Examples
    --------
    >>> holder_of("no/such/folder")
    {}
    """
    return _read(Path(folder) / LOCK_NAME)


def is_held(folder: str | Path) -> bool:
    """Tell whether a process holds a folder now; nothing is written.

    Examples
    --------
    >>> is_held("no/such/folder")
    False
    """
    lock = RunLock(folder)
    try:
        holders = lock._holders()
        descriptor = os.open(lock.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        if any(path.exists() and not _is_dead(_read(path)) for path in holders.values()):
            return True
        return is_available("fcntl") and _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    fcntl = require("fcntl")
    try:
        # Shared, so that those who look do not see each other; the close lets go of it.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here
        return False
    return False


def is_ours(folder: str | Path) -> bool:
    """Tell whether a folder bears a lock file of ours.

    Examples
    --------
    >>> is_ours("no/such/folder")
    False
    """
    try:
        with (Path(folder) / LOCK_NAME).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC.encode()
    except OSError:
        return False


def _after_fork_in_child() -> None:
    for lock in list(_held):
        lock._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
