"""Worker processes and what they need; nothing in here knows of graphs or maps."""

from pipefunc_c.parallel._worker_pool import WorkerPool

__all__ = ["WorkerPool"]
