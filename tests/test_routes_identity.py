"""A graph is used for the function that it was recorded for, and for no other; where asked, nothing compares."""

import gc
import weakref

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose
from references.compiled_at_once import compiled_at_once  # noqa: F401

import nlsq
from nlsq.compiler import routes
from nlsq.compiler.entries import Entry

X = np.linspace(0.0, 2.0, 40)
activation = np.tanh


@pytest.fixture
def nothing_is_compared(monkeypatch):
    monkeypatch.setattr(Entry, "is_due", lambda self: False)


class Decay:
    power = 1.0

    def __init__(self, power):
        self.power = power

    def of(self, x, a, b):
        return a * np.exp(-b * x**self.power)

    @classmethod
    def of_class(cls, x, a, b):
        return a * np.exp(-b * x**cls.power)


class Steeper(Decay):
    power = 2.0


@pytest.mark.usefixtures("nothing_is_compared")
@pytest.mark.parametrize(
    "pair", [(Decay(1.0).of, Decay(2.0).of), (Decay.of_class, Steeper.of_class)], ids=["instances", "classes"]
)
@pytest.mark.parametrize("fit", [nlsq.curve_fit, lambda f, *data: (nlsq.fit(f, *data).params,)])
def test_methods_are_those_of_their_own_object(pair, fit):
    for method in [pair[0]] * 3 + [pair[1]] * 2 + [pair[0]]:
        y = method(X, 3.0, 0.7)
        assert_allclose(fit(method, X, y, [1.0, 1.0])[0], [3.0, 0.7], rtol=1e-6)
    assert routes.route_of(pair[0], "model").reason == ""


@pytest.mark.usefixtures("nothing_is_compared")
def test_residuals_that_are_methods_are_those_of_their_own_object():
    class Data:
        def __init__(self, y):
            self.y = y

        def residual(self, p):
            return p[0] * np.exp(-p[1] * X) - self.y

    for a in (1.0, 1.0, 1.0, 3.0, 2.0):
        found = nlsq.least_squares(Data(a * np.exp(-0.7 * X)).residual, [1.0, 1.0])
        assert_allclose(found.x, [a, 0.7], rtol=1e-6)


@pytest.mark.usefixtures("nothing_is_compared")
@pytest.mark.parametrize("solve", ["Model.solve", "curve_fit"])
def test_a_name_given_to_another_function_is_seen(solve, monkeypatch):
    f = lambda x, a, b: a * activation(b * x)
    model = nlsq.model(f)
    for function in (np.tanh, np.tanh, np.tanh, np.sin, np.tanh):
        monkeypatch.setitem(globals(), "activation", function)
        y = f(X, 2.0, 1.2)
        start = np.array([1.9, 1.1])
        popt = model.solve(X, y, start).params if solve == "Model.solve" else nlsq.curve_fit(model, X, y, start)[0]
        assert_allclose(popt, [2.0, 1.2], rtol=1e-6)


@pytest.mark.usefixtures("nothing_is_compared")
def test_another_code_of_the_same_function_is_seen():
    def f(x, a, b):
        return a * np.exp(-b * x)

    def other(x, a, b):
        return a / (1.0 + b * x)

    model = nlsq.model(f)
    start = np.ones(2)
    for _ in range(3):
        assert_allclose(model.solve(X, f(X, 2.0, 1.2), start).params, [2.0, 1.2], rtol=1e-6)
    f.__code__ = other.__code__
    assert_allclose(model.solve(X, f(X, 2.0, 1.2), start).params, [2.0, 1.2], rtol=1e-6)


def test_results_are_compared_now_and_then_for_ever():
    entry = routes.route_of(lambda x, a: a * x, "model").examine(
        f := lambda x, a: a * x, ((40,), 1), lambda given=(): trace(f, given)
    )
    due = [k for k in range(1, 3100) if entry.is_due()]
    assert due == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3072]


def trace(f, given):
    from nlsq.compiler.tracing.trace import trace_model

    return trace_model(f, X, 1, given=given)


def test_kernels_do_not_keep_the_data_they_were_made_for():
    def make():
        x, levels = np.linspace(0.0, 1.0, 37), np.zeros(37)
        f = lambda x, a, b: a * np.exp(-b * x) + levels
        y = f(x, 2.0, 1.0)
        popt = nlsq.curve_fit(f, x, y, [1.0, 1.0])[0]
        assert_allclose(popt, scipy.optimize.curve_fit(f, x, y, [1.0, 1.0])[0], rtol=1e-6)
        assert routes.route_of(f, "model").latest is not None
        return [weakref.ref(array) for array in (x, levels, y)]

    references = make()
    routes.forget()
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]
