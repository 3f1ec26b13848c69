"""Calling a function: from the arguments by present names to the outputs, with all that is due on the way."""

from __future__ import annotations

import datetime
import functools
import itertools
from typing import TYPE_CHECKING, Any

from pipefunc_c import _optional
from pipefunc_c._describe import short_repr
from pipefunc_c._function.failure import record_failure
from pipefunc_c._function.names import flatten_scopes
from pipefunc_c._function.profiling import ProfilingStats
from pipefunc_c._function.resource_use import ResourceUser, by_present_names
from pipefunc_c.exceptions import (
    ErrorSnapshot,
    InputError,
    InvalidTypeError,
    OutOfBoundsError,
    PropagatedErrorSnapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipefunc_c.resources import Resources


class CallableFunction(ResourceUser):
    """Call a callable under the names of its binding; the second base of `PipeFunc`.

    Attributes
    ----------
    call_target
        What to call per element in the place of ``func``; it hands over the resources and measures.
    n_positional
        Number of leading original parameters that must, or may safely, go by position.
    positional_only
        Original names of the parameters that the callable takes by position only.
    observed
        Whether there is more to do in a call than `call_target`, such as `observe` after it.
    error_snapshot
        The last error, if any.
    profiling_stats
        What the calls cost so far; None unless `profile`.

    """

    __name__: str
    call_target: Callable[..., Any]
    _bare_target: Callable[..., Any]  # the same, but the resources are one of its arguments
    n_positional: int
    positional_only: tuple[str, ...]
    observed: bool
    debug: bool
    print_error: bool
    post_execution_hook: Callable[[Any, Any, dict[str, Any]], Any] | None
    error_snapshot: ErrorSnapshot | None
    profiling_stats: ProfilingStats | None

    @property
    def profile(self) -> bool:
        """Whether each call is measured; may be set. What was measured is dropped with it."""
        return self.profiling_stats is not None

    @profile.setter
    def profile(self, profile: bool) -> None:
        if not profile:
            self.profiling_stats = None
        elif self.profiling_stats is None:
            _optional.require("psutil")
            self.profiling_stats = ProfilingStats()

    def native_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Translate the arguments of a call.

        Parameters
        ----------
        args
            Values of `parameters`, in order.
        kwargs
            Values by present names; those of a scope may be given together as a dict.

        Returns
        -------
        dict
            Values by original names, with bound values and the user's defaults.

        Raises
        ------
        InputError
            If an argument is unknown or given twice.

        """
        binding = self.binding
        native_names = binding.native_names
        if binding.scopes:
            kwargs = flatten_scopes(kwargs, binding.scopes)
        arguments = {**binding.native_defaults}
        try:
            for name in kwargs:
                arguments[native_names[name]] = kwargs[name]
        except KeyError as error:
            name = error.args[0]
            message = f"{name!r} is no parameter of {self.__name__}; its parameters are {self.parameters}"
            raise InputError(message, detail=name) from None
        if args:
            self._add_positional(arguments, args, kwargs)
        if binding.native_bound:
            arguments.update(binding.native_bound)
        return arguments

    def _add_positional(
        self, arguments: dict[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        native_names = self.binding.native_names
        if len(args) > len(native_names):
            message = (
                f"{self.__name__} was given {len(args)} arguments by position, but its parameters are "
                f"{self.parameters}"
            )
            raise InputError(message, detail=args)
        for name, value in zip(native_names, args, strict=False):
            if name in kwargs:
                message = f"{name!r} was given to {self.__name__} twice: by position and by keyword"
                raise InputError(message, detail=name)
            arguments[native_names[name]] = value

    def call_native(self, arguments: Mapping[str, Any], resources: Resources | None = None) -> Any:
        """Call the callable itself; record its error, print and run the hook as configured.

        Parameters
        ----------
        arguments
            Values by original names, bound values and the user's defaults included.
        resources
            What `resources_variable` receives, if it was worked out before.

        Returns
        -------
        Any
            What the callable returns.

        """
        target = self.call_target
        if self.evaluates_resources or resources is not None:
            arguments = self._with_resources(arguments, resources)
            target = self._bare_target
        try:
            if not self.positional_only:
                result = target(**arguments)
            else:
                positional, keywords = self.split_arguments(arguments)
                result = target(*positional, **keywords)
        except Exception as error:
            record_failure(self, error, arguments)
            raise
        if self.observed:
            self.observe(result, arguments)
        return result

    def target_with(self, resources: Resources | None) -> Callable[..., Any]:
        """Return what to call in the place of `call_target` where the resources were worked out before.

        Parameters
        ----------
        resources
            What `resources_variable` receives.

        Returns
        -------
        Callable
            Takes all other arguments, by original names.

        """
        if self.resources_variable is None:
            return self._bare_target
        return functools.partial(self._bare_target, **{self.resources_variable: resources})

    def _with_resources(self, arguments: Mapping[str, Any], resources: Resources | None) -> Mapping[str, Any]:
        variable = self.resources_variable
        if variable is None:
            return arguments
        if resources is None:
            resources = self.evaluate_resources(by_present_names(self.binding, arguments))
        return {**arguments, variable: resources}

    def split_arguments(self, arguments: Mapping[str, Any]) -> tuple[list[Any], Mapping[str, Any]]:
        """Divide arguments into those that must go by position and the rest.

        Parameters
        ----------
        arguments
            Values by original names. For positional-only parameters that are missing the callable's own
            default is taken; one without a default and those behind it are left out.

        Returns
        -------
        tuple
            The values by position, and those by name.

        """
        names = self.positional_only
        if not names:
            return [], arguments
        try:
            positional = [*map(arguments.__getitem__, names)]
        except KeyError:
            values = {**self.binding.signature.defaults, **arguments}
            positional = [values[native] for native in itertools.takewhile(values.__contains__, names)]
        else:
            if len(arguments) == len(names):
                return positional, {}
        return positional, {native: value for native, value in arguments.items() if native not in names}

    def observe(self, result: Any, arguments: Mapping[str, Any]) -> None:
        """Do what is due after a call: the line of `debug`, then the hook.

        Parameters
        ----------
        result
            What the callable returned.
        arguments
            Values by original names.

        """
        arguments = self.filled_in(self.received(arguments))
        if self.debug:
            call = ", ".join(f"{name}={short_repr(value)}" for name, value in arguments.items())
            now = datetime.datetime.now().isoformat(sep=" ", timespec="milliseconds")
            print(f"{now}  {self.output_name!r} = {self.__name__}({call}) → {short_repr(result)}")
        if self.post_execution_hook is not None:
            self.post_execution_hook(self, result, arguments)

    def filled_in(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Add defaults to arguments by original names, but for `own_defaults`; in parameter order."""
        signature = self.binding.signature
        defaults = {n: v for n, v in signature.defaults.items() if n not in signature.own_defaults}
        values = {**defaults, **arguments}
        names = (*signature.parameters, self.resources_variable)  # the resources, if any, come last
        return {native: values[native] for native in names if native in values}

    def pick(self, result: Any, name: str) -> Any:
        """Take one output out of a result.

        Parameters
        ----------
        result
            What the callable returned.
        name
            Which output.

        Returns
        -------
        Any
            The output.

        Raises
        ------
        InvalidTypeError, OutOfBoundsError
            If there is no picker and the result has no such position.

        """
        if self.output_picker is not None:
            return self.output_picker(result, name)
        if isinstance(self.binding.native_output, str):
            return result
        if isinstance(result, ErrorSnapshot | PropagatedErrorSnapshot):
            return result
        position = self.output_names.index(name)
        try:
            return result[position]
        except (TypeError, LookupError) as error:
            message = (
                f"{self.__name__} returned {short_repr(result)}, which has no item {position} for the output "
                f"{name!r} of {self.output_names}"
            )
            kind = OutOfBoundsError if isinstance(error, IndexError) else InvalidTypeError
            hint = "Return as many values as there are output names, or pass an `output_picker`."
            raise kind(message, detail=name, hint=hint) from error
