"""`Sweep`: combinations of values."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from pipefunc_c._containers import as_callable_or_none, as_iterable, as_mapping
from pipefunc_c.cache._hashable import to_hashable
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, UnknownNameError

Combination: TypeAlias = dict[str, Any]
Deriver: TypeAlias = Callable[[Combination], Any]
Exclude: TypeAlias = Callable[[Mapping[str, Any]], bool]
Dims: TypeAlias = list[str | tuple[str, ...]]


class Sweep:
    """Generate combinations of values.

    Parameters
    ----------
    items
        Values per name.
    dims
        Names whose values are combined, each with all of the others; names in a tuple go together, the first
        value of one with the first of the others. A name that is left out is no part of the combinations.
        None: all names, one by one.
    exclude
        Called with each combination, returns whether to leave it out.
    constants
        Values that each combination gets if it does not have them.
    derivers
        Functions per name, called with the combination in this order; what they return is added to it.

    Raises
    ------
    InvalidTypeError
        If an argument, or the values of a name, are of a wrong type.
    InvalidValueError
        If names that go together have different numbers of values, or a name stands in `dims` twice.
    UnknownNameError
        If a name in `dims` is no item.

    Notes
    -----
    Constants come first, then derivers, then `exclude`. The first name changes slowest.

    Examples
    --------
    >>> Sweep({"a": [1, 2], "b": [3, 4]}).list()
    [{'a': 1, 'b': 3}, {'a': 1, 'b': 4}, {'a': 2, 'b': 3}, {'a': 2, 'b': 4}]
    >>> Sweep({"a": [1, 2], "b": [3, 4]}, dims=[("a", "b")], constants={"c": 0}).list()
    [{'a': 1, 'b': 3, 'c': 0}, {'a': 2, 'b': 4, 'c': 0}]

    """

    def __init__(
        self,
        items: Mapping[str, Iterable[Any]],
        dims: Dims | None = None,
        exclude: Exclude | None = None,
        constants: Mapping[str, Any] | None = None,
        derivers: Mapping[str, Deriver] | None = None,
    ) -> None:
        given = as_mapping(items, "items", "the values per name").items()
        self.items: dict[str, Any] = {name: _sequence(name, values) for name, values in given}
        if dims is not None:
            as_iterable(dims, "dims", "a list of names and tuples of names")
        self.dims = dims
        self.exclude: Exclude | None = as_callable_or_none(exclude, "exclude")
        self.constants = None if constants is None else as_mapping(constants, "constants")
        self.derivers: dict[str, Deriver] | None = None
        if derivers is not None:
            self.derivers = dict(as_mapping(derivers, "derivers", "a function per name"))
            functions: dict[str, object] = {**self.derivers}
            for name, derive in functions.items():
                if not callable(derive):
                    message = f"`derivers` must have a function for {name!r}, got {derive!r}"
                    raise InvalidTypeError(message, detail=name)
        self._check_dims()

    def _check_dims(self) -> None:
        names = [name for group in self._groups for name in group]
        for name in names:
            if name not in self.items:
                message = f"`dims` has {name!r}, which is no item; the items are {list(self.items)}"
                raise UnknownNameError(message, detail=name)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InvalidValueError(f"`dims` has the names {twice} twice: {self.dims}", detail=twice)
        for group in self._groups:
            lengths = {name: len(self.items[name]) for name in group}
            if len(set(lengths.values())) > 1:
                message = f"the dimensions {group} go together, but their numbers of values are {lengths}"
                raise InvalidValueError(message, detail=lengths)

    @property
    def _groups(self) -> list[tuple[str, ...]]:
        if self.dims is None:
            return [(name,) for name in self.items]
        return [tuple(each) if isinstance(each, tuple | list) else (each,) for each in self.dims]

    def generate(self) -> Iterator[Combination]:
        """Yield the combinations.

        Yields
        ------
        dict
            Value per name.

        """
        groups = self._groups
        if not groups:
            return
        choices = [list(zip(*(self.items[name] for name in group), strict=True)) for group in groups]
        for values in itertools.product(*choices):
            combination: Combination = {}
            for group, chosen in zip(groups, values, strict=True):
                combination.update(zip(group, chosen, strict=True))
            for name, value in (self.constants or {}).items():
                combination.setdefault(name, value)
            for name, derive in (self.derivers or {}).items():
                combination[name] = derive(combination)
            if self.exclude is None or not self.exclude(combination):
                yield combination

    def __iter__(self) -> Iterator[Combination]:
        return self.generate()

    def list(self) -> list[Combination]:
        """Return the combinations.

        Returns
        -------
        list of dict
            Value per name.

        """
        return list(self.generate())

    def __len__(self) -> int:
        if self.exclude is not None:
            return sum(1 for _ in self.generate())
        sizes = [len(self.items[group[0]]) for group in self._groups]
        return int(np.prod(sizes, dtype=object)) if sizes else 0

    def filtered_sweep(self, keys: Iterable[str]) -> Sweep:
        """Return the different combinations of some names.

        Parameters
        ----------
        keys
            The names; constants and derived ones too.

        Returns
        -------
        Sweep
            Each combination once, in order of first appearance.

        Raises
        ------
        UnknownNameError
            If the combinations do not have such a name.

        Examples
        --------
        >>> Sweep({"a": [1, 2], "b": [3, 4]}).filtered_sweep(["a"]).list()
        [{'a': 1}, {'a': 2}]

        """
        names = _names(keys)
        found: dict[Any, tuple[Any, ...]] = {}
        for combination in self.generate():
            values = tuple(value_of(combination, name) for name in names)
            found.setdefault(to_hashable(values), values)
        columns = zip(*found.values(), strict=True) if found else [() for _ in names]
        items = {name: list(values) for name, values in zip(names, columns, strict=True)}
        return Sweep(items, dims=[names] if names else None)

    def combine(self, other: Sweep) -> MultiSweep:
        """Return the combinations of this sweep and then those of another.

        Parameters
        ----------
        other
            A `Sweep` or `MultiSweep`.

        Returns
        -------
        MultiSweep
            A new sweep.

        Raises
        ------
        InvalidTypeError
            If it is something else.

        """
        return MultiSweep(self, other)

    def __add__(self, other: Sweep) -> MultiSweep:
        return self.combine(other)

    def product(self, *others: Sweep) -> Sweep:
        """Return each combination of this sweep with each of others.

        Parameters
        ----------
        *others
            Sweeps of other names.

        Returns
        -------
        Sweep
            A new sweep. What one of the sweeps excludes is left out.

        Raises
        ------
        InvalidTypeError
            If something else is given.
        InvalidValueError
            If two sweeps have a constant or derived name in common.

        Examples
        --------
        >>> zipped = Sweep({"b": [1, 2], "c": [3, 4]}, dims=[("b", "c")])
        >>> Sweep({"a": [0]}).product(zipped).list()
        [{'a': 0, 'b': 1, 'c': 3}, {'a': 0, 'b': 2, 'c': 4}]

        """
        given: tuple[object, ...] = others
        for other in given:
            if not isinstance(other, Sweep) or isinstance(other, MultiSweep):
                raise InvalidTypeError(f"a product is made of Sweep objects, got {other!r}", detail=other)
        sweeps = [self, *others]
        items: dict[str, Any] = {}
        groups: dict[tuple[str, ...], None] = {}
        for sweep in sweeps:
            items.update(sweep.items)
            for group in sweep._groups:
                groups[group] = None
        excludes = [sweep.exclude for sweep in sweeps if sweep.exclude is not None]
        return Sweep(
            items,
            dims=None
            if all(sweep.dims is None for sweep in sweeps)
            else [group if len(group) > 1 else group[0] for group in groups],
            exclude=_any_of(excludes),
            constants=_joined("constants", [sweep.constants for sweep in sweeps]),
            derivers=_joined("derivers", [sweep.derivers for sweep in sweeps]),
        )

    def add_derivers(self, **derivers: Deriver) -> Sweep:
        """Return a sweep with more derived values.

        Parameters
        ----------
        **derivers
            Functions per name, as for the constructor; they come after the present ones, or in the place of
            those with the same name.

        Returns
        -------
        Sweep
            A new sweep.

        """
        merged = {**(self.derivers or {}), **derivers}
        return Sweep(self.items, self.dims, self.exclude, self.constants, merged)


class MultiSweep(Sweep):
    """Generate the combinations of several sweeps, one sweep after the other.

    Parameters
    ----------
    *sweeps
        The sweeps; those of a `MultiSweep` are taken over.

    Raises
    ------
    InvalidTypeError
        If something else is given.

    Examples
    --------
    >>> (Sweep({"a": [1, 2]}) + Sweep({"b": [3]})).list()
    [{'a': 1}, {'a': 2}, {'b': 3}]

    """

    def __init__(self, *sweeps: Sweep) -> None:
        super().__init__({})
        self.sweeps: list[Sweep] = []
        given: tuple[object, ...] = sweeps
        for sweep in given:
            if not isinstance(sweep, Sweep):
                message = f"only Sweep and MultiSweep objects can be combined, got {sweep!r}"
                raise InvalidTypeError(message, detail=sweep)
            self.sweeps += sweep.sweeps if isinstance(sweep, MultiSweep) else [sweep]

    def generate(self) -> Iterator[Combination]:
        """Yield the combinations of all sweeps.

        Yields
        ------
        dict
            Value per name.

        """
        for sweep in self.sweeps:
            yield from sweep.generate()

    def __len__(self) -> int:
        return sum(len(sweep) for sweep in self.sweeps)

    def filtered_sweep(self, keys: Iterable[str]) -> MultiSweep:
        """Return the different combinations of some names, for each sweep on its own.

        Parameters
        ----------
        keys
            As for `Sweep.filtered_sweep`.

        Returns
        -------
        MultiSweep
            A new sweep.

        """
        names = _names(keys)
        return MultiSweep(*(sweep.filtered_sweep(names) for sweep in self.sweeps))

    def product(self, *others: Sweep) -> MultiSweep:
        """Return each combination of each sweep with each of others.

        Parameters
        ----------
        *others
            As for `Sweep.product`.

        Returns
        -------
        MultiSweep
            A new sweep.

        """
        return MultiSweep(*(sweep.product(*others) for sweep in self.sweeps))

    def add_derivers(self, **derivers: Deriver) -> MultiSweep:
        """Return sweeps with more derived values.

        Parameters
        ----------
        **derivers
            As for `Sweep.add_derivers`.

        Returns
        -------
        MultiSweep
            A new sweep.

        """
        return MultiSweep(*(sweep.add_derivers(**derivers) for sweep in self.sweeps))


def _sequence(name: str, values: Iterable[Any]) -> Sequence[Any] | np.ndarray[Any, Any]:
    if isinstance(values, Sequence | np.ndarray):
        return values
    # What can be read only once would leave nothing for the second time.
    try:
        return list(values)
    except TypeError:
        message = f"`items` must have several values for {name!r}, such as a list, got {values!r}"
        raise InvalidTypeError(message, detail=name, hint="Put single values into `constants`.") from None


def _names(keys: Iterable[str]) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else tuple(as_iterable(keys, "keys"))


def value_of(combination: Combination, name: str) -> Any:
    """Return the value of a name in a combination."""
    try:
        return combination[name]
    except KeyError:
        message = f"there is no {name!r} in the combinations, which have {list(combination)}"
        raise UnknownNameError(message, detail=name) from None


def _any_of(excludes: list[Exclude]) -> Exclude | None:
    if len(excludes) < 2:
        return excludes[0] if excludes else None
    return lambda combination: any(exclude(combination) for exclude in excludes)


def _joined(what: str, parts: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    joined: dict[str, Any] = {}
    for part in parts:
        twice = sorted(joined.keys() & (part or {}).keys())
        if twice:
            message = f"the sweeps of a product must not have `{what}` in common, but have {twice}"
            raise InvalidValueError(message, detail=twice)
        joined.update(part or {})
    return joined if any(part is not None for part in parts) else None


def generate_sweep(
    items: Mapping[str, Iterable[Any]],
    dims: Dims | None = None,
    exclude: Exclude | None = None,
    constants: Mapping[str, Any] | None = None,
    derivers: Mapping[str, Deriver] | None = None,
) -> list[Combination]:
    """Return the combinations of a `Sweep`.

    Parameters
    ----------
    items, dims, exclude, constants, derivers
        As for `Sweep`.

    Returns
    -------
    list of dict
        Value per name.

    Examples
    --------
    >>> generate_sweep({"a": [1, 2]}, constants={"b": 0})
    [{'a': 1, 'b': 0}, {'a': 2, 'b': 0}]

    """
    return Sweep(items, dims, exclude, constants, derivers).list()
