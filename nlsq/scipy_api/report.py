"""What `least_squares` prints and tells its callback while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nlsq.scipy_api.functions import as_optimize_result
from nlsq.status import SolveResult, StepReport

COLUMNS = ("Iteration", "Total nfev", "Cost", "Cost reduction", "Step norm", "Optimality")
WIDTH = 15


def header() -> str:
    """Return the head of the table of iterations."""
    return "".join(f"{name:^{WIDTH}}" for name in COLUMNS)


def row(
    nit: int, nfev: int, cost: float, cost_reduction: float | None, step_norm: float | None, optimality: float
) -> str:
    """Return a line of the table; the start has neither reduction nor step."""
    reduction = "" if cost_reduction is None else f"{cost_reduction:.2e}"
    step = "" if step_norm is None else f"{step_norm:.2e}"
    return f"{nit:^15}{nfev:^15}{cost:^15.4e}{reduction:^15}{step:^15}{optimality:^15.2e}"


def summary(message: str, nfev: int, initial_cost: float, cost: float, optimality: float) -> str:
    """Return the report at the end."""
    return (
        f"{message}\nFunction evaluations {nfev}, initial cost {initial_cost:.4e}, final cost {cost:.4e}, "
        f"first-order optimality {optimality:.2e}."
    )


def read_callback(callback: Any) -> Callable[[StepReport], None] | None:
    """Return a function of step reports that calls `callback` with what it takes: ``intermediate_result`` or ``x``."""
    if callback is None:
        return None
    from inspect import signature

    takes_result = set(signature(callback).parameters) == {"intermediate_result"}
    if not takes_result:
        return lambda report: callback(report.x.copy())

    def call(report: StepReport) -> None:
        fields = {"x": report.x, "fun": report.residual, "nit": report.nit, "nfev": report.nfev}
        callback(intermediate_result=as_optimize_result(fields | {"cost": np.float64(report.cost)}))

    return call


class Watch:
    """Prints the table of iterations and calls the user's callback; the solver's own callback.

    The optimality at a new point is known one step later, and its line is printed then.

    Parameters
    ----------
    callback : callable or None
        See `read_callback`.
    table : bool
        Whether to print.
    initial_cost : float
        Cost at the start.
    """

    def __init__(self, callback: Callable[[StepReport], None] | None, table: bool, initial_cost: float) -> None:
        self.callback = callback
        self.table = table
        self._next: tuple[int, int, float, float | None, float | None] | None = (0, 1, initial_cost, None, None)
        if table:
            print(header())

    def __call__(self, report: StepReport) -> bool:
        """Look at an accepted step; True if the callback raised StopIteration."""
        if self.table:
            self._print(report.optimality)
        self._next = None
        if self.callback is not None:
            try:
                self.callback(report)
            except StopIteration:
                return True
        self._next = (report.nit, report.nfev, report.cost, report.cost_reduction, report.step_norm)
        return False

    def finish(self, result: SolveResult) -> None:
        """Print the last line."""
        if self.table:
            self._print(result.optimality)

    def _print(self, optimality: float) -> None:
        if self._next is not None:
            print(row(*self._next, optimality))
