"""`DiskCache`: one file per value."""

from __future__ import annotations

import os
import pickle
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipefunc_c import _optional
from pipefunc_c._hashing.canonical import canonical_digest
from pipefunc_c.cache._base import MISSING, CacheBase
from pipefunc_c.cache._bounded import LRUCache
from pipefunc_c.cache._content import check_size

if TYPE_CHECKING:
    from collections.abc import Hashable

SUFFIX = ".pkl"


class DiskCache(CacheBase):
    """Keep values in the files of a folder, for later runs and other processes.

    Parameters
    ----------
    cache_dir
        The folder; it is made when the first value is written.
    max_size
        How many files to keep, the oldest are deleted; None: all.
    use_cloudpickle
        Whether to pickle by cloudpickle, which knows lambdas and local classes.
    with_lru_cache
        Whether to keep the values used last in memory too.
    lru_cache_size, lru_shared
        `max_size` and `shared` of that `LRUCache`.
    permissions
        Mode of the files, such as ``0o660``; None: as the umask says.

    Raises
    ------
    InvalidValueError
        If a size is less than 1.

    Notes
    -----
    A file is written under another name first, so that a crash leaves no half of it. One that cannot be read
    counts as missing. Like any pickle, the files must be trusted.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     DiskCache(folder).put("a", 1)
    ...     DiskCache(folder).get("a"), len(DiskCache(folder))
    (1, 1)

    """

    is_lasting = True
    shared = True  # files are for all

    def __init__(  # noqa: PLR0913  the keywords are the public interface
        self,
        cache_dir: str | Path,
        max_size: int | None = None,
        *,
        use_cloudpickle: bool = True,
        with_lru_cache: bool = True,
        lru_cache_size: int = 128,
        lru_shared: bool = True,
        permissions: int | None = None,
    ) -> None:
        if max_size is not None:
            check_size(max_size)
        self.cache_dir = Path(cache_dir)
        self.max_size = max_size
        self.use_cloudpickle = use_cloudpickle
        self.with_lru_cache = with_lru_cache
        self.permissions = permissions
        # By the names of files, so that it can forget what is deleted.
        self.lru_cache = LRUCache(max_size=lru_cache_size, shared=lru_shared) if with_lru_cache else None

    def share(self) -> None:  # noqa: D102  as in the base
        if self.lru_cache is not None:
            self.lru_cache.share()

    def _path(self, key: Hashable) -> Path:
        return self.cache_dir / (canonical_digest(key) + SUFFIX)

    def _read(self, path: Path) -> tuple[Any, Any]:
        """Return key and value of a file, or `MISSING` twice."""
        try:
            data = path.read_bytes()
        except OSError:
            return MISSING, MISSING
        try:
            key, value = pickle.loads(data)
        except Exception:  # cut off, of a class that is gone, or no file of ours
            return MISSING, MISSING
        return key, value

    def lookup(self, key: Hashable, default: Any) -> Any:  # noqa: D102  as in the base
        try:
            path = self._path(key)
        except Exception:  # no file can be named after a key that cannot be pickled
            return default
        if self.lru_cache is not None:
            value = self.lru_cache.lookup(path.name, MISSING)
            if value is not MISSING:
                return value
        value = self._read(path)[1]
        if value is MISSING:
            return default
        if self.lru_cache is not None:
            self.lru_cache.put(path.name, value)
        return value

    def put(self, key: Hashable, value: Any) -> None:
        """Write a value, in the place of an earlier one.

        Parameters
        ----------
        key
            Anything hashable that can be pickled.
        value
            Any value; one that cannot be pickled or written is not kept, with a warning.

        """
        dumps = _optional.require("cloudpickle").dumps if self.use_cloudpickle else pickle.dumps
        try:
            path = self._path(key)
            data = dumps((key, value))
            self._write(path, data)
        except Exception as error:  # whatever a user's class raises; a full disk
            message = (
                f"A {type(value).__qualname__} is not kept in {str(self.cache_dir)!r}: "
                f"{type(error).__name__}: {error}"
            )
            warnings.warn(message, UserWarning, stacklevel=3)
            return
        if self.lru_cache is not None:
            self.lru_cache.put(path.name, value)
        self._evict(path)

    def _write(self, path: Path, data: bytes) -> None:
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                if self.permissions is not None:
                    os.chmod(temporary, self.permissions)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _evict(self, newest: Path) -> None:
        if self.max_size is None:
            return
        ages = []
        for path in self._files():
            try:
                # The clock of a file system may be too coarse to tell the newest.
                ages.append((path == newest, path.stat().st_mtime_ns, path.name))
            except FileNotFoundError:  # another process was faster
                continue
        for *_, name in sorted(ages)[: max(0, len(ages) - self.max_size)]:
            self._delete(self.cache_dir / name)

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if self.lru_cache is not None:
            self.lru_cache.remove(path.name)

    def _files(self) -> list[Path]:
        return [path for path in self.cache_dir.glob(f"*{SUFFIX}") if not path.name.startswith(".")]

    def keep(self, key: Hashable, value: Any, duration: float) -> None:  # noqa: D102  as in the base
        self.put(key, value)

    @property
    def cache(self) -> dict[Any, Any]:
        """All values by key; each file is read."""
        pairs = [self._read(path) for path in sorted(self._files())]
        return {key: value for key, value in pairs if value is not MISSING}

    def __contains__(self, key: Hashable) -> bool:
        return self.lookup(key, MISSING) is not MISSING

    def __len__(self) -> int:
        return len(self._files())

    def clear(self) -> None:
        """Delete the files of all values, and no other file."""
        for path in self._files():
            self._delete(path)
        if self.lru_cache is not None:
            self.lru_cache.clear()
