"""Random small pipelines, as data for the slow reference and as `PipeFunc` objects for the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from reference_map import Axes, Case, Function, Parameter, call, canonical, object_array

from pipefunc_c import PipeFunc

if TYPE_CHECKING:
    from collections.abc import Callable

AXES = ("i", "j", "k")
INNER_AXES = ("p", "q")
PALETTES = [
    ("float",),
    ("int",),
    ("np.float64",),
    ("np.float32", "np.int8"),
    ("float", "np.float64", "int"),
    ("bool", "None", "np.bool", "int"),
    ("complex", "float"),
    ("big int", "int"),
    ("str", "list", "tuple", "float"),
    ("array",),
    ("int array",),
    ("ragged",),
    ("array", "float", "None"),
]
INNER_PALETTES = [("float",), ("int",), ("nested",), ("np.float32",), ("bool",), ("float", "nested")]
BOUND = [3, 2.5, "b", None, (1, 2)]


@st.composite
def input_arrays(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Draw what is mapped over: lists and ranges only for one axis."""
    size = int(np.prod(shape))
    kinds = ["float64", "int64", "float32", "bool", "object", "str", "fortran", "strided", "read-only"]
    kind = draw(st.sampled_from(kinds + ["list", "range"] * (len(shape) == 1)))
    if kind == "range":
        return range(5, 5 + 2 * size, 2)
    if kind == "list":
        return [[1, 2.5, "t", None, (1,), np.float64(2), np.arange(2)][k % 7] for k in range(size)]
    if kind == "object":
        return object_array([[1, 0.5, "o", None, [k]][k % 5] for k in range(size)], shape)
    base = np.arange(size).reshape(shape) / 2
    if kind == "str":
        return base.astype("U3")
    if kind == "fortran":
        return np.asfortranarray(base)
    if kind == "strided":
        return np.repeat(base, 2, axis=-1)[..., ::2]
    if kind == "read-only":
        base.flags.writeable = False
        return base
    return base.astype(kind)


@st.composite
def cases(draw: st.DrawFn, *, can_fail: bool = False) -> Case:
    """Draw a pipeline of one to four functions and its inputs."""
    sizes = {axis: draw(st.sampled_from([2, 1, 3, 2, 0]), label=f"size of {axis}") for axis in AXES}
    sizes |= {axis: draw(st.integers(1, 3), label=f"size of {axis}") for axis in INNER_AXES}
    case = Case([], sizes, {})
    prefix = draw(st.sampled_from(["", "", "s."]))
    for number in range(draw(st.integers(1, 4), label="functions")):
        case.functions.append(draw(_functions(case, number, prefix, can_fail)))
    return case


@st.composite
def _functions(draw: st.DrawFn, case: Case, number: int, prefix: str, can_fail: bool) -> Function:
    parameters = [draw(_parameters(case, f"f{number}", k, prefix)) for k in range(draw(st.integers(1, 3)))]
    by_name = {p.name: p for p in parameters}  # one parameter per value
    parameters = list(by_name.values())
    used = sorted({axis for p in parameters for axis in p.axes or () if axis != ":"})
    if not used:  # nothing to iterate over: ':' alone would be taken whole
        parameters = [p if p.axes is None else Parameter(p.native, p.name) for p in parameters]
    is_mapped = bool(used)
    outputs = tuple(f"{prefix}out{number}{letter}" for letter in "ab"[: draw(st.sampled_from([1, 1, 2]))])
    taken = {axis for axes in case.array_axes.values() for axis in axes}
    free = [axis for axis in INNER_AXES if axis not in taken]
    n_internal = draw(st.integers(0, 1 if is_mapped else 2)) if free else 0
    internal: Axes = tuple(free[:n_internal])
    axes = tuple(draw(st.permutations([*used, *internal]))) if is_mapped or internal else None
    order = tuple(axis for axis in axes or () if axis in internal)
    # What a single call gives is indexed as it is, so it must be an array where it has two axes.
    inner = INNER_PALETTES if is_mapped or n_internal < 2 else [("float",), ("int",)]
    palette = draw(st.sampled_from(inner if internal else PALETTES))
    fails = can_fail and not (internal and not is_mapped) and draw(st.booleans())
    function = Function(f"f{number}", tuple(parameters), outputs, axes, order, palette, fails)
    if axes is not None:
        case.array_axes.update(dict.fromkeys(outputs, axes))
    else:
        case.array_axes.update(dict.fromkeys(outputs, ()))
    return function


@st.composite
def _parameters(draw: st.DrawFn, case: Case, function: str, position: int, prefix: str) -> Parameter:
    native = f"{function}_p{position}"
    kind = draw(st.sampled_from(["old", "old", "old", "array", "array", "value", "default", "bound"]))
    if kind == "old" and case.array_axes:
        name = draw(st.sampled_from(sorted(case.array_axes)))
    elif kind == "value":
        name = f"{prefix}v_{native}"
        case.inputs[name] = draw(st.sampled_from([7, "value", np.float32(1.5), [1, 2], (3,), np.arange(2)]))
        case.array_axes[name] = ()
    elif kind == "default":
        name = f"{prefix}d_{native}"
        if draw(st.booleans()):
            case.inputs[name] = draw(st.sampled_from([0, "given"]))
        return Parameter(native, name, default=draw(st.sampled_from(BOUND)), has_default=True)
    elif kind == "bound":
        return Parameter(native, f"{prefix}b_{native}", bound=draw(st.sampled_from(BOUND)), is_bound=True)
    else:
        name = f"{prefix}x_{native}"
        axes = tuple(draw(st.permutations(AXES))[: draw(st.sampled_from([1, 1, 2, 3]))])
        case.inputs[name] = draw(input_arrays(tuple(case.sizes[axis] for axis in axes)))
        case.array_axes[name] = axes
    axes = case.array_axes[name]
    if not axes or draw(st.sampled_from([False, False, True])):
        return Parameter(native, name)
    slices = [draw(st.sampled_from([False, False, True])) for _ in axes]
    return Parameter(native, name, tuple(":" if s else a for s, a in zip(slices, axes, strict=True)))


# ---- for the engine ----------------------------------------------------------------------------


def make_functions(
    case: Case, calls: list[Any], *, declared: Callable[[Function], bool] = lambda _f: True
) -> list[PipeFunc]:
    """Make the functions; each call adds a record to ``calls``. ``declared`` ones tell their inner shape."""
    return [_make_function(case, function, calls, declared(function)) for function in case.functions]


def _make_function(case: Case, function: Function, calls: list[Any], is_declared: bool) -> PipeFunc:
    def body(**kwargs: Any) -> Any:
        calls.append((function.name, tuple((name, canonical(kwargs[name])) for name in sorted(kwargs))))
        return call(function, case.sizes, kwargs)

    # Parameters of all kinds: one by position only, one by keyword only.
    natives = [p.native for p in function.parameters]
    text = ", ".join(natives)
    if len(natives) == 3:
        text = f"{natives[0]}, /, {natives[1]}, *, {natives[2]}"
    arguments = ", ".join(f"{native}={native}" for native in natives)
    namespace: dict[str, Any] = {"body": body}
    exec(f"def {function.name}({text}):\n    return body({arguments})", namespace)
    internal = tuple(case.sizes[axis] for axis in function.internal)
    return PipeFunc(
        namespace[function.name],
        function.outputs if len(function.outputs) > 1 else function.outputs[0],
        renames={p.native: p.name for p in function.parameters},
        defaults={p.name: p.default for p in function.parameters if p.has_default},
        bound={p.name: p.bound for p in function.parameters if p.is_bound},
        mapspec=function.mapspec,
        internal_shape=internal if internal and is_declared else None,
        print_error=False,
    )
