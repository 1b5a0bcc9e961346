r"""Bunch-Kaufman factorisation A = U D U' of a symmetric indefinite matrix, and what follows from it.

Matrices are row by row and only lower triangles are read, so that row k holds column k of the upper triangle. Unknowns
are eliminated from the last to the first: with D_k the pivot, 1 x 1 or 2 x 2, and u_k the row (or two) on its left,

    [A_k   u_k']   [I  u_k' D_k^-1] [A_k - u_k' D_k^-1 u_k      ] [I            ]
    [u_k   D_k ] = [   I          ] [                        D_k] [D_k^-1 u_k  I]

and all inner loops run along rows. A pivot is 1 x 1 if the diagonal entry is not small beside the largest entry of its
row, or beside that of the row where the largest entry stands; after an exchange of rows and columns if the diagonal
entry there is large; else 2 x 2 and indefinite. By Sylvester's law the signs of D are those of A's eigenvalues.

References
----------
.. [1] J. R. Bunch and L. Kaufman, "Some Stable Methods for Calculating Inertia and Solving Symmetric Linear Systems",
   Mathematics of Computation 31, 1977, algorithm A.
.. [2] G. Golub and C. Van Loan, "Matrix Computations", 4th ed., 2013, section 4.4.4.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.bunch_kaufman_panel import ASIDE, eliminate_panel
from nlsq.kernels.bunch_kaufman_pivot import eliminate

LARGE = 96  # rows from which panels of pivots pay; measured


@kernel("int(int, double*, int*)")
def factor(n, a, pivots_out):
    """Factorise A = U D U' in place: the lower triangle of A (n, n), row by row, becomes that of U' and D.

    The upper triangle is not read; it may be overwritten.

    pivots_out : (n,) k where pivot k is 1 x 1 and nothing was exchanged, i where rows k and i were; -1 - i at k and
    k - 1 where the pivot is 2 x 2 and rows k - 1 and i were exchanged.

    Returns the number of negative eigenvalues of A, 0 or more, where no pivot is zero. Else minus the number of zero
    pivots: those that have no finite reciprocal. An infinite pivot or NaN ends the factorisation, and it and all that
    would follow count as zero. `inertia` tells more.
    """
    k = n - 1
    if n >= LARGE:
        k = eliminate(a, n, k, n - 1 - ASIDE, pivots_out)
        while k >= LARGE:
            k = eliminate_panel(a, n, k, pivots_out)
    eliminate(a, n, k, -1, pivots_out)
    halves, negative, zero = (
        0,
        0,
        0,
    )  # of pivots 2 x 2, each of which has one negative eigenvalue
    for i in range(n):
        pivot = a[i * n + i]
        if pivots_out[i] < 0:
            halves += 1
        elif pivot < 0.0:
            negative += 1
        elif not pivot > 0.0:
            zero += 1
    return negative + halves // 2 if zero == 0 else -zero


@kernel("void(int, double*, int*, double*)")
def solve(n, a, pivots, b_io):
    """Solve A x = b in place with what `factor` left.

    Where pivots are zero, and b is in the range of A, x is the solution whose components there are zero (before
    exchanges); NaN where the factorisation met numbers that are not finite.
    """
    k = n - 1
    while k >= 0:
        row = shift(a, k * n)
        if pivots[k] >= 0:
            low = pivots[k]
            value = b_io[low]
            b_io[low] = b_io[k]
            for j in range(k):
                b_io[j] -= row[j] * value
            b_io[k] = value / row[k] if row[k] != 0.0 else 0.0
            k -= 1
        else:
            low = -1 - pivots[k]
            other = shift(a, (k - 1) * n)
            first, second = b_io[k], b_io[low]
            b_io[low] = b_io[k - 1]
            for j in range(k - 1):
                b_io[j] -= row[j] * first + other[j] * second
            d = row[k - 1]
            d11, d22 = row[k] / d, other[k - 1] / d
            determinant = d * (d11 * d22 - 1.0)
            b_io[k] = (d22 * first - second) / determinant
            b_io[k - 1] = (d11 * second - first) / determinant
            k -= 2
    k = 0
    while k < n:
        row = shift(a, k * n)
        if pivots[k] >= 0:
            low = pivots[k]
            value = b_io[k]
            for j in range(k):
                value -= row[j] * b_io[j]
            b_io[k] = b_io[low]
            b_io[low] = value
            k += 1
        else:
            low = -1 - pivots[k]
            other = shift(a, (k + 1) * n)
            first, second = b_io[k], b_io[k + 1]
            for j in range(k):
                first -= row[j] * b_io[j]
                second -= other[j] * b_io[j]
            b_io[k + 1] = second
            b_io[k] = b_io[low]
            b_io[low] = first
            k += 2


@kernel("double(int, double*, int*, int*)")
def inertia(n, a, pivots, counts_out):
    """Count positive, negative and zero eigenvalues by the pivots that `factor` left; NaN counts as zero.

    Returns the smallest size of D's eigenvalues over the largest: of the order of the machine precision or below where
    A is singular to working precision, unless A is badly scaled; 0 where a pivot is zero or not finite.
    counts_out : (3,).
    """
    for i in range(3):
        counts_out[i] = 0
    least, most = math.inf, 0.0
    k = 0
    while k < n:
        low = a[k * n + k]
        high = low
        if pivots[k] < 0:
            d, last = a[(k + 1) * n + k], a[(k + 1) * n + k + 1]
            middle, half = 0.5 * (low + last), math.hypot(0.5 * (low - last), d)
            high = middle + half if middle >= 0.0 else middle - half
            low = (low / high) * last - (d / high) * d
            k += 1
            counts_out[0] += 1
            counts_out[1] += 1
        elif low > 0.0:
            counts_out[0] += 1
        elif low < 0.0:
            counts_out[1] += 1
        else:
            counts_out[2] += 1
        least = abs(low) if abs(low) < least else least
        most = abs(high) if abs(high) > most else most
        k += 1
    return least / most if n > 0 and counts_out[2] == 0 else 0.0
