"""What every worker process does first, however it was started."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from pipefunc_c._platform import die_with, end_group
from pipefunc_c.parallel._environment import become_worker, cap_library_threads, seed_worker
from pipefunc_c.parallel._whole_lines import flush_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipefunc_c.parallel._channel import Channel


# Not delivered while a process is started: what a handler raises there is swallowed, or leaves half a worker.
HELD_SIGNALS = frozenset(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP") if hasattr(signal, name)
)

CUT_OFF_EXITCODE = 1
_channels: dict[int, Channel] = {}


def enter_worker(  # noqa: PLR0913, PLR0917  what distinguishes one worker from another
    channel: Channel,
    alive: int,
    number: int,
    seeds: dict[str, Any],
    pools: list[Any],
    n_workers: int,
    threads: int | None = None,
) -> None:
    """Make this process a worker.

    Parameters
    ----------
    channel
        To the parent.
    alive
        Read end of a pipe whose write end only the parent holds.
    number
        Number of the worker.
    seeds
        What the random states of all workers are made from.
    pools
        Thread pools of libraries.
    n_workers
        How many workers share the cores.
    threads
        Threads for BLAS and OpenMP; by default the share of the cores.
    """
    become_worker()
    _channels[os.getpid()] = channel
    # What it starts ends with it, and the parent alone gets a Ctrl-C.
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    die_with(alive)
    # The parent decides what a Ctrl-C ends. Not SIG_IGN: programs that an element starts inherit that.
    signal.signal(signal.SIGINT, _leave_to_parent)
    signal.set_wakeup_fd(-1)  # an event loop of the parent would take our signals for its own
    for each in HELD_SIGNALS - {signal.SIGINT}:
        if callable(signal.getsignal(each)):
            signal.signal(each, signal.SIG_DFL)
    seed_worker(seeds, number)
    cap_library_threads(pools, n_workers, threads)
    os.register_at_fork(after_in_child=channel.close)


def leave_if_cut_off(before: Callable[[], object] | None = None) -> None:
    """End this process if what it ran has closed the connection to its parent: nothing can be told then.

    Parameters
    ----------
    before
        Called before the end.
    """
    channel = _channels.get(os.getpid())
    if channel is None or channel.is_intact:
        return
    if before is not None:
        before()
    flush_streams()
    os._exit(CUT_OFF_EXITCODE)


@contextlib.contextmanager
def ending_with_parent() -> Iterator[None]:
    """Serve; a channel that ends without a word means that the parent is gone."""
    try:
        yield
    except (EOFError, BrokenPipeError):
        end_group()
    finally:
        flush_streams()


def _leave_to_parent(_number: int, _frame: object) -> None:
    pass
