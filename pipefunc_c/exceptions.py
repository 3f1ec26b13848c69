"""Errors that pipefunc_c raises, and snapshots of errors that user functions raise.

Every error class inherits `PipefuncError` and the builtin that a caller would expect, so that both
``except PipefuncError`` and ``except ValueError`` work.
"""

from __future__ import annotations

from pipefunc_c._errors import (
    BrokenPoolError,
    ElementTimeoutError,
    GraphError,
    InputError,
    InvalidTypeError,
    InvalidValueError,
    MapSpecError,
    MissingDependencyError,
    NotAvailableError,
    OperationError,
    OutOfBoundsError,
    OutOfMemoryError,
    PipefuncError,
    RemoteError,
    RunFolderInUseError,
    RunFolderWriteError,
    ShapeError,
    UnknownNameError,
    UnusedParametersError,
    WorkerDiedError,
)
from pipefunc_c._snapshots import (
    ErrorInfo,
    ErrorSnapshot,
    PropagatedErrorSnapshot,
)

__all__ = [
    "BrokenPoolError",
    "ElementTimeoutError",
    "ErrorInfo",
    "ErrorSnapshot",
    "GraphError",
    "InputError",
    "InvalidTypeError",
    "InvalidValueError",
    "MapSpecError",
    "MissingDependencyError",
    "NotAvailableError",
    "OperationError",
    "OutOfBoundsError",
    "OutOfMemoryError",
    "PipefuncError",
    "PropagatedErrorSnapshot",
    "RemoteError",
    "RunFolderInUseError",
    "RunFolderWriteError",
    "ShapeError",
    "UnknownNameError",
    "UnusedParametersError",
    "WorkerDiedError",
]

for _name in __all__:  # their public home, which tracebacks and pickles name
    globals()[_name].__module__ = __name__
