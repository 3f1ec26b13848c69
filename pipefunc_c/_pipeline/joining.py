"""Pipelines made of others: joined, or a part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pipefunc_c._containers import as_iterable, as_names
from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c._graph.select import functions_between
from pipefunc_c._pipeline.editing import EditablePipeline
from pipefunc_c._pipeline.rewriting import RewritingMethods
from pipefunc_c.exceptions import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipefunc_c._graph.graph import AnyFunc, OutputName


class JoiningMethods(RewritingMethods):
    """Join pipelines, and take parts of them; a base of `Pipeline`."""

    def join(self, *pipelines: EditablePipeline | AnyFunc) -> Self:
        """Return a pipeline with the functions of this one and of others.

        Parameters
        ----------
        *pipelines
            Pipelines or `PipeFunc` objects.

        Returns
        -------
        Pipeline
            A new pipeline.

        Raises
        ------
        InvalidTypeError
            If something else is given.
        GraphError, MapSpecError
            If the functions do not fit together.

        """
        functions = list(self._functions)
        others: tuple[object, ...] = pipelines
        for other in others:
            if isinstance(other, EditablePipeline):
                functions += other.functions
            elif isinstance(other, PipeFunc):
                functions.append(other)
            else:
                message = f"only pipelines and PipeFunc objects can be joined, got {other!r}"
                raise InvalidTypeError(message, detail=other)
        return self.copy(functions=functions)

    def __or__(self, other: EditablePipeline | AnyFunc) -> Self:
        return self.join(other)

    def subpipeline(
        self,
        inputs: Iterable[str] | None = None,
        output_names: OutputName | Iterable[OutputName] | None = None,
    ) -> Self:
        """Return the part that leads from some inputs to some outputs.

        Parameters
        ----------
        inputs
            Root arguments and intermediate outputs that will be given; None: all root arguments.
        output_names
            What will be wanted; None: the last outputs that depend on `inputs`.

        Returns
        -------
        Pipeline
            A new pipeline with copies of the functions of this part.

        Raises
        ------
        InvalidTypeError
            If `inputs` or `output_names` holds no names.
        InputError
            If neither is given, an input does not exist, or the inputs are not enough.
        UnknownNameError
            If an output does not exist.

        """
        given: set[str] | None = None
        if inputs is not None:
            given = {inputs} if isinstance(inputs, str) else as_names(inputs, "inputs")
        targets: Iterable[OutputName] | None = None
        if output_names is not None:
            if isinstance(output_names, str | tuple):
                targets = [output_names]
            else:
                targets = as_iterable(output_names, "output_names")
        return self.copy(functions=functions_between(self.function_graph, given, targets))
