"""The names of a function: what it is called, takes and returns in a pipeline, and how that is changed."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._containers import as_mapping
from pipefunc_c._function.names import unscoped
from pipefunc_c._function.signature import annotations_of, named_parameter, split_output_type
from pipefunc_c.typing import NoAnnotation, Unresolvable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipefunc_c._function.binding import Binding
    from pipefunc_c._spec.dimensions import Dimension
    from pipefunc_c._spec.mapspec import MapSpec


class NamedFunction:
    """Answer for the names, defaults and types of a callable, and change them; the base of `PipeFunc`.

    Everything is read from `binding`, an immutable record that each update replaces as a whole.
    """

    func: Callable[..., Any]
    binding: Binding
    output_picker: Callable[[Any, str], Any] | None

    @property
    def output_name(self) -> str | tuple[str, ...]:
        """Output name, or tuple of names."""
        return self.binding.output_name

    @property
    def output_names(self) -> tuple[str, ...]:
        """Output names, always as a tuple."""
        return self.binding.output_names

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.binding.parameters

    @property
    def original_parameters(self) -> dict[str, inspect.Parameter]:
        """Parameters of the callable by their original names."""
        return dict(self.binding.signature.parameters)

    @property
    def native_names(self) -> dict[str, str]:
        """Original name per name of a parameter."""
        return dict(self.binding.native_names)

    @property
    def renames(self) -> dict[str, str]:
        """New name per original name, where given."""
        return dict(self.binding.renames)

    @property
    def defaults(self) -> dict[str, Any]:
        """Default per parameter, those of the callable included."""
        return dict(self.binding.defaults)

    @property
    def own_defaults(self) -> frozenset[str]:
        """Parameters that are left out of calls unless a value is given; the callable fills them in."""
        return self.binding.own_defaults

    @property
    def bound(self) -> dict[str, Any]:
        """Value per bound parameter."""
        return dict(self.binding.bound)

    @property
    def mapspec(self) -> MapSpec | None:
        """How the function maps over arrays; may be set to a str."""
        return self.binding.mapspec

    @mapspec.setter
    def mapspec(self, mapspec: str | MapSpec | None) -> None:
        self.binding = self.binding.with_mapspec(mapspec)

    @property
    def internal_shape(self) -> Dimension | tuple[Dimension, ...] | None:
        """Sizes of the axes that the callable returns itself; may be set."""
        return self.binding.internal_shape

    @internal_shape.setter
    def internal_shape(self, internal_shape: Dimension | tuple[Dimension, ...] | None) -> None:
        self.binding = dataclasses.replace(self.binding, internal_shape=internal_shape)

    @property
    def requires_mapping(self) -> bool:
        """Whether the function is called once per element of an array."""
        return self.mapspec is not None and bool(self.mapspec.inputs)

    @property
    def parameter_scopes(self) -> set[str]:
        """Scopes of the parameters."""
        return set(self.binding.scopes)

    @property
    def unscoped_parameters(self) -> tuple[str, ...]:
        """Names of the parameters without their scopes."""
        return tuple(map(unscoped, self.parameters))

    def _hints(self) -> dict[str, Any]:
        """Annotations of the callable; kept, unless a name in them was missing and may be defined later."""
        known: tuple[Any, dict[str, Any]] = self.__dict__.get("_known_hints", (None, {}))
        func, hints = known
        if func is not self.func:
            hints = annotations_of(self.func)
            if not any(isinstance(hint, Unresolvable) for hint in hints.values()):
                self.__dict__["_known_hints"] = (self.func, hints)
        return hints

    @property
    def parameter_annotations(self) -> dict[str, Any]:
        """Type per annotated parameter."""
        hints = self._hints()
        return {name: hints[native] for name, native in self.binding.native_names.items() if native in hints}

    @property
    def output_annotation(self) -> dict[str, Any]:
        """Type per output name; `NoAnnotation` if unknown."""
        if self.output_picker is not None:
            return dict.fromkeys(self.output_names, NoAnnotation)
        hint = self._hints().get("return", NoAnnotation)
        if isinstance(self.output_name, str):
            return {self.output_name: hint}
        return split_output_type(hint, self.output_names)

    @property
    def __signature__(self) -> inspect.Signature:
        """Signature under the new names, without bound parameters."""
        hints, defaults = self.parameter_annotations, self.binding.defaults
        empty = inspect.Parameter.empty
        parameters = []
        for name, native in self.binding.native_names.items():
            if native in self.binding.native_bound:
                continue
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            parameters.append(named_parameter(name, kind, defaults.get(name, empty), hints.get(name)))
        types = self.output_annotation.values()
        if any(hint is NoAnnotation or isinstance(hint, Unresolvable) for hint in types):
            returned: Any = inspect.Signature.empty
        else:
            returned = next(iter(types)) if isinstance(self.output_name, str) else tuple[tuple(types)]  # type: ignore[misc]
        # Unchecked, because a default may stand before a parameter without one.
        return inspect.Signature(parameters, return_annotation=returned, __validate_parameters__=False)

    def update_defaults(self, defaults: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Change defaults.

        Parameters
        ----------
        defaults
            Default per parameter.
        overwrite
            Whether to drop all defaults that were given before.

        Raises
        ------
        InvalidValueError
            If a name is no parameter, or is bound.

        """
        self.binding = self.binding.with_defaults(defaults, overwrite=overwrite)

    def update_bound(self, bound: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Change bound values.

        Parameters
        ----------
        bound
            Value per parameter.
        overwrite
            Whether to drop all values that were bound before.

        Raises
        ------
        InvalidValueError
            If a name is no parameter, has a default of the user, or is an input of the mapspec.

        """
        self.binding = self.binding.with_bound(bound, overwrite=overwrite)

    def update_renames(
        self,
        renames: Mapping[str, str],
        *,
        update_from: Literal["current", "original"] = "current",
        overwrite: bool = False,
    ) -> None:
        """Change names of parameters and outputs; defaults, bound values and the mapspec follow.

        Parameters
        ----------
        renames
            Name to new name.
        update_from
            Whether the keys are present or original names.
        overwrite
            Whether to drop all earlier renames.

        Raises
        ------
        InvalidValueError
            If a name is unknown, malformed, or then used twice.

        """
        self.binding = self.binding.with_renames(renames, update_from=update_from, overwrite=overwrite)

    def update_scope(
        self,
        scope: str | None,
        inputs: Iterable[str] | Literal["*"] | None = None,
        outputs: Iterable[str] | Literal["*"] | None = None,
        exclude: Iterable[str] | None = None,
    ) -> None:
        """Put ``scope.`` before names.

        Parameters
        ----------
        scope
            The scope; None removes the present ones.
        inputs, outputs
            Parameters and outputs that are meant; ``"*"`` means all, None means none.
        exclude
            Names that stay as they are.

        Raises
        ------
        InvalidValueError
            If the scope is the name of a parameter or output, or a name is unknown.

        Examples
        --------
        >>> from pipefunc_c._function.pipefunc import PipeFunc
        >>> function = PipeFunc(lambda x, y: x + y, "z")
        >>> function.update_scope("s", inputs={"x"}, outputs="*")
        >>> function.parameters, function.output_name
        (('s.x', 'y'), 's.z')

        """
        self.binding = self.binding.with_scope(scope, inputs, outputs, exclude)

    def update_mapspec_axes(self, renames: Mapping[str, str]) -> None:
        """Change names of axes in the mapspec; axes that it does not have are ignored.

        Parameters
        ----------
        renames
            Axis to new axis.

        """
        as_mapping(renames, "renames", "a new axis per axis")
        if self.mapspec is not None:
            self.mapspec = self.mapspec.rename_axes(renames)
