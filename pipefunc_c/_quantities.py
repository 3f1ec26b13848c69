"""Whole numbers, memory and time as users write them: checks, sizes, and the words of Slurm."""

from __future__ import annotations

import math
import numbers
import re
from typing import Any, cast

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)B", re.IGNORECASE | re.ASCII)
# Seconds and minutes, then hours, then days: read from the right.
_TIME = re.compile(r"(?:\d+:)?(?:\d\d:)?\d\d:\d\d", re.ASCII)
_SECONDS = (1, 60, 3600, 86400)
_POWERS = ("", "K", "M", "G", "T", "P")


def whole_number(name: str, value: Any, least: int) -> int | None:
    """Return a number as an int.

    Parameters
    ----------
    name
        What it is, for the message.
    value
        The number, of any type; None stays None.
    least
        The smallest that is allowed, 0 or 1.

    Returns
    -------
    int or None
        The number.

    Raises
    ------
    InvalidTypeError
        If it is no number, or a bool.
    InvalidValueError
        If it is too small or not whole.

    Examples
    --------
    >>> whole_number("cpus", 4.0, 1)
    4

    """
    if value is None:
        return None
    # NumPy's numbers register as numbers; its bools and Python's are not meant.
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        message = f"`{name}` must be a whole number, got {value!r}"
        raise InvalidTypeError(message, detail=name)
    if not isinstance(value, numbers.Integral) and not float(value).is_integer():
        hint = "Round it up with math.ceil." if math.isfinite(value) else None
        raise InvalidValueError(f"`{name}` must be a whole number, got {value!r}", detail=name, hint=hint)
    if value < least:
        allowed = "positive" if least else "zero or more"
        raise InvalidValueError(f"`{name}` must be {allowed}, got {value!r}", detail=name)
    return int(cast("Any", value))


def check_memory(memory: object) -> None:
    """Refuse what is neither None nor a memory such as ``"16GB"``."""
    _check_text("memory", memory, _MEMORY, "a number and one of B, KB, MB, GB, TB, PB, as in '16GB'")


def check_time(time: object) -> None:
    """Refuse what is neither None nor a time such as ``"12:00:00"``."""
    form = (
        "'minutes:seconds' of two digits each, or '[days:]hours:minutes:seconds', of which the first may "
        "have more digits or fewer, as in '01:00' for a minute and '1:00:00' for an hour"
    )
    _check_text("time", time, _TIME, form)


def _check_text(name: str, value: object, pattern: re.Pattern[str], form: str) -> None:
    if value is None:
        return
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise InvalidValueError(f"`{name}` must be {form}, got {value!r}", detail=name)


def memory_bytes(memory: str) -> float:
    """Return the bytes of a memory such as ``"1.5GB"``."""
    number, unit = cast("re.Match[str]", _MEMORY.fullmatch(memory)).groups()
    return float(number) * 1024.0 ** _POWERS.index(unit.upper())


def time_seconds(time: str) -> int:
    """Return the seconds of a time such as ``"1:00:00"``."""
    parts = reversed(time.split(":"))
    return sum(int(part) * seconds for part, seconds in zip(parts, _SECONDS, strict=False))


def slurm_memory(memory: str) -> str:
    """Write memory so that Slurm reads it: whole, and in kilobytes to terabytes.

    Parameters
    ----------
    memory
        As in `Resources`.

    Returns
    -------
    str
        The same if Slurm reads it, else megabytes, rounded up.

    Examples
    --------
    >>> slurm_memory("4GB"), slurm_memory("0.5gb"), slurm_memory("100B")
    ('4GB', '512MB', '1MB')

    """
    if "." not in memory and memory[-2].upper() in "KMGT":
        return memory
    return f"{max(1, math.ceil(memory_bytes(memory) / 1024**2))}MB"


def slurm_time(time: str) -> str:
    """Write a time limit so that Slurm reads it: days end in a dash.

    Parameters
    ----------
    time
        As in `Resources`.

    Returns
    -------
    str
        The same but for a dash behind days.

    Examples
    --------
    >>> slurm_time("12:00:00"), slurm_time("1:12:00:00")
    ('12:00:00', '1-12:00:00')

    """
    return time.replace(":", "-", 1) if time.count(":") == 3 else time
