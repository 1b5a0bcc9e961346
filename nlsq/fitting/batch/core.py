r"""What a batch of fits leaves behind, and what follows from it, row by row.

Every row has the formulas of `FitResult`, with N = J~'J~ its normal matrix (rows of J scaled by weights and loss) and F
its cost:

    covariance       C = s^2 N^+        s^2 = 2 F / dof, or 1 with absolute_sigma
    stderr_j         sqrt(C_jj)
    chi2             2 F                reduced_chi2 = chi2 / dof,     dof = points - (free parameters)

What there is of digits in N, and so which parameters count as identified, is said in `nlsq.uncertainty.batch`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.status import BatchOutcome, Status
from nlsq.uncertainty.batch import ROUNDING, batch_covariances, batch_variances

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

EPS = float(np.finfo(np.float64).eps)
STEP_TOLERANCE = 1e-10  # that of `nlsq.Tolerances`, to which `fit` takes a parameter to be at its bound
UNTRIED = (Status.RUNNING, Status.NOT_FITTED, Status.TOO_FEW_POINTS)
WITHOUT_FIT = (*UNTRIED, Status.NONFINITE_START)


@final
@dataclass(eq=False)
class BatchCore:
    """The end of B fits of n parameters, without the names of these and the shape of the batch.

    Attributes
    ----------
    outcome : BatchOutcome
        What the solver left behind.
    fixed : ndarray of bool, shape (n,) or (B, n)
        Which parameters were held; equal bounds hold them too.
    lower, upper : ndarray, shape (n,) or (B, n), or None
        Bounds.
    absolute_sigma : bool
        Whether the covariance is not scaled by the scatter of the data.
    is_linear_loss : bool
        Whether the cost is half the sum of squares.
    step_tolerance : float
        Distance from a bound, in units of it but at least of 1, up to which a parameter counts as at it.
    rounding : float
        Relative rounding of the arithmetic of residuals and derivatives, in rows that were not redone (in double
        precision). Sums over points are in double precision in any case.
    """

    outcome: BatchOutcome
    fixed: BoolArray
    lower: FloatArray | None = None
    upper: FloatArray | None = None
    absolute_sigma: bool = False
    is_linear_loss: bool = True
    step_tolerance: float = STEP_TOLERANCE
    rounding: float = EPS

    def __post_init__(self) -> None:
        """Hold what equal bounds pin."""
        if self.lower is not None and self.upper is not None:
            self.fixed = self.fixed | (self.lower == self.upper)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def among(self, rows: NDArray[np.intp]) -> BatchCore:
        """Return some of the rows."""

        def part(array: Any) -> Any:
            return array if array is None or array.ndim == 1 else array[rows]

        outcome = BatchOutcome(*(getattr(self.outcome, field.name)[rows] for field in fields(BatchOutcome)))
        return replace(self, outcome=outcome, fixed=part(self.fixed), lower=part(self.lower), upper=part(self.upper))

    @property
    def size(self) -> int:
        """Number of fits."""
        return int(self.outcome.status.shape[0])

    def over_all(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Give what may be common to all fits, (n,), the shape (B, n)."""
        return np.broadcast_to(mask, self.outcome.params.shape)

    @cached_property
    def fitted(self) -> BoolArray:
        """Which rows (B,) are the end of a fit."""
        return ~np.isin(self.outcome.status, WITHOUT_FIT)

    def params(self) -> FloatArray:
        """Return the best points (B, n); NaN where no fit was tried, of which the outcome has the start."""
        untried = np.isin(self.outcome.status, UNTRIED)
        return np.where(untried[:, np.newaxis], np.nan, self.outcome.params) if untried.any() else self.outcome.params

    @cached_property
    def active(self) -> NDArray[np.int8]:
        """Which parameters that are not held are at a bound: -1, 0 or 1, shape (B, n); zeros (n,) without bounds."""
        params = self.outcome.params
        if self.lower is None and self.upper is None:
            return np.zeros(params.shape[1], dtype=np.int8)
        lower = -np.inf if self.lower is None else self.lower
        upper = np.inf if self.upper is None else self.upper
        with np.errstate(invalid="ignore"):  # an infinite parameter and an infinite bound
            above, below = params - lower, upper - params
        may_be = self.fitted[:, np.newaxis] & ~self.fixed
        active = np.zeros(params.shape, dtype=np.int8)
        active[may_be & (above <= self._reach(lower)) & (above <= below)] = -1
        active[may_be & (below <= self._reach(upper)) & (below < above)] = 1
        return active

    def _reach(self, bound: Any) -> Any:
        """Return the distance up to which a parameter is at a bound; none is at an infinite one."""
        finite = np.isfinite(bound)
        return np.where(finite, self.step_tolerance * np.maximum(1.0, np.abs(np.where(finite, bound, 0.0))), -1.0)

    @cached_property
    def held(self) -> BoolArray:
        """Which parameters count as known, (n,) or (B, n)."""
        return self.fixed | (self.active != 0) if self.active.any() else self.fixed

    @cached_property
    def dof(self) -> NDArray[np.int64]:
        """Degrees of freedom (B,)."""
        return np.asarray(self.outcome.points - np.count_nonzero(~self.fixed, axis=-1), dtype=np.int64)

    @property
    def chi2(self) -> FloatArray:
        """Sums of squares (B,); NaN with a robust loss."""
        return self._twice_cost if self.is_linear_loss else np.full(self.size, np.nan)

    @property
    def _twice_cost(self) -> FloatArray:
        with np.errstate(over="ignore"):  # of the largest numbers
            return 2.0 * self.outcome.cost

    def by_dof(self, values: FloatArray) -> FloatArray:
        """Divide (B,) by the degrees of freedom; NaN without any."""
        return np.asarray(values / np.where(self.dof > 0, self.dof, np.nan))

    @cached_property
    def variance_scale(self) -> FloatArray:
        """Variance (B,) of a residual of unit weight; NaN where there is no fit."""
        scale = np.ones(self.size) if self.absolute_sigma else self.by_dof(self._twice_cost)
        return np.where(self.fitted & np.isfinite(scale), scale, np.nan)

    @property
    def precision(self) -> FloatArray:
        """Relative accuracy (B,) of the eigenvalues of the normal matrices.

        Rounding errors of a long sum add up like a random walk. Those of derivatives shift the singular values of J by
        so much, and so the eigenvalues of J'J by its square beside them.
        """
        sums = EPS * np.maximum(ROUNDING / EPS, np.sqrt(self.outcome.points))
        terms = (ROUNDING / EPS * self.rounding) ** 2
        return np.asarray(np.where(self.outcome.redone, sums, np.maximum(sums, terms)))

    @cached_property
    def _variances(self) -> tuple[FloatArray, BoolArray]:
        return batch_variances(self.outcome.normal, self.held, self.precision)

    def identifiable(self) -> BoolArray:
        """Return which parameters the data determine (B, n)."""
        return self._variances[1] & (self.fitted[:, np.newaxis] | self.held)

    def stderr(self) -> FloatArray:
        """Return the standard errors (B, n)."""
        stderr = np.sqrt(self._variances[0]) * np.sqrt(self.variance_scale)[:, np.newaxis]
        np.copyto(stderr, 0.0, where=self.held)
        return stderr

    def covariances(self) -> FloatArray:
        """Return the covariances (B, n, n)."""
        covariances = batch_covariances(self.outcome.normal, self.held, self.precision)[0]
        with np.errstate(over="ignore"):  # a variance beyond the largest number is infinite
            covariances *= self.variance_scale[:, np.newaxis, np.newaxis]
        unknown = np.isnan(self.variance_scale)
        held = self.over_all(self.held)[unknown]
        covariances[unknown] = np.where(held[:, :, np.newaxis] | held[:, np.newaxis], 0.0, np.nan)
        return covariances

    def correlations(self) -> FloatArray:
        """Return the correlations (B, n, n)."""
        correlations = self.covariances()
        diagonal = np.einsum("bii->bi", correlations)  # a view
        stderr = np.sqrt(diagonal)
        scale = np.where(stderr == 0.0, 1.0, stderr)
        with np.errstate(invalid="ignore"):  # infinite variances
            correlations /= scale[:, np.newaxis]
            correlations /= scale[:, :, np.newaxis]
        diagonal[...] = np.where(np.isnan(stderr), np.nan, 1.0)
        return correlations
