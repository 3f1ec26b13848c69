"""Plain immutable values as text."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib

import numpy as np

_REPR_IS_VALUE = (
    *(type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range),
    *(decimal.Decimal, fractions.Fraction),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
)


def plain_text(value: object) -> str | None:
    """Write a plain immutable value so that equal texts mean equal values; None for any other.

    Examples
    --------
    >>> plain_text((1, "a")), plain_text([1])
    ("tuple(int 1, str 'a')", None)
    """
    kind = type(value)
    if kind in _REPR_IS_VALUE:
        return f"{kind.__name__} {value!r}"
    if isinstance(value, enum.Enum):
        return f"enum {kind.__qualname__}.{value.name} {plain_text(value.value)}"
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return f"numpy {value.dtype.str} {value.tobytes().hex()}"
    if isinstance(value, np.dtype):
        return f"dtype {value!r}"
    if isinstance(value, pathlib.PurePath):
        return f"path {value}"
    if kind is slice:
        value = (value.start, value.stop, value.step)  # type: ignore[attr-defined]
    if kind in (tuple, slice, frozenset):
        texts = [plain_text(each) for each in value]  # type: ignore[attr-defined]
        known = [text for text in texts if text is not None]
        if len(known) < len(texts):
            return None
        # The order of a set differs from process to process.
        return f"{kind.__name__}({', '.join(sorted(known) if kind is frozenset else known)})"
    return None
