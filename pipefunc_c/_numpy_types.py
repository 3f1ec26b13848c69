"""Which scalar types fit into an array of a dtype without loss."""

from __future__ import annotations

import numpy as np

# What NumPy makes of numbers of Python; bool first, for it is an int.
_OF_PYTHON = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}
# Some versions of NumPy give the others, which are abstract, a dtype, with a warning.
_CONCRETE = frozenset(np.sctypeDict.values())


def converts_without_loss(kind: type, scalar: type) -> bool:
    """Tell whether values of a type go into a numeric array and keep their values.

    An int counts as 64 bits wide, and as a float64: whether a value has more digits shows when it is there.

    Parameters
    ----------
    kind
        Type of the values, of Python or NumPy.
    scalar
        The type in ``npt.NDArray[scalar]``; it may be abstract, as ``np.floating``.

    Returns
    -------
    bool
        Whether they do. False for all that are no numbers.

    Examples
    --------
    >>> converts_without_loss(int, np.float64), converts_without_loss(float, np.float32)
    (True, False)
    >>> converts_without_loss(bool, np.number), converts_without_loss(str, np.str_)
    (True, False)

    """
    own = _scalar_type(kind)
    if own is None or not issubclass(scalar, np.generic):
        return False
    if issubclass(own, scalar):
        return True
    source = _dtype(own)
    if source is None:
        return False
    target = _dtype(scalar)
    if target is not None:
        return target.kind in "biufc" and np.can_cast(source, target, "safe")
    wider = (np.int64, np.float64, np.complex128)
    return any(issubclass(each, scalar) and np.can_cast(source, each, "safe") for each in wider)


def _scalar_type(kind: type) -> type[np.generic] | None:
    if issubclass(kind, np.generic):
        return kind if issubclass(kind, np.number | np.bool_) else None
    return next((own for python, own in _OF_PYTHON.items() if issubclass(kind, python)), None)


def _dtype(scalar: type[np.generic]) -> np.dtype[np.generic] | None:
    return np.dtype(scalar) if scalar in _CONCRETE else None
