"""From the workspace of a solve that has ended to its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.interior_point import layout
from nlsq.solvers.interior_point.result import ConstrainedResult
from nlsq.status import Multipliers, Status

if TYPE_CHECKING:
    from nlsq.solvers.interior_point.plan import Plan
    from nlsq.solvers.interior_point.state import InteriorState

FloatArray = NDArray[np.float64]
AT_BOUND = 1e-8  # relative distance, that of the relaxation of bounds
NEAR_BOUND = 1e-4  # farther away a bound is not active, whatever its multiplier


def collect(state: InteriorState) -> ConstrainedResult:
    """Collect the solution, or the best point where there is none."""
    plan, space = state.plan, state.plan.space
    w, iw, counters = space.w, space.iw, state.problem.counters
    status = Status(state.status)
    x = space.view(layout.X_EVALUATED)
    x[:] = np.clip(space.view(layout.Z)[: space.n], plan.lower, plan.upper)
    best = space.view(layout.X_BEST)
    begun = int(iw[layout.NFEV]) > 0
    ends_here = status.converged or status == Status.LOCALLY_INFEASIBLE
    if not ends_here and begun and not np.array_equal(best, x):
        _go_to(plan, best)
    scale = float(w[layout.COST_SCALE]) or 1.0
    y = space.view(layout.Y) * space.view(layout.ROW_SCALE) / scale
    gradient = space.view(layout.GRADIENT) / scale
    jac, constraint_jac = _jacobians(plan)
    multipliers, active = _bounds(plan, x, gradient, constraint_jac, y, scale)
    values = space.view(layout.C) / np.where(space.view(layout.ROW_SCALE) > 0.0, space.view(layout.ROW_SCALE), 1.0)
    return ConstrainedResult(
        x=x.copy(),
        cost=float(w[layout.COST]) / scale,
        residual=space.view(layout.R).copy(),
        jac=jac,
        gradient=gradient,
        optimality=float(w[layout.ERROR]),
        active_mask=active,
        status=status,
        nfev=counters.nfev,
        nfev_jac=counters.nfev_jac,
        njev=counters.njev,
        nit=counters.nit,
        fallbacks=[*state.problem.fallbacks, *state.fallbacks],
        multipliers=Multipliers(y, multipliers[0], multipliers[1]),
        constr_violation=violation_of(values, plan.limits),
        linear_solver=plan.linear_solver(),
        dual_infeasibility=float(w[layout.USER_DUAL_ERROR]),
        complementarity=float(w[layout.COMPLEMENTARITY]) / scale,
        constraint_values=values,
        constraint_jac=constraint_jac,
        constraint_lower=plan.limits[0],
        constraint_upper=plan.limits[1],
        constraint_parts=plan.parts,
        nhev=int(iw[layout.NHEV]),
        factorizations=int(iw[layout.FACTORIZATIONS]),
        inertia_corrections=int(iw[layout.CORRECTIONS]),
        other_factorizations=int(iw[layout.OTHER_FACTORIZATIONS]),
        analyses=0 if plan.sparse is None else plan.sparse.analyses,
        restorations=int(iw[layout.RESTORATIONS]),
        hessian=plan.choice.text,
    )


def violation_of(values: FloatArray, limits: tuple[FloatArray, FloatArray]) -> float:
    """Return the largest violation of limits; NaN counts as infinitely much."""
    if not values.size:
        return 0.0
    if np.isnan(values).any():
        return float(np.inf)
    return float(max(np.max(limits[0] - values), np.max(values - limits[1]), 0.0))


def _go_to(plan: Plan, best: FloatArray) -> None:
    """Evaluate functions and derivatives at the best point, with which the solve did not end."""
    space = plan.space
    w = space.w
    space.view(layout.X_EVALUATED)[:] = best
    space.view(layout.R)[:] = plan.residual.value(best)
    if plan.constraints is not None:
        space.view(layout.C)[:] = plan.constraints.value(best) * space.view(layout.ROW_SCALE)
    w[layout.COST] = plan.problem.loss.cost(space.view(layout.R)) * w[layout.COST_SCALE]
    from nlsq.kernels.backend import handle
    from nlsq.kernels.interior_point.acceptance import linearise_here

    linearise_here.entry()(handle(w), handle(space.iw))
    space.iw[layout.NFEV] += 1


def _jacobians(plan: Plan) -> tuple[Any, Any]:
    """Return J, rows scaled by the loss, and A as they were given."""
    space = plan.space
    if plan.sparse is not None:
        jacobians: tuple[Any, Any] = plan.sparse.jacobians()
        return jacobians
    root = float(space.w[layout.ROOT_SCALE]) or 1.0
    jac = space.matrix(layout.JAC_T, space.n).T / root
    if not space.mc:
        return jac, np.empty((0, space.n))
    scale = np.where(space.view(layout.ROW_SCALE) > 0.0, space.view(layout.ROW_SCALE), 1.0)
    return jac, space.matrix(layout.CONSTRAINT_JAC_T, space.n).T / scale[:, None]


def _bounds(
    plan: Plan, x: FloatArray, gradient: FloatArray, a: Any, y: FloatArray, scale: float
) -> tuple[tuple[FloatArray, FloatArray], NDArray[np.int_]]:
    """Return multipliers of bounds, zero where they are not active, and the mask of active ones."""
    n, space = x.size, plan.space
    active = np.zeros(n, dtype=int)
    found = []
    for side, bound, sign in ((layout.LOWER_DUAL, plan.lower, -1), (layout.UPPER_DUAL, plan.upper, 1)):
        dual = space.view(side)[:n] / scale
        finite = np.isfinite(bound)
        if not finite.any():
            found.append(np.zeros(n))
            continue
        safe = np.where(finite, bound, 0.0)
        size = np.maximum(1.0, np.abs(safe))
        distance = np.where(finite, np.abs(x - safe), np.inf)
        at = (distance <= AT_BOUND * size) | ((distance <= NEAR_BOUND * size) & (dual > distance))
        active[at] = sign
        found.append(np.where(at, dual, 0.0))
    held = np.flatnonzero(plan.lower == plan.upper)
    if held.size:
        slope = (gradient + a.T @ y)[held] if y.size else gradient[held]
        found[0][held], found[1][held], active[held] = np.maximum(slope, 0.0), np.maximum(-slope, 0.0), -1
    return (found[0], found[1]), active
