"""What calls of a function cost: time, CPU and memory, measured around each call."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipefunc_c import _optional

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLING_INTERVAL = 0.01  # seconds between two looks at the memory


@dataclass
class ResourceStats:
    """Summarise a series of numbers, without keeping them.

    Parameters
    ----------
    num_executions
        How many there were.
    average, variance, max
        Their mean, sample variance and maximum.

    Examples
    --------
    >>> stats = ResourceStats()
    >>> stats.update(1.0)
    >>> stats.update(3.0)
    >>> stats.num_executions, stats.average, stats.variance, stats.max
    (2, 2.0, 2.0, 3.0)

    """

    num_executions: int = 0
    average: float = 0.0
    variance: float = 0.0
    max: float = 0.0

    def update(self, value: float) -> None:
        """Add a number."""
        count = self.num_executions
        self.max = max(self.max, value) if count else value
        # Welford: sums of squares would lose the digits of numbers that are close to each other.
        squares = self.variance * (count - 1) if count else 0.0
        distance = value - self.average
        self.num_executions = count + 1
        self.average += distance / self.num_executions
        self.variance = (squares + distance * (value - self.average)) / count if count else 0.0

    @property
    def std(self) -> float:
        """Sample standard deviation."""
        return math.sqrt(self.variance)

    def __repr__(self) -> str:
        return (
            f"ResourceStats(num_executions={self.num_executions}, average={self.average:.4e}, "
            f"max={self.max:.4e}, std={self.std:.4e})"
        )


@dataclass
class ProfilingStats:
    """Hold what the calls of a function cost.

    Parameters
    ----------
    cpu
        CPU use of this process during the calls, in percent of one core; all its threads count.
    memory
        Largest resident memory of this process during each call, in bytes.
    time
        Duration of the calls, in seconds.

    Examples
    --------
    >>> ProfilingStats().time.num_executions
    0

    """

    cpu: ResourceStats = field(default_factory=ResourceStats)
    memory: ResourceStats = field(default_factory=ResourceStats)
    time: ResourceStats = field(default_factory=ResourceStats)


class ProfiledCall:
    """Call a callable and add what that cost to statistics, also if it raises.

    Parameters
    ----------
    target
        The callable.
    stats
        Where to add it.

    Raises
    ------
    MissingDependencyError
        If psutil is not installed.

    Examples
    --------
    >>> stats = ProfilingStats()
    >>> ProfiledCall(round, stats)(2.4), stats.time.num_executions
    (2, 1)

    """

    def __init__(self, target: Callable[..., Any], stats: ProfilingStats) -> None:
        self.target = target
        self.stats = stats
        self._psutil = _optional.require("psutil")
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the callable with these arguments."""
        # Asked for in each call, for this may be a process forked from the one that made this object.
        process = self._psutil.Process()
        peak = PeakMemory(lambda: int(process.memory_info().rss))
        cpu, started = time.process_time(), time.perf_counter()
        try:
            return self.target(*args, **kwargs)
        finally:
            elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
            memory = peak.stop()
            with self._lock:
                self.stats.memory.update(memory)
                self.stats.time.update(elapsed)
                self.stats.cpu.update(100 * cpu / elapsed if elapsed else 0.0)


class PeakMemory:
    """Follow a number in a thread of its own until it is stopped, and keep the largest.

    Parameters
    ----------
    measure
        Returns the number.

    Examples
    --------
    >>> PeakMemory(lambda: 7).stop()
    7

    """

    def __init__(self, measure: Callable[[], int]) -> None:
        self._measure = measure
        self._peak = measure()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="pipefunc_c-profile", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._stopped.wait(SAMPLING_INTERVAL):
            self._peak = max(self._peak, self._measure())

    def stop(self) -> int:
        """Return the largest number that was seen, the present one included."""
        self._stopped.set()
        self._thread.join()
        return max(self._peak, self._measure())
