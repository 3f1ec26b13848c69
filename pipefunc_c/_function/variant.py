"""Variants: to which alternatives of a pipeline a function belongs."""

from __future__ import annotations

from collections.abc import Mapping

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError


def as_variant(variant: object, variant_group: object = None) -> dict[str | None, str]:
    """Make a variant of what a user gives for it.

    Parameters
    ----------
    variant
        None; the name of a variant; or name per group.
    variant_group
        Must be None; kept for the sake of its message.

    Returns
    -------
    dict
        Name per group; the group of a name alone is None.

    Raises
    ------
    InvalidTypeError
        If it is something else.
    InvalidValueError
        If `variant_group` is given.

    Examples
    --------
    >>> as_variant("fast"), as_variant({"method": "fast"})
    ({None: 'fast'}, {'method': 'fast'})

    """
    if variant_group is not None:
        message = f"`variant_group` is no option any more, got {variant_group!r}"
        hint = f"Give the group with the variant: variant={{{variant_group!r}: {variant!r}}}."
        raise InvalidValueError(message, detail=variant_group, hint=hint)
    if variant is None:
        return {}
    if isinstance(variant, str):
        return {None: variant}
    if isinstance(variant, Mapping):
        pairs = dict(variant)
        if all(isinstance(n, str) and (g is None or isinstance(g, str)) for g, n in pairs.items()):
            return pairs
    message = f"a variant must be a str, or a dict with a str per group, got {variant!r}"
    raise InvalidTypeError(message, detail=variant)
