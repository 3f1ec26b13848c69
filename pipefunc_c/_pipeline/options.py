"""What a pipeline sets for each of its functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipefunc_c.resources import Resources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pipefunc_c._graph.graph import AnyFunc


@dataclass(frozen=True)
class FunctionOptions:
    """Hold what holds for all functions of a pipeline.

    Parameters
    ----------
    debug, print_error, profile
        If not None, set for every function.
    default_resources
        What the resources of a function leave open.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        If `default_resources` makes no `Resources`.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> function = PipeFunc(abs, "y", resources={"cpus": 2})
    >>> FunctionOptions(debug=True, default_resources={"memory": "1GB"}).set_for(function)
    >>> function.debug, function.print_error, function.resources.memory
    (True, True, '1GB')

    """

    debug: bool | None = None
    print_error: bool | None = None
    profile: bool | None = None
    default_resources: Resources | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "default_resources", Resources.maybe_from_dict(self.default_resources))

    def set_for(self, function: AnyFunc) -> None:
        """Set the options that are given for a function.

        Parameters
        ----------
        function
            The function; it is changed.

        """
        if self.debug is not None:
            function.debug = self.debug
        if self.print_error is not None:
            function.print_error = self.print_error
        if self.profile is not None:
            function.profile = self.profile
        function.with_default_resources(self.default_resources)
