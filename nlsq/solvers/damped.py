r"""Levenberg-Marquardt through the seam of `nlsq.linalg`, for dense and sparse Jacobians and operators.

    p(lambda) = argmin |J p + r|^2 + lambda |D p|^2

With Nielsen's rule lambda is given, and the linear solver is handed ``damping_diag = lambda D^2`` once a step. With a
radius, lambda is the root of

    psi(lambda) = 1/|D p(lambda)| - 1/radius

psi is concave and rises with a slope of at least 1 / |D^-1 J'r| [1]_, so that from the undamped step

    0 <= lambda <= (1/radius - 1/|D p(0)|) |D^-1 J'r|

and, being nearly straight, it gives in to the secant rule within this interval: each trial is one solve, no factor is
looked into.

References
----------
.. [1] J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978, section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import numpy as np

from nlsq.kernels import layout, levenberg_marquardt
from nlsq.kernels.levenberg_marquardt import RADIUS_PRECISION
from nlsq.linalg import LinearStatus
from nlsq.solvers.dense import FloatArray
from nlsq.solvers.matrix_free import MatrixFreeState
from nlsq.status import Status

if TYPE_CHECKING:
    from nlsq.solvers.blocks import BlockState

PROMISE = 1e-8  # share of the cost, as in `nlsq.kernels.judgement`
TRUSTED = 0.75  # gain ratio
MOST_SOLVES = 12  # for one radius; two or three are the rule
LEAST_SHARE = 1e-3  # of the interval, where nothing better is known (More 1978, section 5)
WORTH_TELLING = (
    LinearStatus.HANDED_OVER,
    LinearStatus.CORRECTED,
    LinearStatus.REPLANNED,
    LinearStatus.NOT_CONVERGED,
    LinearStatus.ILL_CONDITIONED,
)


@final
class DampedSteps:
    """Levenberg-Marquardt steps from a linear solver.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    linear_solver : LinearSolver
        See `nlsq.linalg`.
    pattern : SparsityPattern or BlockPattern, optional
        Of J, where the linear solver makes use of it.

    Attributes
    ----------
    factorization : Factorization
        Of the current J.
    status : LinearStatus
        Of the last linear problem.
    """

    judge = levenberg_marquardt.judge

    def __init__(self, shape: tuple[int, int], linear_solver: Any, pattern: Any = None) -> None:
        self.factorization = linear_solver.prepare(shape) if pattern is None else linear_solver.prepare(shape, pattern)
        self.status = LinearStatus.SOLVED
        self._diagonal = np.zeros(shape[1])
        self._step = np.empty(shape[1])
        self._newton = np.empty(shape[1])
        self._newton_length = np.inf  # |D p(0)|, inf where p(0) is not unique
        self._newton_known = False
        self._scale_parameters = levenberg_marquardt.scale_parameters.entry()
        self._start_damping = levenberg_marquardt.start_damping.entry()
        self._take_step = levenberg_marquardt.take_step.entry()

    def linearise(self, state: MatrixFreeState | BlockState) -> int:
        """Scale the parameters and hand J over; returns a status, 0 to go on."""
        space, w = state.space, state.w
        self._scale_parameters(space.w_handle, space.iw_handle)
        small = bool(w[layout.COSINE] <= w[layout.OPTIMALITY_TOLERANCE])
        if small and w[layout.COST] == 0.0:
            return Status.OPTIMALITY
        status: LinearStatus = self.factorization.factorize(state.jac)
        tell(state, status)
        if not status.usable:
            return Status.NONFINITE_JACOBIAN
        self._newton_known = False
        np.multiply(
            state.vector(layout.COLUMN_SCALE), state.vector(layout.GRADIENT), out=state.vector(layout.SCALED_GRADIENT)
        )
        w[layout.FULL_PREDICTED_REDUCTION] = np.inf
        if state.iw[layout.NJEV] == 1:
            self._start_damping(space.w_handle, space.iw_handle)
        return Status.OPTIMALITY if small and not self._is_promising(state) else 0

    def _is_promising(self, state: MatrixFreeState | BlockState) -> bool:
        """Whether columns that are nearly orthogonal to the residual hide a step that takes part of the cost away.

        So it is with the columns of a differential equation, whose few entries see a smooth residual cancel.
        """
        w, iw = state.w, state.iw
        if iw[layout.NIT] > 0 and not w[layout.GAIN_RATIO] >= TRUSTED:
            return False
        if iw[layout.DAMPING_RULE] != layout.DAMPING_NIELSEN:
            self._find_newton(state)
            return bool(w[layout.FULL_PREDICTED_REDUCTION] > PROMISE * w[layout.COST])
        solved = self._solve(state, float(w[layout.DAMPING]), self._step).usable
        return solved and _model_reduction(state, self._step) > PROMISE * w[layout.COST]

    def propose(self, state: MatrixFreeState | BlockState) -> int:
        """Find the damped step and the candidate; 1 if no step can be computed."""
        space, w = state.space, state.w
        if state.iw[layout.DAMPING_RULE] == layout.DAMPING_NIELSEN:
            step = self._step
            solved = self._solve(state, float(w[layout.DAMPING]), step).usable
        else:
            step = self._within_radius(state)
            solved = bool(np.isfinite(step).all())
        if not solved:
            return 1
        w[layout.PREDICTED_REDUCTION] = _model_reduction(state, step)
        np.divide(step, state.vector(layout.COLUMN_SCALE), out=state.vector(layout.SCALED_STEP))
        self._take_step(space.w_handle, space.iw_handle)
        return 0

    def sharpen(self, state: MatrixFreeState | BlockState) -> bool:
        """How exactly problems are solved is the linear solver's own affair."""
        return False

    def _solve(self, state: MatrixFreeState | BlockState, damping: float, step_out: FloatArray) -> LinearStatus:
        """One damped problem: ``damping_diag = lambda D^2``, D = 1 / column scale."""
        scale, diagonal = state.vector(layout.COLUMN_SCALE), self._diagonal
        np.divide(damping, scale, out=diagonal)
        np.divide(diagonal, scale, out=diagonal)
        status: LinearStatus = self.factorization.solve(
            state.space.residual_vector(layout.WEIGHTED), diagonal, step_out
        )
        self.status = status
        tell(state, status)
        return status

    def _find_newton(self, state: MatrixFreeState | BlockState) -> None:
        """Find the undamped step, its length, and what it promises."""
        status = self._solve(state, 0.0, self._newton)
        self._newton_known = True
        self._newton_length = np.inf
        if not (status.usable and np.isfinite(self._newton).all()):
            return
        state.w[layout.FULL_PREDICTED_REDUCTION] = _model_reduction(state, self._newton)
        if status is not LinearStatus.RANK_DEFICIENT:
            self._newton_length = _length(self._newton, state)

    def _within_radius(self, state: MatrixFreeState | BlockState) -> FloatArray:
        """Step of length radius to a tenth, or the undamped one if that is shorter; leaves lambda in the workspace."""
        w, iw, step = state.w, state.iw, self._step
        if not self._newton_known:
            self._find_newton(state)
        radius = float(w[layout.RADIUS])
        iw[layout.STEP_CUT] = 0
        if self._newton_length <= (1.0 + RADIUS_PRECISION) * radius:
            w[layout.DAMPING] = 0.0
            return self._newton
        iw[layout.STEP_CUT] = 1
        step[:] = np.nan

        def length_at(damping: float) -> float:
            return _length(step, state) if self._solve(state, damping, step).usable else np.inf

        gradient = float(np.linalg.norm(state.vector(layout.SCALED_GRADIENT)))
        lengths = self._newton_length, gradient, radius
        w[layout.DAMPING] = meet_radius(length_at, lengths, float(w[layout.DAMPING]), RADIUS_PRECISION, MOST_SOLVES)
        return step


def tell(state: Any, status: LinearStatus) -> None:
    """Put what became of a linear problem among the fallbacks of a solve, once, where it is worth telling."""
    if status in WORTH_TELLING and status.message not in state.fallbacks:
        state.fallbacks.append(status.message)


def meet_radius(
    length_at: Callable[[float], float], lengths: tuple[float, float, float], first: float, precision: float, most: int
) -> float:
    """Find the damping of a step of length radius.

    Parameters
    ----------
    length_at : callable
        ``lambda -> |D p(lambda)|``, infinite where there is no step.
    lengths : tuple of float
        ``|D p(0)|``, which may be infinite; ``|D^-1 J'r|``; the radius, less than the first.
    first : float
        Where to begin, if it is within what the lengths say.
    precision : float
        Relative, of the length.
    most : int
        Trials at most.

    Returns
    -------
    float
        The damping tried last.
    """
    newton, gradient, radius = lengths
    inverse = 1.0 / newton
    low, high = 0.0, (1.0 / radius - inverse) * gradient
    last, last_psi = 0.0, inverse - 1.0 / radius
    damping = first if low < first < high else LEAST_SHARE * high
    for trial in range(1, most + 1):
        length = length_at(damping)
        if trial == most or abs(length - radius) <= precision * radius:
            break
        psi = (1.0 / length if length > 0.0 else np.inf) - 1.0 / radius
        low, high = (damping, high) if psi < 0.0 else (low, damping)
        slope = (psi - last_psi) / (damping - last) if damping != last else 0.0
        last, last_psi = damping, psi
        following = damping - psi / slope if slope > 0.0 else np.nan
        if not low < following < high:
            following = max(float(np.sqrt(low * high)), LEAST_SHARE * high)
            following = following if low < following < high else 0.5 * (low + high)
        damping = following
    return damping


def _length(step: FloatArray, state: MatrixFreeState | BlockState) -> float:
    """|D p|."""
    return float(np.linalg.norm(step / state.vector(layout.COLUMN_SCALE)))


def _model_reduction(state: MatrixFreeState | BlockState, step: FloatArray) -> float:
    """``-g'p - 1/2 |J p|^2``, right for inexact steps too."""
    image = state.product(step)
    return -float(state.vector(layout.GRADIENT) @ step) - 0.5 * float(image @ image)
