"""Keys of functions: whatever machine code depends on changes the key, or there is none."""

import ctypes
import math
import sys
import types

import numba
import numpy as np
import pytest

from nlsq.kernels.backend.code_key import LARGEST_ARRAY, NotKeyed, key_of


def made(source, **scope):
    """Run source as the module ``users``, and return the function f in it."""
    module = types.ModuleType("users")
    module.__dict__.update(scope)
    exec(source, module.__dict__)
    return module.f


def module(name, source, **scope):
    one = types.ModuleType(name)
    one.__dict__.update(scope)
    exec(source, one.__dict__)
    return one


CHANGES = {
    "a member of an enumeration": (
        "from enum import IntEnum\nclass M(IntEnum):\n    A = {}\ndef f(x): return M.A.value * x",
        (2, 3),
    ),
    "members that change places": (
        "from enum import Enum\nclass M(Enum):\n    {}\ndef f(x): return x if x == M.A.value else 0",
        ("A = 1; B = 2", "A = 2; B = 1"),
    ),
    "a member by itself": (
        "from enum import IntEnum\nclass M(IntEnum):\n    A = {}\nONE = M.A\ndef f(x): return ONE * x",
        (2, 3),
    ),
    "fields": (
        "from collections import namedtuple\nP = namedtuple('P', '{}')\ndef f(x): return P(x, 2.0).a",
        ("a b", "b a"),
    ),
    "defaults of fields": (
        "from collections import namedtuple\nP = namedtuple('P', 'a b', defaults=[{}])\ndef f(x): return P(x).b",
        (1.0, 2.0),
    ),
    "fields of a tuple that is there": (
        "from collections import namedtuple\nP = namedtuple('P', '{}')(1, 2)\ndef f(x): return P.a * x",
        ("a b", "b a"),
    ),
    "fields with types": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: float\n    b: float = {}\ndef f(x): return P(x).b",
        (1.0, 2.0),
    ),
    "a default": ("def f(x, k={}): return k * x", (1.0, 2.0)),
    "a default by keyword": ("def f(x, *, k={}): return k * x", (1.0, 2.0)),
    "a default of a helper": ("def g(x, k={}): return k * x\ndef f(x): return g(x)", (1.0, 2.0)),
    "numbers of an array": ("import numpy as np\nT = np.array([1.0, {}])\ndef f(x): return T[1] * x", (1.0, 2.0)),
    "the type of an array": ("import numpy as np\nT = np.zeros(2, {})\ndef f(x): return T[1] * x", ("'f4'", "'i4'")),
    "the sign of zero": ("Z = {}\ndef f(x): return math.copysign(x, Z)", ("0.0", "-0.0")),
    "a number of another type": ("N = {}\ndef f(x): return x // N", ("2", "2.0")),
    "flags of a jitted helper": (
        "from numba import njit\n@njit(fastmath={})\ndef g(x): return x + 1\ndef f(x): return g(x)",
        ("True", "{'nnan', 'ninf'}"),
    ),
    "the error model": (
        "from numba import njit\n@njit(error_model='{}')\ndef g(x): return 1 / x\ndef f(x): return g(x)",
        ("numpy", "python"),
    ),
    "a slice": ("def f(x): return x[{}][0]", ("1:", "2:")),
    "a name": ("K, L = 1.0, 2.0\ndef f(x): return {} * x", ("K", "L")),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_changes_the_code_changes_the_key(case):
    source, values = CHANGES[case]
    first, again, other = (
        key_of(made(source.replace("{}", str(value)), math=math)) for value in (values[0], values[0], values[1])
    )
    assert first.digest == again.digest != other.digest
    assert not first.why_not_kept


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return pkg.K * x",
        "def f(x): return pkg.sub.K * x",
        "def f(x): return pkg.sub.deep.K * x",
        "def f(x): return pkg.sub.h(x)",
        "def f(x): return pkg.sub.M.A * x",
        "def make(m):\n    def f(x): return m.sub.K * x\n    return f\nf = make(pkg)",
        "def f(x):\n    def g(y): return pkg.sub.K * y\n    return g(x)",
    ],
)
def test_what_modules_hold_is_in_the_key(source):
    def package(k):
        deep = module("pkg.sub.deep", f"K = {k}")
        text = f"from enum import IntEnum\nK = {k}\ndef h(x): return K * x\nclass M(IntEnum): A = {k}"
        sub = module("pkg.sub", text, deep=deep)
        deep.up = sub  # modules refer to one another
        return module("pkg", f"K = {k}", sub=sub)

    keys = [key_of(made(source, pkg=package(k))).digest for k in (2, 2, 3)]
    assert keys[0] == keys[1] != keys[2]


class Holder:
    K = 2.0

    def __call__(self, x):
        return self.K * x


class Derived(float):
    pass


class Longer(tuple):
    pass


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1.0, 2.0], "list"),
        ({"a": 1.0}, "dict"),
        (Holder, "type"),
        (Holder(), "Holder"),
        (Holder().__call__, "method"),
        (Derived(1.0), "Derived"),
        (Longer((1.0, 2.0)), "Longer"),
        (([1.0],), "list"),
        ((math,), "module"),
        (np.array([None]), "ndarray"),
        (np.zeros(2, [("a", "f8")]), "ndarray"),
        (ctypes.CFUNCTYPE(ctypes.c_double)(lambda: 1.0), "CFunctionType"),
        (numba.vectorize(lambda x: x), "DUFunc"),
        (np.frompyfunc(lambda x: x, 1, 1), "ufunc"),
    ],
)
def test_what_may_change_unnoticed_has_no_key(value, kind):
    for scope in ("T = given\ndef f(x): return T", "def make(t):\n    return lambda x: t\nf = make(given)"):
        with pytest.raises(NotKeyed, match=f"of type {kind}, whose value may change unnoticed"):
            key_of(made(scope, given=value))
    with pytest.raises(NotKeyed, match=f"refers to m.T, of type {kind}"):
        key_of(made("def f(x): return m.T", m=module("m", "", T=value)))


def test_libraries_are_known_by_name():
    source = (
        "from numpy import clip, float64, sin, sum\nfrom operator import add\nimport numpy as np\n"
        "def f(x): return add(sin(x), abs(float64(clip(x, 0, 1)))) + sum(x) + np.linalg.norm(x) + math.pi + np.pi"
    )
    assert not key_of(made(source, math=math)).why_not_kept


def test_a_file_named_as_a_library_is_the_users(tmp_path, monkeypatch):
    keys = []
    for k in (2, 3):
        (tmp_path / "profile.py").write_text(f"K = {k}\ndef h(x): return {k} * x\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.delitem(sys.modules, "profile", raising=False)
        keys.append(key_of(made("import profile\nfrom profile import h\ndef f(x): return h(x) + profile.h(x)")).digest)
    monkeypatch.delitem(sys.modules, "profile")
    assert keys[0] != keys[1]


@pytest.mark.parametrize("table", [np.arange(20.0)[::2], np.zeros(LARGEST_ARRAY)])
def test_addresses_hold_in_this_process_alone(table):
    def f(x):
        return table[1] * x

    keys = [key_of(f)]
    assert "it refers to table, of type ndarray, " in keys[0].why_not_kept
    assert keys[0].arrays[0] is table
    assert key_of(f) == keys[0]
    table[1] = 5.0
    keys.append(key_of(f))
    table = table.copy() if table.flags.c_contiguous else np.repeat(table, 2)[::2]  # the same numbers elsewhere
    keys.append(key_of(f))
    assert len({key.digest for key in keys}) == 3
