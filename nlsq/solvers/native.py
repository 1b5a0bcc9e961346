"""``nlsq.solve``: a problem in, a result out."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any, overload

from nlsq.problem import LeastSquaresProblem
from nlsq.problem.blocks.block_problem import BlockProblem
from nlsq.problem.compiled_residual import CompiledResidual
from nlsq.solvers.choose import choose_solver
from nlsq.solvers.driver import drive
from nlsq.solvers.interior_point.options import InteriorPoint
from nlsq.solvers.least_overhead import DISAGREES
from nlsq.solvers.solve_arguments import check_warm_start, read_callback, read_limits, refuse_class
from nlsq.solvers.termination import Termination, Tolerances, read_tolerances
from nlsq.status import SolveResult, StepReport

if TYPE_CHECKING:
    from nlsq.solvers.block_result import BlockResult


@overload
def solve(
    problem: LeastSquaresProblem,
    method: Any = ...,
    *,
    tolerances: Tolerances | Termination | None = ...,
    max_evaluations: int | None = ...,
    time_limit: float | None = ...,
    callback: Callable[[StepReport], Any] | None = ...,
    history: bool = ...,
    progress: bool = ...,
    warm_start: SolveResult | None = ...,
) -> SolveResult: ...
@overload
def solve(
    problem: BlockProblem,
    method: Any = ...,
    *,
    tolerances: Tolerances | Termination | None = ...,
    max_evaluations: int | None = ...,
    time_limit: float | None = ...,
    callback: Callable[[StepReport], Any] | None = ...,
    history: bool = ...,
    progress: bool = ...,
) -> BlockResult: ...
def solve(
    problem: LeastSquaresProblem | BlockProblem,
    method: Any = None,
    *,
    tolerances: Tolerances | Termination | None = None,
    max_evaluations: int | None = None,
    time_limit: float | None = None,
    callback: Callable[[StepReport], Any] | None = None,
    history: bool = False,
    progress: bool = False,
    warm_start: SolveResult | None = None,
) -> SolveResult | BlockResult:
    """Minimise a least-squares problem.

    Parameters
    ----------
    problem : LeastSquaresProblem or BlockProblem
        What to minimise.
    method : str or Solver, optional
        ``"lm"`` (default without bounds), ``"trf"`` (default with bounds), ``"interior-point"`` (default with
        constraints), ``"dogbox"``, ``"gauss-newton"``, ``"gradient"``, ``"projected-gradient"``, or a solver such as
        ``LevenbergMarquardt(damping=Nielsen())`` or ``InteriorPoint(hessian="gauss-newton")``.
    tolerances : Tolerances, optional
        Default ``Tolerances(cost=1e-12, step=1e-10, optimality=1e-10)``. The interior-point method knows only the
        optimality tolerance; its default is that of `InteriorPoint`.
    max_evaluations : int, optional
        Limit of residual evaluations that the solver asks for (those inside difference Jacobians do not count). Default
        1000 (n + 1), or 1000 for residual blocks.
    time_limit : float, optional
        Seconds of wall-clock time.
    callback : callable, optional
        Called with a `StepReport` after each accepted step; a true result stops, and so does StopIteration.
    history : bool
        Keep a report of every step in ``result.history``.
    progress : bool
        Print a line per step.
    warm_start : SolveResult, optional
        Begin at this point, with its multipliers, instead of at ``x0``: for problems with constraints that differ
        little from one that has been solved.

    Returns
    -------
    SolveResult, BlockResult of a BlockProblem, or ConstrainedResult of a problem with constraints
        The best point, whatever happened, with its status. With constraints that is the point of least cost among those
        that meet them, or else the one that violates them least.

    Raises
    ------
    TypeError
        If `problem`, `tolerances`, `method` or another argument are something else.
    ValueError
        If the method is unknown or does not take the problem's bounds, or a limit or `warm_start` has wrong numbers.
    RuntimeError
        If functions of a problem with constraints solve the same problem.

    Notes
    -----
    Exceptions raised by the residual or the Jacobian pass through. A problem with constraints serves one solve at a
    time: another thread's solve of the same object waits.
    """
    started = perf_counter()
    if not isinstance(problem, LeastSquaresProblem | BlockProblem):
        raise TypeError(
            f"solve takes a LeastSquaresProblem or a BlockProblem, got {type(problem).__name__}; write "
            "nlsq.solve(nlsq.LeastSquaresProblem(residual, x0))."
        )
    max_evaluations, time_limit = read_limits(max_evaluations, time_limit)
    read_callback(callback)
    refuse_class(method)
    options: dict[str, Any] = {
        "max_evaluations": max_evaluations,
        "callback": callback,
        "history": history,
        "progress": progress,
    }
    if isinstance(problem, BlockProblem):
        _refuse_warm_start(warm_start)
        rules = read_tolerances(tolerances)
        of_blocks: BlockResult = drive(problem, choose_solver(problem, method), rules, time_limit=time_limit, **options)
        return of_blocks
    solver = choose_solver(problem, method)
    if problem.constraints is not None or isinstance(solver, InteriorPoint):
        return _solve_alone(problem, solver, tolerances, options, time_limit, warm_start)
    _refuse_warm_start(warm_start)
    rules = read_tolerances(tolerances)
    problem.use_kernels()
    by_kernels = agrees_or_refuse(problem, problem.x0)
    result: SolveResult = drive(problem, choose_solver(problem, method), rules, time_limit=time_limit, **options)
    if by_kernels and not agrees_or_refuse(problem, result.x):
        left = None if time_limit is None else max(0.0, time_limit - (perf_counter() - started))
        result = drive(problem, choose_solver(problem, method), rules, time_limit=left, **options)
        return result
    if problem.route is not None and not by_kernels:
        problem.route.spend(started)
    return result


def _refuse_warm_start(warm_start: Any) -> None:
    if warm_start is not None:
        raise ValueError("warm_start is for the interior-point method; start others at x0.")


def _solve_alone(
    problem: LeastSquaresProblem,
    solver: Any,
    tolerances: Any,
    options: dict[str, Any],
    time_limit: float | None,
    warm_start: Any,
) -> SolveResult:
    """Solve while no one else solves the same problem, whose memory all its solves share."""
    from nlsq.solvers.interior_point.native import solve_with_constraints

    if not isinstance(solver, InteriorPoint):
        _refuse_warm_start(warm_start)
    elif warm_start is not None:
        check_warm_start(warm_start, problem.n, 0 if problem.constraints is None else len(problem.constraints))
    turn = problem.turn
    if not turn.lock.acquire(blocking=False):
        if turn.thread == get_ident():
            raise RuntimeError(
                "a problem serves one solve at a time; its own functions cannot solve it again, but they can make "
                "another LeastSquaresProblem."
            )
        turn.lock.acquire()
    turn.thread = get_ident()
    try:
        return solve_with_constraints(problem, solver, tolerances, options, time_limit, warm_start)
    finally:
        turn.thread = 0
        turn.lock.release()


def agrees_or_refuse(problem: LeastSquaresProblem, x: Any) -> bool:
    """Whether kernels of a graph give the function's residuals at `x`; if not, it is called from now on."""
    residual = problem.residual
    if not isinstance(residual, CompiledResidual) or residual.binding is None:
        return False
    from nlsq.solvers.traced import agrees

    if agrees(residual, residual.in_python, x):
        return True
    problem.use_function(DISAGREES)
    return False
