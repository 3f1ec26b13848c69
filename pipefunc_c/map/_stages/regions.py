"""Columns that worker processes share: which regions of the shared file belong to which column.

The parent alone appends regions. Workers inherit the file and attach to regions that were announced to them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._kernels.column import Column
from pipefunc_c._storage.object_chunks import ObjectChunk, object_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pipefunc_c._storage.home import Buffer, SharedHome


@dataclass(frozen=True)
class ColumnRegions:
    """Where the parts of a column are in the shared file; None for a part that does not exist yet."""

    size: int
    tags: int
    cells: int
    complexes: int | None = None
    slab: int | None = None
    layout: tuple[str, tuple[int, ...]] | None = None


class OwnedColumn:
    """Make a column in shared memory and know its regions.

    Parameters
    ----------
    home
        The shared file; this process must have made it.
    size
        Number of elements.

    Attributes
    ----------
    column : Column
        The column.
    """

    def __init__(self, home: SharedHome, size: int) -> None:
        self._home = home
        self._first: list[int] = []  # tags, cells
        self._added: dict[str, int] = {}
        self.column: Any = None
        self.column = Column(size, self)

    def allocate(self, nbytes: int) -> Buffer:
        """Give the column a region; called by the column."""
        region = self._home.allocate(nbytes)
        if self.column is None:
            self._first.append(self._home.last_offset)
        else:
            self._added[self.column.wanted] = self._home.last_offset
        return region

    def regions(self) -> ColumnRegions:
        """Give the regions that exist now."""
        layout = self.column.layout
        described = None if layout is None else (layout[0].str, layout[1])
        return ColumnRegions(
            self.column.size,
            self._first[0],
            self._first[1],
            self._added.get("complex"),
            self._added.get("slab"),
            described,
        )


class AttachedColumn:
    """Attach to a column of the parent.

    Parameters
    ----------
    home
        The inherited shared file.
    regions
        Where the column is.

    Attributes
    ----------
    column : Column
        The column: the same memory. What has no region is kept as an object and sent to the parent.
    """

    def __init__(self, home: SharedHome, regions: ColumnRegions) -> None:
        self._home = home
        self._offsets: deque[int] = deque([regions.tags, regions.cells])
        self.column: Any = Column(regions.size, self, grows=False)
        self.update(regions)

    def allocate(self, nbytes: int) -> Buffer:
        """Give the column the region that was announced for it; called by the column."""
        return self._home.attach(self._offsets.popleft(), nbytes)

    def update(self, regions: ColumnRegions) -> None:
        """Attach regions that were added since."""
        if regions.complexes is not None and not self.column.has_complex:
            self._offsets.append(regions.complexes)
            self.column.add_complex()
        if regions.slab is not None and regions.layout is not None and self.column.layout is None:
            self._offsets.append(regions.slab)
            self.column.fix_layout(np.dtype(regions.layout[0]), regions.layout[1])


@dataclass(frozen=True)
class StageNews:
    """What workers are told of a stage before its leases, and again when regions were added.

    Parameters
    ----------
    stage
        Its number.
    shape
        Sizes of the external axes.
    stores
        External and internal shape of each output of it and of each earlier output that it uses.
    columns
        Where these are.
    objects
        Chunks of objects of the earlier outputs: first, last, count, offset, length.
    runs
        The requested elements; None for all.
    failed
        For each of these outputs, the number of elements that are errors.
    resources
        What was worked out for the function once, pickled; empty if nothing was.
    is_stand_in
        Whether a size that it runs along stands in for one that nothing tells.
    """

    stage: int
    shape: tuple[int, ...]
    stores: dict[str, tuple[tuple[int | str, ...], tuple[int | str, ...]]]
    columns: dict[str, ColumnRegions]
    objects: dict[str, list[tuple[int, int, int, int, int]]]
    runs: npt.NDArray[np.int64] | None
    failed: dict[str, int]
    resources: bytes
    is_stand_in: bool = False


class RegionExtent:
    """Bytes in the shared file.

    Parameters
    ----------
    home
        The shared file.
    offset, length
        Where they are, in bytes.
    """

    def __init__(self, home: SharedHome, offset: int, length: int) -> None:
        self._home = home
        self._offset = offset
        self.length = length

    def read(self) -> bytes:
        """Give the bytes."""
        return self._home.attach(self._offset, self.length).tobytes()


def publish_objects(home: SharedHome, column: Column) -> list[tuple[int, int, int, int, int]]:
    """Copy the pickled objects of a column into the shared file; give the place of each chunk."""
    if column.read_object is None:
        return []
    places = []
    for chunk in object_chunks(column).chunks():
        data = chunk.read()
        home.allocate(len(data))[:] = np.frombuffer(data, dtype=np.uint8)
        places.append((chunk.first, chunk.last, chunk.count, home.last_offset, len(data)))
    return places


def attach_objects(home: SharedHome, column: Column, places: Sequence[tuple[int, ...]]) -> None:
    """Let a column find objects that were published; each is decoded when it is looked at."""
    for first, last, count, offset, length in places:
        chunk = ObjectChunk(first, last, count, RegionExtent(home, offset, length))
        object_chunks(column).add(chunk)
