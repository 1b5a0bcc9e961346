"""What a verdict relied on is looked at again: changes are seen, or the verdict says that it cannot see them."""

import contextlib
import functools
import gc
import threading
import types
import weakref

import numpy as np
import pytest

from nlsq.compiler.clean import Unclean, examination, examine, examine_cached

X = np.linspace(0.1, 1.0, 20)


def in_new_module(source):
    """Run a source text in a namespace of its own, in which functions can be given other globals."""
    namespace = {"np": np, "X": X}
    exec(source, namespace)
    return namespace


def scaled_model(a, y):
    def model(x, k):
        return a * np.exp(-k * x)

    return lambda p: model(X, *p) - y


# -- what unchanged() sees ---------------------------------------------------------------------------------------------


def test_a_changed_global_is_seen():
    names = in_new_module("K = 2.0\ndef f(p): return K * p\n")
    seen = examine(names["f"])
    assert seen.immutable and seen.unchanged()
    names["K"] = 3.0
    assert not seen.unchanged()
    names["K"] = 2.0 * 1.0
    assert examine(names["f"]).unchanged()


def test_a_shadowed_builtin_is_seen():
    names = in_new_module("def f(p): return abs(p)\n")
    seen = examine(names["f"])
    assert seen.unchanged()
    names["abs"] = np.sin
    assert not seen.unchanged()


def test_a_changed_function_of_a_module_is_seen(monkeypatch):
    seen = examine(lambda p: np.exp(p))
    assert seen.unchanged()
    monkeypatch.setattr(np, "exp", np.sin)
    assert not seen.unchanged()


def test_a_changed_cell_is_seen():
    k = 2.0

    def f(p):
        return k * p

    seen = examine(f)
    assert seen.immutable and seen.unchanged()
    k = 3.0
    assert not seen.unchanged()


def test_a_changed_cell_of_a_helper_is_seen():
    k = 2.0

    def helper(p):
        return k * p

    seen = examine(lambda p: helper(p))
    assert seen.unchanged()
    k = 3.0
    assert not seen.unchanged()


def test_changed_defaults_are_seen():
    names = in_new_module("def h(p, k=2.0): return k * p\ndef f(p, k=2.0): return k * h(p)\n")
    for changed in ("f", "h"):
        seen = examine(names["f"])
        assert seen.immutable and seen.unchanged()
        names[changed].__defaults__ = (3.0,)
        assert not seen.unchanged()


def test_changed_keyword_defaults_are_seen():
    names = in_new_module("def h(p, *, k=2.0): return k * p\ndef f(p, *, k=2.0): return k * h(p)\n")
    for changed in ("f", "h"):
        seen = examine(names["f"])
        assert seen.immutable and seen.unchanged()
        names[changed].__kwdefaults__["k"] = 3.0
        assert not seen.unchanged()
        seen = examine(names["f"])
        names[changed].__kwdefaults__ = {"k": 4.0}
        assert not seen.unchanged()


def test_changed_code_is_seen():
    for changed in ("f", "h"):
        names = in_new_module("def h(p): return 2 * p\ndef f(p): return h(p)\ndef g(p): return 3 * p\n")
        seen = examine(names["f"])
        assert seen.unchanged()
        names[changed].__code__ = names["g"].__code__
        assert not seen.unchanged()


class Instrument:
    gain = 2.0

    def __init__(self):
        self.width = 1.0

    def response(self, p):
        return self.gain * p / self.width

    def residual(self, p):
        return self.response(p) - X


def test_a_method_rebound_on_its_class_is_seen():
    class Own(Instrument):
        pass

    seen = examine(Own().residual)
    assert seen.unchanged()
    Own.response = lambda self, p: 2 * p
    assert not seen.unchanged()


def test_a_method_hidden_by_an_instance_attribute_is_seen():
    instrument = Instrument()
    seen = examine(instrument.residual)
    assert seen.unchanged()
    instrument.response = lambda p: p
    assert not seen.unchanged()


@pytest.mark.parametrize("name", ["width", "gain"])
def test_a_changed_attribute_is_seen(name):
    instrument = Instrument()
    seen = examine(instrument.response)
    assert seen.immutable and seen.unchanged()
    setattr(instrument, name, 3.0)
    assert not seen.unchanged()


def test_a_changed_class_attribute_is_seen():
    class Own(Instrument):
        pass

    seen = examine(Own().response)
    assert seen.unchanged()
    Own.gain = 5.0
    assert not seen.unchanged()
    seen = examine(Own().response)
    Own.width = property(lambda self: 1.0)  # takes precedence over the instance
    assert not seen.unchanged()


def test_a_changed_class_and_namespace_are_seen():
    class Other(Instrument):
        pass

    instrument = Instrument()
    seen = examine(instrument.response)
    instrument.__class__ = Other
    assert not seen.unchanged()
    seen = examine(instrument.response)
    instrument.__dict__ = {"width": 2.0}
    assert not seen.unchanged()


def test_a_changed_attribute_of_a_namespace_is_seen():
    config = types.SimpleNamespace(scale=2.0)
    seen = examine(lambda p: config.scale * p)
    assert seen.immutable and seen.unchanged()
    config.scale = 3.0
    assert not seen.unchanged()


@pytest.mark.parametrize("held", [[1.0, 2.0], {"a": 1.0, "b": 2.0}])
def test_contents_of_containers_are_seen_and_declared(held):
    seen = examine(lambda p: len(held) * p)
    assert not seen.immutable
    assert seen.others == [held] and seen.others[0] is held
    assert seen.unchanged()
    held[next(iter(held)) if isinstance(held, dict) else 0] = 5.0
    assert not seen.unchanged()


def test_changed_keywords_of_a_partial_are_seen():
    part = functools.partial(lambda x, k: k * x, k=2.0)
    seen = examine(part)
    assert seen.unchanged()
    part.keywords["k"] = 3.0
    assert not seen.unchanged()


def test_an_emptied_cell_is_seen():
    k = 2.0

    def f(p):
        return k * p  # noqa: F821

    seen = examine(f)
    del k
    assert not seen.unchanged()


def test_arrays_are_reported_where_they_are_held():
    y, n = np.ones(20), np.arange(20)
    names = in_new_module("def h(p, w=X): return w * p[0] + X\n")
    helper = names["h"]
    seen = examine(lambda p: helper(p) + y * n)
    assert not seen.immutable
    assert {(one.kind, one.key, one.owner) for one in seen.arrays} == {
        ("cell", "y", ()),
        ("global", "X", ("helper",)),
        ("default", "w", ("helper",)),
    }
    assert [(one.kind, one.key, one.owner) for one in seen.other_arrays] == [("cell", "n", ())]
    assert all(get(key, None) is found for get, key, found in seen.lookups)


def test_immutable_needs_every_value_to_be():
    rates, limit = (1.0, 2.0), None
    assert examine(lambda p: p * rates[0] if limit is None else p).immutable
    assert not examine(lambda p: p * X).immutable
    held = ([1.0],)
    assert not examine(lambda p: p * held[0][0]).immutable


# -- the cache ---------------------------------------------------------------------------------------------------------


def times_examined(monkeypatch):
    """Count examinations from here on."""
    count = []
    plain = examination._examined
    monkeypatch.setattr(examination, "_examined", lambda *arguments: (count.append(1), plain(*arguments))[1])
    return count


def made(k, y, *, name=np.exp):
    return lambda p, n=k: name(p[0] * k) * n - y


def test_a_function_made_anew_is_known(monkeypatch):
    examine_cached(made(1.0, X))
    count = times_examined(monkeypatch)
    for i in range(5):
        function = made(float(i), X + i)
        seen = examine_cached(function)
        assert seen.unchanged()
        assert any(found is function.__closure__[2].cell_contents for _, _, found in seen.lookups)
    assert not count


def test_a_nested_helper_made_anew_is_known(monkeypatch):
    first = examine_cached(scaled_model(1.0, X))
    count = times_examined(monkeypatch)
    second = examine_cached(scaled_model(2.0, X + 1.0))
    assert not count
    assert first.unchanged() and second.unchanged()
    assert first.arrays == second.arrays


@pytest.mark.parametrize(
    "other",
    [
        lambda: made(1, X),
        lambda: made(1.0, np.arange(20)),
        lambda: made(1.0, np.ones((20, 1))),
        lambda: made(1.0, list(X)),
        lambda: made(1.0, X, name=np.sin),
    ],
)
def test_another_kind_of_content_is_examined_again(monkeypatch, other):
    examine_cached(made(1.0, X))
    count = times_examined(monkeypatch)
    assert examine_cached(other()).unchanged()
    assert count


def test_a_function_that_becomes_unclean_is_refused():
    assert examine_cached(made(1.0, X)).unchanged()
    with pytest.raises(Unclean):
        examine_cached(made(1.0, X, name=np.random.seed))
    assert examine_cached(made(1.0, X)).unchanged()


def test_a_global_array_replaced_by_another_is_known(monkeypatch):
    names = in_new_module("def f(p): return p[0] * X\n")
    first = examine_cached(names["f"])
    count = times_examined(monkeypatch)
    names["X"] = X + 1.0
    assert not first.unchanged()
    assert examine_cached(names["f"]).unchanged()
    assert not count
    names["X"] = [1.0]
    examine_cached(names["f"])
    assert count


def test_a_cached_verdict_sees_changes_of_helpers():
    names = in_new_module("def h(p): return 2 * p\ndef f(p): return h(p)\n")
    examine_cached(names["f"])
    with pytest.raises(Unclean, match="not defined"):
        examine_cached(types.FunctionType(names["f"].__code__, {"np": np}))
    exec("def h(p):\n    print(p)\n    return p\n", names)
    with pytest.raises(Unclean, match="print"):
        examine_cached(names["f"])


def test_a_refusal_is_remembered_and_forgotten_when_its_cause_changes(monkeypatch):
    names = in_new_module("def h(p): return input()\ndef f(p): return h(p)\n")
    with pytest.raises(Unclean):
        examine_cached(names["f"])
    count = times_examined(monkeypatch)
    with pytest.raises(Unclean, match="input"):
        examine_cached(names["f"])
    assert not count
    exec("def h(p): return 2 * p\n", names)
    assert examine_cached(names["f"]).unchanged()


def test_methods_partials_and_outside_positions_are_known(monkeypatch):
    instrument, part = Instrument(), functools.partial(made(1.0, X), n=2.0)

    def residual(p, data):
        return p - data

    for _ in range(2):
        assert examine_cached(instrument.residual).unchanged()
        assert examine_cached(part).unchanged()
        assert examine_cached(residual, (1,)).unchanged()
        assert examine_cached(residual).unchanged()
        count = times_examined(monkeypatch)
    assert not count[1:]
    assert examine_cached(Instrument().residual).unchanged()


def printing(k, y):
    return lambda p: print(p) or k * y


@pytest.mark.parametrize("make", [made, scaled_model, printing])
def test_short_lived_functions_leave_nothing_behind(make):
    watched = []
    for i in range(2000):
        data = np.full(1000, float(i))
        watched.append(weakref.ref(data))
        with contextlib.suppress(Unclean):
            examine_cached(make(float(i), data))
    del data
    gc.collect()
    assert not any(one() is not None for one in watched)
    assert len(examination._cache) <= examination.CACHE_SIZE


def test_many_different_functions_do_not_fill_the_memory():
    for i in range(examination.CACHE_SIZE + 20):
        examine_cached(in_new_module(f"def f(p): return p + {i}\n")["f"])
    assert len(examination._cache) <= examination.CACHE_SIZE


def test_threads_may_share_the_cache():
    failures = []

    def work():
        for i in range(200):
            try:
                if not examine_cached(made(float(i), X + i)).unchanged():
                    failures.append("changed")
                examine_cached(in_new_module(f"def f(p): return p + {i}\n")["f"])
            except Exception as failure:
                failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_unknown_python_is_refused(monkeypatch):
    monkeypatch.setattr(examination, "VERSION", (3, 99))
    with pytest.raises(Unclean, match=r"3\.99 is not known"):
        examine(lambda p: p)
