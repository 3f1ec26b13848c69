"""When and where a call failed: noted as it fails, for what is shown of it later and elsewhere."""

from __future__ import annotations

import platform
from typing import NamedTuple

from pipefunc_c._describe import current_directory, ip_address, timestamp_now, user_name

UNKNOWN = "unknown"


class FailureOrigin(NamedTuple):
    """Say when, by whom and where a call failed; many failures share one.

    Attributes
    ----------
    traceback
        Text of the traceback, without the line that names the exception; "" where there is none.
    timestamp, user, machine, ip_address, current_directory
        As `ErrorSnapshot` has them.

    Examples
    --------
    >>> FailureOrigin().machine
    'unknown'
    >>> FailureOrigin.here("Traceback ...").traceback
    'Traceback ...'
    """

    traceback: str = ""
    timestamp: str = UNKNOWN
    user: str = UNKNOWN
    machine: str = UNKNOWN
    ip_address: str = UNKNOWN
    current_directory: str = UNKNOWN

    @classmethod
    def here(cls, traceback: str = "") -> FailureOrigin:
        """Note that it happened now, in this process."""
        return cls(
            traceback, timestamp_now(), user_name(), platform.node(), ip_address(), current_directory()
        )
