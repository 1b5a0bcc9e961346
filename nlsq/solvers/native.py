"""``nlsq.solve``: a problem in, a result out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nlsq.problem import LeastSquaresProblem
from nlsq.solvers.choose import choose_solver
from nlsq.solvers.driver import drive
from nlsq.solvers.termination import Termination, Tolerances
from nlsq.status import SolveResult, StepReport


def solve(
    problem: LeastSquaresProblem,
    method: Any = None,
    *,
    tolerances: Tolerances | Termination | None = None,
    max_evaluations: int | None = None,
    time_limit: float | None = None,
    callback: Callable[[StepReport], Any] | None = None,
    history: bool = False,
    progress: bool = False,
) -> SolveResult:
    """Minimise a least-squares problem.

    Parameters
    ----------
    problem : LeastSquaresProblem
        What to minimise.
    method : str or Solver, optional
        ``"lm"`` (default without bounds), ``"trf"`` (default with bounds), ``"dogbox"``, ``"gauss-newton"``,
        ``"gradient"``, or a solver such as ``LevenbergMarquardt(damping=Nielsen())``.
    tolerances : Tolerances, optional
        Default ``Tolerances(cost=1e-12, step=1e-10, optimality=1e-10)``.
    max_evaluations : int, optional
        Limit of residual evaluations that the solver asks for (those inside difference Jacobians do not count). Default
        1000 (n + 1).
    time_limit : float, optional
        Seconds of wall-clock time.
    callback : callable, optional
        Called with a `StepReport` after each accepted step; a true result stops.
    history : bool
        Keep a report of every step in ``result.history``.
    progress : bool
        Print a line per step.

    Returns
    -------
    SolveResult
        The best point, whatever happened, with its status.

    Raises
    ------
    ValueError
        If the method is unknown or does not take the problem's bounds.

    Notes
    -----
    Exceptions raised by the residual or the Jacobian pass through.
    """
    return drive(
        problem,
        choose_solver(problem, method),
        Tolerances() if tolerances is None else tolerances,
        max_evaluations=max_evaluations,
        time_limit=time_limit,
        callback=callback,
        history=history,
        progress=progress,
    )
