"""Sparse Jacobians of compiled residuals by dual numbers: equal to the analytic ones, to the last digits."""

import numba
import numpy as np
import pytest
from scipy import sparse

import nlsq
from nlsq.derivatives import Colored, MissingEntryError
from nlsq.derivatives.exact import Exact
from nlsq.kernels.backend import compile_disabled
from nlsq.kernels.backend.seeded_derivative import width_for
from nlsq.pattern import SparsityPattern

pytestmark = pytest.mark.skipif(compile_disabled(), reason="nothing is compiled")

N = 60


@numba.njit
def banded(x):
    n = x.size
    r = np.empty(n)
    for i in range(n):
        r[i] = np.sin(x[i]) * x[(i + 1) % n] ** 2
        for k in range(2, 5):
            r[i] += np.exp(0.1 * x[(i + 2 * k) % n]) / k
    return r


@numba.njit
def rooted(x):
    r = np.empty(x.size)
    for i in range(x.size):
        r[i] = np.sqrt(x[i]) + 2.0 * x[i - 1]
    return r


@numba.njit
def stepped(x):
    r = np.empty(x.size)
    for i in range(x.size):
        r[i] = x[i] + np.floor(1e9 * x[i]) * 1e-9
    return r


def banded_jacobian(x):
    n = x.size
    i, jac = np.arange(n), np.zeros((n, n))
    jac[i, i] = np.cos(x) * np.roll(x, -1) ** 2
    jac[i, (i + 1) % n] = 2.0 * np.sin(x) * np.roll(x, -1)
    for k in range(2, 5):
        jac[i, (i + 2 * k) % n] += 0.1 * np.exp(0.1 * np.roll(x, -2 * k)) / k
    return jac


X = np.linspace(0.3, 1.4, N)
PATTERN = SparsityPattern.from_dense(banded_jacobian(X))


def bound(function, x=X):
    return nlsq.compile(function, kind="residual").bind(x)


def test_all_digits():
    residual = bound(banded)
    prepared = Colored(Exact(), PATTERN).prepare(residual, X, N)
    for x in (X, X[::-1] + 0.3):
        jac = prepared.evaluate(x, residual(x), None)
        assert isinstance(jac, sparse.csr_array)
        np.testing.assert_allclose(jac.toarray(), banded_jacobian(x), rtol=1e-14, atol=1e-15)
    assert prepared.residual_calls == 0
    assert SparsityPattern.from_matrix(jac) == PATTERN


@pytest.mark.parametrize(("n_colors", "width"), [(0, 1), (1, 1), (5, 5), (8, 8), (9, 5), (12, 6), (17, 6), (100, 8)])
def test_widths(n_colors, width):
    assert width_for(n_colors) == width


def test_more_colors_than_partials():
    """A pattern with entries that are zero is right too, and takes several passes."""
    mask = banded_jacobian(X) != 0
    mask[3, :20] = True
    residual = bound(banded)
    prepared = Colored(Exact(), mask).prepare(residual, X, N)
    assert prepared.coloring.n_colors > 16
    jac = prepared.evaluate(X, residual(X), None)
    np.testing.assert_allclose(jac.toarray(), banded_jacobian(X), rtol=1e-14, atol=1e-15)


def test_missing_entry_is_named():
    kept = np.arange(PATTERN.nnz) != 77
    wrong = SparsityPattern.from_entries(PATTERN.indices[kept], PATTERN.columns[kept], PATTERN.shape)
    problem = nlsq.LeastSquaresProblem(nlsq.compile(banded, kind="residual"), X, sparsity=wrong)
    with pytest.raises(MissingEntryError) as caught:
        nlsq.solve(problem)
    assert (caught.value.row, caught.value.column) == (PATTERN.indices[77], PATTERN.columns[77])


def test_problem_takes_it_by_default():
    problem = nlsq.LeastSquaresProblem(nlsq.compile(banded, kind="residual"), X, sparsity=PATTERN)
    result = nlsq.solve(problem, max_evaluations=3)
    assert isinstance(problem.estimator, Exact)
    assert problem.fallbacks == []
    assert result.nfev_jac <= 9  # the check of the pattern, once


def test_problem_finds_the_pattern_first():
    problem = nlsq.LeastSquaresProblem(nlsq.compile(banded, kind="residual"), X, sparsity="auto")
    assert problem.pattern == PATTERN
    assert isinstance(problem.estimator, Exact)


def test_differences_where_it_is_not_finite():
    x = np.linspace(0.0, 1.0, 20)
    mask = np.eye(20, dtype=bool) | np.roll(np.eye(20, dtype=bool), -1, axis=1)
    residual = bound(rooted, x)
    jac = Colored(Exact(), mask, check=False).prepare(residual, x + 0.1, 20).evaluate(x + 0.1, residual(x + 0.1), None)
    np.testing.assert_allclose(jac.diagonal(), 0.5 / np.sqrt(x + 0.1), rtol=1e-14)
    prepared = Colored(Exact(), mask, check=False).prepare(residual, x, 20)
    jac = prepared.evaluate(x, residual(x), None)
    assert np.isfinite(jac.data).all()
    assert prepared.residual_calls > 0


def test_a_derivative_that_differs_from_differences_is_not_used():
    x = np.linspace(0.3, 1.4, 20)
    problem = nlsq.LeastSquaresProblem(nlsq.compile(stepped, kind="residual"), x, sparsity=np.eye(20))
    jac = problem.prepare_jacobian(x, 20).evaluate(x, stepped(x), None)
    np.testing.assert_allclose(jac.diagonal(), 2.0, rtol=0.3)
    assert "forward differences instead of exact derivatives" in problem.fallbacks[0]
    with pytest.raises(TypeError, match="no exact derivatives"):
        Exact().prepare(bound(stepped, x), x, 20, pattern=SparsityPattern.from_dense(np.eye(20)))
