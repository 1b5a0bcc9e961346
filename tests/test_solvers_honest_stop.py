"""Success is never reported for a step that was cut short, nor for numbers that are none."""

import numpy as np
import pytest
from references.solver_cases import SOLVERS, TAKES_BOUNDS

from nlsq import GradientDescent, LeastSquaresProblem, Status, Tolerances, compile, least_squares, solve
from nlsq.solvers import FixedLength

STARTS = [10.0**-k for k in range(1, 16)] + [0.0, -1e-9, 2.9999999, 3.0, 9.99]
RULES = {
    "native": Tolerances(),
    "native-loose": Tolerances(cost=1e-8, step=1e-8, optimality=1e-8),
    "scipy": Tolerances(cost=1e-8, step=1e-8, optimality=1e-8, rule="scipy"),
    "minpack": Tolerances(cost=1.49012e-8, step=1.49012e-8, optimality=0.0, rule="minpack"),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", STARTS)
def test_three_is_reached_from_everywhere(solver, rule, start):
    result = solve(LeastSquaresProblem(lambda p: p - 3, [start]), SOLVERS[solver], tolerances=RULES[rule])
    assert result.converged, result.message
    assert result.x[0] == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize("solver", TAKES_BOUNDS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", [s for s in STARTS if s >= 0.0])
def test_three_is_reached_between_bounds(solver, rule, start):
    problem = LeastSquaresProblem(lambda p: p - 3, [start], bounds=(0, 10))
    result = solve(problem, SOLVERS[solver], tolerances=RULES[rule])
    assert result.converged, result.message
    assert result.x[0] == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
@pytest.mark.parametrize("jac", ["2-point", "3-point", "cs"])
@pytest.mark.parametrize("start", STARTS)
def test_drop_in_reaches_three(method, jac, start):
    assert least_squares(lambda p: p - 3, [start], jac, method=method).x[0] == pytest.approx(3.0, abs=1e-6)
    if method != "lm" and start >= 0.0:
        found = least_squares(lambda p: p - 3, [start], jac, bounds=(0, 10), method=method)
        assert found.x[0] == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("start", [1e-15, 1e-9, 1e-3, 0.0])
def test_compiled_residual_reaches_three(solver, start):
    numba = pytest.importorskip("numba")
    function = compile(numba.njit(lambda p: p - 3.0), kind="residual")
    assert solve(LeastSquaresProblem(function, [start]), SOLVERS[solver]).x[0] == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize("solver", ["lm", "nielsen", "trf", "dogbox", "gauss-newton", "search"])
@pytest.mark.parametrize("unit", [1e-150, 1e-30, 1e-9, 1e9, 1e30, 1e140])
@pytest.mark.parametrize("rule", ["native", "scipy", "minpack"])
def test_units_of_the_residual_do_not_matter(solver, unit, rule):
    """A gradient that is small only because the residuals are in small units is no optimum."""
    result = solve(LeastSquaresProblem(lambda p: unit * (p - 3), [1.0]), SOLVERS[solver], tolerances=RULES[rule])
    assert result.x[0] == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize("solver", ["lm", "nielsen", "trf", "dogbox", "search"])
@pytest.mark.parametrize("unit", [1e-40, 1e-30, 1e-15, 1e15, 1e30, 1e40])
@pytest.mark.parametrize("rule", ["native", "minpack"])
def test_units_of_the_residual_do_not_matter_in_a_curved_valley(solver, unit, rule):
    residual = lambda x: unit * np.array([1.0 - x[0], 10.0 * (x[1] - x[0] ** 2)])
    result = solve(LeastSquaresProblem(residual, [-1.2, 1.0]), SOLVERS[solver], tolerances=RULES[rule])
    assert result.converged, result.message
    np.testing.assert_allclose(result.x, 1.0, atol=1e-6)


@pytest.mark.parametrize("solver", ["lm", "nielsen", "trf", "dogbox", "search"])
@pytest.mark.parametrize("unit", [1e-40, 1e-30, 1e-9, 1e9, 1e30, 1e40])
def test_units_of_the_parameters_do_not_matter(solver, unit):
    residual = lambda x: np.array([1.0 - x[0] / unit, 10.0 * (x[1] / unit - (x[0] / unit) ** 2)])
    result = solve(LeastSquaresProblem(residual, [-1.2 * unit, unit]), SOLVERS[solver])
    assert result.converged, result.message
    np.testing.assert_allclose(result.x / unit, 1.0, atol=1e-6)


@pytest.mark.parametrize("solver", TAKES_BOUNDS)
@pytest.mark.parametrize("start", [0.0, 1e-12, 1.0, 2.0])
def test_minimum_at_a_bound(solver, start):
    result = solve(LeastSquaresProblem(lambda p: p - 3, [start], bounds=(0, 2)), SOLVERS[solver])
    assert result.converged, result.message
    assert result.x[0] == pytest.approx(2.0, abs=1e-8)
    assert result.x[0] <= 2.0


@pytest.mark.parametrize("solver", TAKES_BOUNDS)
def test_a_bound_in_the_way_is_no_minimum(solver):
    """The straight way to (3, 0.5) is blocked by x1 <= 1 near the start, but the minimum is far along the bound."""
    residual = lambda x: np.array([x[0] - 3.0, 0.1 * (x[1] - 5.0)])
    result = solve(LeastSquaresProblem(residual, [0.0, 1.0 - 1e-13], bounds=([-10, -10], [10, 1])), SOLVERS[solver])
    np.testing.assert_allclose(result.x, [3.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("solver", ["lm", "nielsen", "trf", "dogbox", "gauss-newton", "search"])
@pytest.mark.parametrize("start", [0.1, 2.0])
def test_float32_residuals_fit(solver, start):
    x = np.linspace(0.0, 1.0, 30, dtype=np.float32)
    y = 2.0 * np.exp(-1.5 * x)
    residual = lambda p: (np.float32(p[0]) * np.exp(-np.float32(p[1]) * x) - y).astype(np.float32)
    result = solve(LeastSquaresProblem(residual, [1.0, start]), SOLVERS[solver])
    np.testing.assert_allclose(result.x, [2.0, 1.5], rtol=1e-4)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_float32_residuals_fit_in_the_drop_in(method):
    x = np.linspace(0.0, 1.0, 30, dtype=np.float32)
    residual = lambda p: np.asarray(p[0] * np.exp(-p[1] * x) - 2.0 * np.exp(-1.5 * x), dtype=np.float32)
    np.testing.assert_allclose(least_squares(residual, [1.0, 0.5], method=method).x, [2.0, 1.5], rtol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_flat_residual_is_stationary_not_solved_by_luck(solver):
    """J = 0: nothing can be done, and the point is stationary."""
    result = solve(LeastSquaresProblem(lambda p: np.ones(3) + 0.0 * p[0], [1.0]), SOLVERS[solver])
    assert result.x[0] == 1.0
    assert result.status == Status.OPTIMALITY


@pytest.mark.parametrize("solver", SOLVERS)
def test_start_at_the_solution(solver):
    result = solve(LeastSquaresProblem(lambda p: p - 3, [3.0, 3.0]), SOLVERS[solver])
    assert result.converged
    assert result.nfev == 1
    assert result.cost == 0.0


def test_tests_that_are_off_never_end_a_solve():
    off = Tolerances(cost=None, step=None, optimality=None)
    result = solve(LeastSquaresProblem(lambda p: np.array([p[0] - 3.0, 1.0 + p[0] ** 2]), [1.0]), tolerances=off)
    assert not result.converged or result.cost == 0.0


def test_gradient_descent_of_fixed_length_converges_or_says_diverged():
    slow = solve(
        LeastSquaresProblem(lambda p: p - 3, [1.0]),
        GradientDescent(line_search=FixedLength(length=0.5)),
        max_evaluations=500,
    )
    assert slow.x[0] == pytest.approx(3.0, abs=1e-6)
    wild = solve(
        LeastSquaresProblem(lambda p: p - 3, [1.0]),
        GradientDescent(line_search=FixedLength(length=3.0)),
        max_evaluations=3000,
    )
    assert not wild.converged


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
@pytest.mark.parametrize("start", [(1.0, 1.0), (-3.0, 2.0), (1e3, 0.0)])
def test_lost_direction_leaves_the_others_to_their_minimum(method, start):
    root = np.sqrt(2.0)
    problem = LeastSquaresProblem(
        lambda x: np.array([x[0] + x[1], x[0] + x[1] - 1.0]) / root, start, jac=lambda x: np.ones((2, 2)) / root
    )
    result = solve(problem, method)
    assert result.converged
    assert abs(result.x.sum() - 0.5) < 1e-9
    assert result.optimality < 1e-9
