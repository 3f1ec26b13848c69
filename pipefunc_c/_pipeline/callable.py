"""A pipeline as a function of one output."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pipefunc_c._function.signature import named_parameter
from pipefunc_c.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipefunc_c._graph.graph import OutputName
    from pipefunc_c._pipeline.running import RunningMethods


class PipelineFunction:
    """Compute one output of a pipeline from keywords; made by `Pipeline.func`.

    Parameters
    ----------
    pipeline
        The pipeline; its changes are seen.
    output_name
        What to compute.

    Examples
    --------
    >>> from pipefunc_c._pipeline.pipeline import Pipeline
    >>> def y(x, k=2):
    ...     return k * x
    >>> function = Pipeline([y]).func("y")
    >>> function(x=3), function.root_args, function.call_with_root_args(10, 3)
    (6, ('k', 'x'), 30)

    """

    def __init__(self, pipeline: RunningMethods, output_name: OutputName | list[OutputName] | None) -> None:
        self.pipeline = pipeline
        self.output_name = output_name

    @property
    def __name__(self) -> str:
        return f"{getattr(self.pipeline, 'name', None) or 'pipeline'}.func({self.output_name!r})"

    @property
    def root_args(self) -> tuple[str, ...]:
        """Names of the root arguments that the output depends on, sorted."""
        return self.pipeline.root_args(self.output_name)

    @property
    def __signature__(self) -> inspect.Signature:
        return self._signature(inspect.Parameter.KEYWORD_ONLY)

    def __call__(self, /, **kwargs: Any) -> Any:
        """Return the output.

        Parameters
        ----------
        **kwargs
            As for `Pipeline.run`.

        Returns
        -------
        Any
            The output.

        """
        return self.pipeline.run(self.output_name, kwargs)

    def call_full_output(self, /, **kwargs: Any) -> dict[OutputName, Any]:
        """Return all that was given or computed.

        Parameters
        ----------
        **kwargs
            As for `Pipeline.run`.

        Returns
        -------
        dict
            Value per name.

        """
        return self.pipeline.run(self.output_name, kwargs, full_output=True)  # type: ignore[no-any-return]

    def call_with_dict(self, kwargs: Mapping[str, Any]) -> Any:
        """Return the output, from values in a dict.

        Parameters
        ----------
        kwargs
            As for `Pipeline.run`.

        Returns
        -------
        Any
            The output.

        """
        return self.pipeline.run(self.output_name, kwargs)

    @property
    def call_with_root_args(self) -> Callable[..., Any]:
        """Compute the output from root arguments by position, in the order of `root_args`, or by name."""

        def call_with_root_args(*args: Any, **kwargs: Any) -> Any:
            names = self.root_args
            if len(args) > len(names):
                message = f"{len(args)} values were given by position, but the root arguments are {names}"
                raise InputError(message, detail=args)
            twice = sorted(kwargs.keys() & set(names[: len(args)]))
            if twice:
                message = f"the root arguments {twice} were given twice: by position and by keyword"
                raise InputError(message, detail=twice)
            return self.pipeline.run(self.output_name, {**dict(zip(names, args, strict=False)), **kwargs})

        signature = self._signature(inspect.Parameter.POSITIONAL_OR_KEYWORD)
        call_with_root_args.__signature__ = signature  # type: ignore[attr-defined]  # read by inspect
        return call_with_root_args

    def _signature(self, kind: inspect._ParameterKind) -> inspect.Signature:
        defaults = self.pipeline.defaults
        empty = inspect.Parameter.empty
        parameters = [named_parameter(name, kind, defaults.get(name, empty)) for name in self.root_args]
        # Unchecked, because a default may stand before a parameter without one.
        return inspect.Signature(parameters, __validate_parameters__=False)

    def __repr__(self) -> str:
        return f"PipelineFunction({self.output_name!r})"
