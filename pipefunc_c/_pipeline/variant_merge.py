"""One list of functions with variants, out of several pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c._graph.validate import same_value
from pipefunc_c.exceptions import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipefunc_c._graph.graph import AnyFunc

# What must be the very same object in both functions, or equal.
_OPTIONS = ("output_picker", "post_execution_hook", "cache", "profile", "debug", "print_error")
_RESOURCES = ("resources", "resources_variable", "resources_scope")


def same_function(one: AnyFunc, other: AnyFunc) -> bool:
    """Tell whether two functions are copies of each other, variants aside.

    Parameters
    ----------
    one, other
        The functions.

    Returns
    -------
    bool
        Whether they call the same callable under the same names, with the same options. False if values
        cannot be compared.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> function = PipeFunc(abs, "y")
    >>> same_function(function, function.copy()), same_function(function, function.copy(bound={"x": 1}))
    (True, False)

    """
    if type(one) is not type(other):
        return False
    if isinstance(one, NestedPipeFunc) and isinstance(other, NestedPipeFunc):
        pairs = [*zip(one.pipefuncs, other.pipefuncs, strict=False)]
        if len(one.pipefuncs) != len(other.pipefuncs) or not all(same_function(a, b) for a, b in pairs):
            return False
    elif one.func != other.func:  # methods of one object are equal, not identical
        return False
    first, second = one.binding, other.binding
    if first is not second:
        fields = ("native_output", "renames", "mapspec", "internal_shape")
        if any(getattr(first, name) != getattr(second, name) for name in fields):
            return False
        values = ("native_defaults", "native_bound")
        if not all(_same_values(getattr(first, name), getattr(second, name)) for name in values):
            return False
    return all(_same(getattr(one, name), getattr(other, name)) for name in (*_OPTIONS, *_RESOURCES))


def _same_values(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)


def _same(one: Any, other: Any) -> bool:
    try:
        return type(one) is type(other) and same_value(one, other)
    except Exception:  # values of any type, whose == may do anything
        return False


def merged_functions(pipelines: Sequence[tuple[str | None, str, Sequence[AnyFunc]]]) -> list[AnyFunc]:
    """Give the functions of pipelines variants, unless all pipelines have them.

    Parameters
    ----------
    pipelines
        Two or more: the group, the name of the variant and the functions.

    Returns
    -------
    list
        Copies: first the functions that all have in common, without a variant, then those of each pipeline.

    Raises
    ------
    InvalidValueError
        If less than two are given, one is empty, one variant is given twice, or no function differs.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> y, z, other = PipeFunc(abs, "y"), PipeFunc(len, "z"), PipeFunc(abs, "y", mapspec="x[i] -> y[i]")
    >>> functions = merged_functions([(None, "a", [y, z]), (None, "b", [other, z])])
    >>> [(function.output_name, function.variant) for function in functions]
    [('z', {}), ('y', {None: 'a'}), ('y', {None: 'b'})]

    """
    if len(pipelines) < 2:
        message = f"variants are made of two pipelines or more, got {len(pipelines)}"
        raise InvalidValueError(message)
    seen = set()
    for group, name, _ in pipelines:
        if (group, name) in seen:
            message = f"the variant {name!r} of the group {group!r} is given twice"
            raise InvalidValueError(message, detail=name, hint="Give each pipeline a name of its own.")
        seen.add((group, name))
    by_output = [{f.output_name: f for f in functions} for _, _, functions in pipelines]
    shared = {
        output
        for output, function in by_output[0].items()
        if all(output in others and same_function(function, others[output]) for others in by_output[1:])
    }
    if all(own.keys() == shared for own in by_output) and shared:
        names = [name for _, name, _ in pipelines]
        message = f"the pipelines of the variants {names} have the same functions"
        raise InvalidValueError(message, detail=names, hint="Use one of them.")
    for (_, name, _), own in zip(pipelines, by_output, strict=True):
        if not own:
            raise InvalidValueError(f"the pipeline of the variant {name!r} is empty", detail=name)
        if own.keys() <= shared:
            # One function must belong to the variant alone, or nothing would be there to select it by.
            shared.discard(next(iter(own)))
    merged = [_with_variant(f, {}) for f in pipelines[0][2] if f.output_name in shared]
    for group, name, functions in pipelines:
        merged += [_with_variant(f, {group: name}) for f in functions if f.output_name not in shared]
    return merged


def _with_variant(function: AnyFunc, variant: dict[str | None, str]) -> AnyFunc:
    new = function.copy()
    new.variant = variant
    return new
