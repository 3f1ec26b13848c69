"""`VariantPipeline`: functions with alternatives, from which pipelines are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._containers import as_iterable
from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._pipeline.pipeline import Pipeline
from pipefunc_c._pipeline.variant_merge import merged_functions
from pipefunc_c._pipeline.variant_selection import (
    as_text,
    assigned,
    is_dropped,
    read_selection,
    still_there,
    variants_of,
)
from pipefunc_c._pipeline.variant_widget import variant_widget
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipefunc_c._graph.graph import AnyFunc
    from pipefunc_c._pipeline.variant_selection import Group
    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c.resources import Resources


class VariantPipeline:
    """Hold functions of which some are alternatives, and make pipelines of those that are selected.

    A function says with ``variant=`` to which alternative it belongs: a name, or a name per group. Functions
    without a variant are in every pipeline.

    Parameters
    ----------
    functions
        As for `Pipeline`; they are not copied before a pipeline is made of them.
    default_variant
        What `with_variant` selects if nothing else is said: a name, or a name per group. It is looked at
        when it is used.
    lazy, debug, print_error, profile, cache_type, cache_kwargs
        As for `Pipeline`; they are those of the pipelines that are made.
    validate_type_annotations, scope, default_resources, name, description
        The same.

    Raises
    ------
    InvalidValueError
        If no function has a variant.
    InvalidTypeError
        If a function is not callable.

    Examples
    --------
    >>> fast = PipeFunc(lambda x: x, "y", variant="fast")
    >>> exact = PipeFunc(lambda x: x + 1, "y", variant="exact")
    >>> z = PipeFunc(lambda y: 10 * y, "z")
    >>> pipelines = VariantPipeline([fast, exact, z], default_variant="fast")
    >>> pipelines.with_variant()(x=1), pipelines.with_variant("exact")(x=1)
    (10, 20)

    """

    def __init__(  # noqa: PLR0913  the keywords are those of Pipeline
        self,
        functions: Iterable[AnyFunc | Callable[..., Any] | tuple[AnyFunc, str | MapSpec]],
        *,
        default_variant: str | Mapping[Group, str] | None = None,
        lazy: bool = False,
        debug: bool | None = None,
        print_error: bool | None = None,
        profile: bool | None = None,
        cache_type: Literal["lru", "hybrid", "disk", "simple"] | None = None,
        cache_kwargs: dict[str, Any] | None = None,
        validate_type_annotations: bool = True,
        scope: str | None = None,
        default_resources: Resources | dict[str, Any] | None = None,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        as_iterable(functions, "functions", "a list of functions")
        self.functions: list[AnyFunc] = [_as_function(each) for each in functions]
        self.default_variant = default_variant
        self.lazy = lazy
        self.debug = debug
        self.print_error = print_error
        self.profile = profile
        self.cache_type = cache_type
        self.cache_kwargs = cache_kwargs
        self.validate_type_annotations = validate_type_annotations
        self.scope = scope
        self.default_resources = default_resources
        self.name = name
        self.description = description
        if not self.variants_mapping():
            names = [function.__name__ for function in self.functions]
            message = f"no function has a variant; the functions are {names}"
            raise InvalidValueError(
                message, detail=names, hint="Use a Pipeline, or PipeFunc(..., variant=...)."
            )

    def variants_mapping(self) -> dict[Group, set[str]]:
        """Return the variants that there are.

        Returns
        -------
        dict
            Names per group; the group None is that of variants without one.

        Examples
        --------
        >>> a = PipeFunc(lambda x: x, "y", variant={"method": "a"})
        >>> sorted(VariantPipeline([a, a.copy(variant={"method": "b"})]).variants_mapping()["method"])
        ['a', 'b']

        """
        return variants_of(self.functions)

    def with_variant(
        self, select: str | Mapping[Group, str] | None = None, **kwargs: Any
    ) -> Pipeline | VariantPipeline:
        """Select variants.

        A function stays unless one of its groups is selected with another name.

        Parameters
        ----------
        select
            A name that is in one group only, or a name per group. Groups that it leaves out are those of a
            `default_variant` that is a dict. None selects the default alone.
        **kwargs
            Options of the constructor, in the place of those of this object.

        Returns
        -------
        Pipeline or VariantPipeline
            A pipeline; or variants again while a group still has more than one name.

        Raises
        ------
        InvalidValueError
            If a group or name is unknown, a name is in several groups, or nothing is selected.
        InvalidTypeError
            If `select` is neither a str nor a dict, or there is no such option.

        Examples
        --------
        >>> low, high = (PipeFunc(lambda x: x, "y", variant={"level": name}) for name in ("a", "b"))
        >>> pipelines = VariantPipeline([low, high])
        >>> pipelines.with_variant("b").functions[0].variant
        {'level': 'b'}
        >>> pipelines.with_variant("c")
        Traceback (most recent call last):
            ...
        pipefunc_c.exceptions.InvalidValueError: there is no variant 'c'; the variants are ['a', 'b']

        """
        selection = read_selection(select, self.default_variant, self.variants_mapping())
        functions = [f for f in self.functions if not is_dropped(f.variant, selection)]
        remaining = variants_of(functions)
        options = self._options(kwargs)
        if any(len(names) > 1 for names in remaining.values()):
            if "default_variant" not in kwargs:
                options["default_variant"] = still_there(options["default_variant"], remaining)
            return type(self)(functions, **options)
        del options["default_variant"]
        return Pipeline(functions, **options)

    def _options(self, update: Mapping[str, Any]) -> dict[str, Any]:
        options = {key: value for key, value in self.__dict__.items() if key != "functions"}
        unknown = sorted(update.keys() - options.keys())
        if unknown:
            message = f"VariantPipeline has no options {unknown}; it has {sorted(options)}"
            raise InvalidTypeError(message, detail=unknown)
        return {**options, **update}

    def copy(self, **update: Any) -> VariantPipeline:
        """Return a copy, with other options if any are given.

        Parameters
        ----------
        **update
            Keywords of the constructor.

        Returns
        -------
        VariantPipeline
            The copy, with copies of the functions unless others are given.

        Raises
        ------
        InvalidTypeError
            If there is no such option.

        """
        given = dict(update)
        functions = given.pop("functions", None)
        if functions is None:
            functions = [function.copy() for function in self.functions]
        return type(self)(functions, **self._options(given))

    @classmethod
    def from_pipelines(
        cls, *variant_pipeline: tuple[str, Pipeline] | tuple[Group, str, Pipeline]
    ) -> VariantPipeline:
        """Make one object of pipelines that differ in some functions.

        Functions that all pipelines have in common, with the same options, are shared by all variants.

        Parameters
        ----------
        *variant_pipeline
            Two or more tuples: the name of the variant and the pipeline, with the group in front if it is to
            have one.

        Returns
        -------
        VariantPipeline
            The variants. Its options are the defaults; those of the pipelines are not looked at.

        Raises
        ------
        InvalidValueError
            If less than two are given, one is empty, one variant is given twice, or no function differs.
        InvalidTypeError
            If one is no such tuple.

        Examples
        --------
        >>> z = PipeFunc(lambda y: 10 * y, "z")
        >>> one, two = (Pipeline([PipeFunc(lambda x, k=k: k * x, "y"), z]) for k in (1, 2))
        >>> pipelines = VariantPipeline.from_pipelines(("one", one), ("two", two))
        >>> len(pipelines.functions), pipelines.with_variant("two")(x=1)
        (3, 20)

        """
        return cls(merged_functions([_named(each) for each in variant_pipeline]))

    def visualize(self, **kwargs: Any) -> Any:
        """Show a pipeline with a menu per group to select its variant, in a notebook.

        Parameters
        ----------
        **kwargs
            As for `Pipeline.visualize`.

        Returns
        -------
        ipywidgets.VBox
            The menus and the picture.

        Raises
        ------
        MissingDependencyError
            If ipywidgets is not installed.

        """
        default = self.default_variant
        variants = self.variants_mapping()
        selected = {} if default is None else read_selection(default, None, variants)
        return variant_widget(variants, selected, self.with_variant, **kwargs)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Show the widget where a notebook shows this object."""
        return self.visualize()._repr_mimebundle_(include=include, exclude=exclude)

    def __getattr__(self, name: str) -> Any:
        # Copy and pickle ask for names with double underscores, of objects that are still empty too.
        if "functions" not in self.__dict__ or name.startswith("__") or not hasattr(Pipeline, name):
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self)
        message = (
            f"this is a VariantPipeline, which has no {name!r} before its variants are selected: "
            f"{as_text(self.variants_mapping())}; use with_variant(...).{name}"
        )
        raise AttributeError(message, name=name, obj=self)

    def __str__(self) -> str:
        lines = [f"VariantPipeline with {as_text(self.variants_mapping())}:"]
        for function in self.functions:
            variant = ", ".join(assigned(group, name) for group, name in function.variant.items())
            lines.append(f"  {function}" + (f"  [{variant}]" if variant else ""))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"VariantPipeline({as_text(self.variants_mapping())})"


def _as_function(f: object) -> AnyFunc:
    mapspec: Any = None
    if isinstance(f, tuple) and len(f) == 2:
        f, mapspec = f
    if not callable(f):
        message = f"variants consist of PipeFunc objects and callables, got {f!r}"
        hint = "A function with another mapspec may be given as (function, mapspec)."
        raise InvalidTypeError(message, detail=f, hint=hint)
    function = f if isinstance(f, PipeFunc) else PipeFunc(f, getattr(f, "__name__", type(f).__name__))
    if mapspec is not None:
        function = function.copy()
        function.mapspec = mapspec
    return function


def _named(item: object) -> tuple[Group, str, list[AnyFunc]]:
    if isinstance(item, tuple) and len(item) in (2, 3) and isinstance(item[-1], Pipeline):
        group, name = item[:-1] if len(item) == 3 else (None, item[0])
        if isinstance(name, str) and (group is None or isinstance(group, str)):
            return group, name, item[-1].functions
    message = f"each must be (variant, pipeline) or (group, variant, pipeline), got {item!r}"
    raise InvalidTypeError(message, detail=item)
