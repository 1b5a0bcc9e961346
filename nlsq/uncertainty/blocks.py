r"""What block Jacobians say about their parameters: undetermined directions, covariance of chosen blocks.

With D the column norms of J, the scaled normal matrix ``A = D^-1 J'J D^-1`` has ones on its diagonal. Inverse iteration
with the shift `SHIFT`,

    v <- (A + SHIFT I)^-1 v / |.|,

turns a random vector to the directions of A's least eigenvalues [1]_. Where the Rayleigh quotient v'A v stays below
`BLIND`, the data do not see that direction: what is left is rounding, about 1e-16 times the number of terms. Blocks
with a large share in v are undetermined. A random start holds all such directions at once.

Covariances beside undetermined blocks are those of the shifted matrix. With C = (A + s I)^-1 the shift s = `SHIFT` has
changed the variance C_kk by about ``s |C e_k|^2``, its derivative by s: where that share is more than `HIDDEN`, the
variance is due to a direction that the data do not show, and unknown.

References
----------
.. [1] G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition, 2013, section 7.6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nlsq.block_jacobian import BlockJacobian
from nlsq.linalg.block_cholesky import BlockCholesky

FloatArray = NDArray[np.float64]
SHIFT = 1e-13
BLIND = 1e-12
SWEEPS = 3
SHARE = 1e-3  # of the largest component: what has less stays where it is
HIDDEN = 1e-3
SEED = 20260118


def undetermined_columns(jac: BlockJacobian, pinned: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which columns of J can move without changing the residual, to first order.

    Parameters
    ----------
    jac : BlockJacobian
        At the point asked about.
    pinned : ndarray of bool, shape (n,)
        Columns that are held, which are zero and no question.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    norms = jac.column_norms()
    blind: NDArray[np.bool_] = (norms == 0.0) & ~pinned
    factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
    scale = np.where(norms > 0.0, norms, 1.0)
    if not factorization.factorize(jac).usable or not np.isfinite(norms).all():
        return ~pinned
    if not norms.any():
        return blind
    v = np.random.default_rng(SEED).standard_normal(norms.size) * (norms > 0.0)
    out = np.empty_like(v)
    for _ in range(SWEEPS):
        v /= np.linalg.norm(v)
        if not factorization.solve_gradient(-scale * v, SHIFT * scale * scale, out).usable:
            return blind
        v = scale * out
    if not np.isfinite(v).all() or not v.any():
        return blind
    v /= np.linalg.norm(v)
    image = jac.product(v / scale)
    if float(image @ image) <= BLIND:
        blind |= np.abs(v) > SHARE * np.abs(v).max()
    blind &= ~pinned
    return blind


def block_covariance(
    jac: BlockJacobian, columns: NDArray[np.int64], undetermined: NDArray[np.bool_], pinned: NDArray[np.bool_]
) -> FloatArray:
    """Return the diagonal blocks of (J'J)^-1 of chosen columns.

    Parameters
    ----------
    jac : BlockJacobian
        At the solution.
    columns : ndarray of int, shape (k, width)
        Columns of each block, -1 for what is held or meets nothing.
    undetermined, pinned : ndarray of bool, shape (n,)
        Columns whose covariance is NaN, and those, held, whose covariance is 0.

    Returns
    -------
    ndarray, shape (k, width, width)
    """
    norms = jac.column_norms()
    scale = np.where(norms > 0.0, norms, 1.0)
    factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
    factorization.factorize(jac)
    shift = np.where(undetermined[norms > 0.0].any(), SHIFT, 0.0) * scale * scale
    shift[norms == 0.0] = 1.0
    free = (columns >= 0) & ~pinned[columns]
    wanted, place = np.unique(columns[free], return_inverse=True)
    inverse = factorization.inverse_columns(wanted, shift)
    unknown = undetermined.copy()
    if shift[norms > 0.0].any():
        unknown[wanted] |= _hidden(inverse, wanted, scale)
    out = np.zeros((*columns.shape, columns.shape[1]))
    position = np.full(columns.shape, -1, dtype=np.int64)
    position[free] = place
    for block, places, column, known in zip(out, columns, position, free, strict=True):
        kept = np.flatnonzero(known)
        block[np.ix_(kept, kept)] = inverse[np.ix_(places[kept], column[kept])]
        lost = kept[unknown[places[kept]]]
        block[np.ix_(lost, kept)] = block[np.ix_(kept, lost)] = np.nan
    return out


def _hidden(inverse: FloatArray, wanted: NDArray[np.int64], scale: FloatArray) -> NDArray[np.bool_]:
    """Say which columns (n, k) of the shifted inverse owe their variance to the shift."""
    hidden = np.zeros(wanted.size, dtype=np.bool_)
    for k, column in enumerate(wanted):
        scaled = scale * inverse[:, k] * scale[column]
        hidden[k] = not SHIFT * float(scaled @ scaled) <= HIDDEN * scaled[column]
    return hidden
