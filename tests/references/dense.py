"""Twins of `nlsq.kernels.dense`: exact sums, exact rational elimination, and numpy's least squares."""

import math
from fractions import Fraction

import numpy as np


def dot(a, b):
    """Return sum a_i b_i, rounded once, and the sum of |a_i b_i| that bounds any other order's error."""
    products = [Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)]
    return float(sum(products, Fraction())), float(sum(map(abs, products), Fraction()))


def norm(a):
    """Return the Euclidean norm by exact sum of squares."""
    total = sum((Fraction(float(x)) ** 2 for x in a), Fraction())
    return _root(total)


def _root(total):
    """Return the square root of a fraction, however large or small."""
    if total == 0:
        return 0.0
    shift = (total.numerator.bit_length() - total.denominator.bit_length()) // 2
    try:
        return math.ldexp(math.sqrt(total / Fraction(4) ** shift), shift)
    except OverflowError:
        return math.inf


def pivots(matrix, damping=0.0):
    """Return L_jj^2 of L L' = A + damping I exactly, up to and with the first that is not positive."""
    n = len(matrix)
    a = [[Fraction(float(matrix[max(i, j)][min(i, j)])) for j in range(n)] for i in range(n)]
    for j in range(n):
        a[j][j] += Fraction(float(damping))
    found = []
    for k in range(n):
        found.append(a[k][k])
        if a[k][k] <= 0:
            return found
        for i in range(k + 1, n):
            factor = a[i][k] / a[k][k]
            for j in range(k + 1, n):
                a[i][j] -= factor * a[k][j]
    return found


def kept_by_pivots(matrix, damping=0.0):
    """Return min_j L_jj^2 / A_jj, 0 where the matrix is not positive definite."""
    found = pivots(matrix, damping)
    if found[-1] <= 0:
        return 0.0
    diagonal = [Fraction(float(row[j])) + Fraction(float(damping)) for j, row in enumerate(matrix)]
    return min(1.0, *(float(pivot / entry) for pivot, entry in zip(found, diagonal, strict=True)))


def damped_step(jac, rhs, roots):
    """Return argmin_p |J p - rhs|^2 + |diag(roots) p|^2 from the stacked system."""
    jac = np.asarray(jac)
    n = jac.shape[1]
    stacked = np.vstack([jac, np.diag(np.broadcast_to(roots, (n,)))])
    return np.linalg.lstsq(stacked, np.concatenate([rhs, np.zeros(n)]), rcond=None)[0]


def reflectors(q, rows, n):
    """Return the orthogonal matrix Q (rows, rows) of the Householder vectors that the kernel leaves in `q`."""
    matrix = np.eye(rows)
    for k in range(min(rows, n)):
        v = np.zeros(rows)
        v[k:] = q[k, k:]
        if v[k] != 0.0:
            matrix = matrix @ (np.eye(rows) - np.outer(v, v) / v[k])
    return matrix
