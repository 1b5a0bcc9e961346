"""A graph that is not the function: caught by the comparison, the fit is made by calls, and it is said."""

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose
from references.compiled_at_once import compiled_at_once  # noqa: F401

import nlsq
import nlsq.fitting.tracing
from nlsq.compiler import routes
from nlsq.compiler.tracing import trace
from nlsq.solvers.least_overhead import DISAGREES

X = np.linspace(0.1, 4.0, 40)
Y = 2.5 * np.exp(-1.3 * X) + 0.01 * np.sin(17.0 * X)
P0 = (1.0, 1.0)


def decay(x, a, b):
    return a * np.exp(-b * x)


def off(x, a, b):
    return 1.001 * a * np.exp(-b * x)


def off_far_from_the_start(x, a, b):
    return np.where(a < 2.0, a * np.exp(-b * x), 0.99 * a * np.exp(-b * x))


@pytest.fixture(params=[off, off_far_from_the_start], ids=["everywhere", "at the solution"])
def wrong(request, monkeypatch):
    """Record other graphs than the functions'."""
    model, residual = trace.trace_model, trace.trace_residual
    other = request.param

    def wrong_model(function, x, n, fixed=None, given=()):
        if fixed:
            return model(lambda x, a: other(x, a, *fixed.values()), x, n)
        return model(other, x, n)

    monkeypatch.setattr(trace, "trace_model", wrong_model)
    monkeypatch.setattr("nlsq.fitting.tracing.trace_model", wrong_model)
    off = lambda f, n, args=(), given=(): residual(lambda p: other(X, p[0], p[1]) - Y, n)
    monkeypatch.setattr(trace, "trace_residual", off)


def assert_refused(function, form="model"):
    assert routes.route_of(function, form).reason == DISAGREES


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sigma": np.full(40, 0.5)},
        {"sigma": 0.5},
        {"method": "trf"},
        {"method": "dogbox", "bounds": (0.0, 10.0)},
        {"full_output": True},
        {"xdata": list(X)},
    ],
    ids=["plain", "weighted", "one sigma", "trf", "bounded", "full output", "list"],
)
def test_curve_fit(wrong, options):
    def model(x, a, b):
        return a * np.exp(-b * x)

    arguments = {"xdata": X, "ydata": Y, "p0": P0} | options
    expected = scipy.optimize.curve_fit(model, **arguments)
    ours = nlsq.curve_fit(model, **arguments)
    assert_allclose(ours[0], expected[0], rtol=1e-5)
    assert_allclose(ours[1], expected[1], rtol=1e-3)
    assert_refused(model)
    found = nlsq.explain(model)
    assert (found.route, found.reason) == ("plain", DISAGREES)


@pytest.mark.parametrize("options", [{}, {"bounds": (0.0, 10.0)}, {"method": "lm"}, {"loss": "huber"}], ids=str)
def test_least_squares(wrong, options):
    def residual(p):
        return decay(X, p[0], p[1]) - Y

    expected = scipy.optimize.least_squares(residual, P0, **options)
    assert_allclose(nlsq.least_squares(residual, P0, **options).x, expected.x, rtol=1e-5)
    assert_refused(residual, "residual")


def test_leastsq(wrong):
    def residual(p):
        return decay(X, p[0], p[1]) - Y

    assert_allclose(nlsq.leastsq(residual, P0)[0], scipy.optimize.leastsq(residual, P0)[0], rtol=1e-5)
    assert_refused(residual, "residual")


@pytest.mark.parametrize(
    "options", [{}, {"bounds": {"a": (0, 5)}}, {"weights": 2.0}, {"loss": "huber"}, {"fixed": {"b": 1.3}}], ids=str
)
def test_fit_says_so_in_the_very_result(wrong, options):
    def model(x, a, b):
        return a * np.exp(-b * x)

    calls = []

    def called(x, a, b):
        calls.append(a)
        return a * np.exp(-b * x)

    expected = nlsq.fit(called, X, Y, P0, **options)
    assert calls and not any(DISAGREES in line for line in expected.fallbacks)
    result = nlsq.fit(model, X, Y, P0, **options)
    assert any(DISAGREES in line for line in result.fallbacks)
    assert_allclose(result.params, expected.params, rtol=1e-6)
    assert_refused(model)


def test_the_quick_fit_says_so_too(monkeypatch):
    def model(x, a, b):
        return a * np.exp(-b * x)

    assert not nlsq.fit(model, X, Y, P0).fallbacks
    entry = routes.route_of(model, "model").latest
    entry.uses = 0  # the next one is compared
    other = routes.Route(off.__code__, "model").examine(off, ((40,), 2), lambda: trace.trace_model(off, X, 2))
    entry.trace, entry.kernels, entry.native = other.trace, other.kernels, []
    result = nlsq.fit(model, X, Y, P0)
    assert any(DISAGREES in line for line in result.fallbacks)
    assert_allclose(result.params, scipy.optimize.curve_fit(model, X, Y, P0)[0], rtol=1e-5)


def test_solve(wrong):
    def residual(p):
        return decay(X, p[0], p[1]) - Y

    problem = nlsq.LeastSquaresProblem(residual, P0)
    result = nlsq.solve(problem)
    assert any(DISAGREES in line for line in result.fallbacks)
    assert_allclose(result.x, scipy.optimize.leastsq(residual, P0)[0], rtol=1e-5)
    assert_refused(residual, "residual")


def test_a_model_that_was_asked_for_raises(wrong):
    def model(x, a, b):
        return a * np.exp(-b * x)

    asked = nlsq.model(model)
    with pytest.raises(TypeError, match=DISAGREES):
        asked.solve(X, Y, P0)
