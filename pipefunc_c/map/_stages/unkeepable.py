"""Results that cannot be pickled, where errors are kept: each becomes the error of its element."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pipefunc_c._kernels.tags import OBJECT
from pipefunc_c._storage.object_pickle import refusal
from pipefunc_c.exceptions import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipefunc_c._kernels.column import Column
    from pipefunc_c.map._stages.failures import OriginTable

T = TypeVar("T")


def pickling(
    act: Callable[[], T],
    columns: Sequence[Column],
    names: Sequence[str],
    span: tuple[int, int],
    origins: OriginTable,
    *,
    first: int = 0,
) -> tuple[T, int]:
    """Pickle results; where some cannot be pickled, store that as their error and do it again.

    Parameters
    ----------
    act
        Pickles them.
    columns, names
        The columns of the results, and the outputs.
    span
        The half-open range of elements that it pickles.
    origins
        Of the errors.
    first
        Number of the element that has the index 0 in the columns, for messages.

    Returns
    -------
    tuple
        What `act` gives, and for how many elements there is an error now.

    Raises
    ------
    Exception
        What `act` raised, if all results can be pickled.
    """
    try:
        return act(), 0
    except (InvalidTypeError, MemoryError):
        refused = {
            index
            for column, name in zip(columns, names, strict=True)
            for index in _refuse(column, name, span, origins, first)
        }
        if not refused:
            raise
    return act(), len(refused)


def _refuse(
    column: Column, name: str, span: tuple[int, int], origins: OriginTable, first: int
) -> Iterator[int]:
    for index in (span[0] + np.flatnonzero(column.tags[slice(*span)] == OBJECT)).tolist():
        where = f"the result of {name!r} at element {first + index}"
        error = refusal(column.load(index), where, portable=True)
        if error is not None:
            column.store_error(index, error, origins.intern(error))
            yield index
