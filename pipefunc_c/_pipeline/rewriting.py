"""Rewrites of a pipeline as a whole: nesting, splitting, simplifying, one more axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pipefunc_c._graph.add_axis import add_axis
from pipefunc_c._graph.nested import NestedPipeFunc
from pipefunc_c._graph.rewrite import nest, simplify, split
from pipefunc_c._pipeline.editing import EditablePipeline
from pipefunc_c.exceptions import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipefunc_c._graph.graph import AnyFunc, OutputName


class RewritingMethods(EditablePipeline):
    """Rewrite a pipeline; a base of `Pipeline`."""

    def copy(self, **update: Any) -> Self:
        """Return a copy, with other options if any are given."""
        raise NotImplementedError

    def nest_funcs(
        self,
        output_names: Iterable[OutputName] | Literal["*"],
        new_output_name: OutputName | None = None,
        function_name: str | None = None,
    ) -> NestedPipeFunc:
        """Put one function in the place of several.

        Parameters
        ----------
        output_names
            Outputs of the functions to nest; ``"*"`` means all.
        new_output_name
            Which of their outputs the nested function has; None: all.
        function_name
            Its name; by default ``NestedPipeFunc_`` and the outputs.

        Returns
        -------
        NestedPipeFunc
            The function that the pipeline now holds, behind all others.

        Raises
        ------
        UnknownNameError
            If an output does not exist.
        GraphError
            If another function takes an output that the nested one would not have, or if functions would
            then depend on each other in a cycle.
        InvalidTypeError, InvalidValueError, MapSpecError
            As for `NestedPipeFunc`. In each case the pipeline stays as it was.

        Examples
        --------
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> def y(x): return x + 1
        >>> def z(y): return 2 * y
        >>> pipeline = Pipeline([y, z])
        >>> print(pipeline.nest_funcs("*", "z"))
        NestedPipeFunc_z(...) → z
        >>> pipeline(x=1), len(pipeline.functions)
        (4, 1)

        """
        graph = self.function_graph
        if isinstance(output_names, str):
            names = list(graph.producers) if output_names == "*" else [output_names]
        elif isinstance(output_names, tuple | list | set | frozenset | dict):
            names = list(output_names)
        else:
            message = f"`output_names` must be a set of output names or '*', got {output_names!r}"
            raise InvalidTypeError(message, detail=output_names)
        others, nested = nest(graph, names, new_output_name, function_name)
        stored = self._adopt(nested)
        assert isinstance(stored, NestedPipeFunc)
        self._rebuild([*others, stored])
        return stored

    def split_disconnected(self, **pipeline_kwargs: Any) -> tuple[Self, ...]:
        """Return a pipeline for each part that has nothing in common with the others.

        Parameters
        ----------
        **pipeline_kwargs
            Other options for the parts: keywords of the constructor.

        Returns
        -------
        tuple
            New pipelines, in the order of their first functions. Functions that share an input are in one.

        Raises
        ------
        GraphError
            If all functions are connected.

        Examples
        --------
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> def y(x): return x
        >>> def v(u): return u
        >>> [part.root_args() for part in Pipeline([y, v]).split_disconnected()]
        [('x',), ('u',)]

        """
        parts = split(self.function_graph)
        return tuple(self.copy(**{**pipeline_kwargs, "functions": functions}) for functions in parts)

    def simplified_pipeline(
        self, output_name: OutputName | None = None, *, conservatively_combine: bool = False
    ) -> Self:
        """Return a pipeline in which functions that depend on the same root arguments are nested.

        Parameters
        ----------
        output_name
            The output that is wanted; None: the only one that no function takes.
        conservatively_combine
            Whether a function is joined with those before it only if all of them, not just some, depend on
            the same root arguments as itself.

        Returns
        -------
        Pipeline
            A new pipeline. Of functions that are nested it has the outputs that others take, and all of
            those of them that come last.

        Raises
        ------
        NotAvailableError
            If a function has a mapspec.
        GraphError
            If `output_name` is None and there are several leaves, or if nothing can be nested.
        UnknownNameError
            If the output does not exist.

        Examples
        --------
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> def y(x): return x + 1
        >>> def z(y, x): return y * x
        >>> def w(z, k): return z + k
        >>> [f.output_name for f in Pipeline([y, z, w]).simplified_pipeline("w").functions]
        ['w', 'z']

        """
        graph = self.function_graph
        functions = simplify(graph, output_name, conservatively_combine=conservatively_combine)
        return self.copy(functions=functions)

    def add_mapspec_axis(self, *parameter: str, axis: str) -> None:
        """Let the pipeline map over one more axis of some parameters.

        The axis goes to each output that depends on them. A parameter that a function takes whole it goes
        on taking whole, but for the new axis.

        Parameters
        ----------
        *parameter
            Names of inputs. Several of them are zipped.
        axis
            Name of the axis, or several with commas between them.

        Raises
        ------
        InvalidValueError
            If no function takes a parameter.
        InvalidTypeError
            If `axis` is no str.
        MapSpecError
            If an axis is no identifier, or mapspecs would contradict each other; the pipeline then stays as
            it was.

        Examples
        --------
        >>> from pipefunc_c._pipeline.pipeline import Pipeline
        >>> def y(x, k): return x + k
        >>> def total(y): return sum(y)
        >>> pipeline = Pipeline([(y, "x[i] -> y[i]"), total])
        >>> pipeline.add_mapspec_axis("k", axis="j")
        >>> pipeline.mapspecs_as_strings
        ['x[i], k[j] -> y[i, j]', 'y[:, j] -> total[j]']

        """
        changed = add_axis(self.function_graph, parameter, axis)

        def change(function: AnyFunc) -> None:
            if function in changed:
                function.mapspec = changed[function]

        self._update(change)
