"""Running a graph with a cache: which calls are spared, and which must not be."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c._graph.evaluate import run
from pipefunc_c._graph.graph import FunctionGraph
from pipefunc_c._hashing.identity import CodeHasher
from pipefunc_c.cache import HybridCache, LRUCache, SimpleCache, UnhashableError
from pipefunc_c.cache._function_hash import compute_function_hash
from pipefunc_c.cache._key import function_cache_id, map_key
from pipefunc_c.exceptions import UnusedParametersError


class Counted:
    """Three functions that note down their calls."""

    def __init__(self, cached=("c", "d", "z"), **options) -> None:
        calls = self.calls = []

        def note(name, result):
            calls.append(name)
            return result

        self.functions = [
            PipeFunc(lambda a, b=2: note("c", [a, b]), "c", cache="c" in cached),
            PipeFunc(lambda c, k: note("d", (c[0], k)), ("d", "e"), cache="d" in cached),
            PipeFunc(lambda d, e: note("z", (d, e)), "z", cache="z" in cached),
        ]
        self.pipeline = Pipeline(self.functions, cache_type="simple", **options)

    def called(self, output=None, /, **kwargs):
        """Run, and return the result and the calls."""
        self.calls.clear()
        return self.pipeline(output, **kwargs), list(self.calls)


pytestmark = pytest.mark.filterwarnings("ignore:.*has no digest")


def test_a_hit_calls_nothing():
    counted = Counted()
    assert counted.called("z", a=1, k=3) == ((1, 3), ["c", "d", "z"])
    assert counted.called("z", a=1, k=3) == ((1, 3), [])
    assert counted.called("z", a=1, k=4) == ((1, 4), ["d", "z"])
    assert counted.called("z", a=2, k=4) == ((2, 4), ["c", "d", "z"])


def test_a_hit_spares_what_is_upstream_of_it():
    counted = Counted(cached=("d",))
    assert counted.called("z", a=1, k=3) == ((1, 3), ["c", "d", "z"])
    assert counted.called("z", a=1, k=3) == ((1, 3), ["z"])


def test_functions_with_several_outputs():
    counted = Counted()
    assert counted.called("d", a=1, k=3) == (1, ["c", "d"])
    assert counted.called("e", a=1, k=3) == (3, [])
    assert counted.called(("d", "e"), a=1, k=3) == ((1, 3), [])
    assert counted.called(["e", "z"], a=1, k=3) == ((3, (1, 3)), ["z"])


def test_the_whole_result_is_kept_when_a_part_was_asked_for():
    counted = Counted()
    counted.called("e", a=1, k=3)
    assert counted.called(("d", "e"), a=1, k=3) == ((1, 3), [])


def test_only_cached_functions_are_kept():
    counted = Counted(cached=("c",))
    counted.called("z", a=1, k=3)
    assert counted.called("z", a=1, k=3)[1] == ["d", "z"]
    assert len(counted.pipeline.cache) == 1


def test_full_output_has_everything_with_and_without_hits():
    counted = Counted()
    expected = {"a": 1, "k": 3, "c": [1, 2], "d": 1, "e": 3, "z": (1, 3)}
    for _ in range(2):
        assert counted.pipeline.run("z", {"a": 1, "k": 3}, full_output=True) == expected
    assert counted.calls == ["c", "d", "z"]


def test_defaults_are_part_of_the_key():
    counted = Counted()
    assert counted.called("c", a=1) == ([1, 2], ["c"])
    assert counted.called("c", a=1, b=2) == ([1, 2], [])
    counted.pipeline.update_defaults({"b": 5})
    assert counted.called("c", a=1) == ([1, 5], ["c"])


def test_nothing_is_cached_where_an_intermediate_output_is_given():
    counted = Counted()
    for _ in range(2):
        assert counted.called("d", c=[9], k=3) == (9, ["d"])
    assert len(counted.pipeline.cache) == 0


def test_unused_arguments_are_refused_unless_a_result_was_cached():
    counted = Counted()
    with pytest.raises(UnusedParametersError, match="'w'"):
        counted.called("z", a=1, k=3, w=0)
    assert counted.calls == []
    counted.called("c", a=1)
    assert counted.called("z", a=1, k=3, w=0) == ((1, 3), ["d", "z"])
    assert counted.called("z", a=1, k=3, w=0) == ((1, 3), [])


def test_nobody_changes_what_is_kept():
    counted = Counted()
    counted.called("c", a=1)[0].append("changed")
    counted.called("c", a=1)[0].append("changed")
    assert counted.called("c", a=1) == ([1, 2], [])


def test_an_error_is_not_kept():
    pipeline = Pipeline([PipeFunc(lambda x: 1 // x, "y", cache=True, print_error=False)])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            pipeline(x=0)
    assert len(pipeline.cache) == 0


def test_none_is_a_result_like_any_other():
    calls = []
    pipeline = Pipeline([PipeFunc(lambda x: calls.append(x) and x, "y", cache=True)], cache_type="simple")
    assert pipeline(x=1) is pipeline(x=1) is None
    assert calls == [1]


def test_numpy_defaults_with_a_cached_run():
    pipeline = Pipeline([PipeFunc(lambda x, w: x * w.sum(), "y", defaults={"w": np.arange(3)}, cache=True)])
    assert pipeline(x=2) == pipeline(x=2) == 6
    assert pipeline(x=2, w=np.arange(4)) == 12
    assert len(pipeline.cache) == 2


def test_equal_numbers_of_different_types_have_their_own_results():
    pipeline = Pipeline([PipeFunc(lambda x: type(x).__name__, "y", cache=True)], cache_type="simple")
    assert [pipeline(x=x) for x in (1, 1.0, True, np.int64(1))] == ["int", "float", "bool", "int64"]


# -- a change anywhere makes another key


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


def test_an_upstream_function_that_is_replaced():
    pipeline = Pipeline([PipeFunc(double, "y"), PipeFunc(lambda y: y + 1, "z", cache=True)])
    assert pipeline("z", x=1) == 3
    pipeline.replace(PipeFunc(triple, "y"))
    assert pipeline("z", x=1) == 4


def test_an_upstream_bound_value():
    pipeline = Pipeline(
        [
            PipeFunc(lambda x, k: x * k, "y", bound={"k": 2}),
            PipeFunc(double, "z", renames={"x": "y"}, cache=True),
        ]
    )
    assert pipeline("z", x=1) == 4
    pipeline["y"].update_bound({"k": 5})
    assert pipeline("z", x=1) == 10


def test_an_upstream_picker():
    def made(picker):
        return Pipeline(
            [
                PipeFunc(lambda x: x, ("a", "b"), output_picker=picker),
                PipeFunc(lambda a: a, "z", cache=True),
            ]
        ).function_graph

    cache = SimpleCache()
    assert run(made(lambda result, name: result), "z", {"x": 1}, cache=cache) == 1
    assert run(made(lambda result, name: -result), "z", {"x": 1}, cache=cache) == -1


def test_renames_that_swap():
    pipeline = Pipeline([PipeFunc(lambda a, b: (a, b), "y", cache=True)])
    assert pipeline(a=1, b=2) == (1, 2)
    pipeline.update_renames({"a": "b", "b": "a"}, update_from="current")
    assert pipeline(a=1, b=2) == (2, 1)


def test_the_flag_may_change():
    counted = Counted(cached=())
    assert counted.called("c", a=1)[1] == counted.called("c", a=1)[1] == ["c"]
    counted.pipeline["c"].cache = True
    counted.called("c", a=1)
    assert counted.called("c", a=1) == ([1, 2], [])
    counted.pipeline["c"].cache = False
    assert counted.called("c", a=1)[1] == ["c"]


class Holder:
    def __init__(self, content) -> None:
        self.content = content

    def __call__(self, x):
        return (x, self.content)


def test_callables_that_hold_what_has_no_digest_are_told_apart():
    one, other = object(), object()
    graphs = [FunctionGraph([PipeFunc(Holder(each), "y", cache=True)]) for each in (one, other)]
    cache = SimpleCache(copy=False)
    for _ in range(2):
        assert [run(graph, "y", {"x": 1}, cache=cache)[1] for graph in graphs] == [one, other]
    assert len(cache) == 2


def test_callables_that_hold_equal_values_share_results():
    graphs = [FunctionGraph([PipeFunc(Holder([1]), "y", cache=True)]) for _ in range(2)]
    cache = SimpleCache()
    for graph in graphs:
        run(graph, "y", {"x": 1}, cache=cache)
    assert len(cache) == 1


class Named(Holder):
    def __pipefunc_hash__(self):
        return "my version 1"


def test_a_callable_may_say_itself_what_it_is():
    assert function_cache_id(PipeFunc(Named(threading.Lock()), "y")) == "y-my version 1"
    cache = SimpleCache()
    for content in (1, 2):
        graph = FunctionGraph([PipeFunc(Named(content), "y", cache=True)])
        assert run(graph, "y", {"x": 1}, cache=cache) == (1, 1)


def test_the_id_of_a_function_has_its_output_names():
    assert function_cache_id(PipeFunc(double, "y")) == f"y-{compute_function_hash(double)}"
    assert function_cache_id(PipeFunc(double, ("a", "b"))).startswith("a,b-")
    assert compute_function_hash(double) != compute_function_hash(triple)
    assert compute_function_hash(3) is None


def test_a_callable_without_fingerprint_is_warned_of(monkeypatch):
    def hidden(hasher, func):
        raise RuntimeError("a proxy that hides everything")

    monkeypatch.setattr(CodeHasher, "identity", hidden)
    functions = [PipeFunc(Holder(k), "y", cache=True) for k in range(2)]
    with pytest.warns(UserWarning, match="Holder cannot be told apart.*__pipefunc_hash__"):
        first = function_cache_id(functions[0])
    with pytest.warns(UserWarning, match="Holder"):
        assert function_cache_id(functions[0]) == first
    with pytest.warns(UserWarning, match="Holder"):
        assert function_cache_id(functions[1]) != first


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, x):
        return x


@pytest.mark.filterwarnings("error")
def test_a_disk_cache_tells_whose_results_no_other_process_finds(tmp_path):
    function = PipeFunc(Locked(), "y", cache=True)
    pipeline = Pipeline([function], cache_type="disk", cache_kwargs={"cache_dir": tmp_path})
    with pytest.warns(UserWarning, match="Locked.*no digest.*__pipefunc_hash__"):
        assert pipeline(x=1) == 1
    assert pipeline(x=1) == 1


def test_an_argument_that_can_be_no_key_is_named():
    class Refusing:
        __hash__ = None

        def __getstate__(self):
            raise RuntimeError("no pickle")

    pipeline = Pipeline([PipeFunc(lambda x, w: 1, "y", cache=True)])
    with pytest.raises(UnhashableError, match="'y' is cached, but .*'w'") as caught:
        pipeline(x=1, w=[Refusing()])
    assert caught.value.detail == "w"
    with pytest.warns(UserWarning, match="'y' is not cached"):
        assert map_key("y-1", "raise", {"w": Refusing()}) is None


def test_keys_of_maps():
    assert map_key("y-1", "raise", {"a": [1], "b": 2}) == map_key("y-1", "raise", {"b": 2, "a": [1]})
    kwargs = {"a": 1}
    assert len({map_key(*each, kwargs) for each in [("y", "raise"), ("y", "continue"), ("z", "raise")]}) == 3


def test_a_hybrid_cache_gets_durations():
    pipeline = Pipeline([PipeFunc(lambda x: [time.sleep(x)], "y", cache=True)], cache_type="hybrid")
    pipeline(x=0.01)
    (seconds,) = pipeline.cache.computation_durations.values()
    assert 0.01 <= seconds < 5


def test_disk_results_are_found_by_a_later_pipeline(tmp_path):
    calls = []

    def note(function, result, kwargs):
        calls.append(result)

    def made():
        options = {"cache_type": "disk", "cache_kwargs": {"cache_dir": tmp_path}}
        return Pipeline([PipeFunc(double, "y", cache=True, post_execution_hook=note)], **options)

    assert [made()("y", x=4) for _ in range(3)] == [8, 8, 8]
    assert calls == [8]
    assert len(made().cache) == 1


def test_the_default_cache_is_lru():
    assert type(Pipeline([PipeFunc(double, "y", cache=True)]).cache) is LRUCache
    assert Pipeline([PipeFunc(double, "y")]).cache is None


# -- against runs without a cache


@st.composite
def graphs(draw):
    known = ["r0", "r1"]
    functions = []
    for k in range(draw(st.integers(1, 6))):
        parameters = draw(st.lists(st.sampled_from(known), unique=True, max_size=3))
        outputs = [f"o{k}", f"p{k}"][: draw(st.integers(1, 2))]
        result = f"({k}, {''.join(f'{name}, ' for name in parameters)})"
        body = result if len(outputs) == 1 else f"({result}, ('second', {result}))"
        functions.append(
            PipeFunc(
                eval(f"lambda {', '.join(parameters)}: {body}"),
                outputs[0] if len(outputs) == 1 else tuple(outputs),
                cache=draw(st.booleans()),
            )
        )
        known += outputs
    targets = [name for f in functions for name in {f.output_name, *f.output_names}]
    runs = st.tuples(
        st.sampled_from(sorted(targets, key=repr)),
        st.dictionaries(st.sampled_from(known), st.sampled_from([0, 1, 1.0]), max_size=3),
        st.booleans(),
    )
    return functions, draw(st.lists(runs, min_size=1, max_size=8))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(graphs(), st.sampled_from([SimpleCache, LRUCache, HybridCache]), st.integers(1, 3))
def test_a_cache_never_changes_a_result(drawn, kind, size):
    functions, runs = drawn
    graph = FunctionGraph(functions)
    cache = kind() if kind is SimpleCache else kind(max_size=size)
    for target, kwargs, full_output in runs:
        values = {"r0": 0, "r1": 1, **kwargs}
        if set(values) & {target, *(target if isinstance(target, tuple) else ())}:
            continue
        options = {"full_output": full_output, "allow_unused": True}
        expected = run(graph, target, values, **options)
        for _ in range(2):
            assert repr(run(graph, target, values, cache=cache, **options)) == repr(expected)


@pytest.mark.slow
def test_a_hit_costs_little():
    functions = [PipeFunc(eval(f"lambda x{k}, a, b: x{k}"), f"x{k + 1}", cache=True) for k in range(10)]
    pipeline = Pipeline(functions, cache_type="simple")

    def best(call):
        times = []
        for _ in range(9):
            started = time.process_time()
            for _ in range(2_000):
                call()
            times.append(time.process_time() - started)
        return min(times)

    bare = functions[0].func
    pipeline("x10", x0=1, a=2.0, b="c")
    gc.collect()
    # Measured: about 25 times a call.
    assert best(lambda: pipeline("x10", x0=1, a=2.0, b="c")) < 150 * best(lambda: bare(1, 2, 3))
