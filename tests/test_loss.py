"""Losses against SciPy, against their own derivatives, and at the ends of the floating-point range."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize._lsq.common import scale_for_robust_loss_function
from scipy.optimize._lsq.least_squares import construct_loss_function
from scipy.sparse.linalg import aslinearoperator

from nlsq.loss import LOSS_NAMES, Loss, scale_for_loss

ROBUST = [name for name in LOSS_NAMES if name != "linear"]
RESIDUAL = np.array([-30.0, -1.5, -0.4, 0.0, 1e-3, 0.7, 0.9, 2.5, 100.0])


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("scale", [1.0, 0.3, 12.0])
def test_agrees_with_scipy(name, scale):
    loss, scipys = Loss(name, scale), construct_loss_function(RESIDUAL.size, name, scale)
    np.testing.assert_allclose(
        loss.of_residual(RESIDUAL), scipys(RESIDUAL), rtol=1e-13, atol=1e-15 * scale**2
    )  # SciPy cancels
    np.testing.assert_allclose(
        loss.evaluate(RESIDUAL**2), scipys(RESIDUAL), rtol=1e-13, atol=1e-15 * scale**2
    )  # SciPy cancels
    assert loss.cost(RESIDUAL) == pytest.approx(scipys(RESIDUAL, cost_only=True), rel=1e-14)


@pytest.mark.parametrize("name", ROBUST)
def test_correction_agrees_with_scipy(name):
    rng = np.random.default_rng(0)
    jac = rng.standard_normal((RESIDUAL.size, 3))
    loss = Loss(name, 0.8)
    expected_jac, expected = scale_for_robust_loss_function(jac.copy(), RESIDUAL.copy(), loss.of_residual(RESIDUAL))
    mine, r = jac.copy(), RESIDUAL.copy()
    result, corrected = scale_for_loss(loss, mine, r)
    assert result is mine
    assert corrected is r
    np.testing.assert_allclose(mine, expected_jac, rtol=1e-14)
    np.testing.assert_allclose(r, expected, rtol=1e-14)


@pytest.mark.parametrize("name", ROBUST)
@given(z=st.floats(1e-3, 1e4).filter(lambda z: abs(z - 1) > 1e-2), scale=st.floats(1e-2, 1e2))
def test_derivatives_are_those_of_the_value(name, z, scale):
    loss = Loss(name, scale)
    z = z * scale**2
    h = 1e-4 * z
    behind, here, ahead = loss.evaluate([z - h, z, z + h]).T
    assert (ahead[0] - behind[0]) / (2 * h) == pytest.approx(here[1], rel=1e-5)
    assert (ahead[1] - behind[1]) / (2 * h) == pytest.approx(here[2], rel=1e-5, abs=1e-12 * here[1] / z)


@pytest.mark.parametrize("name", ROBUST)
@given(
    r=st.lists(st.floats(-50, 50).filter(lambda r: abs(abs(r) - 1) > 1e-3), min_size=3, max_size=3),
    slopes=st.lists(st.floats(-2, 2), min_size=3, max_size=3),
)
def test_corrected_model_has_the_gradient_of_the_cost(name, r, slopes):
    loss = Loss(name)
    r, jac = np.array(r), np.array(slopes)[:, np.newaxis]
    gradient = (loss.of_residual(r)[1] * r) @ jac[:, 0]
    mine, corrected = scale_for_loss(loss, jac.copy(), r.copy())
    assert corrected @ mine[:, 0] == pytest.approx(gradient, rel=1e-10, abs=1e-12)


def test_linear_is_left_alone():
    loss, r = Loss(), RESIDUAL.copy()
    jac = np.ones((r.size, 2))
    assert loss.is_linear
    assert not Loss("huber").is_linear
    assert not Loss(lambda z: np.stack([z, np.ones_like(z), np.zeros_like(z)])).is_linear
    assert loss.cost(r) == 0.5 * r @ r
    np.testing.assert_array_equal(loss.evaluate([4.0]), [[4.0], [1.0], [0.0]])
    same, r_same = scale_for_loss(loss, jac, r)
    assert same is jac
    np.testing.assert_array_equal(jac, 1.0)
    np.testing.assert_array_equal(r_same, RESIDUAL)


@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("z", [1e-300, 1e-30, 1e-17, 1e-9])
def test_tiny_residuals_are_least_squares_to_the_last_digit(name, z):
    value, slope, _ = Loss(name).evaluate([z])[:, 0]
    second_order = {"soft_l1": Fraction(1, 4), "cauchy": Fraction(1, 2)}.get(name, Fraction(0))
    exact = Fraction(z) - second_order * Fraction(z) ** 2
    assert value == pytest.approx(float(exact), rel=3e-16)
    assert slope == pytest.approx(1.0, rel=2 * z + 2e-16)


def test_soft_l1_keeps_its_digits():
    z = np.logspace(-20, 6, 200)
    exact = [2 * (math.sqrt(1 + v) - 1) if v > 1e-2 else None for v in z]
    value = Loss("soft_l1").evaluate(z)[0]
    for v, known, mine in zip(z, exact, value, strict=True):
        series = v - v**2 / 4 + v**3 / 8 - 5 * v**4 / 64
        assert mine == pytest.approx(known if known is not None else series, rel=1e-8 if known is None else 1e-13)
    assert Loss("soft_l1").evaluate([1e-20])[0, 0] == 1e-20  # 2 (sqrt(1 + z) - 1) is 0 here


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("z", [1e80, 1e160, 1e300, math.inf])
def test_huge_residuals_raise_no_warning_and_give_no_nan(name, z):
    rho = Loss(name).evaluate([z])[:, 0]
    assert not np.isnan(rho).any()
    assert rho[0] >= 1.5
    assert 0 <= rho[1] <= 1e-40
    assert -1e-100 <= rho[2] <= 0


def test_second_derivative_does_not_vanish_too_early():
    z = 1e80
    assert Loss("arctan").evaluate([z])[2, 0] == pytest.approx(-2e-240, rel=1e-12)
    assert Loss("cauchy").evaluate([1e100])[2, 0] == pytest.approx(-1e-200, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_whose_square_does_not_fit(scale):
    loss = Loss("huber", scale)
    assert loss.of_residual(np.array([0.5 * scale]))[1, 0] == 1.0
    assert loss.of_residual(np.array([2.0 * scale]))[1, 0] == 0.5


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_nan_stays_nan(name):
    assert np.isnan(Loss(name).cost(np.array([1.0, np.nan])))


def test_user_function_and_its_buffer():
    kept = np.empty((3, 2))

    def rho(z):
        kept[0], kept[1], kept[2] = np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2
        return kept

    loss = Loss(rho, 0.5)
    z = np.array([0.3, 4.0])
    np.testing.assert_allclose(loss.evaluate(z), Loss("cauchy", 0.5).evaluate(z), rtol=1e-15)
    np.testing.assert_array_equal(kept[0], np.log1p(4 * z))  # the scale goes into a copy
    assert loss.cost(z) == pytest.approx(Loss("cauchy", 0.5).cost(z))


def test_user_function_may_return_a_list():
    loss = Loss(lambda z: [z, np.ones_like(z), np.zeros_like(z)])
    assert loss.cost(np.array([3.0, 4.0])) == 12.5


def test_user_function_of_wrong_shape():
    with pytest.raises(ValueError, match="The return value of `loss` callable has wrong shape"):
        Loss(lambda z: z).evaluate([1.0, 2.0])


@pytest.mark.parametrize("name", ["Huber", "tukey", "", None])
def test_unknown_name(name):
    with pytest.raises(ValueError, match="must be one of 'linear', 'huber'"):
        Loss(name)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match="positive and finite"):
        Loss("huber", scale)


@pytest.mark.parametrize("form", ["csr", "csc", "operator"])
def test_correction_of_sparse_and_operators(form):
    rng = np.random.default_rng(1)
    dense = rng.standard_normal((4, 3)) * (rng.random((4, 3)) < 0.6)
    r = np.array([0.1, -3.0, 5.0, 0.0])
    loss = Loss("cauchy", 0.7)
    expected, expected_r = scale_for_loss(loss, dense.copy(), r.copy())
    given = {"csr": sparse.csr_array, "csc": sparse.csc_array, "operator": aslinearoperator}[form](dense.copy())
    jac, corrected = scale_for_loss(loss, given, r.copy())
    np.testing.assert_array_equal(corrected, expected_r)
    if form == "operator":
        np.testing.assert_allclose(jac.matvec(np.arange(3.0)), expected @ np.arange(3.0), rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(jac.rmatvec(np.arange(4.0)), expected.T @ np.arange(4.0), rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(jac.matmat(np.eye(3)), expected, rtol=1e-14, atol=1e-15)
    else:
        assert jac.format == "csr"
        assert (jac is given) == (form == "csr")
        np.testing.assert_allclose(jac.toarray(), expected, rtol=1e-14)


def test_curvature_floor_keeps_the_rows():
    r = np.array([100.0])  # cauchy: rho' + 2 rho'' z < 0
    jac, corrected = scale_for_loss(Loss("cauchy"), np.ones((1, 1)), r)
    assert jac[0, 0] == math.sqrt(np.finfo(float).eps)
    assert corrected[0] * jac[0, 0] == pytest.approx(100.0 / 10001.0)
