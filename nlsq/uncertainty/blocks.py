r"""What block Jacobians say about their parameters: undetermined directions, covariance of chosen blocks.

With D the column norms of J, the scaled normal matrix ``A = D^-1 J'J D^-1`` has ones on its diagonal. Inverse iteration
with the shift `SHIFT`,

    v <- (A + SHIFT I)^-1 v / |.|,

turns a random vector to the directions of A's least eigenvalues [1]_; what belongs to an eigenvalue e shrinks by
SHIFT / e in each sweep. Where the Rayleigh quotient v'A v stays below `BLIND`, the data do not see that direction: what
is left is rounding, about 1e-16 times the number of terms. Columns with a share in v are undetermined; a random start
has a share of each such direction.

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
from nlsq.linalg.normal_cholesky import NormalFactorization

FloatArray = NDArray[np.float64]
SHIFT = 1e-13
BLIND = 1e-12
LARGEST_SHIFT = 1e-8  # to which it grows where the shifted matrix is not definite in floating point
SWEEPS = 4
SHARE = 1e-7  # of the largest component: what has less stays where it is
HIDDEN = 1e-3
SEED = 20260118
AT_A_TIME = 64  # columns of the inverse


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
    shift = SHIFT
    while (v := _turned(factorization, scale, shift, norms > 0.0)) is None:
        shift *= 100.0
        if shift > LARGEST_SHIFT:
            return ~pinned
    image = jac.product(v / scale)
    if float(image @ image) <= max(BLIND, shift):
        blind |= np.abs(v) > SHARE * np.abs(v).max()
    blind &= ~pinned
    return blind


def _turned(
    factorization: NormalFactorization, scale: FloatArray, shift: float, seen: NDArray[np.bool_]
) -> FloatArray | None:
    """Turn a random vector by inverse iteration, of length 1; None where the shifted matrix is not definite."""
    v = np.random.default_rng(SEED).standard_normal(scale.size) * seen
    out = np.empty_like(v)
    for sweep in range(SWEEPS):
        v /= np.linalg.norm(v)
        if sweep:
            factorization.solve_again(-scale * v, out)
        elif not factorization.solve_gradient(-scale * v, shift * scale * scale + ~seen, out).usable:
            return None
        v = scale * out
    length = float(np.linalg.norm(v))
    return v / length if 0.0 < length < np.inf else None


def block_covariance(
    jac: BlockJacobian,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    undetermined: NDArray[np.bool_],
    pinned: NDArray[np.bool_],
) -> FloatArray:
    """Return blocks of (J'J)^-1.

    Parameters
    ----------
    jac : BlockJacobian
        At the solution.
    rows, columns : ndarray of int, shapes (k, a) and (k, b)
        Columns of J of each pair of blocks, -1 for what is held or meets nothing; the same array for variances.
    undetermined, pinned : ndarray of bool, shape (n,)
        Columns whose covariance is NaN, and those, held, whose covariance is 0.

    Returns
    -------
    ndarray, shape (k, a, b)
    """
    norms = jac.column_norms()
    scale = np.where(norms > 0.0, norms, 1.0)
    factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
    is_usable = factorization.factorize(jac).usable  # J may have entries that are not finite
    shift = np.where(undetermined[norms > 0.0].any(), SHIFT, 0.0) * scale * scale
    shift[norms == 0.0] = 1.0
    free_rows, free = ((places >= 0) & ~pinned[places] for places in (rows, columns))
    wanted = np.unique(np.concatenate((columns[free], rows[free_rows])))
    unknown = undetermined.copy()
    out = np.zeros((*rows.shape, columns.shape[1]))
    if not is_usable:
        unknown[:] = True
        wanted = wanted[:0]
    for start in range(0, wanted.size, AT_A_TIME):
        part = wanted[start : start + AT_A_TIME]
        inverse = factorization.inverse_columns(part, shift)
        if shift[norms > 0.0].any():
            unknown[part] |= _hidden(inverse, part, scale)
        place = np.searchsorted(part, columns)
        here = free & np.isin(columns, part)
        for block, j in np.argwhere(here):
            kept = free_rows[block]
            out[block, kept, j] = inverse[rows[block, kept], place[block, j]]
    lost = free_rows[:, :, np.newaxis] & free[:, np.newaxis, :]
    lost &= unknown[rows][:, :, np.newaxis] | unknown[columns][:, np.newaxis, :]
    out[lost] = np.nan
    return out


def _hidden(inverse: FloatArray, wanted: NDArray[np.int64], scale: FloatArray) -> NDArray[np.bool_]:
    """Say which columns (n, k) of the shifted inverse owe their variance to the shift."""
    hidden = np.zeros(wanted.size, dtype=np.bool_)
    for k, column in enumerate(wanted):
        scaled = scale * inverse[:, k] * scale[column]
        hidden[k] = not SHIFT * float(scaled @ scaled) <= HIDDEN * scaled[column]
    return hidden
