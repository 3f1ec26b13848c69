"""What a callable says about itself: parameters, defaults, annotations, name, and how to call it fast."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import types
import typing
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.typing import NoAnnotation, Unresolvable, safe_get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# Both dataclasses and pydantic put an instance of a private class of this name where a factory is.
_FACTORY_MARKER = "_HAS_DEFAULT_FACTORY_CLASS"


@dataclass(frozen=True)
class NativeSignature:
    """Hold the parameters of a callable under the names that it gives them itself.

    Parameters
    ----------
    parameters
        Per name, the parameter; ``*args`` and ``**kwargs`` are left out, for nothing can be named there.
    defaults
        Values of the parameters that may be left out; a default factory was called once.
    own_defaults
        Names that are left out of calls unless a value is given, so that the callable fills in its default:
        it makes a new one each time, or may not bear being given it (as NumPy's ufuncs).
    positional_only
        Names of the leading parameters that must be passed by position.
    open_ended
        Whether it takes ``*args`` or ``**kwargs``.

    """

    parameters: Mapping[str, inspect.Parameter]
    defaults: Mapping[str, Any]
    own_defaults: frozenset[str]
    positional_only: tuple[str, ...]
    open_ended: bool

    def without(self, name: str) -> NativeSignature:
        """Return the signature without a parameter that is not positional-only."""
        return dataclasses.replace(
            self,
            parameters={key: value for key, value in self.parameters.items() if key != name},
            defaults={key: value for key, value in self.defaults.items() if key != name},
            own_defaults=self.own_defaults - {name},
        )


def read_signature(func: Callable[..., Any]) -> NativeSignature:
    """Read the parameters of a callable.

    Parameters
    ----------
    func
        A function, builtin, partial, method, callable instance or class.

    Returns
    -------
    NativeSignature
        Its parameters and their defaults.

    Raises
    ------
    InvalidTypeError
        If `func` is not callable.
    InvalidValueError
        If it does not tell its parameters, as some builtins do not.

    Examples
    --------
    >>> def scale(x, factor=2): ...
    >>> signature = read_signature(scale)
    >>> tuple(signature.parameters), signature.defaults
    (('x', 'factor'), {'factor': 2})

    """
    if not callable(func):
        raise InvalidTypeError(f"a function must be callable, got {func!r}", detail=func)
    stated = getattr(func, "native_signature", None)
    if isinstance(stated, NativeSignature):
        return stated
    try:
        parameters = inspect.signature(func).parameters
    except (ValueError, TypeError) as error:
        message = f"{func!r} does not tell its parameters: {error}"
        hint = "Wrap it in a function: def f(x): ..."
        raise InvalidValueError(message, detail=func, hint=hint) from error
    named = {name: parameter for name, parameter in parameters.items() if parameter.kind not in _UNNAMED}
    defaults = {n: p.default for n, p in named.items() if p.default is not inspect.Parameter.empty}
    factories = frozenset(n for n, value in defaults.items() if type(value).__name__ == _FACTORY_MARKER)
    if isinstance(func, type):
        defaults = _class_defaults(func, defaults, factories)
    positional_only = tuple(n for n, p in named.items() if p.kind is inspect.Parameter.POSITIONAL_ONLY)
    # What goes by position cannot be left out without moving what is behind it.
    own = defaults.keys() - positional_only if is_compiled(func) else factories
    open_ended = len(named) != len(parameters)
    return NativeSignature(named, defaults, frozenset(own & defaults.keys()), positional_only, open_ended)


def _class_defaults(cls: type, defaults: dict[str, Any], factories: frozenset[str]) -> dict[str, Any]:
    """Put what default factories make in the place of their markers."""
    if any(base.__name__ == "BaseModel" and "pydantic" in base.__module__ for base in cls.__mro__):
        if not hasattr(cls, "model_fields"):
            message = (
                f"the defaults of {cls.__name__} are not known, for it is a pydantic 1 model; give them "
                "with `defaults`, or use pydantic 2"
            )
            warnings.warn(message, UserWarning, stacklevel=4)
            return {}
        makers = {
            name: field.default_factory
            for key, field in cls.model_fields.items()
            for name in (key, field.alias)
            # A factory that is given the other fields cannot be asked for a value of its own.
            if field.default_factory and not getattr(field, "default_factory_takes_validated_data", False)
        }
    elif dataclasses.is_dataclass(cls):
        makers = {field.name: field.default_factory for field in dataclasses.fields(cls)}
    else:
        makers = {}
    made = {name: makers[name]() for name in factories if name in makers}
    known = {name: value for name, value in defaults.items() if name not in factories}
    return {name: (made | known)[name] for name in defaults if name in made or name in known}


def function_name(func: Any) -> str:
    """Name a callable as a node of a pipeline.

    Parameters
    ----------
    func
        Any callable.

    Returns
    -------
    str
        Its ``__name__``; with the class for a bound method; that of the type for an instance without one.

    Examples
    --------
    >>> function_name(len), function_name("abc".join), function_name(functools.partial(len))
    ('len', 'join', 'partial')

    """
    is_method = isinstance(func, types.MethodType)
    name = getattr(func, "__qualname__" if is_method else "__name__", None)
    if not isinstance(name, str):
        return type(func).__name__
    return ".".join(name.split(".")[-2:]) if is_method else name


def documentation(func: Any) -> str | None:
    """Return the docstring of a callable; that of its class is not its own."""
    owned = isinstance(func, type) or inspect.isroutine(func) or "__doc__" in getattr(func, "__dict__", ())
    return func.__doc__ if owned else None


def named_parameter(
    name: str, kind: inspect._ParameterKind, default: Any = inspect.Parameter.empty, annotation: Any = None
) -> inspect.Parameter:
    """Make a parameter whose name may have a scope, which the constructor refuses.

    Parameters
    ----------
    name
        Its name.
    kind, default
        As for ``inspect.Parameter``.
    annotation
        The same; None: there is none.

    Returns
    -------
    inspect.Parameter
        The parameter.

    Examples
    --------
    >>> str(named_parameter("s.x", inspect.Parameter.KEYWORD_ONLY, 1))
    's.x=1'

    """
    hint = inspect.Parameter.empty if annotation is None else annotation
    parameter = inspect.Parameter("_", kind, default=default, annotation=hint)
    parameter._name = name  # type: ignore[attr-defined]  # unchecked, other than by the constructor
    return parameter


def call_target(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return what to call per element in the place of a callable.

    Parameters
    ----------
    func
        Any callable.

    Returns
    -------
    Callable
        A bound method for an instance of a Python class with a plain ``__call__``, which saves the look-up
        of ``__call__`` and the packing of arguments; otherwise `func` itself.

    """
    if isinstance(func, types.FunctionType | types.MethodType | types.BuiltinFunctionType | type):
        return func
    method = inspect.getattr_static(type(func), "__call__", None)
    return types.MethodType(method, func) if isinstance(method, types.FunctionType) else func


def is_compiled(func: Callable[..., Any]) -> bool:
    """Tell whether a callable is a builtin, a ufunc or the like: one whose call runs no Python code."""
    known = isinstance(func, (types.FunctionType, types.MethodType, type, functools.partial))
    return call_target(func) is func and not known


def count_positional(func: Callable[..., Any], signature: NativeSignature) -> int:
    """Count the leading parameters that must go by position, or may without changing what happens.

    Parameters
    ----------
    func
        The callable.
    signature
        Its parameters.

    Returns
    -------
    int
        A decorator may treat arguments by position and by keyword differently, so beyond positional-only
        parameters only those of plain functions and methods count.

    Examples
    --------
    >>> def scale(x, factor, *, offset): ...
    >>> count_positional(scale, read_signature(scale))
    2

    """
    required = len(signature.positional_only)
    target = call_target(func)
    function = getattr(target, "__func__", target)
    if not isinstance(function, types.FunctionType):
        return required
    if any(hasattr(each, mark) for each in (func, function) for mark in ("__wrapped__", "__signature__")):
        return required
    # The callable may have been replaced by one with its parameters in another order, and one of its
    # parameters may not be in the signature; what is before that goes by position all the same.
    code = function.__code__
    names = code.co_varnames[isinstance(target, types.MethodType) : code.co_argcount]
    expected = tuple(signature.parameters)
    if names == expected[: len(names)]:
        return len(names)
    pairs = zip(names, expected, strict=False)
    return max(required, sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def annotations_of(func: Any) -> dict[str, Any]:
    """Return the types of the parameters of a callable and, as ``"return"``, of what it returns.

    Parameters
    ----------
    func
        Any callable.

    Returns
    -------
    dict
        Only what is annotated; a class returns itself.

    Examples
    --------
    >>> def half(x: float) -> float: ...
    >>> annotations_of(functools.partial(half, 1.0))
    {'x': <class 'float'>, 'return': <class 'float'>}

    """
    if isinstance(func, functools.partial):
        return annotations_of(func.func)
    if isinstance(func, type):
        by_fields = dataclasses.is_dataclass(func) or hasattr(func, "model_fields") or is_named_tuple(func)
        # An __init__ without annotations is that of object, of which nothing is known either.
        hints = safe_get_type_hints(func if by_fields else func.__init__, include_extras=True)  # type: ignore[misc]
        return {**hints, "return": func}
    declared = getattr(func, "__signature__", None)
    if isinstance(declared, inspect.Signature):
        return _declared_annotations(declared)
    routine = inspect.isroutine(func)
    return safe_get_type_hints(func if routine else type(func).__call__, include_extras=True)


def _declared_annotations(signature: inspect.Signature) -> dict[str, Any]:
    hints = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    hints["return"] = signature.return_annotation
    known = {name: hint for name, hint in hints.items() if hint is not inspect.Parameter.empty}
    return {name: Unresolvable(hint) if isinstance(hint, str) else hint for name, hint in known.items()}


def is_named_tuple(annotation: Any) -> bool:
    """Tell whether a type is a tuple whose fields have names."""
    return isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields")


def split_output_type(annotation: Any, names: Sequence[str]) -> dict[str, Any]:
    """Give each of several outputs its part of the type that a function returns.

    Parameters
    ----------
    annotation
        What the function returns.
    names
        Names of the outputs, two or more.

    Returns
    -------
    dict
        Type per name, `NoAnnotation` for all if the type does not have that many parts.

    Examples
    --------
    >>> split_output_type(tuple[int, str], ["a", "b"])
    {'a': <class 'int'>, 'b': <class 'str'>}

    """
    parts: Sequence[Any] = ()
    if is_named_tuple(annotation):
        hints = safe_get_type_hints(annotation, include_extras=True)
        parts = [hints.get(field, NoAnnotation) for field in annotation._fields]
    elif typing.get_origin(annotation) is tuple:
        parts = typing.get_args(annotation)
        if len(parts) == 2 and parts[1] is Ellipsis:
            parts = [parts[0]] * len(names)
    if len(parts) != len(names):
        parts = [NoAnnotation] * len(names)
    return dict(zip(names, parts, strict=True))
