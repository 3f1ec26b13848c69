"""The functions that a pipeline holds, and their changes: each is made as a whole or refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._containers import as_mapping
from pipefunc_c._function.names import flatten_scopes, scoped_renames
from pipefunc_c._function.pipefunc import PipeFunc, Revision
from pipefunc_c._graph.connections import Connections
from pipefunc_c._graph.graph import FunctionGraph, find_function
from pipefunc_c._graph.type_checks import check_types
from pipefunc_c._graph.validate import build_graph
from pipefunc_c._pipeline.options import FunctionOptions
from pipefunc_c._pipeline.views import PipelineViews
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipefunc_c._graph.graph import AnyFunc, OutputName
    from pipefunc_c._spec.mapspec import MapSpec


class EditablePipeline(PipelineViews):
    """Hold functions and their graph; the second base of `Pipeline`.

    A new graph is built and checked before anything is replaced, so that a refused change leaves everything
    as it was. Changes made through a function that the pipeline holds are seen by its `Revision`.
    """

    def __init__(self, options: FunctionOptions, validate_type_annotations: bool) -> None:
        self._options = options
        self.validate_type_annotations = validate_type_annotations
        self._functions: list[AnyFunc] = []
        self._connections: Connections | None = None
        self._connected = -1
        self._revision = Revision()
        self._rebuild([])

    def _adopt(self, f: Any, mapspec: str | MapSpec | None = None) -> AnyFunc:
        if isinstance(f, tuple) and len(f) == 2:
            f, mapspec = f
        if isinstance(f, PipeFunc):
            function = f.copy()
        elif callable(f):
            function = PipeFunc(f, getattr(f, "__name__", type(f).__name__))
        else:
            message = f"a pipeline consists of PipeFunc objects and callables, got {f!r}"
            hint = "A function with another mapspec may be given as (function, mapspec)."
            raise InvalidTypeError(message, detail=f, hint=hint)
        if mapspec is not None:
            function.mapspec = mapspec
        self._options.set_for(function)
        return function

    def _rebuild(self, functions: list[AnyFunc]) -> None:
        """Take over functions after a look at all of them."""
        graph = build_graph(functions, annotations=self.validate_type_annotations)
        for function in self._functions:
            function.revision = None
        for function in functions:
            function.revision = self._revision
        self._functions = functions
        self._connections = None
        self._use(graph)

    def _use(self, graph: FunctionGraph) -> None:
        """Take a graph of the present functions for `function_graph`."""
        self._graph = graph
        self._built = self._revision.number

    def _exchange(self, old: AnyFunc | None, new: AnyFunc | None) -> None:
        """Take one function out and put one in, after a look at its neighbours if that is enough."""
        functions = list(self._functions)
        if old is None:
            functions += [] if new is None else [new]
        else:
            position = functions.index(old)
            functions[position : position + 1] = [] if new is None else [new]
        connections = self._known_connections()
        if connections is None or not connections.exchange(old, new, self._types_fit):
            self._rebuild(functions)
            return
        if old is not None:
            old.revision = None
        if new is not None:
            new.revision = self._revision
        self._functions = functions
        self._revision.number += 1
        self._connected = self._revision.number

    def _types_fit(self, functions: list[AnyFunc]) -> bool:
        if self.validate_type_annotations:
            try:
                check_types(FunctionGraph(functions))
            except Exception:  # also a warning that was made an error: all will be looked at
                return False
        return True

    def _known_connections(self) -> Connections | None:
        """Return what is known of the functions as they are now; None if they were changed themselves."""
        if self._connections is None and self._built == self._revision.number:
            self._connections = Connections(self._graph)
            self._connected = self._built
        return self._connections if self._connected == self._revision.number else None

    @property
    def function_graph(self) -> FunctionGraph:
        """The graph of the functions as they are now."""
        if self._built != self._revision.number:
            if self._known_connections() is None:
                self._rebuild(self._functions)
            else:
                self._use(FunctionGraph(self._functions))
        return self._graph

    def _find(self, output_name: OutputName) -> AnyFunc:
        connections = self._known_connections()
        producers = self.function_graph.producers if connections is None else connections.producers
        return find_function(producers, output_name)

    @property
    def debug(self) -> bool | None:
        """Whether functions print a line after each call; setting it sets it for all."""
        return self._options.debug

    @debug.setter
    def debug(self, debug: bool | None) -> None:
        self._set_options(debug=debug)

    @property
    def print_error(self) -> bool | None:
        """Whether functions print a line when they raise; setting it sets it for all."""
        return self._options.print_error

    @print_error.setter
    def print_error(self, print_error: bool | None) -> None:
        self._set_options(print_error=print_error)

    @property
    def profile(self) -> bool | None:
        """Whether the calls of functions are measured; setting it sets it for all."""
        return self._options.profile

    @profile.setter
    def profile(self, profile: bool | None) -> None:
        self._set_options(profile=profile)

    def _set_options(self, **changes: bool | None) -> None:
        self._options = dataclasses.replace(self._options, **changes)  # type: ignore[arg-type]  # all are bools
        given = FunctionOptions(**changes)  # type: ignore[arg-type]  # see above
        for function in self._functions:
            given.set_for(function)

    def _update(self, change: Callable[[AnyFunc], None]) -> None:
        """Change functions; if one change is refused, none is made."""
        before = [(function, function.binding) for function in self._functions]
        built, connected = self._built == self._revision.number, self._connected == self._revision.number
        try:
            for function in self._functions:
                change(function)
            self._rebuild(self._functions)
        except BaseException:
            for function, binding in before:
                if function.binding is not binding:
                    function.binding = binding
            if built:
                self._built = self._revision.number
            if connected:
                self._connected = self._revision.number
            raise

    def validate(self) -> None:
        """Check the pipeline, as is done after each change.

        Raises
        ------
        GraphError, MapSpecError
            As for the constructor.

        """
        self._rebuild(self._functions)

    def add(self, f: AnyFunc | Callable[..., Any], mapspec: str | MapSpec | None = None) -> AnyFunc:
        """Add a copy of a function.

        Parameters
        ----------
        f
            A `PipeFunc` or a plain function.
        mapspec
            Its mapspec, in the place of the one that it has.

        Returns
        -------
        PipeFunc
            The copy.

        Raises
        ------
        InvalidTypeError
            If it is not callable.
        GraphError, MapSpecError
            If it does not fit; the pipeline then stays as it was.

        """
        function = self._adopt(f, mapspec)
        self._exchange(None, function)
        return function

    def drop(self, *, f: AnyFunc | None = None, output_name: OutputName | None = None) -> None:
        """Remove a function.

        Parameters
        ----------
        f
            The function, an object of this pipeline.
        output_name
            An output of it, in its place.

        Raises
        ------
        InvalidValueError
            If not exactly one is given, or the function is not in the pipeline.
        UnknownNameError
            If there is no such output.

        """
        if (f is None) == (output_name is None):
            message = f"give either `f` or `output_name`, got f={f!r} and output_name={output_name!r}"
            raise InvalidValueError(message)
        removed = self._own(f) if f is not None else self._find(output_name)  # type: ignore[arg-type]  # one is given
        self._exchange(removed, None)

    def _own(self, f: AnyFunc) -> AnyFunc:
        if not any(f is function for function in self._functions):
            message = f"the function {f!s} is not in the pipeline"
            hint = "A pipeline holds copies: use pipeline[output_name], or give the output name."
            raise InvalidValueError(message, detail=f, hint=hint)
        return f

    def replace(self, new: AnyFunc | Callable[..., Any], old: AnyFunc | None = None) -> None:
        """Put a copy of a function in the place of another.

        Parameters
        ----------
        new
            The new function.
        old
            The function to remove; by default the one with the same output name.

        Raises
        ------
        InvalidValueError
            If `old` is not in the pipeline.
        UnknownNameError
            If there is no function with the output name of `new`.

        """
        function = self._adopt(new)
        removed = self._find(function.output_name) if old is None else self._own(old)
        self._exchange(removed, function)

    def update_defaults(self, defaults: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Change defaults in all functions that have the parameters.

        Parameters
        ----------
        defaults
            Default per parameter. Those of a scope may be given together as a dict.
        overwrite
            Whether to drop all defaults that were given before.

        Raises
        ------
        InvalidTypeError
            If `defaults` is no dict.
        InvalidValueError
            If no function has a parameter of that name that is not bound.
        InputError
            If one is given twice: by its full name and in the dict of its scope.

        """
        bindings = [function.binding for function in self._functions]
        scopes = frozenset().union(*[binding.scopes for binding in bindings])
        defaults = flatten_scopes(as_mapping(defaults, "defaults"), scopes)
        unbound = {name for b in bindings for name in b.parameters if name not in b.bound}
        self._check_used(defaults, unbound, "parameter that is not bound")

        def change(function: AnyFunc) -> None:
            binding = function.binding
            own = {
                name: defaults[name]
                for name in binding.parameters
                if name in defaults and name not in binding.bound
            }
            if own or overwrite:
                function.update_defaults(own, overwrite=overwrite)

        self._update(change)

    def update_renames(
        self,
        renames: Mapping[str, str],
        *,
        update_from: Literal["current", "original"] = "current",
        overwrite: bool = False,
    ) -> None:
        """Change names of parameters and outputs in all functions that have them.

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
            If no function has a name, or a name would be used twice.

        """
        as_mapping(renames, "renames", "a new name per name")
        known = [f.binding.known_names(update_from) for f in self._functions]
        self._check_used(renames, set().union(*known), f"{update_from} parameter or output")

        def change(function: AnyFunc) -> None:
            names = function.binding.known_names(update_from)
            own = {name: renames[name] for name in names if name in renames}
            if own or overwrite:
                function.update_renames(own, update_from=update_from, overwrite=overwrite)

        self._update(change)

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
            Root arguments and outputs that are meant; ``"*"`` means all, None means none.
        exclude
            Names that stay as they are.

        Raises
        ------
        InvalidValueError
            If nothing would change, a name is unknown, or the scope is the name of a parameter or output.

        """
        graph = self.function_graph
        renames = scoped_renames(scope, graph.root_args, list(graph.producers), inputs, outputs, exclude)
        renames = {name: new for name, new in renames.items() if name != new}
        if not renames:
            message = (
                f"update_scope changes nothing: scope={scope!r}, inputs={inputs!r}, outputs={outputs!r}, "
                f"exclude={exclude!r}"
            )
            raise InvalidValueError(message, detail=scope, hint="Choose names with `inputs` and `outputs`.")
        self.update_renames(renames)

    def update_mapspec_axes(self, renames: Mapping[str, str]) -> None:
        """Change names of axes in all mapspecs.

        Parameters
        ----------
        renames
            Axis to new axis.

        Raises
        ------
        InvalidValueError
            If no mapspec has an axis.

        """
        as_mapping(renames, "renames", "a new axis per axis")
        axes = {axis for names in self.mapspec_axes.values() for axis in names if axis is not None}
        self._check_used(renames, axes, "axis of a mapspec")
        self._update(lambda function: function.update_mapspec_axes(renames))

    @staticmethod
    def _check_used(names: Iterable[str], known: set[str], what: str) -> None:
        unused = sorted(set(names) - known)
        if unused:
            message = f"the names {unused} are used by no function; each must be a {what}: {sorted(known)}"
            raise InvalidValueError(message, detail=unused)
