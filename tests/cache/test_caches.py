"""What all caches do, what each drops, and caches shared by processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipefunc_c.cache import DiskCache, HybridCache, LRUCache, SimpleCache
from pipefunc_c.cache._base import MISSING, CacheBase
from pipefunc_c.cache._make import make_cache

KINDS = ["simple", "lru", "hybrid", "disk", "disk without memory", "lru, moved", "hybrid, moved"]


def made(kind: str, folder, **options) -> CacheBase:
    name, _, rest = kind.partition(", ")
    if name == "simple":
        return SimpleCache(**options)
    if name.startswith("disk"):
        return DiskCache(folder / "cache", with_lru_cache=name == "disk", **options)
    cache = {"lru": LRUCache, "hybrid": HybridCache}[name](**options)
    if rest:
        cache.share()
    return cache


@pytest.fixture(params=KINDS)
def cache(request, tmp_path):
    return made(request.param, tmp_path)


def test_values_go_in_and_out(cache):
    assert cache.get("a") is None
    assert cache.lookup("a", MISSING) is MISSING
    assert "a" not in cache
    assert len(cache) == 0
    cache.keep("a", [1], 0.1)
    cache.keep(("b", 2), None, 0.1)
    assert cache.get("a") == [1]
    assert cache.lookup(("b", 2), MISSING) is None
    assert ("b", 2) in cache
    assert len(cache) == 2
    assert cache.cache == {"a": [1], ("b", 2): None}
    cache.keep("a", 3, 0.1)
    assert cache.get("a") == 3
    assert len(cache) == 2
    cache.clear()
    assert len(cache) == 0
    assert cache.get("a") is None
    assert cache.cache == {}


def test_an_empty_cache_is_true(cache):
    assert cache
    assert "0 values" in repr(cache)


def test_nobody_changes_what_is_kept(cache):
    value = [1]
    cache.keep("a", value, 0.1)
    value.append(2)
    assert cache.get("a") == [1]
    cache.get("a").append(3)
    assert cache.get("a") == [1]


@pytest.mark.parametrize("kind", ["simple", "lru", "hybrid"])
def test_without_copies_the_object_itself_is_kept(kind, tmp_path):
    cache = made(kind, tmp_path, copy=False)
    value = [1]
    cache.keep("a", value, 0.1)
    assert cache.get("a") is value


@pytest.mark.parametrize("kind", ["simple", "lru", "hybrid"])
def test_a_value_that_cannot_be_copied_is_kept_with_a_warning(kind, tmp_path):
    cache = made(kind, tmp_path)
    lock = threading.Lock()
    with pytest.warns(UserWarning, match="lock .*cannot be copied"):
        cache.keep("a", lock, 0.1)
    with pytest.warns(UserWarning, match="cannot be copied"):
        assert cache.get("a") is lock


@pytest.mark.parametrize("kind", ["lru, moved", "disk"])
def test_a_value_that_cannot_be_pickled_is_left_out_with_a_warning(kind, tmp_path):
    cache = made(kind, tmp_path)
    with pytest.warns(UserWarning, match="A lock is not kept"):
        cache.keep("a", threading.Lock(), 0.1)
    assert "a" not in cache
    assert cache.get(threading.Lock()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_of_it_works(kind, tmp_path):
    cache = made(kind, tmp_path)
    cache.keep("a", [1], 0.5)
    other = pickle.loads(pickle.dumps(cache))
    assert other.get("a") == [1]
    other.keep("b", 2, 0.5)
    assert (cache.get("b") == 2) == (kind != "simple")


@pytest.mark.parametrize("kind", [LRUCache, HybridCache, DiskCache])
@pytest.mark.parametrize("size", [0, -1])
def test_sizes_are_positive(kind, size, tmp_path):
    options = {"cache_dir": tmp_path} if kind is DiskCache else {}
    with pytest.raises(ValueError, match=f"`max_size` must be at least 1, got {size}"):
        kind(max_size=size, **options)
    with pytest.raises(TypeError, match="2.5"):
        kind(max_size=2.5, **options)


@pytest.mark.parametrize("kind", ["lru", "lru, moved"])
def test_lru_drops_what_was_not_used_for_the_longest_time(kind, tmp_path):
    cache = made(kind, tmp_path, max_size=2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.get("a")
    cache.put("c", 3)
    assert cache.cache == {"a": 1, "c": 3}


@pytest.mark.parametrize("kind", ["lru", "lru, moved"])
def test_lru_put_of_an_existing_key_counts_once(kind, tmp_path):
    cache = made(kind, tmp_path, max_size=2)
    for key in "aaabab":
        cache.put(key, key)
    for key in "cdef":
        cache.put(key, key)
    assert cache.cache == {"e": "e", "f": "f"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=40), st.integers(1, 4))
def test_lru_is_what_an_obvious_list_does(operations, size):
    cache, obvious = LRUCache(max_size=size, shared=False), []
    for is_put, key in operations:
        if is_put:
            cache.put(key, -key)
        else:
            assert cache.get(key) == (-key if key in obvious else None)
        if is_put or key in obvious:
            obvious = [each for each in obvious if each != key][-(size - 1) or len(obvious) :] + [key]
            obvious = obvious[-size:]
        assert list(cache.cache) == obvious


@pytest.mark.parametrize("kind", ["hybrid", "hybrid, moved"])
def test_hybrid_drops_the_lowest_weighted_score(kind, tmp_path):
    cache = made(kind, tmp_path, max_size=2)
    cache.put("slow", 1, 5.0)
    cache.put("fast", 2, 1.0)
    cache.put("new", 3, 3.0)
    assert cache.cache == {"slow": 1, "new": 3}
    assert cache.access_counts == {"slow": 1, "new": 1}
    assert cache.computation_durations == {"slow": 5.0, "new": 3.0}
    for _ in range(9):
        cache.get("new")
    cache.put("last", 4, 0.1)
    assert set(cache.cache) == {"new", "last"}
    assert cache.access_counts["new"] == 10
    assert "Access Counts" in str(cache)


def test_hybrid_weights_decide():
    cache = HybridCache(2, access_weight=1.0, duration_weight=0.0, shared=False)
    cache.put("slow", 1, 100.0)
    cache.put("used", 2, 0.0)
    cache.get("used")
    cache.put("new", 3, 0.0)
    assert set(cache.cache) == {"used", "new"}


def test_hybrid_needs_a_duration():
    with pytest.raises(TypeError, match="duration"):
        HybridCache().put("a", 1)


# -- files


def test_disk_eviction_of_several_files(tmp_path):
    for k in range(5):
        DiskCache(tmp_path).put(k, k)
        os.utime(max(tmp_path.iterdir(), key=lambda path: path.stat().st_ctime_ns), (k, k))
    cache = DiskCache(tmp_path, max_size=2)
    cache.put("new", "new")
    assert len(cache) == 2
    assert cache.get("new") == "new"
    assert cache.cache == {4: 4, "new": "new"}


def test_disk_forgets_in_memory_what_it_deletes(tmp_path):
    cache = DiskCache(tmp_path, max_size=1)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") is None
    assert cache.get("b") == 2


def test_disk_keys_that_are_equal_are_the_same_file(tmp_path):
    part = "".join(["a", "b"])
    DiskCache(tmp_path).put((part, part, frozenset("xyz")), 1)
    assert DiskCache(tmp_path).get(("ab", "".join(["a", "b"]), frozenset("zyx"))) == 1
    assert len(DiskCache(tmp_path)) == 1


def test_disk_file_names(tmp_path):
    DiskCache(tmp_path / "new" / "folder").put("a", 1)
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.suffix == ".pkl"
    assert len(bytes.fromhex(file.stem)) == 16


@pytest.mark.parametrize("damage", [b"", b"\x80\x05", b"no pickle"], ids=["empty", "cut", "text"])
def test_a_damaged_file_counts_as_missing(damage, tmp_path):
    DiskCache(tmp_path).put("a", [1] * 100)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert DiskCache(tmp_path).get("a") is None
    assert DiskCache(tmp_path).cache == {}
    DiskCache(tmp_path).put("a", 2)
    assert DiskCache(tmp_path).get("a") == 2


def test_a_refused_write_leaves_no_file(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        DiskCache(tmp_path).put("a", 1)
    assert not list(tmp_path.iterdir())


def test_disk_permissions(tmp_path):
    DiskCache(tmp_path, permissions=0o600).put("a", 1)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_disk_clear_leaves_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    cache = DiskCache(tmp_path)
    cache.put("a", 1)
    cache.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_disk_plain_pickle_refuses_lambdas(tmp_path):
    with pytest.warns(UserWarning, match="not kept"):
        DiskCache(tmp_path, use_cloudpickle=False).put("a", lambda: 1)
    DiskCache(tmp_path).put("a", lambda: 1)
    assert DiskCache(tmp_path).get("a")() == 1


# -- shared


class Elsewhere:
    """A value that another process cannot open."""

    def __reduce__(self):
        return only_here, (os.getpid(),)


def only_here(pid):
    if os.getpid() != pid:
        raise RuntimeError("not here")
    return Elsewhere()


def put_in_child(cache, value):
    cache.keep("child", value, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LRUCache, HybridCache])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_shared_cache_is_seen_by_other_processes(kind, method):
    cache = kind()
    if method == "fork":
        cache.share()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = multiprocessing.get_context(method)
        process = context.Process(target=put_in_child, args=(cache, [7]))
        process.start()
    process.join(60)
    assert process.exitcode == 0
    assert cache.get("child") == [7]


def test_a_shared_cache_starts_no_process_before_it_is_needed():
    before = set(multiprocessing.active_children())
    cache = LRUCache()
    cache.put("a", 1)
    assert cache.shared
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize("kind", [LRUCache, HybridCache])
def test_a_shared_cache_that_cannot_be_reached_goes_on_alone(kind):
    cache = kind(max_size=3)
    cache.keep("a", 1, 0.5)
    data = pickle.dumps(cache)
    copies = [pickle.loads(data), pickle.loads(pickle.dumps(pickle.loads(data)))]
    cache.keep("late", 1, 0.5)
    connected = pickle.loads(data)
    assert connected.get("late") == 1
    del cache
    for other in copies:
        assert other.cache == {"a": 1}
        assert other.get("a") == 1
        other.keep("b", 2, 0.5)
        assert other.get("b") == 2
        assert other.max_size == 3
        assert other.shared
    assert pickle.loads(pickle.dumps(copies[0])).cache == {"a": 1, "b": 2}
    # What was there when it was pickled may be long out of date in a copy that was in use.
    with pytest.warns(UserWarning, match="Cache cannot be reached"):
        assert connected.get("a") is None


def test_an_unrelated_process_gets_the_values_of_a_shared_cache():
    cache = HybridCache(max_size=3)
    cache.put("a", [1], 0.5)
    cache.put("b", Elsewhere(), 0.5)
    cache.get("a")
    code = (
        "import pickle, sys, warnings; warnings.simplefilter('error')\n"
        "cache = pickle.load(sys.stdin.buffer)\n"
        "print(cache.get('a'), cache.cache, cache.access_counts, cache.computation_durations)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(cache), capture_output=True, check=False
    )
    assert (done.stderr, done.stdout.strip()) == (b"", b"[1] {'a': [1]} {'a': 3} {'a': 0.5}")
    assert len(cache) == 2


def test_values_that_cannot_move_are_left_behind():
    cache = LRUCache(copy=False)
    cache.put("a", threading.Lock())
    cache.put("b", 2)
    with pytest.warns(UserWarning, match="lock is not kept"):
        cache.share()
    assert cache.cache == {"b": 2}


def test_threads_use_one_cache():
    cache = HybridCache(max_size=3, shared=False)

    def use(number):
        for k in range(300):
            cache.put((number, k % 5), k, 0.1)
            cache.get((number, k % 3))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 3
    assert set(cache.cache) == set(cache.access_counts) == set(cache.computation_durations)


# -- by name


@pytest.mark.parametrize(
    ("name", "kind"),
    [("simple", SimpleCache), ("lru", LRUCache), ("hybrid", HybridCache), ("disk", DiskCache)],
)
def test_a_cache_by_its_name(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert type(make_cache(name, None, False)) is kind
    assert not list(tmp_path.iterdir())


def test_the_default_cache():
    assert make_cache(None, None, False) is None
    assert type(make_cache(None, {"max_size": 3}, True)) is LRUCache


def test_unknown_caches_and_options_are_refused():
    with pytest.raises(ValueError, match="'none'"):
        make_cache("none", None, True)
    with pytest.raises(TypeError, match="'size'"):
        make_cache("lru", {"size": 3}, True)
    with pytest.raises(ValueError, match="got 0"):
        make_cache("lru", {"max_size": 0}, True)
    with pytest.raises(ValueError, match=r"\['lru'\]"):
        make_cache(["lru"], None, True)
    with pytest.raises(TypeError, match="`cache_kwargs` must be a dict with .*, got 3"):
        make_cache(None, 3, False)
