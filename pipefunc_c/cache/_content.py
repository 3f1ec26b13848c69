"""What caches of limited size hold, and what they drop. These objects may live in a process of their own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError


def check_size(max_size: int, name: str = "max_size") -> None:
    """Refuse a size that is not a positive int."""
    given: object = max_size
    if not isinstance(given, int):
        message = f"`{name}` must be an int, got {max_size!r}"
        raise InvalidTypeError(message, detail=max_size)
    if max_size < 1:
        message = f"`{name}` must be at least 1, got {max_size}"
        raise InvalidValueError(message, detail=max_size, hint="Leave the cache out to keep nothing.")


class RecentContent:
    """Drop what was not used for the longest time.

    Parameters
    ----------
    max_size
        How many values to hold.

    Examples
    --------
    >>> content = RecentContent(2)
    >>> for key in "aba":
    ...     content.put(key, key.upper(), 0.0)
    >>> content.put("c", "C", 0.0)
    >>> content.values(), content.lookup("b")
    ({'a': 'A', 'c': 'C'}, (False, None))

    """

    def __init__(self, max_size: int) -> None:
        check_size(max_size)
        self.max_size = max_size
        self._values: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def lookup(self, key: Any) -> tuple[bool, Any]:
        """Return whether there is such a key, and its value."""
        with self._lock:
            if key not in self._values:
                return False, None
            self._values.move_to_end(key)
            return True, self._values[key]

    def put(self, key: Any, value: Any, duration: float) -> None:
        """Add or replace a value."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self.max_size:
                self._values.popitem(last=False)

    def remove(self, key: Any) -> None:
        """Remove a value, if there is one."""
        with self._lock:
            self._values.pop(key, None)

    def contains(self, key: Any) -> bool:
        """Tell whether there is such a key; this is no use of it."""
        return key in self._values

    def size(self) -> int:
        """Return the number of values."""
        return len(self._values)

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()

    def values(self) -> dict[Any, Any]:
        """Return the values by key, the next to be dropped first."""
        with self._lock:
            return dict(self._values)

    def statistics(self) -> dict[str, dict[Any, float]]:
        """Return what is counted per key."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return all that another content of the same size takes over by `restore`."""
        with self._lock:
            state = {name: value for name, value in self.__dict__.items() if name != "_lock"}
            return {name: v.copy() if isinstance(v, dict) else v for name, v in state.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        with self._lock:
            self.__dict__.update(state)

    def __getstate__(self) -> dict[str, Any]:
        return self.state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


class WeightedContent(RecentContent):
    """Drop what was used least and computed fastest.

    Parameters
    ----------
    max_size
        How many values to hold.
    access_weight, duration_weight
        Weights of a value's shares in all uses and in all time spent.

    Examples
    --------
    >>> content = WeightedContent(2, 0.5, 0.5)
    >>> for key, seconds in [("slow", 9.0), ("fast", 0.1), ("new", 1.0)]:
    ...     content.put(key, None, seconds)
    >>> sorted(content.values())
    ['new', 'slow']

    """

    def __init__(self, max_size: int, access_weight: float, duration_weight: float) -> None:
        super().__init__(max_size)
        self.access_weight = access_weight
        self.duration_weight = duration_weight
        self._counts: dict[Any, int] = {}
        self._durations: dict[Any, float] = {}

    def lookup(self, key: Any) -> tuple[bool, Any]:
        """Return whether there is such a key, and its value."""
        with self._lock:
            if key not in self._values:
                return False, None
            self._counts[key] += 1
            return True, self._values[key]

    def put(self, key: Any, value: Any, duration: float) -> None:
        """Add or replace a value."""
        with self._lock:
            if key not in self._values and len(self._values) >= self.max_size:
                self._drop(min(self._values, key=self._scores().__getitem__))
            self._values[key] = value
            self._counts[key] = self._counts.get(key, 0) + 1
            self._durations[key] = duration

    def _scores(self) -> dict[Any, float]:
        uses = sum(self._counts.values())
        seconds = sum(self._durations.values()) or 1.0
        return {
            key: self.access_weight * self._counts[key] / uses
            + self.duration_weight * self._durations[key] / seconds
            for key in self._values
        }

    def _drop(self, key: Any) -> None:
        for items in (self._values, self._counts, self._durations):
            items.pop(key, None)

    def remove(self, key: Any) -> None:
        """Remove a value, if there is one."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            for items in (self._values, self._counts, self._durations):
                items.clear()

    def statistics(self) -> dict[str, dict[Any, float]]:
        """Return the uses and the seconds per key."""
        with self._lock:
            return {"counts": dict(self._counts), "durations": dict(self._durations)}
