"""One solve of a fit: from a start to a `FitCore`, with nothing lost when the user's function raises."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.constrained import constrained_end, held_end
from nlsq.fitting.core import FitCore, accuracy_of
from nlsq.fitting.result import FitResult
from nlsq.fitting.task import FitTask, fallbacks_of
from nlsq.kernels import layout
from nlsq.kernels.watchdog import go_back
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers import Tolerances, choose_solver, drive
from nlsq.solvers.least_overhead import DISAGREES
from nlsq.status import SolveResult, Status, StepReport

if TYPE_CHECKING:
    from nlsq.problem.constraints import ConstraintSet

FloatArray = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class SolveOptions:
    """How to solve.

    Attributes
    ----------
    method, tolerances, max_evaluations, callback, progress
        As for `nlsq.solve`.
    deadline : float or None
        Time of ``time.perf_counter()`` at which the fit is to end.
    """

    method: Any = None
    tolerances: Any = None
    max_evaluations: int | None = None
    callback: Callable[[StepReport], Any] | None = None
    progress: bool = False
    deadline: float | None = None

    def time_left(self) -> float | None:
        """Return the seconds until the deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.perf_counter())


@final
class Remembering:
    """A solver that keeps the state of its solve, so that the best point survives an exception.

    Parameters
    ----------
    solver : Solver
        What does the work.
    """

    def __init__(self, solver: Any) -> None:
        self.solver = solver
        self.state: Any = None

    def start(
        self, problem: LeastSquaresProblem, tolerances: Tolerances, max_evaluations: int | None, **options: Any
    ) -> Any:
        """Evaluate the start."""
        self.state = self.solver.start(problem, tolerances, max_evaluations, **options)
        return self.state

    def advance(self, problem: LeastSquaresProblem, state: Any) -> None:
        """Advance by one judged step."""
        self.solver.advance(problem, state)

    def best_point(self) -> tuple[FloatArray, FloatArray | None, float] | None:
        """Return the best point so far, its residual where it is at hand, and its cost where it is not.

        None if the start was not evaluated or is not finite.
        """
        if self.state is None or self.state.status == Status.NONFINITE_START:
            return None
        if not hasattr(self.state, "space"):
            return best_of_interior_point(self.state)
        space = self.state.space
        if self.state.iw[layout.TRIALS_LEFT]:  # in the middle of the watchdog's trial
            go_back.entry()(space.w_handle, space.iw_handle)
        return space.x.copy(), space.residual.copy(), np.nan


def best_of_interior_point(state: Any) -> tuple[FloatArray, None, float] | None:
    """Return the best point of a solve with constraints and its cost: feasible if there was one that is."""
    from nlsq.kernels.interior_point import layout as interior

    if getattr(state, "plan", None) is None:
        return None
    space = state.plan.space
    cost = float(space.w[interior.BEST_COST])
    return (space.view(interior.X_BEST).copy(), None, cost) if np.isfinite(cost) else None


def solve_from(task: FitTask, start: FloatArray, options: SolveOptions) -> FitCore:
    """Solve from one start.

    Parameters
    ----------
    task : FitTask
        What is fitted.
    start : ndarray, shape (n,)
        All parameters, held ones too.
    options : SolveOptions
        How.

    Returns
    -------
    FitCore
        Whatever happened.

    Raises
    ------
    BaseException
        What the model, the Jacobian or the callback raise, and KeyboardInterrupt; with the best point so far in a note
        and as a `FitResult` in the attribute ``result``.
    """
    if task.n_free == 0:
        return evaluate_only(task, start)
    problem = task.problem(start, constrained=True)
    solver = Remembering(choose_solver(problem, options.method))
    callback, started = options.callback, time.perf_counter()
    if callback is not None and task.free is not None:
        callback = with_all_parameters(task, start, callback)

    def run() -> SolveResult:
        result: SolveResult = drive(
            problem,
            solver,
            default_tolerances(solver.solver) if options.tolerances is None else options.tolerances,
            max_evaluations=options.max_evaluations,
            time_limit=options.time_left(),
            callback=callback,
            progress=options.progress,
        )
        return result

    try:
        solved = run()
        if problem.constraints is not None and refuse_wrong_graphs(problem.constraints, solved.x):
            problem.plans.clear()  # they hold the addresses of the graphs
            solved = run()
    except BaseException as error:
        attach_best_point(error, task, start, solver.best_point())
        raise
    if problem.constraints is not None:
        problem.constraints.spend(started)
    if is_traced(problem):
        from nlsq.fitting.tracing import agrees_or_refuse

        if not agrees_or_refuse(task, problem.residual, solved.x):
            return solve_from(task, start, options)
    return core_of(task, start, problem, solved)


def default_tolerances(solver: Any) -> Tolerances:
    """Return the tolerances of a fit that gives none: what the interior-point method has for an option of its own."""
    if getattr(solver, "takes_constraints", False):
        from nlsq.solvers import InteriorPoint

        if isinstance(solver, InteriorPoint):
            return Tolerances(cost=None, step=None, optimality=solver.tolerance)
    return Tolerances()


def refuse_wrong_graphs(constraints: ConstraintSet, p: FloatArray) -> bool:
    """Whether a graph does not give the values of its constraint at `p`; that is called plainly from now on."""
    from nlsq.solvers.traced import agrees

    found = False
    for one in constraints.blocks:
        residual = one.residual
        if residual is not None and residual.binding is not None and not agrees(residual, residual.in_python, p):
            one.use_function(DISAGREES)
            found = True
    return found


def is_traced(problem: LeastSquaresProblem) -> bool:
    """Whether the residual is evaluated by the kernels of a graph."""
    return getattr(problem.residual, "binding", None) is not None


def core_of(task: FitTask, start: FloatArray, problem: LeastSquaresProblem, solved: SolveResult) -> FitCore:
    """Collect what the solver left behind."""
    jac = np.asarray(solved.jac.toarray() if hasattr(solved.jac, "toarray") else solved.jac)
    if solved.status == Status.NONFINITE_START:
        jac = np.full((solved.residual.size, task.n_free), np.nan)
    active = None
    if solved.active_mask.any():
        active = np.asarray(task.among_all(solved.active_mask, np.zeros(len(task.names), dtype=int)))
    return FitCore(
        task,
        task.among_all(solved.x, start),
        solved.cost,
        solved.status,
        solved.nfev,
        solved.njev,
        solved.nit,
        residual=solved.residual,
        jac=jac,
        accuracy=accuracy_of(problem),
        active=active,
        fallbacks=[*solved.fallbacks, *fallbacks_of(task)],
        start=start.copy(),
        constrained=constrained_end(task, task.among_all(solved.x, start), solved) if task.constraints else None,
    )


def evaluate_only(task: FitTask, start: FloatArray) -> FitCore:
    """Return the result of a fit all of whose parameters are held: the residual at their values."""
    from nlsq.fitting.task import python_residual

    residual = np.asarray(python_residual(task, start)(np.empty(0)), dtype=np.float64)
    finite = bool(np.isfinite(residual).all())
    status = Status.OPTIMALITY if finite else Status.NONFINITE_START
    cost = task.loss.cost(residual) if finite else np.nan
    return FitCore(
        task,
        start.copy(),
        cost,
        status,
        1,
        residual=residual,
        jac=np.empty((residual.size, 0)),
        start=start.copy(),
        constrained=held_end(task, start),
    )


def with_all_parameters(task: FitTask, held: FloatArray, callback: Callable[[StepReport], Any]) -> Any:
    """Hand the callback all parameters in ``report.x``, as the result has them."""
    return lambda report: callback(replace(report, x=task.among_all(report.x, held)))


def attach_best_point(
    error: BaseException, task: FitTask, start: FloatArray, best: tuple[FloatArray, FloatArray | None, float] | None
) -> None:
    """Add the best point to an exception that passes through: in a note, and as its attribute ``result``."""
    if best is None or hasattr(error, "result"):
        return
    p, residual, cost = best
    params = task.among_all(p, start)
    cost = cost if residual is None else task.loss.cost(residual)
    attach_core(error, FitCore(task, params, cost, Status.RUNNING, residual=residual, start=start))


def attach_core(error: BaseException, core: FitCore) -> None:
    """Add what a fit has reached to an exception that passes through: in a note, and as its attribute ``result``."""
    core.start = None if core.start is None else core.start.copy()
    values = ", ".join(f"{name} = {value:.8g}" for name, value in zip(core.task.names, core.params, strict=True))
    try:
        error.result = FitResult(core)  # type: ignore[attr-defined]
    except (AttributeError, TypeError):  # an exception class with slots
        error.add_note(f"The best point of the fit so far: {values}; cost {core.cost:.8g}.")
    else:
        error.add_note(f"The best point of the fit so far: {values}; cost {core.cost:.8g}. See the attribute `result`.")
