"""`Pipeline`: the object that users hold. Its methods delegate to the layers below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pipefunc_c._containers import as_iterable
from pipefunc_c._function.pipefunc import Revision
from pipefunc_c._graph.describe import as_text
from pipefunc_c._graph.nested_call import register_pipeline_factory
from pipefunc_c._pipeline.drawing import DrawingMethods
from pipefunc_c._pipeline.options import FunctionOptions
from pipefunc_c._pipeline.running import RunningMethods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipefunc_c._graph.graph import AnyFunc
    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c.cache._make import CacheType
    from pipefunc_c.resources import Resources


class Pipeline(DrawingMethods, RunningMethods):
    """Connect functions by the names of their parameters and outputs.

    Parameters
    ----------
    functions
        `PipeFunc` objects, plain functions (the output gets the name of the function), or tuples of one of
        them and a mapspec. Each is copied, so that changes here do not change the original.
    lazy
        Whether `run` returns an object whose ``evaluate()`` computes the output.
    debug, print_error, profile
        If not None, set for every function, also for those that are added later.
    cache_type
        The cache for functions with ``cache=True``: ``"lru"``, ``"hybrid"``, ``"disk"`` or ``"simple"``;
        None: ``"lru"`` if there is such a function.
    cache_kwargs
        Arguments of its class, see `pipefunc_c.cache`.
    validate_type_annotations
        Whether outputs must have a type that the functions that take them accept.
    scope
        Put before all names, as `update_scope` does.
    default_resources
        What the resources of each function leave open.
    name, description
        For people.

    Raises
    ------
    GraphError
        If output names are not unique, functions depend on each other in a cycle, a scope is also a name, or
        functions have different defaults for the same input.
    MapSpecError
        If the mapspecs disagree.
    InvalidTypeError
        If an option or a function is of a wrong type, or types do not fit.
    InvalidValueError
        If there is no such cache, or a function does not fit its mapspec.

    Examples
    --------
    >>> def y(x):
    ...     return x + 1
    >>> def z(y, k=2):
    ...     return k * y
    >>> pipeline = Pipeline([y, z])
    >>> pipeline(x=1), pipeline("y", x=1)
    (4, 2)

    """

    def __init__(  # noqa: PLR0913  the keywords are the public interface
        self,
        functions: Iterable[AnyFunc | Callable[..., Any] | tuple[Any, str | MapSpec]],
        *,
        lazy: bool = False,
        debug: bool | None = None,
        print_error: bool | None = None,
        profile: bool | None = None,
        cache_type: CacheType | None = None,
        cache_kwargs: Mapping[str, Any] | None = None,
        validate_type_annotations: bool = True,
        scope: str | None = None,
        default_resources: Resources | Mapping[str, Any] | None = None,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        as_iterable(functions, "functions", "a list of functions")
        self.name = name
        self.description = description
        super().__init__(
            FunctionOptions(debug, print_error, profile, default_resources),
            validate_type_annotations=validate_type_annotations,
            lazy=lazy,
            cache_type=cache_type,
            cache_kwargs=cache_kwargs,
        )
        self._rebuild([self._adopt(f) for f in functions])
        if scope is not None:
            self.update_scope(scope, "*", "*")

    def copy(self, **update: Any) -> Self:
        """Return a copy, with other options if any are given.

        Parameters
        ----------
        **update
            Keywords of the constructor.

        Returns
        -------
        Pipeline
            The copy, with copies of the functions.

        """
        options = {
            "functions": self._functions,
            "lazy": self.lazy,
            "cache_type": self._cache_type,
            "cache_kwargs": self._cache_kwargs,
            "validate_type_annotations": self.validate_type_annotations,
            **vars(self._options),
            "name": self.name,
            "description": self.description,
        }
        return type(self)(**{**options, **update})

    def __str__(self) -> str:
        return as_text(self.function_graph, self.name, self.description)

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_graph", "_built", "_connections", "_connected", "_callables", "_revision")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(
            state, _callables={}, _revision=Revision(), _built=-1, _connections=None, _connected=-1
        )


def _pipeline_of_nested(functions: list[AnyFunc]) -> Pipeline:
    # Whether their types fit was looked at where it was wanted: when they came into a pipeline.
    return Pipeline(functions, validate_type_annotations=False)


register_pipeline_factory(_pipeline_of_nested)
