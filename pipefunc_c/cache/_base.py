"""What all caches have in common."""

from __future__ import annotations

import abc
import copy
import datetime
import warnings
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

MISSING: Final[Any] = object()

# Of these a copy is the object itself.
ATOMIC: Final = frozenset(
    {type(None), bool, int, float, complex, str, bytes, range, datetime.date, datetime.datetime}
)


def copied(value: Any) -> Any:
    """Return a deep copy; where that is impossible warn and return the value itself."""
    if type(value) in ATOMIC:
        return value
    try:
        return copy.deepcopy(value)
    except Exception as error:  # whatever a user's class raises
        message = (
            f"A {type(value).__qualname__} in a cache cannot be copied ({type(error).__name__}: {error}), so "
            "the object itself is used: whoever changes it changes what the cache returns."
        )
        warnings.warn(message, UserWarning, stacklevel=4)
        return value


class CacheBase(abc.ABC):
    """Hold values by key.

    All caches may be used by several threads at a time.

    Attributes
    ----------
    shared
        Whether copies of the cache in other processes see what is put here.
    is_lasting
        Whether a later process finds what is in it.

    """

    shared: bool = False
    is_lasting: bool = False

    def share(self) -> None:  # noqa: B027  most caches have nothing to do
        """Make ready to be copied to other processes, if this is a shared cache."""

    @abc.abstractmethod
    def lookup(self, key: Hashable, default: Any) -> Any:
        """Return the value of a key, or a default; None is a value like any other.

        Parameters
        ----------
        key
            Anything hashable.
        default
            What to return if there is no such key.

        Returns
        -------
        Any
            The value.

        """

    @abc.abstractmethod
    def keep(self, key: Hashable, value: Any, duration: float) -> None:
        """Put a value of which it is known how long it took.

        Parameters
        ----------
        key
            Anything hashable.
        value
            Any value.
        duration
            What computing it took, in seconds.

        """

    def get(self, key: Hashable) -> Any:
        """Return the value of a key, None if there is none.

        Parameters
        ----------
        key
            Anything hashable.

        Returns
        -------
        Any
            The value.

        """
        return self.lookup(key, None)

    @property
    @abc.abstractmethod
    def cache(self) -> dict[Any, Any]:
        """All values by key; a copy."""

    @abc.abstractmethod
    def __contains__(self, key: Hashable) -> bool:
        """Tell whether there is a value for a key."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of values."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Remove all values."""

    def __bool__(self) -> bool:
        # An empty cache is one all the same: `cache or default` must not drop it.
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} values)"
