"""The report of a constrained solve in words and numbers: how it ended, what it took, what holds the solution.

At a solution of  min 1/2 ||r||^2,  lb <= x <= ub,  cl <= c(x) <= cu,  with multipliers y of c and z of the bounds:

    violation             max of c beyond its limits, x beyond its bounds
    dual infeasibility    max |J'r + A'y - z_lower + z_upper|
    complementarity       max of multiplier times distance from the limit
    projected gradient    max |P J'r|, P the projection on the tangent space of what is active
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
LISTED = 20  # active constraints, and active bounds, that are written
AT_LIMIT = 1e-6  # distance, relative to the limit or absolute below one, at which a row is at it
NEGLIGIBLE = 1e-6  # of the largest multiplier: below, a row whose limits are not known counts as inactive


class _Row(NamedTuple):
    name: str
    value: float
    limit: str
    multiplier: float


def describe(result: Any) -> str:
    """Return the report of a solve with constraints.

    Parameters
    ----------
    result : SolveResult
        Of ``nlsq.solve``.

    Returns
    -------
    str
        Several lines: status, cost, violation with the worst row, optimality, evaluations and factorisations, how the
        linear systems were made and solved, and a table of active constraints and bounds with their multipliers.
    """
    blocks = [_ending(result), _work(result), _methods(result), _active(result)]
    blocks.append([f"note: {fallback}" for fallback in result.fallbacks])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _ending(result: Any) -> list[str]:
    """Say how the solve ended, and how near the point is to a solution."""
    lines = [f"{result.status.name}: {result.message}", f"cost                {result.cost:.9g}"]
    worst = _worst(result)
    lines.append(f"violation           {result.constr_violation:.2e}" + (f"  ({worst})" if worst else ""))
    for title, name in (("dual infeasibility", "dual_infeasibility"), ("complementarity", "complementarity")):
        value = getattr(result, name, None)
        if value is not None:
            lines.append(f"{title:<18}  {value:.2e}")
    projected = getattr(result, "projected_gradient", None)
    if projected is not None and np.isfinite(projected).all():
        lines.append(f"projected gradient  {np.abs(projected).max():.2e}")
    return lines


def _worst(result: Any) -> str:
    """Return the row that is violated most, with its value and the limit that it is beyond."""
    values, limits = _values(result), _limits(result)
    if values is None or limits is None or not values.size:
        return ""
    beyond = np.maximum(limits[0] - values, values - limits[1])
    row = int(np.argmax(np.where(np.isnan(beyond), np.inf, beyond)))
    if beyond[row] <= 0.0:
        return ""
    below = limits[0][row] - values[row] > 0.0
    kind = "equal to" if limits[0][row] == limits[1][row] else "at least" if below else "at most"
    return f"{_names(result)[row]} = {values[row]:.6g}, to be {kind} {limits[0 if below else 1][row]:.6g}"


def _work(result: Any) -> list[str]:
    """Count evaluations and factorisations."""
    parts = [f"{result.nit} iterations", f"{result.nfev} evaluations", f"{result.njev} Jacobians"]
    if result.nfev_jac:
        parts.append(f"{result.nfev_jac} evaluations inside Jacobians")
    if getattr(result, "nhev", 0):
        parts.append(f"{result.nhev} second derivatives")
    if getattr(result, "restorations", 0):
        parts.append(f"{result.restorations} iterations in restoration")
    lines = [", ".join(parts)]
    factorizations = getattr(result, "factorizations", None)
    if factorizations is not None:
        corrections = getattr(result, "inertia_corrections", 0)
        lines.append(f"{factorizations} factorisations, {corrections} of them to correct the inertia")
    return lines


def _methods(result: Any) -> list[str]:
    """Say which second derivatives and which linear solver were used, and why."""
    parts = (("Hessian", getattr(result, "hessian", "")), ("linear solver", result.linear_solver))
    return [f"{title}: {said}" for title, said in parts if said]


def _active(result: Any) -> list[str]:
    """List the active constraints and bounds, the largest multipliers first."""
    rows = _active_constraints(result), _active_bounds(result)
    lines: list[str] = []
    for title, found in zip(("constraints", "bounds"), rows, strict=True):
        if not found:
            continue
        found.sort(key=lambda row: -abs(row.multiplier) if row.multiplier == row.multiplier else 0.0)
        width = max(16, *(len(row.name) for row in found))
        lines.append(f"{'active ' + title:<{width}}  {'value':>14}  {'limit':>14}  {'multiplier':>12}")
        lines += [
            f"{row.name:<{width}}  {row.value:>14.7g}  {row.limit:>14}  {row.multiplier:>12.4g}"
            for row in found[:LISTED]
        ]
        if len(found) > LISTED:
            lines.append(f"and {len(found) - LISTED} more")
    return lines or ["no constraint or bound is active"]


def _active_constraints(result: Any) -> list[_Row]:
    values, limits = _values(result), _limits(result)
    if values is None or not values.size:
        return []
    y = _multipliers(result, "constraints", values.size)
    names = _names(result)
    if limits is None:
        largest = np.max(np.abs(y), initial=0.0)
        return [
            _Row(names[i], float(values[i]), "", float(y[i]))
            for i in range(values.size)
            if abs(y[i]) > NEGLIGIBLE * largest
        ]
    rows = []
    for i, (low, high) in enumerate(zip(*limits, strict=True)):
        if low == high:
            rows.append(_Row(names[i], float(values[i]), f"= {low:.6g}", float(y[i])))
            continue
        for sign, limit in ((">=", low), ("<=", high)):
            if np.isfinite(limit) and abs(values[i] - limit) <= AT_LIMIT * max(1.0, abs(limit)):
                rows.append(_Row(names[i], float(values[i]), f"{sign} {limit:.6g}", float(y[i])))
                break
    return rows


def _active_bounds(result: Any) -> list[_Row]:
    lower = _multipliers(result, "lower", result.x.size)
    upper = _multipliers(result, "upper", result.x.size)
    rows = []
    for j in np.flatnonzero(result.active_mask):
        is_lower = result.active_mask[j] < 0
        multiplier = float(lower[j] if is_lower else upper[j])
        rows.append(_Row(f"x[{j}]", float(result.x[j]), "lower" if is_lower else "upper", multiplier))
    return rows


def _multipliers(result: Any, which: str, size: int) -> FloatArray:
    """Return one kind of multipliers; NaN where there are none."""
    found = getattr(getattr(result, "multipliers", None), which, None)
    return np.full(size, np.nan) if found is None or np.size(found) != size else np.asarray(found)


def _values(result: Any) -> FloatArray | None:
    values = getattr(result, "constraint_values", None)
    return None if values is None else np.asarray(values, dtype=np.float64)


def _limits(result: Any) -> tuple[FloatArray, FloatArray] | None:
    lower, upper = getattr(result, "constraint_lower", None), getattr(result, "constraint_upper", None)
    return None if lower is None or upper is None else (np.asarray(lower), np.asarray(upper))


def _names(result: Any) -> list[str]:
    names = getattr(result, "constraint_names", None)
    values = _values(result)
    size = 0 if values is None else values.size
    return [f"c[{i}]" for i in range(size)] if not names or len(names) != size else list(names)
