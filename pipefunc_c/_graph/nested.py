"""`NestedPipeFunc`: several functions that run as one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.combine import combined_mapspec, combined_resources
from pipefunc_c._graph.nested_call import NestedCall
from pipefunc_c._spec.arrayspec import ArraySpec
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipefunc_c._function.resource_use import ResourcesScope
    from pipefunc_c._graph.graph import AnyFunc, OutputName
    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c.resources import Resources

# What the constructor has no keyword for, and a copy keeps.
_CARRIED = ("output_picker", "debug", "print_error", "profile", "post_execution_hook")


class NestedPipeFunc(PipeFunc[..., Any]):
    """Run several functions as one, so that what they hand on to each other stays between them.

    Parameters
    ----------
    pipefuncs
        Two or more functions; they are copied, and lose their mapspecs.
    output_name
        Which of their outputs it returns, in this order; by default all, in topological order. All functions
        run in any case.
    function_name
        Its name; by default ``NestedPipeFunc_`` and the outputs.
    renames
        Parameter or output name of the inner functions to new name.
    mapspec
        How it maps over arrays, in new names; by default that of the inner functions together.
    resources
        What it needs to run; by default the largest of each that an inner function asks for. The inner
        functions get these in the place of their own.
    resources_scope
        As for `PipeFunc`.
    bound
        Value per parameter that is always used, by new names.
    cache
        Whether to cache what it returns; by default if an inner function is cached. Results of cached inner
        functions are kept in any case, in a cache of this process.
    variant, variant_group
        As for `PipeFunc`.

    Raises
    ------
    InvalidTypeError
        If an element of `pipefuncs` is no `PipeFunc`, or `resources` is callable; if a function does not
        accept the type that another one hands to it.
    InvalidValueError
        If there are fewer than two functions, an output does not exist, or an inner function has callable
        resources and `resources` is not given.
    GraphError
        If the functions do not fit together, as for `Pipeline`.
    MapSpecError
        If their mapspecs do not all run over the same indices, or a function needs an array whole that
        another one takes by element; giving `mapspec` decides it.

    Notes
    -----
    An error has a note for the inner call and one for the nested call; `error_snapshot` has the arguments of
    the nested call, and that of `pipeline` those of the inner one, if it ran in this process.

    Examples
    --------
    >>> y = PipeFunc(lambda x: x + 1, "y", mapspec="x[i] -> y[i]")
    >>> z = PipeFunc(lambda y, k=2: k * y, "z", mapspec="y[i] -> z[i]")
    >>> nested = NestedPipeFunc([y, z], output_name="z")
    >>> print(nested, nested.parameters, nested.mapspec)
    NestedPipeFunc_z(...) → z ('k', 'x') x[i] -> z[i]
    >>> nested(x=1), nested(x=1, k=10)
    (4, 20)

    """

    func: NestedCall

    def __init__(  # noqa: PLR0913  the keywords are the public interface
        self,
        pipefuncs: Sequence[AnyFunc],
        output_name: OutputName | None = None,
        function_name: str | None = None,
        *,
        renames: Mapping[str, str] | None = None,
        mapspec: str | MapSpec | None = None,
        resources: dict[str, Any] | Resources | None = None,
        resources_scope: ResourcesScope = "map",
        bound: Mapping[str, Any] | None = None,
        cache: bool | None = None,
        variant: str | dict[str | None, str] | None = None,
        variant_group: str | None = None,
    ) -> None:
        functions = _checked(pipefuncs)
        _check_resources(resources)
        call = NestedCall(functions, output_name, function_name)
        combined = None
        if mapspec is None:
            combined = combined_mapspec(functions, call.output_names)
        super().__init__(
            call,
            call.output_name,
            renames=renames,
            bound=bound,
            mapspec=mapspec,
            print_error=any(function.print_error for function in functions),
            cache=any(function.cache for function in functions) if cache is None else cache,
            resources=combined_resources(functions) if resources is None else resources,
            resources_scope=resources_scope,
            variant=variant,
            variant_group=variant_group,
        )
        if combined is not None:
            self.mapspec = combined.rename(self.renames)
        if self.resources is not None:
            call.hand_on(self.resources)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "resources":
            super().__setattr__(name, value)
            return
        _check_resources(value)
        super().__setattr__(name, value)
        self.func.hand_on(self.resources)

    @property
    def pipefuncs(self) -> tuple[AnyFunc, ...]:
        """The inner functions, in the order in which they were given."""
        return self.func.functions

    @property
    def pipeline(self) -> Any:
        """The inner functions as a `Pipeline`, made when first asked for, through which calls then go.

        Names and defaults were read from the functions when they were nested: change those of the nested
        function instead.
        """
        return self.func.pipeline

    def copy(self, **update: Any) -> NestedPipeFunc:
        """Return a copy with copies of the inner functions, with other options if any are given.

        Parameters
        ----------
        **update
            Keywords of the constructor, and of `PipeFunc` what those functions share. Defaults, bound values
            and the mapspec go along with changed renames.

        Returns
        -------
        NestedPipeFunc
            The copy, which belongs to no pipeline and has no error snapshot.

        Raises
        ------
        InvalidTypeError
            If there is no such option.

        """
        if not update:
            new = super().copy()
            assert isinstance(new, NestedPipeFunc)
            new.func = self.func.copy()
            return new
        options = self._options(update)
        unknown = sorted(update.keys() - options.keys() - {*_CARRIED, "defaults"})
        if unknown:
            message = f"NestedPipeFunc has no options {unknown}; it has {sorted({*options, *_CARRIED})}"
            raise InvalidTypeError(message, detail=unknown)
        options.update({name: value for name, value in update.items() if name in options})
        new = NestedPipeFunc(**options)
        for name in _CARRIED:
            setattr(new, name, update.get(name, getattr(self, name)))
        names = new.renames
        defaults = {
            names.get(native, native): value for native, value in self.binding.native_defaults.items()
        }
        new.update_defaults(update.get("defaults", defaults) or {})
        return new

    def _options(self, update: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords of the constructor that make a copy, given which of them will be changed."""
        binding = self.binding
        call = self.func
        output_name = update.get("output_name", binding.native_output) or call.all_outputs
        kept = (
            binding.signature.parameters if "output_name" in update else (*binding.known_names("original"),)
        )
        renames = {native: name for native, name in binding.renames.items() if native in kept}
        names = update.get("renames", renames) or {}
        mapspec = self.mapspec
        if mapspec is not None:
            # Through the names of the inner functions, for each rename and output may be another one.
            native = mapspec.rename({name: native for native, name in binding.renames.items()})
            outputs = (output_name,) if isinstance(output_name, str) else output_name
            specs = tuple(ArraySpec(name, mapspec.output_indices) for name in outputs)
            mapspec = dataclasses.replace(native, outputs=specs).rename(names)
        return {
            "pipefuncs": self.pipefuncs,
            "output_name": output_name,
            "function_name": call.given_name,
            "renames": renames,
            "mapspec": None if "pipefuncs" in update else mapspec,
            "resources": self.resources,
            "resources_scope": self.resources_scope,
            "bound": {names.get(native, native): value for native, value in binding.native_bound.items()},
            "cache": self.cache,
            "variant": self.variant,
            "variant_group": None,
        }

    def __repr__(self) -> str:
        return f"NestedPipeFunc(pipefuncs={list(self.pipefuncs)})"


def _check_resources(resources: object) -> None:
    if callable(resources):
        message = f"the resources of a NestedPipeFunc cannot be callable, got {resources!r}"
        hint = "Give a Resources or a dict, or do not nest the functions."
        raise InvalidTypeError(message, detail=resources, hint=hint)


def _checked(pipefuncs: object) -> tuple[AnyFunc, ...]:
    if isinstance(pipefuncs, PipeFunc) or not hasattr(pipefuncs, "__iter__"):
        message = f"the functions to nest must be a list of PipeFunc objects, got {pipefuncs!r}"
        raise InvalidTypeError(message, detail=pipefuncs)
    functions = tuple(pipefuncs)
    for function in functions:
        if not isinstance(function, PipeFunc):
            message = f"only PipeFunc objects can be nested, got {function!r}"
            hint = "Make one of a plain function: PipeFunc(function, output_name)."
            raise InvalidTypeError(message, detail=function, hint=hint)
    if len(functions) < 2:
        message = f"at least two functions are needed to nest them, got {len(functions)}: {functions}"
        raise InvalidValueError(message, detail=functions)
    return functions
