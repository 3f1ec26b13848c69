"""`PipeFunc`: a callable with named outputs."""

from __future__ import annotations

import contextlib
import operator
import pickle
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from pipefunc_c import _optional
from pipefunc_c._containers import as_callable_or_none, as_mapping
from pipefunc_c._function.binding import Binding
from pipefunc_c._function.calling import CallableFunction
from pipefunc_c._function.failure import record_failure
from pipefunc_c._function.profiling import ProfiledCall, ProfilingStats
from pipefunc_c._function.resource_use import as_resources, call_with, check_scope, without_variable
from pipefunc_c._function.signature import (
    call_target,
    count_positional,
    documentation,
    function_name,
    read_signature,
)
from pipefunc_c._function.variant import as_variant
from pipefunc_c.exceptions import InputError, InvalidTypeError
from pipefunc_c.typing import Unresolvable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipefunc_c._function.resource_use import AnyResources, ResourcesScope
    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c._spec.mapspec import MapSpec
    from pipefunc_c.resources import Mode

P = ParamSpec("P")
R = TypeVar("R")

# Setting one of these changes how the function is called.
_WATCHED = frozenset(
    {
        "func",
        "binding",
        "output_picker",
        "post_execution_hook",
        "debug",
        "cache",
        "resources",
        "profiling_stats",
    }
)
# What pickles and copies keep as it is.
_PLAIN_OPTIONS = (
    "debug",
    "print_error",
    "cache",
    "resources_variable",
    "resources_scope",
    "variant",
    "profiling_stats",
    "error_snapshot",
)


class Revision:
    """Count the changes of the functions of a pipeline, so that it knows when to look at them again.

    Examples
    --------
    >>> revision = Revision()
    >>> function = PipeFunc(lambda x: x, "y")
    >>> function.revision = revision
    >>> function.update_defaults({"x": 1})
    >>> revision.number
    1

    """

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class PipeFunc(CallableFunction, Generic[P, R]):
    """Give names to what a callable takes and returns, so that pipelines can connect it.

    Parameters
    ----------
    func
        A function, builtin, partial, method, callable instance or class. ``*args`` and ``**kwargs`` of it
        stay empty: what has no name cannot be connected.
    output_name
        Name of what it returns, or a tuple of names if it returns several things.
    output_picker
        Called with the result and a name, returns that output; by default the result is indexed by the
        position of the name. With one output name it is applied to mapped elements only.
    renames
        Original parameter or output name to new name.
    defaults
        Default per parameter, before those of the callable. Parameters go by their new names.
    bound
        Value per parameter that is always used; the parameter is then no input any more.
    profile
        Whether to measure each call, see `profiling_stats`; needs psutil. A call then costs some 0.1 ms.
    debug
        Whether to print a line after each call.
    print_error
        Whether to print a line when the callable raises.
    cache
        Whether a pipeline may keep results and use them again for equal arguments.
    mapspec
        How it maps over arrays, for example ``"x[i] -> y[i]"``, in new names.
    internal_shape
        Sizes of the axes that the callable returns itself; ``"?"`` if unknown.
    post_execution_hook
        Called after each call with this object, the result and the arguments by original names.
    resources
        What a call needs: `Resources`, a dict of its fields, or a function that gets the arguments by their
        present names as a dict and returns one of the two.
    resources_variable
        Original name of the parameter that receives the resources; it is then none of `parameters`.
    resources_scope
        What a function given as `resources` gets in a map: ``"map"``: the whole inputs, once; ``"element"``:
        the arguments of each element.
    parallelization_mode
        Short for this field of `resources`.
    scope
        Put before all names, as `update_scope` does.
    variant
        Name of the alternative of a pipeline that this function belongs to, or name per group of
        alternatives.
    variant_group
        Not used any more; must be None.

    Raises
    ------
    InvalidTypeError
        If `func`, the picker or the hook is not callable, or a name, the mapspec or a dict has a wrong type.
    InvalidValueError
        If names are malformed, unknown or not unique, the mapspec does not fit them, or the resources or
        their options are refused.
    MissingDependencyError
        If `profile` is asked for and psutil is not installed.

    Examples
    --------
    >>> def scale(x, factor=2):
    ...     return factor * x
    >>> function = PipeFunc(scale, "y", renames={"factor": "k"})
    >>> print(function)
    scale(...) → y
    >>> function(x=3, k=10)
    30

    """

    __test__ = False  # or pytest collects functions whose name starts with test

    func: Callable[P, R]
    revision: Revision | None
    cache: bool
    variant: dict[str | None, str]
    _direct: bool  # whether arguments can go to the callable as they come
    # Puts arguments by present names in order, where these can go by position and no other is needed.
    _take: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None

    def __init__(  # noqa: PLR0913  the keywords are the public interface
        self,
        func: Callable[P, R],
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
        post_execution_hook: Callable[[PipeFunc[P, R], Any, dict[str, Any]], Any] | None = None,
        resources: AnyResources = None,
        resources_variable: str | None = None,
        resources_scope: ResourcesScope = "map",
        parallelization_mode: Mode | None = None,
        scope: str | None = None,
        variant: str | dict[str | None, str] | None = None,
        variant_group: str | None = None,
    ) -> None:
        signature = read_signature(func)
        if resources_variable is not None:
            signature = without_variable(signature, resources_variable, function_name(func))
        if resources is not None or parallelization_mode is not None:
            resources = as_resources(resources, parallelization_mode, function_name(func))
        check_scope(resources_scope, func)
        names = dict(as_mapping(renames, "renames", "a new name per name")) if renames else {}
        binding = Binding(signature, output_name, names, internal_shape=internal_shape)
        if defaults:
            binding = binding.with_defaults(defaults)
        if bound:
            binding = binding.with_bound(bound)
        if mapspec is not None:
            binding = binding.with_mapspec(mapspec)
        if scope is not None:
            binding = binding.with_scope(scope, "*", "*", None)
        self.__dict__.update(
            func=func,
            binding=binding,
            output_picker=as_callable_or_none(output_picker, "output_picker"),
            post_execution_hook=as_callable_or_none(post_execution_hook, "post_execution_hook"),
            debug=debug,
            print_error=print_error,
            cache=cache,
            resources=resources,
            resources_variable=resources_variable,
            resources_scope=resources_scope,
            variant=as_variant(variant, variant_group),
            profiling_stats=None,
            error_snapshot=None,
            revision=None,
        )
        if profile:
            self.profile = True  # which works out the rest too
        else:
            self._changed()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "resources":
            value = as_resources(value, None, self.__name__)
        elif name == "variant":
            value = as_variant(value)
        object.__setattr__(self, name, value)
        if name in _WATCHED:
            self._changed()

    def _changed(self) -> None:
        """Work out anew how to call; the one place where what is derived gets out of date."""
        signature, binding, values = self.binding.signature, self.binding, self.__dict__
        target = call_target(self.func)
        n_positional = count_positional(self.func, signature)
        evaluates = self.resources_variable is not None and callable(self.resources)
        observed = self.debug or self.post_execution_hook is not None or evaluates
        renamed = binding.renames or binding.native_defaults
        # Whether the parameters that cannot go by position may be left to the callable.
        rest = tuple(signature.parameters)[n_positional:]
        optional = all(name in signature.defaults and name not in binding.native_defaults for name in rest)
        ordered = n_positional and optional and not observed and not binding.native_bound
        # A callable that rejects wrong arguments before it runs needs no check in front of it.
        strict = not rest and not (signature.open_ended or signature.positional_only)
        plain = not (observed or renamed or binding.native_bound) and self.resources_variable is None
        direct = strict and plain
        if self.profiling_stats is not None:
            target = ProfiledCall(target, self.profiling_stats)
        values["evaluates_resources"] = evaluates
        values["__name__"] = function_name(self.func)
        values["__doc__"] = documentation(self.func)
        values["_bare_target"] = target
        values["call_target"] = target if self.resources_variable is None else call_with(target, self)
        values["n_positional"] = n_positional
        values["positional_only"] = signature.positional_only
        values["observed"] = observed
        values["_direct"] = direct
        values["_take"] = _taker(binding.parameters[:n_positional]) if ordered and not direct else None
        if self.revision is not None:
            self.revision.number += 1

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function with arguments by their new names; the picker is not applied.

        Parameters
        ----------
        *args
            Values of `parameters`, in order.
        **kwargs
            Values by name; those of a scope may be given together as a dict.

        Returns
        -------
        Any
            What the callable returns.

        Raises
        ------
        InputError
            If an argument is unknown or given twice.

        """
        if not self._direct:
            return self._call_by_names(args, kwargs)  # type: ignore[no-any-return]
        try:
            return self.call_target(*args, **kwargs)  # type: ignore[no-any-return]
        except Exception as error:
            try:
                arguments = self.native_arguments(args, kwargs)
            except InputError as wrong:
                raise wrong from None
            record_failure(self, error, arguments)
            raise

    def _call_by_names(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        take, values = self._take, None
        # Each of the arguments that go by position is there, once, and no other.
        if take is not None and len(args) + len(kwargs) == self.n_positional:
            if not kwargs:
                values = args
            elif not args:
                try:
                    values = take(kwargs)
                except KeyError:
                    values = None  # an unknown name, or the dict of a scope
        if values is None:
            return self.call_native(self.native_arguments(args, kwargs))
        try:
            return self.call_target(*values)
        except Exception as error:
            record_failure(self, error, dict(zip(self.binding.signature.parameters, values, strict=False)))
            raise

    @property
    def __wrapped__(self) -> Callable[P, R]:
        """The callable."""
        return self.func

    def copy(self, **update: Any) -> PipeFunc[P, R]:
        """Return a copy, with other options if any are given.

        Parameters
        ----------
        **update
            Keywords of the constructor. Defaults and bound values go along with changed renames.

        Returns
        -------
        PipeFunc
            The copy, which belongs to no pipeline and has no error snapshot.

        Raises
        ------
        InvalidTypeError
            If the constructor has no such keyword.

        """
        if not update:
            new = object.__new__(type(self))
            new.__dict__.update(self.__dict__, error_snapshot=None, revision=None)
            if self.variant:
                new.__dict__["variant"] = dict(self.variant)
            if self.profiling_stats is not None:
                new.__dict__["profiling_stats"] = ProfilingStats()
                new._changed()
            return new
        binding = self.binding
        renames = dict(binding.renames)
        if "output_name" in update:
            renames = {old: name for old, name in renames.items() if old in binding.signature.parameters}
        names = update.get("renames", renames) or {}
        options = {
            "func": self.func,
            "output_name": binding.native_output,
            "output_picker": self.output_picker,
            "renames": renames,
            "defaults": {names.get(native, native): v for native, v in binding.native_defaults.items()},
            "bound": {names.get(native, native): v for native, v in binding.native_bound.items()},
            "profile": self.profile,
            "debug": self.debug,
            "print_error": self.print_error,
            "cache": self.cache,
            "mapspec": self.mapspec,
            "internal_shape": self.internal_shape,
            "post_execution_hook": self.post_execution_hook,
            "resources": self.resources,
            "resources_variable": self.resources_variable,
            "resources_scope": self.resources_scope,
            "parallelization_mode": None,
            "scope": None,
            "variant": self.variant,
            "variant_group": None,
        }
        unknown = sorted(update.keys() - options.keys())
        if unknown:
            message = f"PipeFunc has no options {unknown}; it has {sorted(options)}"
            raise InvalidTypeError(message, detail=unknown)
        return type(self)(**{**options, **update})

    def __getstate__(self) -> dict[str, Any]:
        # Lambdas and what is defined in __main__ need cloudpickle, whichever pickler the caller uses.
        cloudpickle = _optional.require("cloudpickle")
        code = (self.func, self.output_picker, self.post_execution_hook, self.resources)
        return {
            "code": cloudpickle.dumps(code),
            "hints": self._kept_hints(),
            "binding": self.binding.state(),
            **{name: self.__dict__[name] for name in _PLAIN_OPTIONS},
        }

    def _kept_hints(self) -> bytes:
        """Pickle annotations that are text: where the code goes, their names may not be known."""
        if not any(isinstance(hint, str) for hint in getattr(self.func, "__annotations__", {}).values()):
            return b""
        hints = self._hints()
        if any(isinstance(hint, Unresolvable) for hint in hints.values()):
            return b""
        try:
            return bytes(_optional.require("cloudpickle").dumps(hints))
        except Exception:  # of whatever types a user writes there; only what they say is lost
            return b""

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = dict(state)
        func, picker, hook, resources = pickle.loads(values.pop("code"))
        hints = values.pop("hints", b"")
        signature = without_variable(read_signature(func), values["resources_variable"], function_name(func))
        self.__dict__.update(
            values,
            func=func,
            binding=Binding(signature, **values["binding"]),
            output_picker=picker,
            post_execution_hook=hook,
            resources=resources,
            revision=None,
        )
        if hints:
            with contextlib.suppress(Exception):  # a module that is not here
                self._known_hints = (func, pickle.loads(hints))
        self._changed()

    def __str__(self) -> str:
        return f"{self.__name__}(...) → {', '.join(self.output_names)}"

    def __repr__(self) -> str:
        return f"PipeFunc({self.__name__})"


def _taker(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return operator.itemgetter(*names)
    (name,) = names
    return lambda values: (values[name],)
