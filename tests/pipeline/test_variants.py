"""Pipelines with alternatives."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c import NestedPipeFunc, PipeFunc, Pipeline, VariantPipeline, pipefunc


@pipefunc("c", variant="add")
def add(a, b):
    return a + b


@pipefunc("c", variant="subtract")
def subtract(a, b):
    return a - b


@pipefunc("d", variant={"method": "plain"})
def plain(c):
    return c


@pipefunc("d", variant={"method": "square"})
def square(c):
    return c * c


@pipefunc("e")
def negative(d):
    return -d


EVERYTHING = [add, subtract, plain, square, negative]


def names(pipeline):
    return [function.__name__ for function in pipeline.functions]


@pytest.fixture
def variants():
    return VariantPipeline(EVERYTHING)


def test_variants_mapping(variants):
    assert variants.variants_mapping() == {None: {"add", "subtract"}, "method": {"plain", "square"}}


def test_a_str_is_a_variant_without_a_group():
    assert add.variant == {None: "add"}


@pytest.mark.parametrize("functions", [[], [negative]], ids=["nothing", "no variants"])
def test_functions_without_variants_are_refused(functions):
    with pytest.raises(ValueError, match="no function has a variant") as caught:
        VariantPipeline(functions)
    assert caught.value.detail == [f.__name__ for f in functions]


def test_what_is_not_callable_is_refused():
    with pytest.raises(TypeError, match="'text'"):
        VariantPipeline([add, "text"])


def test_functions_are_those_that_were_given(variants):
    assert all(one is other for one, other in zip(variants.functions, EVERYTHING, strict=True))


def test_plain_functions_and_mapspecs_are_taken_as_by_a_pipeline():
    def f(d):
        return d + 1

    pipelines = VariantPipeline([(add, "a[i], b[i] -> c[i]"), subtract, f])
    pipeline = pipelines.with_variant("add")
    assert pipeline.mapspecs_as_strings == ["a[i], b[i] -> c[i]"]
    assert "f" in pipeline
    assert add.mapspec is None


class TestSelection:
    def test_all_groups_at_once(self, variants):
        pipeline = variants.with_variant({None: "subtract", "method": "square"})
        assert type(pipeline) is Pipeline
        assert names(pipeline) == ["subtract", "square", "negative"]
        assert pipeline(a=1, b=3) == -4

    @pytest.mark.parametrize(
        ("select", "left"),
        [
            ("add", ["add", "plain", "square", "negative"]),
            ({None: "add"}, ["add", "plain", "square", "negative"]),
            ("square", ["add", "subtract", "square", "negative"]),
            ({}, ["add", "subtract", "plain", "square", "negative"]),
        ],
        ids=str,
    )
    def test_some_groups_give_variants_again(self, variants, select, left):
        partial = variants.with_variant(select)
        assert type(partial) is VariantPipeline
        assert names(partial) == left

    def test_one_after_the_other(self, variants):
        pipeline = variants.with_variant("add").with_variant("square")
        assert type(pipeline) is Pipeline
        assert pipeline(a=1, b=2) == -9

    def test_the_functions_of_a_pipeline_are_copies(self, variants):
        pipeline = variants.with_variant({None: "add", "method": "plain"})
        pipeline.update_defaults({"a": 10})
        assert "a" not in add.defaults
        assert pipeline["c"].variant == {None: "add"}

    def test_a_function_in_two_groups_goes_if_one_is_selected_with_another_name(self):
        both = [
            PipeFunc(lambda x, k=k: k, "y", variant={"method": method, "size": size})
            for k, (method, size) in enumerate([("m1", "s1"), ("m1", "s2"), ("m2", "s1")])
        ]
        pipelines = VariantPipeline(both)
        assert pipelines.with_variant({"method": "m1", "size": "s2"})(x=0) == 1
        assert type(pipelines.with_variant("m1")) is VariantPipeline
        assert pipelines.with_variant("m2")(x=0) == 2  # the only one left has no choice of a size any more

    def test_a_group_of_one_needs_no_selection(self):
        pipelines = VariantPipeline([add, plain, square])
        assert names(pipelines.with_variant("square")) == ["add", "square"]

    def test_options_for_the_pipeline(self, variants):
        select = {None: "add", "method": "plain"}
        pipeline = variants.with_variant(select, name="mine", debug=True)
        assert pipeline.name == "mine"
        assert pipeline["c"].debug
        assert variants.name is None

    def test_options_for_variants(self, variants):
        assert variants.with_variant("add", name="mine").with_variant("plain").name == "mine"


class TestRefusedSelection:
    @pytest.mark.parametrize(
        ("select", "offender", "said"),
        [
            ("cube", "cube", r"there is no variant 'cube'.*'add', 'plain', 'square', 'subtract'"),
            ({"size": "small"}, "size", r"there is no group 'size'.*None, 'method'"),
            ({"method": "add"}, "add", r"there is no variant 'add' in the group 'method'.*'plain', 'square'"),
        ],
        ids=["name", "group", "name in a group"],
    )
    def test_unknown(self, variants, select, offender, said):
        with pytest.raises(ValueError, match=said) as caught:
            variants.with_variant(select)
        assert caught.value.detail == offender

    @pytest.mark.parametrize("select", [3, ["add"], {"add"}], ids=["int", "list", "set"])
    def test_wrong_type(self, variants, select):
        with pytest.raises(TypeError, match=type(select).__name__) as caught:
            variants.with_variant(select)
        assert caught.value.detail is select

    def test_ambiguous(self):
        other = PipeFunc(lambda c: c, "d", variant={"method": "add"})
        pipelines = VariantPipeline([add, subtract, other, square])
        with pytest.raises(ValueError, match=r"'add' is ambiguous.*\[None, 'method'\]") as caught:
            pipelines.with_variant("add")
        assert "{'method': 'add'}" in caught.value.hint
        assert names(pipelines.with_variant({"method": "add"})) == ["add", "subtract", "<lambda>"]

    def test_nothing_is_selected(self, variants):
        with pytest.raises(ValueError, match="no variant is selected"):
            variants.with_variant()

    def test_unknown_option(self, variants):
        with pytest.raises(TypeError, match="'nonsense'"):
            variants.with_variant("add", nonsense=1)


class TestDefault:
    def test_a_str(self):
        pipelines = VariantPipeline([add, subtract, negative], default_variant="subtract")
        assert names(pipelines.with_variant()) == ["subtract", "negative"]
        assert names(pipelines.with_variant("add")) == ["add", "negative"]

    @pytest.mark.parametrize(
        ("select", "expected"),
        [
            (None, ["add", "square"]),
            ({}, ["add", "square"]),
            ("plain", ["add", "plain"]),
            ({"method": "plain"}, ["add", "plain"]),
            ("subtract", ["subtract", "square"]),
            ({None: "subtract", "method": "plain"}, ["subtract", "plain"]),
        ],
    )
    def test_a_dict_holds_for_what_is_left_out(self, select, expected):
        pipelines = VariantPipeline(EVERYTHING, default_variant={None: "add", "method": "square"})
        assert names(pipelines.with_variant(select)) == [*expected, "negative"]

    def test_a_str_holds_only_if_nothing_is_selected(self):
        pipelines = VariantPipeline(EVERYTHING, default_variant="add")
        assert names(pipelines.with_variant("plain")) == ["add", "subtract", "plain", "negative"]

    @pytest.mark.parametrize("default", ["cube", {"size": "small"}, {"method": "cube"}], ids=str)
    def test_it_must_exist_when_it_is_used(self, default):
        pipelines = VariantPipeline(EVERYTHING, default_variant=default)
        with pytest.raises(ValueError, match=r"there is no (variant|group)"):
            pipelines.with_variant()

    def test_it_is_kept_in_part(self):
        third = PipeFunc(lambda e: e, "f", variant={"last": "yes"})
        fourth = PipeFunc(lambda e: e, "f", variant={"last": "no"})
        pipelines = VariantPipeline([*EVERYTHING, third, fourth], default_variant="square")
        assert pipelines.with_variant("add").default_variant == "square"
        assert pipelines.with_variant("plain").default_variant is None
        default = {"method": "square", "last": "no"}
        partial = pipelines.with_variant("plain", default_variant=default)
        assert partial.default_variant == default
        assert type(partial) is VariantPipeline

    def test_what_is_left_of_a_dict(self):
        other = PipeFunc(lambda e: e, "f", variant={None: "add", "last": "no"})
        more = PipeFunc(lambda e: 0, "f", variant={None: "add", "last": "yes"})
        pipelines = VariantPipeline([*EVERYTHING, other, more], default_variant={"method": "plain"})
        partial = pipelines.with_variant("add")
        assert partial.default_variant == {"method": "plain"}


def test_copy(variants):
    new = variants.copy(name="mine", default_variant={None: "add", "method": "plain"})
    assert names(new) == names(variants)
    assert not any(one is other for one, other in zip(new.functions, variants.functions, strict=True))
    assert new.with_variant().name == "mine"
    assert variants.default_variant is None
    assert names(variants.copy(functions=[add, negative])) == ["add", "negative"]
    with pytest.raises(TypeError, match="'nonsense'"):
        variants.copy(nonsense=1)


def test_options_reach_the_pipelines(variants):
    options = {
        "lazy": True,
        "debug": False,
        "print_error": False,
        "cache_type": "simple",
        "cache_kwargs": {},
        "validate_type_annotations": False,
        "name": "mine",
        "description": "of all",
    }
    pipeline = variants.copy(**options).with_variant({None: "add", "method": "plain"})
    plain_options = {key: options[key] for key in ("lazy", "debug", "print_error", "name", "description")}
    assert {key: getattr(pipeline, key) for key in plain_options} == plain_options
    assert type(pipeline.cache).__name__ == "SimpleCache"
    assert not pipeline.validate_type_annotations


def test_a_scope_is_put_before_all_names():
    pipelines = VariantPipeline(EVERYTHING, scope="s", default_variant={None: "add", "method": "plain"})
    assert pipelines.with_variant().root_args() == ("s.a", "s.b")
    assert pipelines.with_variant("square")("s.e", s={"a": 1, "b": 2}) == -9
    assert names(pipelines) == names(VariantPipeline(EVERYTHING))


def test_default_resources():
    pipelines = VariantPipeline([add, subtract], default_resources={"cpus": 3})
    assert pipelines.with_variant("add")["c"].resources.cpus == 3


class TestAttributesOfPipelines:
    @pytest.mark.parametrize("name", ["map", "root_args", "update_defaults", "leaf_nodes"])
    def test_they_say_what_to_do(self, variants, name):
        with pytest.raises(AttributeError, match=rf"'{name}'.*method=plain \| square.*with_variant\(...\)"):
            getattr(variants, name)

    def test_others_are_missing_as_usual(self, variants):
        with pytest.raises(AttributeError, match="'VariantPipeline' object has no attribute 'nonsense'"):
            _ = variants.nonsense
        assert not hasattr(variants, "nonsense")

    def test_it_is_no_function(self, variants):
        assert not callable(variants)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies_and_pickles(variants, duplicate):
    pipeline = duplicate(variants).with_variant({None: "add", "method": "square"})
    assert pipeline(a=1, b=2) == -9


def test_text(variants):
    assert repr(variants) == "VariantPipeline(add | subtract, method=plain | square)"
    assert str(variants).splitlines() == [
        "VariantPipeline with add | subtract, method=plain | square:",
        "  add(...) → c  [add]",
        "  subtract(...) → c  [subtract]",
        "  plain(...) → d  [method=plain]",
        "  square(...) → d  [method=square]",
        "  negative(...) → e",
    ]


def one_of(function, *others):
    return Pipeline([PipeFunc(function.func, "c"), *others])


class TestFromPipelines:
    def test_what_is_the_same_is_shared(self):
        merged = VariantPipeline.from_pipelines(
            ("add", one_of(add, negative)), ("subtract", one_of(subtract, negative))
        )
        assert [(f.__name__, f.variant) for f in merged.functions] == [
            ("negative", {}),
            ("add", {None: "add"}),
            ("subtract", {None: "subtract"}),
        ]

    def test_groups(self):
        merged = VariantPipeline.from_pipelines(
            ("sign", "plus", one_of(add)), ("sign", "minus", one_of(subtract))
        )
        assert merged.variants_mapping() == {"sign": {"plus", "minus"}}
        assert merged.with_variant("minus")(a=3, b=1) == 2

    def test_other_variants_are_replaced(self):
        merged = VariantPipeline.from_pipelines(
            ("one", Pipeline([add, plain])), ("two", Pipeline([subtract, plain]))
        )
        assert [(f.__name__, f.variant) for f in merged.functions] == [
            ("plain", {}),
            ("add", {None: "one"}),
            ("subtract", {None: "two"}),
        ]

    def test_what_only_some_have_belongs_to_each(self):
        merged = VariantPipeline.from_pipelines(
            ("one", one_of(add, negative)), ("two", one_of(add, negative)), ("three", one_of(add))
        )
        assert sorted(merged.with_variant("two").all_output_names) == ["c", "e"]
        assert sorted(merged.with_variant("three").all_output_names) == ["c"]

    def test_an_empty_pipeline_is_refused(self):
        with pytest.raises(ValueError, match="'two' is empty"):
            VariantPipeline.from_pipelines(("one", one_of(add)), ("two", Pipeline([])))

    @pytest.mark.parametrize(
        "change",
        [
            lambda f: f.update_defaults({"d": 1}),
            lambda f: f.update_bound({"d": 1}),
            lambda f: f.update_renames({"d": "c"}),
            lambda f: setattr(f, "mapspec", "d[i] -> e[i]"),
            lambda f: setattr(f, "output_picker", lambda output, name: output),
            lambda f: setattr(f, "func", lambda d: d),
            lambda f: setattr(f, "cache", True),
        ],
        ids=["default", "bound", "rename", "mapspec", "picker", "func", "cache"],
    )
    def test_what_differs_is_not_shared(self, change):
        other = negative.copy()
        change(other)
        merged = VariantPipeline.from_pipelines(
            ("one", Pipeline([negative])), ("two", Pipeline([other], validate_type_annotations=False))
        )
        assert len(merged.functions) == 2

    def test_values_that_cannot_be_compared_differ(self):
        class Stubborn:
            __hash__ = None

            def __eq__(self, other):
                raise RuntimeError("no")

        one, two = (Pipeline([negative.copy(bound={"d": Stubborn()})]) for _ in range(2))
        assert len(VariantPipeline.from_pipelines(("one", one), ("two", two)).functions) == 2

    def test_plain_functions_are_compared_by_their_options(self):
        def f(x):
            return x

        merged = VariantPipeline.from_pipelines(("add", Pipeline([f, add])), ("sub", Pipeline([f, subtract])))
        assert len(merged.functions) == 3

    def test_nested_functions_are_compared_by_what_they_hold(self):
        def nested(*functions):
            return Pipeline([NestedPipeFunc([f.copy() for f in functions], output_name="e")])

        with pytest.raises(ValueError, match="same functions"):
            VariantPipeline.from_pipelines(("one", nested(plain, negative)), ("two", nested(plain, negative)))
        merged = VariantPipeline.from_pipelines(
            ("one", nested(plain, negative)), ("two", nested(square, negative))
        )
        assert merged.with_variant("two")(c=3) == -9

    @pytest.mark.parametrize("given", [(), (("one", one_of(add)),)], ids=["none", "one"])
    def test_two_are_needed(self, given):
        with pytest.raises(ValueError, match=f"two pipelines or more, got {len(given)}"):
            VariantPipeline.from_pipelines(*given)

    def test_all_the_same_is_refused(self):
        with pytest.raises(ValueError, match="'one', 'two'"):
            VariantPipeline.from_pipelines(("one", one_of(add)), ("two", one_of(add)))

    def test_a_variant_given_twice_is_refused(self):
        with pytest.raises(ValueError, match="'one' of the group None is given twice"):
            VariantPipeline.from_pipelines(("one", one_of(add)), ("one", one_of(subtract)))

    @pytest.mark.parametrize(
        "wrong",
        [one_of(add), ("one",), ("one", add), (1, one_of(add)), (1, "one", one_of(add))],
        ids=["pipeline", "short", "function", "name", "group"],
    )
    def test_what_is_no_such_tuple_is_refused(self, wrong):
        with pytest.raises(TypeError, match=r"\(group, variant, pipeline\)"):
            VariantPipeline.from_pipelines(("two", one_of(subtract)), wrong)


GROUPS = st.sampled_from([None, "g", "h"])
VARIANTS = st.dictionaries(GROUPS, st.sampled_from("pqr"), max_size=2)


@given(st.lists(VARIANTS, min_size=1, max_size=6), st.dictionaries(GROUPS, st.sampled_from("pqr")))
def test_what_is_left_is_what_does_not_contradict_the_selection(variants, select):
    functions = [PipeFunc(lambda x: x, f"y{k}", variant=variant) for k, variant in enumerate(variants)]
    known: dict[str | None, set[str]] = {}
    for variant in variants:
        for group, name in variant.items():
            known.setdefault(group, set()).add(name)
    if not known:
        return
    pipelines = VariantPipeline(functions)
    if any(name not in known.get(group, ()) for group, name in select.items()):
        with pytest.raises(ValueError, match="there is no"):
            pipelines.with_variant(select)
        return
    left = [k for k, v in enumerate(variants) if all(select.get(g, n) == n for g, n in v.items())]
    made = pipelines.with_variant(select)
    assert [f.output_name for f in made.functions] == [f"y{k}" for k in left]
    choices = {group: {variants[k][group] for k in left if group in variants[k]} for group in known}
    assert isinstance(made, VariantPipeline) is any(len(each) > 1 for each in choices.values())


class TestWidget:
    @pytest.fixture
    def drawn(self, monkeypatch, require):
        require("ipywidgets", reason="it shows the menus")
        drawn = []

        def visualize(self, **kwargs):
            drawn.append((names(self), kwargs))

        monkeypatch.setattr(Pipeline, "visualize", visualize, raising=False)
        return drawn

    def test_a_menu_per_group_selects_what_is_drawn(self, variants, drawn):
        *menus, _ = variants.visualize(orient="LR").children
        assert [(menu.description, menu.options) for menu in menus] == [
            ("variant", ("add", "subtract")),
            ("method", ("plain", "square")),
        ]
        menus[1].value = "square"
        assert drawn == [
            (["add", "plain", "negative"], {"orient": "LR"}),
            (["add", "square", "negative"], {"orient": "LR"}),
        ]

    @pytest.mark.parametrize("default", ["square", {"method": "square"}], ids=["str", "dict"])
    def test_the_default_is_selected_first(self, drawn, default):
        VariantPipeline(EVERYTHING, default_variant=default).visualize()
        assert drawn == [(["add", "square", "negative"], {})]

    def test_a_default_stays_out_of_the_way_of_the_menus(self, drawn):
        pipelines = VariantPipeline(EVERYTHING, default_variant={None: "subtract", "method": "square"})
        *menus, _ = pipelines.visualize().children
        menus[0].value, menus[1].value = "add", "plain"
        assert drawn[-1] == (["add", "plain", "negative"], {})

    def test_a_notebook_shows_it(self, variants, drawn):
        bundle = variants._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        assert "application/vnd.jupyter.widget-view+json" in data

    def test_without_ipywidgets(self, variants, monkeypatch):
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        with pytest.raises(ImportError, match=r"ipywidgets.*\n.*notebook"):
            variants.visualize()
