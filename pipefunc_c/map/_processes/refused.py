"""What of a run cannot be sent to a worker that was not forked from its driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import message_of
from pipefunc_c._optional import require
from pipefunc_c._storage.patient_pickle import pickle_in_parts
from pipefunc_c.exceptions import InvalidTypeError

if TYPE_CHECKING:
    from pipefunc_c.map._processes.worker import Recipe


def refused_recipe(recipe: Recipe, error: Exception) -> InvalidTypeError:
    """Give the error for a recipe that cannot be pickled; it names what cannot.

    Parameters
    ----------
    recipe
        The recipe.
    error
        What its pickling raised.

    Returns
    -------
    InvalidTypeError
    """
    what, reason = _culprit(recipe) or ("something of the run", error)
    return InvalidTypeError(
        f"{what} cannot be pickled: {type(reason).__name__}: {message_of(reason)}",
        hint="workers of a pool, and all where this process has threads, are not forked from it: pass what "
        "cloudpickle takes, and make other objects in the function; or run with parallel=False",
    )


def _culprit(recipe: Recipe) -> tuple[str, Exception] | None:
    for name, value in recipe.inputs.items():
        reason = _refusal(value)
        if reason is not None:
            return f"the input {name!r}, of type {type(value).__qualname__!r},", reason
    for func in recipe.functions:
        reason = _refusal(func)
        if reason is not None:
            return f"the function {func.__name__!r} of {', '.join(map(repr, func.output_names))}", reason
    return None


def _refusal(value: Any) -> Exception | None:
    try:
        # Large buffers are left out: nobody wants them.
        pickle_in_parts(value, require("cloudpickle").Pickler, lambda _: None)
    except Exception as error:  # __reduce__ may raise anything
        return error
    return None
