"""Named points at which the tests kill a process, to see what a crash leaves behind."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "PIPEFUNC_C_FAULT"

_passed: dict[str, int] = {}


def fault_point(name: str, *, last_act: Callable[[], object] | None = None) -> None:
    """Kill this process if the environment asks for it; else do nothing.

    ``PIPEFUNC_C_FAULT="name:count"`` kills at the count-th time that a process comes to this point.

    Parameters
    ----------
    name
        Name of the point.
    last_act
        Called right before death, to leave something half done.

    Examples
    --------
    >>> fault_point("before_data")

    """
    asked = os.environ.get(VARIABLE)
    if not asked:
        return
    wanted, _, count = asked.partition(":")
    if wanted != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(count or 1):
        if last_act is not None:
            last_act()
        os.kill(os.getpid(), signal.SIGKILL)
