from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from pipefunc_c._kernels.column import Column
from pipefunc_c._kernels.source import Source

class FailedValue:
    error: Exception
    def __init__(self, error: Exception) -> None: ...

class InputIsError(Exception): ...

class TaskLoop:
    def __init__(
        self,
        function: Callable[..., Any],
        parameters: Sequence[str],
        sources: Sequence[Source],
        shape: Sequence[int],
        columns: Sequence[Column],
        *,
        n_positional: int = 0,
        unpack: bool = False,
        runs: npt.ArrayLike | None = None,
        capture_errors: bool = False,
        invoke: Callable[[int, dict[str, Any]], Sequence[Any]] | None = None,
        propagate: Callable[[int], object] | None = None,
        intern_origin: Callable[[object], int] | None = None,
    ) -> None: ...
    @property
    def reached(self) -> int: ...
    @property
    def done(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    def arguments(self, index: int) -> dict[str, Any]: ...
    def run(
        self,
        start: int,
        stop: int,
        *,
        deadline: float = ...,
        max_bytes: int = ...,
        stop_flag: Buffer | None = None,
        current: npt.NDArray[np.int64] | None = None,
    ) -> int: ...
