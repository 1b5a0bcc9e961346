"""What the interior-point method asks of functions, however they are scaled, robust or not: values, derivatives."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references import interior_point as slow
from references import robust as slow_robust
from references.interior_scenes import Quadratics, Scene
from references.kernel_calls import MODES, call
from scipy.optimize import LinearConstraint
from scipy.sparse import csr_array

from nlsq import InteriorPoint, LeastSquaresProblem, solve
from nlsq.kernels.interior_point import dense_services, export, layout
from nlsq.kernels.robust import ARCTAN, CAUCHY

MODE = pytest.mark.parametrize("mode", MODES)
LOSS = pytest.mark.parametrize("loss", ["soft_l1", "cauchy", "arctan", "huber"])
SIZES = pytest.mark.parametrize("size", [[1.0, 1.0, 1.0], [10.0, 0.5, 300.0]])
N, M, MC = 3, 4, 2
SCALE, ROWS, LOSS_SCALE = 0.25, np.array([0.5, 2.0]), 1.5
INF = np.inf


def with_functions(mode, size, loss="linear", x=(0.7, -0.4, 0.2)):
    """A scene at x that is scaled already, with functions whose derivatives are known; variables have no bounds."""
    scene = Scene(mode, n=N, m=M, mc=MC, variables=("none",), slacks=("held", "both"))
    scene.x, scene.size = np.array(x), np.array(size)
    scene.residual, scene.constraints = Quadratics(M, N, 1), Quadratics(MC, N, 2)
    scene.serve_kernels()
    scene.serve_functions(scene.residual, scene.constraints)
    scene.set(layout.SIZE, size)
    scene.set(layout.XL, np.full(N, -INF))
    scene.set(layout.XU, np.full(N, INF))
    scene.set(layout.ROW_SCALE, ROWS)
    scene.set(layout.COLUMN_SQUARES, np.zeros(N))
    for name in (layout.Z, layout.Z_TRIAL):
        scene.v(name)[:N] = scene.x / scene.size
    w, iw = scene.w, scene.iw
    w[layout.COST_SCALE], w[layout.ROOT_SCALE], w[layout.LOSS_SCALE] = SCALE, np.sqrt(SCALE), LOSS_SCALE
    iw[layout.SCALED], iw[layout.LOSS] = 1, slow_robust.CODES[loss]
    return scene


def evaluated(scene):
    """Evaluate, take the values on, and linearise."""
    assert scene.call(dense_services.evaluate) == 0
    scene.set(layout.R, scene.v(layout.R_TRIAL))
    scene.set(layout.C, scene.v(layout.C_TRIAL))
    assert scene.call(dense_services.linearise) == 0
    return scene


def whole(lower_triangle):
    return np.tril(lower_triangle) + np.tril(lower_triangle, -1).T


# sizes of variables


@MODE
@SIZES
def test_values_are_those_at_x_however_it_is_measured(mode, size):
    scene = with_functions(mode, size)
    assert scene.call(dense_services.evaluate) == 0
    r = scene.residual.value(scene.x)
    assert_allclose(scene.v(layout.X_EVALUATED), scene.x, rtol=1e-15)
    assert_allclose(scene.v(layout.R_TRIAL), r, rtol=1e-13)
    assert_allclose(scene.v(layout.C_TRIAL), ROWS * scene.constraints.value(scene.x), rtol=1e-13)
    assert scene.w[layout.COST_TRIAL] == pytest.approx(SCALE * 0.5 * r @ r)


@MODE
@SIZES
def test_derivatives_are_by_what_x_is_measured_in(mode, size):
    scene = evaluated(with_functions(mode, size))
    x, size = scene.x, scene.size
    jac, a, r = scene.residual.jacobian(x) * size, scene.constraints.jacobian(x) * size, scene.residual.value(x)
    assert_allclose(jac, slow.by_differences(lambda z: scene.residual.value(size * z), x / size, 1e-4), rtol=1e-6)
    assert_allclose(scene.v(layout.JAC_T).reshape(N, M).T, 0.5 * jac, rtol=1e-13)
    assert_allclose(scene.v(layout.CONSTRAINT_JAC_T).reshape(N, MC).T, ROWS[:, None] * a, rtol=1e-13)
    assert_allclose(scene.v(layout.R_WEIGHTED), 0.5 * r, rtol=1e-13)
    assert_allclose(scene.v(layout.GRADIENT), SCALE * jac.T @ r, rtol=1e-12)
    assert_allclose(whole(scene.v(layout.NORMAL).reshape(N, N)), SCALE * jac.T @ jac, rtol=1e-12)
    assert_allclose(scene.v(layout.COLUMN_SQUARES), SCALE * np.sum(jac**2, axis=0), rtol=1e-12)
    assert_allclose(scene.v(layout.ROUNDING), 2.22e-16 * ROWS * (np.abs(a) @ np.abs(x / size)), rtol=1e-12)
    longest = np.sqrt(np.max(np.sum(jac**2, axis=0)))
    assert scene.w[layout.GRADIENT_BOUND] == pytest.approx(SCALE * longest * np.linalg.norm(r))


@MODE
@SIZES
def test_second_derivatives_are_by_what_x_is_measured_in(mode, size):
    scene = evaluated(with_functions(mode, size))
    scene.iw[layout.EXACT_RESIDUAL] = scene.iw[layout.EXACT_CONSTRAINTS] = 1
    assert scene.call(dense_services.curvature) == 0
    y, size = scene.v(layout.Y), scene.size

    def lagrangian_gradient(x):
        r, jac = scene.residual.value(x), scene.residual.jacobian(x)
        return SCALE * jac.T @ r + scene.constraints.jacobian(x).T @ (y * ROWS)

    expected = slow.by_differences(lagrangian_gradient, scene.x, 1e-5) * np.outer(size, size)
    found = whole(scene.v(layout.NORMAL).reshape(N, N)) + whole(scene.v(layout.SECOND).reshape(N, N))
    assert_allclose(found, expected, rtol=1e-6)


@MODE
@SIZES
def test_answers_do_not_depend_on_what_x_is_measured_in(mode, size):
    scene = evaluated(with_functions(mode, size))
    x, size = scene.x, scene.size
    xl, xu = (
        x - np.array([1e-9, 1e-3, 0.0]),
        x + np.array([5.0, 1e-9, 0.0]),
    )  # at its lower bound, at its upper one, held
    scene.set(layout.XL, xl)
    scene.set(layout.XU, xu)
    zl, zu = np.array([0.6, 1e-9, 0.0]), np.array([1e-9, 0.3, 0.0])
    scene.v(layout.LOWER_DUAL)[:N], scene.v(layout.UPPER_DUAL)[:N] = zl, zu
    out, mask = np.empty(4 * N + M + 2 * MC + N * (M + MC)), np.empty(N + MC, dtype=np.int64)
    y = scene.v(layout.Y) * ROWS / SCALE
    scene.set(layout.AY, scene.v(layout.CONSTRAINT_JAC_T).reshape(N, MC) @ scene.v(layout.Y))
    call(export.export, mode, scene.w, scene.iw, 1, out, mask)
    r, jac, a = scene.residual.value(x), scene.residual.jacobian(x), scene.constraints.jacobian(x)
    assert mask[:N].tolist() == [-1, 1, -1]
    found_x, gradient, lower, upper = out[: 4 * N].reshape(4, N)
    assert_allclose(found_x, x, rtol=1e-15)
    assert_allclose(gradient, jac.T @ r, rtol=1e-12)
    slope = (jac.T @ r + a.T @ y)[2]
    assert_allclose(lower, [*(zl / (SCALE * size))[:2], max(slope, 0.0)], rtol=1e-10)
    assert_allclose(upper, [*(zu / (SCALE * size))[:2], max(-slope, 0.0)], rtol=1e-10)
    rest = np.split(out[4 * N :], np.cumsum([M, MC, MC, N * M]))
    for values, wanted in zip(rest, (r, y, scene.constraints.value(x), jac.T.ravel(), a.T.ravel()), strict=True):
        assert_allclose(values, wanted, rtol=1e-12)


# robust losses


@MODE
@LOSS
@SIZES
def test_gradient_and_hessian_of_a_robust_cost(mode, loss, size):
    """J'J of weighted rows, the second derivatives of the residual and what `bend` adds are the Hessian together."""
    scene = evaluated(with_functions(mode, size, loss))
    scene.iw[layout.EXACT_RESIDUAL] = 1
    size, z = scene.size, scene.x / scene.size
    cost = lambda z: SCALE * slow.robust_cost(scene.residual.value(size * z), loss, LOSS_SCALE)
    assert scene.w[layout.COST_TRIAL] == pytest.approx(cost(z), rel=1e-12)
    gradient = lambda z: slow.by_differences(cost, z, 1e-4 / size.max())
    assert_allclose(scene.v(layout.GRADIENT), gradient(z), rtol=1e-5, atol=1e-6 * size.max())
    normal = whole(scene.v(layout.NORMAL).reshape(N, N))
    assert np.linalg.eigvalsh(normal).min() > 0.0
    assert scene.call(dense_services.curvature) == 0
    found = normal + whole(scene.v(layout.SECOND).reshape(N, N))
    at = lambda x: evaluated(with_functions("python", size, loss, x)).v(layout.GRADIENT).copy()
    expected = slow.by_differences(at, scene.x, 1e-5) * size
    assert_allclose(found / np.outer(size, size), expected / np.outer(size, size), rtol=1e-5, atol=1e-7)
    scene.iw[layout.EXACT_RESIDUAL] = 0
    scene.call(dense_services.curvature)
    assert not scene.v(layout.SECOND).any()


@MODE
@LOSS
@SIZES
def test_jacobian_of_a_robust_fit_is_told_with_the_rows_of_triggs(mode, loss, size):
    scene = evaluated(with_functions(mode, size, loss))
    out, mask = np.empty(4 * N + M + 2 * MC + N * (M + MC)), np.empty(N + MC, dtype=np.int64)
    call(export.export, mode, scene.w, scene.iw, 1, out, mask)
    r, jac = scene.residual.value(scene.x), scene.residual.jacobian(scene.x)
    expected = slow_robust.weighted(loss, r, jac, LOSS_SCALE)[0]
    matrices = out[4 * N + M + 2 * MC :]
    assert_allclose(matrices[: N * M].reshape(N, M).T, expected, rtol=1e-10, atol=1e-12)
    assert_allclose(matrices[N * M :].reshape(N, MC).T, scene.constraints.jacobian(scene.x), rtol=1e-12)
    assert_allclose(out[4 * N : 4 * N + M], r, rtol=1e-13)


@MODE
@pytest.mark.parametrize("loss", [CAUCHY, ARCTAN])
def test_residuals_beyond_all_measure_have_no_part_in_the_hessian(mode, loss):
    scene = Scene(mode, n=N, m=M, mc=MC)
    scene.iw[layout.LOSS], scene.w[layout.LOSS_SCALE], scene.iw[layout.EXACT_RESIDUAL] = loss, 1.0, 1
    scene.set(layout.R, np.full(M, 1e160))
    jac_t = np.ones(N * M)
    with np.errstate(over="ignore"):
        assert scene.call(dense_services.curvature) == 0
        call(export.correct_rows, mode, scene.w, scene.iw, jac_t)
    assert not scene.v(layout.SECOND).any()
    assert not jac_t.any()


# where bounds are relaxed


def beyond(mode, size, loss="linear", by=(0.0, -0.03, 0.05)):
    """A trial point beyond the bounds of x, after derivatives were evaluated at them."""
    scene = with_functions(mode, size, loss)
    x = scene.x
    scene.set(layout.XL, x - np.array([1.0, 0.0, 1.0]))
    scene.set(layout.XU, x + np.array([1.0, 1.0, 0.0]))
    evaluated(scene)
    scene.iw[layout.NJEV] = 1
    scene.v(layout.Z_TRIAL)[:N] = (x + by) / scene.size
    return scene


@MODE
@SIZES
def test_functions_are_extended_linearly_beyond_the_bounds(mode, size):
    scene, by = beyond(mode, size), np.array([0.0, -0.03, 0.05])
    assert scene.call(dense_services.evaluate) == 0
    x = scene.x
    assert_allclose(scene.v(layout.X_EVALUATED), x, rtol=1e-15)
    r = scene.residual.value(x) + scene.residual.jacobian(x) @ by
    c = scene.constraints.value(x) + scene.constraints.jacobian(x) @ by
    assert_allclose(scene.v(layout.R_TRIAL), r, rtol=1e-12)
    assert_allclose(scene.v(layout.C_TRIAL), ROWS * c, rtol=1e-12)
    assert scene.w[layout.COST_TRIAL] == pytest.approx(SCALE * 0.5 * r @ r, rel=1e-12)


@MODE
@LOSS
def test_residuals_are_extended_by_their_own_jacobian_under_robust_losses(mode, loss):
    scene, by = beyond(mode, np.ones(N), loss), np.array([0.0, -0.03, 0.05])
    assert scene.call(dense_services.evaluate) == 0
    r = scene.residual.value(scene.x) + scene.residual.jacobian(scene.x) @ by
    assert_allclose(scene.v(layout.R_TRIAL), r, rtol=1e-12)


@LOSS
def test_sparse_residuals_are_extended_by_their_own_jacobian_under_robust_losses(loss):
    matrix, data = np.array([[1.0, 2.0], [0.0, 3.0], [4.0, 0.0]]), np.array([5.0, 0.2, -0.7])
    problem = LeastSquaresProblem(
        lambda x: matrix @ x - data, [0.3, 0.4], bounds=([-1.0, -1.0], [0.5, 0.6]), loss=loss, loss_scale=0.5,
        constraints=[LinearConstraint(csr_array([[1.0, 1.0]]), -np.inf, 3.0)],
    )  # fmt: skip
    options = InteriorPoint(linear_solver="sparse")
    solve(problem, options)
    plan = problem.plans[options]
    trial = np.array([0.53, 0.61])  # beyond the bounds
    plan.space.view(layout.Z_TRIAL)[:2] = trial / plan.sizes
    plan.sparse._evaluate()
    assert_allclose(plan.space.view(layout.R_TRIAL), matrix @ trial - data, rtol=1e-12)


@MODE
@SIZES
def test_nothing_is_extended_inside_or_before_there_are_derivatives(mode, size):
    by = np.array([0.2, 0.1, -0.3])
    scene = beyond(mode, size, by=by)
    scene.call(dense_services.evaluate)
    assert_allclose(scene.v(layout.R_TRIAL), scene.residual.value(scene.x + by), rtol=1e-12)
    scene = beyond(mode, size)
    scene.iw[layout.NJEV] = 0
    scene.call(dense_services.evaluate)
    assert_allclose(scene.v(layout.R_TRIAL), scene.residual.value(scene.x), rtol=1e-13)
    assert_allclose(scene.v(layout.C_TRIAL), ROWS * scene.constraints.value(scene.x), rtol=1e-13)


@MODE
@pytest.mark.parametrize("index", [0, 1])
def test_code_of_a_function_that_failed_says_which(mode, index):
    for name, kernel in (
        (layout.VALUE_OF, dense_services.evaluate),
        (layout.JACOBIAN_OF, dense_services.linearise),
        (layout.HESSIAN_OF, dense_services.curvature),
    ):
        scene = with_functions(mode, np.ones(N))
        scene.iw[layout.EXACT_RESIDUAL] = scene.iw[layout.EXACT_CONSTRAINTS] = 1
        assert scene.call(kernel) == 0
        scene.fail(index, name)
        assert scene.call(kernel) == 1 + index
