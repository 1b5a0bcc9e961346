r"""An independent verdict on an answer, from x and multipliers alone; derivatives by complex steps.

With the Lagrangian 1/2 ||r||^2 + y'c - zl'(x - lb) - zu'(ub - x), and g = J'r,

    violation         largest amount by which x breaks a bound or c(x) a limit, less what rounding of x does to c
    dual              max |g + A'y - zl + zu| / s_d
    complementarity   max of zl (x - lb), zu (ub - x), and of max(y, 0) (cu - c), max(-y, 0) (c - cl), over s_d
    s_d               max(100, mean of |y|, zl and zu) / 100, as in [1]_, equation 6

An answer is a KKT point within violation 1e-6 and dual and complementarity 1e-5; it has the best value when its
cost is at most best (1 + 1e-6) + 1e-10. A claim of infeasibility is false when the problem has a feasible point; it
is no more than local when x is a stationary point of 1/2 ||v||^2, with v the violations of the user's own c.

References
----------
.. [1] A. Wachter and L. T. Biegler, "On the implementation of an interior-point filter line-search algorithm for
   large-scale nonlinear programming", Mathematical Programming 106(1), 25-57, 2006, section 2.1.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Verdict", "derivatives", "estimated_multipliers", "judge", "violation_gradient"]

VIOLATION = 1e-6
DUAL = 1e-5
RELATIVE_SLACK, ABSOLUTE_SLACK = 1e-6, 1e-10
STEP = 1e-100  # of the complex steps: nothing is subtracted, so nothing cancels
S_MAX = 100.0  # Wachter and Biegler 2006, section 2.1
ACTIVE = 1e-6  # of estimated multipliers: relative to 1 + |limit|


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an answer is worth."""

    cost: float
    violation: float
    dual: float
    complementarity: float
    is_best: bool

    @property
    def is_feasible(self):
        """Return whether every bound and limit is kept within 1e-6."""
        return self.violation <= VIOLATION

    @property
    def is_kkt(self):
        """Return whether x is a KKT point within the tolerances."""
        return self.is_feasible and max(self.dual, self.complementarity) <= DUAL

    @property
    def is_solved(self):
        """Return whether x is a KKT point with the best value known."""
        return self.is_kkt and self.is_best


def derivatives(function, x):
    """Return the Jacobian of a plain numpy function by complex steps, shape (m, n)."""
    points = np.asarray(x, dtype=complex) + np.diag(np.full(len(x), STEP * 1j))
    with np.errstate(all="ignore"):
        return np.stack([np.imag(function(point)) / STEP for point in points], axis=1)


def judge(problem, x, y=None, zl=None, zu=None):
    """Return the `Verdict` on x with multipliers; where y is None, with those that fit best.

    Parameters
    ----------
    problem : ConstrainedProblem
        The problem.
    x : ndarray, shape (n,)
        The answer.
    y : ndarray, shape (mc,), optional
        Multipliers of c: positive at an upper limit, negative at a lower.
    zl, zu : ndarray, shape (n,), optional
        Multipliers of the bounds, not negative.
    """
    x = np.asarray(x, dtype=float)
    cost = problem.cost(x)
    if not (np.isfinite(x).all() and np.isfinite(cost) and np.isfinite(problem.violation(x))):
        return Verdict(cost=cost, violation=np.inf, dual=np.inf, complementarity=np.inf, is_best=False)
    jac_c = np.zeros((0, x.size)) if problem.constraints is None else derivatives(problem.constraints, x)
    gradient = derivatives(problem.residual, x).T @ problem.residual(x)
    if y is None:
        y, zl, zu = estimated_multipliers(problem, x, gradient, jac_c)
    y, zl, zu = (np.asarray(values, dtype=float) for values in (y, zl, zu))
    scale = max(S_MAX, (np.sum(np.abs(y)) + np.sum(np.abs(zl)) + np.sum(np.abs(zu))) / (y.size + 2 * x.size)) / S_MAX
    lagrangian = gradient + jac_c.T @ y - zl + zu
    wrong_sign = max(0.0, float(np.max(-zl)), float(np.max(-zu)))
    return Verdict(
        cost=cost,
        violation=_violation(problem, x, jac_c),
        dual=max(float(np.max(np.abs(lagrangian))), wrong_sign) / scale,
        complementarity=_complementarity(problem, x, y, zl, zu) / scale,
        is_best=_is_best(problem, cost),
    )


def estimated_multipliers(problem, x, gradient, jac_c):
    """Return the multipliers of active limits, of the right signs, that leave the least of the gradient."""
    from scipy.optimize import lsq_linear

    c, n, mc = problem.c(x), x.size, problem.mc
    upper, lower = _active(problem.cu, problem.cu - c), _active(problem.cl, c - problem.cl)
    at_lower, at_upper = _active(problem.lb, x - problem.lb), _active(problem.ub, problem.ub - x)
    columns = np.concatenate([jac_c, -jac_c, -np.eye(n), np.eye(n)])[np.concatenate([upper, lower, at_lower, at_upper])]
    values = np.zeros(2 * mc + 2 * n)
    if columns.size:
        found = lsq_linear(columns.T, -gradient, (0.0, np.inf), method="bvls", tol=1e-14).x
        values[np.concatenate([upper, lower, at_lower, at_upper])] = found
    return values[:mc] - values[mc : 2 * mc], values[2 * mc : 2 * mc + n], values[2 * mc + n :]


def violation_gradient(problem, x):
    """Return how far x is from a stationary point of the violations, relative to their size; 0 when there are none.

    That is max |P(x - A'v) - x| / max(|v| max(1, |A|)), with v the violations of c and P the projection on the bounds.
    """
    x = np.clip(x, problem.lb, problem.ub)
    c = problem.c(x)
    v = np.maximum(c - problem.cu, 0.0) - np.maximum(problem.cl - c, 0.0)
    worst = np.max(np.abs(v), initial=0.0)
    if worst == 0.0:
        return 0.0
    jac_c = derivatives(problem.constraints, x)
    step = np.clip(x - jac_c.T @ v, problem.lb, problem.ub) - x
    return float(np.max(np.abs(step)) / (worst * max(1.0, np.max(np.abs(jac_c)))))


def _active(limits, distances):
    """Return where a limit is reached."""
    finite = np.isfinite(limits)
    return finite & (distances <= ACTIVE * (1.0 + np.abs(np.where(finite, limits, 0.0))))


def _violation(problem, x, jac_c):
    """Return the largest violation, less what a relative change of eps in x makes of each c."""
    c = problem.c(x)
    rounding = 8.0 * np.finfo(float).eps * (np.abs(jac_c) @ np.abs(x))
    bounds = max(float(np.max(problem.lb - x)), float(np.max(x - problem.ub)))
    limits = np.maximum(problem.cl - c, c - problem.cu) - rounding
    return max(0.0, bounds, float(np.max(limits, initial=0.0)))


def _complementarity(problem, x, y, zl, zu):
    """Return the largest product of a multiplier and the distance from its limit."""
    c = problem.c(x)
    products = [
        _products(np.maximum(y, 0.0), problem.cu - c),
        _products(np.maximum(-y, 0.0), c - problem.cl),
        _products(zl, x - problem.lb),
        _products(zu, problem.ub - x),
    ]
    return float(np.max(np.abs(np.concatenate(products)), initial=0.0))


def _products(multipliers, distances):
    """Return multiplier times distance; a multiplier of a limit that is not there is taken as it is."""
    return multipliers * np.where(np.isfinite(distances), distances, 1.0)


def _is_best(problem, cost):
    best = problem.best_cost
    return problem.feasible and best is not None and cost <= best * (1.0 + RELATIVE_SLACK) + ABSOLUTE_SLACK
