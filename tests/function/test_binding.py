from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._function.binding import Binding
from pipefunc_c._function.signature import read_signature
from pipefunc_c._spec.mapspec import MapSpec
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, PipefuncError, ShapeError


def f(a, b=2, c=3):
    return a, b, c


def make(output="y", **options):
    return Binding(read_signature(f), output, **options)


def state(binding):
    return {**binding.state(), "mapspec": str(binding.mapspec)}


def test_names_without_renames():
    binding = make(("y", "z"))
    assert binding.parameters == ("a", "b", "c")
    assert binding.output_name == binding.output_names == ("y", "z")
    assert binding.native_names == {"a": "a", "b": "b", "c": "c"}
    assert binding.defaults == {"b": 2, "c": 3}


def test_one_name_stays_a_str_and_a_tuple_of_one_a_tuple():
    assert make("y").output_name == "y"
    assert make(("y",)).output_name == ("y",)


def test_names_with_renames():
    binding = make(renames={"a": "x", "b": "s.k", "y": "s.out"})
    assert binding.parameters == ("x", "s.k", "c")
    assert binding.output_name == "s.out"
    assert binding.native_names == {"x": "a", "s.k": "b", "c": "c"}
    assert binding.scopes == {"s"}
    assert binding.defaults == {"s.k": 2, "c": 3}


def test_names_may_be_swapped():
    assert make(renames={"a": "b", "b": "a"}).parameters == ("b", "a", "c")


@pytest.mark.parametrize(
    ("renames", "offender"),
    [
        ({"nope": "x"}, "'nope'"),
        ({"a": "b"}, "'b'"),
        ({"a": "x", "b": "x"}, "'x'"),
        ({"a": "y"}, "'y'"),
        ({"y": "a"}, "'a'"),
        ({"a": "1x"}, "'1x'"),
        ({"a": "s.t.x"}, "'s.t.x'"),
    ],
    ids=["unknown", "present", "twice", "output", "parameter", "malformed", "two scopes"],
)
def test_wrong_renames(renames, offender):
    with pytest.raises(InvalidValueError) as caught:
        make(renames=renames)
    assert offender in str(caught.value)
    with pytest.raises(InvalidValueError) as caught:
        make().with_renames(renames)
    assert offender in str(caught.value)


def test_a_rename_must_be_a_str():
    with pytest.raises(InvalidTypeError, match="got 3"):
        make(renames={"a": 3})


def test_an_output_must_not_be_a_parameter():
    with pytest.raises(InvalidValueError, match="'a' is used twice"):
        make("a")


def test_values_go_by_new_names_and_follow_renames():
    binding = make(renames={"a": "x"}).with_defaults({"x": 1}).with_bound({"c": 5})
    assert binding.defaults == {"x": 1, "b": 2}
    assert binding.bound == {"c": 5}
    moved = binding.with_renames({"x": "z", "c": "w", "y": "out"})
    assert moved.defaults == {"z": 1, "b": 2}
    assert moved.bound == {"w": 5}
    assert moved.output_name == "out"


def test_overwrite_replaces_the_users_values_only():
    binding = make().with_defaults({"a": 1}).with_defaults({"b": 9}, overwrite=True)
    assert binding.defaults == {"b": 9, "c": 3}
    binding = make().with_bound({"a": 1}).with_bound({"b": 9}, overwrite=True)
    assert binding.bound == {"b": 9}


@pytest.mark.parametrize("method", ["with_defaults", "with_bound"])
def test_values_for_unknown_names(method):
    option = method.removeprefix("with_")
    with pytest.raises(InvalidValueError, match=f"Unexpected `{option}` argument 'nope'"):
        getattr(make(), method)({"nope": 1})


def test_a_bound_parameter_has_no_default_of_the_user():
    with pytest.raises(InvalidValueError, match="'b' is bound and has a default"):
        make().with_defaults({"b": 1}).with_bound({"b": 2})


def test_a_bound_parameter_drops_the_default_of_the_signature():
    assert make().with_bound({"b": 2}).defaults == {"c": 3}


def test_mapspec_from_text_and_as_object():
    spec = MapSpec.from_string("a[i] -> y[i]")
    assert make().with_mapspec("a[i] -> y[i]").mapspec == make().with_mapspec(spec).mapspec == spec
    assert make().with_mapspec(spec).with_mapspec(None).mapspec is None


@pytest.mark.parametrize(
    ("mapspec", "offender"),
    [
        ("nope[i] -> y[i]", "'nope'"),
        ("a[i] -> z[i]", "'z'"),
        ("a[i] -> y[i], z[i]", "'z'"),
        ("c[i] -> y[i]", "'c'"),
        ("a[i] - y[i]", "'a[i] - y[i]'"),
    ],
    ids=["no parameter", "no output", "too many outputs", "bound", "malformed"],
)
def test_wrong_mapspecs(mapspec, offender):
    with pytest.raises(ValueError, match="mapspec") as caught:
        make().with_bound({"c": 1}).with_mapspec(mapspec)
    assert isinstance(caught.value, PipefuncError)
    assert offender in str(caught.value)


def test_binding_an_input_of_the_mapspec():
    with pytest.raises(InvalidValueError, match="the input 'a' of the mapspec .* is bound"):
        make().with_mapspec("a[i] -> y[i]").with_bound({"a": 1})


def test_mapspec_of_a_wrong_type():
    with pytest.raises(InvalidTypeError, match="got 3"):
        make().with_mapspec(3)


def test_the_mapspec_follows_renames():
    binding = make().with_mapspec("a[i], b[i] -> y[i]").with_renames({"a": "b", "b": "a", "y": "s.y"})
    assert str(binding.mapspec) == "b[i], a[i] -> s.y[i]"


def test_renames_from_original_names():
    binding = make(renames={"a": "x"}).with_renames({"a": "z"}, update_from="original")
    assert binding.parameters == ("z", "b", "c")
    with pytest.raises(InvalidValueError, match="'x'"):
        binding.with_renames({"x": "w"}, update_from="original")
    with pytest.raises(InvalidValueError, match="got 'now'"):
        binding.with_renames({}, update_from="now")


def test_overwrite_takes_back_earlier_renames():
    binding = make(renames={"a": "x", "y": "z"}).with_mapspec("x[i] -> z[i]")
    again = binding.with_renames({"x": "w"}, overwrite=True)
    assert again.parameters == ("w", "b", "c")
    assert again.output_name == "y"
    assert str(again.mapspec) == "w[i] -> y[i]"


@pytest.mark.parametrize("shape", [3, "?", (2, "?"), None])
def test_internal_shapes(shape):
    assert make(internal_shape=shape).internal_shape == shape


@pytest.mark.parametrize(
    ("shape", "error"), [(-1, ShapeError), (1.5, InvalidTypeError), ("x", InvalidTypeError)]
)
def test_wrong_internal_shapes(shape, error):
    with pytest.raises(error, match="'y'"):
        make(internal_shape=shape)


NEW_NAMES = st.sampled_from(["a", "b", "c", "y", "x", "s.x", "t.z", "1"])
CHANGES = st.one_of(
    st.tuples(
        st.just("with_renames"),
        st.dictionaries(st.sampled_from(["a", "b", "c", "y", "x", "s.x"]), NEW_NAMES, max_size=3),
    ),
    st.tuples(st.just("with_defaults"), st.dictionaries(NEW_NAMES, st.integers(), max_size=2)),
    st.tuples(st.just("with_bound"), st.dictionaries(NEW_NAMES, st.integers(), max_size=2)),
    st.tuples(st.just("with_mapspec"), st.sampled_from(["a[i] -> y[i]", "x[i] -> y[i]", None])),
)


@given(st.lists(CHANGES, max_size=8))
def test_updates_give_a_valid_new_binding_or_an_error_and_never_change_the_old(changes):
    binding = make()
    for method, argument in changes:
        before = state(binding)
        old = binding
        with contextlib.suppress(ValueError):
            binding = getattr(binding, method)(argument)
        assert state(old) == before
        names = binding.names
        assert len(set(names)) == len(names)
        assert not binding.native_defaults.keys() & binding.native_bound.keys()
        assert binding.defaults.keys() | binding.bound.keys() <= set(binding.parameters)
        assert not binding.defaults.keys() & binding.bound.keys()
        if binding.mapspec is not None:
            assert set(binding.mapspec.input_names) <= set(binding.parameters) - set(binding.bound)
            assert binding.mapspec.output_names == binding.output_names
