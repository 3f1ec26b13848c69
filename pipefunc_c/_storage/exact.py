"""NumPy values that pickle gives back with another type or byte order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class _Exact:
    """Pickles a NumPy scalar whose type, or an array whose dtype, NumPy itself does not restore."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        value = self._value
        if isinstance(value, np.ndarray):
            kind = value.dtype.type if value.dtype.type in _INEXACT else None
            return _restore_array, (value.dtype, kind, value)
        return _restore_scalar, (type(value), value, getattr(value, "__dict__", None))


def _restore_array(
    dtype: np.dtype[Any], kind: type[np.generic] | None, plain: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    array = plain.astype(dtype, copy=False)
    return array if kind is None else array.view(np.dtype(kind).newbyteorder(dtype.byteorder))


def _restore_scalar(kind: type[Any], plain: np.generic, state: dict[str, Any] | None) -> Any:
    value = kind(plain)
    if state:
        value.__dict__.update(state)
    return value


_ARRAYS = {np.ndarray, np.memmap}
# Where it is no other name of one of them, a NumPy scalar of this type comes back as one of 64 bits.
_INEXACT = {np.longlong, np.ulonglong} - {np.int64, np.uint64}


def exact(values: list[Any]) -> list[Any]:
    """Wrap the values that pickle would not give back exactly.

    Parameters
    ----------
    values
        The values; only they are looked at, not what they hold.

    Returns
    -------
    list
        To be pickled; it is unpickled to the values, not to the wrappers.

    Notes
    -----
    A look at the types is enough for most lists.

    Examples
    --------
    >>> import pickle
    >>> big = np.arange(2).astype(">M8[s]")
    >>> pickle.loads(pickle.dumps(big)).dtype, pickle.loads(pickle.dumps(exact([big])))[0].dtype
    (dtype('<M8[s]'), dtype('>M8[s]'))
    """
    kinds = set(map(type, values))
    inexact = {kind for kind in kinds if issubclass(kind, np.generic) and _loses_type(kind)}
    if not inexact and kinds.isdisjoint(_ARRAYS):
        return values
    return [
        _Exact(value)
        if type(value) in inexact or (type(value) in _ARRAYS and _loses_dtype(value.dtype))
        else value
        for value in values
    ]


def _loses_dtype(dtype: np.dtype[Any]) -> bool:
    return not dtype.isnative or dtype.type in _INEXACT


def _loses_type(kind: type[np.generic]) -> bool:
    return kind in _INEXACT or (kind.__module__ != "numpy" and kind.__reduce__ is np.generic.__reduce__)
