"""The resources of a function: how they are given, worked out for a call and handed to the callable."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pipefunc_c._function.named import NamedFunction
from pipefunc_c._function.names import flatten_scopes
from pipefunc_c._function.signature import function_name
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.resources import Resources, WithMode, check_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipefunc_c._function.binding import Binding
    from pipefunc_c._function.signature import NativeSignature
    from pipefunc_c.resources import Mode, ResourcesCallable

    AnyResources: TypeAlias = Resources | Mapping[str, Any] | Callable[[dict[str, Any]], Any] | None
    ResourcesScope: TypeAlias = Literal["map", "element"]


class ResourceUser(NamedFunction):
    """Know the resources of a callable; the base of `CallableFunction`.

    Attributes
    ----------
    resources
        None, `Resources`, or a function that gets the arguments by their present names and returns
        `Resources`. May be set to a dict too.
    resources_variable
        Original name of the parameter that receives them; it is none of `parameters`.
    resources_scope
        What the function gets: ``"map"``: the whole inputs; ``"element"``: the arguments of one element.
    evaluates_resources
        Whether resources must be worked out before the callable can be called.

    """

    __name__: str
    resources: Resources | ResourcesCallable | None
    resources_variable: str | None
    resources_scope: ResourcesScope
    evaluates_resources: bool

    def evaluate_resources(self, kwargs: Mapping[str, Any]) -> Resources | None:
        """Work out the resources for some arguments.

        Parameters
        ----------
        kwargs
            Values by present names; defaults and bound values are filled in.

        Returns
        -------
        Resources or None
            The resources; None if the function has none.

        Raises
        ------
        InvalidTypeError, InvalidValueError
            If what the user's function returns does not make resources.

        Examples
        --------
        >>> from pipefunc_c._function.pipefunc import PipeFunc
        >>> function = PipeFunc(sum, "y", resources=lambda kwargs: {"cpus": len(kwargs["iterable"])})
        >>> function.evaluate_resources({"iterable": [1, 2, 3]}).cpus
        3

        """
        if not callable(self.resources):
            return self.resources
        with naming(self.__name__):
            return self.resources(self.arguments_of_resources(kwargs))

    def arguments_of_resources(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Give what the function that gives the resources gets for some arguments by present names."""
        binding = self.binding
        return {**binding.defaults, **flatten_scopes(kwargs, binding.scopes), **binding.bound}

    def with_default_resources(self, default_resources: AnyResources) -> None:
        """Fill in what the resources leave open; changes this object.

        Parameters
        ----------
        default_resources
            What holds where nothing was chosen.

        """
        if default_resources is not None:
            with naming(self.__name__):
                self.resources = Resources.maybe_with_defaults(
                    self.resources, Resources.maybe_from_dict(default_resources)
                )

    def received(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add the resources to arguments by original names; never raises.

        Parameters
        ----------
        arguments
            What the callable gets but for its resources, or all of it.

        Returns
        -------
        Mapping
            What the callable gets. Resources that cannot be worked out are left out.

        """
        variable = self.resources_variable
        if variable is None or variable in arguments:
            return arguments
        try:
            return {**arguments, variable: self.evaluate_resources(by_present_names(self.binding, arguments))}
        except Exception:  # it is for reports of errors, and the function that fails is the user's
            return arguments


class ResourcesCall:
    """Work out the resources of each call from its arguments, and pass them on.

    Parameters
    ----------
    target
        What is called.
    user
        The function; only what it says now is used.

    """

    def __init__(self, target: Callable[..., Any], user: ResourceUser) -> None:
        self._target = target
        self._variable = user.resources_variable
        self._natives = tuple(user.binding.signature.parameters)
        # Not the user itself: it holds this object.
        self._fixed = _Evaluation(user.__name__, user.binding, user.resources)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the callable with arguments by original names."""
        natives = {**dict(zip(self._natives, args, strict=False)), **kwargs}
        resources = self._fixed.evaluate_resources(by_present_names(self._fixed.binding, natives))
        return self._target(*args, **{**kwargs, str(self._variable): resources})


class _Evaluation(ResourceUser):
    def __init__(self, name: str, binding: Binding, resources: Resources | ResourcesCallable | None) -> None:
        self.__name__ = name
        self.binding = binding
        self.resources = resources


def by_present_names(binding: Binding, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Translate arguments by original names into those by present names."""
    natives = binding.native_names.items()
    return {name: arguments[native] for name, native in natives if native in arguments}


def as_resources(
    resources: AnyResources, parallelization_mode: Mode | None, name: str
) -> Resources | ResourcesCallable | None:
    """Make resources of what a user gives for a function.

    Parameters
    ----------
    resources
        As for `PipeFunc`.
    parallelization_mode
        None, or the mode that they are to have.
    name
        Name of the function, for messages.

    Returns
    -------
    Resources, callable or None
        The resources.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        If they are malformed, or have another mode.

    Examples
    --------
    >>> as_resources({"cpus": 2}, "internal", "f").parallelization_mode
    'internal'

    """
    with naming(name):
        made = Resources.maybe_from_dict(resources)
        if parallelization_mode is None:
            return made
        check_mode(parallelization_mode)
        if made is None or isinstance(made, Resources):
            return (made or Resources()).with_mode(parallelization_mode)
        return Resources.maybe_from_dict(WithMode(made, parallelization_mode))


def without_variable(signature: NativeSignature, variable: str | None, name: str) -> NativeSignature:
    """Return a signature without the parameter that receives the resources.

    Parameters
    ----------
    signature
        The parameters of the callable.
    variable
        The parameter, or None.
    name
        Name of the function, for messages.

    Returns
    -------
    NativeSignature
        The signature of all that a pipeline may pass.

    Raises
    ------
    InvalidTypeError
        If the name is no str.
    InvalidValueError
        If there is no such parameter, or it is positional-only.

    """
    if variable is None:
        return signature
    given: object = variable
    if not isinstance(given, str):
        message = f"`resources_variable` of {name} must be a str, got {given!r}"
        raise InvalidTypeError(message, detail=given)
    if variable not in signature.parameters:
        message = (
            f"`resources_variable` of {name} is {variable!r}, which is no parameter; the parameters are "
            f"{tuple(signature.parameters)}"
        )
        raise InvalidValueError(message, detail=variable)
    if variable in signature.positional_only:
        message = f"`resources_variable` of {name} is {variable!r}, which can be passed by position only"
        raise InvalidValueError(message, detail=variable, hint="Wrap the callable in a function.")
    return signature.without(variable)


def check_scope(scope: object, func: object) -> None:
    """Refuse what is no `resources_scope` of a callable."""
    if scope not in ("map", "element"):
        message = f"`resources_scope` of {function_name(func)} must be 'map' or 'element', got {scope!r}"
        raise InvalidValueError(message, detail=scope)


def call_with(target: Callable[..., Any], user: ResourceUser) -> Callable[..., Any]:
    """Return what to call in the place of a callable so that it receives its resources.

    Parameters
    ----------
    target
        The callable.
    user
        The function.

    Returns
    -------
    Callable
        Takes all arguments but the resources.

    """
    if user.resources_variable is None:
        return target
    if user.evaluates_resources:
        return ResourcesCall(target, user)
    return functools.partial(target, **{user.resources_variable: user.resources})


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the function in errors about its resources."""
    try:
        yield
    except (InvalidValueError, InvalidTypeError) as error:
        text = f"the resources of {name} are refused: {error.args[0]}"
        raise type(error)(text, detail=error.detail, hint=error.hint) from error
    except Exception as error:
        error.add_note(f"This happened while the resources of {name} were worked out.")
        raise
