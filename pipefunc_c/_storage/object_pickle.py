"""How results are pickled that are no numbers and no arrays, and what is said of those that cannot be."""

from __future__ import annotations

from pipefunc_c._by_value import by_value_pickler
from pipefunc_c._describe import bytes_text, message_of
from pipefunc_c._storage.patient_pickle import pickle_in_parts
from pipefunc_c._storage.scalar_pickle import ScalarPickler
from pipefunc_c.exceptions import InvalidTypeError, OutOfMemoryError


def dump(value: object, *, portable: bool) -> bytes:
    """Pickle a value; with cloudpickle where plain pickle fails or would need this ``__main__`` again.

    Parameters
    ----------
    value
        The value.
    portable
        Whether a process may read it that is not forked from this one.

    Returns
    -------
    bytes

    Raises
    ------
    Exception
        What cloudpickle raises if it fails too.

    Examples
    --------
    >>> import pickle
    >>> pickle.loads(dump([1, None], portable=True))
    [1, None]
    """
    try:
        parts = pickle_in_parts(value, ScalarPickler)
    except MemoryError:
        raise
    except Exception:  # __reduce__ may raise anything
        parts = []
    if parts and not (portable and any(b"_main__" in part for part in parts)):
        return parts[0] if len(parts) == 1 else b"".join(parts)
    return b"".join(pickle_in_parts(value, by_value_pickler()))


def refusal(value: object, where: str, *, portable: bool) -> InvalidTypeError | OutOfMemoryError | None:
    """Give the error for a value that cannot be pickled; None for one that can.

    Parameters
    ----------
    value
        The value. It stays out of the error, which may have to cross the same boundary.
    where
        Says whose result it is.
    portable
        As for `dump`.

    Examples
    --------
    >>> import threading
    >>> refusal(1, "the result of 'y' at element 3", portable=True)
    >>> error = refusal(threading.Lock(), "the result of 'y' at element 3", portable=True)
    >>> str(error).partition(":")[0]
    "the result of 'y' at element 3, of type 'lock' cannot be pickled"
    """
    what = f"{where}, of type {type(value).__qualname__!r}"
    keep = "keep the results in memory: run with parallel=False, or with threads, and a memory storage"
    try:
        dump(value, portable=portable)
    except MemoryError:
        nbytes = getattr(value, "nbytes", None)
        size = f": it has {bytes_text(nbytes)}" if isinstance(nbytes, int) else ""
        text = f"there is not enough memory to pickle {what}{size}"
        return OutOfMemoryError(text, detail=nbytes, hint=f"return less, or {keep}")
    except Exception as error:  # __reduce__ may raise anything
        text = f"{what} cannot be pickled: {type(error).__name__}: {message_of(error)}"
        return InvalidTypeError(text, hint=f"return data that pickle or cloudpickle takes, or {keep}")
    return None
