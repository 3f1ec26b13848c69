"""The Lyapunov exponent of the forced logistic map on a grid of its two parameters, as a picture.

Markus and Hess let the logistic map ``x -> r x (1 - x)`` alternate between two growth rates ``a`` and ``b``
in a fixed order, here A A B A B. The exponent says how fast neighbouring orbits separate: negative where the
population settles (gold), positive where it is chaotic (blue). Each point of the grid is one call of a plain
Python function, run on all cores. What is computed is committed to a run folder at once; a second run finds
everything there.

    python examples/quickstart.py                         # 1,000 x 1,000 points, writes lyapunov.png
    python examples/quickstart.py 100                     # a smaller grid
    python examples/quickstart.py --run-folder my-run   # keeps the run: stopped and started again, it goes on
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipefunc_c import Pipeline, pipefunc

if TYPE_CHECKING:
    from pipefunc_c.map import ResultDict

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


def committed(run_folder: Path) -> list[tuple[str, int]]:
    """List the files of committed results with the time of their last change."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in (run_folder / "commits").iterdir())


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sweep(size: int, run_folder: Path) -> ResultDict:
    """Run the sweep and run it again; print what both cost, beside a bare loop."""
    inputs = {"a": np.linspace(*A_RANGE, size), "b": np.linspace(*B_RANGE, size)}
    pipeline = Pipeline([lyapunov_exponent, count_chaotic, largest_exponent])
    goes_on = run_folder.exists() and any(run_folder.iterdir())
    started = time.perf_counter()
    results = pipeline.map(inputs, run_folder=run_folder, resume=True, show_progress=True)
    seconds = time.perf_counter() - started

    elements, cores = size * size, available_cores()
    if goes_on:
        print(f"{elements:,} elements; what {run_folder} did not hold yet took {seconds:.1f} s")
    else:
        mapped = seconds / elements * cores
        bare = bare_loop_seconds(**inputs)
        print(f"{elements:,} elements in {seconds:.1f} s on {cores} cores")
        print(f"  pipeline.map  {mapped * 1e6:8.3f} us per element and core, reductions and commits included")
        print(f"  bare loop     {bare * 1e6:8.3f} us per element, over a sample of the same elements")
        print(f"  ratio         {mapped / bare:8.3f}")

    before = committed(run_folder)
    started = time.perf_counter()
    again = pipeline.map(inputs, run_folder=run_folder, resume=True)
    milliseconds = (time.perf_counter() - started) * 1e3
    assert committed(run_folder) == before
    assert np.array_equal(again["exponent"].array, results["exponent"].array)
    print(f"again with resume=True: {milliseconds:.1f} ms, nothing was computed")
    return again


def main() -> None:
    """Run the sweep and write the picture."""
    parser = argparse.ArgumentParser(description="Lyapunov exponent of the forced logistic map on a grid.")
    parser.add_argument("size", nargs="?", type=int, default=1000, help="points per axis, 2 or more")
    parser.add_argument("--picture", type=Path, default=Path("lyapunov.png"), help="file to write")
    parser.add_argument("--run-folder", type=Path, help="folder that keeps the run; default a temporary one")
    options = parser.parse_args()
    if options.size < 2:
        parser.error(f"size must be 2 or more, got {options.size}")

    with tempfile.TemporaryDirectory() as temporary:
        results = sweep(options.size, options.run_folder or Path(temporary, "run"))
    exponent, chaotic = results["exponent"].array, results["chaotic_in_row"].array
    print(f"chaotic: {chaotic.sum() / exponent.size:.1%} of the grid, at most {chaotic.max():,} in a row")
    print(f"largest exponent: {results['largest'].output:.4f}")

    if HAS_MATPLOTLIB:
        draw(exponent, options.picture)
        print(f"picture: {options.picture}")
    else:
        print("no picture: matplotlib is missing; install it with  pip install 'pipefunc_c[plot]'")


if __name__ == "__main__":
    main()
