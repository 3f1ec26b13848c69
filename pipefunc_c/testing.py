"""Help with testing pipelines."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pipefunc_c import _optional
from pipefunc_c.exceptions import InvalidValueError

if TYPE_CHECKING:
    import unittest.mock
    from collections.abc import Iterator

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._pipeline.pipeline import Pipeline

__all__ = ["patch"]


@contextlib.contextmanager
def patch(pipeline: Pipeline, func_name: str) -> Iterator[unittest.mock.MagicMock]:
    """Replace what a function of a pipeline calls by a mock, inside of a ``with`` block.

    Parameters
    ----------
    pipeline
        The pipeline.
    func_name
        Name of the function, alone or with its module: ``"name"`` or ``"module.name"``. If several have it,
        all call the mock.

    Yields
    ------
    unittest.mock.MagicMock
        Is called with the arguments by native names. Set its ``return_value`` or ``side_effect``.

    Raises
    ------
    InvalidValueError
        If there is no such function.

    Examples
    --------
    >>> from pipefunc_c import Pipeline
    >>> def y(x):
    ...     return x + 1
    >>> pipeline = Pipeline([y])
    >>> with patch(pipeline, "y") as mock:
    ...     mock.return_value = 10
    ...     pipeline(x=1), mock.call_args.kwargs
    (10, {'x': 1})
    >>> pipeline(x=1)
    2

    """
    found = [function for function in pipeline.functions if func_name in _names(function)]
    if not found:
        known = sorted({function.__name__ for function in pipeline.functions})
        message = f"the pipeline has no function {func_name!r}; its functions are {known}"
        raise InvalidValueError(message, detail=func_name)
    # Imported when it is needed: it brings asyncio along.
    mock = _optional.require("unittest.mock").MagicMock(name=func_name)
    originals = [(function, function.func) for function in found]
    try:
        for function in found:
            function.func = _Replaced(function.func, mock)
        yield mock
    finally:
        for function, original in originals:
            function.func = original


def _names(function: PipeFunc[..., Any]) -> tuple[str, str]:
    name = function.__name__
    return name, f"{getattr(function.func, '__module__', None)}.{name}"


class _Replaced:
    """Call a mock with arguments by name; for all else be like the original."""

    def __init__(self, original: Any, mock: unittest.mock.MagicMock) -> None:
        self.__wrapped__ = original
        self.__name__ = getattr(original, "__name__", type(original).__name__)
        self._mock = mock

    def __call__(self, /, **arguments: Any) -> Any:
        return self._mock(**arguments)

    def __pipefunc_hash__(self) -> str:
        # What a mock returns must not be found in a cache afterwards, nor the other way round.
        return f"mock {id(self._mock)}"
