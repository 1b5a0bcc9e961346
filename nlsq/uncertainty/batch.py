r"""Variances of many fits at once, from their normal matrices.

The matrices N = J'J are stored packed, (B, n (n + 1) / 2), the lower triangle row by row. Each is brought to unit
diagonal, so that the unit of a parameter does not matter, and factorised; the loops run over rows and columns of one
matrix, every operation over a block of fits:

    N = D B D,   D_jj = sqrt(N_jj)        B = L L'        C = D^-1 L^-T L^-1 D^-1

J'J knows the eigenvalues of B to about ``n precision`` of the largest. Where the trace of B^-1 tells that all of them
lie above

    threshold = MARGIN n precision lambda_max,

C is right to two digits in the worst case, and in most to all but a few. The other fits are diagonalised, and judged
as `identify` does it from the singular values of J:

    seen     lambda_k >  threshold      C = D^-1 V_s Lambda_s^-1 V_s' D^-1
    unseen   lambda_k <= threshold      directions that J'J cannot tell from ones along which nothing changes

A parameter is identified when no unseen direction contains it; the variance of any other is NaN. The eigenvalues are
squares of the singular values: combinations of parameters whose effect on the residual is less than ``sqrt(threshold)``
(1e-6 of the largest, in units of the columns) count as unseen here, while J itself tells them apart down to 1e-13.

A column of J whose square is not above `LEAST_SQUARE` is one of zeros. A matrix that is not finite says nothing: NaN.

References
----------
.. [1] G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition, algorithm 4.2.1: Cholesky by columns;
   section 8.1: how eigenvalues and their spaces move with the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.uncertainty.identifiability import LEAST_SHARE, LEAST_SQUARE, MOST_SHARE

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]

ROUNDING = 8.0 * float(np.finfo(np.float64).eps)  # relative accuracy of a sum of about a hundred products
MARGIN = 8.0  # times n precision: eigenvalues of less are noise
BLOCK_NUMBERS = 2**17  # worked on at a time: a megabyte
FEWEST_ROWS = 256  # of a block, which pay for a Python call
ROWS_OF_HARD = 4096  # diagonalised at a time


def batch_variances(
    normal: FloatArray, held: BoolArray | None = None, precision: float | FloatArray = ROUNDING
) -> tuple[FloatArray, BoolArray]:
    """Return the variances of the parameters of many fits, and which of them the data identify.

    Parameters
    ----------
    normal : ndarray, shape (B, n (n + 1) / 2)
        J'J of each fit, lower triangle row by row, rows of J in units of one standard deviation.
    held : ndarray of bool, shape (n,) or (B, n), optional
        Parameters that are known: taken out of the matrix, of variance 0, identified. Their entries are not read.
    precision : float or ndarray, shape (B,)
        Relative accuracy of the entries of `normal`, of all fits or of each.

    Returns
    -------
    variances : ndarray, shape (B, n)
        For residuals of unit variance; NaN for what is not identified.
    identifiable : ndarray of bool, shape (B, n)
        Whether the data determine the parameter.
    """
    n = order_of(normal)
    variances = np.zeros((normal.shape[0], n))
    identifiable = np.ones(variances.shape, dtype=bool)
    precision = np.broadcast_to(np.float64(precision), normal.shape[:1])
    for rows, moving, packed, block_held in _blocks(normal, held):
        found, known = _invert(packed, block_held, precision[rows], full=False)
        variances[rows, moving] = found.T
        identifiable[rows, moving] = known.T
    return variances, identifiable


def batch_covariances(
    normal: FloatArray, held: BoolArray | None = None, precision: float | FloatArray = ROUNDING
) -> tuple[FloatArray, BoolArray]:
    """Return the covariances of the parameters of many fits, and which of them the data identify.

    Parameters
    ----------
    normal, held, precision
        As for `batch_variances`.

    Returns
    -------
    covariances : ndarray, shape (B, n, n)
        For residuals of unit variance; rows and columns of held parameters are 0, of the others that are not
        identified NaN.
    identifiable : ndarray of bool, shape (B, n)
        Whether the data determine the parameter.
    """
    n = order_of(normal)
    covariances = np.zeros((normal.shape[0], n, n))
    identifiable = np.ones((normal.shape[0], n), dtype=bool)
    precision = np.broadcast_to(np.float64(precision), normal.shape[:1])
    for rows, moving, packed, block_held in _blocks(normal, held):
        found, known = _invert(packed, block_held, precision[rows], full=True)
        if isinstance(moving, slice):
            covariances[rows] = found.transpose(2, 0, 1)
        else:
            covariances[rows, moving[:, np.newaxis], moving] = found.transpose(2, 0, 1)
        identifiable[rows, moving] = known.T
    return covariances, identifiable


def order_of(normal: FloatArray) -> int:
    """Return n for packed matrices of n (n + 1) / 2 numbers."""
    return (math.isqrt(8 * normal.shape[1] + 1) - 1) // 2


def _blocks(normal: FloatArray, held: BoolArray | None) -> Iterator[tuple[slice, Any, FloatArray, BoolArray | None]]:
    """Yield blocks of fits.

    Their rows, the parameters that are not held in all fits, and, over these, the packed matrices (nt, c) and which
    parameters are held in some fits (n, c), or None.
    """
    n = order_of(normal)
    moving: Any = slice(None)
    entries: Any = slice(None)
    if held is not None and held.ndim == 1:
        if held.any():
            moving = np.flatnonzero(~held)
            entries = np.array([i * (i + 1) // 2 + j for i in moving for j in moving if j <= i], dtype=np.intp)
            n = moving.size
        held = None
    if n == 0:
        return
    length = max(FEWEST_ROWS, BLOCK_NUMBERS // (3 * n * n))
    for start in range(0, normal.shape[0], length):
        rows = slice(start, start + length)
        block_held = None
        if held is not None and held[rows].any():
            block_held = np.ascontiguousarray(held[rows].T)
        yield rows, moving, np.ascontiguousarray(normal[rows].T[entries], dtype=np.float64), block_held


def _invert(
    packed: FloatArray, held: BoolArray | None, precision: FloatArray, full: bool
) -> tuple[FloatArray, BoolArray]:
    """Return variances (n, c), or covariances (n, n, c), of a block, and what is identified (n, c).

    Every operation is one for each fit: its numbers and judgements do not depend on the others of the block.
    """
    with np.errstate(all="ignore"):  # what comes of matrices without an inverse is found by its trace
        scaled, scale, blind = _unit_diagonal(packed, held)
        n = scale.shape[0]
        finite = np.isfinite(scaled.sum(axis=(0, 1)))
        root = _inverse_of_factor(scaled)
        inverse = _outer_squares(root) if full else _squares(root)
        trace, order = _trace(inverse, held)
        identifiable = finite & ~blind
        hard = np.flatnonzero(finite & ~(trace * (MARGIN * order * order * precision) < 1.0))  # order >= lambda_max
        for some, moving in _alike(hard, held, n):
            found, seen = _diagonalise(_unit_matrices(packed[:, some], moving), precision[some])
            if full:
                inverse[moving[:, np.newaxis, np.newaxis], moving[:, np.newaxis], some] = found.transpose(1, 2, 0)
            else:
                inverse[moving[:, np.newaxis], some] = np.einsum("cii->ic", found)
            identifiable[moving[:, np.newaxis], some] &= seen.T
        inverse *= scale
        inverse *= scale[:, np.newaxis] if full else scale
    if full:
        for j in range(n):
            inverse[:j, j] = inverse[j, :j]
    _blot(inverse, ~identifiable, np.nan)
    if held is not None:
        _blot(inverse, held, 0.0)
        identifiable |= held
    return inverse, identifiable


def _blot(inverse: FloatArray, where: BoolArray, value: float) -> None:
    """Write a value over the variances, or the rows and columns, of some parameters."""
    if not where.any():
        return
    if inverse.ndim == 2:
        np.copyto(inverse, value, where=where)
    else:
        np.copyto(inverse, value, where=where | where[:, np.newaxis])


def _unit_diagonal(packed: FloatArray, held: BoolArray | None) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return B (n, n, c), zero above its diagonal, the factors D^-1 (n, c), and where columns of J are zero (n, c).

    Held parameters and columns of zeros have 1 on the diagonal and 0 off it.
    """
    n = order_of(packed.T)
    diagonal = packed[[i * (i + 3) // 2 for i in range(n)]]
    blind = diagonal <= LEAST_SQUARE
    scale = 1.0 / np.sqrt(diagonal)
    out = blind if held is None else blind | held
    scaled = np.zeros((n, n, packed.shape[1]))
    for i in range(n):
        first = i * (i + 1) // 2
        np.multiply(packed[first : first + i + 1], scale[i], out=scaled[i, : i + 1])
        scaled[i, : i + 1] *= scale[: i + 1]
    for i in np.flatnonzero(out.any(axis=1)).tolist():
        np.copyto(scale[i], 1.0, where=out[i])
        np.copyto(scaled[i, :i], 0.0, where=out[i])
        np.copyto(scaled[i + 1 :, i], 0.0, where=out[i])
        np.copyto(scaled[i, i], 1.0, where=out[i])
    return scaled, scale, blind


def _inverse_of_factor(scaled: FloatArray) -> FloatArray:
    """Return L^-1 (n, n, c), below the diagonal and on it, and write L over the same part of B = L L'."""
    n = scaled.shape[0]
    for j in range(n):
        np.sqrt(scaled[j, j], out=scaled[j, j])
        scaled[j + 1 :, j] /= scaled[j, j]
        for i in range(j + 1, n):
            scaled[i, j + 1 : i + 1] -= scaled[i, j] * scaled[j + 1 : i + 1, j]
    root = np.zeros(scaled.shape)
    for i in range(n):
        np.divide(1.0, scaled[i, i], out=root[i, i])
        for k in range(i):
            root[i, : k + 1] -= scaled[i, k] * root[k, : k + 1]
        root[i, :i] *= root[i, i]
    return root


def _squares(root: FloatArray) -> FloatArray:
    """Return the diagonal (n, c) of L^-T L^-1."""
    total = np.zeros(root.shape[1:])
    for i in range(root.shape[0]):
        total[: i + 1] += np.square(root[i, : i + 1])
    return total


def _outer_squares(root: FloatArray) -> FloatArray:
    """Return L^-T L^-1 (n, n, c), below the diagonal and on it."""
    total = np.zeros(root.shape)
    for i in range(root.shape[0]):
        for j in range(i + 1):
            total[j, : j + 1] += root[i, j] * root[i, : j + 1]
    return total


def _trace(inverse: FloatArray, held: BoolArray | None) -> tuple[FloatArray, Any]:
    """Return the trace over the parameters that are not held, and how many these are, of each fit."""
    n = inverse.shape[0]
    trace = np.zeros(inverse.shape[-1])
    for i in range(n):  # one after the other, in whatever company
        diagonal = inverse[i, i] if inverse.ndim == 3 else inverse[i]
        trace += diagonal if held is None else np.where(held[i], 0.0, diagonal)
    return trace, n if held is None else n - np.count_nonzero(held, axis=0)


def _alike(rows: IntArray, held: BoolArray | None, n: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield some of the rows in which the same parameters are held, and the other parameters."""
    patterns, which = np.zeros((1, n), dtype=bool), np.zeros(rows.size, dtype=np.intp)
    if held is not None:
        patterns, which = np.unique(held[:, rows].T, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        alike, moving = rows[which.ravel() == k], np.flatnonzero(~pattern)
        for start in range(0, alike.size if moving.size else 0, ROWS_OF_HARD):
            yield alike[start : start + ROWS_OF_HARD], moving


def _unit_matrices(packed: FloatArray, moving: IntArray) -> FloatArray:
    """Return B (c, n, n), on the diagonal and below it, over some of the parameters."""
    entries = np.array([i * (i + 1) // 2 + j for i in moving for j in moving if j <= i], dtype=np.intp)
    return _unit_diagonal(packed[entries], None)[0].transpose(2, 0, 1)


def _diagonalise(scaled: FloatArray, precision: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return the pseudo-inverse of B (c, n, n), and which parameters are in no unseen direction (c, n)."""
    n = scaled.shape[1]
    values, vectors = np.linalg.eigh(scaled, UPLO="L")
    threshold = MARGIN * n * precision[:, np.newaxis] * values[:, -1:]
    seen = values > threshold
    smallest = np.where(seen, values, np.inf).min(axis=1, keepdims=True)
    inverse = (vectors * np.where(seen, 1.0 / values, 0.0)[:, np.newaxis]) @ vectors.transpose(0, 2, 1)
    share = np.clip(10.0 * threshold / smallest, LEAST_SHARE, MOST_SHARE)  # as far as noise turns a direction
    part = np.sqrt((np.square(vectors) * ~seen[:, np.newaxis]).sum(axis=2))
    return inverse, part <= share
