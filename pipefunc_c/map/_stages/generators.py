"""Random generators that come along with a function: each worker gets a copy, whose stream is its own."""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import random
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import FunctionType


class Held(NamedTuple):
    """A random generator that a function holds, and the name that it has there."""

    name: str
    generator: Any
    is_global: bool = False


def _generator_kinds() -> tuple[type, ...]:
    numpy_random = sys.modules.get("numpy.random")
    more = () if numpy_random is None else (numpy_random.Generator, numpy_random.RandomState)
    return (random.Random, *more)


def _legacy_generators() -> list[Any]:
    """Give those behind the functions of ``random`` and ``np.random``, which are seeded in each worker."""
    numpy_random = sys.modules.get("numpy.random")
    functions = [random.random, *([] if numpy_random is None else [numpy_random.random_sample])]
    return [getattr(each, "__self__", None) for each in functions]


def held_generators(function: Any, constants: Mapping[str, Any]) -> list[Held]:
    """Find the random generators of which each worker has a copy, and whose stream all would repeat.

    Parameters
    ----------
    function
        The callable: looked at are its defaults, its closure, the object that it belongs to, the global
        variables that it names, and the same of functions among these that are of the same package.
    constants
        Arguments that are the same for all elements.

    Returns
    -------
    list of Held
        Each generator once.

    Examples
    --------
    >>> shared = random.Random(1)
    >>> [held.name for held in held_generators(lambda x: x, {"source": shared, "factor": 2})]
    ['source']
    """
    found: dict[int, Held] = {}
    kinds, legacy = _generator_kinds(), _legacy_generators()
    for name, value, is_global in _reachable(function, constants):
        has_stream = isinstance(value, kinds) and not isinstance(value, random.SystemRandom)
        if has_stream and not any(value is each for each in legacy):
            found.setdefault(id(value), Held(name, value, is_global))
    return list(found.values())


def _reachable(function: Any, constants: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Give what a function can reach, and whether it is global; of containers, what is directly in them."""
    package = _package(function)
    pending: list[tuple[str, Any, bool]] = [("", function, False)]
    pending += [(name, value, False) for name, value in constants.items()]
    seen: set[int] = set()
    while pending:
        name, value, is_global = pending.pop(0)
        yield name, value, is_global
        if id(value) in seen:
            continue
        seen.add(id(value))
        inner: Iterable[tuple[str, Any, bool]] = ()
        if isinstance(value, functools.partial):
            parts = {"": value.func, **value.keywords}
            inner = [(each, part, is_global) for each, part in parts.items()]
            inner += [(name, part, is_global) for part in value.args]
        elif inspect.ismethod(value):
            inner = [("", value.__func__, is_global), (name or "self", value.__self__, is_global)]
        elif inspect.isbuiltin(value):
            inner = [(name or "self", value.__self__, is_global)]
        elif inspect.isfunction(value) and _package(value) == package:
            inner = _variables(value, is_global=is_global)
        elif value is function or (name and _package(type(value)) == package):
            attributes = getattr(value, "__dict__", {})
            inner = [(str(each), part, is_global) for each, part in dict(attributes).items()]
            call = getattr(type(value), "__call__", None)  # noqa: B004  what is called, not whether it can be
            if inspect.isfunction(call):
                inner = [*inner, ("", call, is_global)]
        elif type(value) in (list, tuple, set, dict) and len(value) <= _CONTAINER:
            contents = value.values() if type(value) is dict else value
            yield from ((name, part, is_global) for part in contents)
        pending.extend(inner)


_CONTAINER = 1000  # what holds more holds data


def _package(value: Any) -> str:
    return str(getattr(value, "__module__", None) or type(value).__module__).partition(".")[0]


def _variables(function: FunctionType, *, is_global: bool) -> list[tuple[str, Any, bool]]:
    code = function.__code__
    found: list[tuple[str, Any, bool]] = []
    positional = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    found += [
        (name, value, is_global)
        for name, value in zip(positional[len(positional) - len(defaults) :], defaults, strict=True)
    ]
    found += [(name, value, is_global) for name, value in (function.__kwdefaults__ or {}).items()]
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            found.append((name, cell.cell_contents, is_global))
        except ValueError:  # a variable that has no value yet
            continue
    codes = [code]
    while codes:
        each = codes.pop()
        codes += [constant for constant in each.co_consts if inspect.iscode(constant)]
        names = each.co_names
        found += [(name, function.__globals__[name], True) for name in names if name in function.__globals__]
    wrapped = getattr(function, "__wrapped__", None)
    return found if wrapped is None else [*found, ("", wrapped, is_global)]


def redraw(generators: Iterable[Any], key: tuple[int, ...]) -> None:
    """Let copies of random generators go on with streams of their own.

    Parameters
    ----------
    generators
        The generators: changed in place, each to a state that its own state and the key determine.
    key
        What no other process, nor another run in this one, has.

    Examples
    --------
    >>> one, other = random.Random(1), random.Random(1)
    >>> redraw([one], (0, 1))
    >>> redraw([other], (0, 2))
    >>> one.random() == other.random()
    False
    """
    for generator in generators:
        if isinstance(generator, random.Random):
            generator.seed(_entropy(generator.getstate(), key))
            continue
        numpy_random = sys.modules["numpy.random"]
        if isinstance(generator, numpy_random.Generator):
            bits = generator.bit_generator
            bits.state = type(bits)(numpy_random.SeedSequence(_entropy(bits.state, key))).state
        else:  # any source of bits, of which seed() takes one kind alone; and half a pair of normal numbers
            state = generator.get_state(legacy=False)
            bits = getattr(numpy_random, state["bit_generator"])
            fresh = numpy_random.RandomState(bits(numpy_random.SeedSequence(_entropy(state, key))))
            generator.set_state(fresh.get_state(legacy=False))


def _entropy(state: object, key: tuple[int, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(pickle.dumps((state, key)), digest_size=32).digest(), "little")
