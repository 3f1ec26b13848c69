"""Keys: hashable stand-ins for values that cannot be hashed."""

from __future__ import annotations

import array
import collections
import hashlib
import sys
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from pipefunc_c import _optional
from pipefunc_c.exceptions import InvalidValueError, PipefuncError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

UnhashableAction: TypeAlias = Literal["error", "warning", "ignore"]

MARKER = "__CONVERTED__"
LONGEST_CONTENT = 256  # bytes of an array that are kept as they are; of larger ones their digest

_Convert: TypeAlias = "Callable[[Any], Hashable]"


class UnhashableError(PipefuncError, TypeError):
    """Report a value that can be no part of a key."""


def to_hashable(obj: Any, fallback_to_pickle: bool = True) -> Any:
    """Return something hashable that is equal for equal values.

    Parameters
    ----------
    obj
        Any value.
    fallback_to_pickle
        Whether to take a digest of the pickle of what is neither hashable nor one of the known containers.

    Returns
    -------
    Hashable
        The value itself if it is hashable, else a tuple of a marker, the type and the content. Known are
        dict, OrderedDict, defaultdict, Counter, set, list, tuple, deque, bytearray, ``array.array``, NumPy
        arrays, and the series and frames of pandas and polars.

    Raises
    ------
    UnhashableError
        If this is not possible.

    Notes
    -----
    A hashable object stands for itself: whoever changes it in place finds what was kept for it before.

    Examples
    --------
    >>> to_hashable((1, "a"))
    (1, 'a')
    >>> to_hashable({"b": [1, 2], "a": 0})
    ('__CONVERTED__', <class 'dict'>, (('a', 0), ('b', ('__CONVERTED__', <class 'list'>, (1, 2)))))

    """

    def convert(value: Any) -> Hashable:
        try:
            hash(value)
        except Exception:  # the user's __hash__ may raise anything
            return _converted(value, convert, fallback_to_pickle)
        return value  # type: ignore[no-any-return]

    try:
        return convert(obj)
    except RecursionError:  # it contains itself; pickle can do that
        return (MARKER, type(obj), _pickle_digest(obj, fallback_to_pickle))
    except UnhashableError as error:
        raise _of_whole(error, obj) from error.__cause__


_ITSELF = frozenset({str, int, bytes, type(None)})
_SCALARS = frozenset({float, complex, bool})


def exact_key(obj: Any) -> Hashable:
    """Return a key that also tells 1, 1.0 and True apart, and 0.0 and -0.0.

    They are equal as keys of a dict, but a function may return something else for each.

    Parameters
    ----------
    obj
        Any value.

    Returns
    -------
    Hashable
        A key, for comparison with other such keys only.

    Raises
    ------
    UnhashableError
        If the value can be no part of a key.

    Examples
    --------
    >>> exact_key(1) == exact_key(1.0), exact_key([1]) == exact_key([True]), exact_key("a")
    (False, False, 'a')

    """
    if type(obj) in _ITSELF:
        return obj  # type: ignore[no-any-return]
    try:
        return _exact(obj)
    except RecursionError:  # as in to_hashable
        return (MARKER, type(obj), _pickle_digest(obj, True))
    except UnhashableError as error:
        raise _of_whole(error, obj) from error.__cause__


def _of_whole(error: UnhashableError, obj: Any) -> UnhashableError:
    """Name what was given, too, where it is a part of it that can be no key."""
    if error.detail is obj:
        return error
    message = f"{_with_article(obj)} can be no key, for {error.args[0]}"
    return UnhashableError(message, detail=error.detail, hint=error.hint)


def _with_article(obj: Any) -> str:
    name = type(obj).__qualname__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _exact(obj: Any) -> Hashable:
    kind = type(obj)
    if kind in _ITSELF:
        return obj  # type: ignore[no-any-return]
    if kind in _SCALARS:
        return (kind, obj) if obj else (kind, repr(obj))
    if kind is tuple:
        return (tuple, *[_exact(each) for each in obj])
    if isinstance(obj, np.generic) and not obj.dtype.hasobject:
        return (kind, obj.dtype, obj.tobytes())
    if kind is frozenset:
        return (frozenset, frozenset([_exact(each) for each in obj]))
    try:
        hash(obj)
    except Exception:  # as in to_hashable
        return _converted(obj, _exact, fallback=True)
    return obj  # type: ignore[no-any-return]


def _converted(obj: Any, convert: _Convert, fallback: bool) -> Hashable:
    content = _content(obj, convert)
    if content is None:
        content = _pickle_digest(obj, fallback)
    return (MARKER, type(obj), content)


def _content(obj: Any, convert: _Convert) -> Hashable | None:
    kind = type(obj)
    if kind in (list, tuple):
        return tuple([convert(each) for each in obj])
    if isinstance(obj, dict):
        return _dict_content(obj, kind, convert)
    if kind in (set, frozenset):
        return _sorted([convert(each) for each in obj])
    if kind is np.ndarray:
        return _array_content(obj, convert)
    if kind is np.ma.MaskedArray:
        parts = (np.ma.getdata(obj), np.ma.getmaskarray(obj))
        filled = np.array(obj.fill_value)
        return (*[_array_content(part, convert) for part in parts], _array_content(filled, convert))
    if kind is collections.deque:
        return (obj.maxlen, tuple([convert(each) for each in obj]))
    if kind is bytearray:
        return tuple(obj)
    if kind is array.array:
        return (obj.typecode, tuple(obj))
    return _table_content(obj, convert)


def _dict_content(obj: dict[Any, Any], kind: type, convert: _Convert) -> Hashable | None:
    pairs = [(convert(key), convert(value)) for key, value in obj.items()]
    if kind is collections.OrderedDict:
        return tuple(pairs)
    if isinstance(obj, collections.defaultdict) and kind is collections.defaultdict:
        return (obj.default_factory, _sorted(pairs))
    return _sorted(pairs) if kind in (dict, collections.Counter) else None


def _sorted(items: Iterable[Any]) -> tuple[Any, ...]:
    """Order items so that equal collections give equal tuples, also if they cannot be compared."""
    items = list(items)
    try:
        return tuple(sorted(items))
    except Exception:  # of different types, or arrays, or a user's class
        return tuple(sorted(items, key=repr))


def _array_content(obj: np.ndarray[Any, Any], convert: _Convert) -> Hashable:
    if obj.dtype.hasobject:
        return (obj.shape, obj.dtype, tuple([convert(each) for each in obj.ravel().tolist()]))
    data = np.ascontiguousarray(obj).tobytes()
    if len(data) > LONGEST_CONTENT:
        return (obj.shape, obj.dtype, len(data), hashlib.blake2b(data, digest_size=16).digest())
    return (obj.shape, obj.dtype, data)


def _table_content(obj: Any, convert: _Convert) -> Hashable | None:
    """Give the content of a series, index or frame; these packages are loaded if there is one."""
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None:
        content = _pandas_content(pandas, obj, convert)
        if content is not None:
            return content
    if polars is not None and isinstance(obj, polars.Series):
        return (obj.name, str(obj.dtype), _polars_values(obj, convert))
    if polars is not None and isinstance(obj, polars.DataFrame):
        return tuple([convert(column) for column in obj.get_columns()])
    if polars is not None and isinstance(obj, polars.LazyFrame | polars.Expr):
        plan = obj if isinstance(obj, polars.LazyFrame) else obj.meta
        try:
            return (plan.serialize(),)  # with the data that it starts from
        except Exception:  # there are Python functions in it; a pickle may have them
            return None
    return None


def _polars_values(series: Any, convert: _Convert) -> Hashable:
    if series.dtype.is_integer() or series.dtype.is_float():
        # A NaN in a list would be equal to no other.
        parts = (series.fill_null(0).to_numpy(), series.is_null().to_numpy())
        return tuple([_array_content(part, convert) for part in parts])
    return tuple([convert(each) for each in series.to_list()])


def _pandas_content(pandas: Any, obj: Any, convert: _Convert) -> Hashable | None:
    if isinstance(obj, pandas.DataFrame):
        columns = [convert(obj.iloc[:, k]) for k in range(obj.shape[1])]
        return (convert(obj.columns), convert(obj.index), tuple(columns))
    if isinstance(obj, pandas.Series):
        return (convert(obj.name), convert(obj.index), _pandas_values(pandas, obj, convert))
    if isinstance(obj, pandas.Index):
        names = tuple([convert(name) for name in obj.names])
        return (names, _pandas_values(pandas, obj, convert))
    if isinstance(obj, pandas.api.extensions.ExtensionArray):
        return _pandas_values(pandas, obj, convert)
    return None


def _pandas_values(pandas: Any, values: Any, convert: _Convert) -> Hashable:
    """Give the values of a series, index or array; those that are missing are told apart by their kind."""
    if isinstance(values.dtype, np.dtype):
        elements = values.to_numpy()
        if not elements.dtype.hasobject:
            return _array_content(elements, convert)
    else:
        values = getattr(values, "array", values)
        if isinstance(values, pandas.Categorical):
            codes = _array_content(np.asarray(values.codes), convert)
            return (convert(values.categories), bool(values.ordered), codes)
        elements = values.astype(object)
    missing = np.asarray(pandas.isna(elements), dtype=bool)
    # A missing value stands for itself only as an object: comparing it with others tells nothing.
    found = [
        (MARKER, type(each).__name__) if is_missing else convert(each)
        for each, is_missing in zip(elements, missing, strict=True)
    ]
    return (str(values.dtype), tuple(found))


def _pickle_digest(obj: Any, fallback: bool) -> str:
    name = _with_article(obj)
    hint = "Leave it out of what is cached, or make it hashable."
    if not fallback:
        message = f"{name} is not hashable and `fallback_to_pickle` is False"
        raise UnhashableError(message, detail=obj, hint=hint)
    try:
        data = _optional.require("cloudpickle").dumps(obj)
    except Exception as error:  # whatever a user's class raises
        message = f"{name} is neither hashable nor can it be pickled: {type(error).__name__}: {error}"
        raise UnhashableError(message, detail=obj, hint=hint) from error
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def try_to_hashable(
    obj: Any,
    fallback_to_pickle: bool = True,
    unhashable_action: UnhashableAction = "error",
    where: str = "function",
) -> Hashable | type[UnhashableError]:
    """Return something hashable, or say that there is nothing.

    Parameters
    ----------
    obj, fallback_to_pickle
        As for `to_hashable`.
    unhashable_action
        What to do if it is not possible: raise, or warn or keep silent and return `UnhashableError`.
    where
        Whose value it is, for the warning.

    Returns
    -------
    Hashable
        The key, or the class `UnhashableError`.

    Raises
    ------
    UnhashableError
        If it is not possible and `unhashable_action` is ``"error"``.
    InvalidValueError
        If `unhashable_action` is unknown.

    Examples
    --------
    >>> try_to_hashable([1], fallback_to_pickle=False)
    ('__CONVERTED__', <class 'list'>, (1,))
    >>> try_to_hashable(slice(1), fallback_to_pickle=False, unhashable_action="ignore")
    <class 'pipefunc_c.cache._hashable.UnhashableError'>

    """
    check_unhashable_action(unhashable_action)
    try:
        return to_hashable(obj, fallback_to_pickle)  # type: ignore[no-any-return]
    except UnhashableError as error:
        return unhashable(error, unhashable_action, where)


def check_unhashable_action(action: str) -> None:
    """Refuse an unknown `unhashable_action`."""
    if action not in ("error", "warning", "ignore"):
        message = f"`unhashable_action` must be 'error', 'warning' or 'ignore', got {action!r}"
        raise InvalidValueError(message, detail=action)


def unhashable(error: UnhashableError, action: UnhashableAction, where: str) -> type[UnhashableError]:
    """Do what `unhashable_action` says about an error."""
    if action == "error":
        raise error
    if action == "warning":
        message = f"The arguments of {where!r} cannot be hashed, the cache is skipped: {error.args[0]}"
        warnings.warn(message, UserWarning, stacklevel=4)
    return UnhashableError
