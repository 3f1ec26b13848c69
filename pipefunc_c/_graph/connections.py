"""Who makes and who takes which name, kept up to date while functions come and go one at a time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pipefunc_c._graph.mapspecs import given_mapspec
from pipefunc_c._graph.validate import same_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph
    from pipefunc_c._spec.mapspec import MapSpec

Axes = tuple[str | None, ...]


class Connections:
    """Tell quickly whether a function may come, go or take the place of another.

    A change is accepted only if looking at the function and its neighbours is enough to be sure; in all other
    cases nothing happens, and a new graph of all functions has to be built to find out. So this decides no
    question in another way than `build_graph`, and words no errors.

    Parameters
    ----------
    graph
        A graph that was checked.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> connections = Connections(FunctionGraph([PipeFunc(lambda x: x, "y")]))
    >>> connections.exchange(None, PipeFunc(lambda y: y, "z"))
    True
    >>> connections.exchange(None, PipeFunc(lambda z: z, "x"))  # a cycle
    False

    """

    def __init__(self, graph: FunctionGraph) -> None:
        self.producers: dict[str, AnyFunc] = {}
        self.takers: dict[str, dict[AnyFunc, None]] = {}
        self._defaults: dict[str, dict[AnyFunc, Any]] = {}
        self._plain: Counter[str] = Counter()  # names without a scope
        self._scopes: Counter[str] = Counter()
        self._arrays: dict[str, Counter[Axes]] = {}  # what mapspecs say of an array, and how many do
        for function in graph.defined:
            self._insert(function)
        # The numbers in such names depend on the order of all functions.
        self._numbered = any(
            axis.startswith("unnamed_")
            for mapspec in graph.mapspecs
            if mapspec.generated and not mapspec.inputs
            for axis in mapspec.output_indices
        )

    def exchange(
        self,
        old: AnyFunc | None,
        new: AnyFunc | None,
        accepts: Callable[[list[AnyFunc]], bool] | None = None,
    ) -> bool:
        """Take a function out and put another in, if that is surely valid.

        Parameters
        ----------
        old, new
            The functions; None for none.
        accepts
            Called with the new function and its neighbours for a last check.

        Returns
        -------
        bool
            Whether it was done.

        """
        if self._numbered or (old is not None and not self._free_to_go(old)):
            return False
        if old is not None:
            self._remove(old)
        if new is None or self._fits_names(new):
            if new is not None:
                self._insert(new)
            if self._fits(old, new) and (new is None or accepts is None or accepts(self._around(new))):
                return True
            if new is not None:
                self._remove(new)
        if old is not None:
            self._insert(old)
        return False

    def _insert(self, function: AnyFunc) -> None:
        binding = function.binding
        for name in binding.output_names:
            self.producers[name] = function
        for name in binding.parameters:
            if name not in binding.bound:
                self.takers.setdefault(name, {})[function] = None
        for name, value in binding.defaults.items():
            self._defaults.setdefault(name, {})[function] = value
        for name in binding.names:
            scope, dot, _ = name.partition(".")
            (self._scopes if dot else self._plain)[scope] += 1
        for name, axes in _arrays(function.mapspec):
            self._arrays.setdefault(name, Counter())[axes] += 1

    def _remove(self, function: AnyFunc) -> None:
        binding = function.binding
        for name in binding.output_names:
            del self.producers[name]
        for name in binding.parameters:
            if name not in binding.bound:
                del self.takers[name][function]
        for name in binding.defaults:
            del self._defaults[name][function]
        for name in binding.names:
            scope, dot, _ = name.partition(".")
            (self._scopes if dot else self._plain)[scope] -= 1
        for name, axes in _arrays(function.mapspec):
            self._arrays[name][axes] -= 1
            if not self._arrays[name][axes]:
                del self._arrays[name][axes]

    def _free_to_go(self, function: AnyFunc) -> bool:
        """Tell whether no generated mapspec hangs on that of a function."""
        mapspec = given_mapspec(function)
        inputs = () if mapspec is None else mapspec.input_names
        upstream = [self.producers[name] for name in inputs if name in self.producers]
        return not any(given_mapspec(producer) is None for producer in upstream)

    def _fits_names(self, function: AnyFunc) -> bool:
        """Tell whether the outputs of a function that comes are not there yet."""
        return not any(name in self.producers for name in function.binding.output_names)

    def _fits(self, old: AnyFunc | None, new: AnyFunc | None) -> bool:
        return (
            (new is None or (self._fits_scopes(new) and self._fits_mapspec(new)))
            and self._fits_defaults(old, new)
            and (new is None or not self._closes_cycle(old, new))
        )

    def _fits_scopes(self, function: AnyFunc) -> bool:
        for name in function.binding.names:
            scope, dot, _ = name.partition(".")
            if (self._plain if dot else self._scopes)[scope] > 0:
                return False
        return True

    def _fits_mapspec(self, function: AnyFunc) -> bool:
        mapspec = function.mapspec
        if mapspec is None:
            return not any(self._arrays.get(name) for name in function.binding.output_names)
        if given_mapspec(function) is None or mapspec.output_names != function.binding.output_names:
            return False
        for name in mapspec.input_names:
            producer = self.producers.get(name)
            if producer is not None and given_mapspec(producer) is None:
                return False
        return all(_agree(axes, other) for name, axes in _arrays(mapspec) for other in self._arrays[name])

    def _fits_defaults(self, old: AnyFunc | None, new: AnyFunc | None) -> bool:
        # What was computed and is no longer has the defaults that counted for nothing.
        freed = () if old is None else old.binding.output_names
        shared = {} if new is None else new.binding.defaults
        try:
            for name in freed:
                if name not in self.producers:
                    values = list(self._defaults.get(name, {}).values())
                    if not all(same_value(values[0], value) for value in values[1:]):
                        return False
            for name, value in shared.items():
                first = next(iter(self._defaults[name].values()))
                if name not in self.producers and not same_value(first, value):
                    return False
        except Exception:  # values of any type, whose == may do anything
            return False
        return True

    def _closes_cycle(self, old: AnyFunc | None, new: AnyFunc) -> bool:
        if old is not None:
            taken = self._taken(new)
            if taken <= self._taken(old) and set(new.output_names) <= set(old.output_names):
                return False  # there is no new edge
        # Forwards and backwards in turns: one of them mostly ends at once.
        searches = [_reaches(self._downstream, new), _reaches(self._upstream, new)]
        while True:
            for search in searches:
                found = next(search)
                if found is not None:
                    return found

    @staticmethod
    def _taken(function: AnyFunc) -> set[str]:
        return {name for name in function.binding.parameters if name not in function.binding.bound}

    def _downstream(self, function: AnyFunc) -> Iterator[AnyFunc]:
        for name in function.binding.output_names:
            yield from self.takers.get(name, ())

    def _upstream(self, function: AnyFunc) -> Iterator[AnyFunc]:
        for name in function.binding.parameters:
            if name in self.producers and name not in function.binding.bound:
                yield self.producers[name]

    def _around(self, function: AnyFunc) -> list[AnyFunc]:
        return list(dict.fromkeys([*self._upstream(function), function, *self._downstream(function)]))


def _arrays(mapspec: MapSpec | None) -> Iterator[tuple[str, Axes]]:
    if mapspec is not None:
        for spec in (*mapspec.inputs, *mapspec.outputs):
            yield spec.name, spec.axes


def _agree(axes: Axes, others: Axes) -> bool:
    """Tell whether two mapspecs say the same of an array; what one takes whole the other may name."""
    return len(axes) == len(others) and all(
        axis is None or other is None or axis == other for axis, other in zip(axes, others, strict=True)
    )


def _reaches(neighbours: Callable[[AnyFunc], Iterator[AnyFunc]], start: AnyFunc) -> Iterator[bool | None]:
    """Search the way back to the start: yield None after each step and then, for good, the answer."""
    pending = [start]
    found: set[AnyFunc] = set()
    while pending:
        for function in neighbours(pending.pop()):
            if function is start:
                yield True
            if function not in found:
                found.add(function)
                pending.append(function)
        yield None
    yield False
