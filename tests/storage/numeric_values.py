"""Values that have one numeric dtype, and values that have none."""

from __future__ import annotations

import numpy as np

UNIFORM = {
    "bool": ([True, False], "?"),
    "int": ([1, -(2**63)], "i8"),
    "float": ([1.5, np.float64(2)], "f8"),
    "complex": ([1j], "c16"),
    "np.float32": ([np.float32(0.1)], "f4"),
    "np.bool": ([np.bool_(True)], "?"),
    "np.uint64": ([np.uint64(2**64 - 1)], "u8"),
}
OBJECTS = {
    "int and float": [1, 2.5],
    "bool and int": [True, 1],
    "None": [None],
    "str": ["a", "b"],
    "beyond int64": [1, 2**63],
    "lists": [[1], [2]],
    "arrays": [np.arange(2), np.arange(2)],
    "nothing": [],
    "datetime": [np.datetime64("2020-01-01")],
}
