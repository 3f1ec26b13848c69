from __future__ import annotations

import copy
import dataclasses
import fractions
import functools
import itertools
import json
import pickle

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._quantities import memory_bytes, time_seconds
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError
from pipefunc_c.resources import Resources

FULL = {
    "cpus": 4,
    "memory": "16GB",
    "gpus": 2,
    "time": "2:00:00",
    "partition": "main",
    "extra_args": {"qos": "high"},
    "parallelization_mode": "internal",
}

# -- construction


def test_fields_and_defaults():
    assert [item.name for item in dataclasses.fields(Resources)] == [
        *("cpus", "cpus_per_node", "nodes", "memory", "gpus", "time", "partition"),
        *("extra_args", "parallelization_mode"),
    ]
    empty = Resources()
    assert empty.extra_args == {}
    assert empty.parallelization_mode == "external"
    assert all(getattr(empty, name) is None for name in ("cpus", "cpus_per_node", "nodes", "memory"))
    assert all(getattr(empty, name) is None for name in ("gpus", "time", "partition"))


def test_resources_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Resources().cpus = 3


WHOLE = [4, 4.0, np.int64(4), np.uint8(4), np.float64(4), np.float32(4), fractions.Fraction(4)]


@pytest.mark.parametrize("value", WHOLE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", ["cpus", "nodes", "gpus"])
def test_whole_numbers_become_ints(name, value):
    number = getattr(Resources(**{name: value}), name)
    assert number == 4
    assert type(number) is int


def test_cpus_per_node_becomes_an_int():
    assert type(Resources(nodes=1, cpus_per_node=np.float64(2)).cpus_per_node) is int


@pytest.mark.parametrize("value", [1.5, np.float32(0.5), fractions.Fraction(1, 3)], ids=str)
@pytest.mark.parametrize("name", ["cpus", "nodes", "gpus"])
def test_a_part_of_a_cpu_is_refused_and_rounding_suggested(name, value):
    with pytest.raises(InvalidValueError, match=rf"`{name}` must be a whole number, got ") as caught:
        Resources(**{name: value})
    assert "math.ceil" in caught.value.hint
    assert caught.value.detail == name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(InvalidValueError, match=f"`cpus` must be a whole number, got {value}"):
        Resources(cpus=value)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"cpus": 0}, "`cpus` must be positive, got 0"),
        ({"cpus": -1.0}, "`cpus` must be positive, got -1.0"),
        ({"nodes": 0}, "`nodes` must be positive, got 0"),
        ({"nodes": 1, "cpus_per_node": 0}, "`cpus_per_node` must be positive, got 0"),
        ({"gpus": -1}, "`gpus` must be zero or more, got -1"),
        ({"nodes": 1, "cpus": 1}, r"`nodes` \(1\) and `cpus` \(1\) exclude each other"),
        ({"cpus_per_node": 2}, r"`cpus_per_node` \(2\) needs `nodes`"),
        (
            {"parallelization_mode": "both"},
            "`parallelization_mode` must be 'external' or 'internal', got 'bo",
        ),
        ({"parallelization_mode": None}, "`parallelization_mode` must be .* got None"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_wrong_values(values, text):
    with pytest.raises(InvalidValueError, match=text):
        Resources(**values)


@pytest.mark.parametrize("name", ["cpus", "nodes", "gpus"])
@pytest.mark.parametrize("value", ["4", True, np.bool_(True), [1], 1j], ids=repr)
def test_what_is_no_number(name, value):
    with pytest.raises(InvalidTypeError, match=f"`{name}` must be a whole number, got"):
        Resources(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("partition", 3), ("extra_args", ["qos"]), ("extra_args", None)])
def test_other_wrong_types(name, value):
    with pytest.raises(InvalidTypeError, match=f"`{name}` must be a"):
        Resources(**{name: value})


def test_no_gpus_are_a_choice():
    assert Resources(gpus=0).gpus == 0
    assert Resources(gpus=0).to_slurm_options() == ""


@pytest.mark.parametrize("memory", ["4GB", "4gb", "1.5GB", "4B", "10KB", "2Tb", "0.25PB"])
def test_good_memory(memory):
    assert Resources(memory=memory).memory == memory


@pytest.mark.parametrize(
    "memory",
    ["", "GB", "4", "4G", "4 GB", ".5GB", "1.GB", "-1GB", "4GiB", "1e3MB", "4GB ", "4GB\n", "٣GB", 4],
)
def test_wrong_memory(memory):
    with pytest.raises(InvalidValueError, match="`memory` must be a number and one of B, KB") as caught:
        Resources(memory=memory)
    assert repr(memory) in str(caught.value)


@pytest.mark.parametrize("time", ["10:00", "1:00:00", "10:00:00", "100:00:00", "1:10:00:00", "99:99"])
def test_good_times(time):
    assert Resources(time=time).time == time


@pytest.mark.parametrize(
    "time", ["", "10", "1:00", "1:0:00", "1-00:00:00", "1:2:00:00", "a:00:00", " 10:00", 60]
)
def test_wrong_times(time):
    with pytest.raises(InvalidValueError, match="`time` must be .*minutes:seconds") as caught:
        Resources(time=time)
    assert repr(time) in str(caught.value)
    assert "two digits" in str(caught.value)  # else '1:00' would seem to be one


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("01:02", 62), ("1:00:00", 3600), ("100:00:01", 360001), ("2:01:00:00", 2 * 86400 + 3600)],
)
def test_seconds_of_a_time(time, seconds):
    assert time_seconds(time) == seconds


@pytest.mark.parametrize(
    ("memory", "size"), [("3B", 3), ("1.5kb", 1536), ("1GB", 2**30), ("2TB", 2**41), ("1PB", 2**50)]
)
def test_bytes_of_a_memory(memory, size):
    assert memory_bytes(memory) == size


# -- dicts


def test_from_dict_and_back():
    resources = Resources.from_dict(FULL)
    assert resources == Resources(**FULL)
    assert resources.dict() == FULL
    assert Resources.from_dict(resources.dict()) == resources


def test_a_dict_has_no_none():
    assert Resources(cpus=2).dict() == {
        "cpus": 2,
        "extra_args": {},
        "parallelization_mode": "external",
    }


def test_an_unknown_name_is_a_type_error_that_lists_the_known_ones():
    with pytest.raises(
        InvalidTypeError, match="resources have no 'cpu'; they have cpus, cpus_per_node"
    ) as caught:
        Resources.from_dict({"cpu": 1})
    assert caught.value.detail == "cpu"
    assert "extra_args" in caught.value.hint


@pytest.mark.parametrize("data", [3, [("cpus", 1)], "cpus"], ids=repr)
def test_from_something_else(data):
    with pytest.raises(InvalidTypeError, match="must be given as a dict or as Resources, got"):
        Resources.from_dict(data)


def two_cpus(kwargs):
    return {"cpus": 2}


def test_maybe_from_dict():
    resources = Resources(cpus=1)
    assert Resources.maybe_from_dict(None) is None
    assert Resources.maybe_from_dict(resources) is resources
    assert Resources.maybe_from_dict({"cpus": 1}) == resources
    converted = Resources.maybe_from_dict(two_cpus)
    assert converted({}) == Resources(cpus=2)
    assert Resources.maybe_from_dict(converted) is converted
    assert Resources.maybe_from_dict(lambda kwargs: resources)({}) is resources
    with pytest.raises(InvalidTypeError, match="got 3"):
        Resources.maybe_from_dict(3)


@pytest.mark.parametrize("result", [None, 3, "cpus"], ids=repr)
def test_a_function_must_return_resources(result):
    with pytest.raises(InvalidTypeError, match=f"must return Resources or a dict, got {result!r}"):
        Resources.maybe_from_dict(lambda kwargs: result)({})


# -- Slurm


def test_slurm_options_in_order():
    resources = Resources(**{**FULL, "extra_args": {"qos": "high", "account": "x"}})
    assert resources.to_slurm_options() == (
        "--cpus-per-task=4 --gres=gpu:2 --mem=16GB --time=2:00:00 --partition=main --qos=high --account=x"
    )
    assert Resources().to_slurm_options() == ""


def test_fault_cpus_per_node_is_no_option_of_sbatch():
    options = Resources(nodes=2, cpus_per_node=8, memory="1GB").to_slurm_options()
    assert options == "--nodes=2 --ntasks-per-node=8 --mem=1GB"
    assert "--cpus-per-node" not in options


@pytest.mark.parametrize(
    ("memory", "written"),
    [
        ("4GB", "4GB"),
        ("1.5GB", "1536MB"),
        ("1B", "1MB"),
        ("0.1kb", "1MB"),
        ("1PB", "1073741824MB"),
        ("7mb", "7mb"),
    ],
)
def test_memory_as_slurm_reads_it(memory, written):
    assert Resources(memory=memory).to_slurm_options() == f"--mem={written}"


@pytest.mark.parametrize(("time", "written"), [("10:00", "10:00"), ("1:02:03:04", "1-02:03:04")])
def test_time_as_slurm_reads_it(time, written):
    assert Resources(time=time).to_slurm_options() == f"--time={written}"


# -- update


def test_update_returns_new_resources_and_takes_unknown_names_as_extras():
    resources = Resources(cpus=2, extra_args={"a": 1})
    assert resources.update(cpus=3, qos="high", extra_args={"b": 2}) == Resources(
        cpus=3, extra_args={"a": 1, "b": 2, "qos": "high"}
    )
    assert resources.update(cpus=None).cpus is None
    assert resources.update(extra_args=None) == resources
    with pytest.raises(InvalidValueError, match="exclude each other"):
        resources.update(nodes=1)


def test_fault_update_does_not_change_the_original():
    extras = {"a": 1}
    resources = Resources(cpus=2, extra_args=extras)
    other = resources.update(b=2, a=3)
    other.extra_args["c"] = 4
    resources.dict()["extra_args"]["d"] = 5
    assert resources == Resources(cpus=2, extra_args={"a": 1})
    extras["e"] = 6
    assert resources.extra_args == {"a": 1}


# -- defaults


def test_with_defaults_fills_in_what_is_open():
    default = Resources(cpus=1, memory="1GB", time="1:00:00", partition="p")
    assert Resources(cpus=2).with_defaults(default) == default.update(cpus=2)
    assert Resources(cpus=2).with_defaults({"memory": "2GB"}) == Resources(cpus=2, memory="2GB")
    own = Resources(cpus=2)
    assert own.with_defaults(None) is own
    assert Resources(gpus=0).with_defaults(Resources(gpus=4)).gpus == 0


def test_fault_empty_extras_do_not_hide_those_of_the_defaults():
    default = Resources(extra_args={"qos": "low", "account": "x"})
    assert Resources(cpus=1).with_defaults(default).extra_args == {"qos": "low", "account": "x"}
    own = Resources(extra_args={"qos": "high"})
    assert own.with_defaults(default).extra_args == {"qos": "high", "account": "x"}
    assert default.extra_args == {"qos": "low", "account": "x"}


MODES = {
    "open": {},
    "external": {"parallelization_mode": "external"},
    "internal": {"parallelization_mode": "internal"},
}


@pytest.mark.parametrize(("own", "default"), [*itertools.product(MODES, MODES)])
def test_fault_a_mode_that_nobody_chose_does_not_hide_the_default(own, default):
    filled = Resources(**MODES[own]).with_defaults(Resources(**MODES[default]))
    chosen = [mode for mode in (own, default) if mode != "open"]
    assert filled.parallelization_mode == (chosen or ["external"])[0]


@pytest.mark.parametrize(
    "again",
    [
        lambda r: pickle.loads(pickle.dumps(r)),
        lambda r: pickle.loads(cloudpickle.dumps(r)),
        copy.deepcopy,
        lambda r: dataclasses.replace(r, gpus=1),
        lambda r: r.update(gpus=1),
        lambda r: r.with_defaults(Resources(gpus=1)),
        lambda r: Resources.from_dict(r.dict()),
        lambda r: Resources.combine_max([r]),
    ],
    ids=["pickle", "cloudpickle", "deepcopy", "replace", "update", "with_defaults", "dict", "combine_max"],
)
def test_whether_the_mode_was_chosen_is_kept(again):
    default = Resources(parallelization_mode="internal")
    assert again(Resources(cpus=1)).with_defaults(default).parallelization_mode == "internal"
    chosen = Resources(cpus=1, parallelization_mode="external")
    assert again(chosen).with_defaults(default).parallelization_mode == "external"


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_the_mode_is_a_plain_str(mode):
    resources = Resources(cpus=1, **mode)
    for each in (resources, pickle.loads(pickle.dumps(resources)), copy.deepcopy(resources)):
        assert type(each.parallelization_mode) is str
        assert type(each.dict()["parallelization_mode"]) is str
        assert type(dataclasses.asdict(each)["parallelization_mode"]) is str
    assert json.loads(json.dumps(resources.dict())) == resources.dict()


def test_cpus_and_nodes_are_one_choice():
    nodes, cpus = Resources(nodes=2, cpus_per_node=4), Resources(cpus=3)
    assert cpus.with_defaults(nodes) == cpus
    assert nodes.with_defaults(cpus) == nodes
    assert Resources(nodes=3).with_defaults(nodes) == Resources(nodes=3, cpus_per_node=4)


def test_maybe_with_defaults():
    default = Resources(memory="1GB")
    assert Resources.maybe_with_defaults(None, None) is None
    assert Resources.maybe_with_defaults(None, default) is default
    assert Resources.maybe_with_defaults({"cpus": 2}, default) == Resources(cpus=2, memory="1GB")
    assert Resources.maybe_with_defaults(two_cpus, None)({}) == Resources(cpus=2)
    for filled in (
        Resources.maybe_with_defaults(two_cpus, default),
        Resources.maybe_with_defaults({"cpus": 2}, lambda kwargs: {"memory": "1GB"}),
        Resources.maybe_with_defaults(two_cpus, lambda kwargs: default),
    ):
        assert filled({}) == Resources(cpus=2, memory="1GB")
    again = pickle.loads(pickle.dumps(Resources.maybe_with_defaults(two_cpus, default)))
    assert again({}) == Resources(cpus=2, memory="1GB")


def test_functions_are_no_defaults_of_resources_alone():
    with pytest.raises(InvalidTypeError, match="default resources must be Resources or a dict"):
        Resources().with_defaults(two_cpus)


# -- the most of several


def test_combine_max():
    combined = Resources.combine_max(
        [
            Resources(cpus=1, memory="1000MB", partition="a", extra_args={"qos": "x"}),
            Resources(memory="1GB", gpus=2, partition="b", extra_args={"qos": "y", "account": "z"}),
            {"cpus": 2},
        ]
    )
    assert combined == Resources(
        cpus=2, memory="1GB", gpus=2, partition="b", extra_args={"qos": "x", "account": "z"}
    )
    assert Resources.combine_max([]) == Resources()
    with pytest.raises(InvalidTypeError, match="got <function two_cpus"):
        Resources.combine_max([two_cpus])


@pytest.mark.parametrize(
    ("times", "longest"),
    [
        (["9:00:00", "10:00:00"], "10:00:00"),
        (["1:00:00:00", "23:00:00"], "1:00:00:00"),
        (["90:00", "1:00:00"], "90:00"),
        (["2:00:00", "10:00"], "2:00:00"),
    ],
    ids=" ".join,
)
def test_fault_times_are_compared_by_their_length(times, longest):
    for order in (times, times[::-1]):
        assert Resources.combine_max([Resources(time=time) for time in order]).time == longest


def test_fault_combine_max_keeps_nodes_and_the_mode():
    first = Resources(nodes=2, cpus_per_node=4)
    second = Resources(nodes=1, cpus_per_node=8, parallelization_mode="internal")
    assert Resources.combine_max([first, second]) == Resources(
        nodes=2, cpus_per_node=8, parallelization_mode="internal"
    )


def test_cpus_among_nodes_count_as_one_node():
    nodes = Resources(nodes=2, cpus_per_node=4)
    assert Resources.combine_max([nodes, Resources(cpus=8)]) == Resources(nodes=2, cpus_per_node=8)
    assert Resources.combine_max([Resources(nodes=2), Resources(gpus=1)]) == Resources(nodes=2, gpus=1)


@pytest.mark.parametrize(
    ("modes", "combined"),
    [("open external", "external"), ("external internal", "internal"), ("internal open", "internal")],
)
def test_combined_modes(modes, combined):
    needs = [Resources(**MODES[mode]) for mode in modes.split()]
    assert Resources.combine_max(needs).parallelization_mode == combined


# -- values


def test_equality_hash_and_repr():
    resources = Resources(cpus=2, extra_args={"a": 1})
    assert resources == Resources(cpus=2.0, extra_args={"a": 1})
    assert resources != Resources(cpus=2)
    assert hash(resources) == hash(Resources(cpus=2.0, extra_args={"a": 1}))
    assert repr(Resources()) == "Resources()"
    assert repr(Resources(**FULL)) == (
        "Resources(cpus=4, memory='16GB', gpus=2, time='2:00:00', partition='main', "
        "extra_args={'qos': 'high'}, parallelization_mode='internal')"
    )


@st.composite
def needs(draw):
    values = {
        "memory": draw(st.sampled_from([None, "1GB", "900MB", "1.5GB"])),
        "gpus": draw(st.none() | st.integers(0, 4)),
        "time": draw(st.sampled_from([None, "59:59", "9:00:00", "10:00:00", "1:00:00:00"])),
        "partition": draw(st.sampled_from([None, "a", "b"])),
        "extra_args": draw(st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3))),
    }
    if draw(st.booleans()):
        values["cpus"] = draw(st.none() | st.integers(1, 9))
    else:
        values["nodes"] = draw(st.integers(1, 4))
        values["cpus_per_node"] = draw(st.none() | st.integers(1, 9))
    return Resources(**values, **MODES[draw(st.sampled_from(sorted(MODES)))])


@given(needs(), needs(), needs())
def test_defaults_fill_in_one_after_another(first, second, third):
    assert eval(repr(first)) == first
    assert first.with_defaults(first) == first
    assert first.with_defaults(Resources()) == first
    one_by_one = first.with_defaults(second).with_defaults(third)
    if first.cpus is None and first.nodes is None and second.cpus is None and second.nodes is None:
        assert one_by_one == first.with_defaults(second.with_defaults(third))
    assert one_by_one.time == (first.time or second.time or third.time)


@given(st.lists(needs(), max_size=4))
def test_combined_resources_are_enough_for_each(several):
    combined = Resources.combine_max(several)
    assert functools.reduce(lambda a, b: Resources.combine_max([a, b]), several, Resources()) == combined
    total = (combined.nodes or 1) * (combined.cpus or combined.cpus_per_node or 0)
    for each in several:
        assert (combined.gpus or 0) >= (each.gpus or 0)
        assert memory_bytes(combined.memory or "0B") >= memory_bytes(each.memory or "0B")
        assert time_seconds(combined.time or "00:00") >= time_seconds(each.time or "00:00")
        assert (combined.nodes or 1) >= (each.nodes or 1)
        assert total >= (each.nodes or 1) * (each.cpus or each.cpus_per_node or 0)
