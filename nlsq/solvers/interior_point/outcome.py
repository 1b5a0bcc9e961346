"""From the workspace of a solve that has ended to its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import handle
from nlsq.kernels.interior_point import layout
from nlsq.kernels.interior_point.acceptance import linearise_here
from nlsq.kernels.interior_point.errors import update_errors
from nlsq.kernels.interior_point.export import export
from nlsq.solvers.interior_point.result import ConstrainedResult
from nlsq.status import Multipliers, Status

if TYPE_CHECKING:
    from nlsq.solvers.interior_point.plan import Plan
    from nlsq.solvers.interior_point.state import InteriorState

FloatArray = NDArray[np.float64]


def collect(state: InteriorState) -> ConstrainedResult:
    """Collect the solution, or the best point where there is none."""
    plan, space = state.plan, state.plan.space
    w, iw, problem = space.w, space.iw, state.problem
    status = Status(state.status)
    if not (status.converged or status == Status.LOCALLY_INFEASIBLE):
        _go_to_best(state)
    m, n, mc = space.m, space.n, space.mc
    out, active = np.empty(plan.exported), np.empty(n + mc, dtype=np.int64)
    violation = export.entry()(space.w_handle, space.iw_handle, int(plan.dense), handle(out), handle(active))
    rows = 4 * n + m
    jac: Any
    constraint_jac: Any
    if plan.dense:
        first = rows + 2 * mc
        jac = out[first : first + n * m].reshape(n, m).T
        constraint_jac = out[first + n * m :].reshape(n, mc).T
    else:
        jac, constraint_jac = plan.sparse.jacobians()
    undefined = status == Status.NONFINITE_START
    cost = float(w[layout.COST]) / float(w[layout.COST_SCALE])
    if _ends_beyond(plan):
        cost, violation = _evaluate_at(plan, out)
    counters, scale, numbers = problem.counters, float(w[layout.COST_SCALE]), iw[: layout.FIRST_VECTOR].tolist()
    return ConstrainedResult(
        x=out[:n],
        cost=cost,
        residual=out[4 * n : rows],
        jac=jac,
        gradient=out[n : 2 * n],
        optimality=np.nan if undefined else float(w[layout.ERROR]),
        active_mask=active[:n],
        active_constraints=active[n:] != 0,
        status=status,
        nfev=numbers[layout.NFEV],
        nfev_jac=counters.nfev_jac,
        njev=numbers[layout.NJEV],
        nit=numbers[layout.NIT],
        fallbacks=[*problem.fallbacks, *state.fallbacks, *(_undefined(plan) if undefined else ())],
        multipliers=Multipliers(out[rows : rows + mc], out[2 * n : 3 * n], out[3 * n : 4 * n]),
        constr_violation=violation,
        linear_solver=plan.linear_solver(),
        dual_infeasibility=np.nan if undefined else float(w[layout.REPORTED_DUAL_ERROR]),
        complementarity=float(w[layout.COMPLEMENTARITY]) / scale,
        constraint_values=out[rows + mc : rows + 2 * mc],
        constraint_jac=constraint_jac,
        constraint_lower=plan.limits[0],
        constraint_upper=plan.limits[1],
        constraint_parts=plan.parts,
        nhev=numbers[layout.NHEV],
        factorizations=numbers[layout.FACTORIZATIONS],
        inertia_corrections=numbers[layout.CORRECTIONS],
        other_factorizations=numbers[layout.OTHER_FACTORIZATIONS],
        analyses=0 if plan.sparse is None else plan.sparse.analyses,
        restorations=numbers[layout.RESTORATIONS],
        hessian=plan.choice.text,
    )


def _ends_beyond(plan: Plan) -> bool:
    """Whether the last point is where bounds are relaxed, and functions were extended."""
    space = plan.space
    if not plan.bounded or not space.iw[layout.NJEV]:
        return False
    x = space.view(layout.Z)[: space.n] * plan.sizes
    return bool(((x < plan.lower) | (x > plan.upper)).any())


def _evaluate_at(plan: Plan, out: FloatArray) -> tuple[float, float]:
    """Put the functions' own values at x into what was exported; return cost and violation."""
    m, n, mc = plan.space.m, plan.space.n, plan.space.mc
    out[4 * n : 4 * n + m] = plan.residual.value(out[:n])
    violation = 0.0
    if plan.constraints is not None:
        first = 4 * n + m + mc
        values = out[first : first + mc]
        values[:] = plan.constraints.value(out[:n])
        violation = max(0.0, float(np.max(plan.limits[0] - values)), float(np.max(values - plan.limits[1])))
    return float(plan.problem.loss.cost(out[4 * n : 4 * n + m])), violation


def _undefined(plan: Plan) -> list[str]:
    """Say what is not finite at the start."""
    held, found = plan.problem.constraints, []
    for values, is_residual in ((plan.space.view(layout.R), True), (plan.space.view(layout.C), False)):
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            first = int(wrong[0])
            name = f"residual {first}" if is_residual or held is None else held.row_name(first)
            more = f", and {wrong.size - 1} more" if wrong.size > 1 else ""
            found.append(f"{name} is {values[first]} at the start{more}")
    return found


def _go_to_best(state: InteriorState) -> None:
    """Evaluate functions and derivatives at the best point, where the solve did not end at it."""
    plan = state.plan
    space, w = plan.space, plan.space.w
    best, z = space.view(layout.X_BEST), space.view(layout.Z)[: space.n]
    if not space.iw[layout.NFEV] or np.array_equal(best, np.clip(z * plan.sizes, plan.lower, plan.upper)):
        return
    z[:] = best / plan.sizes
    space.view(layout.X_EVALUATED)[:] = best
    space.view(layout.R)[:] = plan.residual.value(best)
    if plan.constraints is not None:
        space.view(layout.C)[:] = plan.constraints.value(best) * space.view(layout.ROW_SCALE)
    w[layout.COST] = plan.problem.loss.cost(space.view(layout.R)) * w[layout.COST_SCALE]
    failed = linearise_here.entry()(space.w_handle, space.iw_handle)
    if failed > 0:
        state.raise_original(failed)
    if not failed:
        update_errors.entry()(space.w_handle, space.iw_handle)
