"""Equality of inputs: whether a resumed run is given what the first one was given."""

from __future__ import annotations

import cmath
import dataclasses
import enum
import math
import pickle
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._hashing.identity import code_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RELATIVE_TOLERANCE = 1e-9

# They say themselves whether two frames are equal; `==` gives a frame.
_FRAME_PACKAGES = {"pandas", "polars", "xarray", "pyarrow", "geopandas"}


def is_equal(first: Any, second: Any) -> bool | None:
    """Compare two values, one of which may come from a pickle.

    Parameters
    ----------
    first, second
        The values.

    Returns
    -------
    bool or None
        Equal values have the same type and equal content: NaN equals NaN, floats may differ by a relative
        1e-9, NumPy arrays must have equal elements. None if the values cannot be compared.

    Examples
    --------
    >>> is_equal({"a": [1.0, float("nan")]}, {"a": [1.0 + 1e-12, float("nan")]})
    True
    >>> is_equal(1, 1.0), is_equal(iter([1]), iter([2]))
    (False, None)
    """
    try:
        return _compare(first, second)
    except RecursionError:  # a value that contains itself
        return None
    except Exception:  # the values have their own `__eq__`, which may do anything
        return None


def differing_names(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Find the names under which two dicts differ, and those that cannot be compared.

    Parameters
    ----------
    first, second
        Values by name; a name that only one has differs.

    Returns
    -------
    tuple of list of str
    """
    differing, unknown = [], []
    for name in sorted({*first, *second}):
        equal = name in first and name in second and is_equal(first[name], second[name])
        if equal is None:
            unknown.append(name)
        elif not equal:
            differing.append(name)
    return differing, unknown


def _compare(first: Any, second: Any) -> bool | None:  # noqa: PLR0912  one case per kind of value
    kind: Any = type(first)
    if kind is not type(second):
        return _compare_reloaded(first, second)
    if first is second:
        return True
    if isinstance(first, float):
        return _close(first, second)
    if isinstance(first, complex):
        if cmath.isnan(first) or cmath.isnan(second):
            return _close(first.real, second.real) and _close(first.imag, second.imag)
        return cmath.isclose(first, second, rel_tol=RELATIVE_TOLERANCE)
    if isinstance(first, np.floating):  # float64 is a float
        return _close(float(first), float(second))
    if isinstance(first, str | bytes | int | range):
        return bool(first == second)
    if isinstance(first, np.ndarray):
        return _compare_arrays(first, second)
    if isinstance(first, dict):
        # Defaults of a defaultdict, the order of an OrderedDict: what cannot be seen here does not matter.
        if len(first) != len(second) or any(key not in second for key in first):
            return False
        return _all(_compare(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and _all(
            _compare(one, other) for one, other in zip(first, second, strict=True)
        )
    if kind.__module__.partition(".")[0] in _FRAME_PACKAGES and callable(getattr(first, "equals", None)):
        return bool(first.equals(second))
    if isinstance(first, FunctionType):
        return _compare_code(first, second)
    if not _defines_eq(kind):
        return _compare_pickles(first, second)
    if dataclasses.is_dataclass(first):
        return _compare_fields(first, second)
    return bool(first == second)


def _close(first: float, second: float) -> bool:
    return (math.isnan(first) and math.isnan(second)) or math.isclose(
        first, second, rel_tol=RELATIVE_TOLERANCE
    )


def _all(results: Iterable[bool | None]) -> bool | None:
    """Give False if one is, else None if one is, else True."""
    unknown = False
    for result in results:
        if result is None:
            unknown = True
        elif not result:
            return False
    return None if unknown else True


def _compare_arrays(first: Any, second: Any) -> bool | None:
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    if np.ma.isMaskedArray(first):
        mask = np.ma.getmaskarray(first)
        return bool(np.array_equal(mask, np.ma.getmaskarray(second))) and _compare_arrays(
            np.ma.getdata(first)[~mask], np.ma.getdata(second)[~mask]
        )
    if first.dtype.hasobject:
        if first.dtype != object:
            return bool(np.array_equal(first, second))
        return _all(_compare(one, other) for one, other in zip(first.flat, second.flat, strict=True))
    # NaN are looked for only where the plain comparison fails: it is ten times as fast.
    if np.array_equal(first, second):
        return True
    return first.dtype.kind in "fcmM" and bool(np.array_equal(first, second, equal_nan=True))


def _compare_code(first: FunctionType, second: FunctionType) -> bool | None:
    one, other = code_identity(first), code_identity(second)
    return None if one.digest == other.digest and one.unknown else one.digest == other.digest


def _compare_pickles(first: object, second: object) -> bool | None:
    """Compare values that are equal only if they are the same: equal pickles are equal values."""
    return True if pickle.dumps(first, 5) == pickle.dumps(second, 5) else None


def _defines_eq(kind: type) -> bool:
    return any("__eq__" in vars(cls) for cls in kind.__mro__ if cls is not object)


def _compare_fields(first: Any, second: Any) -> bool | None:
    compared = [field.name for field in dataclasses.fields(first) if field.compare]
    if "__eq__" in vars(type(first)) and not _is_generated_eq(type(first)):
        return bool(first == second)
    return _all(_compare(getattr(first, name), getattr(second, name)) for name in compared)


def _is_generated_eq(kind: type) -> bool:
    code = getattr(vars(kind)["__eq__"], "__code__", None)
    return code is not None and code.co_filename == "<string>"


def _compare_reloaded(first: Any, second: Any) -> bool | None:
    """Compare values of two classes of one name: that of a script comes back from a pickle as another one."""
    kinds: tuple[Any, Any] = (type(first), type(second))
    modules = {"__main__" if kind.__module__ == "__mp_main__" else kind.__module__ for kind in kinds}
    if modules != {"__main__"} or kinds[0].__qualname__ != kinds[1].__qualname__:
        return False
    if isinstance(first, enum.Enum) and isinstance(second, enum.Enum):
        return _all([first.name == second.name, _compare(first.value, second.value)])
    if not (hasattr(first, "__dict__") and hasattr(second, "__dict__")):
        return None
    same = _compare(vars(first), vars(second))
    # A class without `__eq__` may hold what does not matter, a cache for one.
    compared = dataclasses.is_dataclass(first) or _defines_eq(kinds[0])
    return same if same or compared else None
