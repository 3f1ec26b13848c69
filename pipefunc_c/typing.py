"""Types that pipefunc_c's users annotate with; reading, comparing and writing of annotations."""

from __future__ import annotations

import sys
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from pipefunc_c._annotations import Array, ArrayElementType, NoAnnotation, TypeCheckMemo, Unresolvable
from pipefunc_c._compatibility import is_type_compatible

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Array",
    "ArrayElementType",
    "NoAnnotation",
    "TypeCheckMemo",
    "Unresolvable",
    "is_object_array_type",
    "is_type_compatible",
    "safe_get_type_hints",
    "type_as_string",
]


def is_object_array_type(annotation: Any) -> bool:
    """Tell whether an annotation is that of an array of Python objects.

    Parameters
    ----------
    annotation
        A type or generic alias.

    Returns
    -------
    bool
        True for ``Array[T]`` and for ``numpy.ndarray`` with an object dtype.

    Examples
    --------
    >>> import numpy.typing as npt
    >>> is_object_array_type(npt.NDArray[np.object_]), is_object_array_type(npt.NDArray[np.float64])
    (True, False)

    """
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is not np.ndarray:
        return False
    arguments = typing.get_args(annotation)
    if len(arguments) < 2:
        return False
    return typing.get_args(arguments[1])[:1] == (np.object_,)


def safe_get_type_hints(func: Callable[..., Any], include_extras: bool = False) -> dict[str, Any]:
    """Return the type hints of a callable, also when some of them do not evaluate.

    Parameters
    ----------
    func
        A function, method or class.
    include_extras
        Whether to keep ``Annotated[...]`` around types.

    Returns
    -------
    dict
        Type per name, ``"return"`` for what is returned; `Unresolvable` where a hint does not evaluate.

    Examples
    --------
    >>> def half(x: int, y: Missing) -> float: ...
    >>> safe_get_type_hints(half)
    {'x': <class 'int'>, 'y': Unresolvable(type_str='Missing'), 'return': <class 'float'>}

    """
    try:
        return typing.get_type_hints(func, include_extras=include_extras)
    except Exception:  # a hint is any expression of the user's
        return _hints_one_by_one(func, include_extras)


def _hints_one_by_one(func: Any, include_extras: bool) -> dict[str, Any]:
    # From Python 3.14 on reading the annotations evaluates them, so even this may fail.
    try:
        annotations = dict(getattr(func, "__annotations__", None) or {})
    except Exception:
        return {}
    owner = getattr(func, "__func__", func)
    names = getattr(owner, "__globals__", None)
    if names is None:
        names = vars(sys.modules.get(getattr(func, "__module__", None) or "", types.ModuleType("")))
    hints = {}
    for name, annotation in annotations.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hint = typing.get_type_hints(holder, globalns=names, include_extras=include_extras)
            hints.update(hint)
        except Exception:
            text = annotation if isinstance(annotation, str) else repr(annotation)
            hints[name] = Unresolvable(text)
    return hints


def type_as_string(annotation: Any) -> str:
    """Write a type as one would write it in source code.

    Parameters
    ----------
    annotation
        A type, a generic alias, or one of the stand-ins of this module.

    Returns
    -------
    str
        Its name, without the module for classes.

    Examples
    --------
    >>> type_as_string(float), type_as_string(list[int]), type_as_string(int | None)
    ('float', 'list[int]', 'int | None')

    """
    if isinstance(annotation, Unresolvable):
        return annotation.type_str
    if annotation is NoAnnotation:
        return "—"
    if annotation is type(None):
        return "None"
    if isinstance(annotation, list):  # what a Callable takes
        return f"[{', '.join(map(type_as_string, annotation))}]"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(type_as_string, arguments))
    if origin is Annotated:
        primary, *extras = arguments
        elements = [typing.get_args(e)[0] for e in extras if typing.get_origin(e) is ArrayElementType]
        if elements:
            return f"Array[{type_as_string(elements[0])}]"
        return f"Annotated[{type_as_string(primary)}, {', '.join(map(repr, extras))}]"
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is None:
        if isinstance(annotation, typing.ForwardRef):
            return annotation.__forward_arg__
        name = getattr(annotation, "__name__", None)
        return name if isinstance(name, str) else str(annotation).removeprefix("typing.")
    name = getattr(origin, "__name__", str(origin))
    if origin is np.ndarray and arguments[0] in (Any, tuple[Any, ...]) and typing.get_args(arguments[-1]):
        name, arguments = "NDArray", typing.get_args(arguments[-1])
    return f"{name}[{', '.join('...' if a is Ellipsis else type_as_string(a) for a in arguments)}]"
