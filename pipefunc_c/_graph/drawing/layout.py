"""Finding places for boxes: in columns, so that arrows go to the right and cross each other seldom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Size = tuple[float, float]
Point = tuple[float, float]

SWEEPS = 16  # over all columns, forwards or backwards; more change little


@dataclass(frozen=True)
class Layout:
    """Places of boxes, in the unit of their sizes; x goes to the right, y upwards.

    Parameters
    ----------
    centers
        The middle of each box.
    routes
        Per arrow the points that it goes through, its ends at the sides of the boxes included.
    width, height
        Of the whole.

    """

    centers: dict[str, Point]
    routes: dict[tuple[str, str], list[Point]]
    width: float
    height: float


def lay_out(
    sizes: Mapping[str, Size],
    arrows: Collection[tuple[str, str]],
    *,
    column_gap: float,
    row_gap: float,
    rooms: Mapping[tuple[str, str], float] | None = None,
) -> Layout:
    """Place boxes in columns.

    Parameters
    ----------
    sizes
        Width and height per box.
    arrows
        Pairs of boxes; they must not lead in a circle.
    column_gap, row_gap
        Space between neighbours.
    rooms
        Space that an arrow needs behind the column of its source, if it is more.

    Returns
    -------
    Layout
        Places and routes.

    References
    ----------
    K. Sugiyama, S. Tagawa, M. Toda: Methods for visual understanding of hierarchical system structures. IEEE
    Transactions on Systems, Man, and Cybernetics 11 (1981) 109. Heights are least squares with a
    fixed order: the pool-adjacent-violators algorithm.

    Examples
    --------
    >>> layout = lay_out({"x": (10, 4), "y": (20, 4)}, [("x", "y")], column_gap=30, row_gap=5)
    >>> layout.centers, layout.routes
    ({'x': (5.0, 2.0), 'y': (50.0, 2.0)}, {('x', 'y'): [(10.0, 2.0), (40.0, 2.0)]})

    """
    grid = _Grid(sizes, arrows)
    grid.order()
    heights = grid.place(row_gap)
    return grid.layout(heights, column_gap, rooms or {})


class _Grid:
    """Columns of points: boxes, and where long arrows cross a column."""

    def __init__(self, sizes: Mapping[str, Size], arrows: Collection[tuple[str, str]]) -> None:
        self.sizes = sizes
        self.names = list(sizes)
        self.column = _columns(self.names, arrows)
        number = {name: k for k, name in enumerate(self.names)}
        columns: list[list[int]] = [[] for _ in range(max(self.column.values(), default=-1) + 1)]
        for name, k in number.items():
            columns[self.column[name]].append(k)
        self.before: list[list[int]] = [[] for _ in self.names]
        self.after: list[list[int]] = [[] for _ in self.names]
        self.chains: dict[tuple[str, str], list[int]] = {}
        for source, target in dict.fromkeys(arrows):
            chain = [number[source]]
            for column in range(self.column[source] + 1, self.column[target]):
                chain.append(len(self.before))
                self.before.append([])
                self.after.append([])
                columns[column].append(chain[-1])
            chain.append(number[target])
            for left, right in zip(chain, chain[1:], strict=False):
                self.after[left].append(right)
                self.before[right].append(left)
            self.chains[source, target] = chain
        self.columns = columns

    def order(self) -> None:
        """Sort each column by where its neighbours stand; keep the best order that was met."""
        best, fewest = [list(column) for column in self.columns], self._crossings()
        for sweep in range(SWEEPS):
            forwards = sweep % 2 == 0
            neighbours = self.before if forwards else self.after
            span = range(1, len(self.columns)) if forwards else range(len(self.columns) - 2, -1, -1)
            for c in span:
                beside = self.columns[c - 1 if forwards else c + 1]
                rank = {point: k for k, point in enumerate(beside)}
                own = {point: k for k, point in enumerate(self.columns[c])}
                keys = {
                    point: _mean([rank[other] for other in neighbours[point]], own[point])
                    for point in self.columns[c]
                }
                self.columns[c].sort(key=keys.__getitem__)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(column) for column in self.columns], crossings
        self.columns = best

    def _crossings(self) -> int:
        total = 0
        for left, right in zip(self.columns, self.columns[1:], strict=False):
            rank = {point: k for k, point in enumerate(right)}
            counts = [0] * (len(right) + 1)  # a binary indexed tree of the ends so far
            seen = 0
            for point in left:
                ends = sorted(rank[other] for other in self.after[point])
                for end in ends:
                    total += seen - _prefix(counts, end + 1)
                for end in ends:
                    _increment(counts, end + 1)
                seen += len(ends)
        return total

    def _height(self, point: int, row_gap: float) -> float:
        # Arrows may run closer together than boxes stand.
        return self.sizes[self.names[point]][1] + row_gap if point < len(self.names) else row_gap

    def place(self, row_gap: float) -> list[float]:
        """Return the height of each point: near its neighbours, without overlap."""
        extents = [self._height(point, row_gap) for point in range(len(self.before))]
        y = [0.0] * len(extents)
        for column in self.columns:
            top = -sum(extents[point] for point in column) / 2
            for point in column:
                y[point] = top + extents[point] / 2
                top += extents[point]
        for sweep in range(SWEEPS):
            neighbours = self.before if sweep % 2 == 0 else self.after
            for column in self.columns if sweep % 2 == 0 else reversed(self.columns):
                wanted = [_mean([y[other] for other in neighbours[point]], y[point]) for point in column]
                # A point on the way of an arrow pulls hard, so that long arrows are straight.
                weights = [1.0 if point < len(self.names) else 4.0 for point in column]
                for point, height in zip(
                    column, _separated(wanted, [extents[point] for point in column], weights), strict=True
                ):
                    y[point] = height
        return y

    def layout(self, y: list[float], column_gap: float, rooms: Mapping[tuple[str, str], float]) -> Layout:
        """Turn columns and heights into places."""
        widths = [
            max((self.sizes[self.names[p]][0] for p in column if p < len(self.names)), default=0.0)
            for column in self.columns
        ]
        gaps = [column_gap] * max(len(widths) - 1, 0)
        for (source, _), room in rooms.items():
            c = self.column[source]
            gaps[c] = max(gaps[c], room)
        middles, x = [], 0.0
        for width, gap in zip(widths, [*gaps, 0.0], strict=False):
            middles.append(x + width / 2)
            x += width + gap
        halves = {k: self.sizes[name][1] / 2 for k, name in enumerate(self.names)}
        low = min((y[k] - halves.get(k, 0.0) for k in range(len(y))), default=0.0)
        high = max((y[k] + halves.get(k, 0.0) for k in range(len(y))), default=0.0)
        centers = {
            name: (middles[self.column[name]], float(high - y[k])) for k, name in enumerate(self.names)
        }
        routes = {}
        for (source, target), chain in self.chains.items():
            begin = (centers[source][0] + self.sizes[source][0] / 2, centers[source][1])
            end = (centers[target][0] - self.sizes[target][0] / 2, centers[target][1])
            route = [begin]
            for step, point in enumerate(chain[1:-1], 1):
                c = self.column[source] + step
                route += [(middles[c] + side * widths[c] / 2, high - y[point]) for side in (-1, 1)]
            routes[source, target] = [*route, end]
        return Layout(centers, routes, x, float(high - low))


def _columns(names: Sequence[str], arrows: Collection[tuple[str, str]]) -> dict[str, int]:
    """Put each box behind all that it depends on, and what depends on nothing just before its first use."""
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for source, target in dict.fromkeys(arrows):
        before[target].append(source)
        after[source].append(target)
    column = dict.fromkeys(names, 0)
    waiting = {name: len(sources) for name, sources in before.items()}
    ready = [name for name in names if not waiting[name]]
    for name in ready:  # grows while it is walked
        for target in after[name]:
            column[target] = max(column[target], column[name] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for name in names:
        if not before[name] and after[name]:
            column[name] = min(column[target] for target in after[name]) - 1
    return column


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _separated(wanted: Sequence[float], extents: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the places nearest to those wanted, in this order and without overlap.

    Examples
    --------
    >>> _separated([0.0, 0.0, 9.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    [-1.0, 1.0, 9.0]

    """
    # With the extents taken away the order is all that is asked for: blocks that violate it are pooled.
    offsets, total = [], 0.0
    for k, extent in enumerate(extents):
        total += extent / 2 + (extents[k - 1] / 2 if k else 0.0)
        offsets.append(total)
    blocks: list[list[float]] = []  # mean, weight, number
    for place, offset, weight in zip(wanted, offsets, weights, strict=True):
        blocks.append([place - offset, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, heavy, count = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * heavy) / (last[1] + heavy)
            last[1] += heavy
            last[2] += count
    means = [mean for mean, _, count in blocks for _ in range(int(count))]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _prefix(tree: list[int], end: int) -> int:
    total = 0
    while end > 0:
        total += tree[end]
        end -= end & -end
    return total


def _increment(tree: list[int], position: int) -> None:
    while position < len(tree):
        tree[position] += 1
        position += position & -position
