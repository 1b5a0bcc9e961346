r"""How fast undamped Gauss-Newton contracts where residuals stay large at the minimum.

    r_i(x) = exp(i x) - y_i,    i = 1, 2, 3,    y = (2, 4, y3),    y3 = 8, 3, -1, -4, -8.

Near a minimum x* of one parameter, x_{k+1} - x* = c (x_k - x*) + O((x_k - x*)^2) with

    |c| = |sum_i r_i r_i''| / J'J        at x*,

which grows with y3's distance from 8; where |c| > 1 the iteration leaves the minimum, and only damping or a line search
holds it.

References
----------
.. [1] J. E. Dennis and R. B. Schnabel, Numerical Methods for Unconstrained Optimization and Nonlinear Equations,
   SIAM, 1996, example 10.2.4.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["THIRD_DATA", "Contraction", "LargeResidual", "measure"]

THIRD_DATA = (8.0, 3.0, -1.0, -4.0, -8.0)
POWERS = np.arange(1.0, 4.0)
NEAR = 1e-4  # distance of the start: far above rounding, and its square far below one percent of itself
AWAY = 1e-2  # an iterate this far from the minimum has left it
FAR = 0.1  # from where the methods that must reach the minimum start
REACHED = 1e-6


class LargeResidual:
    """The problem with given third datum."""

    def __init__(self, third):
        self.y = np.array([2.0, 4.0, third])

    def residual(self, x):
        """Return r(x), shape (3,)."""
        return np.exp(POWERS * x[0]) - self.y

    def jacobian(self, x):
        """Return J(x), shape (3, 1)."""
        return (POWERS * np.exp(POWERS * x[0]))[:, np.newaxis]

    def minimizer(self):
        """Return x*, by Newton's method with the exact second derivative."""
        x = 0.0
        for _ in range(100):
            e = np.exp(POWERS * x)
            r = e - self.y
            gradient, curvature = np.sum(r * POWERS * e), np.sum((POWERS * e) ** 2 + r * POWERS**2 * e)
            x -= np.clip(gradient / abs(curvature), -0.1, 0.1)
        return float(x)

    def theory(self):
        """Return |sum r r''| / J'J at x*."""
        e = np.exp(POWERS * self.minimizer())
        return float(abs(np.sum((e - self.y) * POWERS**2 * e)) / np.sum((POWERS * e) ** 2))


@dataclass(frozen=True, kw_only=True)
class Contraction:
    """What was seen for one problem.

    Attributes
    ----------
    third : float
        y3.
    theory : float
        Contraction in the limit.
    observed : float
        |x_1 - x*| / |x_0 - x*| of undamped Gauss-Newton from near x*.
    reported : float
        The first contraction in the solver's own history; NaN where there is none.
    leaves : bool
        Whether undamped Gauss-Newton leaves the minimum.
    held : bool
        Whether Gauss-Newton with line search and Levenberg-Marquardt both reach it.
    """

    third: float
    theory: float
    observed: float
    reported: float
    leaves: bool
    held: bool


def measure(third):
    """Run undamped Gauss-Newton from near the minimum, and from farther away the methods that must reach it."""
    import nlsq

    problem = LargeResidual(third)
    target = problem.minimizer()
    tight = nlsq.Tolerances(cost=None, step=1e-12, optimality=1e-12)

    def solve(method, distance, **options):
        stated = nlsq.LeastSquaresProblem(problem.residual, [target + distance], jac=problem.jacobian)
        with np.errstate(all="ignore"):
            return nlsq.solve(stated, method, tolerances=tight, **options)

    history = solve(nlsq.GaussNewton(), NEAR, history=True, max_evaluations=30).history
    distances = [NEAR, *(abs(float(report.x[0]) - target) for report in history)]
    holding = (nlsq.GaussNewton(line_search=nlsq.LineSearch()), nlsq.LevenbergMarquardt())
    return Contraction(
        third=third,
        theory=problem.theory(),
        observed=distances[1] / NEAR if history else np.nan,
        reported=next((report.contraction for report in history if np.isfinite(report.contraction)), np.nan),
        leaves=max(distances) > AWAY,
        held=all(abs(float(solve(method, FAR).x[0]) - target) < REACHED for method in holding),
    )
