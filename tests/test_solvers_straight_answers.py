"""What a solve says where it is tempted to say something else."""

import numpy as np
import pytest

from nlsq import (
    GaussNewton,
    LeastSquaresProblem,
    LevenbergMarquardt,
    Status,
    check_jacobian,
    least_squares,
    leastsq,
    solve,
)


def rosenbrock(x):
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def rosenbrock_jac(x):
    return np.array([[-20.0 * x[0], 10.0], [-1.0, 0.0]])


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_start_at_a_point_of_symmetry_is_left(method):
    assert abs(least_squares(lambda x: x**2 - 2.0, [0.0], method=method).x[0]) == pytest.approx(2.0**0.5)
    assert abs(leastsq(lambda x: x**2 - 2.0, [0.0])[0][0]) == pytest.approx(2.0**0.5)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox", "gradient"])
def test_wrong_sign_of_the_jacobian_is_no_convergence(method):
    problem = LeastSquaresProblem(rosenbrock, [-1.2, 1.0], jac=lambda x: -rosenbrock_jac(x))
    result = solve(problem, method)
    assert result.status in (Status.STALLED, Status.MAX_EVALUATIONS)
    assert not result.converged


def test_nothing_is_claimed_of_a_start_that_is_not_finite():
    result = solve(LeastSquaresProblem(lambda x: np.full(2, np.nan), [1.0, 2.0]))
    assert result.status is Status.NONFINITE_START
    assert np.isnan(result.cost)
    assert np.isnan(result.gradient).all()


@pytest.mark.parametrize("loss", ["huber", "cauchy", "arctan"])
def test_gradient_descent_under_a_robust_loss_claims_nothing_false(loss):
    problem = LeastSquaresProblem(rosenbrock, [-1.2, 1.0], jac=rosenbrock_jac, loss=loss, loss_scale=0.5)
    result = solve(problem, "gradient", max_evaluations=300)
    assert not result.converged or result.optimality < 1e-6


def test_undamped_steps_that_end_higher_diverged():
    problem = LeastSquaresProblem(rosenbrock, [-1.2, 1.0], loss="huber", loss_scale=0.5)
    result = solve(problem, GaussNewton())
    assert not result.converged or result.cost < 3.05


def test_check_that_compares_nothing_does_not_pass():
    report = check_jacobian(rosenbrock, rosenbrock_jac, [np.nan, 1.0])
    assert not report.ok
    assert report.diagnosis == "not compared"


@pytest.mark.parametrize("method", [LevenbergMarquardt, 42])
def test_what_is_no_solver_is_named(method):
    with pytest.raises(TypeError, match="solver object"):
        solve(LeastSquaresProblem(rosenbrock, [0.0, 0.0]), method)


def test_hand_over_to_qr_is_told():
    x = np.linspace(1.0, 2.0, 30)
    columns = np.column_stack([x**k for k in range(9)])
    told = solve(LeastSquaresProblem(lambda p: columns @ p - np.exp(x), np.ones(9), jac=lambda p: columns))
    assert any("QR in place of Cholesky" in line for line in told.fallbacks)
    plain = solve(LeastSquaresProblem(rosenbrock, [-1.2, 1.0], jac=rosenbrock_jac))
    assert plain.fallbacks == []
