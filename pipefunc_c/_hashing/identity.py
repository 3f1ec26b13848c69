"""Code identity: a digest that changes when what a function does may have changed, and only then.

A function is described by its instructions with resolved arguments, its defaults and closure values, and by
what it reaches by global names: plain values, and the functions and classes of its own package. Each object
is described once; a digest is taken over all that a callable reaches, in the order of the walk.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from pipefunc_c._hashing.description import Description

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
MAX_REACHED = 500


@dataclass(frozen=True)
class CodeIdentity:
    """Tell two versions of a function apart.

    Parameters
    ----------
    digest
        Changes when the code, a default, a closure value or what is called may have changed; None if nothing
        is known of the callable.
    python
        The minor version of Python: digests of different ones cannot be compared.
    unknown
        What could not be looked into, for messages; the digest covers all else.
    """

    digest: str | None
    python: str = PYTHON
    unknown: tuple[str, ...] = ()


def code_identity(func: Callable[..., Any]) -> CodeIdentity:
    """Describe what a callable does by a digest.

    Parameters
    ----------
    func
        Any callable: a function, a partial, a method, a class, an instance with ``__call__``, a builtin.

    Returns
    -------
    CodeIdentity
        Comments, docstrings and moved lines do not change it.

    Notes
    -----
    Takes a fraction of a millisecond for a function with few helpers. Nothing is called or imported.

    Examples
    --------
    >>> code_identity(lambda x: x + 1) == code_identity(lambda x: x + 1)
    True
    >>> code_identity(lambda x: x + 1) == code_identity(lambda x: x + 2)
    False
    """
    return CodeHasher().identity(func)


class CodeHasher:
    """Give identities of many callables; what they have in common is looked at once.

    Examples
    --------
    >>> hasher = CodeHasher()
    >>> hasher.identity(len).digest == hasher.identity(max).digest
    False
    """

    def __init__(self) -> None:
        self._known: dict[int, Description] = {}

    def identity(self, func: Callable[..., Any], **also: object) -> CodeIdentity:
        """Describe what a callable does by a digest.

        Parameters
        ----------
        func
            Any callable.
        **also
            Values and callables that the digest is to cover as well.

        Returns
        -------
        CodeIdentity
        """
        lines: list[str] = []
        unknown: dict[str, None] = {}
        left_out: dict[str, None] = {}
        for description, numbers in self._reach(func, also):
            lines.append(f"{description.digest} {numbers}")
            unknown.update(dict.fromkeys(description.unknown))
            if any(number >= MAX_REACHED for number in numbers):
                left_out[f"what lies behind the first {MAX_REACHED} functions"] = None
        unknown.update(left_out)
        if not self._describe(func).is_known:
            return CodeIdentity(None, PYTHON, tuple(unknown))
        digest = blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
        return CodeIdentity(digest, PYTHON, tuple(unknown))

    def unknown_state(self, func: Callable[..., Any]) -> tuple[str, ...]:
        """Say in what two callables with the same identity may still differ.

        Parameters
        ----------
        func
            Any callable.

        Returns
        -------
        tuple of str
            What its defaults, closure and attributes hold that could not be looked into.

        Examples
        --------
        >>> class Scale:
        ...     def __init__(self, factor):
        ...         self.factor = factor
        ...     def __call__(self, x):
        ...         return self.factor * x
        >>> CodeHasher().unknown_state(Scale(2)), CodeHasher().unknown_state(Scale(object()))
        ((), ("'factor', an attribute of a Scale (object)",))
        """
        found = [text for description, _ in self._reach(func, {}) for text in description.carried]
        return tuple(dict.fromkeys(found))

    def _reach(
        self, func: Callable[..., Any], also: Mapping[str, object]
    ) -> Iterator[tuple[Description, list[int]]]:
        """Walk over all that a callable reaches, with the numbers of what each of it refers to."""
        numbers: dict[int, int] = {}
        pending: deque[Description] = deque()

        def number_of(reference: object) -> int:
            if id(reference) not in numbers:
                numbers[id(reference)] = len(numbers)
                if len(numbers) <= MAX_REACHED:
                    pending.append(self._describe(reference))
            return numbers[id(reference)]

        number_of(func)
        options = Description(func)
        options.mapping(also)
        options.finish()
        yield options, [number_of(each) for each in options.references]
        while pending:
            description = pending.popleft()
            yield description, [number_of(each) for each in description.references]

    def _describe(self, item: object) -> Description:
        description = self._known.get(id(item))
        if description is None:
            # It keeps the object, so that the id stays its own.
            description = self._known[id(item)] = Description(item)
            description.describe()
        return description
