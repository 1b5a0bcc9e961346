"""The seam between solvers and derivatives: prepare once, evaluate at every iterate.

A solver does not know how its Jacobian comes about. It asks an estimator to `prepare` for one residual, and then the
prepared Jacobian to `evaluate`; whatever can be allocated, coloured or checked beforehand happens in the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

if TYPE_CHECKING:
    from nlsq.pattern import SparsityPattern

__all__ = ["FloatArray", "JacobianEstimator", "PreparedJacobian", "Residual"]

FloatArray: TypeAlias = NDArray[np.float64]
Residual: TypeAlias = Callable[..., Any]


class PreparedJacobian(Protocol):
    """A Jacobian of one residual, ready to be evaluated again and again.

    Attributes
    ----------
    pattern : SparsityPattern or None
        Where the Jacobian may be nonzero; None for a dense one.
    residual_calls : int
        Points at which one evaluation calls the residual. After an evaluation: how many the last one took, which is
        less where parameters are fixed and more where a step had to grow out of rounding.
    """

    @property
    def pattern(self) -> SparsityPattern | None:
        """Where the Jacobian may be nonzero."""
        ...

    @property
    def residual_calls(self) -> int:
        """Price of one evaluation."""
        ...

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None) -> Any:
        """Evaluate the Jacobian.

        Parameters
        ----------
        x : ndarray, shape (n,)
            Where; never handed to the user's function itself, which gets a copy.
        r : ndarray, shape (m,)
            Residual at `x`, reused.
        jac_out : ndarray, shape (m, n), or None
            Filled by dense estimators, whatever its memory order; left as it was when the residual raises. Sparse
            estimators ignore it.

        Returns
        -------
        ndarray, shape (m, n), csr_array or LinearOperator
            `jac_out` itself where it was given to a dense estimator.
        """
        ...


class JacobianEstimator(Protocol):
    """A way of obtaining Jacobians; immutable, shared between problems."""

    def prepare(
        self,
        residual: Residual,
        x0: FloatArray,
        m: int,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        pattern: SparsityPattern | None = None,
        dtype: DTypeLike | None = None,
    ) -> PreparedJacobian:
        """Prepare for one residual.

        Parameters
        ----------
        residual : callable
            ``residual(x) -> r``, shape (n,) to (m,).
        x0 : ndarray, shape (n,)
            Start, whose magnitudes tell the scale of the parameters.
        m : int
            Number of residuals.
        lower, upper : array_like, shape (n,) or scalar, optional
            Bounds that no evaluation may leave.
        scale : array_like, shape (n,) or scalar, optional
            Size at which a parameter matters, in its own unit; taken from the start and the bounds if not given.
        pattern : SparsityPattern, optional
            If given, the result is sparse.
        dtype : dtype, optional
            Precision in which the residual computes, where `residual` is a wrapper that hides it.

        Returns
        -------
        PreparedJacobian
        """
        ...
