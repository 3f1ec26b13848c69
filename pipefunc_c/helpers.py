"""Small functions that help to write pipelines."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._storage.file import FileArray
from pipefunc_c._storage.file_value import FileValue
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.map._runs.launch import gather_maps, launch_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipefunc_c._graph.graph import AnyFunc

__all__ = [
    "FileArray",
    "FileValue",
    "chain",
    "collect_kwargs",
    "gather_maps",
    "get_attribute_factory",
    "launch_maps",
]


def collect_kwargs(
    parameters: Sequence[str],
    *,
    annotations: Sequence[Any] | None = None,
    function_name: str = "call",
) -> Callable[..., dict[str, Any]]:
    """Make a function that returns its arguments as a dict.

    Parameters
    ----------
    parameters
        Names of its parameters.
    annotations
        Their types, one for each.
    function_name
        Its name.

    Returns
    -------
    Callable
        The function.

    Raises
    ------
    InvalidTypeError
        If a name is no str.
    InvalidValueError
        If a name is no identifier or occurs twice, or if there are not as many types as names.

    Examples
    --------
    >>> collect = collect_kwargs(("a", "b"), annotations=(int, float))
    >>> collect(1, b=2.0)
    {'a': 1, 'b': 2.0}
    >>> inspect.signature(collect)
    <Signature (a: int, b: float) -> dict[str, typing.Any]>

    """
    names = _checked_names(parameters)
    if annotations is None:
        annotations = (inspect.Parameter.empty,) * len(names)
    elif len(annotations) != len(names):
        message = (
            f"there are {len(names)} parameters {names}, but {len(annotations)} annotations {annotations}"
        )
        raise InvalidValueError(message, detail=annotations, hint="Give one for each parameter.")
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given = zip(names, annotations, strict=True)
    signature = inspect.Signature(
        [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in given],
        return_annotation=dict[str, Any],
    )

    def call(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return dict(signature.bind(*args, **kwargs).arguments)

    return _dressed(call, signature, function_name)


def get_attribute_factory(
    attribute_name: str,
    parameter_name: str,
    parameter_annotation: Any = inspect.Parameter.empty,
    return_annotation: Any = inspect.Parameter.empty,
    function_name: str = "get_attribute",
) -> Callable[[Any], Any]:
    """Make a function that returns an attribute of its argument.

    Parameters
    ----------
    attribute_name
        The attribute.
    parameter_name
        Name of the parameter.
    parameter_annotation, return_annotation
        Types of the argument and of the attribute.
    function_name
        Name of the function.

    Returns
    -------
    Callable
        The function.

    Raises
    ------
    InvalidTypeError
        If a name is no str.
    InvalidValueError
        If the name of the parameter is no identifier.

    Examples
    --------
    >>> real = get_attribute_factory("real", "z", complex, float)
    >>> real(1 + 2j), real(z=3j)
    (1.0, 0.0)

    """
    attribute: object = attribute_name
    if not isinstance(attribute, str):
        message = f"the name of an attribute must be a str, got {attribute!r}"
        raise InvalidTypeError(message, detail=attribute)
    (name,) = _checked_names((parameter_name,))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameter = inspect.Parameter(name, kind, annotation=parameter_annotation)
    signature = inspect.Signature([parameter], return_annotation=return_annotation)

    def get_attribute(*args: Any, **kwargs: Any) -> Any:
        return getattr(signature.bind(*args, **kwargs).arguments[name], attribute_name)

    return _dressed(get_attribute, signature, function_name)


def _checked_names(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        message = f"the parameters must be a list or tuple of names, got {names!r}"
        raise InvalidTypeError(message, detail=names, hint=f"Write ({names!r},) for this one name.")
    checked = tuple(names)
    given: tuple[object, ...] = checked
    for name in given:
        if not isinstance(name, str):
            message = f"the name of a parameter must be a str, got {name!r}"
            raise InvalidTypeError(message, detail=name)
        if not name.isidentifier() or keyword.iskeyword(name):
            raise InvalidValueError(f"{name!r} cannot be the name of a parameter", detail=name)
        if checked.count(name) > 1:
            raise InvalidValueError(f"the parameter name {name!r} occurs twice in {checked}", detail=name)
    return checked


def _dressed(func: Callable[..., Any], signature: inspect.Signature, name: str) -> Callable[..., Any]:
    hints = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    hints["return"] = signature.return_annotation
    func.__name__ = func.__qualname__ = name
    func.__annotations__ = {n: hint for n, hint in hints.items() if hint is not inspect.Parameter.empty}
    func.__signature__ = signature  # type: ignore[attr-defined]  # read by inspect
    return func


def chain(functions: Sequence[AnyFunc | Callable[..., Any]], *, copy: bool = True) -> list[AnyFunc]:
    """Connect functions so that each takes what the one before it returns.

    Where an output already is the name of a parameter that is not bound, nothing changes; else the first
    parameter is renamed to the first output.

    Parameters
    ----------
    functions
        The functions; the output of a plain one gets the name of the function.
    copy
        Whether to leave `PipeFunc` objects as they are and return copies.

    Returns
    -------
    list
        The functions, for a `Pipeline`.

    Raises
    ------
    InvalidTypeError
        If something is not callable.
    InvalidValueError
        If there are no functions, or if a function has no parameters, or its first one is bound or cannot
        be renamed; no function is changed then.

    Examples
    --------
    >>> def load(path): ...
    >>> def clean(data, level=1): ...
    >>> def plot(level, load): ...
    >>> [function.parameters for function in chain([load, clean])]
    [('path',), ('load', 'level')]
    >>> [function.parameters for function in chain([load, plot])]
    [('path',), ('level', 'load')]

    """
    if isinstance(functions, PipeFunc) or not isinstance(functions, Iterable):
        message = f"chain takes a list of functions, got {functions!r}"
        raise InvalidTypeError(message, detail=functions)
    chained = [_as_pipefunc(function, copy=copy) for function in functions]
    if not chained:
        raise InvalidValueError("chain needs at least one function, got none", detail=functions)
    bindings = [chained[0].binding]
    for upstream, function in zip(chained, chained[1:], strict=False):
        name = _name_to_rename(function, upstream.output_names)
        new = (
            function.binding
            if name is None
            else function.binding.with_renames({name: upstream.output_names[0]})
        )
        bindings.append(new)
    # Only now, so that a refused chain leaves functions as they were.
    for function, binding in zip(chained, bindings, strict=True):
        if function.binding is not binding:
            function.binding = binding
    return chained


def _as_pipefunc(function: object, *, copy: bool) -> AnyFunc:
    if isinstance(function, PipeFunc):
        return function.copy() if copy else function
    if not callable(function):
        message = f"only PipeFunc objects and callables can be chained, got {function!r}"
        raise InvalidTypeError(message, detail=function)
    return PipeFunc(function, getattr(function, "__name__", type(function).__name__))


def _name_to_rename(function: AnyFunc, outputs: Sequence[str]) -> str | None:
    """Return the parameter that is to take an upstream output; None if one already does."""
    bound = function.bound
    if any(name in outputs and name not in bound for name in function.parameters):
        return None
    if not function.parameters:
        message = (
            f"{function} has no parameters, so it cannot take {outputs[0]!r} from the function before it"
        )
        raise InvalidValueError(message, detail=function.output_name)
    first = function.parameters[0]
    if first in bound:
        kind = "all parameters are" if len(bound) == len(function.parameters) else f"its first, {first!r}, is"
        message = f"{function} cannot take {outputs[0]!r} from the function before it, for {kind} bound"
        hint = f"Rename the parameter that is meant to {outputs[0]!r}, or put it first."
        raise InvalidValueError(message, detail=first, hint=hint)
    return first
