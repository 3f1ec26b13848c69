"""A pipeline with axes that are shared, reduced and not there at all."""

from __future__ import annotations

import numpy as np

from pipefunc_c import PipeFunc, pipefunc


@pipefunc("y", mapspec="x[i] -> y[i]")
def double(x):
    return 2 * x


@pipefunc("z", mapspec="y[i], b[i], c[j] -> z[i, j]")
def combine(y, b, c):
    return y + len(b) + c


@pipefunc("row", mapspec="z[i, :] -> row[i]")
def add_row(z):
    return sum(z)


@pipefunc("total")
def add(z):
    return float(z.sum())


FUNCTIONS = [double, combine, add_row, add]
INPUTS = {"x": [1, 2, 3], "b": ["p", "qq", "rrr"], "c": np.array([0.5, 1.5])}


def mapped(function, output, mapspec=None, **options) -> PipeFunc:
    return PipeFunc(function, output, mapspec=mapspec, print_error=False, **options)
