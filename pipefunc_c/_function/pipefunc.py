"""`PipeFunc`: a callable with named outputs, and the decorator that makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from pipefunc_c import _optional
from pipefunc_c._function.binding import Binding
from pipefunc_c._function.calling import CallableFunction
from pipefunc_c._function.failure import record_failure
from pipefunc_c._function.signature import (
    call_target,
    count_positional,
    documentation,
    function_name,
    read_signature,
)
from pipefunc_c.exceptions import InputError, InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c._spec.mapspec import MapSpec

P = ParamSpec("P")
R = TypeVar("R")

# Setting one of these changes how the function is called.
_WATCHED = frozenset({"func", "binding", "output_picker", "post_execution_hook", "debug"})


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
    debug
        Whether to print a line after each call.
    print_error
        Whether to print a line when the callable raises.
    mapspec
        How it maps over arrays, for example ``"x[i] -> y[i]"``, in new names.
    internal_shape
        Sizes of the axes that the callable returns itself; ``"?"`` if unknown.
    post_execution_hook
        Called after each call with this object, the result and the arguments by original names.
    scope
        Put before all names, as `update_scope` does.

    Raises
    ------
    InvalidTypeError
        If `func` is not callable, or a name or the mapspec has a wrong type.
    InvalidValueError
        If names are malformed, unknown or not unique, or the mapspec does not fit them.

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
    _direct: bool  # whether arguments can go to the callable as they come

    def __init__(  # noqa: PLR0913  the keywords are the public interface
        self,
        func: Callable[P, R],
        output_name: str | tuple[str, ...],
        *,
        output_picker: Callable[[Any, str], Any] | None = None,
        renames: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        bound: Mapping[str, Any] | None = None,
        debug: bool = False,
        print_error: bool = True,
        mapspec: str | MapSpec | None = None,
        internal_shape: Dimension | tuple[Dimension, ...] | None = None,
        post_execution_hook: Callable[[PipeFunc[P, R], Any, dict[str, Any]], Any] | None = None,
        scope: str | None = None,
    ) -> None:
        binding = Binding(
            read_signature(func), output_name, dict(renames or {}), internal_shape=internal_shape
        )
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
            output_picker=output_picker,
            post_execution_hook=post_execution_hook,
            debug=debug,
        )
        self.print_error = print_error
        self.error_snapshot = None
        self.revision = None
        self._changed()

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in _WATCHED:
            self._changed()

    def _changed(self) -> None:
        """Work out anew how to call; the one place where what is derived gets out of date."""
        signature, binding = self.binding.signature, self.binding
        target = call_target(self.func)
        n_positional = count_positional(self.func, signature)
        observed = self.debug or self.post_execution_hook is not None
        renamed = binding.renames or binding.native_defaults or binding.native_bound
        # A callable that rejects wrong arguments before it runs needs no check in front of it.
        strict = n_positional == len(signature.parameters) and not signature.open_ended
        self.__dict__.update(
            call_target=target,
            n_positional=n_positional,
            positional_only=signature.positional_only,
            observed=observed,
            _direct=strict and not (renamed or observed or signature.positional_only),
            __name__=function_name(self.func),
            __doc__=documentation(self.func),
        )
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
            return self.call_native(self.native_arguments(args, kwargs))  # type: ignore[no-any-return]
        try:
            return self.call_target(*args, **kwargs)  # type: ignore[no-any-return]
        except Exception as error:
            try:
                arguments = self.native_arguments(args, kwargs)
            except InputError as wrong:
                raise wrong from None
            record_failure(self, error, arguments)
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
            "debug": self.debug,
            "print_error": self.print_error,
            "mapspec": self.mapspec,
            "internal_shape": self.internal_shape,
            "post_execution_hook": self.post_execution_hook,
            "scope": None,
        }
        unknown = sorted(update.keys() - options.keys())
        if unknown:
            message = f"PipeFunc has no options {unknown}; it has {sorted(options)}"
            raise InvalidTypeError(message, detail=unknown)
        return type(self)(**{**options, **update})

    def __getstate__(self) -> dict[str, Any]:
        # Lambdas and what is defined in __main__ need cloudpickle, whichever pickler the caller uses.
        cloudpickle = _optional.require("cloudpickle")
        code = (self.func, self.output_picker, self.post_execution_hook)
        kept = ("debug", "print_error", "error_snapshot")
        return {
            "code": cloudpickle.dumps(code),
            "binding": self.binding.state(),
            **{name: self.__dict__[name] for name in kept},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = dict(state)
        func, picker, hook = _optional.require("cloudpickle").loads(values.pop("code"))
        self.__dict__.update(
            values,
            func=func,
            binding=Binding(read_signature(func), **values["binding"]),
            output_picker=picker,
            post_execution_hook=hook,
            revision=None,
        )
        self._changed()

    def __str__(self) -> str:
        return f"{self.__name__}(...) → {', '.join(self.output_names)}"

    def __repr__(self) -> str:
        return f"PipeFunc({self.__name__})"


def pipefunc(  # noqa: PLR0913  the keywords are those of PipeFunc
    output_name: str | tuple[str, ...],
    *,
    output_picker: Callable[[Any, str], Any] | None = None,
    renames: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    bound: Mapping[str, Any] | None = None,
    debug: bool = False,
    print_error: bool = True,
    mapspec: str | MapSpec | None = None,
    internal_shape: Dimension | tuple[Dimension, ...] | None = None,
    post_execution_hook: Callable[[PipeFunc[..., Any], Any, dict[str, Any]], Any] | None = None,
    scope: str | None = None,
) -> Callable[[Callable[P, R]], PipeFunc[P, R]]:
    """Make a decorator that turns a function into a `PipeFunc`.

    Parameters
    ----------
    output_name, output_picker, renames, defaults, bound, debug, print_error
        As for `PipeFunc`.
    mapspec, internal_shape, post_execution_hook, scope
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
            debug=debug,
            print_error=print_error,
            mapspec=mapspec,
            internal_shape=internal_shape,
            post_execution_hook=post_execution_hook,
            scope=scope,
        )

    return decorate
