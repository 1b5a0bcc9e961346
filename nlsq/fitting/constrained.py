"""What a fit with constraints leaves behind: values, multipliers, and which constraints are active.

At the solution, with g the gradient of the cost, A the rows of the constraints' derivatives and y their multipliers,

    g + A'y - z_lower + z_upper = 0,       y >= 0 at an active upper limit, y <= 0 at an active lower one,

so that a limit that moves outward by t lowers the cost by |y| t. A row is active when it is an equation or at a limit;
active rows hold the parameters to their tangent space, on which the covariance is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.named import NamedArray, named
from nlsq.status import Status

if TYPE_CHECKING:
    from nlsq.fitting.constraints import FitConstraint
    from nlsq.fitting.core import FitCore
    from nlsq.fitting.task import FitTask

FloatArray = NDArray[np.float64]
AT_LIMIT = 1e-6  # distance from a limit, relative to it or absolute below one, at which a row is at it
INFEASIBLE = (Status.LOCALLY_INFEASIBLE, Status.RESTORATION_FAILED)
ROWS_DEPEND = 1e-9  # relative singular value of the active rows, of unit length, below which some follow from others


@final
@dataclass(frozen=True, slots=True)
class ConstraintOutcome:
    """One constraint at the solution of a fit, in the order and units in which it was given.

    Attributes
    ----------
    name : str
        The function's name, the linear combination, or the place among the constraints.
    value : ndarray, shape (k,)
        Its values.
    lower, upper : ndarray, shape (k,)
        Its limits.
    multipliers : ndarray, shape (k,)
        Positive at an active upper limit, negative at an active lower one: a limit that moves outward by t lowers the
        cost by ``abs(multiplier) * t``. NaN where the solver did not get as far.
    active : ndarray of bool, shape (k,)
        Equations, and rows at a limit.
    """

    name: str
    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    multipliers: FloatArray
    active: NDArray[np.bool_]

    @property
    def violation(self) -> FloatArray:
        """By how much each row is beyond its limits."""
        beyond: FloatArray = np.maximum(np.maximum(self.lower - self.value, self.value - self.upper), 0.0)
        return beyond

    @property
    def violated(self) -> NDArray[np.bool_]:
        """Which rows are beyond their limits by more than 1e-6, relative to the limit or absolute below one."""
        limit = np.where(self.value < self.lower, self.lower, self.upper)
        size = np.maximum(1.0, np.abs(np.where(np.isfinite(limit), limit, 0.0)))
        violated: NDArray[np.bool_] = ~(self.violation <= AT_LIMIT * size)  # NaN too
        return violated

    def row_names(self) -> list[str]:
        """Return a name for each row."""
        if self.value.size == 1:
            return [self.name]
        return [f"{self.name}[{i}]" for i in range(self.value.size)]


class FitMultipliers(NamedTuple):
    """Multipliers of a fit: one array for each constraint as given, and those of the bounds, over all parameters."""

    constraints: tuple[FloatArray, ...]
    lower: NamedArray
    upper: NamedArray


@final
@dataclass(slots=True)
class ConstrainedEnd:
    """The part of a `FitCore` that belongs to constraints.

    Attributes
    ----------
    outcomes : tuple of ConstraintOutcome
        One for each constraint.
    lower, upper : ndarray, shape (n,)
        Multipliers of the bounds, >= 0.
    violation : float
        Largest violation of bounds and constraints, as the solver measures it.
    jac : ndarray, shape (mc, n_free), or None
        Derivatives by the free parameters; evaluated when it is asked for, where the solver did not leave it.
    reduction : int or None
        By how many the active rows reduce the number of free parameters; likewise.
    """

    outcomes: tuple[ConstraintOutcome, ...]
    lower: FloatArray
    upper: FloatArray
    violation: float
    jac: FloatArray | None = None
    reduction: int | None = None

    @property
    def active(self) -> NDArray[np.bool_]:
        """Which of all rows are active."""
        return np.concatenate([outcome.active for outcome in self.outcomes])

    def multipliers(self, names: tuple[str, ...]) -> FitMultipliers:
        """Return the multipliers with the names of the parameters."""
        of_constraints = tuple([outcome.multipliers for outcome in self.outcomes])
        return FitMultipliers(of_constraints, named(self.lower, names), named(self.upper, names))


def constrained_end(task: FitTask, params: FloatArray, solved: Any) -> ConstrainedEnd:
    """Collect what the solver says about constraints.

    Parameters
    ----------
    task : FitTask
        What was fitted.
    params : ndarray, shape (n,)
        All parameters at the end.
    solved : SolveResult
        Of the problem over the free parameters.
    """
    multipliers = solved.multipliers
    rows = np.full(0, np.nan) if multipliers is None else np.asarray(multipliers.constraints, dtype=np.float64)
    values = [constraint.value(params) for constraint in task.constraints]
    if rows.size != sum(value.size for value in values):
        rows = np.full(sum(value.size for value in values), np.nan)
    active = getattr(solved, "active_constraints", None)
    outcomes, first = [], 0
    for constraint, value in zip(task.constraints, values, strict=True):
        here = slice(first, first + value.size)
        outcomes.append(_outcome(constraint, value, rows[here], None if active is None else active[here]))
        first += value.size
    ends = []
    for side in ("lower", "upper"):
        own = None if multipliers is None else getattr(multipliers, side)
        end = np.zeros(len(task.names))
        if own is not None:
            end[np.arange(end.size) if task.free is None else task.free] = own
        ends.append(end)
    jac = getattr(solved, "constraint_jac", None)
    if jac is not None:
        jac = np.asarray(jac.toarray() if hasattr(jac, "toarray") else jac)
    return ConstrainedEnd(tuple(outcomes), ends[0], ends[1], float(solved.constr_violation), jac)


def held_end(task: FitTask, params: FloatArray) -> ConstrainedEnd | None:
    """Return the same of a fit all of whose parameters are held; None without constraints."""
    if not task.constraints:
        return None
    values = [constraint.value(params) for constraint in task.constraints]
    outcomes = tuple(
        [_outcome(one, value, np.zeros(value.size)) for one, value in zip(task.constraints, values, strict=True)]
    )
    largest = max(float(outcome.violation.max(initial=0.0)) for outcome in outcomes)
    nothing = np.zeros((sum(value.size for value in values), 0))
    return ConstrainedEnd(outcomes, np.zeros(params.size), np.zeros(params.size), largest, nothing, 0)


def _outcome(
    constraint: FitConstraint, value: FloatArray, multipliers: FloatArray, active: NDArray[np.bool_] | None = None
) -> ConstraintOutcome:
    """Put an outcome together; which rows are active is the solver's to say, who knows their units, where it does."""
    lower, upper = constraint.limits(value.size)
    if active is None or active.size != value.size:
        active = lower == upper
        for limit in (lower, upper):
            with np.errstate(invalid="ignore"):  # of infinite limits
                active |= np.isfinite(limit) & (np.abs(value - limit) <= AT_LIMIT * np.maximum(1.0, np.abs(limit)))
    return ConstraintOutcome(constraint.name, value, lower, upper, multipliers.copy(), active.copy())


def constraint_jacobian(core: FitCore) -> FloatArray:
    """Return the derivatives of all constraints by the free parameters: their own, or central differences."""
    end, task = core.constrained, core.task
    assert end is not None
    if end.jac is None:
        parts = [_jacobian_of(constraint, task, core.params) for constraint in task.constraints]
        end.jac = np.concatenate(parts)
    return end.jac


def _jacobian_of(constraint: FitConstraint, task: FitTask, params: FloatArray) -> FloatArray:
    if constraint.matrix is not None:
        return np.asarray(constraint.matrix if task.free is None else constraint.matrix[:, task.free])
    from nlsq.derivatives import CentralDifference

    over_free = constraint.over_free(task.free, params)
    if hasattr(over_free, "A"):  # of held parameters alone
        return np.asarray(over_free.A)
    p = task.among_free(params).copy()
    if callable(over_free.jac):
        value = over_free.jac(p)
        return np.atleast_2d(np.asarray(value.toarray() if hasattr(value, "toarray") else value, dtype=np.float64))
    value = np.atleast_1d(np.asarray(over_free.fun(p), dtype=np.float64))

    def flat(q: FloatArray) -> FloatArray:
        return np.atleast_1d(np.asarray(over_free.fun(q), dtype=np.float64))

    lower, upper = (None, None) if task.lower is None else task.free_bounds() or (None, None)
    jac: FloatArray = (
        CentralDifference().prepare(flat, p, value.size, lower=lower, upper=upper).evaluate(p, value, None)
    )
    return jac


def errors_hold(core: FitCore) -> bool:
    """Whether parameters have standard errors: not at a point that violates constraints.

    A solve that has converged is believed, since it measures violations in the units of each constraint.
    """
    end = core.constrained
    if end is None or core.status.converged:
        return True
    return core.status not in INFEASIBLE and not any(outcome.violated.any() for outcome in end.outcomes)


def active_rows(core: FitCore) -> FloatArray:
    """Return the derivatives of the active rows by the free parameters; none of a fit without constraints."""
    end = core.constrained
    if end is None or not end.active.any():
        return np.empty((0, core.task.n_free))
    return constraint_jacobian(core)[end.active]


def reduction_of(core: FitCore) -> int:
    """Return by how many the active rows reduce the number of free parameters: their rank."""
    end = core.constrained
    if end is None:
        return 0
    if end.reduction is None:
        rows = active_rows(core)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        units = rows[lengths[:, 0] > 0.0] / lengths[lengths[:, 0] > 0.0]
        finite = bool(np.isfinite(units).all())
        values = np.linalg.svd(units, compute_uv=False) if units.size and finite else np.zeros(1)
        end.reduction = int(np.count_nonzero(values > ROWS_DEPEND * values[0]))
    return end.reduction
