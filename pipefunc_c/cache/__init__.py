"""Caches, keys for them, and `memoize`."""

from pipefunc_c.cache._bounded import HybridCache, LRUCache
from pipefunc_c.cache._disk import DiskCache
from pipefunc_c.cache._function_hash import compute_function_hash
from pipefunc_c.cache._hashable import UnhashableError, to_hashable, try_to_hashable
from pipefunc_c.cache._memoize import memoize
from pipefunc_c.cache._simple import SimpleCache

__all__ = [
    "DiskCache",
    "HybridCache",
    "LRUCache",
    "SimpleCache",
    "UnhashableError",
    "compute_function_hash",
    "memoize",
    "to_hashable",
    "try_to_hashable",
]
