"""Code identity: what changes a digest, what does not, and what is said to be unknown."""

from __future__ import annotations

import functools
import math
import operator
import subprocess
import sys
import textwrap
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipefunc_c._hashing.identity import MAX_REACHED, CodeHasher, CodeIdentity, code_identity
from pipefunc_c._hashing.plain import plain_text


def defined(source: str, name: str = "f", module: str = "user_code"):
    """Run source as the content of a module; give one of its functions."""
    namespace = {"__name__": module, "np": np, "math": math, "functools": functools}
    exec(compile(textwrap.dedent(source), "user_code.py", "exec", dont_inherit=True), namespace)
    return namespace[name]


def digest(source: str) -> str | None:
    return code_identity(defined(source)).digest


BASE = """
    K = 2
    def helper(x):
        return x + 1
    def f(x, y=3):
        try:
            total = [helper(v) * K for v in range(x) if v > y]
        except ValueError:
            total = []
        return sum(total)
"""

SAME = {
    "comments": BASE.replace("return x + 1", "return x + 1  # one more").replace(
        "try:", "# now\n        try:"
    ),
    "docstrings": BASE.replace("def f(x, y=3):", 'def f(x, y=3):\n        """Sum."""').replace(
        "def helper(x):", 'def helper(x):\n        "Add."'
    ),
    "moved lines": "\n\n\n"
    + BASE.replace("K = 2", "\n\n    K = 2\n\n").replace("return sum", "\n\n        return sum"),
    "another order": BASE.replace("K = 2\n    def", "def") + "    K = 2\n",
    "what is not reached": BASE + "    def unused():\n        return 4\n    OTHER = 5\n",
    "annotations": BASE.replace("def f(x, y=3)", "def f(x: int, y: int = 3) -> int"),
}

DIFFERENT = {
    "a constant": BASE.replace("x + 1", "x + 2"),
    "the type of a constant": BASE.replace("x + 1", "x + 1.0"),
    "an operator": BASE.replace("x + 1", "x - 1"),
    "a comparison": BASE.replace("v > y", "v >= y"),
    "a global value": BASE.replace("K = 2", "K = 3"),
    "a helper": BASE.replace("return x + 1", "return x + 1 if x else 0"),
    "a default": BASE.replace("y=3", "y=4"),
    "a keyword-only default": BASE.replace("x, y=3", "x, *, y=3"),
    "an exception that is caught": BASE.replace("ValueError", "KeyError"),
    "a builtin that is called": BASE.replace("sum(", "max("),
    "a builtin that is replaced": BASE + "    def sum(values):\n        return 0\n",
    "a name of a parameter": BASE.replace("(x, y=3)", "(z, y=3)").replace("range(x)", "range(z)"),
    "what a comprehension does": BASE.replace("* K for", "+ K for"),
}


@pytest.mark.parametrize("source", SAME.values(), ids=SAME.keys())
def test_what_does_not_change_it(source):
    assert source != BASE
    assert digest(source) == digest(BASE) is not None


@pytest.mark.parametrize("source", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_changes_it(source):
    assert source != BASE
    assert digest(source) != digest(BASE)


def test_a_statement_moved_out_of_try_changes_it():
    inside = "def f(x):\n try:\n  x.a()\n  x.b()\n except ValueError:\n  pass\n"
    outside = "def f(x):\n try:\n  x.a()\n except ValueError:\n  pass\n x.b()\n"
    assert digest(inside) != digest(outside)


PAIRS = {
    "closure value": ("def m(k):\n def g(x): return x + k\n return g\nf = m({})", "1", "2"),
    "closure function": ("def m(k):\n def g(x): return k(x)\n return g\nf = m(lambda x: x + {})", "1", "2"),
    "closure array": ("def m(k):\n def g(x): return k[x]\n return g\nf = m(np.array([1.0, {}]))", "2", "3"),
    "nested function": ("def f(x):\n def g(): return {}\n return g()", "1", "2"),
    "lambda in a default": ("def f(x, g=lambda v: {}): return g(x)", "1", "2"),
    "list default": ("def f(x, g=[1, {}]): return g[x]", "2", "3"),
    "dict default": ("def f(x, g=dict(a={})): return g[x]", "2", "3"),
    "array default": ("def f(x, g=np.array([{}])): return g[x]", "2", "3"),
    "tuple global": ("T = (1, (2, {}))\ndef f(x): return T", "2", "3"),
    "set constant": ("def f(x): return x in {{'a', 'b', '{}'}}", "c", "d"),
    "negative zero": ("def f(x): return {}", "0.0", "-0.0"),
    "attribute": ("def f(x): return x.{}", "real", "imag"),
    "function of a module": ("def f(x): return math.{}(x)", "sin", "cos"),
    "partial": ("def g(x, k): return x\nf = functools.partial(g, k={})", "1", "2"),
    "function of a partial": ("def g(x): return {}\nf = functools.partial(g)", "1", "2"),
    "lru_cache": ("@functools.lru_cache\ndef f(x): return {}", "1", "2"),
    "wraps": (
        "def deco(g):\n @functools.wraps(g)\n def w(x): return g(x) + {}\n return w\n"
        "@deco\ndef f(x): return x",
        *("1", "2"),
    ),
    "wrapped": (
        "def deco(g):\n @functools.wraps(g)\n def w(x): return g(x)\n return w\n@deco\ndef f(x): return {}",
        *("1", "2"),
    ),
    "class that is called": ("class C:\n def m(self): return {}\ndef f(x): return C().m()", "1", "2"),
    "base class": ("class B:\n def m(self): return {}\nclass C(B): pass\ndef f(x): return C().m()", "1", "2"),
    "class as function": ("class f:\n def __init__(self, x): self.x = {}", "1", "2"),
    "class attribute": ("class C:\n k = {}\ndef f(x): return C.k", "1", "2"),
    "property": ("class C:\n @property\n def p(self): return {}\ndef f(x): return C().p", "1", "2"),
    "static method": ("class C:\n @staticmethod\n def p(): return {}\ndef f(x): return C.p()", "1", "2"),
    "callable instance": ("class C:\n def __call__(self, x): return {}\nf = C()", "1", "2"),
    "state of an instance": (
        "class C:\n def __init__(self, k): self.k = k\n def __call__(self, x): return self.k\nf = C({})",
        *("1", "2"),
    ),
    "state in slots": (
        "class C:\n __slots__ = ('k',)\n def __init__(self, k): self.k = k\n "
        "def __call__(self, x): return 1\nf = C({})",
        *("1", "2"),
    ),
    "bound method": ("class C:\n def m(self, x): return {}\nf = C().m", "1", "2"),
    "other method of a bound one": (
        "class C:\n def m(self, x): return self.n()\n def n(self): return {}\nf = C().m",
        *("1", "2"),
    ),
    "dataclass default": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n k: int = {}\ndef f(x): return C()",
        *("1", "2"),
    ),
    "enum member": ("import enum\nclass E(enum.Enum):\n A = {}\ndef f(x): return E.A", "1", "2"),
    "enum value": (
        "import enum\nclass E(enum.Enum):\n A = 1\n B = 2\nV = E.{}\ndef f(x): return V",
        "A",
        "B",
    ),
    "vectorized": ("def g(x): return {}\nf = np.vectorize(g)", "1", "2"),
    "recursion": ("def f(x): return f(x - 1) if x else {}", "1", "2"),
    "mutual recursion": ("def g(x): return f(x) + {}\ndef f(x): return g(x - 1) if x else 0", "1", "2"),
    "generator": ("def f(x):\n {} x", "yield", "return"),
}


@pytest.mark.parametrize(("template", "first", "second"), PAIRS.values(), ids=PAIRS.keys())
def test_what_is_reached_changes_it(template, first, second):
    assert digest(template.format(first)) == digest(template.format(first)) is not None
    assert digest(template.format(first)) != digest(template.format(second))


@pytest.mark.parametrize("prefix", ["", "own."], ids=["directly", "through a module"])
@pytest.mark.parametrize(
    ("module", "is_seen"),
    [("mypackage.other", True), ("__main__", True), ("elsewhere.other", False)],
    ids=["same package", "main", "another package"],
)
def test_helpers_of_the_same_package_count(prefix, module, is_seen):
    def identity(number):
        own = ModuleType(module)
        own.helper = defined(f"def helper(x): return {number}", "helper", module)
        func = defined(f"def f(x): return {prefix}helper(x)", module="mypackage.steps")
        func.__globals__.update(own=own, helper=own.helper)
        return code_identity(func).digest

    assert identity(1) == identity(1)
    assert (identity(1) != identity(2)) == is_seen


def test_the_version_of_another_package_counts(monkeypatch):
    monkeypatch.setitem(sys.modules, "elsewhere", ModuleType("elsewhere"))
    func = defined("def f(x): return helper(x)", module="mypackage")
    func.__globals__["helper"] = defined("def helper(x): return x", "helper", "elsewhere")
    digests = set()
    for version in ("1.0", "2.0"):
        sys.modules["elsewhere"].__version__ = version
        digests.add(code_identity(func).digest)
    assert len(digests) == 2


def test_what_a_function_changes_itself_does_not_count():
    counting = "N = {}\ndef f(x):\n global N\n N += 1\n return x"
    assert digest(counting.format(1)) == digest(counting.format(2))
    cell = "def m():\n n = {}\n def g(x):\n  nonlocal n\n  n += 1\n return g\nf = m()"
    assert digest(cell.format(1)) == digest(cell.format(2))


def test_a_list_that_others_may_change_is_unknown_and_does_not_count():
    func = defined("calls = []\nrows = {}\ndef f(x):\n calls.append(x)\n return rows")
    before = code_identity(func)
    func(1)
    assert code_identity(func) == before
    assert before.unknown == ("calls in f (list)", "rows in f (dict)")


@pytest.mark.parametrize(
    ("func", "unknown"),
    [
        pytest.param([].append, "the object of list.append (list)", id="method of a builtin"),
        pytest.param(defined("def f(x):\n import user_code.more"), "user_code.more", id="import inside"),
        pytest.param(defined("lock = iter(())\ndef f(x): return lock"), "lock in f", id="global object"),
        pytest.param(defined("def f(x, y=object()): return y"), "a default of f (object)", id="default"),
    ],
)
def test_what_cannot_be_looked_into_is_named(func, unknown):
    identity = code_identity(func)
    assert identity.digest is not None
    assert any(each.startswith(unknown) for each in identity.unknown)


@pytest.mark.parametrize(
    "func",
    [len, np.sin, math.sin, operator.add, str.upper, "a".upper, int, np.float64, operator.itemgetter(1)],
    ids=["len", "np.sin", "math.sin", "add", "str.upper", "bound upper", "int", "float64", "itemgetter"],
)
def test_any_callable_has_an_identity(func):
    identity = code_identity(func)
    assert isinstance(identity, CodeIdentity)
    assert identity == code_identity(func)


def test_builtins_differ_by_name():
    assert len({code_identity(func).digest for func in (np.sin, np.cos, math.sin, len, max)}) == 5


def test_python_is_noted():
    assert code_identity(len).python == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_values_beside_the_function_count():
    hasher, func = CodeHasher(), defined(BASE)
    digests = {
        hasher.identity(func).digest,
        hasher.identity(func, bound={"y": 1}).digest,
        hasher.identity(func, bound={"y": 2}).digest,
        hasher.identity(func, picker=defined("def f(r, name): return r[0]")).digest,
        hasher.identity(func, picker=defined("def f(r, name): return r[1]")).digest,
    }
    assert len(digests) == 5
    assert hasher.identity(func, bound={"y": 1}) == CodeHasher().identity(func, bound={"y": 1})


def test_a_shared_hasher_gives_what_a_new_one_gives():
    functions = [defined(source) for source in (BASE, *SAME.values(), *DIFFERENT.values())]
    hasher = CodeHasher()
    assert [hasher.identity(each) for each in functions] == [code_identity(each) for each in functions]


@pytest.mark.slow
def test_it_is_the_same_in_another_process():
    template, value, _ = PAIRS["set constant"]
    source = textwrap.dedent(BASE) + "g = f\n" + template.format(value)
    script = (
        "from pipefunc_c._hashing.identity import code_identity\n"
        f"namespace = {{'__name__': 'user_code'}}\nexec({source!r}, namespace)\n"
        "print(*(code_identity(namespace[name]).digest for name in 'fg'))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": s},
        ).stdout
        for s in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert "None" not in runs[0]


def test_a_long_chain_of_helpers_is_cut_and_said_to_be():
    lines = [f"def h{k}(x): return h{k + 1}(x)" for k in range(MAX_REACHED + 10)]
    identity = code_identity(defined("\n".join(lines), "h0"))
    assert identity.unknown == (f"what lies behind the first {MAX_REACHED} functions",)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)


@given(plain_values, plain_values)
def test_texts_of_plain_values_are_equal_only_if_the_values_are(first, second):
    assert plain_text(first) is not None
    if repr(first) == repr(second) and type(first) is type(second):
        assert plain_text(first) == plain_text(second)
    elif not (isinstance(first, frozenset | tuple) and first == second):
        assert plain_text(first) != plain_text(second)
