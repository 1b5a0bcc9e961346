r"""Large residuals: r_i = exp(i x) - y_i, i = 1, 2, 3, with y = (2, 4, y3).

Undamped Gauss-Newton contracts near the minimum x* by  |sum_i r_i r_i''| / J'J.  It leaves minima where that exceeds 1.
"""

import numpy as np
import pytest

from nlsq import GaussNewton, LeastSquaresProblem, LevenbergMarquardt, LineSearch, Nielsen, Tolerances, solve

INDEX = np.array([1.0, 2.0, 3.0])
CASES = {
    8.0: (np.log(2.0), 0.0),
    3.0: (None, 0.0596),
    -1.0: (None, 0.473),
    -4.0: (-0.371929, 2.20),
    -8.0: (-0.791486, 6.55),
}
STAYS = [3.0, -1.0]
LEAVES = [-4.0, -8.0]


def problem(y3, start):
    y = np.array([2.0, 4.0, y3])
    return LeastSquaresProblem(
        lambda x: np.exp(INDEX * x[0]) - y, [start], jac=lambda x: (INDEX * np.exp(INDEX * x[0]))[:, np.newaxis]
    )


def slope(x, y3):
    value = np.exp(INDEX * x)
    return np.sum((value - [2.0, 4.0, y3]) * INDEX * value)


def minimum(y3):
    """Return the minimum next to 0 by bisection of the gradient."""
    low, high = -1.5, 1.5
    grid = np.linspace(low, high, 601)
    signs = np.array([slope(x, y3) > 0.0 for x in grid])
    k = int(np.flatnonzero(~signs[:-1] & signs[1:])[-1])
    low, high = grid[k], grid[k + 1]
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if slope(middle, y3) > 0.0 else (middle, high)
    return 0.5 * (low + high)


def theory(y3):
    x = minimum(y3)
    value = np.exp(INDEX * x)
    return abs(np.sum((value - [2.0, 4.0, y3]) * INDEX**2 * value)) / np.sum((INDEX * value) ** 2)


@pytest.mark.parametrize("y3", CASES)
def test_theory_is_that_of_the_literature(y3):
    x, contraction = CASES[y3]
    assert theory(y3) == pytest.approx(contraction, rel=3e-3, abs=1e-12)
    if x is not None:
        assert minimum(y3) == pytest.approx(x, abs=1e-6)


@pytest.mark.parametrize("y3", STAYS)
def test_observed_contraction_is_the_theory(y3):
    result = solve(problem(y3, minimum(y3) + 1e-3), GaussNewton(), history=True)
    rates = [report.contraction for report in result.history if 1e-7 < report.step_norm / (1.0 + abs(result.x[0]))]
    assert result.converged
    assert result.x[0] == pytest.approx(minimum(y3), abs=1e-8)
    assert rates[-1] == pytest.approx(theory(y3), rel=0.01)


def test_zero_residual_contracts_faster_than_linearly():
    result = solve(problem(8.0, np.log(2.0) + 1e-3), GaussNewton(), history=True)
    rates = [report.contraction for report in result.history if report.contraction == report.contraction]
    assert result.x[0] == pytest.approx(np.log(2.0), abs=1e-14)
    assert rates[0] < 0.01
    assert rates[-1] < 1e-3


@pytest.mark.parametrize("y3", LEAVES)
def test_undamped_gauss_newton_leaves_the_minimum_at_the_rate_of_the_theory(y3):
    start = minimum(y3)
    result = solve(problem(y3, start + 1e-5), GaussNewton(), history=True, max_evaluations=30)
    near = [report.contraction for report in result.history if abs(report.x[0] - start) < 1e-3]
    rates = [rate for rate in near if rate == rate]
    assert rates[0] == pytest.approx(theory(y3), rel=0.01)
    assert abs(result.x[0] - start) > 1e-2 or not result.converged


@pytest.mark.parametrize("y3", CASES)
@pytest.mark.parametrize(
    "solver",
    [
        GaussNewton(line_search=LineSearch()),
        LevenbergMarquardt(),
        LevenbergMarquardt(damping=Nielsen()),
        "trf",
        "dogbox",
    ],
    ids=["search", "lm", "nielsen", "trf", "dogbox"],
)
@pytest.mark.parametrize("away", [1e-3, 0.3])
def test_line_search_and_damping_reach_every_minimum(y3, solver, away):
    result = solve(problem(y3, minimum(y3) + away), solver, max_evaluations=2000)
    assert result.converged, result.message
    assert result.x[0] == pytest.approx(minimum(y3), abs=1e-5)
    tight = Tolerances(cost=1e-15, step=1e-12, optimality=1e-12)
    result = solve(problem(y3, minimum(y3) + away), solver, tolerances=tight, max_evaluations=2000)
    assert result.x[0] == pytest.approx(minimum(y3), abs=1e-7)
