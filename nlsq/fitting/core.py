"""What a solver leaves behind, before anything is derived from it.

`FitCore` holds the numbers; `FitResult` derives the rest from them when it is asked for. Constructing both costs about
a microsecond.

Robust losses: the solver's Jacobian has its rows scaled by the loss, J~_i = s_i J_i (see `nlsq.loss`), and so has the
normal matrix J~'J~; the covariance is made from these. Dividing by s_i gives J back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.constrained import ConstrainedEnd, ConstraintOutcome, active_rows, errors_hold, reduction_of
from nlsq.fitting.task import FitTask
from nlsq.loss import scale_for_loss
from nlsq.status import Status
from nlsq.uncertainty.identifiability import (
    CENTRAL,
    EXACT,
    FORWARD,
    Identification,
    identify,
    identify_from_normal,
    identify_on_tangent,
    unknown,
)

FloatArray = NDArray[np.float64]
SQUARED = 1e-6  # relative accuracy of singular values that come from J'J: the root of its rounding, and some
SUSPICIOUS = 10.0  # times the accuracy of forward differences: below, J is taken again by central ones


@final
@dataclass(slots=True)
class FitCore:
    """The end of a solve.

    Only the first four are needed: what is missing is computed from the task when it is asked for. One of `jac` and
    `normal` spares the model's evaluation.

    Attributes
    ----------
    task : FitTask
        What was fitted.
    params : ndarray, shape (n,)
        All parameters, held ones too.
    cost : float
        1/2 sum rho(r_i^2).
    status : Status
        Why the solver stopped.
    nfev, njev, nit : int
        Evaluations of residual and Jacobian that the solver asked for, accepted steps.
    residual : ndarray, shape (m,), or None
        Weighted residual.
    jac : ndarray, shape (m, n_free), or None
        Jacobian over the free parameters, rows scaled by the loss.
    normal : ndarray, shape (n_free, n_free), or None
        J'J of the same.
    accuracy : float
        Relative accuracy of `jac`: of formulas, central or forward differences.
    active : ndarray of int, shape (n,), or None
        -1 at a lower bound, 1 at an upper one, else 0; None: no bound is active.
    fallbacks : list of str
        What was done differently from what was asked.
    minima : tuple
        See `nlsq.fitting.multistart.Minimum`.
    start : ndarray, shape (n,), or None
        Where the solve began.
    nfev_start : int
        Evaluations spent on finding it.
    constrained : ConstrainedEnd or None
        What constraints are like at the solution; None of a fit without.
    """

    task: FitTask
    params: FloatArray
    cost: float
    status: Status
    nfev: int = 0
    njev: int = 0
    nit: int = 0
    residual: FloatArray | None = None
    jac: FloatArray | None = None
    normal: FloatArray | None = None
    accuracy: float = EXACT
    active: NDArray[np.int_] | None = None
    fallbacks: Any = ()
    minima: Any = ()
    start: FloatArray | None = None
    nfev_start: int = 0
    constrained: ConstrainedEnd | None = None


def weighted_residual(core: FitCore) -> FloatArray:
    """Return the residual, evaluated if the solver did not leave it."""
    if core.residual is None:
        task = core.task
        core.residual = task.problem(core.params).residual.first(task.among_free(core.params))
    return core.residual


def scaled_jacobian(core: FitCore) -> FloatArray:
    """Return the Jacobian over the free parameters, rows scaled by the loss; evaluated if it is not there."""
    if core.jac is None:
        core.jac, core.accuracy = evaluate_jacobian(core, None)
    return core.jac


def jacobian(core: FitCore) -> FloatArray:
    """Return the Jacobian of the weighted residual over all parameters, without the loss."""
    jac = scaled_jacobian(core)
    if not core.task.loss.is_linear:
        jac = jac / row_scale(core)[:, np.newaxis]
    if core.task.free is None:
        return jac
    full = np.zeros((jac.shape[0], len(core.task.names)))
    full[:, core.task.free] = jac
    return full


def evaluate_jacobian(core: FitCore, estimator: Any) -> tuple[FloatArray, float]:
    """Evaluate the Jacobian at the solution by the task's own estimator, or another; return it with its accuracy."""
    task = core.task
    residual = weighted_residual(core)
    p = task.among_free(core.params)
    problem = task.problem(core.params, estimator)
    if estimator is None and task.jac is None and accuracy_of(problem) >= FORWARD:
        problem = task.problem(core.params, "3-point")
    problem.residual.first(p)
    prepared = problem.prepare_jacobian(p, residual.size)
    jac = np.asarray(prepared.evaluate(p, residual, None))
    return np.asarray(scale_for_loss(task.loss, jac, residual.copy())[0]), accuracy_of(problem)


def accuracy_of(problem: Any) -> float:
    """Return the relative accuracy of the Jacobian of a problem whose residual has been evaluated."""
    from nlsq.derivatives import CentralDifference, ForwardDifference

    eps = float(np.finfo(getattr(problem.residual, "dtype", np.float64)).eps)
    coarser = eps / float(np.finfo(np.float64).eps)  # of a model in single precision
    accuracy = EXACT * coarser
    if isinstance(problem.estimator, ForwardDifference):
        accuracy = FORWARD * coarser ** (1 / 2)
    elif isinstance(problem.estimator, CentralDifference):
        accuracy = CENTRAL * coarser ** (2 / 3)
    return accuracy


def identification(core: FitCore) -> Identification:
    """Tell which of the parameters that are neither held nor at a bound the data identify.

    A Jacobian by forward differences that looks deficient is taken again by central ones: their noise is a hundred
    times less. At a point that violates constraints nothing is known.
    """
    movable = moving(core)
    if not errors_hold(core):
        return unknown(int(np.count_nonzero(movable)))
    rows = active_rows(core)[:, movable]
    if core.jac is None and not len(rows) and core.normal is not None:
        found = identify_from_normal(core.normal if core.active is None else core.normal[np.ix_(movable, movable)])
        if found is not None:
            return found
        streamed = core.task.data.streamed
        if streamed is not None and not streamed.in_memory:
            return identify_by_squares(core.normal[np.ix_(movable, movable)])
    try:
        jac = scaled_jacobian(core)
        found = identify_on_tangent(jac[:, movable], rows, core.accuracy)
        if core.accuracy >= FORWARD and found.relative_gap <= SUSPICIOUS * core.accuracy and np.isfinite(jac).all():
            finer, accuracy = evaluate_jacobian(core, "3-point")
            if np.isfinite(finer).all():
                core.jac, core.accuracy = finer, accuracy
                found = identify_on_tangent(finer[:, movable], rows, accuracy)
    except ArithmeticError:  # a model of plain Python numbers at a point where it has no value
        found = unknown(int(np.count_nonzero(movable)))
    return found


def identify_by_squares(normal: FloatArray) -> Identification:
    """Tell what J'J identifies where there is no J: what is below the root of the rounding of J'J counts as unseen.

    With J'J = D V W V' D, D the lengths of the columns, W^(1/2) V' D has the singular values and vectors of J.
    """
    if not np.isfinite(normal).all():
        return unknown(len(normal))
    lengths = np.sqrt(normal.diagonal())
    scale = np.where(lengths > 0.0, lengths, 1.0)
    values, vectors = np.linalg.eigh(normal / scale / scale[:, np.newaxis])
    return identify(np.sqrt(np.maximum(values, 0.0))[:, np.newaxis] * vectors.T * lengths, SQUARED)


def moving(core: FitCore) -> NDArray[np.bool_]:
    """Return which of the free parameters are not at a bound."""
    if core.active is None:
        return np.ones(core.task.n_free, dtype=bool)
    return np.asarray(core.task.among_free(core.active) == 0)


def over_all(block: FloatArray, moved: NDArray[np.intp], n: int) -> FloatArray:
    """Spread a matrix over the parameters that move to all of them."""
    if len(block) == n:
        return block
    full = np.zeros((n, n))
    full[np.ix_(moved, moved)] = block
    return full


def correlation(covariance: FloatArray, stderr: FloatArray) -> FloatArray:
    """Return the correlations, 1 on the diagonal where the errors are known."""
    scale = np.where(stderr == 0.0, 1.0, stderr)
    correlation: FloatArray = covariance / scale / scale[:, np.newaxis]
    np.fill_diagonal(correlation, np.where(np.isnan(stderr), np.nan, 1.0))
    return correlation


def outcomes(core: FitCore) -> tuple[ConstraintOutcome, ...]:
    """Return the constraints at the solution."""
    return () if core.constrained is None else core.constrained.outcomes


def n_free(core: FitCore) -> int:
    """Return the number of parameters that neither are held nor follow from the others by active constraints."""
    return core.task.n_free - reduction_of(core)


def row_scale(core: FitCore) -> FloatArray:
    """Return s, the factors by which the loss scales the rows of the Jacobian."""
    residual = weighted_residual(core)
    ones = np.ones((residual.size, 1))
    scaled: FloatArray = scale_for_loss(core.task.loss, ones, residual.copy())[0]
    return scaled[:, 0]
