"""One `LeastSquaresProblem` solved again after what its function reads has become another."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references.compiled_at_once import compiled_at_once  # noqa: F401

import nlsq
from nlsq.problem.compiled_residual import CompiledResidual

X = np.linspace(0.1, 4.0, 40)
P0 = (1.0, 1.0)


def data(height):
    return height * np.exp(-0.7 * X)


@pytest.fixture(params=["plain", "asked for"])
def made(request):
    return (lambda f: f) if request.param == "plain" else lambda f: nlsq.compile(f, kind="residual")


def check(problem, truth):
    result = nlsq.solve(problem)
    assert isinstance(problem.residual, CompiledResidual)
    assert not result.fallbacks and not problem.route.reason
    assert result.nfev_jac == 0  # exact derivatives
    assert_allclose(result.x, truth, rtol=1e-6)


def test_a_number_in_a_cell(made):
    scale, y = 1.0, data(2.0)

    def residual(p):
        return scale * p[0] * np.exp(-p[1] * X) - y

    problem = nlsq.LeastSquaresProblem(made(residual), P0)
    for scale in (1.0, 2.0, 0.5, 4.0):
        check(problem, [2.0 / scale, 0.7])


def test_an_array_in_a_cell(made):
    y = data(2.0)

    def residual(p):
        return p[0] * np.exp(-p[1] * X) - y

    problem = nlsq.LeastSquaresProblem(made(residual), P0)
    for height in (2.0, 3.0, 5.0):
        y = data(height)
        check(problem, [height, 0.7])
    y = y.astype(np.float32).astype(np.float64)[::-1][::-1]
    check(problem, [5.0, 0.7])


def test_an_array_that_is_copied_for_the_kernels(made):
    both = np.stack([data(2.0), data(2.0)], axis=1)
    y = both[:, 0]

    def residual(p):
        return p[0] * np.exp(-p[1] * X) - y

    problem = nlsq.LeastSquaresProblem(made(residual), P0)
    for height in (2.0, 3.0):
        y[:] = data(height)
        check(problem, [height, 0.7])


def test_a_graph_that_holds_for_one_call(made):
    limits = np.array([1.0, 2.0])
    y = data(2.0)

    def residual(p):
        return np.max(limits) * p[0] * np.exp(-p[1] * X) - y

    problem = nlsq.LeastSquaresProblem(made(residual), P0)
    for largest in (2.0, 4.0):
        limits[1] = largest
        check(problem, [2.0 / largest, 0.7])


def test_a_sparse_jacobian(made):
    n, factor = 300, 10.0
    target = np.zeros(n - 1)

    def chain(p):
        return np.concatenate([factor * (p[1:] - p[:-1] ** 2) - target, 1.0 - p])

    problem = nlsq.LeastSquaresProblem(made(chain), np.full(n, 0.9))
    for factor in (10.0, 5.0):
        result = nlsq.solve(problem)
        assert problem.sparse and not result.fallbacks and not problem.route.reason
        assert_allclose(result.x, 1.0, rtol=1e-6)
        assert_allclose(result.jac.toarray()[: n - 1, : n - 1].diagonal(), -2.0 * factor * result.x[:-1], rtol=1e-6)


def test_a_route_that_was_refused_meanwhile(made):
    y = data(2.0)

    def residual(p):
        return p[0] * np.exp(-p[1] * X) - y

    problem = nlsq.LeastSquaresProblem(made(residual), P0)
    check(problem, [2.0, 0.7])
    problem.route.refuse("a reason")
    result = nlsq.solve(problem)
    assert not isinstance(problem.residual, CompiledResidual)
    assert_allclose(result.x, [2.0, 0.7], rtol=1e-6)
