"""Solving a problem with constraints: the part of ``nlsq.solve`` that other problems have no use for."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from nlsq.problem import LeastSquaresProblem
from nlsq.problem.vector_function import VectorFunction
from nlsq.solvers.driver import drive
from nlsq.solvers.interior_point.options import InteriorPoint
from nlsq.solvers.interior_point.plan import Plan, plan_of
from nlsq.solvers.least_overhead import DISAGREES
from nlsq.solvers.termination import Tolerances, read_tolerances
from nlsq.status import SolveResult

COMPARED = 1024  # of so many solves of a problem one is compared with its functions, beside the 1st, 2nd, 4th ...


def solve_with_constraints(
    problem: LeastSquaresProblem,
    solver: Any,
    tolerances: Any,
    options: dict[str, Any],
    time_limit: float | None,
    warm_start: Any,
) -> SolveResult:
    """Solve; functions whose graphs turn out not to be them are called plainly, and the problem solved again."""
    started = perf_counter()
    if not isinstance(solver, InteriorPoint):
        result: SolveResult = drive(problem, solver, read_tolerances(tolerances), time_limit=time_limit, **options)
        return result
    if tolerances is None:
        tolerances = Tolerances(cost=None, step=None, optimality=solver.tolerance)
    rules = read_tolerances(tolerances)
    plan = plan_of(problem, solver)
    compares = is_due(plan.uses + 1)
    if compares:
        use_what_agrees(plan, plan.problem.x0)
    result = drive(problem, solver, rules, time_limit=time_limit, warm_start=warm_start, **options)
    if compares and use_what_agrees(plan, result.x):
        left = None if time_limit is None else max(0.0, time_limit - (perf_counter() - started))
        result = drive(problem, solver, rules, time_limit=left, warm_start=warm_start, **options)
    spend(plan, started)
    return result


def is_due(uses: int) -> bool:
    """Whether functions are compared with their graphs: at the 1st, 2nd, 4th ... solve, then at each 1024th."""
    return uses & (uses - 1) == 0 or uses % COMPARED == 0


def single_functions(plan: Plan) -> list[VectorFunction]:
    """Return the residual and each constraint."""
    constraints = plan.problem.constraints
    return [plan.residual, *(() if constraints is None else constraints.blocks)]


def use_what_agrees(plan: Plan, x: Any) -> bool:
    """Compare kernels of graphs with their functions at `x`; True where one is called plainly from now on."""
    from nlsq.solvers.traced import agrees

    changed = False
    for one in single_functions(plan):
        residual = one.residual
        if residual is None or residual.binding is None or agrees(residual, residual.in_python, x):
            continue
        one.use_function(DISAGREES)
        changed = True
    if changed:
        plan.take_functions()
    return changed


def spend(plan: Plan, started: float) -> None:
    """Note the time in which plain functions were called: it decides when they are compiled."""
    if plan.calls_python:
        if plan.residual.route is not None and plan.residual.calls_python:
            plan.residual.route.spend(started)
        if plan.problem.constraints is not None:
            plan.problem.constraints.spend(started)
