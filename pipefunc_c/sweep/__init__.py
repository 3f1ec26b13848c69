"""Combinations of parameters, and how often a pipeline computes the same for them."""

from pipefunc_c.sweep._combinations import MultiSweep, Sweep, generate_sweep
from pipefunc_c.sweep._counts import count_sweep, set_cache_for_sweep

__all__ = ["MultiSweep", "Sweep", "count_sweep", "generate_sweep", "set_cache_for_sweep"]
