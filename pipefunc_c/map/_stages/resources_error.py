"""The error of an element whose resources could not be worked out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipefunc_c._describe import message_of
from pipefunc_c.exceptions import OperationError

if TYPE_CHECKING:
    from pipefunc_c._failure_origin import FailureOrigin


class ResourcesError(OperationError):
    """Stand for an element that was not computed because its resources could not be worked out.

    Parameters
    ----------
    error
        What the function of the user raised.
    origin
        When and where it did so; None if that was just now. Whoever keeps it elsewhere forgets it here.
    """

    def __init__(self, error: Exception, origin: FailureOrigin | None = None) -> None:
        text = f"{type(error).__name__}: {message_of(error)}"
        super().__init__(f"its resources could not be worked out: {text}")
        self.error = error
        self.origin = origin
