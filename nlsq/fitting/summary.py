"""The report of a fit in words and numbers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from nlsq.fitting.constrained import errors_hold
from nlsq.fitting.streaming.data import Unread
from nlsq.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nlsq.fitting.constrained import ConstraintOutcome
    from nlsq.fitting.result import FitResult

CORRELATED = 0.1  # correlations of less are not listed
HOW_ERRORS = "active constraints count as equations in the errors"
LISTED = 20  # correlations, the strongest
SMALL_PART = 0.005  # of a direction, in units of the parameters' sizes; less is not written


def summarise(result: FitResult) -> str:
    """Return the report; see `FitResult.summary`."""
    blocks = [_ending(result), _quality(result), _parameters(result), _constraints(result)]
    blocks += [_correlations(result), _unidentified(result), _minima(result), _fallbacks(result)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _ending(result: FitResult) -> list[str]:
    """Say how the fit ended."""
    data = result._core.task.data
    kind = " (real and imaginary parts)" if data.complex else ""
    lines = [
        result.message,
        f"{data.size} values{kind}, {result._core.task.n_free} free of {len(result.names)} parameters; "
        f"{result.nfev} evaluations, {result.njev} Jacobians, {result.nit} steps",
    ]
    if result.omitted:
        lines.append(f"{result.omitted} values of y were missing and left out")
    if result.nfev_start:
        lines.append(f"start values found from the data in {result.nfev_start} evaluations")
    return lines


def _quality(result: FitResult) -> list[str]:
    """Say how well the model describes the data."""
    lines = _statistics(result)
    loss = result._core.task.loss
    if not loss.is_linear:
        name = loss.function if isinstance(loss.function, str) else "the given loss"
        lines.append(
            f"robust: cost {result.cost:.6g} under {name} at scale {loss.scale:.6g}; the errors follow from it and the "
            "Jacobian scaled by it"
        )
    if result._core.task.absolute_sigma:
        lines.append("errors: from the sigma of the data, taken as absolute")
    else:
        lines.append("errors: scaled by the scatter of the data")
    if result.dof <= 0:
        lines.append(f"no degrees of freedom: {data_count(result)} values do not leave a scatter to take errors from")
    return lines


def _statistics(result: FitResult) -> list[str]:
    """Give chi2 and what is made of it; of data that are gone what takes no further pass over them."""
    dof, of_chi2, r_squared = f"{result.dof} degrees of freedom", "", ""
    with suppress(Unread):
        of_chi2 = f"AIC {result.aic:.6g}, BIC {result.bic:.6g}"
    with suppress(Unread):
        r_squared = f"R2 {result.r_squared:.6g}"
    parts = [f"chi2 {result.chi2:.6g}, reduced {result.reduced_chi2:.6g} ({dof})"] if of_chi2 else [dof]
    lines = [", ".join([*parts, *[part for part in (r_squared, of_chi2) if part]])]
    unknown = [*(() if of_chi2 else ("chi2", "AIC", "BIC")), *(() if r_squared else ("R2",))]
    if unknown:
        lines.append(
            f"without {', '.join(unknown)}: the data, over which one more pass is needed, cannot be read any more"
        )
    return lines


def data_count(result: FitResult) -> int:
    """Return the number of values that count."""
    return result._core.task.data.informative


def _parameters(result: FitResult) -> list[str]:
    """List values and errors."""
    width = max(9, *(len(name) for name in result.names))
    lines = [f"{'parameter':<{width}}  {'value':>16}  {'std. error':>11}"]
    for j, name in enumerate(result.names):
        value, error = float(result.params[j]), float(result.stderr[j])
        lines.append(f"{name:<{width}}  {value:>16.9g}  {_error(result, j, value, error)}".rstrip())
    return lines


def _error(result: FitResult, j: int, value: float, error: float) -> str:
    """Return the error of one parameter, or why it has none."""
    if result.fixed[j]:
        return f"{'held':>11}"
    if result.at_bound[j]:
        end = "lower" if result.at_bound[j] < 0 else "upper"
        return f"{'':>11}  at its {end} bound, where it counts as held"
    no_derivatives = result.status in (Status.NONFINITE_START, Status.NONFINITE_JACOBIAN)
    if no_derivatives or not errors_hold(result._core):
        return f"{'unknown':>11}"
    if not result.identifiable[j]:
        return f"{'':>11}  not identified by the data"
    if error == 0.0 and result.constraints:
        return f"{'':>11}  determined by the active constraints"
    if np.isnan(error):
        return f"{'unknown':>11}"
    return f"{error:>11.4g}" + (f"  ({100.0 * error / abs(value):.2g} %)" if value else "")


def _constraints(result: FitResult) -> list[str]:
    """List the constraints: value, limits, multiplier, and whether they are active."""
    if not result.constraints:
        return []
    rows = [row for outcome in result.constraints for row in _rows_of(outcome)]
    width = max(10, *(len(name) for name, *_ in rows))
    lines = [f"{'constraint':<{width}}  {'value':>14}  {'limits':^23}  {'multiplier':>11}"]
    lines += [
        f"{name:<{width}}  {value:>14.8g}  {limits:^23}  {y:>11}  {state}".rstrip()
        for name, value, limits, y, state in rows
    ]
    errors = HOW_ERRORS if errors_hold(result._core) else "no errors at a point that violates constraints"
    lines.append(f"largest violation {result.constr_violation:.2g}; {errors}")
    return lines


def _rows_of(outcome: ConstraintOutcome) -> Iterator[tuple[str, float, str, str, str]]:
    """Yield name, value, limits, multiplier and state of each row of a constraint."""
    for i, name in enumerate(outcome.row_names()):
        lower, upper, y = float(outcome.lower[i]), float(outcome.upper[i]), float(outcome.multipliers[i])
        limits = f"= {lower:.6g}" if lower == upper else f"{lower:.6g} to {upper:.6g}"
        if lower == -np.inf or upper == np.inf:
            limits = f"<= {upper:.6g}" if upper < np.inf else f">= {lower:.6g}" if lower > -np.inf else "none"
        state = "active" if outcome.active[i] else ""
        if outcome.violated[i]:
            state = f"violated by {outcome.violation[i]:.2g}"
        if np.isnan(outcome.value[i]):
            state = "not finite"
        yield name, float(outcome.value[i]), limits, "unknown" if np.isnan(y) else f"{y:.4g}", state


def _correlations(result: FitResult) -> list[str]:
    """List the correlations, the strongest first."""
    n = len(result.names)
    pairs = [(float(result.correlation[i, j]), i, j) for i in range(n) for j in range(i)]
    strong = sorted((p for p in pairs if abs(p[0]) >= CORRELATED), key=lambda p: -abs(p[0]))
    if not strong:
        return []
    lines = [f"correlations of at least {CORRELATED}"]
    lines += [f"{result.names[j]}, {result.names[i]}: {c:+.4f}" for c, i, j in strong[:LISTED]]
    if len(strong) > LISTED:
        lines.append(f"and {len(strong) - LISTED} weaker ones")
    return lines


def _unidentified(result: FitResult) -> list[str]:
    """Say along which combinations the parameters can move without a change of the fit, in relative changes."""
    if not len(result.null_directions):
        return []
    lines = ["the data do not identify these relative changes (the fit stays the same along them)"]
    params = np.asarray(result.params)
    for direction in result.null_directions:
        relative = direction / np.where(params == 0.0, 1.0, np.abs(params))
        relative = relative / np.linalg.norm(relative)
        parts = [
            f"{'-' if part < 0.0 else '+'} {abs(part):.2f} {name}"
            for part, name in zip(relative, result.names, strict=True)
            if abs(part) > SMALL_PART
        ]
        lines.append(" ".join(parts).removeprefix("+ "))
    return lines


def _minima(result: FitResult) -> list[str]:
    """List the minima that several starts found."""
    if not result.minima:
        return []
    lines = [f"{len(result.minima)} distinct ends of {sum(m.starts for m in result.minima)} starts"]
    for minimum in result.minima:
        values = ", ".join(f"{name}={value:.6g}" for name, value in minimum.params.to_dict().items())
        lines.append(f"cost {minimum.cost:.6g} from {minimum.starts}: {values} ({minimum.status.name})")
    return lines


def _fallbacks(result: FitResult) -> list[str]:
    """List what was done differently from what was asked."""
    return [f"note: {fallback}" for fallback in result.fallbacks]
