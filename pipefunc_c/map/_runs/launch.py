"""Many maps in the background, a limited number of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import short_repr
from pipefunc_c._notebook import in_notebook
from pipefunc_c._optional import Later, is_available
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError
from pipefunc_c.map._runs.async_map import AsyncMap
from pipefunc_c.map._runs.map_widgets import MapTabs, check_max_completed_tabs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from pipefunc_c.map._results.outputs import ResultDict
else:
    asyncio = Later("asyncio")


async def gather_maps(
    *async_maps: AsyncMap, max_concurrent: int = 1, max_completed_tabs: int | None = None
) -> list[ResultDict]:
    """Run maps, a limited number of them at once, and wait for all.

    Parameters
    ----------
    async_maps
        The maps, made with ``start=False``.
    max_concurrent
        How many run at once.
    max_completed_tabs
        In a notebook, how many maps that are over keep their tab; None for all.

    Returns
    -------
    list of ResultDict
        The results, in the order of the maps.

    Raises
    ------
    InvalidValueError
        If there are no maps, they come as one list, two of them have one run folder, or a limit cannot be.
    InvalidTypeError
        If something else than a map is given.
    OperationError
        If a map was started before.
    Exception
        What the first map that failed raised, at once; the others go on.

    Examples
    --------
    >>> import asyncio
    >>> from pipefunc_c import PipeFunc, Pipeline
    >>> from pipefunc_c.helpers import gather_maps
    >>> pipeline = Pipeline([PipeFunc(lambda x: 2 * x, "y", mapspec="x[i] -> y[i]")])
    >>> async def main():
    ...     runners = [pipeline.map_async({"x": [k, k + 1]}, start=False) for k in range(2)]
    ...     results = await gather_maps(*runners, max_concurrent=2)
    ...     return [each["y"].output.tolist() for each in results]
    >>> asyncio.run(main())
    [[0, 2], [2, 4]]
    """
    tabs = _take(async_maps, max_concurrent, max_completed_tabs)
    return await _run_all(async_maps, max_concurrent, tabs)


def launch_maps(
    *async_maps: AsyncMap, max_concurrent: int = 1, max_completed_tabs: int | None = None
) -> asyncio.Task[list[ResultDict]]:
    """Run maps in the background, a limited number of them at once.

    Parameters
    ----------
    async_maps
        The maps, made with ``start=False``.
    max_concurrent
        How many run at once.
    max_completed_tabs
        In a notebook, how many maps that are over keep their tab; None for all.

    Returns
    -------
    asyncio.Task
        Gives what `gather_maps` gives; to cancel it stops all maps.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As for `gather_maps`.
    OperationError
        If a map was started before, or no event loop runs.

    Examples
    --------
    >>> import asyncio
    >>> from pipefunc_c import PipeFunc, Pipeline
    >>> from pipefunc_c.helpers import launch_maps
    >>> pipeline = Pipeline([PipeFunc(lambda x: 2 * x, "y", mapspec="x[i] -> y[i]")])
    >>> async def main():
    ...     task = launch_maps(pipeline.map_async({"x": [1, 2]}, start=False))
    ...     [results] = await task
    ...     return results["y"].output.tolist()
    >>> asyncio.run(main())
    [2, 4]
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise OperationError(
            "launch_maps needs an event loop that runs",
            hint="call it in a notebook or an async function; in a script, asyncio.run(gather_maps(...))",
        ) from None
    tabs = _take(async_maps, max_concurrent, max_completed_tabs)
    return loop.create_task(_run_all(async_maps, max_concurrent, tabs), name="launch_maps")


def _take(
    async_maps: Sequence[Any], max_concurrent: object, max_completed_tabs: int | None
) -> MapTabs | None:
    """Check all, then claim the maps; in a notebook, show a tab for each."""
    if not async_maps:
        raise InvalidValueError("no maps were given", hint="pass what map_async(..., start=False) returns")
    if len(async_maps) == 1 and isinstance(async_maps[0], list | tuple):
        raise InvalidValueError(
            f"the maps were given as one {type(async_maps[0]).__name__}",
            detail=async_maps[0],
            hint="write a star in front of it: launch_maps(*runners)",
        )
    for each in async_maps:
        if not isinstance(each, AsyncMap):
            raise InvalidTypeError(
                f"{short_repr(each)} is no map",
                detail=each,
                hint="pass what map_async(..., start=False) returns",
            )
    if isinstance(max_concurrent, bool) or not isinstance(max_concurrent, int) or max_concurrent < 1:
        raise InvalidValueError(
            f"max_concurrent is {max_concurrent!r}",
            detail=max_concurrent,
            hint="allowed is an int of at least 1",
        )
    check_max_completed_tabs(max_completed_tabs)
    if len({id(each) for each in async_maps}) < len(async_maps):
        raise InvalidValueError("a map was given twice", hint="make one with map_async for each run")
    folders: dict[Any, AsyncMap] = {}
    for each in async_maps:
        folder = None if each.run_folder is None else each.run_folder.resolve()
        if folder is not None and folders.setdefault(folder, each) is not each:
            raise InvalidValueError(
                f"two maps have the run_folder {str(folder)!r}",
                detail=folder,
                hint="give each a folder of its own",
            )
    for each in async_maps:
        each.check_not_started()
    has_tabs = in_notebook() and is_available("ipywidgets")
    for each in async_maps:
        each.take(is_shown=has_tabs)
    return _show_tabs(async_maps, max_completed_tabs) if has_tabs else None


def _show_tabs(async_maps: Sequence[AsyncMap], max_completed_tabs: int | None) -> MapTabs:
    tabs = MapTabs([each.name for each in async_maps], max_completed_tabs)
    for number, each in enumerate(async_maps):
        if each.status_widget is not None:
            tabs.fill(number, each.status_widget.widget)
    tabs.display()
    return tabs


async def _run_all(
    async_maps: Sequence[AsyncMap], max_concurrent: int, tabs: MapTabs | None
) -> list[ResultDict]:
    places = asyncio.Semaphore(max_concurrent)

    async def run(number: int, async_map: AsyncMap) -> ResultDict:
        async with places:
            task = async_map.start().task
            if tabs is not None:
                tabs.follow(number, task)
            return await task

    running = [asyncio.ensure_future(run(number, each)) for number, each in enumerate(async_maps)]
    try:
        return await asyncio.gather(*running)
    except asyncio.CancelledError:
        this = asyncio.current_task()
        if this is not None and this.cancelling():  # not one of the maps alone
            for each in running:
                each.cancel()
            await asyncio.wait(running)
        raise
