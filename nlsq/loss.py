r"""Robust losses: how much a residual may say.

With a loss rho and its scale C the cost is

    F(x) = 1/2 * sum_i C^2 rho(z_i),      z_i = (r_i / C)^2,      rho(0) = 0,  rho'(0) = 1,

so that residuals well below C count as in ordinary least squares whatever the loss:

    linear    rho(z) = z
    huber     rho(z) = z               for z <= 1,  2 sqrt(z) - 1  beyond
    soft_l1   rho(z) = 2 (sqrt(1 + z) - 1)
    cauchy    rho(z) = log(1 + z)
    arctan    rho(z) = arctan(z)

The Gauss-Newton model of F keeps the form 1/2 ||r~ + J~ p||^2 with the corrected rows [1]_

    s_i  = sqrt(max(rho'(z_i) + 2 rho''(z_i) z_i, eps)),     J~_i = s_i J_i,     r~_i = (rho'(z_i) / s_i) r_i,

whose gradient J~^T r~ is exactly that of F. Where the curvature rho' + 2 rho'' z is not positive, its floor eps keeps
the model convex, as in SciPy.

References
----------
.. [1] B. Triggs, P. McLauchlan, R. Hartley and A. Fitzgibbon, "Bundle Adjustment - A Modern Synthesis", in Vision
   Algorithms: Theory and Practice, LNCS 1883, 1999, section 4.3 and equation (11).
.. [2] P. J. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LOSS_NAMES", "Loss", "scale_for_loss"]

FloatArray = NDArray[np.float64]

CURVATURE_FLOOR = float(np.finfo(np.float64).eps)  # SciPy, scale_for_robust_loss_function


@final
@dataclass(frozen=True)
class Loss:
    """A loss function and its scale.

    Parameters
    ----------
    function : str or callable, optional
        One of ``"linear"`` (default), ``"huber"``, ``"soft_l1"``, ``"cauchy"``, ``"arctan"``, or
        ``rho(z) -> array_like, shape (3, m)``: value, first and second derivative at ``z = (r / scale)**2``.
    scale : float, optional
        C, the residual from which on the loss departs from least squares; in units of the residual. Default 1.

    Raises
    ------
    ValueError
        If the name is unknown or the scale is not positive and finite.
    """

    function: str | Callable[[FloatArray], ArrayLike] = "linear"
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Validate name and scale."""
        if not callable(self.function) and self.function not in LOSS_NAMES:
            names = ", ".join(repr(name) for name in LOSS_NAMES)
            raise ValueError(f"loss must be one of {names} or a callable rho(z), got {self.function!r}.")
        scale = float(self.scale)
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"the scale of a loss must be positive and finite, got {self.scale!r}.")
        object.__setattr__(self, "scale", scale)

    @property
    def is_linear(self) -> bool:
        """Whether this is ordinary least squares, so that no correction is needed."""
        return not callable(self.function) and self.function == "linear"

    def evaluate(self, z: ArrayLike) -> FloatArray:
        """Return the scaled loss  C^2 rho(z / C^2)  and its two derivatives by z.

        Parameters
        ----------
        z : array_like, shape (m,)
            Squared residuals.

        Returns
        -------
        ndarray, shape (3, m)
            ``C^2 rho``, ``rho'`` and ``rho'' / C^2``, all at ``z / C^2``.
        """
        squares = np.asarray(z, dtype=np.float64)
        return self._scaled(squares / self.scale / self.scale, squares.shape)

    def of_residual(self, r: FloatArray) -> FloatArray:
        """Return `evaluate` at ``z = r**2``; the ratio r / C is squared, so that neither r nor C need squares that fit.

        Parameters
        ----------
        r : ndarray, shape (m,)
            Residual.

        Returns
        -------
        ndarray, shape (3, m)
        """
        with np.errstate(over="ignore", under="ignore"):
            ratio = r / self.scale
            return self._scaled(ratio * ratio, r.shape)

    def cost(self, r: FloatArray) -> float:
        """Return 1/2 sum_i C^2 rho((r_i / C)^2).

        Parameters
        ----------
        r : ndarray, shape (m,)
            Residual.

        Returns
        -------
        float
        """
        if self.is_linear:
            return 0.5 * float(r @ r)
        return 0.5 * float(np.sum(self.of_residual(r)[0]))

    def _scaled(self, z: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """Evaluate rho at z (already divided by C^2) and attach the powers of C."""
        if callable(self.function):
            rho = np.array(self.function(z), dtype=np.float64)
            if rho.shape != (3, *shape):
                raise ValueError("The return value of `loss` callable has wrong shape.")
        else:
            rho = np.empty((3, *shape))
            with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
                _FUNCTIONS[self.function](z, rho)
        if self.scale != 1.0:
            rho[0] *= self.scale
            rho[0] *= self.scale
            rho[2] /= self.scale
            rho[2] /= self.scale
        return rho


def scale_for_loss(loss: Loss, jac: Any, r: FloatArray, rho: FloatArray | None = None) -> tuple[Any, FloatArray]:
    """Correct Jacobian and residual for a loss, in place (Triggs et al. 1999, section 4.3).

    Parameters
    ----------
    loss : Loss
        The loss and its scale.
    jac : ndarray, shape (m, n), csr_array or LinearOperator
        Jacobian; arrays and csr data are overwritten, an operator is wrapped.
    r : ndarray, shape (m,)
        Residual, overwritten.
    rho : ndarray, shape (3, m), optional
        ``loss.of_residual(r)``, if it is at hand.

    Returns
    -------
    jac
        s_i J_i with s_i = sqrt(max(rho' + 2 rho'' r_i^2, eps)).
    r : ndarray, shape (m,)
        (rho' / s_i) r_i.
    """
    if loss.is_linear:
        return jac, r
    if rho is None:
        rho = loss.of_residual(r)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        curvature = rho[1] + 2.0 * (rho[2] * r) * r
        curvature[curvature < CURVATURE_FLOOR] = CURVATURE_FLOOR
        row_scale = np.sqrt(curvature)
        r *= rho[1] / row_scale
    return _scale_rows(jac, row_scale), r


def _scale_rows(jac: Any, row_scale: FloatArray) -> Any:
    """Multiply row i of `jac` by ``row_scale[i]``; arrays and csr data in place."""
    if isinstance(jac, np.ndarray):
        jac *= row_scale[:, np.newaxis]
        return jac
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(jac):
        if jac.format != "csr":
            jac = jac.tocsr(copy=True)
        jac.data *= np.repeat(row_scale, np.diff(jac.indptr))
        return jac
    from scipy.sparse.linalg import LinearOperator

    operator = jac

    def matvec(v: FloatArray) -> FloatArray:
        return np.asarray(row_scale * np.ravel(operator.matvec(v)))

    def rmatvec(u: FloatArray) -> FloatArray:
        return np.asarray(operator.rmatvec(row_scale * np.ravel(u)))

    def matmat(block: FloatArray) -> FloatArray:
        return np.asarray(row_scale[:, np.newaxis] * operator.matmat(block))

    return LinearOperator(operator.shape, matvec=matvec, rmatvec=rmatvec, matmat=matmat, dtype=np.float64)


def _linear(z: FloatArray, rho_out: FloatArray) -> None:
    rho_out[0] = z
    rho_out[1] = 1.0
    rho_out[2] = 0.0


def _huber(z: FloatArray, rho_out: FloatArray) -> None:
    root = np.sqrt(z)
    inlier = z <= 1.0
    rho_out[0] = np.where(inlier, z, 2.0 * root - 1.0)
    rho_out[1] = np.where(inlier, 1.0, 1.0 / root)
    rho_out[2] = np.where(inlier, 0.0, -0.5 / root / z)


def _soft_l1(z: FloatArray, rho_out: FloatArray) -> None:
    # 2 (sqrt(1 + z) - 1) cancels for small z; z / ((1 + sqrt(1 + z)) / 2) does not, but is inf / inf at the far end.
    root = np.sqrt(1.0 + z)
    rho_out[0] = np.where(z < 1.0, 2.0 * z / (1.0 + root), 2.0 * (root - 1.0))
    rho_out[1] = 1.0 / root
    rho_out[2] = -0.5 / root / (1.0 + z)


def _cauchy(z: FloatArray, rho_out: FloatArray) -> None:
    slope = 1.0 / (1.0 + z)
    rho_out[0] = np.log1p(z)
    rho_out[1] = slope
    rho_out[2] = -slope * slope


def _arctan(z: FloatArray, rho_out: FloatArray) -> None:
    slope = 1.0 / (1.0 + z * z)
    rho_out[0] = np.arctan(z)
    rho_out[1] = slope
    rho_out[2] = -2.0 * np.where(slope > 0.0, z * slope, 0.0) * slope


_FUNCTIONS: dict[str, Callable[[FloatArray, FloatArray], None]] = {
    "linear": _linear,
    "huber": _huber,
    "soft_l1": _soft_l1,
    "cauchy": _cauchy,
    "arctan": _arctan,
}
LOSS_NAMES = tuple(_FUNCTIONS)
