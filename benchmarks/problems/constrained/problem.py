"""The form of a constrained problem: arrays, numpy functions and what is known about the answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["ConstrainedProblem", "make"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ConstrainedProblem:
    """Minimise 1/2 ||r(x)||^2 subject to lb <= x <= ub and cl <= c(x) <= cu.

    Attributes
    ----------
    name : str
        Name of the problem.
    source : str
        Publication and number, or what kind of problem it is.
    n, m, mc : int
        Numbers of variables, residuals and constraints.
    residual : callable
        ``residual(x) -> ndarray, shape (m,)``, plain numpy.
    constraints : callable or None
        ``constraints(x) -> ndarray, shape (mc,)``, plain numpy; None when mc is 0.
    cl, cu : ndarray, shape (mc,)
        Limits of c, equal for an equality, -inf and inf where there is none.
    lb, ub : ndarray, shape (n,)
        Bounds, -inf and inf where there is none.
    x0 : ndarray, shape (n,)
        Start; it need not keep the bounds.
    published : float or None
        Sum of squares r'r at the solution that the source prints, as computed from its objective.
    feasible : bool
        Whether any point keeps all constraints.
    best_cost : float or None
        Lowest 1/2 ||r||^2 known; None when the problem is infeasible.
    reached_cost : float or None
        Lowest cost that a peer reached from `x0`; above `best_cost` where that is known from other starts, None where
        no peer reached a solution from `x0`.
    local_costs : tuple of float
        Costs of other local minima that solvers have ended in.
    """

    name: str
    source: str
    n: int
    m: int
    mc: int
    residual: Callable[[np.ndarray], np.ndarray]
    constraints: Callable[[np.ndarray], np.ndarray] | None
    cl: np.ndarray
    cu: np.ndarray
    lb: np.ndarray
    ub: np.ndarray
    x0: np.ndarray
    published: float | None = None
    feasible: bool = True
    best_cost: float | None = None
    reached_cost: float | None = None
    local_costs: tuple[float, ...] = ()

    def cost(self, x):
        """Return 1/2 ||r(x)||^2; inf where it overflows or is undefined."""
        with np.errstate(all="ignore"):
            r = self.residual(np.asarray(x, dtype=float))
            value = 0.5 * float(r @ r)
        return value if np.isfinite(value) else np.inf

    def c(self, x):
        """Return c(x), shape (mc,), also when there are no constraints."""
        return np.zeros(0) if self.constraints is None else self.constraints(x)

    def violation(self, x):
        """Return the largest amount by which x breaks a bound or c(x) a limit; inf when c is undefined."""
        x = np.asarray(x, dtype=float)
        with np.errstate(all="ignore"):
            c = self.c(x)
        parts = [self.lb - x, x - self.ub, self.cl - c, c - self.cu]
        worst = max((float(np.max(part)) for part in parts if part.size), default=0.0)
        return max(worst, 0.0) if np.isfinite(c).all() and np.isfinite(x).all() else np.inf


def make(name, source, residual, x0, constraints=None, cl=0.0, cu=0.0, *, lb=-np.inf, ub=np.inf, **known):
    """Return a problem whose limits may be given as numbers; its arrays cannot be written to."""
    x0 = np.array(x0, dtype=float)
    m = residual(x0).size
    mc = 0 if constraints is None else constraints(x0).size
    arrays = {"x0": (x0, x0.size), "lb": (lb, x0.size), "ub": (ub, x0.size), "cl": (cl, mc), "cu": (cu, mc)}
    arrays = {key: np.array(np.broadcast_to(value, size), dtype=float) for key, (value, size) in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    sizes = {"n": x0.size, "m": m, "mc": mc}
    return ConstrainedProblem(
        name=name, source=source, residual=residual, constraints=constraints, **sizes, **arrays, **known
    )
