"""Robust kernels against nlsq.loss, and its gradient against differences of the cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from references import robust as twin
from references.kernel_calls import MODES, call

from nlsq.kernels import robust
from nlsq.loss import LOSS_NAMES, Loss

ratios = st.floats(0.0, 1e300)
residuals = st.lists(st.floats(-1e20, 1e20), min_size=1, max_size=8)
scales = st.floats(1e-10, 1e10)
KERNEL_CODES = {name: getattr(robust, name.upper()) for name in LOSS_NAMES}


def test_codes_are_those_of_the_solvers():
    from nlsq.solvers.dense import LOSS_CODES

    assert KERNEL_CODES == LOSS_CODES == twin.CODES


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSS_NAMES)
@given(z=ratios)
def test_loss_and_derivatives(mode, name, z):
    expected = Loss(name).evaluate(np.array([z]))[:, 0]
    found = [call(k, mode, KERNEL_CODES[name], z) for k in (robust.rho, robust.rho_first, robust.rho_second)]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-200)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSS_NAMES)
@given(values=residuals, scale=scales)
def test_cost(mode, name, values, scale):
    r = np.array(values)
    found = call(robust.robust_cost, mode, r, r.size, KERNEL_CODES[name], scale)
    assert found == pytest.approx(twin.cost(name, r, scale), rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSS_NAMES)
@given(values=residuals, scale=scales, seed=st.integers(0, 99))
def test_weighted_rows(mode, name, values, scale, seed):
    r = np.array(values)
    jac = np.random.default_rng(seed).standard_normal((r.size, 3))
    jac_t, weighted = jac.T.ravel().copy(), np.empty(r.size)
    call(robust.apply_loss, mode, r, r.size, 3, KERNEL_CODES[name], scale, jac_t, weighted)
    expected_jac, expected = twin.weighted(name, r, jac, scale)
    # the curvature rho' + 2 rho'' z cancels near its zero: s is right to sqrt(eps) at worst
    np.testing.assert_allclose(jac_t.reshape(3, -1).T, expected_jac, rtol=1e-7, atol=3e-8)
    gradient = jac_t.reshape(3, -1) @ weighted
    np.testing.assert_allclose(
        gradient, expected_jac.T @ expected, rtol=1e-12, atol=1e-14 * (np.abs(jac).T @ np.abs(r)).max() + 1e-300
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("size", [1e-200, 1e100, 1e153, 1e160, 1e250])
def test_residuals_whose_squares_leave_the_numbers(mode, name, size):
    """Weights stay finite, and the cost is infinite only where the twin's is."""
    r = np.array([size, -0.5])
    jac_t, weighted = np.ones(2), np.empty(2)
    found = call(robust.robust_cost, mode, r, 2, KERNEL_CODES[name], 1.0)
    with np.errstate(over="ignore"):
        expected = twin.cost(name, r, 1.0)
    assert found == pytest.approx(expected, rel=1e-13)
    call(robust.apply_loss, mode, r, 2, 1, KERNEL_CODES[name], 1.0, jac_t, weighted)
    expected_jac, expected_weighted = twin.weighted(name, r, np.ones((2, 1)), 1.0)
    np.testing.assert_allclose(jac_t, expected_jac[:, 0], rtol=1e-12)
    np.testing.assert_allclose(weighted, expected_weighted, rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_not_a_number_stays_one(mode, name):
    r = np.array([np.nan, 1.0])
    assert np.isnan(call(robust.robust_cost, mode, r, 2, KERNEL_CODES[name], 1.0))


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_gradient_is_that_of_the_cost(name):
    r, jac = np.array([0.3, -2.0, 5.0]), np.array([[1.0], [-0.5], [2.0]])
    jac_t, weighted = jac.T.ravel().copy(), np.empty(3)
    code, h = KERNEL_CODES[name], 1e-6
    call(robust.apply_loss, "compiled", r, 3, 1, code, 0.7, jac_t, weighted)
    ahead, behind = (
        call(robust.robust_cost, "compiled", r + side * h * jac[:, 0], 3, code, 0.7) for side in (1.0, -1.0)
    )
    assert jac_t @ weighted == pytest.approx((ahead - behind) / (2 * h), rel=1e-8)
