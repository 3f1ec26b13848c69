"""The decorator `pipefunc`, which turns a function into a `PipeFunc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pipefunc_c._function.pipefunc import PipeFunc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipefunc_c._function.resource_use import AnyResources, ResourcesScope
    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c.resources import Mode

P = ParamSpec("P")
R = TypeVar("R")


def pipefunc(  # noqa: PLR0913  the keywords are those of PipeFunc
    output_name: str | tuple[str, ...],
    *,
    output_picker: Callable[[Any, str], Any] | None = None,
    renames: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    bound: Mapping[str, Any] | None = None,
    profile: bool = False,
    debug: bool = False,
    print_error: bool = True,
    cache: bool = False,
    mapspec: str | MapSpec | None = None,
    internal_shape: Dimension | tuple[Dimension, ...] | None = None,
    post_execution_hook: Callable[[PipeFunc[..., Any], Any, dict[str, Any]], Any] | None = None,
    resources: AnyResources = None,
    resources_variable: str | None = None,
    resources_scope: ResourcesScope = "map",
    parallelization_mode: Mode | None = None,
    scope: str | None = None,
    variant: str | dict[str | None, str] | None = None,
    variant_group: str | None = None,
) -> Callable[[Callable[P, R]], PipeFunc[P, R]]:
    """Make a decorator that turns a function into a `PipeFunc`.

    Parameters
    ----------
    output_name, output_picker, renames, defaults, bound, profile, debug, print_error, cache
        As for `PipeFunc`.
    mapspec, internal_shape, post_execution_hook, resources, resources_variable, resources_scope
        As for `PipeFunc`.
    parallelization_mode, scope, variant, variant_group
        As for `PipeFunc`.

    Returns
    -------
    Callable
        The decorator.

    Examples
    --------
    >>> @pipefunc("c")
    ... def add(a, b):
    ...     return a + b
    >>> add(1, 2)
    3

    """

    def decorate(func: Callable[P, R]) -> PipeFunc[P, R]:
        return PipeFunc(
            func,
            output_name,
            output_picker=output_picker,
            renames=renames,
            defaults=defaults,
            bound=bound,
            profile=profile,
            debug=debug,
            print_error=print_error,
            cache=cache,
            mapspec=mapspec,
            internal_shape=internal_shape,
            post_execution_hook=post_execution_hook,
            resources=resources,
            resources_variable=resources_variable,
            resources_scope=resources_scope,
            parallelization_mode=parallelization_mode,
            scope=scope,
            variant=variant,
            variant_group=variant_group,
        )

    return decorate
