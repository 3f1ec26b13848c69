"""`LRUCache` and `HybridCache`: caches of limited size, in this process or shared by several."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

from pipefunc_c.cache._base import ATOMIC, CacheBase, copied
from pipefunc_c.cache._content import RecentContent, WeightedContent
from pipefunc_c.cache._shared import UNREACHABLE, SharedContent

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class BoundedCache(CacheBase):
    """Keep a limited number of values; the base of `LRUCache` and `HybridCache`.

    A shared cache lives in this process until it is pickled, as it is when it goes to a worker, or until
    `share` is called. Then its values move to a process of their own, and it and all its copies use those. A
    copy that cannot reach that process goes on alone with the values that there were when it was pickled.
    """

    def __init__(self, content: RecentContent, allow_cloudpickle: bool, shared: bool, copy: bool) -> None:
        self.max_size = content.max_size
        self.allow_cloudpickle = allow_cloudpickle
        self.shared = shared
        self.copy = copy
        self._content: RecentContent | SharedContent = content
        self._new_content = content.__getstate__(), type(content)  # to begin anew with
        self._sharing = threading.Lock()

    def share(self) -> None:
        """Move the values to a process of their own, if this is a shared cache and it is not done yet.

        From then on a copy of this cache that goes to another process, by a pickle or a fork, sees what is
        put here, and the other way round.
        """
        with self._sharing:
            if self.shared and isinstance(self._content, RecentContent):
                self._content = SharedContent(self._content, allow_cloudpickle=self.allow_cloudpickle)

    def _ask(self, ask: Callable[[RecentContent | SharedContent], Any]) -> Any:
        if isinstance(self._content, RecentContent):
            return ask(self._content)
        try:
            return ask(self._content)
        except UNREACHABLE as error:
            state, kind = self._new_content
            content = kind.__new__(kind)
            content.__setstate__(state)
            kept = None if isinstance(self._content, RecentContent) else self._content.state()
            self._content = content
            if kept is not None:  # in a pickle that was opened elsewhere
                content.restore(kept)
                return ask(content)
            self.shared = False
            message = (
                f"The process of a shared {type(self).__name__} cannot be reached from here "
                f"({type(error).__name__}: {error}); an empty cache of this process is used from now on."
            )
            warnings.warn(message, UserWarning, stacklevel=4)
            return ask(content)

    def lookup(self, key: Hashable, default: Any) -> Any:  # noqa: D102  as in the base
        content = self._content
        if isinstance(content, RecentContent):
            found, value = content.lookup(key)
            if not found:
                return default
            return value if type(value) in ATOMIC or not self.copy else copied(value)
        found, value = self._ask(lambda content: content.lookup(key))
        return value if found else default

    def keep(self, key: Hashable, value: Any, duration: float) -> None:  # noqa: D102  as in the base
        if isinstance(self._content, RecentContent) and self.copy:
            value = copied(value)
        self._ask(lambda content: content.put(key, value, duration))

    def remove(self, key: Hashable) -> None:
        """Remove a value, if there is one.

        Parameters
        ----------
        key
            Its key.

        """
        self._ask(lambda content: content.remove(key))

    @property
    def cache(self) -> dict[Any, Any]:  # noqa: D102  as in the base
        return self._ask(lambda content: content.values())  # type: ignore[no-any-return]

    def __contains__(self, key: Hashable) -> bool:
        return bool(self._ask(lambda content: content.contains(key)))

    def __len__(self) -> int:
        return int(self._ask(lambda content: content.size()))

    def clear(self) -> None:  # noqa: D102  as in the base
        self._ask(lambda content: content.clear())

    def __getstate__(self) -> dict[str, Any]:
        self.share()
        return {name: value for name, value in self.__dict__.items() if name != "_sharing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _sharing=threading.Lock())


class LRUCache(BoundedCache):
    """Keep what was used last.

    Parameters
    ----------
    max_size
        How many values to keep.
    allow_cloudpickle
        Whether values may be pickled by cloudpickle where the cache is shared by processes.
    shared
        Whether all copies of this cache in other processes have the same values. It costs nothing until the
        cache is pickled; from then on each use asks another process.
    copy
        Whether values are copied deeply when they go in and out.

    Raises
    ------
    InvalidValueError
        If `max_size` is less than 1.

    Examples
    --------
    >>> cache = LRUCache(max_size=2)
    >>> for key in "abc":
    ...     cache.put(key, key.upper())
    >>> cache.cache
    {'b': 'B', 'c': 'C'}

    """

    def __init__(
        self,
        *,
        max_size: int = 128,
        allow_cloudpickle: bool = True,
        shared: bool = True,
        copy: bool = True,
    ) -> None:
        super().__init__(RecentContent(max_size), allow_cloudpickle, shared, copy)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value, in the place of an earlier one.

        Parameters
        ----------
        key
            Anything hashable.
        value
            Any value.

        """
        self.keep(key, value, 0.0)


class HybridCache(BoundedCache):
    """Keep what is used often and took long.

    Parameters
    ----------
    max_size
        How many values to keep.
    access_weight, duration_weight
        What counts how much: a value's share in all uses, and its share in all time spent. The one with the
        lowest sum is dropped.
    allow_cloudpickle, shared, copy
        As for `LRUCache`.

    Raises
    ------
    InvalidValueError
        If `max_size` is less than 1.

    Examples
    --------
    >>> cache = HybridCache(max_size=2)
    >>> for key, seconds in [("slow", 9.0), ("fast", 0.1), ("new", 1.0)]:
    ...     cache.put(key, key.upper(), seconds)
    >>> sorted(cache.cache), cache.access_counts["new"]
    (['new', 'slow'], 1)

    """

    def __init__(  # noqa: PLR0913  the keywords are the public interface
        self,
        max_size: int = 128,
        access_weight: float = 0.5,
        duration_weight: float = 0.5,
        *,
        allow_cloudpickle: bool = True,
        shared: bool = True,
        copy: bool = True,
    ) -> None:
        content = WeightedContent(max_size, access_weight, duration_weight)
        super().__init__(content, allow_cloudpickle, shared, copy)
        self.access_weight = access_weight
        self.duration_weight = duration_weight

    def put(self, key: Hashable, value: Any, duration: float) -> None:
        """Keep a value, in the place of an earlier one.

        Parameters
        ----------
        key
            Anything hashable.
        value
            Any value.
        duration
            What computing it took, in seconds.

        """
        self.keep(key, value, duration)

    @property
    def access_counts(self) -> dict[Any, int]:
        """How often each value was put or found."""
        return self._ask(lambda content: content.statistics())["counts"]  # type: ignore[no-any-return]

    @property
    def computation_durations(self) -> dict[Any, float]:
        """What computing each value took, in seconds."""
        return self._ask(lambda content: content.statistics())["durations"]  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return (
            f"Cache: {self.cache}\n"
            f"Access Counts: {self.access_counts}\n"
            f"Computation Durations: {self.computation_durations}\n"
        )
