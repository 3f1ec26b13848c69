"""How often a pipeline computes the same in a sweep."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pipefunc_c._containers import as_iterable, as_mapping
from pipefunc_c.cache._hashable import to_hashable
from pipefunc_c.sweep._combinations import value_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipefunc_c._pipeline.pipeline import Pipeline
    from pipefunc_c.sweep._combinations import Combination, Sweep


def count_sweep(
    output_name: str | tuple[str, ...],
    sweep: Sweep | Iterable[Combination],
    pipeline: Pipeline,
    *,
    use_pandas: bool = False,
) -> dict[str | tuple[str, ...], dict[tuple[Any, ...], int]]:
    """Count how often each function would be called with the same root arguments.

    Parameters
    ----------
    output_name
        What would be computed for each combination.
    sweep
        The combinations. What they lack of the root arguments is taken from the pipeline's defaults.
    pipeline
        The pipeline.
    use_pandas
        Has no effect: counting is fast without pandas too.

    Returns
    -------
    dict
        Per output that `output_name` depends on: how often each tuple of values of its root arguments, in the
        order of ``pipeline.root_args``, occurs.

    Raises
    ------
    UnknownNameError
        If there is no such output, or a combination lacks a root argument.
    InvalidTypeError
        If `sweep` is no iterable of dicts.

    Examples
    --------
    >>> from pipefunc_c import Pipeline
    >>> from pipefunc_c.sweep import Sweep
    >>> def y(x):
    ...     return x
    >>> def z(y, k):
    ...     return y + k
    >>> count_sweep("z", Sweep({"x": [1, 2], "k": [3, 4, 5]}), Pipeline([y, z]))
    {'y': {(1,): 3, (2,): 3}}

    """
    defaults = pipeline.defaults
    counts: dict[str | tuple[str, ...], dict[tuple[Any, ...], int]] = {}
    names = {name: pipeline.root_args(name) for name in pipeline.func_dependencies(output_name)}
    combinations = [
        as_mapping(each, "sweep", "a value per name, or several of them")
        for each in as_iterable(sweep, "sweep", "a Sweep or a list of dicts")
    ]
    for name, arguments in names.items():
        values = (
            tuple([to_hashable(value_of({**defaults, **each}, argument)) for argument in arguments])
            for each in combinations
        )
        counts[name] = dict(Counter(values))
    return counts


def set_cache_for_sweep(
    output_name: str | tuple[str, ...],
    pipeline: Pipeline,
    sweep: Sweep | Iterable[Combination],
    min_executions: int = 2,
    *,
    verbose: bool = False,
) -> None:
    """Cache the functions that a sweep would call several times with the same root arguments.

    Parameters
    ----------
    output_name
        What will be computed for each combination; its own function is never cached.
    pipeline
        The pipeline; its functions are changed.
    sweep
        The combinations.
    min_executions
        From how many calls on to cache; functions below are not cached any more.
    verbose
        Whether to print a line per function.

    Raises
    ------
    UnknownNameError
        As for `count_sweep`.

    Examples
    --------
    >>> from pipefunc_c import Pipeline
    >>> from pipefunc_c.sweep import Sweep
    >>> def y(x):
    ...     return x
    >>> def z(y, k):
    ...     return y + k
    >>> pipeline = Pipeline([y, z])
    >>> set_cache_for_sweep("z", pipeline, Sweep({"x": [1], "k": [3, 4]}), verbose=True)
    Setting cache for 'y' to True (n=2)

    """
    counts = count_sweep(output_name, sweep, pipeline)
    pipeline[output_name].cache = False
    for name, calls in counts.items():
        most = max(calls.values(), default=0)
        enable = most >= min_executions
        if verbose:
            print(f"Setting cache for {name!r} to {enable} (n={most})")
        pipeline[name].cache = enable
