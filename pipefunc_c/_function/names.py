"""Names of parameters and outputs, and the scopes before them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._containers import as_iterable
from pipefunc_c.exceptions import InputError, InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def check_name(name: object, what: str) -> None:
    """Check that a name is an identifier, or two with a dot between them if it has a scope.

    Parameters
    ----------
    name
        What was given.
    what
        What it names, for the message.

    Raises
    ------
    InvalidTypeError
        If it is not a str.
    InvalidValueError
        If it has another form.

    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"the {what} must be a str, got {name!r}", detail=name)
    if name.isidentifier():
        return
    parts = name.split(".")
    if len(parts) != 2 or not all(part.isidentifier() for part in parts):
        message = f"the {what} {name!r} is not an identifier, nor two with a dot between (scope.name)"
        raise InvalidValueError(message, detail=name)


def check_output_name(output_name: object) -> None:
    """Check that an output name is a name or a tuple of different names.

    Parameters
    ----------
    output_name
        What was given.

    Raises
    ------
    InvalidTypeError
        If it is neither a str nor a tuple of str.
    InvalidValueError
        If a name is malformed or occurs twice, or if there is none.

    """
    if isinstance(output_name, str):
        check_name(output_name, "output name")
        return
    if not isinstance(output_name, tuple):
        message = f"the output name must be a str or a tuple of str, got {output_name!r}"
        raise InvalidTypeError(message, detail=output_name)
    for name in output_name:
        check_name(name, "output name")
    if not output_name or len(set(output_name)) != len(output_name):
        message = f"the output names must be one or more different names, got {output_name!r}"
        raise InvalidValueError(message, detail=output_name)


def unscoped(name: str) -> str:
    """Return a name without its scope."""
    return name.rpartition(".")[2]


def scoped_renames(  # noqa: PLR0913, PLR0917  the four last are the public arguments of `update_scope`
    scope: str | None,
    parameters: Collection[str],
    output_names: Collection[str],
    inputs: Iterable[str] | Literal["*"] | None,
    outputs: Iterable[str] | Literal["*"] | None,
    exclude: Iterable[str] | None,
) -> dict[str, str]:
    """Say how names change when a scope is put before them.

    Parameters
    ----------
    scope
        The scope; None removes the present ones.
    parameters, output_names
        The present names.
    inputs, outputs
        Which of them are meant; ``"*"`` means all, None means none.
    exclude
        Names that stay as they are.

    Returns
    -------
    dict
        Present name to new name.

    Raises
    ------
    InvalidTypeError
        If the scope is not a str or None, or the names are in no container.
    InvalidValueError
        If the scope is no identifier or the name of a parameter or output, or if a name is unknown.

    Warns
    -----
    UserWarning
        If another scope is replaced.

    Examples
    --------
    >>> scoped_renames("s", ["a", "b"], ["c"], "*", None, {"b"})
    {'a': 's.a'}

    """
    chosen = _chosen(inputs, parameters, "inputs") + _chosen(outputs, output_names, "outputs")
    if scope is not None:
        if not isinstance(scope, str):
            raise InvalidTypeError(f"a scope must be a str or None, got {scope!r}", detail=scope)
        if not scope.isidentifier():
            raise InvalidValueError(f"the scope {scope!r} is not an identifier", detail=scope)
        if scope in map(unscoped, (*parameters, *output_names)):
            message = f"the scope {scope!r} is also the name of a parameter or output; they must differ"
            raise InvalidValueError(message, detail=scope)
    kept = {name for name in as_iterable(exclude or (), "exclude") if isinstance(name, str)}
    renames = {}
    for name in chosen:
        if name not in kept:
            renames[name] = _scoped(name, scope)
    return renames


def _chosen(names: Iterable[str] | Literal["*"] | None, known: Collection[str], option: str) -> list[str]:
    if names is None:
        return []
    if isinstance(names, str):
        if names != "*":
            message = f"`{option}` must be a set of names, '*' or None, got {names!r}"
            raise InvalidValueError(message, detail=names, hint=f"Write {{{names!r}}} for this one name.")
        return list(known)
    chosen = sorted(as_iterable(names, option, "a set of names, '*' or None"), key=str)
    for name in chosen:
        if name not in known:
            message = f"`{option}` has {name!r}, which is not one of {tuple(known)}"
            raise InvalidValueError(message, detail=name)
    return chosen


def _scoped(name: str, scope: str | None) -> str:
    old, _, bare = name.rpartition(".")
    if scope is None:
        return bare
    if old and old != scope:
        warnings.warn(f"the scope of {name!r} is replaced by {scope!r}", UserWarning, stacklevel=5)
    return f"{scope}.{bare}"


def flatten_scopes(values: object, scopes: Collection[str]) -> dict[str, Any]:
    """Replace dicts that are given for a scope by the names in it.

    Parameters
    ----------
    values
        Value per name, or per scope a dict of values.
    scopes
        The scopes that exist.

    Returns
    -------
    dict
        Value per full name.

    Raises
    ------
    InputError
        If a name is given both ways.
    InvalidTypeError
        If it is no mapping.

    Examples
    --------
    >>> flatten_scopes({"s": {"x": 1}, "y": 2}, {"s"})
    {'s.x': 1, 'y': 2}

    """
    # Most are dicts, and asking whether one is a Mapping takes longer than all the rest.
    if type(values) is not dict and not isinstance(values, Mapping):
        message = f"values must be given as a dict with their names, got {values!r}"
        raise InvalidTypeError(message, detail=values)
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = key in scopes and isinstance(value, dict)
        items = {f"{key}.{name}": item for name, item in value.items()} if nested else {key: value}
        for name, item in items.items():
            if name in flat:
                message = f"{name!r} is given twice: by its full name and in the dict of its scope"
                raise InputError(message, detail=name, hint="Give it one way only.")
            flat[name] = item
    return flat
