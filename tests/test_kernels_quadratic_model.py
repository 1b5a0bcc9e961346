"""The trust-region subproblem against eigenvalues and bisection, by Cholesky and by QR, at full and lost rank."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import dense as dense_twin
from references import model as twin
from references.kernel_calls import MODES, call

from nlsq.kernels import layout
from nlsq.kernels import quadratic_model as steps
from nlsq.solvers.workspace import Workspace

ROUTES = {"auto": layout.ROUTE_AUTO, "cholesky": layout.ROUTE_CHOLESKY, "qr": layout.ROUTE_QR}


def run(mode, space, kernel, *arguments):
    return call(kernel, mode, space.w, space.iw, *arguments)


def prepare(mode, jac, residual, route="auto", scale=None, extra=None):
    """Lay out and factorise the model of a Jacobian and a residual."""
    m, n = jac.shape
    space = Workspace(m, n)
    space.w[np.isnan(space.w)] = 0.0
    space.jac_t[:] = jac.T
    space.residual[:] = residual
    space.iw[layout.LINEAR_ROUTE] = ROUTES[route]
    assert run(mode, space, steps.linearise_cost) == 0
    space.vector(layout.COLUMN_SCALE)[:] = 1.0 if scale is None else scale
    space.vector(layout.EXTRA_DIAGONAL)[:] = 0.0 if extra is None else extra
    run(mode, space, steps.factorize_model)
    return space


@st.composite
def problems(draw):
    """Jacobians with unit columns, singular values from 1 down to 1e-6 or lost, and the start's residual."""
    n = draw(st.integers(1, 6))
    m = draw(st.integers(n, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    left = np.linalg.qr(rng.standard_normal((m, n)))[0]
    right = np.linalg.qr(rng.standard_normal((n, n)))[0]
    singular = 10.0 ** rng.uniform(-draw(st.sampled_from([1.0, 3.0, 5.0])), 0.0, n)
    lost = draw(st.integers(0, n - 1)) if draw(st.booleans()) else 0
    singular[n - lost :] = 0.0
    return (left * singular) @ right.T, rng.standard_normal(m), lost


@pytest.mark.parametrize("mode", MODES)
@given(problem=problems(), seed=st.integers(0, 99))
def test_linearise_gives_gradient_normal_matrix_and_cosine(mode, problem, seed):
    jac, residual, _ = problem
    space = prepare(mode, jac, residual)
    np.testing.assert_allclose(space.matrix(layout.NORMAL), jac.T @ jac, atol=1e-14)
    np.testing.assert_allclose(space.vector(layout.GRADIENT), jac.T @ residual, atol=1e-13)
    assert space.w[layout.COST] == pytest.approx(0.5 * residual @ residual)
    norms = np.linalg.norm(jac, axis=0)
    expected = np.max(np.abs(jac.T @ residual) / np.where(norms > 0, norms, np.inf)) / np.linalg.norm(residual)
    assert space.w[layout.COSINE] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("place", ["jac", "residual"])
def test_linearise_reports_what_is_not_finite(place, bad):
    jac, residual = np.ones((3, 2)), np.ones(3)
    (jac if place == "jac" else residual)[1] = bad
    space = Workspace(3, 2)
    space.jac_t[:], space.residual[:] = jac.T, residual
    assert run("compiled", space, steps.linearise_cost) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("route", ["auto", "qr"])
@settings(max_examples=150)
@given(problem=problems(), reach=st.floats(1e-4, 3.0), precision=st.sampled_from([0.1, 0.01]))
def test_step_within_radius(mode, route, problem, reach, precision):
    jac, residual, lost = problem
    n = jac.shape[1]
    hessian, gradient = twin.model(jac, residual, np.ones(n), np.zeros(n))
    if not gradient.any():
        return
    newton, _ = twin.minimiser(hessian, gradient, np.inf)
    radius = reach * np.linalg.norm(newton)
    space = prepare(mode, jac, residual, route)
    space.w[layout.RADIUS] = radius
    run(mode, space, steps.step_within_radius, precision)
    step = space.vector(layout.SCALED_STEP).copy()
    length = np.linalg.norm(step)
    if space.iw[layout.STEP_CUT] == 0 or (lost and length < (1.0 - precision) * radius):
        assert np.linalg.norm(newton) <= (1.0 + precision) * radius * (1.0 + 1e-8)
    else:
        assert abs(length - radius) <= precision * radius * (1.0 + 1e-8)
    best, _ = twin.minimiser(hessian, gradient, length)
    promised, reached = -twin.value(hessian, gradient, best), -twin.value(hessian, gradient, step)
    assert reached == pytest.approx(promised, rel=1e-6)
    assert space.w[layout.PREDICTED_REDUCTION] == pytest.approx(reached, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("route", ["auto", "qr", "cholesky"])
@settings(max_examples=60)
@given(problem=problems(), seed=st.integers(0, 2**32 - 1), damping=st.sampled_from([1e-6, 1e-2, 1.0, 1e3]))
def test_damped_step_in_scaled_variables(mode, route, problem, seed, damping):
    """p = -(S J'J S + C + lambda I)^-1 S J'f, checked on the stacked system."""
    jac, residual, _ = problem
    n = jac.shape[1]
    rng = np.random.default_rng(seed)
    scale, extra = 10.0 ** rng.uniform(-1, 1, n), np.where(rng.uniform(size=n) < 0.5, 0.0, rng.uniform(0.1, 1.0, n))
    space = prepare(mode, jac, residual, route, scale, extra)
    length = run(mode, space, steps.damped_step, damping)
    step = space.vector(layout.SCALED_STEP)
    expected = dense_twin.damped_step(jac * scale, residual, np.sqrt(extra + damping)) * -1.0
    assert length == pytest.approx(np.linalg.norm(step), rel=1e-14)
    np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-7 * np.linalg.norm(expected) + 1e-12)
    hessian, gradient = twin.model(jac, residual, scale, extra)
    reduction = run(mode, space, steps.model_reduction, damping)
    assert reduction == pytest.approx(-twin.value(hessian, gradient, step), rel=1e-6, abs=1e-12)
    other = rng.standard_normal(n)
    curvature = run(mode, space, steps.model_curvature, other, step.copy())
    size = np.linalg.norm(step) * scale.max() ** 2
    assert curvature == pytest.approx(other @ hessian @ step, rel=1e-9, abs=1e-9 * size)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("condition", "route"), [(1e3, layout.ROUTE_CHOLESKY), (1e7, layout.ROUTE_QR)])
def test_pivots_decide_between_cholesky_and_qr(mode, condition, route):
    rng = np.random.default_rng(1)
    left = np.linalg.qr(rng.standard_normal((8, 3)))[0]
    right = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    jac = (left * [1.0, 1.0, 1.0 / condition]) @ right.T
    residual = -jac @ np.array([1.0, 2.0, 3.0])
    space = prepare(mode, jac, residual)
    assert space.iw[layout.FACTOR_ROUTE] == route
    assert space.iw[layout.QR_FALLBACKS] == (route == layout.ROUTE_QR)
    np.testing.assert_allclose(space.vector(layout.NEWTON_STEP), [1.0, 2.0, 3.0], rtol=1e-8)


@pytest.mark.parametrize("mode", MODES)
@given(problem=problems())
def test_undamped_step_of_lost_rank_is_the_shortest(mode, problem):
    jac, residual, _ = problem
    space = prepare(mode, jac, residual, "qr")
    newton = space.vector(layout.NEWTON_STEP)
    expected = -np.linalg.lstsq(jac, residual, rcond=1e-12)[0]
    assert np.linalg.norm(jac @ (newton - expected)) <= 1e-9 * np.linalg.norm(residual)
    assert np.linalg.norm(newton) <= (1.0 + 1e-3) * np.linalg.norm(expected) + 1e-12
    assert space.w[layout.FULL_PREDICTED_REDUCTION] == pytest.approx(
        0.5 * np.linalg.norm(jac @ expected) ** 2, rel=1e-9, abs=1e-15
    )


@pytest.mark.parametrize("mode", MODES)
def test_columns_switched_off_do_not_move(mode):
    """Dogleg holds a variable by S_j = 0, C_j = 1."""
    rng = np.random.default_rng(2)
    jac, residual = rng.standard_normal((7, 3)), rng.standard_normal(7)
    space = prepare(mode, jac, residual, scale=np.array([1.0, 0.0, 1.0]), extra=np.array([0.0, 1.0, 0.0]))
    newton = space.vector(layout.NEWTON_STEP)
    assert newton[1] == 0.0
    np.testing.assert_allclose(newton[[0, 2]], -np.linalg.lstsq(jac[:, [0, 2]], residual, rcond=None)[0], rtol=1e-12)
