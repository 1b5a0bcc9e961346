"""Compiled functions are differentiated exactly: forms, loops and branches, fits, fallbacks, exceptions, threads."""

import math
import pickle
import threading

import numpy as np
import pytest
from references.compiled_curves import MODELS, residual_of

numba = pytest.importorskip("numba")

from benchmarks.problems import nist  # noqa: E402
from nlsq import LeastSquaresProblem, Status, compile, curve_fit, solve  # noqa: E402
from nlsq.derivatives import CentralDifference, ForwardDifference  # noqa: E402
from nlsq.derivatives.exact import Exact, why_not_exact  # noqa: E402

X = np.linspace(0.1, 2.0, 40)


@numba.njit
def euler(x, rate, start, growth):
    y = start
    h = x / 20
    for _ in range(20):
        y += h * (growth * y * y / (1.0 + y) - rate * y)
    return y


@numba.njit
def piecewise(x, slope, knee, power):
    if x < knee:
        return slope * x
    return slope * knee + (x - knee) ** power


@numba.njit
def recurrence(x, a, b):
    previous, current = 0.0, a
    n = 0
    while n < 6:
        previous, current = current, b * x * current - previous / 3
        n += 1
    return current


@numba.njit
def helper(u, v):
    return u * math.tanh(v), v - u


@numba.njit
def through_calls(x, a, b):
    s, d = helper(a * x, b)
    result = 0.0
    if s > 0.1:
        result = s + d
    return result + max(a, b)


@numba.njit
def one_by_one(x, a, b):
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = a * x[i] + b * b
    return out


@numba.njit
def normalised(x, a, b):
    weights = np.exp(-a * x)
    return weights / np.sum(weights) + b * x[:]


@numba.njit
def two_predictors(x, a, b):
    return a * np.exp(-b * x[0]) + a * b * x[1]


FORMS = {  # name -> (model, point)
    "euler": (euler, (0.7, 1.3, 0.4)),
    "piecewise": (piecewise, (0.8, 1.05, 1.5)),
    "recurrence": (recurrence, (0.7, 1.2)),
    "through_calls": (through_calls, (1.1, 0.4)),
    "one_by_one": (one_by_one, (1.1, 0.4)),
    "normalised": (normalised, (1.1, 0.4)),
}


def exact_jacobian(residual, p):
    prepared = Exact().prepare(residual, np.array(p), residual.m)
    return prepared.evaluate(np.array(p), residual(np.array(p)), None)


def central_jacobian(residual, p):
    prepared = CentralDifference().prepare(residual, np.array(p), residual.m)
    return prepared.evaluate(np.array(p), residual(np.array(p)), None)


@pytest.mark.parametrize(
    ("name", "weighted"), [*((name, False) for name in FORMS), ("piecewise", True), ("one_by_one", True)]
)
def test_model_agrees_with_differences(name, weighted):
    model, p = FORMS[name]
    weights = np.linspace(0.5, 3.0, X.size) if weighted else None
    residual = compile(model).bind_data(X, np.cos(X), weights)
    np.testing.assert_allclose(exact_jacobian(residual, p), central_jacobian(residual, p), rtol=1e-7, atol=1e-8)


def test_several_predictors():
    x = np.vstack((X, X**2))
    residual = compile(two_predictors).bind_data(x, X)
    np.testing.assert_allclose(
        exact_jacobian(residual, (1.1, 0.4)), central_jacobian(residual, (1.1, 0.4)), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("name", ["Thurber", "ENSO", "MGH17"])
def test_nist_models_agree_with_differences(name):
    problem = nist.load(name)
    residual = compile(numba.njit(problem.model)).bind_data(problem.x, problem.y)
    for p in (problem.certified, problem.starts[1]):
        found, expected = exact_jacobian(residual, p), central_jacobian(residual, p)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


# Fits


@pytest.mark.parametrize("name", ["gaussian", "hill", "surface"])
def test_same_minimum_with_fewer_evaluations(name):
    residual, p0 = residual_of(name)
    exact = solve(LeastSquaresProblem(residual, p0))
    differences = solve(LeastSquaresProblem(residual, p0, jac="2-point"))
    assert exact.converged
    assert exact.nfev_jac == 0
    assert differences.nfev_jac >= 3 * differences.njev
    assert exact.nfev + exact.nfev_jac < differences.nfev + differences.nfev_jac
    np.testing.assert_allclose(exact.x, differences.x, rtol=1e-6)
    assert exact.cost <= differences.cost * (1 + 1e-12)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox", "gauss-newton"])
def test_compiled_loop_and_python_driver_make_the_same_steps(method):
    residual, p0 = residual_of("gaussian")
    by_address = solve(LeastSquaresProblem(residual, p0), method)
    watched = solve(LeastSquaresProblem(residual, p0), method, history=True)
    counts = [(r.status, r.nfev, r.njev, r.nfev_jac, r.nit) for r in (by_address, watched)]
    assert counts[0] == counts[1]
    np.testing.assert_allclose(by_address.x, watched.x, rtol=1e-12)
    np.testing.assert_allclose(by_address.jac, watched.jac, rtol=1e-9, atol=1e-14)


def test_ode_parameters_are_found():
    truth = (0.7, 1.3, 0.4)
    y = np.array([euler(x, *truth) for x in X])
    popt, _ = curve_fit(compile(euler), X, y, [1.0, 1.0, 0.1])
    np.testing.assert_allclose(popt, truth, rtol=1e-5)


def test_many_parameters_driven_from_python():
    @numba.njit
    def bent(p):
        return p + 0.1 * np.sin(p) - np.arange(p.size)

    problem = LeastSquaresProblem(compile(bent, kind="residual"), np.ones(40))
    result = solve(problem)
    assert type(problem.estimator) is Exact
    assert result.converged
    assert result.nfev_jac == 0
    np.testing.assert_allclose(np.diag(result.jac), 1 + 0.1 * np.cos(result.x), rtol=1e-14)


def test_explicit_schemes_still_take_differences():
    residual, p0 = residual_of("decay")
    for jac in ("2-point", "3-point"):
        result = solve(LeastSquaresProblem(residual, p0, jac=jac))
        assert result.nfev_jac > 0


def test_nothing_is_compiled_before_a_jacobian_is_needed():
    function = compile(numba.njit(lambda x, a: a * x * x))
    problem = LeastSquaresProblem(function.bind_data(X, X), [1.0])
    assert function.derivative_reason is None
    solve(problem)
    assert function.derivative_reason == ""
    assert problem.fallbacks == []


# Where the derivative is not finite


def test_infinite_derivative_is_stepped_over_by_differences():
    @numba.njit
    def root(p):
        return np.sqrt(p) - 0.1

    residual = compile(root, kind="residual").bind(np.array([4.0]))
    prepared = Exact().prepare(residual, np.array([4.0]), 1)
    at_zero = prepared.evaluate(np.array([0.0]), residual(np.array([0.0])), np.empty((1, 1)))
    assert np.isfinite(at_zero).all()
    assert prepared.residual_calls >= 1
    away = prepared.evaluate(np.array([0.25]), residual(np.array([0.25])), np.empty((1, 1)))
    assert away[0, 0] == 1.0
    assert prepared.residual_calls == 0


def test_what_does_not_depend_on_a_parameter_keeps_a_zero():
    """The slope of sqrt is infinite at x = 0, where nothing depends on a."""

    @numba.njit
    def model(x, a, b):
        return np.sqrt(a * x) + b

    x = np.arange(5.0)
    result = solve(LeastSquaresProblem(compile(model).bind_data(x, np.sqrt(2 * x) + 1), [1.0, 0.0]))
    np.testing.assert_allclose(result.x, [2.0, 1.0], rtol=1e-9)
    assert result.nfev_jac == 0
    assert result.jac[0].tolist() == [0.0, 1.0]


# Fallbacks


@numba.njit
def goes_through_the_plane(p):
    return np.array([abs(complex(p[0], p[1])) - 5.0, p[0] - 3.0])


@numba.njit
def detached(p):
    return np.array([float(int(1e6 * p[0])) * 1e-6 + p[1] - 3.0, p[1] - 1.0])


def test_what_does_not_compile_falls_back_with_its_reason():
    function = compile(goes_through_the_plane, kind="residual")
    problem = LeastSquaresProblem(function, [1.5, 2.5])
    result = solve(problem)
    assert result.converged
    np.testing.assert_allclose(result.x, [3.0, 4.0], rtol=1e-8)
    assert type(problem.estimator) is ForwardDifference
    assert "complex" in function.derivative_reason
    assert problem.fallbacks == [f"forward differences instead of exact derivatives: {function.derivative_reason}"]
    assert result.nfev_jac > 0
    with pytest.raises(TypeError, match=r"no exact derivatives: .*complex"):
        solve(LeastSquaresProblem(function, [1.5, 2.5], jac=Exact()))


def test_derivative_that_a_difference_contradicts_is_refused():
    """Rounding to a grid loses the derivative of dual numbers; differences see the slope of the stairs."""
    function = compile(detached, kind="residual")
    problem = LeastSquaresProblem(function, [1.0, 2.0])
    reason = why_not_exact(problem.residual, problem.x0)
    assert "derivative of residual 0" in reason
    assert problem.residual.jacobian_address == 0
    assert function.derivative_reason == reason


def test_exact_needs_a_compiled_function():
    with pytest.raises(TypeError, match=r"need a function made by nlsq\.compile"):
        solve(LeastSquaresProblem(lambda p: p - 1.0, [0.0], jac=Exact()))


def test_sparse_jacobians_are_exact_too():
    function = compile(numba.njit(lambda p: p * p - 2.0), kind="residual")
    problem = LeastSquaresProblem(function, np.ones(4), sparsity=np.eye(4))
    assert type(problem.estimator) is Exact
    result = solve(problem)
    np.testing.assert_allclose(result.x, np.sqrt(2.0), rtol=1e-12)
    assert result.nfev_jac == 1  # the check of the pattern


# Exceptions


@numba.njit
def fails_below(p):
    if p[0] < 0.5:
        raise ArithmeticError("p fell below one half")
    return np.array([p[0], 1.0])


@numba.njit
def refuses_large(x, a):
    if a * x > 1e3:
        raise OverflowError("too large")
    return a * x


def test_exceptions_are_the_users():
    residual = compile(fails_below, kind="residual").bind(np.ones(1))
    prepared = Exact().prepare(residual, np.ones(1), 2)
    with pytest.raises(ArithmeticError, match="one half"):
        prepared.evaluate(np.zeros(1), np.zeros(2), None)
    with pytest.raises(ArithmeticError, match="one half"):
        solve(LeastSquaresProblem(residual, [2.0]))
    with pytest.raises(OverflowError, match="too large"):
        solve(LeastSquaresProblem(compile(refuses_large).bind_data(X, X), [1e6]))


def test_start_that_is_not_finite():
    function = compile(numba.njit(lambda p: np.log(p)), kind="residual")
    assert solve(LeastSquaresProblem(function, [-1.0])).status == Status.NONFINITE_START
    assert solve(LeastSquaresProblem(function, [2.0])).converged


# Pickling, threads


def test_pickled_function_is_differentiated_anew():
    function, curve = MODELS["hill"]
    copy = pickle.loads(pickle.dumps(function))
    assert copy.derivative_reason is None
    residual = copy.bind_data(np.ascontiguousarray(curve.x), curve.y)
    assert solve(LeastSquaresProblem(residual, curve.p0)).nfev_jac == 0


def test_threads_compile_once_and_agree():
    function = compile(numba.njit(lambda x, a, b: a * np.exp(-b * x)))
    y = 2.0 * np.exp(-0.7 * X)
    found, addresses = [None] * 4, [None] * 4

    def work(k):
        residual = function.bind_data(X, y)
        addresses[k] = residual.jacobian_address
        for _ in range(10):
            found[k] = solve(LeastSquaresProblem(residual, [1.0, 1.0])).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert addresses[0] != 0
    assert len(set(addresses)) == 1
    assert all(np.array_equal(x, found[0]) for x in found)
