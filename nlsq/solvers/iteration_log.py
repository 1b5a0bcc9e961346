"""The iterations of an interior-point solve as a table, in the manner of IPOPT's.

    iter      cost         inf_pr   inf_du   lg(mu)  ||d||    lg(rg)  alpha_du  alpha_pr  ls

    cost       1/2 ||r||^2 after the step
    inf_pr     largest violation of a constraint
    inf_du     largest component of the gradient of the Lagrangian
    lg(mu)     decimal logarithm of the barrier parameter
    ||d||      length of the step that was computed
    lg(rg)     decimal logarithm of what was added to the diagonal of the Hessian; - where nothing had to be
    alpha_du   step length of the bounds' multipliers
    alpha_pr   step length of the variables, with a letter for the kind of step
    ls         trial points of the line search

The letters: f, the cost fell enough; h, the violation fell enough; s, after a second-order correction; r, the violation
alone was reduced (restoration); t, a step that rounding swallows. A report that lacks a number, as those of methods
without constraints do, has a dash in its place.

References
----------
.. [1] A. Waechter and L. T. Biegler, "On the implementation of an interior-point filter line-search algorithm for
   large-scale nonlinear programming", Mathematical Programming 106, 2006: the quantities, and the tests that the
   letters stand for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, final

HEADER_EVERY = 20  # lines
HEADER = (
    f"{'iter':>5}{'cost':>16}{'inf_pr':>10}{'inf_du':>10}{'lg(mu)':>8}{'||d||':>10}{'lg(rg)':>8}{'alpha_du':>10}"
    f"{'alpha_pr':>10}{'ls':>5}"
)
KINDS = {
    "f": "the cost fell enough",
    "h": "the violation fell enough",
    "s": "after a second-order correction",
    "r": "restoration: the violation alone was reduced",
    "t": "a step that rounding swallows",
}


def format_line(report: Any) -> str:
    """Return the line of one step.

    Parameters
    ----------
    report : StepReport
        Any solver's.
    """
    kind = str(getattr(report, "kind", "") or "")
    trials = getattr(report, "line_search", None)
    return (
        f"{report.nit:>5d}{report.cost:>16.7e}{report.constr_violation:>10.2e}{report.dual_infeasibility:>10.2e}"
        f"{_logarithm(report.barrier):>8}{report.step_norm:>10.2e}"
        f"{_logarithm(getattr(report, 'regularisation', 0.0)):>8}{_length(getattr(report, 'dual_step', None)):>10}"
        f"{_length(getattr(report, 'primal_step', None)):>10}{kind:<1}{'-' if trials is None else int(trials):>4}"
    ).rstrip()


def format_log(history: Iterable[Any]) -> str:
    """Return the table of a solve, with the letters that occur in it explained.

    Parameters
    ----------
    history : iterable of StepReport
        ``result.history`` of ``nlsq.solve(problem, history=True)``.

    Raises
    ------
    ValueError
        If there is no history, because the solve did not keep it.
    """
    if history is None:
        raise ValueError("there is no history: ask for it, as in nlsq.solve(problem, history=True).")
    lines: list[str] = []
    printer = LogPrinter(lines.append)
    seen = set()
    for report in history:
        printer(report)
        seen.add(getattr(report, "kind", ""))
    explained = [f"{letter}: {meaning}" for letter, meaning in KINDS.items() if letter in seen]
    if explained:
        lines += ["", "; ".join(explained)]
    return "\n".join(lines) if lines else HEADER


@final
class LogPrinter:
    """Writes a line for each report, under a header that comes again now and then.

    Parameters
    ----------
    write : callable, optional
        Takes a line; prints it by default.
    """

    def __init__(self, write: Callable[[str], Any] | None = None) -> None:
        self.write = _print if write is None else write
        self.lines = 0

    def __call__(self, report: Any) -> None:
        """Write the line of one step."""
        if self.lines % HEADER_EVERY == 0:
            self.write(HEADER)
        self.lines += 1
        self.write(format_line(report))


def _print(line: str) -> None:
    print(line, flush=True)


def _logarithm(value: float) -> str:
    """Return the decimal logarithm with one digit; a dash for zero."""
    if value == 0.0:
        return "-"
    return f"{math.log10(value):.1f}" if value > 0.0 and math.isfinite(value) else f"{value:g}"


def _length(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"
