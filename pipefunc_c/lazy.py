"""Calls that are noted down and made when their results are asked for."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from pipefunc_c import _optional
from pipefunc_c.cache._base import MISSING
from pipefunc_c.cache._simple import SimpleCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import networkx

__all__ = ["LazyFunction", "TaskGraph", "construct_dag", "evaluate_lazy", "task_graph"]

_numbers = itertools.count()


class LazyFunction:
    """Stand for the result of a call that was not made yet.

    Parameters
    ----------
    func
        What to call.
    args, kwargs
        The arguments; what is lazy in them, also inside of dicts, lists, tuples and sets, is evaluated first.
    find
        Called first, if given: returns the result if it is known already, so that nothing need be evaluated,
        else `pipefunc_c.cache._base.MISSING`.

    Examples
    --------
    >>> half = LazyFunction(lambda x: x / 2, (3,))
    >>> LazyFunction(sum, ([half, half],)).evaluate()
    3.0

    """

    def __init__(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        find: Callable[[], Any] | None = None,
    ) -> None:
        self.func = func
        self.args = args
        self.kwargs = dict(kwargs or {})
        self._find = find
        self._result: Any = MISSING
        self._number = next(_numbers)
        graph = task_graph()
        if graph is not None:
            _add_to(graph, self)

    @property
    def is_evaluated(self) -> bool:
        """Whether the call was made."""
        return self._result is not MISSING

    def evaluate(self) -> Any:
        """Make the call, once, and those that it needs.

        Returns
        -------
        Any
            The result.

        """
        # A stack and not recursion: chains of calls may be long.
        waiting = [self]
        while waiting:
            lazy = waiting[-1]
            if lazy.is_evaluated:
                waiting.pop()
                continue
            if lazy._find is not None:
                lazy._result = lazy._find()
                lazy._find = None
                continue
            needed = [each for each in _lazies_in((lazy.args, lazy.kwargs)) if not each.is_evaluated]
            if needed:
                waiting.extend(reversed(needed))
            else:
                lazy._result = lazy.func(*evaluate_lazy(lazy.args), **evaluate_lazy(lazy.kwargs))
        return self._result

    def __repr__(self) -> str:
        # What is lazy itself is named only: written out, a graph with branches would grow without bound.
        values = [_shown(value) for value in self.args]
        values += [f"{name}={_shown(value)}" for name, value in self.kwargs.items()]
        return f"{_name(self)}({', '.join(values)})"

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._result is MISSING:
            del state["_result"]  # the sentinel is another object elsewhere
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"_result": MISSING, **state, "_number": next(_numbers)})


def _name(lazy: LazyFunction) -> str:
    return str(getattr(lazy.func, "__name__", type(lazy.func).__name__))


def _shown(value: Any) -> str:
    return f"{_name(value)}(...)" if isinstance(value, LazyFunction) else repr(value)


def _lazies_in(value: Any) -> Iterator[LazyFunction]:
    if isinstance(value, LazyFunction):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _lazies_in(key)
            yield from _lazies_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _lazies_in(each)


def contains_lazy(value: Any) -> bool:
    """Tell whether a value is lazy, or a container with something lazy in it.

    Parameters
    ----------
    value
        Any value.

    Returns
    -------
    bool
        Whether `evaluate_lazy` would return something else.

    Examples
    --------
    >>> contains_lazy([1, LazyFunction(len, ("a",))]), contains_lazy([1])
    (True, False)

    """
    return next(_lazies_in(value), None) is not None


def evaluate_lazy(x: Any) -> Any:
    """Evaluate what is lazy in a value.

    Parameters
    ----------
    x
        A lazy object, a dict, list, tuple or set of such, possibly nested, or anything else.

    Returns
    -------
    Any
        The results in the same structure; the value itself if nothing in it is lazy.

    Examples
    --------
    >>> evaluate_lazy({"n": [LazyFunction(len, ("abc",)), 1]})
    {'n': [3, 1]}

    """
    if isinstance(x, LazyFunction):
        return x.evaluate()
    if not isinstance(x, dict | list | tuple | set | frozenset) or not contains_lazy(x):
        return x
    if isinstance(x, dict):
        items = {evaluate_lazy(key): evaluate_lazy(value) for key, value in x.items()}
        return items if type(x) is dict else _refilled(x, items)
    values = [evaluate_lazy(each) for each in x]
    if hasattr(x, "_fields"):  # a named tuple
        return type(x)(*values)
    return type(x)(values)


def _refilled(mapping: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    """Return a dict of the same kind with other items; a default factory, for one, stays."""
    new = mapping.copy()
    new.clear()
    new.update(items)
    return new


class TaskGraph(NamedTuple):
    """Hold the calls that were noted down in a `construct_dag` block.

    Parameters
    ----------
    graph
        A number per call, with the attribute ``lazy_func``; edges lead from a call to those that use its
        result.
    mapping
        Lazy object per number.
    cache
        Lazy objects of cached functions, so that the same call stands in the graph once.

    """

    graph: networkx.DiGraph
    mapping: dict[int, LazyFunction]
    cache: SimpleCache


_current: contextvars.ContextVar[TaskGraph | None] = contextvars.ContextVar("task_graph", default=None)


def task_graph() -> TaskGraph | None:
    """Return the graph of the present `construct_dag` block, None outside of one."""
    return _current.get()


@contextlib.contextmanager
def construct_dag() -> Iterator[TaskGraph]:
    """Collect the lazy calls that are noted down inside of a ``with`` block.

    Yields
    ------
    TaskGraph
        The graph; it stays when the block ends.

    Examples
    --------
    >>> with construct_dag() as dag:
    ...     n = LazyFunction(len, ("abc",))
    ...     text = LazyFunction(str, (n,))
    >>> dag.graph.number_of_nodes(), dag.graph.number_of_edges(), task_graph() is None
    (2, 1, True)

    """
    graph = TaskGraph(_optional.require("networkx").DiGraph(), {}, SimpleCache(copy=False))
    token = _current.set(graph)
    try:
        yield graph
    finally:
        _current.reset(token)


def _add_to(graph: TaskGraph, lazy: LazyFunction) -> None:
    # Those that were made before the block come in with the first call that uses them.
    waiting = [lazy]
    while waiting:
        each = waiting.pop()
        if each._number in graph.mapping:
            continue
        graph.mapping[each._number] = each
        graph.graph.add_node(each._number, lazy_func=each)
        for needed in _lazies_in((each.args, each.kwargs)):
            waiting.append(needed)
            graph.graph.add_edge(needed._number, each._number)
