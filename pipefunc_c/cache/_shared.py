"""The content of a cache in a process of its own, which all that hold the cache ask."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.context
import os
import pickle
import threading
import warnings
from multiprocessing import connection
from multiprocessing.managers import BaseManager, RemoteError
from typing import TYPE_CHECKING, Any

from pipefunc_c import _optional
from pipefunc_c._hashing.canonical import canonical_digest
from pipefunc_c.cache._content import RecentContent, WeightedContent

if TYPE_CHECKING:
    from collections.abc import Hashable

_METHODS = (
    *("lookup", "put", "remove", "contains", "size", "clear", "values", "statistics", "state", "restore"),
)
# What tells that the process is gone, or that this process may not talk to it.
UNREACHABLE = (OSError, EOFError, multiprocessing.AuthenticationError, RemoteError)


class _ContentManager(BaseManager):
    """Run contents in a process of their own."""


_ContentManager.register("RecentContent", RecentContent, exposed=_METHODS)
_ContentManager.register("WeightedContent", WeightedContent, exposed=_METHODS)


def _end_with_parent() -> None:
    """Let the manager's process end when the one that started it does, however that ends."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        connection.wait([parent.sentinel])  # type: ignore[union-attr]  # a started process has a parent
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _start_manager() -> BaseManager:
    # Forking imports nothing again: it also works in scripts that do not guard their main part.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    manager = _ContentManager(ctx=multiprocessing.get_context(method))
    with warnings.catch_warnings():
        # Python warns of forks beside threads; the new process touches nothing that they may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        manager.start(_end_with_parent)
    return manager


class SharedContent:
    """Talk to a content in another process; keys and values cross as pickles that only its users open.

    Parameters
    ----------
    content
        What the other process starts with. Values that cannot be pickled are left behind with a warning.
    allow_cloudpickle
        Whether values may be pickled by cloudpickle, which knows lambdas and local classes.

    """

    def __init__(self, content: RecentContent, *, allow_cloudpickle: bool) -> None:
        self.allow_cloudpickle = allow_cloudpickle
        self._manager = _start_manager()
        arguments: tuple[float, ...] = (content.max_size,)
        if isinstance(content, WeightedContent):
            arguments += (content.access_weight, content.duration_weight)
        self._proxy: Any = getattr(self._manager, type(content).__name__)(*arguments)
        self._ticket = pickle.dumps(self._proxy)
        self._pid = os.getpid()
        self._snapshot: dict[str, Any] | None = None
        state = content.state()
        entries = {key: self._packed(key, value) for key, value in state["_values"].items()}
        names = {key: self._name(key) for key, entry in entries.items() if entry is not None}
        for name, values in state.items():
            if isinstance(values, dict):
                source = entries if name == "_values" else values
                state[name] = type(values)((names[key], source[key]) for key in values if key in names)
        self._proxy.restore(state)

    def state(self) -> dict[str, Any] | None:
        """Return what a content in this process takes over by ``restore``, as it was when this was pickled.

        Returns
        -------
        dict or None
            Without what this process cannot open; None if this was not pickled, or the process of the
            content was reached since.

        """
        if self._snapshot is None:
            return None
        keys, values = {}, {}
        for name, (key, value) in self._snapshot["_values"].items():
            try:
                keys[name] = pickle.loads(key)
                values[name] = pickle.loads(value)
            except Exception:  # of a class that this process does not have
                keys.pop(name, None)
        state = {**self._snapshot, "_values": type(self._snapshot["_values"])(values)}
        for what, items in state.items():
            if isinstance(items, dict):
                state[what] = type(items)((keys[name], items[name]) for name in items if name in keys)
        return state

    def _connected(self) -> Any:
        if self._pid != os.getpid():
            # After a fork the connection is that of the parent, and two must not talk through one.
            self._proxy = pickle.loads(self._ticket)
            self._pid = os.getpid()
            self._snapshot = None
        return self._proxy

    def _name(self, key: Hashable) -> str | None:
        """Return what stands for a key between processes, None if nothing does."""
        try:
            return canonical_digest(key)
        except Exception:  # the key cannot be pickled
            return None

    def _packed(self, key: Hashable, value: Any) -> tuple[bytes, bytes] | None:
        dumps = _optional.require("cloudpickle").dumps if self.allow_cloudpickle else pickle.dumps
        try:
            canonical_digest(key)
            return dumps(key), dumps(value)
        except Exception as error:  # whatever a user's class raises
            message = (
                f"A {type(value).__qualname__} is not kept in a shared cache, as it cannot be pickled: "
                f"{type(error).__name__}: {error}"
            )
            warnings.warn(message, UserWarning, stacklevel=5)
            return None

    def lookup(self, key: Hashable) -> tuple[bool, Any]:
        """Return whether there is such a key, and its value."""
        name = self._name(key)
        if name is None:
            return False, None
        found, packed = self._connected().lookup(name)
        try:
            return (True, pickle.loads(packed[1])) if found else (False, None)
        except Exception:  # of a class that this process does not have
            return False, None

    def put(self, key: Hashable, value: Any, duration: float) -> None:
        """Add or replace a value."""
        packed = self._packed(key, value)
        if packed is not None:
            self._connected().put(self._name(key), packed, duration)

    def remove(self, key: Hashable) -> None:
        """Remove a value, if there is one."""
        self._connected().remove(self._name(key))

    def contains(self, key: Hashable) -> bool:
        """Tell whether there is such a key."""
        return bool(self._connected().contains(self._name(key)))

    def size(self) -> int:
        """Return the number of values."""
        return int(self._connected().size())

    def clear(self) -> None:
        """Remove all values."""
        self._connected().clear()

    def values(self) -> dict[Any, Any]:
        """Return the values by key."""
        packed = self._connected().values().values()
        return {pickle.loads(key): pickle.loads(value) for key, value in packed}

    def statistics(self) -> dict[str, dict[Any, float]]:
        """Return what is counted per key."""
        proxy = self._connected()
        keys = {name: pickle.loads(key) for name, (key, _) in proxy.values().items()}
        return {
            what: {keys[name]: number for name, number in numbers.items() if name in keys}
            for what, numbers in proxy.statistics().items()
        }

    def __getstate__(self) -> dict[str, Any]:
        # Connected at first use: a pickle may be opened where the process cannot be reached. What is there
        # now is for that case; a child that is being started will reach it.
        snapshot = self._snapshot
        if multiprocessing.context.get_spawning_popen() is None:
            with contextlib.suppress(*UNREACHABLE):
                snapshot = self._connected().state()
        return {
            "_snapshot": snapshot,
            "allow_cloudpickle": self.allow_cloudpickle,
            "_ticket": self._ticket,
            "_pid": None,
            "_proxy": None,
        }
