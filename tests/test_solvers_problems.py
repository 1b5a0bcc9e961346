"""Every solver on every problem that it is meant for: it converges, where it says, and keeps the bounds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references.solver_cases import (
    DAMPED,
    EASY_FOR_ALL,
    SECOND_ORDER,
    SOLVERS,
    TAKES_BOUNDS,
    as_problem,
    bounded_problems,
    curve_problems,
    mgh_problems,
    robust_problems,
)

from nlsq import LeastSquaresProblem, Status, solve
from nlsq.loss import LOSS_NAMES, Loss

CURVES, MGH, BOUNDED, ROBUST = curve_problems(), mgh_problems(), bounded_problems(), robust_problems()


class Recorded:
    """Remembers every point at which a residual was asked for."""

    def __init__(self, residual):
        self.residual, self.points = residual, []

    def __call__(self, x):
        self.points.append(x.copy())
        return self.residual(x)


def largest_cosine(residual, jac):
    norms = np.linalg.norm(jac, axis=0) * np.linalg.norm(residual)
    return np.max(np.abs(jac.T @ residual) / np.where(norms > 0.0, norms, np.inf))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", EASY_FOR_ALL)
def test_curves(solver, name):
    curve = CURVES[name]
    limit = 5000 if solver == "gradient" else None
    result = solve(as_problem(curve), SOLVERS[solver], max_evaluations=limit)
    if solver == "gradient":  # linear convergence: it comes near, and says so if it stopped short
        assert result.status in (Status.MAX_EVALUATIONS, Status.STALLED) or result.converged
        assert result.cost <= 0.5 * np.sum(curve.residual(curve.p0) ** 2)
        return
    reference = solve(as_problem(curve), "lm", max_evaluations=2000)
    assert result.converged, result.message
    np.testing.assert_allclose(result.x, reference.x, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("solver", SECOND_ORDER)
@pytest.mark.parametrize("name", CURVES)
def test_all_curves_by_the_damped_methods(solver, name):
    result = solve(as_problem(CURVES[name]), SOLVERS[solver], max_evaluations=2000)
    assert result.converged, result.message
    assert largest_cosine(result.residual, result.jac) < 1e-5
    spread = 12.0 * CURVES[name].sigma
    assert np.abs(CURVES[name].residual(result.x)).max() < spread


@pytest.mark.parametrize("solver", SECOND_ORDER)
@pytest.mark.parametrize("name", MGH)
def test_more_garbow_hillstrom(solver, name):
    one = MGH[name]
    result = solve(as_problem(one), SOLVERS[solver], max_evaluations=3000)
    assert result.converged, result.message
    stationary = 2.0 * result.cost < 1e-15 or one.stationarity(result.x) < 1e-4
    assert stationary
    assert one.is_global_minimum(2.0 * result.cost)


@pytest.mark.parametrize("solver", TAKES_BOUNDS)
@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("jac", ["exact", "2-point", "3-point"])
def test_bounds_hold_at_every_evaluation(solver, name, jac):
    one = BOUNDED[name]
    residual = Recorded(one.residual)
    problem = LeastSquaresProblem(
        residual, one.x0, bounds=(one.lower, one.upper), jac=one.jacobian if jac == "exact" else jac
    )
    result = solve(problem, SOLVERS[solver], max_evaluations=2000 if solver != "gradient" else 400)
    assert all(one.is_feasible(x) for x in residual.points)
    assert one.is_feasible(result.x)
    if solver != "gradient":
        assert result.converged, result.message
        assert one.is_minimum(2.0 * result.cost) or one.projected_cosine(result.x) < 1e-5
    near = 1e-10 * np.maximum(1.0, np.abs(result.x))
    expected = np.where(result.x - one.lower <= near, -1, np.where(one.upper - result.x <= near, 1, 0))
    assert np.array_equal(result.active_mask, expected)
    assert np.all(result.multipliers.lower[expected != -1] == 0.0)
    assert np.all(result.multipliers.upper[expected != 1] == 0.0)


@pytest.mark.parametrize("solver", ["lm", "trf", "dogbox", "search"])
@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("name", ROBUST)
def test_robust_fits(solver, loss, name):
    """Losses that do not grow (cauchy, arctan) may carry a method away from the data: there only its claims count."""
    one = ROBUST[name]
    problem = as_problem(one, loss=loss, loss_scale=one.loss_scale)
    with np.errstate(over="ignore"):  # of the model's own exp
        result = solve(problem, SOLVERS[solver], max_evaluations=2000)
    model = Loss(loss, one.loss_scale)
    assert result.cost == pytest.approx(model.cost(one.residual(result.x)), rel=1e-12)
    weights = model.of_residual(one.residual(result.x))[1]
    gradient = one.jacobian(result.x).T @ (weights * one.residual(result.x))
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-6, atol=1e-9 * np.abs(gradient).max() + 1e-12)
    if loss in ("linear", "huber", "soft_l1"):
        assert result.converged, result.message
    if loss == "soft_l1":
        assert one.error(result.x) < one.tolerance
    if loss == "linear":
        assert one.error(result.x) > one.tolerance


@pytest.mark.parametrize("solver", DAMPED)
@pytest.mark.parametrize("name", [*EASY_FOR_ALL, *MGH])
def test_result_costs_no_more_than_any_accepted_step_and_than_the_start(solver, name):
    """The cost of the best point never rises; only the watchdog's trials, which are not accepted, may."""
    one = CURVES.get(name) or MGH[name]
    problem = as_problem(one)
    start = 0.5 * float(np.sum(one.residual(problem.x0) ** 2))
    result = solve(problem, SOLVERS[solver], history=True, max_evaluations=300)
    costs = [start] + [report.cost for report in result.history if report.accepted]
    assert all(after <= before * (1.0 + 1e-12) + 1e-300 for before, after in itertools.pairwise(costs))
    assert result.cost <= costs[-1] * (1.0 + 1e-12)
    r = one.residual(
        result.x
    )  # kernels round otherwise, by some eps of its terms, which shows where r all but vanishes
    rounding = 1e-14 * float(np.linalg.norm(r)) + 1e-30
    assert result.cost == pytest.approx(0.5 * float(np.sum(r**2)), rel=1e-9, abs=rounding)


@pytest.mark.parametrize("solver", [*SECOND_ORDER, "gauss-newton"])
@settings(max_examples=15)
@given(powers=st.lists(st.integers(-20, 20), min_size=4, max_size=4))
def test_column_scaling_changes_nothing(solver, powers):
    """x = S y with S of powers of two: the solution is S times as large, and with scaled methods so is the path."""
    curve = CURVES["gaussian"]
    scale = 2.0 ** np.array(powers)
    start = np.array([2.0, 0.1, 1.0, 0.5])
    jac = lambda p: gaussian_jacobian(curve.x, *p)
    plain = solve(LeastSquaresProblem(curve.residual, start, jac=jac), SOLVERS[solver])
    scaled = solve(
        LeastSquaresProblem(lambda y: curve.residual(scale * y), start / scale, jac=lambda y: jac(scale * y) * scale),
        SOLVERS[solver],
    )
    assert plain.converged
    assert scaled.converged
    np.testing.assert_allclose(scale * scaled.x, plain.x, rtol=1e-6)
    if solver in ("lm", "lm-qr", "lm-cholesky", "nielsen", "gauss-newton", "search"):
        assert scaled.nfev == plain.nfev
        np.testing.assert_allclose(scale * scaled.x, plain.x, rtol=1e-12)


def gaussian_jacobian(x, a, b, c, d):
    u = (x - b) / c
    bell = np.exp(-(u**2) / 2.0)
    return np.stack([bell, a * bell * u / c, a * bell * u**2 / c, np.ones_like(x)], axis=1)


@pytest.mark.parametrize("solver", SECOND_ORDER)
def test_fixed_parameter_between_equal_bounds_stays(solver):
    if solver not in TAKES_BOUNDS:
        pytest.skip("takes no bounds")
    curve = CURVES["gaussian"]
    lower, upper = np.full(4, -np.inf), np.full(4, np.inf)
    lower[1] = upper[1] = 0.3
    start = np.array([2.0, 0.3, 1.0, 0.5])
    result = solve(LeastSquaresProblem(curve.residual, start, bounds=(lower, upper)), SOLVERS[solver])
    free = solve(LeastSquaresProblem(lambda q: curve.residual([q[0], 0.3, q[1], q[2]]), start[[0, 2, 3]]))
    assert result.x[1] == 0.3
    assert result.converged, result.message
    np.testing.assert_allclose(result.x[[0, 2, 3]], free.x, rtol=1e-5)


@pytest.mark.parametrize("solver", ["lm", "lm-qr", "nielsen", "gauss-newton", "search"])
def test_bounds_are_refused_by_methods_without(solver):
    problem = LeastSquaresProblem(lambda x: x - 3.0, [1.0], bounds=(0, 10))
    with pytest.raises(ValueError, match="takes no bounds"):
        solve(problem, SOLVERS[solver])


def test_bounded_problems_default_to_trust_region_and_others_to_levenberg_marquardt():
    from nlsq import LevenbergMarquardt, TrustRegionReflective
    from nlsq.solvers.choose import choose_solver

    assert isinstance(choose_solver(as_problem(CURVES["decay"])), LevenbergMarquardt)
    assert isinstance(choose_solver(as_problem(next(iter(BOUNDED.values())))), TrustRegionReflective)
    with pytest.raises(ValueError, match="method must be one of lm, trf, dogbox"):
        choose_solver(as_problem(CURVES["decay"]), "newton")
