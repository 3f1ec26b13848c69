"""`SimpleCache`: a dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c.cache._base import ATOMIC, CacheBase, copied

if TYPE_CHECKING:
    from collections.abc import Hashable


class SimpleCache(CacheBase):
    """Keep everything, in this process.

    Parameters
    ----------
    copy
        Whether values are copied deeply when they go in and out, so that nobody can change what is kept.

    Examples
    --------
    >>> cache = SimpleCache()
    >>> cache.put("a", [1])
    >>> cache.get("a"), cache.get("b"), "a" in cache, len(cache)
    ([1], None, True, 1)

    """

    def __init__(self, *, copy: bool = True) -> None:
        self.copy = copy
        self._values: dict[Hashable, Any] = {}

    def lookup(self, key: Hashable, default: Any) -> Any:  # noqa: D102  as in the base
        value = self._values.get(key, default)
        # Here and not only in `copied`, because it is the way of each hit.
        if type(value) in ATOMIC or value is default or not self.copy:
            return value
        return copied(value)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value, in the place of an earlier one.

        Parameters
        ----------
        key
            Anything hashable.
        value
            Any value.

        """
        self._values[key] = copied(value) if self.copy else value

    def keep(self, key: Hashable, value: Any, duration: float) -> None:  # noqa: D102  as in the base
        self.put(key, value)

    @property
    def cache(self) -> dict[Any, Any]:  # noqa: D102  as in the base
        return dict(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:  # noqa: D102  as in the base
        self._values.clear()
