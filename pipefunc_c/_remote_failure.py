"""What stops the work of a process, on its way to another."""

from __future__ import annotations

import os
import platform
import traceback
from dataclasses import dataclass

from pipefunc_c._errors import RemoteError
from pipefunc_c._frozen_exception import FrozenException


@dataclass(frozen=True)
class RemoteFailure:
    """What stopped a piece of work, in a form that crosses processes.

    Parameters
    ----------
    exception
        The exception.
    traceback
        The formatted traceback.
    process
        Host and pid.
    is_to_blame
        Whether the function of a stage raised it itself: not a hook, nor the handling of inputs and results.
    """

    exception: FrozenException
    traceback: str
    process: str
    is_to_blame: bool = False

    @classmethod
    def of(cls, error: BaseException, *, is_to_blame: bool = False) -> RemoteFailure:
        """Describe an exception of this process."""
        text = "".join(traceback.format_exception(error))
        frozen = FrozenException.of(error, portable=False)
        return cls(frozen, text, f"{platform.node()}, pid {os.getpid()}", is_to_blame)

    def load(self) -> BaseException:
        """Give the exception, with its origin as ``__cause__``."""
        error = self.exception.load()
        cause = RemoteError(f"raised in a worker process ({self.process})", self.traceback)
        object.__setattr__(error, "__cause__", cause)  # the class may be frozen
        return error
