"""The functions that a pipeline holds, and their changes: each is made as a whole or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._function.names import scoped_renames
from pipefunc_c._function.pipefunc import PipeFunc, Revision
from pipefunc_c._graph.validate import build_graph
from pipefunc_c._pipeline.views import PipelineViews
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph, OutputName
    from pipefunc_c._spec.mapspec import MapSpec


class EditablePipeline(PipelineViews):
    """Hold functions and their graph; the second base of `Pipeline`.

    A new graph is built and checked before anything is replaced, so that a refused change leaves everything
    as it was. Changes made through a function that the pipeline holds are seen by its `Revision`.
    """

    def __init__(self, debug: bool | None, print_error: bool | None) -> None:
        self._debug = debug
        self._print_error = print_error
        self._functions: list[AnyFunc] = []
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
        if self._debug is not None:
            function.debug = self._debug
        if self._print_error is not None:
            function.print_error = self._print_error
        return function

    def _rebuild(self, functions: list[AnyFunc]) -> None:
        """Take over functions; the only place where the graph is replaced."""
        graph = build_graph(functions)
        for function in self._functions:
            function.revision = None
        for function in functions:
            function.revision = self._revision
        self._functions = functions
        self._graph = graph
        self._built = self._revision.number

    @property
    def function_graph(self) -> FunctionGraph:
        """The graph of the functions as they are now."""
        if self._built != self._revision.number:
            self._rebuild(self._functions)
        return self._graph

    @property
    def debug(self) -> bool | None:
        """Whether functions print a line after each call; setting it sets it for all."""
        return self._debug

    @debug.setter
    def debug(self, debug: bool | None) -> None:
        self._debug = debug
        if debug is not None:
            for function in self._functions:
                function.debug = debug

    @property
    def print_error(self) -> bool | None:
        """Whether functions print a line when they raise; setting it sets it for all."""
        return self._print_error

    @print_error.setter
    def print_error(self, print_error: bool | None) -> None:
        self._print_error = print_error
        if print_error is not None:
            for function in self._functions:
                function.print_error = print_error

    def _update(self, change: Callable[[AnyFunc], None]) -> None:
        """Change functions; if one change is refused, none is made."""
        before = [(function, function.binding) for function in self._functions]
        try:
            for function in self._functions:
                change(function)
            self._rebuild(self._functions)
        except BaseException:
            for function, binding in before:
                function.binding = binding
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
        self._rebuild([*self._functions, function])
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
        removed = self._own(f) if f is not None else self[output_name]  # type: ignore[index]  # one is given
        self._rebuild([function for function in self._functions if function is not removed])

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
        removed = self[function.output_name] if old is None else self._own(old)
        self._rebuild([function if f is removed else f for f in self._functions])

    def update_defaults(self, defaults: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Change defaults in all functions that have the parameters.

        Parameters
        ----------
        defaults
            Default per parameter.
        overwrite
            Whether to drop all defaults that were given before.

        Raises
        ------
        InvalidValueError
            If no function has a parameter of that name that is not bound.

        """
        unbound = [f.binding.native_names.keys() - f.binding.bound.keys() for f in self._functions]
        self._check_used(defaults, set().union(*unbound), "parameter that is not bound")

        def change(function: AnyFunc) -> None:
            free = function.binding.native_names.keys() - function.binding.bound.keys()
            own = {name: value for name, value in defaults.items() if name in free}
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
        known = [f.binding.known_names(update_from) for f in self._functions]
        self._check_used(renames, set().union(*known), f"{update_from} parameter or output")

        def change(function: AnyFunc) -> None:
            names = function.binding.known_names(update_from)
            own = {name: new for name, new in renames.items() if name in names}
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
        axes = {axis for names in self.mapspec_axes.values() for axis in names if axis is not None}
        self._check_used(renames, axes, "axis of a mapspec")
        self._update(lambda function: function.update_mapspec_axes(renames))

    @staticmethod
    def _check_used(names: Iterable[str], known: set[str], what: str) -> None:
        unused = sorted(set(names) - known)
        if unused:
            message = f"the names {unused} are used by no function; each must be a {what}: {sorted(known)}"
            raise InvalidValueError(message, detail=unused)
