"""The description of one object: a text, and references to what is described on its own."""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
from hashlib import blake2b
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._hashing.code import Names, code_text
from pipefunc_c._hashing.plain import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_ARRAY_BYTES = 1 << 26


def _top_package(module: object) -> str:
    name = module.partition(".")[0] if isinstance(module, str) else ""
    return "__main__" if name == "__mp_main__" else name  # what spawned workers call it


def _module_of(item: object) -> str:
    module = getattr(item, "__module__", None)
    return module if isinstance(module, str) else type(item).__module__


def _versioned(module: str) -> str:
    """Name a module and the version of its package."""
    top = _top_package(module)
    version = getattr(sys.modules.get(top), "__version__", None)
    return f"{module}@{version}" if isinstance(version, str) else module


def _name_of(item: object) -> str | None:
    for attribute in ("__qualname__", "__name__"):
        name = getattr(item, attribute, None)
        if isinstance(name, str):
            return name
    return None


def _wrapped(item: object) -> object:
    """Give the function behind a wrapper that is no function itself, such as that of ``lru_cache``."""
    if isinstance(item, type):
        return None
    try:
        found = getattr(item, "__wrapped__", None) or getattr(item, "py_func", None)
    except Exception:  # a proxy of whatever kind
        return None
    return found if callable(found) else None


class Description:
    """Describe one object by text; functions and classes that it reaches stay references.

    Parameters
    ----------
    item
        The object.

    Attributes
    ----------
    digest : str
        Digest of the text.
    references : list
        What is described on its own.
    unknown : list of str
        What could not be looked into, for messages.
    carried : list of str
        Those of `unknown` that the object itself brings along: defaults, closure, attributes, arguments. What
        is left out is reached by a name, and so the same for all objects with this code.
    is_known : bool
        Whether anything could be.
    """

    def __init__(self, item: object) -> None:
        self.item = item
        self.own = _top_package(_module_of(item))
        self.is_known = False
        self.digest = ""
        self.references: list[object] = []
        self.unknown: list[str] = []
        self.carried: list[str] = []
        self._is_reached_by_name = False
        self._parts: list[str] = []
        # What only holds functions, a partial for one, holds those of other packages.
        self._follows = not isinstance(item, FunctionType | type)

    def finish(self) -> None:
        """Take the digest of what was added; the text is dropped."""
        text = "\n".join(self._parts)
        self.digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        self._parts = []

    def describe(self) -> None:
        """Describe the object as a callable."""
        item = self.item
        wrapped = _wrapped(item)
        self.is_known = True
        parts = getattr(type(item), "code_parts", None)
        if isinstance(parts, property) and parts.fget is not None:
            # What it says itself, without what it keeps for speed.
            self._add(type(item).__qualname__)
            self.value(parts.fget(item), f"a part of {_name_of(item)}", mutable=True)
        elif isinstance(item, FunctionType) and not self._is_standard(item):
            self._describe_function(item)
        elif isinstance(item, type) and not self._is_standard(item):
            self._describe_class(item)
        elif isinstance(item, functools.partial):
            self._add("partial")
            self.value((item.func, item.args, item.keywords), "an argument of a partial", mutable=True)
        elif isinstance(item, MethodType):
            self._add("method")
            self.value(item.__func__, "a method")
            self._describe_state(item.__self__)
        elif wrapped is not None and not isinstance(item, FunctionType):
            self._add(f"wrapper {type(item).__qualname__}")
            self.value(wrapped, "a wrapped function")
        elif isinstance(item, BuiltinMethodType) and not isinstance(item.__self__, ModuleType | type | None):
            self._add(f"method {item.__qualname__}")
            self.value(item.__self__, f"the object of {item.__qualname__}")
        elif _name_of(item) is not None and not _is_called_in_python(item):
            self._add(f"{_versioned(_module_of(item))}.{_name_of(item)}")
        else:
            self._add("instance")
            self.value(type(item), "its class")
            self._describe_state(item)
        self.finish()

    @staticmethod
    def _is_standard(item: object) -> bool:
        return _top_package(_module_of(item)) in sys.stdlib_module_names - {"__main__"}

    def _add(self, text: str) -> None:
        self._parts.append(text)

    def _add_unknown(self, where: str) -> None:
        self.unknown.append(where)
        if not self._is_reached_by_name:
            self.carried.append(where)

    def _is_own(self, item: object) -> bool:
        return _top_package(_module_of(item)) in (self.own, "__main__")

    def value(self, value: object, where: str, *, mutable: bool = False) -> None:
        """Describe a value.

        Parameters
        ----------
        value
            A plain value, a callable, or a container of these.
        where
            Where it was found, to name it if it is unknown.
        mutable
            Whether lists, dicts, sets and arrays count: they do where nobody is expected to change them.
        """
        text = plain_text(value)
        if text is not None:
            self._add(text)
        elif isinstance(value, ModuleType):
            self._add(f"module {_versioned(value.__name__)}")
            if self._is_own_module(value.__name__):
                self._add_unknown(f"{where}, a module taken whole")
        elif isinstance(value, tuple):
            self._add(f"{type(value).__qualname__} of {len(value)}")
            for each in value:
                self.value(each, where, mutable=mutable)
        elif isinstance(value, list | dict | set) and mutable and type(value) in (list, dict, set):
            self._container(value, where)
        elif isinstance(value, np.ndarray) and (mutable or not value.flags.writeable):
            self._array(value, where)
        elif self._is_reference(value):
            self._add("reference")
            self.references.append(value)
        elif callable(value) and _name_of(value) is not None:
            self._add(f"{_versioned(_module_of(value))}.{_name_of(value)}")
        else:
            self._add(f"unknown {type(value).__qualname__}")
            self._add_unknown(f"{where} ({type(value).__qualname__})")

    def mapping(self, values: Mapping[str, object]) -> None:
        """Describe named values that nobody is expected to change."""
        for name, value in values.items():
            self._add(f"value {name}")
            self.value(value, f"{name!r}", mutable=True)

    def _is_own_module(self, name: str) -> bool:
        return _top_package(name) in (self.own, "__main__")

    def _is_reference(self, value: object) -> bool:
        """Tell whether a value is described on its own: a callable that is not another package's."""
        if isinstance(value, functools.partial | MethodType):
            return True
        if isinstance(value, BuiltinMethodType):
            return not isinstance(value.__self__, ModuleType | type | None)
        if isinstance(value, FunctionType | type):
            return self._is_own(value) or (self._follows and isinstance(value, FunctionType))
        return callable(value) and (_wrapped(value) is not None or _is_called_in_python(value))

    def _container(self, value: list[Any] | dict[Any, Any] | set[Any], where: str) -> None:
        self._add(f"{type(value).__name__} of {len(value)}")
        if isinstance(value, set):
            texts = [plain_text(each) for each in value]
            self._add(repr(sorted(map(str, texts))))
            if None in texts:
                self._add_unknown(f"{where} (set)")
        elif isinstance(value, dict):
            for key, each in value.items():
                self.value(key, where, mutable=True)
                self.value(each, where, mutable=True)
        else:
            for each in value:
                self.value(each, where, mutable=True)

    def _array(self, array: np.ndarray[Any, Any], where: str) -> None:
        self._add(f"array {array.dtype.str} {array.dtype!r} {array.shape}")
        if array.dtype.hasobject or array.nbytes > MAX_ARRAY_BYTES:
            self._add_unknown(f"{where} (an array of {array.nbytes} bytes, dtype {array.dtype})")
        else:
            self._add(blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest())

    def _describe_state(self, instance: object) -> None:
        if isinstance(instance, type):
            self.value(instance, "the class of a method")
            return
        self.value(type(instance), "its class")
        where = f"an attribute of a {type(instance).__qualname__}"
        state = getattr(instance, "__dict__", None)
        slots = {
            name: getattr(instance, name)
            for cls in type(instance).__mro__
            for name in _slots(cls)
            if hasattr(instance, name)
        }
        if state is None and not slots:
            if type(instance).__flags__ & 1 << 9 or type(instance).__module__ == "builtins":
                text = plain_text(instance)
                self._add(str(text))
            if not hasattr(type(instance), "__slots__"):
                self._add_unknown(f"the state of a {type(instance).__qualname__}")
            return
        for name, value in sorted({**slots, **(state or {})}.items()):
            self._add(f"attribute {name}")
            self.value(value, f"{name!r}, {where}", mutable=True)

    # -- functions -----------------------------------------------------------------------------------

    def _describe_function(self, func: FunctionType) -> None:
        names = Names()
        self._add(code_text(func.__code__, names))
        self.value(func.__defaults__, f"a default of {func.__qualname__}", mutable=True)
        self.value(func.__kwdefaults__, f"a default of {func.__qualname__}", mutable=True)
        for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
            self._add(f"closure {name}")
            if name in names.stored_cells:
                continue  # it counts something: no part of the code
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            is_array = isinstance(content, np.ndarray)
            self.value(content, f"{name} in the closure of {func.__qualname__}", mutable=is_array)
        self._is_reached_by_name = True
        for chain in names.chains:
            if chain[0] not in names.stored_globals:
                self._describe_global(func, chain)
        for module in names.imported:
            if self._is_own_module(module):  # it may not be loaded yet, so it is never looked into
                self._add_unknown(f"{module}, imported inside of {func.__qualname__}")
        self._is_reached_by_name = False

    def _describe_global(self, func: FunctionType, chain: tuple[str, ...]) -> None:
        name, *attributes = chain
        if name not in func.__globals__:
            self._add(f"builtin {name}")
            return
        value = func.__globals__[name]
        while attributes and isinstance(value, ModuleType) and self._is_own_module(value.__name__):
            attribute = attributes.pop(0)
            name = f"{name}.{attribute}"
            value = vars(value).get(attribute)
        self._add(f"global {name}")
        self.value(value, f"{name} in {func.__qualname__}")

    # -- classes -------------------------------------------------------------------------------------

    def _describe_class(self, cls: type) -> None:
        self._is_reached_by_name = True
        self._add("class")
        self.value(tuple(base for base in cls.__bases__ if base is not object), "a base class")
        if type(cls) is not type:
            self.value(type(cls), "a metaclass")
        if dataclasses.is_dataclass(cls):
            for field in dataclasses.fields(cls):
                self._add(f"field {field.name} {field.init} {field.kw_only} {field.compare}")
                for value in (field.default, field.default_factory):
                    if value is not dataclasses.MISSING:
                        self.value(value, f"the default of {cls.__qualname__}.{field.name}", mutable=True)
        if issubclass(cls, enum.Enum):
            for name, member in cls.__members__.items():
                self._add(f"member {name}")
                self.value(member.value, f"{cls.__qualname__}.{name}", mutable=True)
        for name, value in sorted(vars(cls).items()):
            functions = [each for each in _functions_of(value) if not _is_generated(each)]
            is_hidden = name.startswith("_") if issubclass(cls, enum.Enum) else name.startswith("__")
            if functions:
                self._add(f"attribute {name} {type(value).__name__}")
                for each in functions:
                    self.value(each, f"{cls.__qualname__}.{name}")
            elif not (is_hidden or name == "_abc_impl" or _is_descriptor(value) or _functions_of(value)):
                self._add(f"attribute {name}")
                self.value(value, f"{cls.__qualname__}.{name}")


def _slots(cls: type) -> Iterable[str]:
    slots = vars(cls).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _functions_of(value: object) -> list[object]:
    """Give the functions that an attribute of a class consists of."""
    if isinstance(value, FunctionType):
        return [value]
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [each for each in (value.fget, value.fset, value.fdel) if each is not None]
    if isinstance(value, functools.cached_property):
        return [value.func]
    return []


def _is_generated(func: object) -> bool:
    """Tell whether a method was made by ``dataclass``: it follows from the fields."""
    code = getattr(getattr(func, "__wrapped__", func), "__code__", None)
    return isinstance(code, CodeType) and code.co_filename == "<string>"


def _is_called_in_python(item: object) -> bool:
    """Tell whether an object is an instance of a Python class that defines ``__call__``."""
    if isinstance(item, type | FunctionType):
        return False
    defined = (vars(cls)["__call__"] for cls in type(item).__mro__ if "__call__" in vars(cls))
    return isinstance(next(defined, None), FunctionType)


def _is_descriptor(value: object) -> bool:
    return not callable(value) and hasattr(type(value), "__get__")
