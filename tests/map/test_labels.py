"""Which arrays label which axes."""

from __future__ import annotations

import pytest

from pipefunc_c.map import MapSpec
from pipefunc_c.map._results.labels import Label, Labels


def labels(*mapspecs: str) -> Labels:
    return Labels(map(MapSpec.from_string, mapspecs))


CASES = {
    "one input": (["x[i] -> y[i]"], "y", {"x": ("i",)}),
    "outer product": (["x[i], y[j] -> z[i, j]"], "z", {"x": ("i",), "y": ("j",)}),
    "zip": (["x[i], b[i] -> z[i]"], "z", {"x": ("i",), "b": ("i",)}),
    "two dimensions": (["x[i, j], y[j] -> z[j, i]"], "z", {"x": ("i", "j"), "y": ("j",)}),
    "through an output": (["x[i] -> y[i]", "y[i] -> z[i]"], "z", {"x": ("i",)}),
    "an output and its input": (["x[i] -> y[i]", "y[i], x[i] -> z[i]"], "z", {"x": ("i",)}),
    "rows": (["x[i, :] -> z[i]"], "z", {"x": ("i", None)}),
    "an axis taken whole": (["x[i], v[j] -> u[i, j]", "u[i, :] -> s[i]"], "s", {"x": ("i",)}),
    "an input with an axis that was taken whole": (["x[i, j] -> u[i, j]", "u[i, :] -> s[i]"], "s", {}),
    "an axis of the function": (["x[i] -> m[i, j]"], "m", {"x": ("i",)}),
    "an axis of an earlier function": (["x[i] -> m[i, j]", "m[i, j] -> w[i, j]"], "w", {"x": ("i",)}),
    "made by a function": (["... -> a[i]", "a[i] -> b[i]"], "b", {"a": ("i",)}),
    "made by a function, long ago": (["... -> a[i]", "a[i] -> b[i]", "b[i] -> c[i]"], "c", {"a": ("i",)}),
    "made by a function and given": (["... -> a[i]", "a[i], x[i] -> b[i]"], "b", {"a": ("i",), "x": ("i",)}),
    "itself": (["... -> a[i]"], "a", {}),
    "the same name elsewhere": (
        ["x[i] -> u[i]", "u[:], w[i] -> s[i]"],
        "s",
        {"w": ("i",)},
    ),
    "scopes": (["foo.x[i] -> foo.y[i]"], "foo.y", {"foo.x": ("i",)}),
}


@pytest.mark.parametrize(("mapspecs", "output", "expected"), CASES.values(), ids=CASES)
def test_labels_of_an_output(mapspecs, output, expected):
    assert labels(*mapspecs).of(output) == [Label(name, axes) for name, axes in expected.items()]


def test_outputs_are_left_out_on_request():
    found = labels("... -> a[i]", "a[i], x[i] -> b[i]").of("b", load_intermediate=False)
    assert [label.name for label in found] == ["x"]


def test_an_array_that_is_taken_twice_labels_all_its_axes():
    found = labels("x[i, :] -> y[i]", "y[i], x[i, j] -> z[i, j]").of("z")
    assert found == [Label("x", ("i", "j"))]
    assert found[0].dims == ("i", "j")


def test_many_paths_to_one_input_are_one_label():
    layers = [f"a{k}[i], b{k}[i] -> a{k + 1}[i]" for k in range(60)]
    layers += [f"a{k}[i], b{k}[i] -> b{k + 1}[i]" for k in range(60)]
    assert sorted(label.name for label in labels(*sorted(layers)).of("a60")) == ["a0", "b0"]


def test_axes():
    found = labels("x[i] -> m[i, j], n[i, j]", "... -> a[k]")
    assert found.axes == {"m": ("i", "j"), "n": ("i", "j"), "a": ("k",)}
    assert found.external_axes("n") == ("i",)
    assert found.is_output("a")
    assert not found.is_output("x")


def test_an_array_labels_all_its_axes_or_none():
    # Rows of x are no names of the points of i where its other axis has a name, too.
    assert labels("x[i, j] -> y[i, j]", "x[i, :] -> z[i]").of("z") == []
    assert labels("... -> a[m, n]", "a[m, :] -> b[m]").of("b") == []
    assert labels("x[i, :] -> z[i]").of("z") == [Label("x", ("i", None))]
    taken_twice = labels("x[:, k] -> y[k]", "x[i, :], y[k] -> z[i, k]")
    assert taken_twice.of("z") == [Label("x", ("i", "k"))]
