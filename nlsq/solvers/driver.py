"""The one loop that drives every solver.

    while running:  advance (linearise, propose, try, judge);  tell the hooks

Residuals called by address go through the same steps in a jitted loop (`nlsq.kernels.driver`) unless someone watches
the iterations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from nlsq.kernels import layout
from nlsq.kernels.backend import address_of_kernel
from nlsq.kernels.driver import solve_by_address
from nlsq.problem import LeastSquaresProblem
from nlsq.problem.blocks.block_problem import BlockProblem
from nlsq.problem.compiled import CompiledResidual
from nlsq.solvers.dense import evaluate_start, leave_unknown, refine, settle, write_estimator
from nlsq.solvers.termination import Termination, Tolerances
from nlsq.status import Counters, Status, StepReport

LONG = 4096  # entries of a Jacobian from which a solve takes longer than letting other threads run
_WATCHED_OFF = Tolerances(cost=None, step=None, optimality=None)


class State(Protocol):
    """A solve in progress."""

    status: int
    problem: Any

    def report(self) -> StepReport:
        """Describe the last judged step."""
        ...

    def result(self) -> Any:
        """Collect the best point."""
        ...


class Solver(Protocol):
    """A method: how to start, and how to advance by one judged step."""

    def start(self, problem: Any, tolerances: Tolerances, max_evaluations: int | None) -> Any:
        """Evaluate the start."""
        ...

    def advance(self, problem: Any, state: Any) -> None:
        """Advance by one judged step; set ``state.status`` when it is over."""
        ...


class Hooks:
    """What watches the iterations: callback, time limit, history, progress, a user's own termination."""

    def __init__(
        self,
        callback: Callable[[StepReport], Any] | None,
        time_limit: float | None,
        history: bool,
        progress: bool,
        termination: Termination | None,
    ) -> None:
        self.callback, self.progress, self.termination = callback, progress, termination
        self.deadline = None if time_limit is None else time.perf_counter() + time_limit
        self.history: list[StepReport] | None = [] if history else None
        self._log: Any = None

    def after(self, state: State) -> None:
        """Look at the step that was just judged; may stop the solve."""
        if self.callback is None and self.history is None and not self.progress and self.termination is None:
            report = None
        else:
            report = state.report()
        if report is not None:
            self._tell(state, report)
        if not state.status and self.deadline is not None and time.perf_counter() >= self.deadline:
            state.status = Status.TIME_LIMIT

    def _print_line(self, report: StepReport) -> None:
        if self._log is None:
            from nlsq.solvers.iteration_log import LogPrinter

            self._log = LogPrinter()
        self._log(report)

    def _tell(self, state: State, report: StepReport) -> None:
        if self.history is not None:
            self.history.append(report)
        if self.progress and report.line_search is not None:
            self._print_line(report)
        elif self.progress:
            outcome = "" if report.accepted else "  rejected"
            print(
                f"{report.nit:6d}  cost {report.cost:.8e}  step {report.step_norm:.2e}"
                f"  optimality {report.optimality:.2e}  gain {report.gain_ratio:+.3f}{outcome}",
                flush=True,
            )
        if self.termination is not None and not state.status:
            state.status = self.termination.check(report, state.problem.counters)
        if self.callback is not None and report.accepted and self._is_stopped_by(report) and not state.status:
            state.status = Status.CALLBACK

    def _is_stopped_by(self, report: StepReport) -> bool:
        """Call the callback; it stops a solve by a true result, or by StopIteration as in SciPy."""
        assert self.callback is not None
        try:
            return bool(self.callback(report))
        except StopIteration:
            return True


def drive(
    problem: LeastSquaresProblem | BlockProblem,
    solver: Solver,
    tolerances: Tolerances | Termination,
    *,
    max_evaluations: int | None = None,
    time_limit: float | None = None,
    callback: Callable[[StepReport], Any] | None = None,
    history: bool = False,
    progress: bool = False,
    warm_start: Any = None,
) -> Any:
    """Run a solver to its end.

    Parameters
    ----------
    problem : LeastSquaresProblem or BlockProblem
        What to minimise; its counters start anew.
    solver : Solver
        The method.
    tolerances : Tolerances or Termination
        Stopping tests: tolerances of the built-in ones, or an object that judges each report.
    max_evaluations : int, optional
        Limit of residual evaluations. Default 1000 (n + 1), or 1000 for residual blocks.
    time_limit : float, optional
        Seconds; looked at after each step.
    callback : callable, optional
        Called with a StepReport after each accepted step; a true result stops the solve, and so does StopIteration.
    history : bool
        Keep every report in the result.
    progress : bool
        Print a line per step.
    warm_start : SolveResult, optional
        Where to begin, for solvers that take one.

    Returns
    -------
    SolveResult or BlockResult
        Also when the solve was stopped: the best point with its status.
    """
    own = None if isinstance(tolerances, Tolerances) else tolerances
    watched = own is not None or callback is not None or time_limit is not None or history or progress
    built_in = tolerances if isinstance(tolerances, Tolerances) else _WATCHED_OFF
    problem.counters = Counters()
    start: Any = solver.start
    begins = {} if warm_start is None else {"warm_start": warm_start}
    state = start(problem, built_in, max_evaluations, **begins)
    if not watched and getattr(state, "runs_whole", False):
        state.run_whole()
        return state.result()
    if not watched:
        if state.by_address:
            run_by_address(state.problem, state)
        while not state.status:
            solver.advance(problem, state)
        settle(state.problem, state)
        return state.result()
    if state.by_address:
        evaluate_start(state.problem, state)
    hooks = Hooks(callback, time_limit, history, progress, own)
    while not state.status:
        judged = problem.counters.nfev
        solver.advance(problem, state)
        if problem.counters.nfev > judged:
            hooks.after(state)
    if not getattr(state, "runs_whole", False):
        settle(state.problem, state)
    result = state.result()
    result.history = hooks.history
    return result


def may_release_gil(residual: CompiledResidual, n: int) -> bool:
    """Say whether other threads may run meanwhile: it must not call Python, and be long enough to be worth it."""
    return not residual.calls_python and residual.m * n >= LONG


def give_addresses(problem: LeastSquaresProblem, state: Any) -> None:
    """Write the addresses of residual and steps, and the limit, into the workspace."""
    residual, iw = problem.residual, state.iw
    assert isinstance(residual, CompiledResidual)
    iw[layout.RESIDUAL_FUNCTION], iw[layout.RESIDUAL_DATA] = residual.address, residual.data_address
    iw[layout.LINEARISE_STEP], iw[layout.PROPOSE_STEP], iw[layout.JUDGE_STEP] = (
        address_of_kernel(k) for k in state.kernels
    )
    iw[layout.MAX_EVALUATIONS] = state.limit


def run_by_address(problem: LeastSquaresProblem, state: Any) -> None:
    """Hand the whole loop to compiled code."""
    residual, iw, space, counters = problem.residual, state.iw, state.space, problem.counters
    assert isinstance(residual, CompiledResidual)
    give_addresses(problem, state)
    solve_loop = solve_by_address.entry(release_gil=may_release_gil(residual, space.n))
    while True:
        if solve_loop(space.w_handle, space.iw_handle):
            residual.raise_original(space.x_new)
        state.status = int(iw[layout.STATUS])
        if state.status == Status.NONFINITE_START:
            leave_unknown(state)
        counters.nfev, counters.nfev_jac, counters.njev = (
            int(iw[k]) for k in (layout.NFEV, layout.NFEV_JAC, layout.NJEV)
        )
        if not refine(problem, state) or not write_estimator(state):
            return
