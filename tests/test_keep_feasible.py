"""Constraints that are not to be violated on the way: SciPy's ``keep_feasible``."""

import numpy as np
import pytest
from scipy.optimize import NonlinearConstraint

import nlsq


def residual(x):
    return np.array([x[0] - 3.0, 5.0 * (x[1] - x[0] ** 2)])


def largest_on_the_way(keep, x0):
    inside = NonlinearConstraint(lambda x: np.array([x @ x, x[0]]), -np.inf, [1.0, np.inf], keep_feasible=[keep, False])
    seen = []
    result = nlsq.solve(
        nlsq.LeastSquaresProblem(residual, x0, constraints=[inside]), callback=lambda step: seen.append(step.x @ step.x)
    )
    return max(seen), result


@pytest.mark.parametrize("x0", [(0.0, 0.0), (-0.5, 0.1)])
def test_kept_constraint_holds_at_every_iterate(x0):
    without, free = largest_on_the_way(False, x0)
    kept, result = largest_on_the_way(True, x0)
    assert without > 1.01 and kept <= 1.0
    assert result.converged and free.converged
    np.testing.assert_allclose(result.x, free.x, atol=1e-6)


def test_kept_constraint_that_is_violated_at_the_start_is_met_first():
    kept, result = largest_on_the_way(True, (2.0, 2.0))
    assert result.converged and kept > 1.0
    assert result.constr_violation <= 1e-7
