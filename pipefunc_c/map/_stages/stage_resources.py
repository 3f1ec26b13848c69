"""Resources that a function of the user works out: once for a stage, or for each of its elements."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NoReturn

from pipefunc_c._failure_origin import FailureOrigin
from pipefunc_c._frozen_exception import FrozenException
from pipefunc_c.map._stages.failures import drop_tracebacks, traceback_text
from pipefunc_c.map._stages.resources_error import ResourcesError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c.resources import Resources


class _Failed:
    """Raise, in the place of working out resources, what that raised before."""

    def __init__(self, error: Exception) -> None:
        self._origin = FailureOrigin.here(traceback_text(error))
        drop_tracebacks(error)
        self._error = error

    def __call__(self, _kwargs: dict[str, Any]) -> NoReturn:
        raise ResourcesError(self._error, self._origin)

    def __getstate__(self) -> dict[str, Any]:
        return {"_origin": self._origin, "_error": FrozenException.of(self._error)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _error=state["_error"].load())


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
