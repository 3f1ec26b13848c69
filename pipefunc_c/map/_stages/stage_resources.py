"""Resources that a function of the user works out: once for a stage, or for each of its elements."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NoReturn

from pipefunc_c._remote_failure import KeptException
from pipefunc_c.exceptions import ErrorInfo, ErrorSnapshot, OperationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c.resources import Resources


class ResourcesError(OperationError):
    """Stand for an element that was not computed because its resources could not be worked out.

    Parameters
    ----------
    error
        What the function of the user raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(f"its resources could not be worked out: {type(error).__name__}: {error}")
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.error,)

    def info(self, func: PipeFunc[..., Any], kwargs: Mapping[str, Any]) -> dict[str, ErrorInfo]:
        """Describe it as an error of the parameter that receives the resources."""
        assert callable(func.resources)
        cause = ErrorSnapshot(func.resources, self.error, (dict(kwargs),), {})
        return {str(func.resources_variable): ErrorInfo.from_full_error(cause)}


class _Failed:
    """Raise, in the place of working out resources, what that raised before."""

    def __init__(self, error: Exception) -> None:
        self._kept = KeptException.of(error)

    def __call__(self, _kwargs: dict[str, Any]) -> NoReturn:
        raise self._kept.load()


class StageResources:
    """The resources of a function with ``resources_scope="map"``: worked out once, from the whole inputs.

    Parameters
    ----------
    func
        The function.
    """

    def __init__(self, func: PipeFunc[..., Any]) -> None:
        self._func = func
        self._found: Resources | _Failed | None = None

    @property
    def are_due(self) -> bool:
        """Whether they are worked out once, and it is not done yet."""
        func = self._func
        return func.evaluates_resources and func.resources_scope == "map" and self._found is None

    def evaluate(self, kwargs: Mapping[str, Any], *, keeps_going: bool) -> None:
        """Work them out.

        Parameters
        ----------
        kwargs
            The whole inputs, by present names.
        keeps_going
            Whether an error belongs to the elements; else it is raised.
        """
        try:
            self._found = self._func.evaluate_resources(kwargs)
        except Exception as error:
            if not keeps_going:
                raise
            self._found = _Failed(error)

    def dump(self) -> bytes:
        """Give what workers need to know."""
        return b"" if self._found is None else pickle.dumps(self._found)

    def adopt(self, data: bytes) -> None:
        """Take over, in a worker, what the parent worked out."""
        if data:
            self._found = pickle.loads(data)

    def fixed(self) -> PipeFunc[..., Any]:
        """Give the function with these resources."""
        if self._found is None:
            return self._func
        fixed = self._func.copy()
        fixed.resources = self._found
        return fixed
