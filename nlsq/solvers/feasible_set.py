r"""Points that satisfy bounds and constraints, as a method of feasible directions needs them.

Rows with an interval get a slack s that the interval bounds, so that all constraints are equations in z = (x, s):

    h(z) = c(x) - b = 0   for equalities,      h(z) = c(x) - s = 0   else,      l <= z <= u

At a point z the set is replaced by its linearisation, onto which `nearest_point` projects in scaled variables D z; a
nonlinear constraint is then met by steps ``A dz = -h`` with the A that is at hand, each the shortest that stays within
the bounds [1]_ [2]_.

References
----------
.. [1] J. B. Rosen, "The Gradient Projection Method for Nonlinear Programming. Part II. Nonlinear Constraints", Journal
   of the Society for Industrial and Applied Mathematics 9, 1961, section 4: the return to the constraints.
.. [2] D. G. Luenberger and Y. Ye, "Linear and Nonlinear Programming", 4th ed., 2016, section 12.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.linalg.polyhedron import Nearest, nearest_point
from nlsq.status import Status

__all__ = ["FeasibleSet", "least_violation"]

FloatArray = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
RETURNS = 12  # steps back to the constraints with one A
CONTRACTION = 0.5  # of the violation, at least, by each of them
FRESH_RETURNS = 50  # steps back with a new A each
HALVINGS = 12
LAST_EVALUATIONS = 5000  # of the constraints, where such steps have failed
BESIDE = 3  # points beside a stationary one from which the violation is minimised again
ASIDE = 1e-2  # relative distance of those
STATIONARY = 1e-6  # projected gradient of the violation beside it, for rows of unit length: nothing more to gain
MISSED = 1e-8  # distance of the box from the plane, relative to the rows' values, at which they do not meet


@final
class FeasibleSet:
    """Bounds and constraints of a problem.

    Parameters
    ----------
    problem : LeastSquaresProblem
        Has bounds, and `constraints` where it has any.
    feasibility : float
        By how much a row may miss its limits, in units of the larger of one and the limit.

    Attributes
    ----------
    k : int
        Number of rows; rows without limits are left out.
    lower, upper : ndarray
        Bounds of z.
    rows : ndarray or csr_array, shape (k, size of z)
        A by scaled variables at the last linearisation, rows of unit length.
    constraint_jac : ndarray or csr_array, shape (mc, n)
        Derivatives of all constraints there.
    scaling : ndarray
        D, slacks included.
    """

    def __init__(self, problem: Any, feasibility: float) -> None:
        n, constraints = problem.n, getattr(problem, "constraints", None)
        self.n, self._feasibility = n, feasibility
        self.constraints = constraints if constraints is not None and len(constraints) else None
        lower = np.full(n, -np.inf) if problem.lower is None else problem.lower
        upper = np.full(n, np.inf) if problem.upper is None else problem.upper
        self._kept = np.empty(0, dtype=np.int64)
        self._equality = np.empty(0, dtype=bool)
        limits = np.empty(0), np.empty(0)
        if self.constraints is not None:
            self._kept = np.flatnonzero(~self.constraints.is_free)
            self._equality = self.constraints.is_equality[self._kept]
            limits = self.constraints.lower[self._kept], self.constraints.upper[self._kept]
        self.k = self._kept.size
        self._slack = np.flatnonzero(~self._equality)
        self._target = np.where(self._equality, limits[0], 0.0)
        self.lower = np.concatenate([lower, limits[0][self._slack]])
        self.upper = np.concatenate([upper, limits[1][self._slack]])
        self._allowed = feasibility * np.maximum(1.0, np.abs(self._target))
        self.rows: Any = np.zeros((self.k, self.lower.size))
        self._lengths = np.ones(self.k)
        self.scaling = np.ones(self.lower.size)
        self.constraint_jac: Any = np.empty((0, n))
        if self.constraints is not None:
            self.constraints.refresh()

    @property
    def is_flat(self) -> bool:
        """Whether the linearisation is the set itself."""
        return self.constraints is None or bool(self.constraints.is_linear)

    def values(self, x: FloatArray) -> FloatArray:
        """Return c(x), kept rows only; the user's exceptions pass through."""
        if not self.k:
            return np.empty(0)
        assert self.constraints is not None
        kept: FloatArray = self.constraints.function.value(x)[self._kept]
        return kept

    def extended(self, x: FloatArray) -> FloatArray:
        """Return (x, s) with the slacks nearest to c(x)."""
        bounds = self.lower[self.n :], self.upper[self.n :]
        return np.concatenate([x, np.clip(self.values(x)[self._slack], *bounds)])

    def off(self, z: FloatArray) -> FloatArray:
        """Return h(z), shape (k,)."""
        values = self.values(z[: self.n]) - self._target
        values[self._slack] -= z[self.n :]
        return values

    def is_met(self, off: FloatArray) -> bool:
        """Whether h is zero to within the tolerance; NaN is not."""
        return bool(np.all(np.abs(off) <= self._allowed))

    def violation(self, x: FloatArray) -> float:
        """Return by how much x misses bounds and constraints, the largest."""
        outside = np.maximum(self.lower[: self.n] - x, x - self.upper[: self.n]).max(initial=0.0)
        if self.constraints is None:
            return float(outside)
        found = self.constraints.violation(self.constraints.function.value(x))
        return float(max(outside, np.max(found, initial=0.0)))

    def linearise(self, z: FloatArray, scaling: FloatArray) -> bool:
        """Take A at z, for variables scaled by `scaling` (n,); False where it is not finite."""
        if not self.k:
            self.scaling = scaling
            return True
        assert self.constraints is not None
        function, x, k, many = self.constraints.function, z[: self.n], self.k, self._slack.size
        self.constraint_jac = function.jacobian(x) if function.is_sparse else function.dense_jacobian(x)
        jac = self.constraint_jac[self._kept]
        self._allowed = np.maximum(
            self._feasibility * np.maximum(1.0, np.abs(self._target)), 10.0 * EPS * (abs(jac) @ np.abs(x))
        )
        jac = jac * (1.0 / scaling)
        squares = jac.multiply(jac).sum(axis=1) if function.is_sparse else np.square(jac).sum(axis=1)
        lengths = np.sqrt(np.asarray(squares, dtype=np.float64))
        if not np.isfinite(lengths).all():
            return False
        units = np.where(lengths > 0.0, lengths, 1.0)
        self._lengths = units * np.where(self._equality, 1.0, np.sqrt(2.0))  # a slack's part is as long as that of x
        self.scaling = np.concatenate([scaling, 1.0 / units[self._slack]])
        if function.is_sparse:
            from scipy.sparse import csr_array, hstack

            parts = -units[self._slack], (self._slack, np.arange(many))
            both = hstack([jac, csr_array(parts, shape=(k, many))], format="csr")
            self.rows = csr_array(both.multiply(1.0 / self._lengths[:, np.newaxis]))
        else:
            slack = np.zeros((k, many))
            slack[self._slack, np.arange(many)] = -units[self._slack]
            self.rows = np.hstack([jac, slack]) / self._lengths[:, np.newaxis]
        return True

    def nearest(self, z: FloatArray, aim: FloatArray, off: FloatArray | None = None) -> Nearest | None:
        """Project `aim` on the set linearised at z, where h is `off` (zero by default); None where it is empty.

        The point is unscaled; multipliers are those of the scaled problem.
        """
        d = self.scaling
        target = self.rows @ (z * d)
        if off is not None:
            target = target - off / self._lengths
        found = nearest_point(aim * d, self.rows, target, self.lower * d, self.upper * d)
        if found.distance > MISSED * (1.0 + float(np.linalg.norm(target))):
            return None
        point = np.clip(found.point / d, self.lower, self.upper)
        return Nearest(point, found.multipliers, found.distance)

    def multipliers(self, scaled: FloatArray) -> FloatArray:
        """Return multipliers of h, shape (k,), from those of the scaled problem."""
        return scaled / self._lengths

    def of_all_rows(self, y: FloatArray) -> FloatArray:
        """Return multipliers of all rows of c: zero where a row has no limits."""
        every = np.zeros(0 if self.constraints is None else self.constraints.m)
        every[self._kept] = y
        return every

    def pull(self, y: FloatArray) -> FloatArray:
        """Return A'y, shape (n,), at the last linearisation."""
        return self.puller()(y)

    def puller(self) -> Callable[[FloatArray], FloatArray]:
        """Return ``y -> A'y`` with the A of the last linearisation, to be kept."""
        rows, lengths, scaling, n = self.rows, self._lengths, self.scaling, self.n
        if not self.k:
            return lambda y: np.zeros(n)
        return lambda y: np.asarray((scaling * (rows.T @ (lengths * y)))[:n])

    def jacobian(self, z: FloatArray) -> FloatArray:
        """Return the derivatives of h at z, shape (k, size of z), dense; linearises there."""
        self.linearise(z, np.ones(self.n))
        rows = self.rows if isinstance(self.rows, np.ndarray) else self.rows.toarray()
        jac: FloatArray = rows * self._lengths[:, np.newaxis] * self.scaling
        return jac

    def restored(self, z: FloatArray) -> FloatArray | None:
        """Return to the constraints from a point nearby, with the A that is at hand; None where that fails."""
        off = self.off(z)
        for _ in range(RETURNS):
            if self.is_met(off):
                return z
            found = self.nearest(z, z, off)
            if found is None:
                return None
            z = found.point
            fresh = self.off(z)
            if not np.linalg.norm(fresh / self._lengths) <= CONTRACTION * np.linalg.norm(off / self._lengths):
                return z if self.is_met(fresh) else None
            off = fresh
        return z if self.is_met(off) else None

    def entered(self, z: FloatArray, scaling: FloatArray) -> tuple[FloatArray, bool]:
        """Go to the constraints from anywhere by Gauss-Newton steps that halve until the violation falls."""
        off = self.off(z)
        for _ in range(FRESH_RETURNS):
            if self.is_met(off):
                return z, True
            if not (np.isfinite(off).all() and self.linearise(z, scaling)):
                return z, False
            found = self.nearest(z, z, off)
            if found is None:
                return z, False
            step, size, length = found.point - z, float(np.linalg.norm(off / self._lengths)), 1.0
            for _ in range(HALVINGS):
                candidate = np.clip(z + length * step, self.lower, self.upper)
                fresh = self.off(candidate)
                if np.linalg.norm(fresh / self._lengths) <= (1.0 - 0.1 * length) * size:
                    break
                length *= 0.5
            else:
                return z, self.is_met(off)
            z, off = candidate, fresh
        return z, self.is_met(off)


def least_violation(feasible: FeasibleSet, start: FloatArray, z: FloatArray) -> tuple[FloatArray, int]:
    """Minimise the violation within the bounds from z; return where, and a status: 0 where the constraints are met.

    Rows are measured by the longer of their gradients at `start` and z, as those may vanish at z.

    "Locally infeasible" is said where the projected gradient of the violation is small beside it, and minimising anew
    from points beside it leads to no smaller violation: at a saddle it would.
    """
    from nlsq.problem import LeastSquaresProblem
    from nlsq.solvers.driver import drive
    from nlsq.solvers.projected_gradient import ProjectedGradient
    from nlsq.solvers.termination import Tolerances
    from nlsq.solvers.trust_region_reflective import TrustRegionReflective

    lengths = np.maximum(*(np.linalg.norm(feasible.jacobian(point), axis=1) for point in (start, z)))
    units = np.where((lengths > 0.0) & np.isfinite(lengths), lengths, 1.0)

    def least_from(z: FloatArray) -> tuple[FloatArray, float, float]:
        for method, scale in ((TrustRegionReflective(), "jac"), (ProjectedGradient(), 1.0)):
            task = LeastSquaresProblem(
                lambda point: feasible.off(point) / units,
                z,
                jac=lambda point: feasible.jacobian(point) / units[:, np.newaxis],
                bounds=(feasible.lower, feasible.upper),
                scale=scale,
            )
            found = drive(task, method, Tolerances(), max_evaluations=LAST_EVALUATIONS)
            z = found.x
            if feasible.is_met(feasible.off(z)):
                break
        return z, float(found.cost), float(found.optimality)

    z, cost, optimality = least_from(z)
    noise = np.random.default_rng(0)  # the same beside every point, so that a solve can be repeated
    for _ in range(BESIDE):
        if feasible.is_met(feasible.off(z)):
            return z, 0
        beside = z + ASIDE * np.maximum(1.0, np.abs(z)) * noise.standard_normal(z.size)
        other, lower, its_optimality = least_from(np.clip(beside, feasible.lower, feasible.upper))
        if lower < (1.0 - ASIDE) * cost:
            z, cost, optimality = other, lower, its_optimality
    if feasible.is_met(feasible.off(z)):
        return z, 0
    return z, Status.LOCALLY_INFEASIBLE if optimality <= STATIONARY else Status.RESTORATION_FAILED
