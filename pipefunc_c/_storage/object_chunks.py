"""Pickled objects of a column: kept in chunks, decoded when an element is looked at."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from pipefunc_c._describe import message_of
from pipefunc_c._frozen_exception import FrozenException
from pipefunc_c._storage.exact import exact
from pipefunc_c._storage.object_pickle import dump, refusal
from pipefunc_c._storage.patient_pickle import unpickle
from pipefunc_c.exceptions import OperationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from pipefunc_c._kernels.column import Column
    from pipefunc_c.exceptions import InvalidTypeError, OutOfMemoryError

CACHE_BYTES = 64 << 20
_PLAIN = {str, int, float, bool, bytes, type(None)}


class Extent(Protocol):
    """Bytes that lie elsewhere."""

    length: int

    def read(self) -> bytes:
        """Give the bytes; OperationError if they are not what they were."""


class KeptError:
    """Hold the error of an element as it crosses a process or disk boundary.

    Parameters
    ----------
    stored
        What was stored as the error.
    origin
        What is known of when and where it happened; None if nothing is.

    Examples
    --------
    >>> kept = KeptError.of(ValueError("no"), "on Monday")
    >>> kept.error, kept.origin
    (ValueError('no'), 'on Monday')
    """

    __slots__ = ("_loaded", "_stored", "origin")

    def __init__(self, stored: object, origin: Any) -> None:
        self._stored = stored
        self._loaded: BaseException | None = None
        self.origin = origin

    @classmethod
    def of(cls, error: object, origin: Any, *, portable: bool = True) -> KeptError:
        """Keep an error; all but the plainest exceptions are pickled one by one: many cannot be read back."""
        if isinstance(error, BaseException) and not _is_plain(error):
            return cls(FrozenException.of(error, portable=portable), origin)
        return cls(error, origin)

    @property
    def error(self) -> Any:
        """What was stored, always the same object; an OperationError where it cannot be read back."""
        if not isinstance(self._stored, FrozenException):
            return self._stored
        if self._loaded is None:
            self._loaded = self._stored.load()
        return self._loaded

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptError, (self._stored, self.origin)


def _is_plain(error: BaseException) -> bool:
    is_builtin = type(error).__module__ == "builtins" and not vars(error)
    return is_builtin and _PLAIN.issuperset(map(type, error.args))


@dataclass(frozen=True, slots=True)
class ObjectChunk:
    """Hold the pickle of some elements.

    Parameters
    ----------
    first, last
        The elements are among the half-open range ``[first, last)``.
    count
        How many there are.
    source
        The pickle, or where it lies.
    """

    first: int
    last: int
    count: int
    source: bytes | Extent

    @property
    def length(self) -> int:
        """Bytes of the pickle."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.length

    def read(self) -> bytes:
        """Give the pickle."""
        return self.source if isinstance(self.source, bytes) else self.source.read()

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectChunk, (self.first, self.last, self.count, self.read())


def pack_values(
    indices: Sequence[int], values: list[Any], *, portable: bool, output: str = ""
) -> ObjectChunk:
    """Pickle the values of some elements.

    Parameters
    ----------
    indices
        The elements, sorted.
    values
        One per element.
    portable
        As for `dump`.
    output
        Name for messages.

    Returns
    -------
    ObjectChunk

    Raises
    ------
    InvalidTypeError, OutOfMemoryError
        If a value cannot be pickled; the message names its index and type.

    Examples
    --------
    >>> pack_values([3, 5], ["a", "b"], portable=True).last
    6
    """
    first, last = indices[0], indices[-1] + 1
    positions = None
    if last - first != len(values):
        positions = (np.asarray(indices, dtype="<u8") - np.uint64(first)).tobytes()
    try:
        data = dump((positions, exact(values)), portable=portable)
    except Exception as error:
        refused = _first_refusal(indices, values, output, portable=portable)
        if refused is None:  # together they are too much, or it works now
            raise
        raise refused from error
    return ObjectChunk(first, last, len(values), data)


def _first_refusal(
    indices: Sequence[int], values: list[Any], output: str, *, portable: bool
) -> InvalidTypeError | OutOfMemoryError | None:
    of_output = f" of {output!r}" if output else ""
    for index, value in zip(indices, values, strict=True):
        refused = refusal(value, f"the result{of_output} at element {index}", portable=portable)
        if refused is not None:
            refused.detail = index
            return refused
    return None


_Span: TypeAlias = tuple[int, tuple[ObjectChunk, ...]]


class _Decoded:
    """The values of a decoded chunk."""

    __slots__ = ("first", "length", "positions", "values")

    def __init__(self, chunk: ObjectChunk) -> None:
        data = chunk.read()
        try:
            positions, self.values = unpickle(data)
        except Exception as error:  # whatever the classes of the user do
            raise OperationError(
                f"elements {chunk.first} to {chunk.last - 1} cannot be read back: "
                f"{type(error).__name__}: {message_of(error)}",
                hint="make the modules that define their types importable here",
            ) from error
        self.first, self.length = chunk.first, len(data)
        self.positions: npt.NDArray[np.uint64] | None = None
        if positions is not None:
            self.positions = np.frombuffer(positions, dtype="<u8")

    def find(self, index: int) -> int:
        """Give the place of an element, or -1."""
        offset = index - self.first
        if self.positions is None:
            return offset
        place = int(np.searchsorted(self.positions, offset))
        found = place < len(self.positions) and int(self.positions[place]) == offset
        return place if found else -1


class ObjectChunks:
    """Give objects by element from chunks of pickles; newer chunks win.

    Decoded chunks are kept while their pickles sum up to no more than ``cache_bytes``, the last one always.

    Parameters
    ----------
    cache_bytes
        The bound, in bytes.
    fallback
        Gives the objects that are in no chunk.

    Notes
    -----
    Threads may read at once; only one may add.

    Examples
    --------
    >>> chunks = ObjectChunks()
    >>> chunks.add(pack_values([3, 5], ["a", {}], portable=True))
    >>> chunks.get(5)
    {}
    """

    def __init__(
        self, cache_bytes: int = CACHE_BYTES, *, fallback: Callable[[int], Any] | None = None
    ) -> None:
        self.cache_bytes = cache_bytes
        self._fallback = fallback
        # Sorted, disjoint spans of elements; each with the chunks that reach into it, oldest first.
        # Starts, and (stop, chunks); replaced as one, so that a reader never sees half of a change.
        self._index: tuple[list[int], list[_Span]] = ([], [])
        self._decoded: OrderedDict[int, tuple[ObjectChunk, _Decoded]] = OrderedDict()
        self._decoded_bytes = 0

    def add(self, chunk: ObjectChunk) -> None:
        """Add a chunk, which wins over those before it for its elements."""
        first, last = chunk.first, chunk.last
        starts, spans = self._index
        if not spans or first >= spans[-1][0]:
            spans.append((last, (chunk,)))
            starts.append(first)
            return
        begin = max(bisect.bisect_right(starts, first) - 1, 0)
        end = bisect.bisect_left(starts, last)
        pieces = self._merged(begin, end, chunk)
        self._index = (
            [*starts[:begin], *(start for start, _, _ in pieces), *starts[end:]],
            [*spans[:begin], *((stop, chunks) for _, stop, chunks in pieces), *spans[end:]],
        )

    def _merged(
        self, begin: int, end: int, chunk: ObjectChunk
    ) -> list[tuple[int, int, tuple[ObjectChunk, ...]]]:
        """Cut the spans ``begin:end`` at the bounds of a chunk and lay it over them."""
        is_dense = chunk.count == chunk.last - chunk.first
        pieces: list[tuple[int, int, tuple[ObjectChunk, ...]]] = []
        reached = chunk.first
        starts, spans = self._index
        for start, (stop, chunks) in zip(starts[begin:end], spans[begin:end], strict=True):
            if start < chunk.first:
                pieces.append((start, min(stop, chunk.first), chunks))
            low, high = max(start, chunk.first), min(stop, chunk.last)
            if low < high:
                if reached < low:
                    pieces.append((reached, low, (chunk,)))
                pieces.append((low, high, (chunk,) if is_dense else (*chunks, chunk)))
                reached = high
            if stop > chunk.last:
                if reached < chunk.last:
                    pieces.append((reached, chunk.last, (chunk,)))
                    reached = chunk.last
                pieces.append((max(start, chunk.last), stop, chunks))
        if reached < chunk.last:
            pieces.append((reached, chunk.last, (chunk,)))
        return pieces

    def get(self, index: int) -> Any:
        """Give the object of an element.

        Parameters
        ----------
        index
            The element.

        Returns
        -------
        object
            The object; a KeptError for an error.

        Raises
        ------
        OperationError
            If no chunk holds the element, or its pickle cannot be read back.
        """
        starts, spans = self._index
        place = bisect.bisect_right(starts, index) - 1
        if place >= 0 and index < spans[place][0]:
            for chunk in reversed(spans[place][1]):
                decoded = self._decode(chunk)
                found = decoded.find(index)
                if found >= 0:
                    return decoded.values[found]
        if self._fallback is not None:
            return self._fallback(index)
        raise OperationError(f"element {index} is an object of another process that did not come with it")

    def reaches(self, index: int) -> bool:
        """Tell whether an element is in the range of a chunk."""
        starts, spans = self._index
        place = bisect.bisect_right(starts, index) - 1
        return place >= 0 and index < spans[place][0]

    def _decode(self, chunk: ObjectChunk) -> _Decoded:
        # No lock, which a fork could leave locked: each step is one operation on the dict.
        key = id(chunk)
        kept = self._decoded.get(key)
        if kept is None:
            decoded = _Decoded(chunk)
            while self._decoded and self._decoded_bytes + decoded.length > self.cache_bytes:
                try:
                    _, (_, dropped) = self._decoded.popitem(last=False)
                except KeyError:
                    break
                self._decoded_bytes -= dropped.length
            kept = self._decoded.setdefault(key, (chunk, decoded))
            if kept[1] is decoded:
                self._decoded_bytes += decoded.length
        else:
            try:
                self._decoded.move_to_end(key)
            except KeyError:  # another thread dropped it
                return kept[1]
        return kept[1]

    def chunks(self) -> list[ObjectChunk]:
        """Give the chunks that are still reached, in no order."""
        seen: dict[int, ObjectChunk] = {}
        for _, chunks in self._index[1]:
            seen.update((id(chunk), chunk) for chunk in chunks)
        return list(seen.values())

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is decoded: a copy decodes anew."""
        return {**self.__dict__, "_decoded": OrderedDict(), "_decoded_bytes": 0}

    @property
    def nbytes(self) -> int:
        """Bytes of the pickles that are held in memory."""
        return sum(len(chunk.source) for chunk in self.chunks() if isinstance(chunk.source, bytes))


def object_chunks(column: Column) -> ObjectChunks:
    """Give the chunks that a column reads its objects from; make them if there are none.

    Parameters
    ----------
    column
        The column.

    Returns
    -------
    ObjectChunks

    Examples
    --------
    >>> from pipefunc_c._kernels.column import Column
    >>> column = Column(2)
    >>> object_chunks(column) is object_chunks(column)
    True
    """
    owner = getattr(column.read_object, "__self__", None)
    if isinstance(owner, ObjectChunks):
        return owner
    chunks = ObjectChunks(fallback=column.read_object)
    column.read_object = chunks.get
    return chunks
