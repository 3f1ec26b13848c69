"""How the parameters and outputs of a callable are named and filled: one immutable record per state.

A `PipeFunc` holds one `Binding` and replaces it in each update. So an update either happens as a whole or not
at all, copies share it, and what is derived from it never has to be invalidated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._containers import as_mapping
from pipefunc_c._function.names import check_name, check_output_name, scoped_renames
from pipefunc_c._spec.dimensions import normalize_shape
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipefunc_c._function.signature import NativeSignature


@dataclass(frozen=True, eq=False)
class Binding:
    """Connect the native names of a callable with the names that a pipeline knows.

    Parameters
    ----------
    signature
        The parameters of the callable.
    native_output
        The output name or names before any rename.
    renames
        Native parameter or output name to present name.
    native_defaults, native_bound
        The user's defaults and bound values, by native parameter name.
    mapspec
        In present names.
    internal_shape
        Sizes of the internal axes of the outputs, as the user gave them.

    Raises
    ------
    InvalidTypeError
        If a name is not a str, or the mapspec no `MapSpec`.
    InvalidValueError
        If names are unknown, malformed or not unique, a parameter is both bound and has a default, or the
        mapspec does not fit the names.

    """

    signature: NativeSignature
    native_output: str | tuple[str, ...]
    renames: Mapping[str, str] = field(default_factory=dict)
    native_defaults: Mapping[str, Any] = field(default_factory=dict)
    native_bound: Mapping[str, Any] = field(default_factory=dict)
    mapspec: MapSpec | None = None
    internal_shape: int | Literal["?"] | tuple[int | Literal["?"], ...] | None = None

    def __post_init__(self) -> None:
        check_output_name(self.native_output)
        self._check_renames()
        self._check_unique()
        for native in self.native_defaults.keys() & self.native_bound.keys():
            name = self.renames.get(native, native)
            message = f"the parameter {name!r} is bound and has a default; a bound value is never replaced"
            raise InvalidValueError(message, detail=name, hint="Remove it from `defaults` or from `bound`.")
        if self.mapspec is not None:
            self._check_mapspec(self.mapspec)
        if self.internal_shape is not None:
            normalize_shape(self.internal_shape, ", ".join(self.output_names))

    def _check_renames(self) -> None:
        for native, name in self.renames.items():
            if native not in self.signature.parameters and native not in self.native_outputs:
                allowed = (*self.signature.parameters, *self.native_outputs)
                message = (
                    f"Unexpected `renames` argument {native!r}; it is neither an original parameter nor an "
                    f"output name, which are {allowed}"
                )
                raise InvalidValueError(message, detail=native)
            check_name(name, "new name")

    def _check_unique(self) -> None:
        if len({*self.names}) == len(self.names):
            return
        seen: set[str] = set()
        for native, name in zip((*self.signature.parameters, *self.native_outputs), self.names, strict=True):
            if name in seen:
                kind = "an output" if name in self.output_names else "a parameter"
                message = (
                    f"the name {name!r} is used twice: for {kind} (original name {native!r}) and for a "
                    f"parameter before it; the parameters are {self.parameters}, the outputs "
                    f"{self.output_names}"
                )
                hint = "Names must be unique in a function, and renames one-to-one."
                raise InvalidValueError(message, detail=name, hint=hint)
            seen.add(name)

    def _check_mapspec(self, mapspec: MapSpec) -> None:
        for name in mapspec.input_names:
            if name not in self.native_names:
                message = (
                    f"the input {name!r} of the mapspec {str(mapspec)!r} is no parameter; the parameters are "
                    f"{self.parameters}"
                )
                raise InvalidValueError(message, detail=name)
            if self.native_names[name] in self.native_bound:
                message = f"the input {name!r} of the mapspec {str(mapspec)!r} is bound to a value"
                hint = "Remove it from `bound` or from the mapspec."
                raise InvalidValueError(message, detail=name, hint=hint)
        if set(mapspec.output_names) != set(self.output_names):
            message = (
                f"the outputs {mapspec.output_names} of the mapspec {str(mapspec)!r} are not those of the "
                f"function, {self.output_names}"
            )
            raise InvalidValueError(message, detail=str(mapspec))

    @cached_property
    def native_outputs(self) -> tuple[str, ...]:
        """The output names before any rename."""
        return (self.native_output,) if isinstance(self.native_output, str) else self.native_output

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Present names of the parameters."""
        renames = self.renames
        return tuple([renames.get(native, native) for native in self.signature.parameters])

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Present names of the outputs."""
        return tuple([self.renames.get(native, native) for native in self.native_outputs])

    @property
    def output_name(self) -> str | tuple[str, ...]:
        """Present output name or names, in the form in which they were given."""
        return self.output_names[0] if isinstance(self.native_output, str) else self.output_names

    @property
    def names(self) -> tuple[str, ...]:
        """Present names of the parameters and then the outputs."""
        return self.parameters + self.output_names

    @cached_property
    def native_names(self) -> dict[str, str]:
        """Native name per present name of a parameter."""
        return dict(zip(self.parameters, self.signature.parameters, strict=True))

    @cached_property
    def bound(self) -> dict[str, Any]:
        """Bound value per present name."""
        return {self.renames.get(native, native): value for native, value in self.native_bound.items()}

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Default per present name, in the order of the parameters; the user's before the callable's own."""
        if not self.native_defaults and not self.signature.defaults:
            return {}
        values = {**self.signature.defaults, **self.native_defaults}
        return {
            name: values[native]
            for name, native in self.native_names.items()
            if native in values and native not in self.native_bound
        }

    @cached_property
    def own_defaults(self) -> frozenset[str]:
        """Present names of the parameters that are left out of calls unless a value is given."""
        replaced = self.native_defaults.keys() | self.native_bound.keys()
        return frozenset(self.renames.get(n, n) for n in self.signature.own_defaults - replaced)

    @cached_property
    def scopes(self) -> frozenset[str]:
        """Scopes of the parameters."""
        return frozenset(name.partition(".")[0] for name in self.parameters if "." in name)

    def _by_native(self, values: Mapping[str, Any], option: str) -> dict[str, Any]:
        """Return values by native names; refuse those that are no parameters."""
        as_mapping(values, option)
        for name in values:
            if name not in self.native_names:
                message = (
                    f"Unexpected `{option}` argument {name!r}; it is no parameter of the function, which are "
                    f"{self.parameters}"
                )
                raise InvalidValueError(message, detail=name)
        return {self.native_names[name]: value for name, value in values.items()}

    def with_defaults(self, defaults: Mapping[str, Any], *, overwrite: bool = False) -> Binding:
        """Return a binding with more defaults, or with these in the place of the user's earlier ones."""
        old = {} if overwrite else self.native_defaults
        return dataclasses.replace(self, native_defaults={**old, **self._by_native(defaults, "defaults")})

    def with_bound(self, bound: Mapping[str, Any], *, overwrite: bool = False) -> Binding:
        """Return a binding with more bound values, or with these in the place of the earlier ones."""
        old = {} if overwrite else self.native_bound
        return dataclasses.replace(self, native_bound={**old, **self._by_native(bound, "bound")})

    def with_mapspec(self, mapspec: str | MapSpec | None) -> Binding:
        """Return a binding with another mapspec."""
        if isinstance(mapspec, str):
            mapspec = MapSpec.from_string(mapspec)
        given: object = mapspec
        if given is not None and not isinstance(given, MapSpec):
            message = f"a mapspec must be a str or a MapSpec, got {given!r}"
            raise InvalidTypeError(message, detail=given)
        return dataclasses.replace(self, mapspec=given)

    def known_names(self, update_from: str) -> dict[str, str]:
        """Return the native name per present (``"current"``) or native (``"original"``) name, outputs too."""
        if update_from not in ("current", "original"):
            message = f"`update_from` must be 'current' or 'original', got {update_from!r}"
            raise InvalidValueError(message, detail=update_from)
        natives = (*self.signature.parameters, *self.native_outputs)
        return dict(zip(self.names if update_from == "current" else natives, natives, strict=True))

    def with_renames(
        self,
        renames: Mapping[str, str],
        *,
        update_from: Literal["current", "original"] = "current",
        overwrite: bool = False,
    ) -> Binding:
        """Return a binding with other names; defaults, bound values and the mapspec move along."""
        natives = self.known_names(update_from)
        for name in as_mapping(renames, "renames", "a new name per name"):
            if name not in natives:
                message = (
                    f"Unexpected `renames` argument {name!r}; the {update_from} parameters and outputs are "
                    f"{tuple(natives)}"
                )
                raise InvalidValueError(message, detail=name)
        new = {} if overwrite else dict(self.renames)
        new.update({natives[name]: new_name for name, new_name in renames.items()})
        # Names are checked before they go into the mapspec, which must not be checked against the old ones.
        renamed = dataclasses.replace(self, renames=new, mapspec=None)
        if self.mapspec is None:
            return renamed
        moves = dict(zip(self.names, renamed.names, strict=True))
        return dataclasses.replace(renamed, mapspec=self.mapspec.rename(moves))

    def with_scope(
        self,
        scope: str | None,
        inputs: Iterable[str] | Literal["*"] | None,
        outputs: Iterable[str] | Literal["*"] | None,
        exclude: Iterable[str] | None,
    ) -> Binding:
        """Return a binding with a scope put before names, or removed if it is None."""
        renames = scoped_renames(scope, self.parameters, self.output_names, inputs, outputs, exclude)
        return self.with_renames(renames)

    def state(self) -> dict[str, Any]:
        """Return what a pickle needs beside the callable, whose signature is read anew."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)[1:]}
