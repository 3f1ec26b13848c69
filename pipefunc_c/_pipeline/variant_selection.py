"""Which variants there are, which are selected, and what is dropped then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import AnyFunc

Group: TypeAlias = str | None
Variants: TypeAlias = Mapping[Group, set[str]]


def variants_of(functions: Iterable[AnyFunc]) -> dict[Group, set[str]]:
    """Return the names of the variants of functions, per group."""
    variants: dict[Group, set[str]] = {}
    for function in functions:
        for group, name in function.variant.items():
            variants.setdefault(group, set()).add(name)
    return variants


def read_selection(select: object, default: object, known: Variants) -> dict[Group, str]:
    """Find out what is selected.

    Parameters
    ----------
    select
        A name, or a name per group; None for the default alone.
    default
        The default: the same. If it is a dict, it holds for the groups that `select` leaves out.
    known
        The variants that there are.

    Returns
    -------
    dict
        Name per group.

    Raises
    ------
    InvalidValueError
        If a group or name is unknown, a name is in several groups, or both are None.
    InvalidTypeError
        If `select` is something else.

    Examples
    --------
    >>> known = {"method": {"fast", "exact"}, "input": {"file", "random"}}
    >>> read_selection("fast", {"method": "exact", "input": "file"}, known)
    {'method': 'fast', 'input': 'file'}

    """
    if select is None and default is None:
        message = "no variant is selected, and there is no default variant"
        hint = f"Select from {as_text(known)}, or give default_variant."
        raise InvalidValueError(message, hint=hint)
    selected = default if select is None else select
    if isinstance(selected, str):
        selected = {_only_group(selected, known): selected}
    if not isinstance(selected, Mapping):
        kind = type(selected).__name__
        message = f"a selection is a str, or a dict with a name per group, got {selected!r} ({kind})"
        raise InvalidTypeError(message, detail=selected)
    selection: dict[Group, str] = {**(default if isinstance(default, Mapping) else {}), **selected}
    for group, name in selection.items():
        if group not in known:
            message = f"there is no group {group!r} of variants; the groups are {in_order(known)}"
            raise InvalidValueError(message, detail=group)
        if name not in known[group]:
            allowed = sorted(known[group])
            message = f"there is no variant {name!r} in the group {group!r}, only {allowed}"
            raise InvalidValueError(message, detail=name)
    return selection


def _only_group(name: str, known: Variants) -> Group:
    groups = [group for group in in_order(known) if name in known[group]]
    if not groups:
        message = f"there is no variant {name!r}; the variants are {sorted(set().union(*known.values()))}"
        raise InvalidValueError(message, detail=name)
    if len(groups) > 1:
        message = f"the variant {name!r} is ambiguous: it is in the groups {groups}"
        hint = f"Select it with its group: {{{groups[1]!r}: {name!r}}}."
        raise InvalidValueError(message, detail=name, hint=hint)
    return groups[0]


def is_dropped(variant: Mapping[Group, str], selection: Mapping[Group, str]) -> bool:
    """Tell whether a function is left out, as one of its groups is selected with another name."""
    return any(selection.get(group, name) != name for group, name in variant.items())


def still_there(default: Any, remaining: Variants) -> Any:
    """Return what is left of a default when some variants are selected already; None if nothing is."""
    if isinstance(default, str):
        return default if any(default in names for names in remaining.values()) else None
    if not isinstance(default, Mapping):
        return default
    left = {group: name for group, name in default.items() if name in remaining.get(group, ())}
    return left or None


def in_order(groups: Iterable[Group]) -> list[Group]:
    """Sort groups; that without a name comes first."""
    return sorted(groups, key=lambda group: (group is not None, group or ""))


def assigned(group: Group, name: str) -> str:
    """Write a name with its group in front, if it has one."""
    return name if group is None else f"{group}={name}"


def as_text(variants: Variants) -> str:
    """Write variants in one line, as ``method=exact | fast``."""
    names = {group: " | ".join(sorted(variants[group])) for group in in_order(variants)}
    return ", ".join(assigned(group, text) for group, text in names.items())
