r"""The covariance of least-squares estimates that active constraints hold to a tangent space.

Near the solution x moves by Z q, where the columns of Z (n, n - rank A) span the null space of the constraints'
derivatives A, and the estimate of q is that of a problem without constraints with the Jacobian J Z:

    cov(x) = s^2 Z (Z' J'J Z)^-1 Z'                                                                           [1]_ [2]_

It is the covariance that any elimination of the constraints gives, does not ask J to have full rank, and leaves no
variance along the gradient of a constraint. To first order an active inequality counts as an equality: where noise may
move the estimate off it, the true distribution is narrower on that side.

References
----------
.. [1] J. Aitchison and S. D. Silvey, "Maximum-Likelihood Estimation of Parameters Subject to Restraints", Annals of
   Mathematical Statistics 29, 1958, section 6.
.. [2] Y. Bard, "Nonlinear Parameter Estimation", Academic Press 1974, section 7-15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.uncertainty.identifiability import EXACT, Identification, identify, identify_on_tangent

__all__ = ["constrained_covariance"]

FloatArray = NDArray[np.float64]


def constrained_covariance(
    jac: Any, active_jac: Any = None, *, fixed: ArrayLike | None = None, precision: float = EXACT
) -> Identification:
    """Say what the data identify on the tangent space of active constraints, and the covariance there.

    Parameters
    ----------
    jac : array_like or sparse array, shape (m, n)
        Jacobian of the residual at the solution, rows in units of one standard deviation.
    active_jac : array_like or sparse array, shape (k, n), optional
        Gradients of the active constraints, equalities among them; they may depend on each other. None: there are none.
    fixed : array_like of bool, shape (n,), optional
        Parameters that do not move: held ones, and those at a bound that is active.
    precision : float
        Relative accuracy of `jac`.

    Returns
    -------
    Identification
        Its `covariance` is for residuals of unit variance: multiply by the variance of a residual, as elsewhere. What
        constraints determine, and what is fixed, has variance zero; rows and columns of parameters that the data do not
        identify within the tangent space are NaN, and `null_directions` are in that space. All is unknown where `jac`
        or `active_jac` are not finite.

    Raises
    ------
    ValueError
        If an argument has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from nlsq.uncertainty.constrained import constrained_covariance
    >>> found = constrained_covariance(np.eye(2), [[1.0, 1.0]])  # two measured numbers that add up to a known one
    >>> found.covariance
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    matrix = _dense(jac, "jac")
    n = matrix.shape[1]
    rows = np.empty((0, n)) if active_jac is None else _dense(active_jac, "active_jac")
    if rows.shape[1] != n:
        raise ValueError(f"active_jac has shape {rows.shape}, but jac has {n} columns; give a column each parameter.")
    held = np.zeros(n, dtype=bool) if fixed is None else np.asarray(fixed)
    if held.shape != (n,) or held.dtype != np.bool_:
        raise ValueError(f"fixed is of type {held.dtype} and shape {held.shape}; give {n} values True or False.")
    free = ~held
    found = (
        identify_on_tangent(matrix[:, free], rows[:, free], precision)
        if len(rows)
        else identify(matrix[:, free], precision)
    )
    return found if free.all() else _with_fixed(found, free)


def _with_fixed(found: Identification, free: NDArray[np.bool_]) -> Identification:
    """Put fixed parameters, of variance zero, between the others."""
    n, among = free.size, np.ix_(free, free)
    covariance, seen = np.zeros((n, n)), np.zeros((n, n))
    covariance[among], seen[among] = found.covariance, found.seen
    directions = np.zeros((len(found.null_directions), n))
    directions[:, free] = found.null_directions
    identifiable, scale = np.ones(n, dtype=bool), np.ones(n)
    identifiable[free], scale[free] = found.identifiable, found.scale
    return Identification(covariance, seen, identifiable, directions, found.relative_gap, scale)


def _dense(matrix: Any, name: str) -> FloatArray:
    """Return a matrix as an array."""
    array = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; give a matrix with one column for each parameter.")
    return array
