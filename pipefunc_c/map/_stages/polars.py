"""Frames of polars as outputs and arguments; polars itself is never imported for it."""

from __future__ import annotations

import io
import sys
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipefunc_c._function.pipefunc import PipeFunc


def _polars() -> Any:
    """Give the module, if anyone imported it: before that nothing can be a frame."""
    return sys.modules.get("polars")


def parquet_of(value: object) -> bytes | None:
    """Give a polars frame in the parquet format.

    Parameters
    ----------
    value
        Anything.

    Returns
    -------
    bytes or None
        None for what is no frame, and for one with columns that parquet does not know.

    Examples
    --------
    >>> parquet_of([1, 2]) is None
    True
    >>> import polars
    >>> parquet_of(polars.DataFrame({"a": [1, 2]}))[:4]
    b'PAR1'
    """
    polars = _polars()
    if polars is None or not isinstance(value, getattr(polars, "DataFrame", ())):
        return None
    frame: Any = value
    buffer = io.BytesIO()
    try:
        frame.write_parquet(buffer)
    except (polars.exceptions.PolarsError, TypeError, ValueError):  # a column of objects
        return None
    return buffer.getvalue()


def as_annotated(value: Any, func: PipeFunc[..., Any], name: str) -> Any:
    """Give a frame lazily where the parameter is annotated as ``polars.LazyFrame``.

    Parameters
    ----------
    value
        The argument.
    func
        The function that takes it.
    name
        The parameter.

    Returns
    -------
    object
        The argument, or its lazy frame.

    Examples
    --------
    >>> import polars
    >>> from pipefunc_c import pipefunc
    >>> @pipefunc("n_rows")
    ... def count(frame: polars.LazyFrame) -> int: ...
    >>> type(as_annotated(polars.DataFrame({"a": [1, 2]}), count, "frame")).__name__
    'LazyFrame'
    """
    polars = _polars()
    if polars is None or not isinstance(value, getattr(polars, "DataFrame", ())):
        return value
    annotation = func.parameter_annotations.get(name)
    allowed = (annotation, *typing.get_args(annotation))
    is_lazy = any(each is polars.LazyFrame for each in allowed)
    frame: Any = value
    return frame.lazy() if is_lazy and not any(each is polars.DataFrame for each in allowed) else value
