"""Equality of inputs: the same type, the same content, NaN and rounding forgiven."""

from __future__ import annotations

import copy
import dataclasses
import enum
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipefunc_c.map._run_folder.equality import differing_names, is_equal

NAN = float("nan")


@dataclasses.dataclass
class Settings:
    rows: np.ndarray
    name: str = "a"
    cache: list = dataclasses.field(default_factory=list, compare=False)


class Plain:
    def __init__(self, value):
        self.value = value


class Frame:
    """Like a frame: `==` gives no bool, `equals` does."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return np.array([True, False])

    __hash__ = None

    def equals(self, other):
        return self.value == other.value


Frame.__module__ = "pandas.core.frame"


def main_class(value):
    """Give an instance of a class of a script, each time of another class of this name."""
    namespace = {"__name__": "__main__"}
    exec(
        "import dataclasses\n@dataclasses.dataclass\nclass Options:\n    value: object\n"
        "import enum\nclass Kind(enum.Enum):\n    A = 1\n    B = 2\n"
        "class Loose:\n    def __init__(self, value): self.value = value\n",
        namespace,
    )
    return (
        namespace["Options"](value),
        namespace["Kind"]["A" if value == 1 else "B"],
        namespace["Loose"](value),
    )


masked = np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[False, True, False])
cyclic: list = []
cyclic.append(cyclic)
CASES = {
    "ints": (1, 1, True),
    "other ints": (1, 2, False),
    "int and float": (1, 1.0, False),
    "bool and int": (True, 1, False),
    "floats": (0.1 + 0.2, 0.3, True),
    "other floats": (1.0, 1.0 + 1e-8, False),
    "nan": (NAN, float("nan"), True),
    "nan and number": (NAN, 1.0, False),
    "infinity": (float("inf"), float("inf"), True),
    "complex": (1 + 0.3j, 1 + (0.1 + 0.2) * 1j, True),
    "complex nan": (complex(NAN, 1), complex(NAN, 1), True),
    "other complex nan": (complex(NAN, 1), complex(NAN, 2), False),
    "numpy float": (np.float32(0.5), np.float32(0.5), True),
    "numpy floats of two sizes": (np.float32(0.5), np.float64(0.5), False),
    "text": ("a", "a", True),
    "none": (None, None, True),
    "range": (range(3), range(3), True),
    "range and list": (range(3), [0, 1, 2], False),
    "lists": ([1, [2.0, "a"]], [1, [2.0, "a"]], True),
    "list and tuple": ([1], (1,), False),
    "longer list": ([1, 2], [1], False),
    "type inside": ([1], [1.0], False),
    "dicts": ({"a": 1, "b": NAN}, {"b": float("nan"), "a": 1}, True),
    "other keys": ({"a": 1}, {"b": 1}, False),
    "more keys": ({"a": 1}, {"a": 1, "b": 1}, False),
    "sets": ({1, 2}, {2, 1}, True),
    "arrays": (np.arange(3), np.arange(3), True),
    "arrays with nan": (np.array([1.0, NAN]), np.array([1.0, NAN]), True),
    "times with nat": (np.array(["nat"], "M8[s]"), np.array(["nat"], "M8[s]"), True),
    "other arrays": (np.array([1.0, NAN]), np.array([2.0, NAN]), False),
    "arrays of two dtypes": (np.arange(3), np.arange(3.0), False),
    "arrays of two shapes": (np.zeros((1, 2)), np.zeros((2, 1)), False),
    "object arrays": (np.array([1, "a", NAN], object), np.array([1, "a", NAN], object), True),
    "other object arrays": (np.array([1, "a"], object), np.array([1, "b"], object), False),
    "masked arrays": (masked, np.ma.MaskedArray([1.0, 9.0, 3.0], mask=[False, True, False]), True),
    "other masks": (masked, np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[True, False, False]), False),
    "masked and plain": (masked, np.array([1.0, 2.0, 3.0]), False),
    "dataclasses with arrays": (Settings(np.arange(2)), Settings(np.arange(2), cache=[1]), True),
    "other dataclasses": (Settings(np.arange(2)), Settings(np.arange(3)), False),
    "frames": (Frame(1), Frame(1), True),
    "other frames": (Frame(1), Frame(2), False),
    "objects with equal pickles": (Plain(1), Plain(1), True),
    "objects with other pickles": (Plain(1), Plain(2), None),
    "an object inside": ([Plain(1), 1], [Plain(2), 1], None),
    "an object beside a difference": ([Plain(1), 1], [Plain(2), 2], False),
    "functions": ((lambda x: x + 1), (lambda x: x + 1), True),
    "other functions": ((lambda x: x + 1), (lambda x: x + 2), False),
    "dataclass of a script": (main_class(1)[0], main_class(1)[0], True),
    "other dataclass of a script": (main_class(1)[0], main_class(2)[0], False),
    "enum of a script": (main_class(1)[1], main_class(1)[1], True),
    "other enum of a script": (main_class(1)[1], main_class(2)[1], False),
    "object of a script": (main_class(1)[2], main_class(1)[2], True),
    "other object of a script": (main_class(1)[2], main_class(2)[2], None),
    "two classes": (Settings(np.arange(2)), Plain(1), False),
    "a list in itself": (cyclic, pickle.loads(pickle.dumps(cyclic)), None),
    "enum": (enum.Enum("E", "A").A, enum.Enum("F", "A").A, False),
}


@pytest.mark.parametrize(("first", "second", "expected"), CASES.values(), ids=CASES.keys())
def test_equality(first, second, expected):
    assert is_equal(first, second) is expected
    assert is_equal(second, first) is expected


def test_names_that_differ():
    first = {"same": 1, "other": 1, "gone": 1, "opaque": Plain(1)}
    second = {"same": 1, "other": 2, "new": 1, "opaque": Plain(2)}
    assert differing_names(first, second) == (["gone", "new", "other"], ["opaque"])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | hnp.arrays(st.sampled_from(["f8", "f4", "i8", "?", "c16"]), hnp.array_shapes(max_side=3)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=10,
)


@given(values)
def test_a_copy_and_a_pickle_are_equal(value):
    assert is_equal(value, copy.deepcopy(value)) is True
    assert is_equal(value, pickle.loads(pickle.dumps(value))) is True


@given(values, values)
def test_it_is_symmetric_and_means_one_type(first, second):
    assert is_equal(first, second) == is_equal(second, first)
    if type(first) is not type(second):
        assert is_equal(first, second) is False
