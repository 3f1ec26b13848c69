"""How time grows with size; the times themselves belong into benchmarks."""

from __future__ import annotations

import gc
import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES = 12


def assert_grows_less(make: Callable[[int], Callable[[], Any]], small: int, large: int, times: float) -> None:
    """Compare the least cpu times for two sizes: others make them longer at times, but not each time.

    Parameters
    ----------
    make
        Gives what is to be called for a size.
    small, large
        The sizes.
    times
        The larger takes less than so many times the time of the smaller.
    """
    calls = {size: make(size) for size in (small, large)}
    least = dict.fromkeys(calls, math.inf)
    gc.collect()
    for number in range(TRIES):
        for size, call in calls.items():
            began = time.process_time()
            call()
            least[size] = min(least[size], time.process_time() - began)
        if number > 1 and least[large] < times * least[small]:
            return
    raise AssertionError(f"{least[large] / least[small]:.1f} times as long for {large} as for {small}")
