"""The complex step by address: the kernel and its Python twin take the same derivatives."""

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from benchmarks.problems import curves  # noqa: E402
from nlsq import LeastSquaresProblem, compile, solve  # noqa: E402
from nlsq.derivatives import ComplexStepError  # noqa: E402

CURVE = curves.gaussian()
X, Y = np.array(CURVE.x), np.array(CURVE.y)


def one_x(x, a, b, c, d):
    return a * np.exp(-(((x - b) / c) ** 2) / 2) + d


def all_x(x, a, b, c, d):
    values = a * np.exp(-(((x - b) / c) ** 2) / 2) + d
    return values[:]


def residual(p):
    return p[0] * np.exp(-(((X - p[1]) / p[2]) ** 2) / 2) + p[3] - Y


def bound(form):
    if form == "residual":
        return compile(numba.njit(residual), kind="residual")
    model = compile(numba.njit(one_x if form == "scalar" else all_x))
    return model.bind_data(X, Y, np.linspace(1.0, 3.0, X.size) if form == "weighted" else None)


@pytest.mark.parametrize("form", ["scalar", "array", "weighted", "residual"])
def test_kernel_and_twin_agree(form):
    by_address = solve(LeastSquaresProblem(bound(form), CURVE.p0, jac="cs"))
    watched = solve(LeastSquaresProblem(bound(form), CURVE.p0, jac="cs"), history=True)
    assert by_address.converged
    assert (by_address.nfev, by_address.njev, by_address.nfev_jac) == (watched.nfev, watched.njev, watched.nfev_jac)
    np.testing.assert_allclose(by_address.x, watched.x, rtol=1e-12)
    np.testing.assert_allclose(by_address.jac, watched.jac, rtol=1e-9, atol=1e-12)


def test_derivative_is_right_where_differences_have_no_digits():
    reciprocal = compile(numba.njit(lambda p: np.array([1.0 / p[0], p[0] - 1e-12])), kind="residual")
    result = solve(LeastSquaresProblem(reciprocal, [1e-12], jac="cs"), max_evaluations=1)
    assert result.jac[0, 0] == pytest.approx(-1e24, rel=1e-15)


def test_what_is_not_analytic_is_refused():
    absolute = compile(numba.njit(lambda p: np.abs(p) - 1.0), kind="residual")
    with pytest.raises((ComplexStepError, TypeError)):
        solve(LeastSquaresProblem(absolute, [2.0, 3.0], jac="cs"))
