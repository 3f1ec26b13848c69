"""The Lyapunov exponent of the forced logistic map on a grid of its two parameters, as a picture.

Markus and Hess let the logistic map ``x -> r x (1 - x)`` alternate between two growth rates ``a`` and ``b``
in a fixed order, here A A B A B. The exponent says how fast neighbouring orbits separate: negative where the
population settles (gold), positive where it is chaotic (blue). Each point of the grid is one call of a plain
Python function.

    python examples/quickstart.py            # 1,000 x 1,000 points, writes lyapunov.png
    python examples/quickstart.py 100        # a smaller grid
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipefunc_c import Pipeline, pipefunc

HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None
if HAS_MATPLOTLIB:
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
    from matplotlib.figure import Figure

WARM_UP_CYCLES = 16
CYCLES = 24
START = 0.4  # any but 0.5, which rate 4 sends to 0 for good
TINIEST_SLOPE = 1e-300
SAMPLE = 10_000
A_RANGE = B_RANGE = (2.0, 4.0)


@pipefunc("exponent", mapspec="a[i], b[j] -> exponent[i, j]")
def lyapunov_exponent(a: float, b: float) -> float:
    """Return the mean logarithm of the map's slope along one orbit."""
    a, b = float(a), float(b)
    cycle = (a, a, b, a, b)
    x = START
    for _ in range(WARM_UP_CYCLES):
        for rate in cycle:
            x = rate * x * (1.0 - x)
    total = 0.0
    for _ in range(CYCLES):
        slope = 1.0
        for rate in cycle:
            slope *= rate * (1.0 - 2.0 * x)
            x = rate * x * (1.0 - x)
        total += math.log(abs(slope) or TINIEST_SLOPE)
    return total / (CYCLES * len(cycle))


@pipefunc("chaotic_in_row", mapspec="exponent[i, :] -> chaotic_in_row[i]")
def count_chaotic(exponent: npt.NDArray[np.float64]) -> int:
    """Count the chaotic points of one row of the grid."""
    return int(np.count_nonzero(exponent > 0.0))


@pipefunc("largest")
def largest_exponent(exponent: npt.NDArray[np.float64]) -> float:
    """Return the largest exponent of the whole grid."""
    return float(exponent.max())


def bare_loop_seconds(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Time a plain loop over a sample of the same elements; return seconds per element."""
    function = lyapunov_exponent.func
    rows = a[:: max(1, a.size * b.size // SAMPLE)]
    started = time.perf_counter()
    exponents = [function(x, y) for x in rows for y in b]
    return (time.perf_counter() - started) / len(exponents)


def draw(exponent: npt.NDArray[np.float64], path: Path) -> None:
    """Write the picture: gold where orbits settle, blue where they are chaotic."""
    colours = LinearSegmentedColormap.from_list(
        "markus",
        [
            (0.0, "#000000"),
            (0.12, "#2b1400"),
            (0.3, "#8a4b08"),
            (0.45, "#f2b632"),
            (0.4999, "#fff7c0"),
            (0.5001, "#3f74c9"),
            (0.75, "#12296b"),
            (1.0, "#020617"),
        ],
    )
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(
        exponent.T,
        origin="lower",
        extent=(*A_RANGE, *B_RANGE),
        cmap=colours,
        norm=TwoSlopeNorm(0.0, vmin=-2.5, vmax=0.7),
        interpolation="none",
    )
    axes.set(xlabel="growth rate a", ylabel="growth rate b", title="Lyapunov exponent, forcing A A B A B")
    figure.colorbar(image, label="exponent", ticks=[-2, -1, 0, 0.3, 0.6], shrink=0.9)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the sweep, print its cost beside a bare loop's, and write the picture."""
    parser = argparse.ArgumentParser(description="Lyapunov exponent of the forced logistic map on a grid.")
    parser.add_argument("size", nargs="?", type=int, default=1000, help="points per axis, 2 or more")
    parser.add_argument("--picture", type=Path, default=Path("lyapunov.png"), help="file to write")
    options = parser.parse_args()
    if options.size < 2:
        parser.error(f"size must be 2 or more, got {options.size}")

    inputs = {"a": np.linspace(*A_RANGE, options.size), "b": np.linspace(*B_RANGE, options.size)}
    pipeline = Pipeline([lyapunov_exponent, count_chaotic, largest_exponent])
    started = time.perf_counter()
    results = pipeline.map(inputs, parallel=True, show_progress=True)
    seconds = time.perf_counter() - started

    exponent = results["exponent"].array
    chaotic = results["chaotic_in_row"].array
    mapped = seconds / exponent.size
    bare = bare_loop_seconds(**inputs)
    print(f"{exponent.size:,} elements in {seconds:.1f} s")
    print(f"  pipeline.map  {mapped * 1e6:8.3f} us per element, reductions and progress bar included")
    print(f"  bare loop     {bare * 1e6:8.3f} us per element, over a sample of the same elements")
    print(f"  ratio         {mapped / bare:8.3f}")
    print(f"chaotic: {chaotic.sum() / exponent.size:.1%} of the grid, at most {chaotic.max():,} in a row")
    print(f"largest exponent: {results['largest'].output:.4f}")

    if HAS_MATPLOTLIB:
        draw(exponent, options.picture)
        print(f"picture: {options.picture}")
    else:
        print("no picture: matplotlib is missing; install it with  pip install 'pipefunc_c[plot]'")


if __name__ == "__main__":
    main()
