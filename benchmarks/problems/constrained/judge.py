r"""An independent verdict on an answer, from x and multipliers alone; derivatives by complex steps.

With the Lagrangian 1/2 ||r||^2 + y'c - zl'(x - lb) - zu'(ub - x), and g = J'r,

    violation         largest amount by which x breaks a bound or c(x) a limit, relative to max(1, |limit|), less what
                      rounding of x does to c
    dual              max |g + A'y - zl + zu| / s_d
    complementarity   largest product of a multiplier and the distance from its limit, relative to max(1, |limit|), over
                      s_d
    s_d               max(100, mean of |y|, zl and zu) / 100, as in [1]_, equation 6

An answer is a KKT point within violation 1e-6 and dual and complementarity 1e-5; it has the best value when its cost is
at most best (1 + 1e-6) + 1e-10, where best is the lowest cost known, or the lowest that a peer reached from the start
(any, where no peer reached a solution). A claim of infeasibility is false when the problem has a feasible point; it is
no more than local when x is a stationary point of the violations of the user's own c, in the sum of their squares or
of their sizes.

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
    is_reached: bool

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
        """Return whether x is a KKT point as good as any that a peer reached from the start."""
        return self.is_kkt and self.is_reached


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
        return Verdict(
            cost=cost, violation=np.inf, dual=np.inf, complementarity=np.inf, is_best=False, is_reached=False
        )
    jac_c = np.zeros((0, x.size)) if problem.constraints is None else derivatives(problem.constraints, x)
    gradient = derivatives(problem.residual, x).T @ problem.residual(x)
    if y is None:
        y, zl, zu = estimated_multipliers(problem, x, gradient, jac_c)
    y, zl, zu = (np.asarray(values, dtype=float) for values in (y, zl, zu))
    scale = max(S_MAX, (np.sum(np.abs(y)) + np.sum(np.abs(zl)) + np.sum(np.abs(zu))) / (y.size + 2 * x.size)) / S_MAX
    lagrangian = gradient + jac_c.T @ y - zl + zu
    lagrangian[problem.lb == problem.ub] = 0.0  # a fixed variable has a multiplier for any gradient
    wrong_sign = max(0.0, float(np.max(-zl)), float(np.max(-zu)))
    return Verdict(
        cost=cost,
        violation=_violation(problem, x, jac_c),
        dual=max(float(np.max(np.abs(lagrangian))), wrong_sign) / scale,
        complementarity=_complementarity(problem, x, y, zl, zu) / scale,
        is_best=_is_as_good(problem, cost, problem.best_cost),
        is_reached=_is_as_good(problem, cost, np.inf if problem.reached_cost is None else problem.reached_cost),
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
    """Return how far x is from a stationary point of the violations, as a relative gradient; 0 where there are none.

    The violations v of the user's own c may be measured by the sum of their squares or by that of their sizes: the
    smaller of the two relative gradients counts, projected on the bounds.
    """
    x = np.clip(x, problem.lb, problem.ub)
    c = problem.c(x)
    v = np.maximum(c - problem.cu, 0.0) - np.maximum(problem.cl - c, 0.0)
    worst = np.max(np.abs(v), initial=0.0)
    if worst <= VIOLATION:
        return 0.0
    jac_c = derivatives(problem.constraints, x)
    size = max(1.0, float(np.max(np.abs(jac_c))))
    step = np.clip(x - jac_c.T @ v, problem.lb, problem.ub) - x
    return min(float(np.max(np.abs(step))) / (worst * size), _gradient_of_sizes(problem, x, c, v, jac_c) / size)


def _gradient_of_sizes(problem, x, c, v, jac_c):
    """Return the least gradient of sum |v|: broken rows weigh 1, rows at their limits any weight up to that."""
    from scipy.optimize import lsq_linear

    broken = np.abs(v) > VIOLATION * np.max(np.abs(v))
    upper = ~broken & _active(problem.cu, problem.cu - c)
    lower = ~broken & _active(problem.cl, c - problem.cl)
    at_lower, at_upper = _active(problem.lb, x - problem.lb), _active(problem.ub, problem.ub - x)
    gradient = jac_c.T @ np.where(broken, np.sign(v), 0.0)
    columns = np.concatenate([jac_c[upper], -jac_c[lower], -np.eye(x.size)[at_lower], np.eye(x.size)[at_upper]])
    if not columns.size:
        return float(np.max(np.abs(gradient)))
    most = np.concatenate(
        [np.ones(np.sum(upper) + np.sum(lower)), np.full(np.sum(at_lower) + np.sum(at_upper), np.inf)]
    )
    weights = lsq_linear(columns.T, -gradient, (0.0, most), method="bvls", tol=1e-14).x
    return float(np.max(np.abs(gradient + columns.T @ weights)))


def _active(limits, distances):
    """Return where a limit is reached."""
    finite = np.isfinite(limits)
    return finite & (distances <= ACTIVE * (1.0 + np.abs(np.where(finite, limits, 0.0))))


def _violation(problem, x, jac_c):
    """Return the largest relative violation, less what a relative change of eps in x makes of each c."""
    rounding = 8.0 * np.finfo(float).eps * (np.abs(jac_c) @ np.abs(x))
    distances = _distances(problem, x, problem.c(x))
    allowed = [rounding, rounding, np.zeros(x.size), np.zeros(x.size)]
    parts = [-distance - slack for distance, slack in zip(distances, allowed, strict=True)]
    return max(0.0, float(np.max(np.concatenate(parts))))


def _distances(problem, x, c):
    """Return how far c is within its lower and upper limits, and x within its bounds, relative to max(1, |limit|)."""
    pairs = [(c - problem.cl, problem.cl), (problem.cu - c, problem.cu)]
    pairs += [(x - problem.lb, problem.lb), (problem.ub - x, problem.ub)]
    return [distance / np.maximum(1.0, np.where(np.isfinite(limit), np.abs(limit), 1.0)) for distance, limit in pairs]


def _complementarity(problem, x, y, zl, zu):
    """Return the largest product of a multiplier and a distance; without a limit, the multiplier itself."""
    distances = np.abs(np.concatenate(_distances(problem, x, problem.c(x))))
    multipliers = np.concatenate([np.maximum(-y, 0.0), np.maximum(y, 0.0), zl, zu])
    return float(np.max(multipliers * np.where(np.isfinite(distances), distances, 1.0), initial=0.0))


def _is_as_good(problem, cost, best):
    return problem.feasible and best is not None and cost <= best * (1.0 + RELATIVE_SLACK) + ABSOLUTE_SLACK
