"""`nlsq.model` and `nlsq.compile` of plain functions: the object, its numbers, what every entry point makes of it."""

import math
import pickle
import warnings

import numba
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

import nlsq
from nlsq.compiler.compile import Binding
from nlsq.compiler.kernel_source import Variant
from nlsq.derivatives import ComplexStep
from nlsq.problem.compiled_residual import CompiledResidual

X = np.linspace(0.1, 4.0, 40)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.01 * np.sin(17.0 * X)
P = np.array([2.0, 1.0, 0.3])
P0 = [1.0, 1.0, 0.0]


def decay(x, height, rate, offset=0.5):
    return height * np.exp(-rate * x) + offset


def plane(x, a, b, c):
    u, v = x
    return a * u + b * np.sin(v) + c


def residual(p):
    return decay(X, *p) - Y


def chain(p):
    return np.concatenate([10.0 * (p[1:] - p[:-1] ** 2), 1.0 - p[:-1]])


def branching(x, a):
    return a * x if a > 0 else x


@pytest.fixture(scope="module")
def model():
    return nlsq.model(decay)


def jacobian(p):
    e = np.exp(-p[1] * X)
    return np.stack([e, -p[0] * X * e, np.ones(40)], axis=1)


# The object


def test_what_it_shows(model):
    assert repr(model) == "<nlsq.Model decay(x, height, rate, offset)>"
    assert (model.kind, model.names, model.n) == ("model", ("height", "rate", "offset"), 3)
    assert_array_equal(model(X, *P), decay(X, *P))
    assert nlsq.model(model) is model and nlsq.compile(model) is model
    assert repr(nlsq.compile(residual, kind="residual")) == "<nlsq.Model residual(p)>"


def test_names_of_a_function_of_any_number():
    made = nlsq.model(lambda x, *p: p[0] * np.exp(-p[1] * x), names=["height", "rate"])
    assert made.names == ("height", "rate")
    assert_allclose(made.solve(X, 2.0 * np.exp(-X), [1.0, 0.5]).params, [2.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (branching, "value|bool|branch"),
        (lambda x, a: a * x + np.random.random(), "random"),  # noqa: NPY002
        (lambda x, a: print(a) or a * x, "print"),
        (math, "callable"),
        (len, "Python functions"),
    ],
)
def test_what_cannot_be_traced_says_why(function, words):
    with pytest.raises(TypeError, match=words):
        nlsq.model(function, names=["a"])


def test_it_pickles_where_its_function_does(model):
    again = pickle.loads(pickle.dumps(model))
    assert again.names == model.names
    assert_array_equal(again.solve(X, Y, P0).params, model.solve(X, Y, P0).params)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(nlsq.model(lambda x, a: a * x))


# Solving


def test_solve(model):
    expected, covariance = scipy.optimize.curve_fit(decay, X, Y, P0)
    for _ in range(3):
        params, ours, status = model.solve(X, Y, P0)
        assert_allclose(params, expected, rtol=1e-6)
        assert_allclose(ours, covariance, rtol=1e-5)
        assert 1 <= status <= 4
    assert_allclose(model.solve(X, Y, tuple(P0)).params, expected, rtol=1e-6)


def test_solve_with_weights(model):
    sigma = np.linspace(0.01, 0.1, 40)
    for absolute in (False, True):
        expected, covariance = scipy.optimize.curve_fit(decay, X, Y, P0, sigma, absolute)
        params, ours, _ = model.solve(X, Y, P0, 1.0 / sigma, absolute_sigma=absolute)
        assert_allclose(params, expected, rtol=1e-6)
        assert_allclose(ours, covariance, rtol=1e-5)


def test_solve_of_several_variables():
    rows = np.stack([X, X[::-1] ** 2])
    made = nlsq.model(plane, variables=2)
    assert_allclose(made.solve(rows, plane(rows, 1.0, 2.0, 3.0), [0.0, 0.0, 0.0]).params, [1.0, 2.0, 3.0], rtol=1e-8)


def test_a_solve_that_fails_says_so(model):
    solution = model.solve(X, np.full(40, np.nan), P0)
    assert_array_equal(solution.params, P0)
    assert solution.covariance is None
    assert nlsq.Status(solution.status) is nlsq.Status.NONFINITE_START


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": X[:30]}, "shapes do not fit"),
        ({"y": Y[:30]}, "shapes do not fit"),
        ({"p0": [1.0, 1.0]}, "p0"),
        ({"p0": [1.0, np.nan, 1.0]}, "p0"),
        ({"p0": ["a", "b", "c"]}, "p0"),
        ({"weights": np.ones(3)}, "weights"),
        ({"x": X.astype(np.float32)}, "x must be a contiguous float64 array"),
        ({"y": np.repeat(Y, 2)[::2]}, "y must be a contiguous float64 array"),
        ({"y": list(Y)}, "y must be a contiguous float64 array"),
        ({"x": list(X)}, "x must be a contiguous float64 array"),
        ({"x": np.where(X > 3.0, np.nan, X)}, "x has an entry that is not finite at index 30"),
    ],
)
def test_errors_of_solve_name_the_argument(model, change, words):
    arguments = {"x": X, "y": Y, "p0": P0, "weights": None} | change
    for _ in range(2):
        with pytest.raises(ValueError, match=words):
            model.solve(**arguments)
        model.solve(X, Y, P0)


@pytest.mark.parametrize("jac", ["2-point", "3-point", "cs", ComplexStep(check=False)])
@pytest.mark.parametrize("solver", ["lm", "trf", "dogbox"])
@pytest.mark.parametrize("options", [{}, {"history": True}])
def test_estimators_that_are_asked_for_with_kernels(jac, solver, options):
    """The kernels know no complex parameters; these go to the function itself."""
    problem = nlsq.LeastSquaresProblem(nlsq.compile(residual, kind="residual"), P0, jac=jac)
    assert isinstance(problem.residual, CompiledResidual)
    result = nlsq.solve(problem, method=solver, **options)
    assert isinstance(problem.residual, CompiledResidual)
    assert result.converged
    assert_allclose(result.x, scipy.optimize.least_squares(residual, P0).x, rtol=1e-6)
    assert_allclose(result.jac, jacobian(result.x), rtol=1e-5, atol=1e-7)
    assert result.nfev_jac >= 3 * result.njev


def test_a_residual_has_nothing_to_solve():
    with pytest.raises(TypeError, match="residual"):
        nlsq.compile(residual, kind="residual").solve(X, Y, P0)


# Values and derivatives


def test_residual_and_jacobian(model):
    values, jac = model.residual_and_jacobian(P, X)
    assert_allclose(values, decay(X, *P), rtol=1e-14)
    assert_allclose(jac, jacobian(P), rtol=1e-13, atol=1e-15)
    w = np.linspace(1.0, 2.0, 40)
    values, jac = model.residual_and_jacobian(P, X, Y, w)
    assert_allclose(values, (decay(X, *P) - Y) * w, rtol=1e-12, atol=1e-14)
    assert_allclose(jac, jacobian(P) * w[:, None], rtol=1e-13, atol=1e-15)


def test_residual_and_jacobian_of_residuals():
    values, jac = nlsq.compile(residual, kind="residual").residual_and_jacobian(P)
    assert_allclose(values, residual(P), rtol=1e-12, atol=1e-14)
    assert_allclose(jac, jacobian(P), rtol=1e-13, atol=1e-15)
    p = np.linspace(-1.0, 1.0, 300)
    values, jac = nlsq.compile(chain, kind="residual").residual_and_jacobian(p)
    assert scipy.sparse.issparse(jac) and jac.shape == (598, 300) and jac.nnz <= 900
    assert_allclose(values, chain(p), rtol=1e-13, atol=1e-13)
    expected = np.zeros((598, 300))
    rows = np.arange(299)
    expected[rows, rows], expected[rows, rows + 1], expected[299 + rows, rows] = -20.0 * p[:-1], 10.0, -1.0
    assert_allclose(jac.toarray(), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0, 2.0], X), r"p has shape \(2,\), expected \(3,\)"),
        ((P, X, Y[:3]), "y has 3 values"),
        ((P, X, Y, np.ones(5)), "weights has 5 values"),
    ],
)
def test_errors_of_residual_and_jacobian_name_the_argument(model, arguments, words):
    with pytest.raises(ValueError, match=words):
        model.residual_and_jacobian(*arguments)


def test_a_model_needs_its_x(model):
    with pytest.raises(TypeError, match="x must be an array"):
        model.residual_and_jacobian(P)


# Source


@pytest.mark.parametrize("name", ["residual", "jacobian", "residual_and_jacobian", "normal_equations", "cost"])
def test_the_source_is_flat(model, name):
    text = model.source(name)
    assert "def " in text and "if " not in text and "np." not in text


@pytest.mark.parametrize("name", ["residual", "jacobian", "residual_and_jacobian", "cost"])
def test_numba_makes_the_same_numbers_of_the_source(model, name):
    scope = {"int_pointer": numba.njit(lambda data: data), "exp": math.exp, "x0": X, "response": Y}
    exec(model.source(name, X), scope)
    entry = model.entry(X)
    table = Binding(entry.kernels, entry.trace, Variant()).table
    first, second = np.zeros(120), np.zeros(120)
    value = numba.njit(scope[name])(P, table, first, second)
    values, jac = model.residual_and_jacobian(P, X, Y)
    if name == "cost":
        assert_allclose(value, 0.5 * values @ values, rtol=1e-13)
    elif name == "jacobian":
        assert_allclose(first.reshape(3, 40).T, jac, rtol=1e-13)
    else:
        assert_allclose(first[:40], values, rtol=1e-13, atol=1e-15)
    if name == "residual_and_jacobian":
        assert_allclose(sorted(second), sorted(jac.ravel()), rtol=1e-13)


def test_an_unknown_kernel_is_refused(model):
    with pytest.raises(ValueError, match="kernel must be one of residual"):
        model.source("hessian")
    with pytest.raises(TypeError, match="number of parameters"):
        nlsq.compile(residual, kind="residual").source("residual")


# In the place of the function


def test_every_entry_point_takes_it(model):
    expected, covariance = scipy.optimize.curve_fit(decay, X, Y, P0)
    for options in ({}, {"sigma": np.full(40, 0.1)}, {"bounds": (-10.0, 10.0)}, {"method": "dogbox"}):
        for _ in range(2):
            params, ours = nlsq.curve_fit(model, X, Y, P0, **options)
            assert_allclose(params, expected, rtol=1e-5)
            assert_allclose(ours, covariance, rtol=1e-3)
    result = nlsq.fit(model, X, Y, {"height": 1.0, "rate": 1.0, "offset": 0.0})
    assert_allclose(result.params, expected, rtol=1e-6)
    assert result.params["rate"] == result.params[1] and not result.fallbacks
    compiled = nlsq.compile(residual, kind="residual", n=3)
    for method in ("trf", "dogbox", "lm"):
        assert_allclose(nlsq.least_squares(compiled, P0, method=method).x, expected, rtol=1e-5)
    assert_allclose(nlsq.least_squares(compiled, P0, loss="huber", bounds=(-9.0, 9.0)).x, expected, rtol=1e-3)
    assert_allclose(nlsq.leastsq(compiled, P0)[0], expected, rtol=1e-5)
    assert_allclose(nlsq.leastsq(compiled, P0, full_output=True)[0], expected, rtol=1e-5)


def test_problems_take_it():
    compiled = nlsq.compile(residual, kind="residual")
    problem = nlsq.LeastSquaresProblem(compiled, P0, bounds=(-10.0, 10.0))
    assert isinstance(problem.residual, CompiledResidual)
    result = nlsq.solve(problem)
    assert_allclose(result.x, scipy.optimize.least_squares(residual, P0).x, rtol=1e-5)
    assert result.nfev_jac == 0 and not result.fallbacks
    with pytest.raises(TypeError, match=r"use nlsq\.fit"):
        nlsq.LeastSquaresProblem(nlsq.model(decay), P0)


def test_large_chains_have_sparse_jacobians_without_being_asked():
    n = 1000
    for function in (chain, nlsq.compile(chain, kind="residual")):
        problem = nlsq.LeastSquaresProblem(function, np.full(n, 0.5))
        result = nlsq.solve(problem, max_evaluations=300)
        assert problem.sparse and scipy.sparse.issparse(result.jac)
        assert_allclose(result.jac.toarray()[: n - 1, : n - 1].diagonal(), -20.0 * result.x[:-1], rtol=1e-12)
        assert result.cost < 0.5 * np.sum(chain(np.full(n, 0.5)) ** 2)
        assert result.nfev_jac == 0


def test_a_jacobian_or_pattern_of_the_user_is_kept():
    problem = nlsq.LeastSquaresProblem(residual, P0, jac=jacobian)
    assert nlsq.solve(problem).converged
    assert problem.estimator.jac is jacobian
    wide = nlsq.LeastSquaresProblem(chain, np.full(300, 0.5), jac="2-point")
    wide.use_kernels()
    assert type(wide.estimator).__name__ == "ForwardDifference"


def test_fit_takes_it_in_every_form(model):
    data = {"x": X, "y": Y}
    expected = nlsq.fit(decay, **data, p0=P0).params
    assert_allclose(nlsq.fit(model, **data, p0=P0, bounds={"rate": (0, None)}).params, expected, rtol=1e-5)
    held = nlsq.fit(model, **data, p0=P0, fixed={"offset": 0.5})
    assert held.params["offset"] == 0.5 and held.stderr[2] == 0.0
    assert_allclose(
        held.params[:2], scipy.optimize.curve_fit(lambda x, a, b: decay(x, a, b), X, Y, P0[:2])[0], rtol=1e-5
    )
    with_nan = np.where(X > 3.5, np.nan, Y)
    kept = ~np.isnan(with_nan)
    omitted = nlsq.fit(model, X, with_nan, P0, nan_policy="omit").params
    assert_allclose(omitted, nlsq.fit(decay, X[kept], Y[kept], P0).params, rtol=1e-6)
    with pytest.raises(ValueError, match="y"):
        nlsq.fit(model, X, with_nan, P0)
    assert_allclose(nlsq.fit(model, X, Y).params, expected, rtol=1e-4)  # starts from the data


def test_fit_takes_tuples_and_rows():
    u, v = X, X[::-1] ** 2
    truth = [1.0, 2.0, 3.0]
    y = plane((u, v), *truth)
    made = nlsq.model(plane, variables=2)
    for x in ((u, v), [u, v], np.stack([u, v])):
        for function in (plane, made):
            for _ in range(2):
                assert_allclose(nlsq.fit(function, x, y, [0.0, 0.0, 0.0]).params, truth, rtol=1e-8)


def test_fit_takes_several_outputs():
    def two(x, a, b):
        return np.stack([a * x, np.exp(-b * x)], axis=1)

    y = two(X, 2.0, 0.7)
    for function in (two, nlsq.model(two)):
        for _ in range(2):
            assert_allclose(nlsq.fit(function, X, y, [1.0, 1.0]).params, [2.0, 0.7], rtol=1e-7)


def test_fit_takes_series():
    pandas = pytest.importorskip("pandas")
    model = nlsq.model(lambda x, a, b: a * np.exp(-b * x))
    y = 2.0 * np.exp(-0.7 * X)
    for _ in range(2):
        assert_allclose(nlsq.fit(model, pandas.Series(X), pandas.Series(y), [1.0, 1.0]).params, [2.0, 0.7], rtol=1e-8)


# Explanations


def test_explanations():
    assert nlsq.explain(nlsq.model(decay)).route == "compiled"
    found = nlsq.explain(nlsq.model(decay), X, P)
    assert found.operations > 2 and found.operations_with_gradient > found.operations
    assert found.points == 40 and 0.0 < found.seconds < 1e-3
    assert "operations" in str(found) and "us for 40 residuals" in str(found)
    found = nlsq.explain(branching)
    assert found.route == "plain" and str(found).startswith("plain: ")
    found = nlsq.explain(lambda x, a: a * np.log1p(x) + 17.25 * np.cbrt(x))
    assert found.route in ("traced", "compiled")
    assert nlsq.explain(residual, p0=P).operations > 2
    with pytest.raises(ValueError, match="p0"):
        nlsq.explain(residual)
    with pytest.raises(ValueError, match="kind"):
        nlsq.explain(residual, p0=P, kind="other")
    with pytest.raises(TypeError, match="callable"):
        nlsq.explain(3)


def test_explaining_changes_nothing():
    def fresh(x, a, b):
        return a * np.sqrt(x + 3.75) + b * np.arctan(1.625 * x)

    first = nlsq.explain(fresh)
    assert nlsq.explain(fresh).route == first.route
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlsq.curve_fit(fresh, X, fresh(X, 1.0, 2.0) + 0.01 * np.sin(9.0 * X), [0.5, 0.5])
