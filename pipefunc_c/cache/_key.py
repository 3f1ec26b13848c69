"""The keys under which pipelines and maps find what a function returned."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pipefunc_c._hashing.identity import CodeHasher
from pipefunc_c.cache._function_hash import callable_id
from pipefunc_c.cache._hashable import UnhashableError, exact_key

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from pipefunc_c._function.calling import CallableFunction


def function_cache_id(func: CallableFunction) -> str:
    """Return what stands for a function in keys: its output names and what its callable does.

    Parameters
    ----------
    func
        The function.

    Returns
    -------
    str
        The same in all processes, if the callable is known by its code; see `compute_function_hash`.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> one, other = PipeFunc(lambda x: x, "y"), PipeFunc(lambda x: -x, "y")
    >>> function_cache_id(one) == function_cache_id(other)
    False

    """
    return f"{','.join(func.output_names)}-{callable_id(func.func, CodeHasher())[0]}"


def map_key(func_id: str, error_mode: str, kwargs: Mapping[str, Any]) -> Hashable | None:
    """Return the key of one call in a map.

    Parameters
    ----------
    func_id
        From `function_cache_id`.
    error_mode
        How the map handles errors.
    kwargs
        The arguments of the call.

    Returns
    -------
    Hashable or None
        The key; None, with a warning, if there is no key for these arguments.

    Examples
    --------
    >>> map_key("y-1", "raise", {"b": 2, "a": 1}) == map_key("y-1", "raise", {"a": 1, "b": 2})
    True

    """
    try:
        return (func_id, error_mode, *[(name, exact_key(kwargs[name])) for name in sorted(kwargs)])
    except UnhashableError as error:
        name = func_id.partition("-")[0]
        message = f"The call for {name!r} is not cached: {error.args[0]}"
        warnings.warn(message, UserWarning, stacklevel=2)
        return None


class RunKey:
    """Make the key of a function in a run, from the values of the root arguments.

    Parameters
    ----------
    prefix
        Stands for all that happens between the root arguments and the result.
    names
        Names of the root arguments.

    Examples
    --------
    >>> RunKey("y-1", ("a", "b"))({"a": 1, "b": [2], "c": 3})
    ('y-1', 1, ('__CONVERTED__', <class 'list'>, (2,)))

    """

    __slots__ = ("names", "prefix")

    def __init__(self, prefix: str, names: tuple[str, ...]) -> None:
        self.prefix = prefix
        self.names = names

    def __call__(self, values: Mapping[str, Any], convert: Callable[[Any], Hashable] = exact_key) -> Hashable:
        """Return the key."""
        try:
            return (self.prefix, *[convert(values[name]) for name in self.names])
        except UnhashableError as error:
            name = next(name for name in self.names if values[name] is error.detail or _refused(values[name]))
            function = self.prefix.partition("-")[0]
            message = (
                f"{function!r} is cached, but for the argument {name!r} there is no key: {error.args[0]}"
            )
            raise UnhashableError(message, detail=name, hint=error.hint) from error


def _refused(value: Any) -> bool:
    try:
        exact_key(value)
    except UnhashableError:
        return True
    return False
